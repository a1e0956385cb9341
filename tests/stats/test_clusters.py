"""The variance by caller, against cluster-robust regression, and its sums under any order of changes."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.regression.linear_model import OLS

from gateway.stats.clusters import Clusters, cluster_difference, design_effect
from gateway.stats.effect import unpooled_difference
from gateway.stats.moments import Moments, Rate
from tests.stats.known import known


def drawn(rng: np.random.Generator, callers: int, *, spread: float = 2.0) -> tuple[list[int], list[float]]:
    """For each call its caller and its outcome, a rate that differs from caller to caller."""
    who: list[int] = []
    outcome: list[float] = []
    for caller in range(callers):
        calls, p = int(rng.geometric(0.4)), rng.beta(spread, spread)
        who += [caller] * calls
        outcome += [float(one) for one in rng.random(calls) < p]
    return who, outcome


def sums(who: list[int], outcome: list[float]) -> Clusters:
    calls, totals = np.bincount(who), np.bincount(who, weights=outcome)
    return Clusters.of(zip(calls.tolist(), totals.tolist(), strict=True))


def test_the_variance_is_that_of_cluster_robust_regression(rng: np.random.Generator) -> None:
    for _ in range(300):
        who, outcome = drawn(rng, int(rng.integers(3, 60)))
        mine = sums(who, outcome)
        fit = OLS(outcome, np.ones(len(outcome))).fit(
            cov_type="cluster", cov_kwds={"groups": np.array(who), "use_correction": False}
        )
        callers = len(set(who))
        assert mine.mean == pytest.approx(fit.params[0])
        assert mine.variance_of_mean == pytest.approx(fit.bse[0] ** 2 * callers / (callers - 1), rel=1e-6, abs=1e-12)


def test_one_call_each_is_the_plain_variance() -> None:
    a = Clusters.of((1, float(value)) for value in (3, 5, 9, 11))
    plain = Moments(n=4, mean=7.0, m2=40.0)
    assert a.mean == plain.mean
    assert a.variance_of_mean == pytest.approx(plain.variance / 4)
    assert design_effect(a, plain) == pytest.approx(1.0)
    assert known(cluster_difference([(a, a)])).variance == pytest.approx(
        known(unpooled_difference(plain, plain)).variance
    )


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 9), st.floats(0, 50)), max_size=30))
def test_changed_callers_leave_the_sums_of_where_they_ended(changes: list[tuple[int, int, float]]) -> None:
    """Late, repeated and corrected outcomes, in any order."""
    found, standing = Clusters(), dict.fromkeys(range(6), (0, 0.0))
    for caller, calls, amount in changes:
        after = (calls, amount if calls else 0.0)
        found = found.moved(standing[caller], after)
        standing[caller] = after
    fresh = Clusters.of(one for one in standing.values())
    assert found.callers == fresh.callers
    for name in ("n", "y", "nn", "yy", "ny"):
        assert getattr(found, name) == pytest.approx(getattr(fresh, name), abs=1e-6)


def test_the_difference_counts_callers_and_is_stratified_by_epoch(rng: np.random.Generator) -> None:
    first, second = [(sums(*drawn(rng, 80)), sums(*drawn(rng, 20))) for _ in range(2)]
    gap = known(cluster_difference([first, second]))
    assert gap.n == 200
    w = [a.n * b.n / (a.n + b.n) for a, b in (first, second)]
    means = [b.mean - a.mean for a, b in (first, second)]
    assert gap.value == pytest.approx((w[0] * means[0] + w[1] * means[1]) / sum(w))
    alone = (Clusters.of([(2, 1.0)]), sums(*drawn(rng, 30)))
    assert cluster_difference([first, second, alone]) == gap


def test_frequent_callers_make_calls_worth_less(rng: np.random.Generator) -> None:
    who, outcome = drawn(rng, 400, spread=0.3)
    calls = Rate(n=len(outcome), successes=int(sum(outcome)))
    assert design_effect(sums(who, outcome), calls) > 1.2


def test_what_cannot_be_computed_is_none_or_nan() -> None:
    one = Clusters.of([(3, 2.0)])
    assert math.isnan(one.variance_of_mean)
    assert math.isnan(Clusters().mean)
    assert cluster_difference([(one, one)]) is None
    assert cluster_difference([]) is None
    same = Clusters.of([(2, 2.0), (1, 1.0)])
    assert cluster_difference([(same, same)]) is None
    assert math.isnan(design_effect(one, Rate()))
