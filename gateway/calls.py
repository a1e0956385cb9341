"""The life of a call, as pure functions: which event may follow which, and what becomes of it.

Callbacks come late, twice, in any order or not at all; the state is therefore read from the set of events,
never from the order in which they came.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, Literal

from gateway.metrics import CAP_SECONDS, FIELD_PREFIX, Facts, answerer
from gateway.model import Event

# Twilio's words, in the order in which a call can pass through them.
RANK: Mapping[str, int] = {
    "planned": 0,
    "queued": 1,
    "initiated": 2,
    "ringing": 3,
    "in-progress": 4,
    "completed": 5,
    "busy": 5,
    "no-answer": 5,
    "failed": 5,
    "canceled": 5,
    "unknown": 5,
}
FINAL = frozenset({"completed", "busy", "no-answer", "failed", "canceled"})

# The kinds of event that this module reads; any other is kept for the timeline only.
STATUS = "status"  # a call-progress callback of the call itself
FETCHED = "fetched"  # what Twilio's REST API said when asked; it outranks every callback
GIVEN_UP = "given_up"  # nobody ever told how the call ended
PLACED = "placed"  # Twilio has the call that we asked for, under this CallSid
ABSENT = "absent"  # Twilio does not seem to have it; proof that it has undoes this
REJECTED = "rejected"  # it was never made: Twilio refused it, or it was not allowed to be sent
NEXT = "next"  # how a handoff ended, and the one that was sent next, if any
STREAM = "stream"
REPORTED = "outcome"
MACHINE = "amd"  # who Twilio says has answered: a person or a machine
TAKEN = "machine"  # a machine had answered, and the campaign's policy took the call from the agent
SUPERSEDED = "superseded"  # the same contact was rung again: that call stands for both

# What tells a call's status; of several ends the word of the first of these stands.
_REPORTS: Mapping[str, int] = {FETCHED: 0, STATUS: 1, REJECTED: 2, GIVEN_UP: 3, ABSENT: 4, PLACED: 5}

STREAM_GRACE_SECONDS = 10

# Behind every callback that Twilio numbered.
_UNNUMBERED = 1_000_000_000


@dataclass(frozen=True, kw_only=True, slots=True)
class State:
    """Where a call stands. Times are Unix milliseconds, the duration whole seconds.

    ``answered``, ``transfer_requested`` and ``answered_by`` (Twilio's AnsweredBy) are None while nobody has told;
    ``judged`` names the judge of each metric that a judge told last.
    """

    status: str
    answered: bool | None = None
    answered_at: int | None = None
    ended_at: int | None = None
    duration_seconds: int | None = None
    agent_failed: bool = False
    transfer_requested: bool | None = None
    served: Mapping[str, Any] | None = None
    answered_by: str | None = None
    judged: Mapping[str, str] = field(default_factory=dict)

    @property
    def ended(self) -> bool:
        """Whether the last word on the call is spoken."""
        return self.ended_at is not None


def derive(first_status: str, events: Iterable[Event]) -> State:
    """The state of a call from what it was announced with and all events known, in any order.

    The REST API's word outranks a callback's. Of several final callbacks the one that Twilio fired first
    (its SequenceNumber) stands, of equals the first by key, so that the order of arrival does not matter.
    """
    told = list(events)
    if any(event.kind == PLACED for event in told):
        told = [event for event in told if event.kind != ABSENT]
    reports = [event for event in told if event.kind in _REPORTS]
    finals = sorted((e for e in reports if e.data["status"] in FINAL or e.kind == GIVEN_UP), key=_precedence)
    last = finals[0] if finals else None
    status = last.data["status"] if last else _highest(first_status, reports)
    duration = next((e.data["duration"] for e in finals if e.data.get("duration") is not None), None)
    answers = [event.at for event in reports if event.data["status"] == "in-progress"]
    picked_up = bool(answers) or status == "completed" or first_status == "in-progress"
    endings = sorted((event for event in told if event.kind == NEXT), key=lambda event: event.data["hop"])
    failed = [event for event in endings if event.data["ending"] == "failed"]
    taken = next((event for event in told if event.kind == TAKEN), failed[-1] if failed else None)
    outcomes = [event for event in told if event.kind == REPORTED]
    asked = [_ASKED[event.data["rule"]] for event in endings if event.data.get("rule") in _ASKED]
    return State(
        status=status,
        # A call that was never made tells nothing of whether it would have been answered.
        answered=True if picked_up else False if status in FINAL and last and last.kind != REJECTED else None,
        answered_at=min(answers) if answers else None,
        ended_at=last.at if last else None,
        duration_seconds=duration,
        agent_failed=bool(failed),
        transfer_requested=any(asked) if asked else None,
        served=taken.data["served"] if taken else None,
        answered_by=next((event.data.get("answered_by") or None for event in told if event.kind == MACHINE), None),
        judged={
            name: author.removeprefix(JUDGE)
            for name, author in _tellers(sorted(outcomes, key=lambda event: (event.at, event.key))).items()
            if author.startswith(JUDGE)
        },
    )


def is_machine(answered_by: str) -> bool:
    """Whether Twilio's AnsweredBy names a machine; ``unknown`` is treated as a person, who must not be hung up on."""
    return answerer(answered_by) in ("machine", "fax")


def facts(
    state: State,
    outcome: Mapping[str, Any],
    *,
    assigned_arm: str | None,
    served_arm: str | None,
    cap_seconds: int = CAP_SECONDS,
    rang_again: bool | None = None,
) -> Facts:
    """What the metrics may read of a call.

    ``cap_seconds`` is what its length counts for at most; ``rang_again`` is None while the caller still may.
    """
    return Facts(
        ended=state.ended,
        answered=state.answered,
        served_as_assigned=assigned_arm == served_arm,
        agent_failed=state.agent_failed,
        duration_seconds=state.duration_seconds,
        cap_seconds=cap_seconds,
        rang_again=rang_again,
        transfer_requested=state.transfer_requested,
        answered_by=state.answered_by,
        taken_by_policy=state.served is not None and state.served["reason"] == "machine",
        outcome=outcome,
        judged=state.judged,
    )


def merge_outcome(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """An outcome as it stands after another report: a key sent replaces, ``fields`` merge, null erases."""
    merged = dict(old)
    for key, value in new.items():
        if value is None:
            merged.pop(key, None)
        elif key == "fields":
            fields = {**merged.get("fields", {}), **value}
            merged["fields"] = {name: told for name, told in fields.items() if told is not None}
        else:
            merged[key] = value
    return merged


def reported(call: str, body: Mapping[str, Any], author: str, at: int) -> Event:
    """An agent's report as an event of the timeline: who sent it, and its verdicts.

    What people said, the fields and the transcript, is kept once, in the outcome; here only their names and number
    stand. The same report sent twice in a moment is one event.
    """
    told = {key: value for key, value in body.items() if key not in {"fields", "transcript"}}
    digest = blake2b(repr((author, body)).encode(errors="replace"), digest_size=6).hexdigest()
    data: dict[str, Any] = {"author": author, "told": told}
    if body.get("fields"):
        data["fields"] = sorted(body["fields"])
    if body.get("transcript"):
        data["lines"] = len(body["transcript"])
    return Event(call=call, key=f"outcome:{at}:{digest}", kind=REPORTED, at=at, data=data)


JUDGE = "judge:"
"""Before the id of a judge, where it is the author of a report."""


def where_nobody_told(told: Mapping[str, Any], known: Mapping[str, Any], reports: Iterable[Event]) -> dict[str, Any]:
    """What of a judge's report may be written: it fills what nobody told, and corrects what a judge told before.

    ``told`` is shaped as an outcome, None for what is unknown; ``known`` is the outcome that stands, and
    ``reports`` the events of its reports in the order in which they came.
    """
    tellers = _tellers(reports)

    def left(told: Mapping[str, Any], known: Mapping[str, Any], prefix: str) -> dict[str, Any]:
        return {
            key: value
            for key, value in told.items()
            if value != known.get(key) and (known.get(key) is None or tellers.get(prefix + key, "").startswith(JUDGE))
        }

    measures = {key: value for key, value in told.items() if key != "fields"}
    fields = left(told.get("fields", {}), known.get("fields", {}), FIELD_PREFIX)
    return left(measures, known, "") | ({"fields": fields} if fields else {})


def _precedence(event: Event) -> tuple[int, int, str]:
    by_kind = _REPORTS[event.kind]
    return by_kind, event.data.get("sequence", _UNNUMBERED), event.key


def _highest(first: str, reports: Iterable[Event]) -> str:
    words: list[str] = [first, *(event.data["status"] for event in reports)]
    return max(words, key=lambda word: (RANK.get(word, -1), word))


def _tellers(reports: Iterable[Event]) -> dict[str, str]:
    """Who told each measure and field last, by the reports in their order."""
    tellers: dict[str, str] = {}
    for event in reports:
        if event.kind == REPORTED:
            named = [*event.data["told"], *(FIELD_PREFIX + name for name in event.data.get("fields", ()))]
            tellers |= dict.fromkeys(named, event.data["author"])
    return tellers


# --- how a handoff ends ----------------------------------------------------------------------------------

Ending = Literal["over", "hang_up", "transfer", "failed"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Handoff:
    """What is known when Twilio comes back from a handoff; None where it said nothing.

    ``seconds`` is the time since the gateway's answer.
    """

    call_status: str = ""
    dial_status: str | None = None
    dial_bridged: bool = True
    session_status: str | None = None
    handoff_data: str = ""
    stream_error: bool = False
    stream_started: bool = False
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """One row of the table: the first row that applies decides.

    ``asked`` is whether the agent asked for a person, None where such an ending does not tell.
    """

    name: str
    applies: Callable[[Handoff], bool]
    ending: Ending
    asked: bool | None = None


def _asks(handoff: Handoff) -> bool:
    return handoff.session_status == "ended" and handoff.handoff_data != ""


NEXT_TABLE: tuple[Rule, ...] = (
    Rule(
        name="the call is over, the relay's agent had asked for a person",
        applies=lambda h: h.call_status in FINAL and _asks(h),
        ending="over",
        asked=True,
    ),
    Rule(
        name="the call ended while the relay's agent had it",
        applies=lambda h: h.call_status in FINAL and h.session_status not in {None, "failed"},
        ending="over",
        asked=False,
    ),
    Rule(name="the call is over", applies=lambda h: h.call_status in FINAL, ending="over"),
    Rule(
        name="the dialled agent did not answer",
        applies=lambda h: h.dial_status in {"busy", "no-answer", "failed", "canceled"},
        ending="failed",
    ),
    Rule(
        name="the dialled agent answered but was never bridged",
        applies=lambda h: h.dial_status == "completed" and not h.dial_bridged,
        ending="failed",
    ),
    Rule(name="the dialled call ended", applies=lambda h: h.dial_status is not None, ending="hang_up"),
    Rule(name="the relay failed", applies=lambda h: h.session_status == "failed", ending="failed"),
    Rule(
        name="the relay's agent asks for a person",
        applies=_asks,
        ending="transfer",
        asked=True,
    ),
    Rule(name="the relay ended", applies=lambda h: h.session_status is not None, ending="hang_up", asked=False),
    Rule(name="the stream reported an error", applies=lambda h: h.stream_error, ending="failed"),
    Rule(name="the stream had started", applies=lambda h: h.stream_started, ending="hang_up"),
    Rule(
        name="the stream never started",
        applies=lambda h: h.seconds < STREAM_GRACE_SECONDS,
        ending="failed",
    ),
    Rule(name="the stream ended", applies=lambda h: True, ending="hang_up"),
)

_ASKED: Mapping[str, bool] = {rule.name: rule.asked for rule in NEXT_TABLE if rule.asked is not None}


def ending_of(handoff: Handoff) -> Rule:
    """The row of the table that decides what follows a handoff."""
    return next(rule for rule in NEXT_TABLE if rule.applies(handoff))
