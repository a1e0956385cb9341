"""The comparison of the arms is what the calls themselves would give, however they were tallied."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.results import Reading, as_json, compare, merge
from gateway.storage.tallies import Cell, Count

values = st.lists(st.floats(-1e6, 1e6) | st.sampled_from([0.0, 1.0]), max_size=12)


def count(*told: float) -> Count:
    tallied = Count()
    for value in told:
        tallied = tallied.add(value)
    return tallied


def cell(arm: str, metric: str, *, epoch: int = 1, day: int = 20_000) -> Cell:
    return Cell(experiment="support-1", epoch=epoch, day=day, stratum="", arm=arm, metric=metric)


@given(st.lists(values, max_size=5))
def test_merged_counts_are_numpys_of_all_values(groups: list[list[float]]) -> None:
    reading = merge([count(*group) for group in groups])
    together = np.array([value for group in groups for value in group])
    assert reading.n == together.size
    if not together.size:
        assert (reading.mean, reading.variance) == (None, None)
        return
    scale = float(np.abs(together).max())
    assert reading.mean == pytest.approx(together.mean(), rel=1e-9, abs=1e-9 * scale)
    if together.size == 1:
        assert reading.variance is None
    else:
        assert reading.variance == pytest.approx(together.var(ddof=1), rel=1e-6, abs=1e-9 * scale**2)


def test_values_far_from_nought_keep_their_variance() -> None:
    told = [1e9 + step for step in (4, 7, 13, 16)]
    reading = merge([count(*told[:1]), count(*told[1:])])
    assert reading.variance == pytest.approx(30)


def test_no_calls_have_no_mean() -> None:
    assert merge([]) == merge([Count(), Count()]) == Reading(n=0, mean=None, variance=None)


RAW = {
    ("a", "served"): [[1, 1], [1]],
    ("a", "success"): [[1, 0], []],
    ("a", "duration_seconds"): [[30, 60], [120]],
    ("b", "served"): [[1, 0], [1, 1, 0]],
    ("b", "success"): [[1], [1, 1]],
    ("b", "fields.csat"): [[], [5, 4]],
}
VERSIONS = {"b": "support@4", "a": "support@3"}


def tallies() -> list[tuple[Cell, Count]]:
    """RAW as two epochs would have tallied it."""
    return [
        (cell(arm, metric, epoch=epoch, day=20_000 + epoch), count(*group))
        for (arm, metric), groups in RAW.items()
        for epoch, group in enumerate(groups)
    ]


def test_arms_stand_side_by_side_over_all_epochs_and_days() -> None:
    a, b = compare(tallies(), VERSIONS)
    assert (a.arm, a.version, a.calls, a.served) == ("a", "support@3", 3, 3)
    assert (b.arm, b.version, b.calls, b.served) == ("b", "support@4", 5, 3)
    assert a.metrics["duration_seconds"] == Reading(n=3, mean=70, variance=2100)
    assert (b.metrics["success"].n, b.metrics["success"].mean) == (3, 1)


def test_the_order_of_the_cells_does_not_matter() -> None:
    assert compare(tallies()[::-1], VERSIONS) == compare(tallies(), VERSIONS)


def test_calls_of_whom_nothing_is_known_yet_are_in_no_metric() -> None:
    a, _ = compare(tallies(), VERSIONS)
    assert (a.calls, a.metrics["success"].n) == (3, 2)


def test_an_arm_without_calls_is_shown_and_one_without_a_version_too() -> None:
    arms = compare([(cell("c", "served"), count(1.0))], VERSIONS)
    assert [(one.arm, one.version, one.calls) for one in arms] == [
        ("a", "support@3", 0),
        ("b", "support@4", 0),
        ("c", "", 1),
    ]


def test_a_metric_whose_values_were_all_taken_back_is_gone() -> None:
    (a,) = compare([(cell("a", "served"), count(1.0)), (cell("a", "success"), Count())], {"a": "support@3"})
    assert a.metrics == {}


def test_results_as_the_api_shows_them() -> None:
    shown = as_json(compare(tallies(), VERSIONS), primary="success")
    assert shown["arms"] == [
        {"arm": "a", "version": "support@3", "calls": 3, "served": 3},
        {"arm": "b", "version": "support@4", "calls": 5, "served": 3},
    ]
    assert [(one["name"], one["kind"], one["role"]) for one in shown["metrics"]] == [
        ("duration_seconds", "mean", "monitor"),
        ("success", "rate", "primary"),
        ("fields.csat", "mean", "monitor"),
    ]
    by_name = {one["name"]: one["arms"] for one in shown["metrics"]}
    assert by_name["success"] == {"a": {"n": 2, "mean": 0.5}, "b": {"n": 3, "mean": 1.0}}
    assert by_name["fields.csat"] == {"b": {"n": 2, "mean": 4.5}}


def test_results_of_an_experiment_without_calls_can_be_sent() -> None:
    shown = as_json(compare([], VERSIONS), primary="success")
    assert json.loads(json.dumps(shown)) == shown
    assert (shown["metrics"], [one["calls"] for one in shown["arms"]]) == ([], [0, 0])


def test_a_great_many_cells_lose_no_call() -> None:
    many = [(cell("a", "served", day=day), Count(n=1000, mean=0.999, m2=0.999)) for day in range(1000)]
    (a,) = compare(many, {"a": "support@3"})
    assert (a.calls, a.served) == (1_000_000, 999_000)
    assert math.isclose(merge([one for _, one in many]).mean or 0, 0.999)
