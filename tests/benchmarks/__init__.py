"""Times the voice webhook against a ceiling and two quickstarts, in turn: ``python -m tests.benchmarks``."""
