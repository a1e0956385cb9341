"""Twilio's connection overrides: how the fragment of a webhook URL governs time-outs and retries.

Source: twilio.com/docs/usage/webhooks/webhooks-connection-overrides.
"""

from dataclasses import dataclass
from typing import Self
from urllib.parse import parse_qsl

_POLICIES = frozenset({"4xx", "5xx", "ct", "rt"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Overrides:
    """Times in seconds; ``retries`` is how often a failure named in ``policy`` is tried again."""

    connect: float = 5.0
    read: float = 15.0
    total: float = 15.0
    retries: int = 1
    policy: frozenset[str] = frozenset({"ct"})

    @classmethod
    def of(cls, url: str) -> tuple[str, Self]:
        """The URL as it is requested and signed, without its fragment, and what the fragment says."""
        address, _, fragment = url.partition("#")
        told = dict(parse_qsl(fragment))
        default = cls()
        named = frozenset(told.get("rp", "ct").split(","))
        return address, cls(
            connect=_seconds(told.get("ct"), low=100, high=10_000, default=default.connect),
            read=_seconds(told.get("rt"), low=100, high=15_000, default=default.read),
            total=_seconds(told.get("tt"), low=100, high=15_000, default=default.total),
            retries=max(0, min(5, _whole(told.get("rc"), 1))),
            policy=_POLICIES if "all" in named else named & _POLICIES,
        )


def _whole(text: str | None, default: int) -> int:
    return int(text) if text is not None and text.isdigit() else default


def _seconds(text: str | None, *, low: int, high: int, default: float) -> float:
    return max(low, min(high, _whole(text, round(default * 1000)))) / 1000
