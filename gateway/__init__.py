"""A call-routing gateway between Twilio numbers and AI voice agents."""

__version__ = "0.1.0"
