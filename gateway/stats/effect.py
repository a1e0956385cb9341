"""How far arm B stands from control A: a difference or a ratio, with its variance, stratified by cells.

An Effect is what every test and interval works on; how it came about (calls, callers, strata) is over by then.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, ndtri

from gateway.stats.moments import Rate, Sample

Array = npt.NDArray[np.float64]
S = TypeVar("S", bound=Sample)


@dataclass(frozen=True, kw_only=True, slots=True)
class Interval:
    """From ``low`` to ``high`` in the unit of what it encloses; empty when low > high."""

    low: float
    high: float

    @property
    def empty(self) -> bool:
        """Whether nothing lies inside."""
        return self.low > self.high

    def excludes(self, value: float) -> bool:
        """Whether ``value`` lies outside."""
        return not self.low <= value <= self.high

    def within(self, margin: float) -> bool:
        """Whether the whole interval lies inside ±margin."""
        return -margin < self.low and self.high < margin

    def __and__(self, other: "Interval") -> "Interval":
        """What both enclose; empty when they do not touch."""
        return Interval(low=max(self.low, other.low), high=min(self.high, other.high))


@dataclass(frozen=True, kw_only=True, slots=True)
class Effect:
    """B minus A: ``value`` in the metric's unit, its ``variance``, and the ``n`` units of both arms that it rests on.

    A unit is what was randomised: a call, or a caller when callers stick.
    """

    value: float
    variance: float
    n: int

    @property
    def se(self) -> float:
        """The standard error."""
        return math.sqrt(self.variance)

    @property
    def z(self) -> float:
        """The effect in standard errors; nan when the variance is 0."""
        return self.value / self.se if self.variance > 0 else math.nan


def variance_of_rates(
    successes_a: npt.ArrayLike, n_a: npt.ArrayLike, successes_b: npt.ArrayLike, n_b: npt.ArrayLike
) -> Array:
    """max(pooled, unpooled) variance of a difference of rates, element by element over arrays of counts.

    Where an arm is empty the result is nan or infinite. Source: docs/explanation/statistics.md; the unpooled variance
    alone is too small while the smaller arm has few successes.
    """
    x_a, m_a, x_b, m_b = (np.asarray(one, dtype=float) for one in (successes_a, n_a, successes_b, n_b))
    with np.errstate(divide="ignore", invalid="ignore"):
        p_a, p_b, p = x_a / m_a, x_b / m_b, (x_a + x_b) / (m_a + m_b)
        unpooled = p_a * (1 - p_a) / m_a + p_b * (1 - p_b) / m_b
        pooled = p * (1 - p) * (1 / m_a + 1 / m_b)
    largest: Array = np.maximum(unpooled, pooled)
    return largest


def pooled_variance(a: Sample, b: Sample) -> float:
    """The variance of one call, taken from both arms.

    p (1 - p) of all calls of a rate, the within-arm mean square of a mean; nan when it cannot be computed (no calls;
    for a mean fewer than three).
    """
    if isinstance(a, Rate) and isinstance(b, Rate):
        return (a + b).variance
    if a.n + b.n < 3:
        return math.nan
    squares = sum((one.n - 1) * one.variance for one in (a, b) if one.n > 1)
    return squares / (a.n + b.n - 2)


def unpooled_variance(a: Sample, b: Sample) -> float:
    """The variance of mean(B) - mean(A) with each arm's own variance (Welch, Wald); nan when an arm has none."""
    return a.variance / a.n + b.variance / b.n if a.n and b.n else math.nan


def _largest_variance(a: Sample, b: Sample) -> float:
    pooled = pooled_variance(a, b) * (1 / a.n + 1 / b.n)
    unpooled = unpooled_variance(a, b)
    return pooled if math.isnan(unpooled) else max(pooled, unpooled)


def unpooled_difference(a: Sample, b: Sample) -> Effect | None:
    """mean(B) - mean(A) with each arm's own variance; None when that cannot be computed or is 0."""
    variance = unpooled_variance(a, b)
    return Effect(value=b.mean - a.mean, variance=variance, n=a.n + b.n) if variance > 0 else None


def _usable(pairs: Sequence[tuple[S, S]]) -> list[tuple[float, S, S, float]]:
    """The cells that can be compared: Mantel-Haenszel weight, A, B and the variance of their difference.

    Whether a cell can be compared depends on its counts alone, never on what the calls came to; so leaving out the
    others favours nobody.
    """
    cells = []
    for a, b in pairs:
        if a.n and b.n:
            variance = _largest_variance(a, b)
            if not math.isnan(variance):
                cells.append((a.n * b.n / (a.n + b.n), a, b, variance))
    return cells


def difference(pairs: Sequence[tuple[S, S]]) -> Effect | None:
    """mean(B) - mean(A), stratified by cells (epochs); ``pairs`` holds (A, B) of each.

    d = sum(w d_h) / sum(w) with w = nA nB / (nA + nB), V = sum(w^2 V_h) / sum(w)^2, V_h = max(pooled, unpooled). The
    unit is the metric's own. None when no cell has both arms, or the variance is 0. Source:
    docs/explanation/statistics.md.
    """
    cells = _usable(pairs)
    weight = sum(w for w, *_ in cells)
    variance = sum(w * w * v for w, _, _, v in cells)
    if not variance > 0:
        return None
    return Effect(
        value=sum(w * (b.mean - a.mean) for w, a, b, _ in cells) / weight,
        variance=variance / weight**2,
        n=sum(a.n + b.n for _, a, b, _ in cells),
    )


def log_ratio(pairs: Sequence[tuple[S, S]]) -> Effect | None:
    """ln(mean(B) / mean(A)) of the stratified means; with `lift_interval` the relative lift, which cannot pass -100%.

    V = VB/mB^2 + VA/mA^2 (delta method), or the same with the pooled variance, whichever is larger. None unless both
    means are above 0. Source: docs/explanation/statistics.md.
    """
    cells = _usable(pairs)
    weight = sum(w for w, *_ in cells)
    if not cells:
        return None
    mean_a = sum(w * a.mean for w, a, _, _ in cells) / weight
    mean_b = sum(w * b.mean for w, _, b, _ in cells) / weight
    if not (mean_a > 0 and mean_b > 0):
        return None
    own = pooled = 0.0
    for w, a, b, _ in cells:
        together = pooled_variance(a, b)
        scale_a, scale_b = (w / weight / mean_a) ** 2 / a.n, (w / weight / mean_b) ** 2 / b.n
        own += sum(
            scale * (together if math.isnan(one.variance) else one.variance)
            for scale, one in ((scale_a, a), (scale_b, b))
        )
        pooled += together * (scale_a + scale_b)
    variance = max(own, pooled)
    n = sum(a.n + b.n for _, a, b, _ in cells)
    return Effect(value=math.log(mean_b / mean_a), variance=variance, n=n) if variance > 0 else None


def lift_interval(logs: Interval) -> Interval:
    """An interval of `log_ratio` as relative lift: 0.07 is 7% more than A."""
    return Interval(low=math.expm1(logs.low), high=math.expm1(logs.high))


def relative_lift(a: Sample, b: Sample) -> Effect | None:
    """(mean(B) - mean(A)) / mean(A) with variance VB/mA^2 + VA mB^2/mA^4 (delta method, linear scale).

    None when the mean of A or the variance is 0 or cannot be computed. Source: GrowthBook, gbstats/frequentist.
    """
    if not (a.n and b.n) or a.mean == 0:
        return None
    variance = b.variance / b.n / a.mean**2 + a.variance / a.n * b.mean**2 / a.mean**4
    return Effect(value=b.mean / a.mean - 1, variance=variance, n=a.n + b.n) if variance > 0 else None


def wald_interval(effect: Effect, *, alpha: float = 0.05) -> Interval:
    """The interval of one fixed look: effect ± z se, with the normal quantile. Not valid under repeated looks."""
    half = float(ndtri(1 - alpha / 2)) * effect.se
    return Interval(low=effect.value - half, high=effect.value + half)


def chance_to_win(effect: Effect) -> float:
    """P(B > A) of a normal posterior with a flat prior, 0 to 1: for display, never for stopping."""
    return float(ndtr(effect.z))
