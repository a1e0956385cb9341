"""The life of a call: any order of callbacks ends the same, and every ending of a handoff leads where it should."""

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.calls import (
    FETCHED,
    GIVEN_UP,
    NEXT,
    NEXT_TABLE,
    RANK,
    STATUS,
    Handoff,
    derive,
    ending_of,
    merge_outcome,
)
from gateway.metrics import Facts, read_measures
from gateway.model import Event


def told(status: str, at: int, sequence: int, **data: Any) -> Event:
    key = f"status:{sequence}"
    return Event(call="CA1", key=key, kind=STATUS, at=at, data={"status": status, "sequence": sequence, **data})


LIFE = [
    told("initiated", 1, 0),
    told("ringing", 2, 1),
    told("in-progress", 3, 2),
    told("completed", 60_000, 3, duration=57),
]


@given(st.permutations(LIFE), st.lists(st.sampled_from(LIFE), max_size=6))
def test_order_and_repeats_change_nothing(order: list[Event], repeats: list[Event]) -> None:
    assert derive("queued", [*order, *repeats]) == derive("queued", LIFE)


@given(st.sets(st.sampled_from(range(3))))
def test_a_lost_callback_leaves_the_end_as_it_is(lost: set[int]) -> None:
    state = derive("ringing", [event for place, event in enumerate(LIFE) if place not in lost])
    assert (state.status, state.duration_seconds, state.ended_at) == ("completed", 57, 60_000)


@given(st.lists(st.sampled_from(sorted(RANK)), min_size=1, max_size=8), st.randoms())
def test_the_state_never_depends_on_the_order_of_arrival(statuses: list[str], dice: random.Random) -> None:
    events = [told(status, 1_000 + place, place) for place, status in enumerate(statuses)]
    mixed = list(events)
    dice.shuffle(mixed)
    assert derive("ringing", events) == derive("ringing", mixed)


def test_a_state_never_moves_back() -> None:
    seen = [RANK[derive("queued", LIFE[:upto]).status] for upto in range(len(LIFE) + 1)]
    assert seen == sorted(seen)


def test_what_twilio_says_when_asked_outranks_what_it_posted() -> None:
    asked = Event(call="CA1", key="fetched", kind=FETCHED, at=9, data={"status": "no-answer", "duration": None})
    assert derive("ringing", [*LIFE, asked]).status == "no-answer"


def test_a_call_that_nobody_told_the_end_of_is_unknown() -> None:
    given_up = Event(call="CA1", key="given_up", kind=GIVEN_UP, at=9, data={"status": "unknown"})
    assert derive("ringing", [given_up]).status == "unknown"
    assert derive("ringing", [given_up, *LIFE]).status == "completed"


def test_failed_handoffs_tell_who_served() -> None:
    served = {"by": "fallback", "arm": None, "version": None, "reason": "failover"}
    failed = Event(call="CA1", key="next:0", kind=NEXT, at=5, data={"hop": 0, "ending": "failed", "served": served})
    ended = Event(call="CA1", key="next:1", kind=NEXT, at=6, data={"hop": 1, "ending": "hang_up"})
    state = derive("ringing", [ended, failed])
    assert (state.agent_failed, state.served) == (True, served)
    asked = Event(call="CA1", key="next:0", kind=NEXT, at=5, data={"hop": 0, "ending": "transfer"})
    assert derive("ringing", [asked]).transfer_requested
    assert derive("ringing", [asked]).served is None


@pytest.mark.parametrize(
    ("handoff", "ending"),
    [
        (Handoff(call_status="completed", dial_status="failed"), "over"),
        (Handoff(call_status="canceled"), "over"),
        (Handoff(call_status="in-progress", dial_status="busy"), "failed"),
        (Handoff(dial_status="no-answer"), "failed"),
        (Handoff(dial_status="failed"), "failed"),
        (Handoff(dial_status="canceled"), "failed"),
        (Handoff(dial_status="completed", dial_bridged=False), "failed"),
        (Handoff(dial_status="completed"), "hang_up"),
        (Handoff(dial_status="answered"), "hang_up"),
        (Handoff(session_status="failed"), "failed"),
        (Handoff(session_status="ended", handoff_data="{}"), "transfer"),
        (Handoff(session_status="ended"), "hang_up"),
        (Handoff(session_status="completed", handoff_data="{}"), "hang_up"),
        (Handoff(stream_error=True, stream_started=True, seconds=60), "failed"),
        (Handoff(stream_started=True, seconds=1), "hang_up"),
        (Handoff(seconds=9.9), "failed"),
        (Handoff(seconds=10), "hang_up"),
    ],
)
def test_what_follows_a_handoff(handoff: Handoff, ending: str) -> None:
    assert ending_of(handoff).ending == ending


def test_the_last_row_of_the_table_always_applies() -> None:
    assert NEXT_TABLE[-1].applies(Handoff(seconds=1e9))


def test_an_outcome_grows_by_parts() -> None:
    known = merge_outcome({}, {"success": True, "fields": {"csat": 5, "intent": "billing"}, "transcript": [1, 2]})
    known = merge_outcome(known, {"fields": {"csat": None, "note": "x"}, "transcript": [3]})
    assert known == {"success": True, "fields": {"intent": "billing", "note": "x"}, "transcript": [3]}
    assert merge_outcome(known, {"success": None}).get("success") is None


def test_what_is_not_known_is_missing_and_never_a_failure() -> None:
    silent = read_measures(Facts(ended=True, answered=True, duration_seconds=61), mature=True)
    assert "success" not in silent
    assert (silent["answered"], silent["duration_seconds"], silent["hung_up_early"]) == (1.0, 61.0, 0.0)
    unanswered = read_measures(Facts(ended=True, outcome={"success": False}), mature=True)
    assert "success" not in unanswered
    failed = read_measures(Facts(ended=True, answered=True, agent_failed=True), mature=True)
    assert failed["success"] == 0.0


def test_the_agents_word_counts_when_the_call_is_mature() -> None:
    facts = Facts(
        ended=True, answered=True, outcome={"success": True, "fields": {"csat": 4, "vip": True, "why": "x"}}
    )
    early, late = read_measures(facts, mature=False), read_measures(facts, mature=True)
    assert "success" not in early
    assert (late["success"], late["fields.csat"], late["fields.vip"]) == (1.0, 4.0, 1.0)
    assert "fields.why" not in late
