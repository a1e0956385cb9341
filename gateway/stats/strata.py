"""The same comparison within segments: Mantel-Haenszel for rates, post-stratification for means.

``strata`` holds (A, B) of each segment. Segments are fixed before the start; one found afterwards is exploratory.
Whether the effect is the same in all of them is the subject of `heterogeneity`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scipy.special import chdtrc, ndtri

from gateway.stats.effect import Effect, Interval, unpooled_variance
from gateway.stats.moments import Rate, Sample
from gateway.stats.significance import Significance

RatePairs = Sequence[tuple[Rate, Rate]]


@dataclass(frozen=True, kw_only=True, slots=True)
class OddsRatio:
    """A common odds ratio, B over A, and its interval."""

    value: float
    interval: Interval


def _filled(strata: RatePairs) -> list[tuple[Rate, Rate]]:
    return [(a, b) for a, b in strata if a.n and b.n]


def cochran_mantel_haenszel(strata: RatePairs, *, continuity: float = 0.5) -> Significance | None:
    """Whether B differs from A within strata; chi-squared with 1 df. ``continuity`` 0 leaves the correction out.

    None when no stratum can tell. Source: Mantel and Haenszel 1959, with the correction of R's mantelhaen.test.
    """
    gap = variance = 0.0
    for a, b in _filled(strata):
        both = a + b
        if both.n > 1:
            gap += b.successes - b.n * both.mean
            variance += a.n * b.n * both.variance / (both.n - 1)
    if not variance > 0:
        return None
    statistic = (abs(gap) - min(continuity, abs(gap))) ** 2 / variance
    return Significance(statistic=statistic, df=1, p=float(chdtrc(1, statistic)))


def mantel_haenszel_odds_ratio(strata: RatePairs, *, alpha: float = 0.05) -> OddsRatio | None:
    """The common odds ratio; None when it is 0, infinite or unknown. Source: Robins, Breslow and Greenland 1986."""
    up = down = pr = cross = qs = 0.0
    for a, b in _filled(strata):
        n = a.n + b.n
        p, q = (b.successes + a.failures) / n, (b.failures + a.successes) / n
        r, s = b.successes * a.failures / n, b.failures * a.successes / n
        up, down = up + r, down + s
        pr, cross, qs = pr + p * r, cross + p * s + q * r, qs + q * s
    if not (up and down):
        return None
    variance = pr / (2 * up**2) + cross / (2 * up * down) + qs / (2 * down**2)
    half, log = float(ndtri(1 - alpha / 2)) * math.sqrt(variance), math.log(up / down)
    return OddsRatio(value=up / down, interval=Interval(low=math.exp(log - half), high=math.exp(log + half)))


def mantel_haenszel_difference(strata: RatePairs) -> Effect | None:
    """The common difference of rates p_B - p_A with Sato's variance, right for few large and for many sparse strata.

    None when no stratum has both arms or the variance is 0. Source: Greenland and Robins 1985; Sato, Greenland and
    Robins 1989.
    """
    cells = _filled(strata)
    weight = sum(a.n * b.n / (a.n + b.n) for a, b in cells)
    if not weight:
        return None
    value = sum((b.successes * a.n - a.successes * b.n) / (a.n + b.n) for a, b in cells) / weight
    lean = spread = 0.0
    for a, b in cells:
        n = a.n + b.n
        share_a, share_b = a.n / n, b.n / n
        lean += a.successes * share_b**2 - b.successes * share_a**2 + share_a * share_b * (a.n - b.n) / 2
        spread += (b.successes * a.failures + a.successes * b.failures) / (2 * n)
    variance = (value * lean + spread) / weight**2
    return Effect(value=value, variance=variance, n=sum(a.n + b.n for a, b in cells)) if variance > 0 else None


def post_stratified(strata: Sequence[tuple[Sample, Sample]]) -> Effect | None:
    """mean(B) - mean(A) with each stratum weighted by its share w of both arms' calls; variance sum(w^2 V_h).

    V_h is unpooled.
    None when a stratum with calls has no variance in an arm (then the whole is unknown), or nothing varies. Source:
    Miratrix, Sekhon and Yu 2013.
    """
    cells = [(a, b) for a, b in strata if a.n + b.n]
    n = sum(a.n + b.n for a, b in cells)
    value = sum((a.n + b.n) / n * (b.mean - a.mean) for a, b in cells)
    variance = sum(((a.n + b.n) / n) ** 2 * unpooled_variance(a, b) for a, b in cells)
    return Effect(value=value, variance=variance, n=n) if variance > 0 else None


def simpson(pooled: Effect, stratified: Effect) -> bool:
    """Whether pooling misleads: the signs differ and either |z| > 1.96, or they are more than a standard error apart.

    The standard error is the stratified one. Source: docs/explanation/statistics.md.
    """
    opposed = pooled.value * stratified.value < 0
    certain = abs(pooled.z) > 1.96 or abs(stratified.z) > 1.96
    return (opposed and certain) or abs(pooled.value - stratified.value) > stratified.se
