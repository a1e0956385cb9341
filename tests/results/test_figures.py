"""What is shown of results: numbers in their units, what intervals mean, and where they stand."""

from typing import Any

import pytest

from gateway.results.figures import difference, figures, places_of, reading
from gateway.results.plots import Moment, curve, span
from gateway.results.shown import as_json
from tests.results.drawn import Tallies, study


def shown(a: float, b: float, n: int = 2000, *, days: int = 1, **plan: Any) -> dict[str, Any]:
    """Results of two arms whose success rates are exactly so."""
    tallies = Tallies()
    for day in range(days):
        for arm, rate in (("a", a), ("b", b)):
            ones = round(n * rate / days)
            tallies.calls(arm, [1.0] * ones + [0.0] * (n // days - ones), day=20_000 + day)
    return as_json(tallies.evaluate(study(**plan), days=days))


@pytest.mark.parametrize(("a", "b", "said"), [(0.5, 0.7, "better"), (0.7, 0.5, "worse"), (0.5, 0.5, "not certain")])
def test_an_interval_is_said_in_a_word(a: float, b: float, said: str) -> None:
    primary = figures(shown(a, b)).primary
    assert primary is not None
    (effect,) = primary.effects
    assert effect.said == said
    assert effect.tone == {"better": "good", "worse": "bad"}.get(said, "")
    assert effect.difference in effect.label
    assert [one.text for one in primary.readings] == [f"{a:.1%}".replace("%", " %"), f"{b:.1%}".replace("%", " %")]


def test_fewer_is_better_where_the_plan_says_so() -> None:
    primary = {"metric": "success", "better": "lower", "min_effect": 0.05}
    line = figures(shown(0.5, 0.3, primary=primary)).primary
    assert line is not None
    assert (line.effects[0].said, line.effects[0].tone) == ("better", "good")


def test_what_has_no_interval_yet_is_collecting() -> None:
    line = figures(shown(0.5, 0.5, 8)).primary
    assert line is not None
    assert (line.effects[0].said, line.effects[0].interval) == ("collecting: 4 of 10", "")


def test_checks_come_gravest_first_and_silent_ones_are_counted() -> None:
    results = shown(0.5, 0.5)
    results["health"] = [
        {"check": "one", "number": 1, "status": "info", "text": "i"},
        {"check": "two", "number": 2, "status": "ok", "text": ""},
        {"check": "three", "number": 3, "status": "block", "text": "b"},
        {"check": "four", "number": 4, "status": "warn", "text": "w"},
    ]
    found = figures(results)
    assert ([one.level for one in found.found], found.quiet) == (["block", "warn", "info"], 1)


def test_the_days_are_drawn_and_told() -> None:
    found = figures(shown(0.5, 0.6, 1200, days=6))
    (course,) = found.courses
    assert course.curve is not None
    assert len(course.days) == len(course.curve.dots) == 6
    assert course.days[-1].so_far.startswith("+10.0 points (")
    assert [one.at for one in course.curve.ticks][::-1][:1] == [100.0]
    assert course.curve.ticks[0].at == 0.0


def test_the_calls_of_each_day_are_counted_by_arm() -> None:
    tallies = Tallies()
    for day, (a, b) in ((20_000, (6, 2)), (20_002, (3, 1))):
        for arm, count in (("a", a), ("b", b)):
            tallies.calls(arm, [1.0] * count, day=day)
    results = as_json(tallies.evaluate(study(), days=3))
    assert results["calls_by_day"] == [
        {"day": "2024-10-04", "arms": {"a": 6, "b": 2}},
        {"day": "2024-10-06", "arms": {"a": 3, "b": 1}},
    ]
    daily = figures(results).daily
    assert daily is not None
    assert (daily.arms, [day.counts["a"] for day in daily.columns]) == (("a", "b"), [6, 0, 3])
    first, empty, last = daily.columns
    assert [(one.arm, one.top, one.height) for one in first.blocks] == [("a", 25.0, 75.0), ("b", 0.0, 25.0)]
    assert (empty.day, empty.blocks) == ("2024-10-05", ())
    assert last.blocks[-1].top == 50.0
    assert [one.label for one in daily.ticks] == ["8", "6", "4", "2", "0"]
    assert (first.left, first.left + last.left + last.width) == (3.333, 100.0)


def test_rates_differ_by_a_hundred_points_at_most() -> None:
    wide = Moment(day="2026-05-01", n=4, alone=0.5, alone_low=-2.0, alone_high=3.0, so_far=0.5, low=-5.0, high=6.0)
    drawn = curve([wide], kind="rate")
    assert drawn is not None
    assert (drawn.ticks[0].label, drawn.ticks[-1].label) == ("+100", "−100")
    results = shown(0.5, 0.6, 1200, days=2)
    results["days"]["b"][0]["so_far"] |= {"low": -5.0, "high": 6.0}
    assert figures(results).courses[0].days[0].so_far.endswith("(−100.0 to +100.0)")


def test_nobody_has_called_yet() -> None:
    assert figures(as_json(Tallies().evaluate(study()))).daily is None


def test_means_have_as_many_places_as_tell_them_apart() -> None:
    assert [places_of([one]) for one in (312.0, 31.2, 3.12, 0.31, 0.0312, 0.0, None)] == [0, 1, 2, 2, 3, 0, 0]
    assert (reading(0.2, "mean", 2), difference(-0.004, "mean", 2)) == ("0.20", "+0.00")


def test_segments_are_said_in_words() -> None:
    results = shown(0.5, 0.5)
    halves = {arm: {"n": 100, "mean": 0.5} for arm in "ab"}
    segment = {"arms": halves, "difference": 0.0, "low": -0.1, "high": 0.1}
    results["strata"] = [
        {"name": name, "arm": "b", "planned": True, "segments": [segment | {"value": value}]}
        for name, value in (("new_caller", "no"), ("var:home_town", "Rome"))
    ]
    told = [(cut.title, cut.parts[0].value) for cut in figures(results).cuts]
    assert told == [("caller", "called before"), ("home town", "Rome")]


def test_numbers_stand_in_their_units() -> None:
    assert (reading(0.5834, "rate"), reading(145.8, "mean"), reading(None, "rate")) == ("58.3 %", "146", "–")
    assert (reading(12345.6, "mean"), reading(0.0, "mean")) == ("12\N{NARROW NO-BREAK SPACE}346", "0")
    assert (difference(0.14, "rate"), difference(-23.3, "mean")) == ("+14.0 points", "−23.3")
    assert (difference(None, "mean"), difference(-0.0, "rate")) == ("–", "+0.0 points")


def test_nought_is_in_the_middle_and_everything_inside() -> None:
    one = span(0.14, 0.047, 0.234, margins=(-0.05, 0.05))
    assert one.zero == 50
    places = [one.point, one.low, one.high, *one.margins]
    assert all(place is not None and 0 < place < 100 for place in places)
    assert one.low is not None
    assert one.low > 50
    assert span(0.0, None, None).point == 50
    unknown = span(0.2, None, None).point
    assert unknown is not None
    assert 50 < unknown < 70


def test_an_early_wide_interval_does_not_flatten_the_rest() -> None:
    def moment(day: int, half: float) -> Moment:
        told = {"alone": 0.05, "alone_low": None, "alone_high": None}
        return Moment(day=f"2026-05-{day:02d}", n=90, so_far=0.05, low=0.05 - half, high=0.05 + half, **told)

    drawn = curve([moment(1, 5.0), moment(2, 0.1), moment(3, 0.04)], kind="rate")
    assert drawn is not None
    assert [one.label for one in drawn.ticks] == ["+20", "+10", "0", "−10", "−20"]
    xs = [float(point.split(",")[0]) for point in drawn.line.split()]
    assert xs == [0, 50, 100]
    assert all(0 <= float(each) <= 100 for point in drawn.band.split() for each in point.split(","))
    assert curve([], kind="rate") is None
