"""What is read of a call: what nobody told is missing, and never a failure."""

import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.metrics import (
    METRICS,
    Callers,
    Facts,
    callers_with,
    is_auxiliary,
    kind_of,
    kind_told,
    length_bin,
    median_length,
    read_measures,
    spread_of_callers,
)

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
        ("duration_seconds", Facts(ended=True, answered=True, duration_seconds=7000), 1800),
        ("duration_seconds", Facts(ended=True, answered=True, duration_seconds=7000, cap_seconds=900), 900),
        ("repeat_call", SILENT, None),
        ("repeat_call", Facts(rang_again=True), 1),
        ("repeat_call", Facts(rang_again=False), 0),
        ("outcome_known", SILENT, 0),
        ("outcome_known", Facts(answered=True, outcome={"success": False}), 1),
        ("outcome_known", Facts(answered=True, agent_failed=True), 1),
        ("outcome_known", Facts(answered=False, outcome={"success": False}), None),
        ("outcome_known", Facts(outcome={"success": True}), None),
        ("hung_up_early", SILENT, 0),
        ("hung_up_early", Facts(ended=True, answered=True, duration_seconds=29), 1),
        ("hung_up_early", Facts(ended=True, answered=True, duration_seconds=30), 0),
        ("hung_up_early", Facts(ended=True, answered=True), None),
        ("hung_up_early", Facts(ended=True, answered=False, duration_seconds=0), None),
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
        "duration_seconds.log": pytest.approx(math.log(61)),
        "duration_seconds#25": 1,
        "hung_up_early": 0,
        "agent_failed": 0,
        "outcome_known": 0,
    }


def test_the_carriers_word_counts_at_once_and_the_agents_when_the_call_is_mature() -> None:
    outcome = {"success": True, "cost": 0.5, "fields": {"csat": 4}}
    facts = Facts(ended=True, answered=True, outcome=outcome, transfer_requested=True)
    early, late = read_measures(facts, mature=False), read_measures(facts, mature=True)
    assert early == {"served": 1, "answered": 1, "agent_failed": 0}
    own = {"success": 1, "outcome_known": 1, "transfer_requested": 1, "cost": 0.5, "fields.csat": 4}
    assert late == {**early, **own}


def test_an_agents_own_fields_count_by_their_type() -> None:
    fields = {"csat": 4, "vip": True, "score": 0.5, "why": "x", "tags": [1], "none": None, "": "", "a=b": 1}
    fields["said"] = "x" * 41
    measures = read_measures(Facts(outcome={"fields": fields}), mature=True)
    own = {name: value for name, value in measures.items() if name.startswith("fields.")}
    assert own == {"fields.csat": 4, "fields.vip": 1, "fields.score": 0.5, "fields.why": 1, "fields.why=x": 1}


def test_what_is_counted_beside_the_metrics_is_no_metric() -> None:
    measures = read_measures(Facts(ended=True, answered=True, duration_seconds=5, outcome=OUTCOME), mature=True)
    told = {name for name in measures if is_auxiliary(name)}
    assert told == {"duration_seconds.log", "duration_seconds#10", "fields.intent=billing"}
    assert is_auxiliary(callers_with(3))


OUTCOME = {"fields": {"intent": "billing", "csat": 3}}


@pytest.mark.parametrize(
    ("name", "values", "kind"),
    [
        ("success", [1, 0], "rate"),
        ("sentiment", [1, 0], "mean"),
        ("fields.vip", [1, 0, 0], "rate"),
        ("fields.vip", [1, 1], "rate"),
        ("fields.score", [0.5, 0.7], "mean"),
        ("fields.csat", [1, 5], "mean"),
        ("fields.intent", [1, 1], "distribution"),
        ("fields.gone", [], "mean"),
    ],
)
def test_the_kind_of_a_field_is_told_by_what_was_counted(name: str, values: list[float], kind: str) -> None:
    mean = float(np.mean(values)) if values else 0.0
    m2 = float(np.var(values) * len(values)) if values else 0.0
    assert kind_told(name, ["fields.intent=billing", "success"], n=len(values), mean=mean, m2=m2) == kind


@given(st.lists(st.integers(0, 20_000), min_size=1, max_size=200))
def test_the_median_from_bins_is_off_by_at_most_a_bin(lengths: list[int]) -> None:
    median = median_length(Counter(map(length_bin, lengths)) | {"success": 3})
    assert median is not None
    low, high = (np.quantile(lengths, 0.5, method=method) for method in ("lower", "higher"))
    width = 14_400 ** (1 / 60) * (1 + 1e-9)
    assert min(max(low, 1), 14_400) / width <= median <= min(max(high, 1), 14_400) * width


def test_without_lengths_there_is_no_median() -> None:
    assert median_length({"success": 3, "duration_seconds#03": 0}) is None


def test_how_calls_spread_over_callers() -> None:
    told = {callers_with(1): 180, callers_with(2): 19, callers_with(50): 1, callers_with(7): 0, "served": 268}
    spread = spread_of_callers(told)
    # Of 200 callers the top hundredth are two: the one with 50 calls and one with 2.
    assert spread == Callers(callers=200, calls=268, repeating=88 / 268, largest=50 / 268, top=52 / 268)
    assert spread_of_callers({"served": 3}) is None


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
                rang_again=flag,
                outcome=outcome,
            ),
        )
        for ended in (True, False)
        for answered in (True, False, None)
        for flag in (True, False)
        for length in (None, 5, 50)
        for outcome in (dict.fromkeys(said, flag), {})
    }
    assert {0, 1} <= seen <= {0, 1, None}


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_is_documented(name: str) -> None:
    text = (Path(__file__).parent.parent / "docs/reference/metrics.md").read_text(encoding="utf-8")
    metric = METRICS[name]
    shown = name.partition("=")[0]
    assert f"| `{shown}` | {metric.kind} | {metric.better} |" in text or f"| `{shown}` | distribution |" in text
