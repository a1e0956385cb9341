"""What the operator sets: one TOML file, overridden by the environment, checked once with every problem at once.

``load_settings`` is the only way in. Secrets leave this package as ``SecretStr``, or through ``signing_keys`` and
``secrets``; no message, dump or repr of it holds one.
"""

from gateway.settings.loading import DEFAULT_FILE, load_settings
from gateway.settings.tables import (
    KEYS,
    NESTED,
    Analysis,
    Criterion,
    Llm,
    Log,
    Receiver,
    Settings,
    environment_name,
)
from gateway.settings.values import is_loopback, parse_duration, read_hours, read_signing_key

__all__ = [
    "DEFAULT_FILE",
    "KEYS",
    "NESTED",
    "Analysis",
    "Criterion",
    "Llm",
    "Log",
    "Receiver",
    "Settings",
    "environment_name",
    "is_loopback",
    "load_settings",
    "parse_duration",
    "read_hours",
    "read_signing_key",
]
