"""The nouns of the gateway, as frozen values: what is published, and what is known of a call.

What is made anew for every call is a named tuple, because a frozen dataclass takes five times as long to make.
Nothing here does I/O or reads a clock. Times are Unix milliseconds (UTC), numbers are E.164 text, and
words are those of Twilio's contract where it has one.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

Direction = Literal["inbound", "outbound"]
Unit = Literal["call", "caller", "contact"]
Reason = Literal["split", "sticky", "withheld", "test_number", "uncovered", "off", "winner"]
ServedBy = Literal["version", "fallback", "unrouted", "none"]
ServedReason = Literal["assigned", "hold", "failover", "machine"]
VersionStatus = Literal["draft", "published", "retired"]
ExperimentStatus = Literal["draft", "scheduled", "running", "paused", "maturing", "stopped"]
NoticeKind = Literal[
    "experiment.started",
    "experiment.stopped",
    "experiment.alarm",
    "experiment.verdict",
    "campaign.started",
    "campaign.paused",
    "campaign.completed",
]
"""What the outside can be told of."""

Parameters = tuple[tuple[str, str], ...]
"""What an agent is given, name and text; nested tables are dotted (``persona.name``)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """How a version takes a call: a kind, the checked fields of that kind, and what is handed over."""

    kind: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    parameters: Parameters = ()
    requires: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Version:
    """One state of an agent; once published, its target never changes."""

    agent: str
    number: int
    status: VersionStatus
    target: Target
    notes: str = ""

    @property
    def name(self) -> str:
        """The name that routes use: ``support@3``."""
        return f"{self.agent}@{self.number}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Arm:
    """A slot in a split. ``share`` is the normalised weight; ``upper`` the first bucket beyond the arm."""

    name: str
    version: str
    weight: float
    share: float
    upper: int
    parameters: Parameters = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Route:
    """A named rule: which numbers, which versions, which split. ``arms`` stand in alphabetical order."""

    name: str
    direction: Direction
    numbers: tuple[str, ...]
    arms: tuple[Arm, ...]
    fallback: Target | None = None
    enabled: bool = False
    test_name: str = ""
    unit: Unit = "call"
    coverage: float = 1.0
    winner: str | None = None
    test_numbers: Mapping[str, str] = field(default_factory=dict)
    plan: Mapping[str, Any] = field(default_factory=dict)

    def arm(self, name: str) -> Arm:
        """The arm of that name; KeyError when the route has none."""
        for arm in self.arms:
            if arm.name == name:
                return arm
        raise KeyError(name)


@dataclass(frozen=True, kw_only=True, slots=True)
class Experiment:
    """The time an A/B test is on. ``salt`` draws the arm, ``coverage_salt`` who takes part at all.

    ``memory`` is the epoch since which sticky callers are remembered: a change of versions or parameters
    moves it on, a change of weights does not. ``shares`` are those of a ramp's step, None for the route's own.
    """

    id: str
    route: str
    number: int
    name: str
    unit: Unit
    status: ExperimentStatus
    salt: bytes
    coverage_salt: bytes
    epoch: int
    memory: int
    opened_at: int
    closed_at: int | None = None
    starts_at: int | None = None
    shares: Mapping[str, float] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class LiveRoute:
    """A published route with its revision number and its open experiment, if any."""

    route: Route
    revision: int
    experiment: Experiment | None = None

    @property
    def test(self) -> Experiment | None:
        """The experiment that calls take part in: the open one, unless its time has not come."""
        open_ = self.experiment
        return None if open_ is None or open_.status == "scheduled" else open_


@dataclass(frozen=True, kw_only=True, slots=True)
class Snapshot:
    """The whole live state at one publication; swapped by one reference, never changed.

    ``numbers`` finds the inbound route of a called number.
    """

    publication: int = 0
    routes: Mapping[str, LiveRoute] = field(default_factory=dict)
    numbers: Mapping[str, LiveRoute] = field(default_factory=dict)
    versions: Mapping[str, Version] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Hold:
    """An operator's urgent override of a route; ``to`` is an arm, a version, or ``fallback``."""

    route: str
    to: str
    author: str
    reason: str
    set_at: int
    until: int | None = None

    def active(self, now: int) -> bool:
        """Whether it still overrides the route at ``now`` (Unix milliseconds)."""
        return self.until is None or now < self.until


class Call(NamedTuple):
    """A call as Twilio announced it. ``other`` is the far party: who rings in, or who is rung.

    ``answered_by`` is Twilio's AnsweredBy, when it listened before it asked what to do.
    """

    id: str
    sid: str
    account: str
    direction: Direction
    from_: str
    to: str
    at: int
    status: str = "ringing"
    country: str = ""
    answered_by: str = ""

    @property
    def other(self) -> str:
        """The number on the other side: the caller of an inbound call, the callee of an outbound one."""
        return self.from_ if self.direction == "inbound" else self.to


class Assignment(NamedTuple):
    """Which arm a call was given, and why; written once, never changed.

    ``bucket`` (0 to 999,999) and ``share`` are None when nothing was drawn.
    """

    arm: str
    version: str
    reason: Reason
    revision: int
    unit: Unit
    analysed: bool
    experiment: str | None = None
    epoch: int | None = None
    bucket: int | None = None
    share: float | None = None


class Served(NamedTuple):
    """Who really took the call: the last handoff sent."""

    by: ServedBy
    arm: str | None = None
    version: str | None = None
    reason: ServedReason = "assigned"


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """One fact in the life of a call. ``key`` tells repeats apart: the first of a key is the one kept."""

    call: str
    key: str
    kind: str
    at: int
    data: Mapping[str, Any] = field(default_factory=dict)
