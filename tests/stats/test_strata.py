"""Mantel-Haenszel, heterogeneity, post-stratification and the warning of Simpson's paradox."""

import math
import warnings

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.contingency_tables import StratifiedTable

from gateway.stats import heterogeneity, strata
from gateway.stats.effect import Effect, difference, unpooled_difference
from gateway.stats.moments import Moments, Rate
from tests.stats.known import known


def drawn(rng: np.random.Generator, *, least: int, most: int) -> list[tuple[Rate, Rate]]:
    pairs = []
    for _ in range(int(rng.integers(2, 8))):
        n_a, n_b = (int(one) for one in rng.integers(least, most, 2))
        p = rng.uniform(0.1, 0.9)
        odds = rng.lognormal(0, 0.5) * p / (1 - p)
        pairs.append(
            (
                Rate(n=n_a, successes=int(rng.binomial(n_a, p))),
                Rate(n=n_b, successes=int(rng.binomial(n_b, odds / (1 + odds)))),
            )
        )
    return pairs


def oracle(pairs: list[tuple[Rate, Rate]]) -> StratifiedTable:
    return StratifiedTable([np.array([[b.successes, b.failures], [a.successes, a.failures]]) for a, b in pairs])


def test_mantel_haenszel_and_breslow_day_agree_with_statsmodels(rng: np.random.Generator) -> None:
    for _ in range(1000):
        pairs = drawn(rng, least=15, most=400)
        theirs = oracle(pairs)
        for continuity, corrected in ((0.5, True), (0.0, False)):
            test = theirs.test_null_odds(correction=corrected)
            mine = known(strata.cochran_mantel_haenszel(pairs, continuity=continuity))
            if mine.statistic or not corrected:
                assert (mine.statistic, mine.p) == pytest.approx((test.statistic, test.pvalue), rel=1e-7, abs=1e-9)
        odds = known(strata.mantel_haenszel_odds_ratio(pairs))
        ends = theirs.oddsratio_pooled_confint()
        assert (odds.value, odds.interval.low, odds.interval.high) == pytest.approx((theirs.oddsratio_pooled, *ends))
        if all(0 < (a + b).successes < (a + b).n for a, b in pairs):
            for tarone in (False, True):
                same = theirs.test_equal_odds(adjust=tarone)
                found = known(heterogeneity.breslow_day(pairs, tarone=tarone))
                assert (found.statistic, found.p) == pytest.approx((same.statistic, same.pvalue), rel=1e-6, abs=1e-8)


def test_the_common_difference_is_that_of_the_stratified_effect(rng: np.random.Generator) -> None:
    for _ in range(300):
        pairs = drawn(rng, least=30, most=500)
        mantel_haenszel, stratified = known(strata.mantel_haenszel_difference(pairs)), known(difference(pairs))
        assert mantel_haenszel.value == pytest.approx(stratified.value, abs=1e-12)
        assert mantel_haenszel.se == pytest.approx(stratified.se, rel=0.3)


def test_satos_variance_is_the_spread_of_many_sparse_strata(rng: np.random.Generator) -> None:
    found = []
    for _ in range(4000):
        p = rng.uniform(0.2, 0.6, 60)
        a, b = rng.binomial(2, p), rng.binomial(1, p + 0.2)
        rows = [(Rate(n=2, successes=int(x)), Rate(n=1, successes=int(y))) for x, y in zip(a, b, strict=True)]
        found.append(known(strata.mantel_haenszel_difference(rows)))
    values = np.array([one.value for one in found])
    assert values.mean() == pytest.approx(0.2, abs=0.01)
    assert np.mean([one.variance for one in found]) == pytest.approx(values.var(), rel=0.08)


def test_one_stratum_is_the_plain_difference() -> None:
    a, b = Moments(n=50, mean=3.0, m2=120.0), Moments(n=70, mean=3.4, m2=90.0)
    assert strata.post_stratified([(a, b)]) == unpooled_difference(a, b)


def test_cochrans_q_is_chi_squared_when_effects_are_equal(rng: np.random.Generator) -> None:
    p = []
    for _ in range(3000):
        variances = rng.uniform(0.5, 4.0, 5)
        values = rng.normal(1.0, np.sqrt(variances))
        effects = [Effect(value=v, variance=s, n=10) for v, s in zip(values, variances, strict=True)]
        p.append(known(heterogeneity.cochran_q(effects)).p)
    assert stats.kstest(p, "uniform").pvalue > 0.01


def test_gail_simon_asks_for_both_directions() -> None:
    up = [Effect(value=value, variance=0.01, n=100) for value in (0.5, 0.9, 0.2)]
    assert known(heterogeneity.gail_simon(up)).p == pytest.approx(1 - 0.25)
    down = [*up, Effect(value=-0.6, variance=0.01, n=100)]
    assert known(heterogeneity.gail_simon(down)).p < 1e-6


def test_simpson_warns_of_signs_and_of_distance() -> None:
    def effect(value: float, se: float = 0.01) -> Effect:
        return Effect(value=value, variance=se**2, n=1000)

    assert strata.simpson(effect(-0.03), effect(0.001))
    assert strata.simpson(effect(0.05), effect(0.03))
    assert not strata.simpson(effect(-0.004), effect(0.004))
    assert not strata.simpson(effect(0.035), effect(0.03))


def test_strata_that_cannot_tell_say_nothing() -> None:
    empty, some, all_won = Rate(), Rate(n=20, successes=8), Rate(n=20, successes=20)
    assert strata.cochran_mantel_haenszel([(empty, some)]) is None
    assert strata.cochran_mantel_haenszel([(all_won, all_won)]) is None
    assert strata.mantel_haenszel_odds_ratio([(Rate(n=5), Rate(n=5, successes=2))]) is None
    assert strata.mantel_haenszel_difference([(empty, some)]) is None
    assert strata.post_stratified([(Moments(n=1, mean=2.0), Moments(n=9, mean=2.0, m2=4.0))]) is None
    assert heterogeneity.cochran_q([Effect(value=1.0, variance=1.0, n=9)]) is None
    assert heterogeneity.woolf([(some, some)]) is None
    assert heterogeneity.breslow_day([(some, some), (all_won, all_won)]) is None
    assert heterogeneity.gail_simon([]) is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert strata.post_stratified([(empty, some)]) is None


def test_an_empty_stratum_changes_nothing(rng: np.random.Generator) -> None:
    pairs = drawn(rng, least=30, most=90)
    more = [*pairs, (Rate(), Rate(n=7, successes=3))]
    assert strata.mantel_haenszel_difference(more) == strata.mantel_haenszel_difference(pairs)
    assert strata.cochran_mantel_haenszel(more) == strata.cochran_mantel_haenszel(pairs)
    assert heterogeneity.breslow_day(more) == heterogeneity.breslow_day(pairs)
    assert not math.isnan(known(strata.mantel_haenszel_odds_ratio(more)).value)
