"""One look at rates and counts, against scipy and statsmodels on drawn tables."""

import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint, proportions_ztest
from statsmodels.stats.rates import test_poisson_2indep as poisson_oracle

from gateway.stats import proportions, srm, tables
from gateway.stats.effect import unpooled_difference, wald_interval
from gateway.stats.moments import Rate
from tests.stats.known import known


def drawn(rng: np.random.Generator, many: int, *, most: int) -> list[tuple[Rate, Rate]]:
    """Pairs of rates with everything from empty to full arms in them."""
    pairs = []
    for _ in range(many):
        n_a, n_b = (int(one) for one in rng.integers(1, most, 2))
        p_a, p_b = rng.beta(0.7, 0.7, 2)
        pairs.append(
            (
                Rate(n=n_a, successes=int(rng.binomial(n_a, p_a))),
                Rate(n=n_b, successes=int(rng.binomial(n_b, p_b))),
            )
        )
    return pairs


def test_z_and_intervals_agree_with_statsmodels(rng: np.random.Generator) -> None:
    for a, b in drawn(rng, 1000, most=5000):
        agrees_with_statsmodels(a, b)


def agrees_with_statsmodels(a: Rate, b: Rate) -> None:
    test = proportions.two_proportion_z(a, b)
    if 0 < (a + b).successes < a.n + b.n:
        z, p = proportions_ztest([b.successes, a.successes], [b.n, a.n])
        assert known(test).statistic == pytest.approx(z, rel=1e-9, abs=1e-12)
        assert known(test).p == pytest.approx(p, rel=1e-9)
    else:
        assert test is None
    for alpha in (0.05, 0.1):
        mine = known(proportions.newcombe_interval(a, b, alpha=alpha))
        theirs = confint_proportions_2indep(b.successes, b.n, a.successes, a.n, method="newcomb", alpha=alpha)
        assert (mine.low, mine.high) == pytest.approx(theirs, rel=1e-7, abs=1e-7)
        score = known(proportions.wilson_interval(a, alpha=alpha))
        wilson = proportion_confint(a.successes, a.n, method="wilson", alpha=alpha)
        assert (score.low, score.high) == pytest.approx(wilson, rel=1e-9, abs=1e-12)
    gap = unpooled_difference(a, b)
    if gap is not None:
        wald = confint_proportions_2indep(b.successes, b.n, a.successes, a.n, method="wald")
        mine = wald_interval(gap)
        assert (mine.low, mine.high) == pytest.approx(wald, rel=1e-7, abs=1e-9)


def test_fisher_agrees_with_scipy(rng: np.random.Generator) -> None:
    for a, b in drawn(rng, 1000, most=60):
        theirs = stats.fisher_exact(np.array([[a.successes, a.failures], [b.successes, b.failures]])).pvalue
        assert proportions.fisher_exact(a, b) == pytest.approx(theirs, rel=1e-8), (a, b)


def test_the_exact_binomial_test_agrees_with_scipy(rng: np.random.Generator) -> None:
    for _ in range(1000):
        n, p = int(rng.integers(1, 400)), float(rng.uniform(0.01, 0.99))
        x = int(rng.binomial(n, rng.uniform(0.0, 1.0)))
        assert proportions.binomial_test(x, n, p) == pytest.approx(
            stats.binomtest(x, n, p).pvalue, rel=1e-8, abs=1e-200
        )


def test_poisson_rates_agree_with_statsmodels(rng: np.random.Generator) -> None:
    for _ in range(200):
        (a, b), (of_a, of_b) = rng.integers(1, 80, 2), rng.uniform(10, 500, 2)
        ratio, p = proportions.compare_event_rates(int(a), of_a, int(b), of_b)
        theirs = poisson_oracle(int(b), of_b, int(a), of_a, method="exact-cond")
        assert ratio == pytest.approx(theirs.ratio)
        assert p == pytest.approx(theirs.pvalue, rel=1e-7)


def test_chi_squared_agrees_with_scipy(rng: np.random.Generator) -> None:
    for _ in range(1000):
        table = rng.poisson(rng.uniform(1, 80), rng.integers(2, 6, 2)) + 1
        theirs = stats.chi2_contingency(table, correction=False)
        mine = known(tables.chi_squared(table))
        assert (mine.statistic, mine.p, mine.df) == pytest.approx((theirs.statistic, theirs.pvalue, theirs.dof))
        assert tables.expected_counts(table) == pytest.approx(theirs.expected_freq)
        two = table[:2, :2]
        yates = stats.chi2_contingency(two, correction=True)
        assert known(tables.yates_chi_squared(two)).p == pytest.approx(yates.pvalue)


def test_goodness_of_the_split_agrees_with_scipy(rng: np.random.Generator) -> None:
    for _ in range(1000):
        weights = rng.dirichlet([3.0] * int(rng.integers(2, 6)))
        counts = rng.multinomial(int(rng.integers(10, 10_000)), weights)
        theirs = stats.chisquare(counts, weights * counts.sum())
        mine = known(srm.chi_squared_srm(counts.tolist(), weights.tolist()))
        assert (mine.statistic, mine.p) == pytest.approx((theirs.statistic, theirs.pvalue))


def test_categories_nobody_is_in_do_not_count() -> None:
    with_empty = known(tables.chi_squared([[10, 0, 20], [15, 0, 9]]))
    assert with_empty == tables.chi_squared([[10, 20], [15, 9]])
    assert with_empty.df == 1


def test_what_cannot_be_computed_is_none() -> None:
    empty, some = Rate(), Rate(n=10, successes=4)
    assert proportions.two_proportion_z(empty, some) is None
    assert proportions.two_proportion_z(Rate(n=5), Rate(n=9)) is None
    assert proportions.newcombe_interval(empty, some) is None
    assert proportions.wilson_interval(empty) is None
    assert tables.chi_squared([[10, 0], [5, 0]]) is None
    assert tables.chi_squared([[0, 0], [0, 0]]) is None
    assert tables.trend_test([Rate(n=5), Rate(n=9)]) is None
    assert tables.trend_test([empty, empty]) is None
    assert srm.chi_squared_srm([0, 0], [0.5, 0.5]) is None
    assert srm.chi_squared_srm([10], [1.0]) is None
    assert math.isnan(proportions.compare_event_rates(0, 1.0, 3, 1.0)[0])


def test_impossible_input_is_refused() -> None:
    with pytest.raises(ValueError, match="11 successes of 10"):
        Rate(n=10, successes=11)
    with pytest.raises(ValueError, match="2x2"):
        tables.yates_chi_squared([[1, 2, 3], [4, 5, 6]])
    with pytest.raises(ValueError, match="above 0"):
        srm.chi_squared_srm([1, 2], [1.0, 0.0])
    with pytest.raises(ValueError, match="1 of 2 against"):
        proportions.binomial_test(1, 2, 1.5)
    with pytest.raises(ValueError, match="2 scores for 1"):
        tables.trend_test([Rate(n=2, successes=1)], [1, 2])
