"""Welch and Mann-Whitney against scipy; moments against numpy; quantiles from bins against the values themselves."""

import math

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats

from gateway.stats import bins, means
from gateway.stats.effect import difference, log_ratio, pooled_variance
from gateway.stats.moments import Moments, Rate, total
from tests.stats.known import known


def of(values: npt.NDArray[np.float64]) -> Moments:
    return Moments(n=len(values), mean=float(values.mean()), m2=float(np.square(values - values.mean()).sum()))


def drawn(rng: np.random.Generator, least: int = 2) -> npt.NDArray[np.float64]:
    scale, place = float(rng.lognormal(0, 2)), float(rng.normal(0, 100))
    return rng.normal(place, scale, int(rng.integers(least, 400)))


def test_moments_merge_in_any_order_to_what_numpy_reads(rng: np.random.Generator) -> None:
    for _ in range(300):
        values = drawn(rng, 8)
        parts = [
            of(part) if len(part) else Moments() for part in np.split(values, sorted(rng.integers(0, len(values), 5)))
        ]
        for whole in (total(parts), total(reversed(parts))):
            assert whole.n == len(values)
            assert whole.mean == pytest.approx(values.mean(), rel=1e-10)
            assert whole.variance == pytest.approx(values.var(ddof=1), rel=1e-8)


def test_a_part_is_taken_out_of_moments_again(rng: np.random.Generator) -> None:
    for _ in range(300):
        values = drawn(rng, 8)
        part, rest = np.split(values, [int(rng.integers(1, len(values) - 2))])
        left = of(values) - of(part)
        assert left.n == len(rest)
        assert left.mean == pytest.approx(rest.mean(), rel=1e-8)
        assert left.variance == pytest.approx(rest.var(ddof=1), rel=1e-6, abs=1e-12)
    whole = of(np.array([1.0, 2.0]))
    assert whole - Moments() == whole
    assert ((whole - whole).n, (Moments() - whole).n) == (0, 0)


def test_welch_agrees_with_scipy(rng: np.random.Generator) -> None:
    for _ in range(1000):
        x, y = drawn(rng), drawn(rng)
        theirs = stats.ttest_ind(y, x, equal_var=False)
        mine = known(means.welch(of(x), of(y)))
        assert (mine.statistic, mine.df) == pytest.approx((theirs.statistic, theirs.df), rel=1e-8)
        assert mine.p == pytest.approx(theirs.pvalue, rel=1e-7, abs=1e-290)
        interval, ends = known(means.welch_interval(of(x), of(y), alpha=0.1)), theirs.confidence_interval(0.9)
        assert (interval.low, interval.high) == pytest.approx((ends.low, ends.high), rel=1e-7, abs=1e-9)


def test_the_pooled_variance_is_students(rng: np.random.Generator) -> None:
    for _ in range(200):
        x, y = drawn(rng), drawn(rng)
        t = (y.mean() - x.mean()) / math.sqrt(pooled_variance(of(x), of(y)) * (1 / len(x) + 1 / len(y)))
        assert t == pytest.approx(stats.ttest_ind(y, x, equal_var=True).statistic, rel=1e-8)


def test_mann_whitney_agrees_with_scipy(rng: np.random.Generator) -> None:
    for _ in range(1000):
        grades = int(rng.integers(2, 30))
        x, y = (rng.poisson(rng.uniform(1, 10), int(rng.integers(3, 200))) % grades for _ in range(2))
        mine = bins.mann_whitney(np.bincount(x, minlength=grades), np.bincount(y, minlength=grades))
        if len(set(x) | set(y)) < 2:
            assert mine is None
            continue
        theirs = stats.mannwhitneyu(x, y, method="asymptotic")
        assert (known(mine).statistic, known(mine).p) == pytest.approx((theirs.statistic, theirs.pvalue))


@pytest.mark.parametrize("q", [0.0, 0.1, 0.5, 0.9, 0.995, 1.0])
def test_a_quantile_from_bins_is_within_a_bin_of_the_values(rng: np.random.Generator, q: float) -> None:
    edges = bins.log_edges(1.0, 7200.0)
    width = edges[1] / edges[0]
    for _ in range(10):
        values = np.clip(rng.lognormal(4.5, 1.0, 3000), 1.0, 7199.0)
        counts = np.bincount([bins.bin_of(value, edges) for value in values], minlength=60)
        exact = np.quantile(values, q)
        assert exact / width < bins.quantile(counts, edges, q) < exact * width


def test_a_value_beyond_the_edges_is_in_the_outermost_bin() -> None:
    edges = bins.log_edges(1.0, 100.0, bins=4)
    assert [bins.bin_of(value, edges) for value in (0.0, 1.0, 99.0, 100.0, 5000.0)] == [0, 0, 3, 3, 3]


def test_a_quantile_skips_bins_without_calls() -> None:
    assert bins.quantile([0, 4, 0, 4, 0], [1, 2, 4, 8, 16, 32], 0.0) == pytest.approx(2.0)
    assert bins.quantile([0, 4, 0, 4, 0], [1, 2, 4, 8, 16, 32], 0.5) == pytest.approx(4.0)
    assert bins.quantile([0, 4, 0, 4, 0], [1, 2, 4, 8, 16, 32], 1.0) == pytest.approx(16.0)


def test_geometric_means_are_read_from_logs(rng: np.random.Generator) -> None:
    x, y = rng.lognormal(4.0, 1.0, 500), rng.lognormal(4.2, 1.0, 500)
    a, b = of(np.log(x)), of(np.log(y))
    assert bins.geometric_mean(a) == pytest.approx(stats.gmean(x))
    assert math.exp(known(difference([(a, b)])).value) == pytest.approx(stats.gmean(y) / stats.gmean(x))


def test_winsorising_caps_and_nothing_else() -> None:
    assert [bins.winsorise(value, 1800.0) for value in (0.0, 1799.5, 1800.0, 9000.0)] == [0.0, 1799.5, 1800.0, 1800.0]


def test_what_cannot_be_computed_is_none_or_nan() -> None:
    one, many, constant = of(np.array([3.0])), of(np.array([1.0, 2.0, 4.0])), Moments(n=5, mean=2.0, m2=0.0)
    assert means.welch(one, many) is None
    assert means.welch_interval(many, Moments()) is None
    assert means.welch(constant, constant) is None
    assert means.welch(Rate(n=1, successes=1), Rate(n=9, successes=3)) is None
    assert math.isnan(one.variance)
    assert math.isnan(Moments().mean)
    assert math.isnan(pooled_variance(one, one))
    assert math.isnan(bins.quantile([0, 0], [1, 2, 3], 0.5))
    assert math.isnan(bins.geometric_mean(Moments()))
    assert bins.mann_whitney([0, 0], [1, 2]) is None
    assert log_ratio([(Moments(n=5, mean=-1.0, m2=3.0), many)]) is None


def test_impossible_input_is_refused() -> None:
    with pytest.raises(ValueError, match="edges from 0"):
        bins.log_edges(0.0, 5.0)
    with pytest.raises(ValueError, match="2 bins with 2 edges"):
        bins.quantile([1, 2], [1, 2], 0.5)
    with pytest.raises(ValueError, match="sum of squares of -1"):
        Moments(n=2, mean=0.0, m2=-1.0)


def test_a_cell_of_noughts_and_ones_is_a_rate() -> None:
    values = np.array([0.0, 1.0, 1.0, 0.0, 1.0])
    assert of(values).as_rate() == Rate(n=5, successes=3)
    assert Moments().as_rate() == Rate()
