"""Effects: the difference stratified by epoch, the ratio, and what is said when nothing can be computed."""

import math

import numpy as np
import pytest

from gateway.stats.effect import (
    Effect,
    Interval,
    chance_to_win,
    difference,
    lift_interval,
    log_ratio,
    relative_lift,
    unpooled_difference,
    variance_of_rates,
)
from gateway.stats.moments import Moments, Rate
from tests.stats.known import known


def drawn_rate(rng: np.random.Generator) -> Rate:
    n = int(rng.integers(1, 2000))
    return Rate(n=n, successes=int(rng.binomial(n, rng.beta(0.8, 0.8))))


def test_one_cell_has_the_larger_of_both_variances(rng: np.random.Generator) -> None:
    for _ in range(1000):
        a, b = drawn_rate(rng), drawn_rate(rng)
        p_a, p_b, p = a.mean, b.mean, (a.successes + b.successes) / (a.n + b.n)
        unpooled = p_a * (1 - p_a) / a.n + p_b * (1 - p_b) / b.n
        pooled = p * (1 - p) * (1 / a.n + 1 / b.n)
        gap = difference([(a, b)])
        if max(unpooled, pooled) == 0:
            assert gap is None
            continue
        assert known(gap).value == pytest.approx(p_b - p_a, abs=1e-15)
        assert known(gap).variance == pytest.approx(max(unpooled, pooled))
        assert known(gap).variance == pytest.approx(float(variance_of_rates(a.successes, a.n, b.successes, b.n)))
        assert known(gap).n == a.n + b.n


def test_a_small_arm_without_success_is_not_certain() -> None:
    """Its own variance is 0, which is why the pooled one is asked too."""
    a, b = Rate(n=900, successes=18), Rate(n=100, successes=0)
    assert known(difference([(a, b)])).se > 0.014
    assert known(unpooled_difference(a, b)).se < 0.005


def test_epochs_are_weighted_by_what_they_can_tell() -> None:
    cells = [
        (Moments(n=90, mean=10.0, m2=800.0), Moments(n=10, mean=12.0, m2=100.0)),
        (Moments(n=50, mean=30.0, m2=450.0), Moments(n=50, mean=31.0, m2=500.0)),
    ]
    gap = known(difference(cells))
    assert gap.value == pytest.approx((9 * 2.0 + 25 * 1.0) / 34)
    assert gap.n == 200
    single = [known(difference([cell])) for cell in cells]
    assert gap.variance == pytest.approx((81 * single[0].variance + 625 * single[1].variance) / 34**2)


def test_a_ramp_with_drift_does_not_move_the_stratified_difference() -> None:
    """Same rates in both arms; B gets more calls when the rate is lower."""
    epochs = [
        (Rate(n=9000, successes=6300), Rate(n=1000, successes=700)),
        (Rate(n=5000, successes=2500), Rate(n=5000, successes=2500)),
    ]
    assert known(difference(epochs)).value == pytest.approx(0.0, abs=1e-12)
    a, b = epochs[0][0] + epochs[1][0], epochs[0][1] + epochs[1][1]
    assert known(difference([(a, b)])).z < -10


def test_cells_that_cannot_be_compared_are_left_out() -> None:
    cell = (Moments(n=40, mean=1.0, m2=30.0), Moments(n=40, mean=2.0, m2=35.0))
    lonely = (Moments(n=1, mean=99.0), Moments(n=1, mean=-99.0))
    one_armed = (Moments(n=500, mean=7.0, m2=100.0), Moments())
    assert difference([lonely, cell, one_armed]) == difference([cell])
    assert known(difference([cell])).n == 80
    assert difference([lonely, one_armed]) is None
    assert difference([(Rate(), Rate(n=4, successes=1))]) is None


def test_an_arm_of_one_call_borrows_the_others_variance() -> None:
    gap = known(difference([(Moments(n=41, mean=1.0, m2=40.0), Moments(n=1, mean=3.0))]))
    assert gap.variance == pytest.approx(1.0 * (1 / 41 + 1))


def test_a_metric_that_never_varies_has_no_effect() -> None:
    assert difference([(Rate(n=50), Rate(n=60))]) is None
    assert difference([(Moments(n=9, mean=3.0), Moments(n=9, mean=4.0))]) is None
    assert unpooled_difference(Rate(), Rate(n=3, successes=1)) is None
    assert relative_lift(Moments(n=9, mean=0.0, m2=4.0), Moments(n=9, mean=1.0, m2=4.0)) is None


def test_the_log_ratio_is_the_delta_method() -> None:
    a, b = Moments(n=400, mean=90.0, m2=399 * 900.0), Moments(n=400, mean=99.0, m2=399 * 1600.0)
    gap = known(log_ratio([(a, b)]))
    assert gap.value == pytest.approx(math.log(1.1))
    own = 900 / 400 / 90**2 + 1600 / 400 / 99**2
    pooled = 1250 / 400 * (1 / 90**2 + 1 / 99**2)
    assert gap.variance == pytest.approx(max(own, pooled))
    lift = lift_interval(Interval(low=gap.value - 20, high=gap.value))
    assert lift.low > -1
    assert lift.high == pytest.approx(0.1)


def test_the_log_ratio_spreads_as_its_variance_says(rng: np.random.Generator) -> None:
    found = []
    for _ in range(3000):
        cells = [
            (Rate(n=n_a, successes=int(rng.binomial(n_a, p))), Rate(n=n_b, successes=int(rng.binomial(n_b, p * 1.2))))
            for n_a, n_b, p in ((450, 50, 0.4), (300, 300, 0.6))
        ]
        found.append(known(log_ratio(cells)))
    values = np.array([one.value for one in found])
    assert values.mean() == pytest.approx(math.log(1.2), abs=0.005)
    assert np.mean([one.variance for one in found]) == pytest.approx(values.var(), rel=0.1)


def test_a_rate_of_nothing_has_no_ratio() -> None:
    assert log_ratio([(Rate(n=50), Rate(n=50, successes=3))]) is None
    assert log_ratio([]) is None


def test_intervals() -> None:
    one, other = Interval(low=-1.0, high=2.0), Interval(low=1.0, high=4.0)
    assert one & other == Interval(low=1.0, high=2.0)
    assert not (one & other).empty
    assert (Interval(low=3.0, high=4.0) & one).empty
    assert other.excludes(0.0)
    assert not one.excludes(0.0)
    assert one.within(2.1)
    assert not one.within(2.0)


def test_an_effect_without_variance_has_no_z() -> None:
    assert math.isnan(Effect(value=1.0, variance=0.0, n=5).z)
    assert chance_to_win(Effect(value=0.0, variance=1.0, n=5)) == 0.5
