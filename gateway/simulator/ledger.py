"""What the simulator itself saw of each call: the oracle that a gateway's books are held against."""

from collections import Counter
from dataclasses import dataclass, field


@dataclass(kw_only=True, slots=True)
class Entry:
    """One call. ``versions`` are the agents it was given to, in order; ``said`` what ``<Say>`` spoke; ``seconds`` how
    long it lasted."""

    sid: str
    from_: str
    to: str
    versions: list[str] = field(default_factory=list)
    verbs: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    errors: list[int] = field(default_factory=list)
    answers: set[str] = field(default_factory=set)
    status: str = "ringing"
    seconds: int = 0
    success: bool | None = None
    transferred: bool = False


class Ledger:
    """Every call of a simulation, by CallSid."""

    def __init__(self) -> None:
        self.calls: dict[str, Entry] = {}

    def open(self, sid: str, from_: str, to: str) -> Entry:
        """Begin a call."""
        return self.calls.setdefault(sid, Entry(sid=sid, from_=from_, to=to))

    @property
    def under_way(self) -> int:
        """How many calls have not ended."""
        return sum(entry.status in ("ringing", "in-progress") for entry in self.calls.values())

    def by_version(self) -> Counter[tuple[str, str]]:
        """How many calls each version took first, by called number and version."""
        return Counter((entry.to, entry.versions[0]) for entry in self.calls.values() if entry.versions)
