"""Whether an effect is the same in every segment, and whether it turns round in one."""

import math
from collections.abc import Sequence

from scipy.special import chdtrc, gammaln

from gateway.stats.effect import Effect
from gateway.stats.moments import Rate
from gateway.stats.significance import Significance
from gateway.stats.strata import mantel_haenszel_odds_ratio

ENOUGH_PER_ARM = 50  # calls in each arm of a segment, before it is asked


def cochran_q(effects: Sequence[Effect]) -> Significance | None:
    """Cochran's Q of the effects of strata, each weighted by 1/variance; df = strata - 1, None below two."""
    if len(effects) < 2:
        return None
    weights = [1 / effect.variance for effect in effects]
    middle = sum(w * effect.value for w, effect in zip(weights, effects, strict=True)) / sum(weights)
    statistic = sum(w * (effect.value - middle) ** 2 for w, effect in zip(weights, effects, strict=True))
    df = len(effects) - 1
    return Significance(statistic=statistic, df=df, p=float(chdtrc(df, statistic)))


def woolf(strata: Sequence[tuple[Rate, Rate]]) -> Significance | None:
    """Woolf's test of equal odds ratios, 0.5 added to each count; df = strata - 1, None below two."""
    logs = []
    for a, b in strata:
        cells = [one + 0.5 for one in (b.successes, b.failures, a.successes, a.failures)]
        log = math.log(cells[0] * cells[3] / (cells[1] * cells[2]))
        logs.append(Effect(value=log, variance=sum(1 / one for one in cells), n=a.n + b.n))
    return cochran_q(logs)


def breslow_day(strata: Sequence[tuple[Rate, Rate]]) -> Significance | None:
    """Breslow and Day's test of equal odds ratios; df = strata - 1.

    Strata that cannot tell (an empty arm, or all calls alike) are left out; None when fewer than two are left or
    there is no common odds ratio. Source: Breslow and Day 1980.
    """
    surpluses = _surpluses(strata)
    return _chi_squared(sum(gap**2 / v for gap, v in surpluses), len(surpluses) - 1)


def tarone(strata: Sequence[tuple[Rate, Rate]]) -> Significance | None:
    """`breslow_day` with the correction of Tarone 1985."""
    surpluses = _surpluses(strata)
    if not surpluses:
        return None
    correction = sum(gap for gap, _ in surpluses) ** 2 / sum(v for _, v in surpluses)
    return _chi_squared(sum(gap**2 / v for gap, v in surpluses) - correction, len(surpluses) - 1)


def _chi_squared(statistic: float, df: int) -> Significance | None:
    return Significance(statistic=statistic, df=df, p=float(chdtrc(df, statistic))) if df > 0 else None


def _surpluses(strata: Sequence[tuple[Rate, Rate]]) -> list[tuple[float, float]]:
    """Per stratum that can tell: successes of B beyond what the common odds ratio makes of them, and their
    variance.
    """
    telling = [(a, b) for a, b in strata if a.n and b.n and 0 < (a + b).successes < (a + b).n]
    common = mantel_haenszel_odds_ratio(telling)
    if common is None:
        return []
    surpluses = []
    for a, b in telling:
        expected = _expected_successes(a, b, common.value)
        of_a = a.successes + b.successes - expected
        variance = 1 / (1 / expected + 1 / of_a + 1 / (b.n - expected) + 1 / (a.n - of_a))
        surpluses.append((b.successes - expected, variance))
    return surpluses


def _expected_successes(a: Rate, b: Rate, odds_ratio: float) -> float:
    """Successes of B that give this odds ratio with the margins as they are: the root of a quadratic equation."""
    hits = a.successes + b.successes
    if math.isclose(odds_ratio, 1, rel_tol=1e-9):
        return hits * b.n / (a.n + b.n)
    lead = 1 - odds_ratio
    linear = a.n - hits + odds_ratio * (b.n + hits)
    constant = -odds_ratio * b.n * hits
    # This form of the root does not cancel; the other sign lies outside the margins.
    return -2 * constant / (linear + math.sqrt(linear * linear - 4 * lead * constant))


def gail_simon(effects: Sequence[Effect]) -> Significance | None:
    """Whether the effect turns round in a segment: Q = min(Q+, Q-), the squared z of either sign.

    p = sum over h = 1 … K-1 of Binomial(h; K-1, 1/2) P(chi-squared_h > Q); None below two strata. Source: Gail and
    Simon 1985.
    """
    others = len(effects) - 1
    if others < 1:
        return None
    up = sum(effect.z**2 for effect in effects if effect.value > 0)
    down = sum(effect.z**2 for effect in effects if effect.value < 0)
    statistic = min(up, down)
    p = sum(_fair_coins(h, others) * float(chdtrc(h, statistic)) for h in range(1, others + 1))
    return Significance(statistic=statistic, p=p)


def _fair_coins(heads: int, of: int) -> float:
    """The probability of so many heads of fair coins."""
    return math.exp(float(gammaln(of + 1) - gammaln(heads + 1) - gammaln(of - heads + 1)) - of * math.log(2))
