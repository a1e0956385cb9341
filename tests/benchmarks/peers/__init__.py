"""The servers that the gateway is timed against; each is started as a process of its own."""
