"""What waits to be written: each kind of work is a value."""

from dataclasses import dataclass
from typing import Any, NamedTuple

from gateway.model import Event
from gateway.storage.rows import CallRow

BATCH_LIMIT = 256


class RecordCall(NamedTuple):
    """Write a call with its assignment; answered by the row that stands.

    ``drawn`` is set for a sticky caller who was assigned without the memory: if that holds another arm, the
    call is not analysed.
    """

    row: CallRow
    drawn: "Remember | None" = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Remember:
    """Give a sticky caller an arm; answered by the ``Remembered`` that stands and whether it is this one."""

    experiment: str
    memory: int
    unit: bytes
    arm: str
    epoch: int


@dataclass(frozen=True, kw_only=True, slots=True)
class AppendEvent:
    """Append an event to a call; answered by the event that stands under its key."""

    event: Event


@dataclass(frozen=True, kw_only=True, slots=True)
class PutOutcome:
    """Merge an outcome into what is known; answered by the outcome's row, or None for an unknown call.

    ``author`` is the name of the token that reported it, for the call's timeline.
    """

    call: str
    body: dict[str, Any]
    at: int
    author: str


@dataclass(frozen=True, kw_only=True, slots=True)
class MatureCalls:
    """Count the agents' measures of calls whose outcome window has closed by ``now``; answered by how many."""

    now: int
    limit: int = BATCH_LIMIT


@dataclass(frozen=True, kw_only=True, slots=True)
class Supersede:
    """Let another call stand for a contact's earlier one, which is no longer analysed: a contact counts once."""

    call: str
    by: str
    at: int


Work = RecordCall | Remember | AppendEvent | PutOutcome | MatureCalls | Supersede


@dataclass(frozen=True, kw_only=True, slots=True)
class Rules:
    """``window`` is how long after its end a call's outcome is waited for, in milliseconds.

    ``judged`` says whether a transcript is kept for a judge to read.
    """

    window: int
    judged: bool = False
