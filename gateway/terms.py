"""The terms of a campaign: how fast, when and how often people are called, and what follows from each attempt.

Pure: times are Unix milliseconds and come in as arguments.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    ValidationInfo,
    field_validator,
)

from gateway.callee import Window, parse_window
from gateway.calls import is_machine
from gateway.settings import parse_duration

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
Again = Literal["busy", "no_answer", "failed", "machine", "short"]
"""Why somebody may be called again; ``short`` is a conversation below ``short_seconds``."""
Machine = Literal["none", "hang_up", "continue", "leave_message"]
Detection = Literal["async", "sync"]

DAYS: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_NO_CONSENT = frozenset({"", "0", "no", "n", "false", "none", "null", "denied", "revoked"})
_RESULTS: Mapping[str, str] = {"busy": "busy", "no-answer": "no_answer", "failed": "failed", "canceled": "canceled"}


def _delay(text: str) -> str:
    parse_duration(text)
    return text


def _hours(text: str) -> str:
    parse_window(text)
    return text


def _moment(value: object) -> object:
    """Unix milliseconds, or ISO 8601 text that says its zone."""
    if not isinstance(value, str):
        return value
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise ValueError("should be a time with its zone, such as 2027-03-01T09:00:00-05:00, or Unix milliseconds")
    return round(moment.timestamp() * 1000)


class Screening(BaseModel):
    """What is done when a machine answers a placed call, and whether Twilio listens before the agent is connected
    (``sync``) or beside it (``async``)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    machine: Machine = "none"
    detection: Detection = "async"
    message: str | None = Field(None, min_length=1, max_length=1000, validate_default=True)

    @field_validator("message")
    @classmethod
    def _message_needed(cls, message: str | None, others: ValidationInfo) -> str | None:
        if others.data.get("machine") == "leave_message" and not (message or "").strip():
            raise ValueError("leave_message needs a message: what the machine is told")
        return message

    def screening(self) -> Mapping[str, str] | None:
        """What an attempt carries of it; None when nobody asks who answered."""
        if self.machine == "none":
            return None
        return {"policy": self.machine, "detection": self.detection, "message": self.message or ""}


class Terms(Screening):
    """What the operator sets of a campaign; what is absent follows the gateway's own settings."""

    calls_per_second: float | None = Field(None, ge=0.001, allow_inf_nan=False)
    concurrency: int | None = Field(None, ge=1)
    daily_cap: int | None = Field(None, ge=0)
    window: Annotated[str, AfterValidator(_hours)] | None = None
    days: tuple[Day, ...] | None = Field(None, min_length=1)
    start_at: Annotated[int, BeforeValidator(_moment)] | None = Field(None, ge=0, le=2**53)
    max_attempts: int = Field(3, ge=1, le=100)
    max_attempts_per_day: int = Field(3, ge=1, le=100)
    retry: Mapping[Again, Annotated[str, AfterValidator(_delay)]] = Field(default_factory=dict)
    short_seconds: int = Field(10, ge=1, le=3600)
    marketing: StrictBool = False

    def hours(self, gateway: Window | None) -> Window | None:
        """When people may be called: within the campaign's hours and the gateway's; None for always.

        Raises ValueError where the two have no minute in common.
        """
        own = parse_window(self.window) if self.window is not None else None
        hours = gateway if own is None else own if gateway is None else _both(own, gateway)
        if self.days is None:
            return hours
        days = frozenset(map(DAYS.index, self.days))
        whole_day = Window(start=0, end=24 * 60)
        hours = hours or whole_day
        return replace(hours, days=hours.days & days)

    def again_at(self, result: str, *, attempts: int, now: int) -> int | None:
        """When somebody is called again after ``attempts`` of which the last ended so; None for never."""
        delay = {str(why): text for why, text in self.retry.items()}.get(result)
        if delay is None or attempts >= self.max_attempts:
            return None
        return now + parse_duration(delay) * 1000


def _both(one: Window, other: Window) -> Window:
    start, end = max(one.start, other.start), min(one.end, other.end)
    if start >= end:
        raise ValueError("the campaign's window has no minute in common with outbound.window")
    return Window(start=start, end=end, days=one.days & other.days)


def result_of(status: str, *, seconds: int | None, answered_by: str | None, terms: Terms) -> str:
    """What became of an attempt whose call is over: answered, machine, short, busy, no_answer, failed, canceled
    or unknown.

    ``status`` is Twilio's, ``seconds`` how long the call lasted, and ``answered_by`` its AnsweredBy.
    """
    if status != "completed":
        return _RESULTS.get(status, "unknown")
    if answered_by is not None and is_machine(answered_by):
        return "machine"
    if seconds is not None and seconds < terms.short_seconds:
        return "short"
    return "answered"


def consents(written: str | None) -> bool:
    """Whether a consent column says that the person agreed: anything but a plain no, such as a date or a source."""
    return written is not None and written.strip().lower() not in _NO_CONSENT
