"""The life of a call: any order of callbacks ends the same, and every ending of a handoff leads where it should."""

from dataclasses import replace
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.calls import (
    FETCHED,
    FINAL,
    GIVEN_UP,
    NEXT,
    NEXT_TABLE,
    RANK,
    STATUS,
    Handoff,
    State,
    derive,
    ending_of,
    facts,
    merge_outcome,
    reported,
    where_nobody_told,
)
from gateway.metrics import METRICS
from gateway.model import Event


def told(status: str, at: int, sequence: int | None = None, **data: Any) -> Event:
    number = {} if sequence is None else {"sequence": sequence}
    key = f"status:{status if sequence is None else sequence}"
    return Event(call="CA1", key=key, kind=STATUS, at=at, data={"status": status, **number, **data})


def left(hop: int, handoff: Handoff, **data: Any) -> Event:
    """What is stored when a handoff comes back."""
    rule = ending_of(handoff)
    stored = {"hop": hop, "rule": rule.name, "ending": rule.ending, **data}
    return Event(call="CA1", key=f"next:{hop}", kind=NEXT, at=5, data=stored)


def fetched(status: str, **data: Any) -> Event:
    return Event(call="CA1", key="fetched", kind=FETCHED, at=9, data={"status": status, **data})


GIVEN = Event(call="CA1", key="given_up", kind=GIVEN_UP, at=99, data={"status": "unknown"})
FALLBACK = {"by": "fallback", "arm": None, "version": None, "reason": "failover"}
ENDED = told("completed", 60_000, 3, duration=57)
LIFE = [
    told("initiated", 1, 0),
    told("ringing", 2, 1),
    told("in-progress", 3, 2),
    ENDED,
    left(0, Handoff(dial_status="busy"), served=FALLBACK),
    left(1, Handoff(dial_status="completed")),
]
END = State(
    status="completed",
    answered=True,
    answered_at=3,
    ended_at=60_000,
    duration_seconds=57,
    agent_failed=True,
    served=FALLBACK,
)


# -- order, repeats and losses -----------------------------------------------------------------------------


@given(st.permutations(LIFE), st.lists(st.sampled_from(LIFE), max_size=8))
def test_order_and_repeats_change_nothing(order: list[Event], repeats: list[Event]) -> None:
    assert derive("queued", [*order, *repeats]) == END


@given(st.permutations(LIFE), st.sets(st.sampled_from([event.key for event in LIFE if event.kind == STATUS])))
def test_the_final_callback_makes_up_for_every_lost_one(order: list[Event], lost: set[str]) -> None:
    kept = [event for event in order if event.key not in lost - {ENDED.key}]
    state = derive("ringing", kept)
    # When it was answered only its own callback tells.
    assert state.answered_at == (None if "status:2" in lost else 3)
    assert replace(state, answered_at=3) == END


reports = st.builds(told, st.sampled_from(sorted(RANK)), st.integers(0, 9), st.none() | st.integers(0, 9))
lasting = st.builds(fetched, st.sampled_from(sorted(FINAL)), duration=st.none() | st.integers(0, 99))


@given(st.data(), st.lists(reports | lasting | st.just(GIVEN), max_size=8, unique_by=lambda event: event.key))
def test_contradicting_callbacks_end_the_same_in_any_order(data: st.DataObject, events: list[Event]) -> None:
    order = data.draw(st.permutations(events))
    assert derive("ringing", order) == derive("ringing", events)


@given(st.lists(reports, max_size=8, unique_by=lambda event: event.key))
def test_a_state_never_moves_back(events: list[Event]) -> None:
    ranks = [RANK[derive("planned", events[:upto]).status] for upto in range(len(events) + 1)]
    assert ranks == sorted(ranks)


def test_of_two_endings_the_one_that_twilio_fired_first_stands() -> None:
    state = derive("ringing", [told("failed", 70, 4), told("completed", 60, 3, duration=5)])
    assert (state.status, state.ended_at, state.duration_seconds) == ("completed", 60, 5)


def test_of_endings_without_a_number_the_same_one_always_stands() -> None:
    told_twice = [told("busy", 60), told("completed", 70, duration=5)]
    assert derive("ringing", told_twice) == derive("ringing", told_twice[::-1])
    assert derive("ringing", [*told_twice, told("failed", 80, 9)]).status == "failed"


def test_what_twilio_says_when_asked_outranks_what_it_posted() -> None:
    assert derive("ringing", [*LIFE, fetched("no-answer", duration=None)]).status == "no-answer"


def test_a_call_that_nobody_told_the_end_of_is_unknown_until_somebody_does() -> None:
    state = derive("ringing", [GIVEN])
    assert (state.status, state.ended, state.answered) == ("unknown", True, None)
    assert derive("ringing", [GIVEN, *LIFE]) == END


@pytest.mark.parametrize(
    ("events", "answered"),
    [
        ([], None),
        ([told("ringing", 1)], None),
        ([told("in-progress", 1)], True),
        ([told("completed", 1)], True),
        ([told("busy", 1)], False),
        ([told("no-answer", 1)], False),
        ([told("canceled", 1)], False),
        ([GIVEN, told("in-progress", 1)], True),
    ],
)
def test_whether_a_call_was_answered(events: list[Event], answered: bool | None) -> None:
    assert derive("ringing", events).answered is answered


def test_events_of_other_kinds_are_for_the_timeline_only() -> None:
    leg = Event(call="CA1", key="child:CA2:completed", kind="leg", at=1, data={"status": "completed", "duration": 3})
    assert derive("ringing", [leg]) == derive("ringing", [])


def test_who_answered_is_told_by_the_detection() -> None:
    machine = Event(call="CA1", key="amd", kind="amd", at=1, data={"answered_by": "machine_end_beep"})
    assert derive("planned", [machine]).answered_by == "machine_end_beep"
    assert derive("planned", []).answered_by is None


# -- who served, and whether the agent asked for a person --------------------------------------------------


def test_a_call_that_was_taken_from_the_agent_for_a_machine_was_served_by_nobody() -> None:
    heard = Event(call="CA1", key="amd", kind="amd", at=5, data={"answered_by": "machine_start"})
    served = {"by": "none", "arm": None, "version": None, "reason": "machine"}
    taken = Event(call="CA1", key="machine", kind="machine", at=6, data={"done": "hang_up", "served": served})
    control = {"by": "version", "arm": "a", "version": "support@3", "reason": "failover"}
    failed = left(0, Handoff(dial_status="busy"), served=control)
    for events in permutations((failed, heard, taken)):
        state = derive("ringing", events)
        assert (state.served, state.answered_by) == (served, "machine_start")
    assert derive("ringing", [heard]).served is None
    known = facts(derive("ringing", [heard, taken]), {}, assigned_arm="a", served_arm=None)
    assert (known.taken_by_policy, known.answered_by, known.served_as_assigned) == (True, "machine_start", False)
    assert not facts(derive("ringing", [failed]), {}, assigned_arm="b", served_arm="a").taken_by_policy


def test_the_last_failed_handoff_tells_who_served() -> None:
    control = {"by": "version", "arm": "a", "version": "support@3", "reason": "failover"}
    first = left(0, Handoff(dial_status="busy"), served=control)
    second = left(1, Handoff(session_status="failed"), served=FALLBACK)
    assert derive("ringing", [first]).served == control
    assert derive("ringing", [second, first]).served == FALLBACK
    assert derive("ringing", [second, first]).agent_failed


def test_a_person_whom_the_agent_asked_for_is_no_failover() -> None:
    state = derive("ringing", [left(0, Handoff(session_status="ended", handoff_data="{}"))])
    assert (state.transfer_requested, state.agent_failed, state.served) == (True, False, None)


@pytest.mark.parametrize(
    ("handoff", "asked"),
    [
        (Handoff(session_status="ended", handoff_data="{}"), True),
        (Handoff(call_status="completed", session_status="ended", handoff_data="{}"), True),
        (Handoff(session_status="ended"), False),
        (Handoff(call_status="completed", session_status="completed"), False),
        (Handoff(session_status="failed"), None),
        (Handoff(call_status="completed", session_status="failed"), None),
        (Handoff(call_status="completed"), None),
        (Handoff(dial_status="completed"), None),
        (Handoff(stream_started=True), None),
    ],
)
def test_only_a_relay_tells_whether_its_agent_asked_for_a_person(handoff: Handoff, asked: bool | None) -> None:
    assert derive("ringing", [left(0, handoff, served=FALLBACK)]).transfer_requested is asked


def test_metrics_may_read_what_the_state_says() -> None:
    known = facts(END, {"success": True}, assigned_arm="b", served_arm=None)
    assert (known.ended, known.answered, known.duration_seconds) == (True, True, 57)
    assert (known.agent_failed, known.served_as_assigned, known.outcome) == (True, False, {"success": True})
    assert facts(END, {}, assigned_arm="a", served_arm="a").served_as_assigned


def test_only_an_answered_call_has_a_duration_to_compare() -> None:
    unanswered = derive("ringing", [told("no-answer", 9, duration=0)])
    known = facts(unanswered, {}, assigned_arm="a", served_arm="a")
    assert METRICS["duration_seconds"].read(known) is None
    assert METRICS["answered"].read(known) == 0


# -- how a handoff ends ------------------------------------------------------------------------------------

# One or more handoffs for each row of the table, in its order, each with the sentence that names the row.
ROWS = [
    (
        "the call is over, the relay's agent had asked for a person",
        "over",
        [Handoff(call_status="completed", session_status="ended", handoff_data="{}")],
    ),
    (
        "the call ended while the relay's agent had it",
        "over",
        [
            Handoff(call_status="completed", session_status="completed"),
            Handoff(call_status="completed", session_status="ended"),
        ],
    ),
    (
        "the call is over",
        "over",
        [
            *(Handoff(call_status=status) for status in sorted(FINAL)),
            Handoff(call_status="completed", dial_status="failed"),
            Handoff(call_status="completed", session_status="failed"),
            Handoff(call_status="completed", stream_error=True),
        ],
    ),
    (
        "the dialled agent did not answer",
        "failed",
        [
            *(Handoff(dial_status=status) for status in ("busy", "no-answer", "failed", "canceled")),
            Handoff(call_status="in-progress", dial_status="busy", session_status="ended", handoff_data="{}"),
        ],
    ),
    (
        "the dialled agent answered but was never bridged",
        "failed",
        [Handoff(dial_status="completed", dial_bridged=False)],
    ),
    (
        "the dialled call ended",
        "hang_up",
        [
            Handoff(dial_status="completed"),
            Handoff(dial_status="answered"),
            Handoff(dial_status="answered", dial_bridged=False),
            Handoff(dial_status=""),
            Handoff(dial_status="completed", stream_error=True),
        ],
    ),
    (
        "the relay failed",
        "failed",
        [Handoff(session_status="failed"), Handoff(session_status="failed", handoff_data="{}")],
    ),
    (
        "the relay's agent asks for a person",
        "transfer",
        [Handoff(call_status="in-progress", session_status="ended", handoff_data="{}")],
    ),
    (
        "the relay ended",
        "hang_up",
        [
            Handoff(session_status="ended"),
            Handoff(session_status="completed", handoff_data="{}"),
            Handoff(session_status="completed", stream_error=True),
        ],
    ),
    (
        "the stream reported an error",
        "failed",
        [Handoff(stream_error=True, seconds=60), Handoff(stream_error=True, stream_started=True, seconds=60)],
    ),
    ("the stream had started", "hang_up", [Handoff(stream_started=True, seconds=1)]),
    ("the stream never started", "failed", [Handoff(), Handoff(call_status="in-progress", seconds=9.9)]),
    ("the stream ended", "hang_up", [Handoff(seconds=10), Handoff(seconds=1e9)]),
]


@pytest.mark.parametrize(
    ("sentence", "ending", "handoff"),
    [(sentence, ending, handoff) for sentence, ending, handoffs in ROWS for handoff in handoffs],
)
def test_what_follows_a_handoff(sentence: str, ending: str, handoff: Handoff) -> None:
    rule = ending_of(handoff)
    assert (rule.name, rule.ending) == (sentence, ending)


def test_the_table_has_these_rows_in_this_order_and_no_other() -> None:
    assert [rule.name for rule in NEXT_TABLE] == [sentence for sentence, _, _ in ROWS]


handoffs = st.builds(
    Handoff,
    call_status=st.sampled_from(sorted(RANK)) | st.text(max_size=9),
    dial_status=st.none() | st.sampled_from(["answered", *sorted(FINAL)]) | st.text(max_size=9),
    dial_bridged=st.booleans(),
    session_status=st.none() | st.sampled_from(["ended", "completed", "failed"]) | st.text(max_size=9),
    handoff_data=st.sampled_from(["", "{}"]),
    stream_error=st.booleans(),
    stream_started=st.booleans(),
    seconds=st.floats(0, 1e6),
)


@given(handoffs)
def test_whatever_comes_back_something_follows_and_nothing_after_the_end(handoff: Handoff) -> None:
    assert (ending_of(handoff).ending == "over") == (handoff.call_status in FINAL)


# -- outcomes ----------------------------------------------------------------------------------------------


def test_an_outcome_grows_by_parts() -> None:
    known = merge_outcome({}, {"success": True, "fields": {"csat": 5, "intent": "billing"}, "transcript": [1, 2]})
    known = merge_outcome(known, {"fields": {"csat": None, "note": "x"}, "transcript": [3]})
    assert known == {"success": True, "fields": {"intent": "billing", "note": "x"}, "transcript": [3]}


def test_null_erases_and_what_is_not_sent_stays() -> None:
    known = {"success": True, "cost": 0.1, "fields": {"csat": 5}}
    assert merge_outcome(known, {"success": None}) == {"cost": 0.1, "fields": {"csat": 5}}
    assert merge_outcome(known, {"fields": None}) == {"success": True, "cost": 0.1}
    assert merge_outcome(known, {"success": False}) == {**known, "success": False}
    assert merge_outcome(known, {}) == known
    assert known == {"success": True, "cost": 0.1, "fields": {"csat": 5}}


words = st.sampled_from(["csat", "intent", "note"])
outcomes = st.fixed_dictionaries(
    {},
    optional={
        "success": st.none() | st.booleans(),
        "cost": st.none() | st.floats(0, 9),
        "fields": st.none() | st.dictionaries(words, st.none() | st.integers()),
        "transcript": st.none() | st.lists(st.integers(), max_size=3),
    },
)


@given(outcomes, outcomes)
def test_the_same_report_twice_is_as_good_as_once(first: dict[str, Any], second: dict[str, Any]) -> None:
    once = merge_outcome(merge_outcome({}, first), second)
    assert merge_outcome(once, second) == once
    assert None not in once.values()
    assert None not in once.get("fields", {}).values()


def reported_by(*told: tuple[str, dict[str, Any]]) -> list[Event]:
    return [reported("CA1", body, author, at) for at, (author, body) in enumerate(told)]


JUDGED = {"success": True, "sentiment": 0.5, "fields": {"topic": "billing", "quality": 4}}


@pytest.mark.parametrize(
    ("before", "written"),
    [
        ([], JUDGED),
        ([("agent", {"cost": 0.1})], JUDGED),
        ([("agent", {"success": False})], {"sentiment": 0.5, "fields": {"topic": "billing", "quality": 4}}),
        ([("agent", {"fields": {"topic": "x"}})], {"success": True, "sentiment": 0.5, "fields": {"quality": 4}}),
        # Nobody tells any more what was erased.
        ([("agent", {"success": False}), ("agent", {"success": None})], JUDGED),
        ([("agent", {"fields": {"topic": "x"}}), ("agent", {"fields": None})], JUDGED),
        # A judge corrects a judge, and no more than that.
        ([("judge:1", {**JUDGED, "success": False})], {"success": True}),
        ([("judge:1", {"success": False}), ("agent", {"success": False})], {**JUDGED, "success": ...}),
        ([("agent", {"success": False}), ("judge:1", {"success": False})], JUDGED),
        ([("judge:1", JUDGED)], {}),
    ],
)
def test_a_judge_fills_what_nobody_told(before: list[tuple[str, dict[str, Any]]], written: dict[str, Any]) -> None:
    known: dict[str, Any] = {}
    for _, body in before:
        known = merge_outcome(known, body)
    wanted = {key: value for key, value in written.items() if value is not ...}
    assert where_nobody_told(JUDGED, known, reported_by(*before)) == wanted


def test_what_a_judge_no_longer_knows_is_erased_if_it_was_a_judges() -> None:
    unknown = {"success": None, "fields": {"topic": None}}
    assert where_nobody_told(unknown, {}, []) == {}
    assert where_nobody_told(unknown, JUDGED, reported_by(("judge:1", JUDGED))) == unknown
    assert where_nobody_told(unknown, JUDGED, reported_by(("agent", JUDGED))) == {}
