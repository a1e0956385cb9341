"""Whole experiments without a difference, read again and again: the rule is quiet where a plainer one is fooled."""

import math

import numpy as np
import numpy.typing as npt
import pytest

from gateway.stats.clusters import Clusters, cluster_difference
from gateway.stats.effect import Effect, difference, unpooled_difference, variance_of_rates
from gateway.stats.moments import Moments, Rate
from gateway.stats.multiple import holm
from gateway.stats.planning import per_arm_of_rates, plan
from gateway.stats.sequential import (
    NEEDED_OF_A_RATE,
    always_valid_p,
    confidence_sequence,
    log_e_value,
    log_evidence,
    tuning,
)

Floats = npt.NDArray[np.float64]


def wins(effect: Effect | None, r2: float) -> bool:
    return effect is not None and confidence_sequence(effect, r2=r2).excludes(0.0)


def test_a_ramp_with_drift_fools_the_pooled_rate_and_not_the_stratified(rng: np.random.Generator) -> None:
    """10% to B, then 50%, while the rate falls by ten points."""
    runs, r2 = 300, tuning(10_000)
    pooled_wins = stratified_wins = 0
    for _ in range(runs):
        epochs: list[tuple[Rate, Rate]] = [(Rate(), Rate()), (Rate(), Rate())]
        pooled = stratified = False
        for look in range(50):
            late = look >= 25
            n_b = int(rng.binomial(200, 0.5 if late else 0.1))
            won_a, won_b = (int(rng.binomial(n, 0.5 if late else 0.6)) for n in (200 - n_b, n_b))
            a, b = epochs[late]
            epochs[late] = (a + Rate(n=200 - n_b, successes=won_a), b + Rate(n=n_b, successes=won_b))
            pooled = pooled or wins(difference([(epochs[0][0] + epochs[1][0], epochs[0][1] + epochs[1][1])]), r2)
            stratified = stratified or wins(difference(epochs), r2)
        pooled_wins, stratified_wins = pooled_wins + pooled, stratified_wins + stratified
    assert stratified_wins / runs <= 0.05
    assert pooled_wins / runs >= 0.9


def sticky_arm(
    rng: np.random.Generator, callers: int, icc: float, *, rate: float = 0.5
) -> tuple[list[float], list[float]]:
    """Calls and successes of each caller: three calls on average, 2% make twenty more."""
    calls = rng.geometric(1 / 3, callers) + 20 * (rng.random(callers) < 0.02)
    p = rng.beta(rate * (1 - icc) / icc, (1 - rate) * (1 - icc) / icc, callers)
    return calls.astype(float).tolist(), rng.binomial(calls, p).astype(float).tolist()


def test_sticky_callers_fool_the_variance_by_call_and_not_the_one_by_caller(rng: np.random.Generator) -> None:
    runs, icc = 300, 0.5
    by_call_wins = by_caller_wins = 0
    for _ in range(runs):
        arms = [list(zip(*sticky_arm(rng, 1000, icc), strict=True)) for _ in range(2)]
        by_call = by_caller = False
        sums = [Clusters(), Clusters()]
        for callers in range(0, 1000, 100):
            sums = [one + Clusters.of(arm[callers : callers + 100]) for one, arm in zip(sums, arms, strict=True)]
            rates = [Rate(n=int(one.n), successes=int(one.y)) for one in sums]
            by_call = by_call or wins(difference([(rates[0], rates[1])]), tuning(6000))
            by_caller = by_caller or wins(cluster_difference([(sums[0], sums[1])]), tuning(2000))
        by_call_wins, by_caller_wins = by_call_wins + by_call, by_caller_wins + by_caller
    assert by_caller_wins / runs <= 0.05
    assert by_call_wins / runs >= 0.12


def test_a_small_sticky_arm_needs_the_pooled_variance_too(rng: np.random.Generator) -> None:
    """One caller of ten to B, who completes nine calls of ten; each arm's own variance alone finds too many
    winners.
    """
    runs, r2 = 300, tuning(2000)
    own_wins = largest_wins = 0
    for _ in range(runs):
        arms = [list(zip(*sticky_arm(rng, callers, 0.5, rate=0.9), strict=True)) for callers in (2700, 300)]
        own = largest = False
        sums = [Clusters(), Clusters()]
        for look in range(0, 300, 2):
            spans = [arm[look * share : (look + 2) * share] for arm, share in zip(arms, (9, 1), strict=True)]
            sums = [one + Clusters.of(span) for one, span in zip(sums, spans, strict=True)]
            a, b = sums
            if min(a.y, a.n - a.y, b.y, b.n - b.y) < NEEDED_OF_A_RATE:
                continue
            unpooled = a.variance_of_mean + b.variance_of_mean
            own = own or wins(Effect(value=b.mean - a.mean, variance=unpooled, n=a.callers + b.callers), r2)
            largest = largest or wins(cluster_difference([(a, b)]), r2)
        own_wins, largest_wins = own_wins + own, largest_wins + largest
    assert largest_wins / runs <= 0.03
    assert own_wins / runs >= 0.05


def moments_at(values: Floats, ends: list[int]) -> list[Moments]:
    """The moments of the first so many values, for each of the ends."""
    found = []
    for end in ends:
        seen = values[:end]
        found.append(Moments(n=end, mean=float(seen.mean()), m2=float(seen.var() * end)))
    return found


def test_heavy_tails_in_a_small_arm_fool_the_plain_variance_and_not_the_capped_mean(rng: np.random.Generator) -> None:
    """Lognormal durations, sigma 1.6, one call of ten to B, cap at the 99.5% quantile."""
    runs, r2, cap = 300, tuning(2000), math.exp(1.6 * 2.5758)
    plain_wins = capped_wins = 0
    ends = np.unique(np.geomspace(100, 2000, 40).astype(int)).tolist()
    for _ in range(runs):
        a, b = rng.lognormal(0, 1.6, 18_000), rng.lognormal(0, 1.6, 2000)
        nine = [9 * end for end in ends]
        plain = zip(moments_at(a, nine), moments_at(b, ends), strict=True)
        capped = zip(moments_at(np.minimum(a, cap), nine), moments_at(np.minimum(b, cap), ends), strict=True)
        plain_wins += any(wins(unpooled_difference(one, other), r2) for one, other in plain)
        capped_wins += any(wins(difference([(one, other)]), r2) for one, other in capped)
    assert capped_wins / runs <= 0.05
    assert plain_wins / runs >= 0.06


def test_eight_metrics_with_holm_stay_quiet(rng: np.random.Generator) -> None:
    """Any of eight uncorrelated rates, each with its smallest p so far."""
    runs, r2 = 200, tuning(4000)
    alone = corrected = 0
    for _ in range(runs):
        p = [1.0] * 8
        arms = [[Rate(), Rate()] for _ in range(8)]
        for _ in range(40):
            for place, pair in enumerate(arms):
                for arm in range(2):
                    pair[arm] += Rate(n=50, successes=int(rng.binomial(50, 0.4)))
                effect = difference([(pair[0], pair[1])])
                if effect is not None:
                    p[place] = always_valid_p(log_evidence(effect, r2=r2), previous=p[place])
        alone += min(p) <= 0.05
        corrected += min(holm(p)) <= 0.05
    assert corrected / runs <= 0.03
    assert corrected < alone


@pytest.mark.parametrize(("p_a", "p_b"), [(0.5, 0.6), (0.8, 0.84)])
def test_the_planned_calls_find_the_planned_effect(rng: np.random.Generator, p_a: float, p_b: float) -> None:
    """Power 80% by N_max, looking after every call; the median run stops before N_f."""
    planned = plan(per_arm_of_rates(p_a, p_b))
    to_b = rng.random((800, planned.most)) < 0.5
    won = rng.random(to_b.shape) < np.where(to_b, p_b, p_a)
    n_b, x_b = to_b.cumsum(axis=1, dtype=float), (won & to_b).cumsum(axis=1, dtype=float)
    n = np.arange(1.0, planned.most + 1)
    n_a, x_a = n - n_b, won.cumsum(axis=1, dtype=float) - x_b
    with np.errstate(divide="ignore", invalid="ignore"):
        z = (x_b / n_b - x_a / n_a) / np.sqrt(variance_of_rates(x_a, n_a, x_b, n_b))
    gate = np.minimum.reduce([x_a, n_a - x_a, x_b, n_b - x_b]) >= NEEDED_OF_A_RATE
    found = (log_e_value(z, n * tuning(planned.planned)) >= math.log(20)) & gate
    assert found.any(axis=1).mean() == pytest.approx(0.81, abs=0.05)
    assert found[:, : planned.fixed].any(axis=1).mean() == pytest.approx(0.54, abs=0.06)
    stops = np.where(found.any(axis=1), found.argmax(axis=1), planned.most)
    assert np.median(stops) / planned.fixed == pytest.approx(0.93, abs=0.08)
