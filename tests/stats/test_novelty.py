"""Effects that fade: how often the check warns with and without reason."""

import numpy as np
import pytest

from gateway.stats.moments import Rate
from gateway.stats.novelty import FROM_DAY, THRESHOLD, early_against_late, slope
from tests.stats.known import known

Days = list[tuple[int, Rate, Rate]]


def four_weeks(rng: np.random.Generator, *, effect: float = 0.0, novelty: float = 0.0) -> Days:
    """28 days of 100 calls per arm; the novelty halves every four days."""
    days = []
    for day in range(1, 29):
        b = 0.5 + effect + novelty * 0.5 ** ((day - 1) / 4)
        a_won, b_won = int(rng.binomial(100, 0.5)), int(rng.binomial(100, b))
        days.append((day, Rate(n=100, successes=a_won), Rate(n=100, successes=b_won)))
    return days


def warned(days: Days) -> bool:
    """Whether any daily look from the tenth day on warns."""
    return any(abs(known(early_against_late(days[:last])).z) > THRESHOLD for last in range(FROM_DAY, 29))


@pytest.mark.parametrize(("effect", "novelty", "share"), [(0.0, 0.0, 0.0322), (0.05, 0.0, 0.04), (0.0, 0.10, 0.276)])
def test_the_daily_check_warns_as_often_as_stated(
    rng: np.random.Generator, effect: float, novelty: float, share: float
) -> None:
    runs = 400
    found = sum(warned(four_weeks(rng, effect=effect, novelty=novelty)) for _ in range(runs)) / runs
    assert found == pytest.approx(share, abs=0.04)


@pytest.mark.parametrize(("novelty", "share"), [(0.0, 0.0528), (0.10, 0.437)])
def test_the_slope_at_the_end_finds_as_much_as_stated(rng: np.random.Generator, novelty: float, share: float) -> None:
    runs = 1000
    found = sum(known(slope(four_weeks(rng, novelty=novelty)))[1].p < 0.05 for _ in range(runs)) / runs
    assert found == pytest.approx(share, abs=0.04)


def test_a_fading_effect_is_positive_early_and_falls() -> None:
    days = [(day, Rate(n=1000, successes=500), Rate(n=1000, successes=600 - 4 * day)) for day in range(1, 21)]
    assert known(early_against_late(days)).value > 0.03
    change, test = known(slope(days))
    assert change == pytest.approx(-0.004, abs=1e-4)
    assert test.p < 1e-4


def test_too_few_days_say_nothing() -> None:
    first = [(1, Rate(n=9, successes=3), Rate(n=9, successes=4))]
    assert early_against_late(first) is None
    assert slope(first) is None
    assert slope([]) is None
