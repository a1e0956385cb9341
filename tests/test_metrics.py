"""What is read of a call: what nobody told is missing, and never a failure."""

import pytest

from gateway.metrics import ANSWERERS, METRICS, Facts, kind_of, read_measures

SILENT = Facts(ended=True, answered=True, duration_seconds=61)


def read(name: str, facts: Facts) -> float | None:
    return METRICS[name].read(facts)


@pytest.mark.parametrize(
    ("name", "facts", "value"),
    [
        ("served", Facts(), 1),
        ("served", Facts(served_as_assigned=False), 0),
        ("answered", Facts(answered=True), None),
        ("answered", Facts(ended=True, answered=True), 1),
        ("answered", Facts(ended=True, answered=False), 0),
        ("answered", Facts(ended=True, answered=None), None),
        ("duration_seconds", SILENT, 61),
        ("duration_seconds", Facts(ended=True, answered=True), None),
        ("duration_seconds", Facts(ended=True, answered=False, duration_seconds=0), None),
        ("hung_up_early", SILENT, 0),
        ("hung_up_early", Facts(ended=True, answered=True, duration_seconds=29), 1),
        ("hung_up_early", Facts(ended=True, answered=True, duration_seconds=30), 0),
        ("hung_up_early", Facts(ended=True, answered=True), None),
        ("hung_up_early", Facts(ended=True, answered=False, duration_seconds=0), None),
        ("hung_up_early", Facts(ended=True, answered=True, duration_seconds=3, taken_by_policy=True), None),
        ("answered_by=human", Facts(ended=True, answered=True, answered_by="human"), 1),
        ("answered_by=machine", Facts(ended=True, answered=True, answered_by="human"), 0),
        ("answered_by=machine", Facts(ended=True, answered=True, answered_by="machine_start"), 1),
        ("answered_by=machine", Facts(ended=True, answered=True, answered_by="machine_end_beep"), 1),
        ("answered_by=fax", Facts(ended=True, answered=True, answered_by="fax"), 1),
        ("answered_by=unknown", Facts(ended=True, answered=True, answered_by="unknown"), 1),
        ("answered_by=unknown", Facts(ended=True, answered=True, answered_by="a word of tomorrow"), 1),
        ("answered_by=human", SILENT, None),
        ("answered_by=human", Facts(answered=True, answered_by="human"), None),
        ("answered_by=human", Facts(ended=True, answered=False, answered_by="human"), None),
        ("agent_failed", Facts(agent_failed=True), None),
        ("agent_failed", Facts(ended=True, agent_failed=True), 1),
        ("agent_failed", Facts(ended=True), 0),
        ("success", Facts(ended=True, answered=True, outcome={"success": True}), 1),
        ("success", Facts(ended=True, answered=True, outcome={"success": False}), 0),
        ("success", SILENT, None),
        ("success", Facts(outcome={"success": True}), 1),
        # Nobody told how the call ended; the agent had it all the same.
        ("success", Facts(ended=True, answered=None, outcome={"success": True}), 1),
        ("success", Facts(ended=True, answered=False, outcome={"success": False}), None),
        ("success", Facts(ended=True, answered=True, agent_failed=True), 0),
        ("success", Facts(ended=True, answered=True, agent_failed=True, outcome={"success": True}), 1),
        ("success", Facts(ended=True, answered=False, agent_failed=True), None),
        ("success", Facts(ended=True, answered=True, agent_failed=True, taken_by_policy=True), None),
        ("success", Facts(ended=True, answered=True, taken_by_policy=True, outcome={"success": True}), 1),
        ("transfer_requested", SILENT, None),
        ("transfer_requested", Facts(transfer_requested=False), 0),
        ("transfer_requested", Facts(transfer_requested=True), 1),
        ("transfer_requested", Facts(outcome={"transfer_requested": False}), 0),
        ("transfer_requested", Facts(transfer_requested=False, outcome={"transfer_requested": True}), 1),
        ("transfer_requested", Facts(transfer_requested=True, outcome={"transfer_requested": False}), 1),
        ("transferred", Facts(outcome={"transferred": True}), 1),
        ("transferred", SILENT, None),
        ("sentiment", Facts(outcome={"sentiment": -0.4}), -0.4),
        ("sentiment", SILENT, None),
        ("opt_out", Facts(outcome={"opt_out": False}), 0),
        ("opt_out", SILENT, None),
        ("cost", Facts(outcome={"cost": 0.12}), 0.12),
        ("cost", SILENT, None),
    ],
)
def test_what_a_metric_reads(name: str, facts: Facts, value: float | None) -> None:
    assert read(name, facts) == value


@pytest.mark.parametrize("name", sorted(METRICS))
def test_of_a_call_that_nobody_told_anything_of_only_who_took_it_is_known(name: str) -> None:
    assert read(name, Facts()) == (1 if name == "served" else None)


def test_what_is_missing_is_in_no_denominator() -> None:
    assert read_measures(SILENT, mature=True) == {
        "served": 1,
        "answered": 1,
        "duration_seconds": 61,
        "hung_up_early": 0,
        "agent_failed": 0,
    }


def test_the_carriers_word_counts_at_once_and_the_agents_when_the_call_is_mature() -> None:
    outcome = {"success": True, "cost": 0.5, "fields": {"csat": 4}}
    facts = Facts(ended=True, answered=True, outcome=outcome, transfer_requested=True)
    early, late = read_measures(facts, mature=False), read_measures(facts, mature=True)
    assert early == {"served": 1, "answered": 1, "agent_failed": 0}
    assert late == {**early, "success": 1, "transfer_requested": 1, "cost": 0.5, "fields.csat": 4}


def test_an_agents_own_fields_count_when_they_are_numbers() -> None:
    fields = {"csat": 4, "vip": True, "score": 0.5, "why": "x", "tags": [1], "none": None}
    measures = read_measures(Facts(outcome={"fields": fields}), mature=True)
    own = {name: value for name, value in measures.items() if name.startswith("fields.")}
    assert own == {"fields.csat": 4.0, "fields.vip": 1.0, "fields.score": 0.5}


@pytest.mark.parametrize("answered_by", ["human", "machine_start", "machine_end_silence", "fax", "unknown", "new"])
def test_the_shares_of_who_answered_are_of_the_same_calls_and_come_to_one(answered_by: str) -> None:
    measures = read_measures(Facts(ended=True, answered=True, answered_by=answered_by), mature=False)
    shares = {name: value for name, value in measures.items() if name.startswith("answered_by=")}
    assert len(shares) == len(ANSWERERS)
    assert sum(shares.values()) == 1


def test_an_agents_own_fields_are_read_as_means() -> None:
    assert kind_of("success") == "rate"
    assert kind_of("duration_seconds") == kind_of("fields.csat") == "mean"


@pytest.mark.parametrize("name", sorted(name for name, metric in METRICS.items() if metric.kind == "rate"))
def test_a_rate_reads_nought_one_or_nothing(name: str) -> None:
    said = ("success", "transfer_requested", "transferred", "opt_out")
    seen = {
        read(
            name,
            Facts(
                ended=ended,
                answered=answered,
                served_as_assigned=flag,
                agent_failed=flag,
                duration_seconds=length,
                transfer_requested=flag,
                answered_by=who,
                outcome=dict.fromkeys(said, flag),
            ),
        )
        for who in (None, *ANSWERERS)
        for ended in (True, False)
        for answered in (True, False, None)
        for flag in (True, False)
        for length in (None, 5, 50)
    }
    assert {0, 1} <= seen <= {0, 1, None}
