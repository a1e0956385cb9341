"""One look at means: Welch's t test and its interval, for differences and for relative lifts."""

import math

from scipy.special import stdtr, stdtrit

from gateway.stats.effect import Effect, Interval, unpooled_difference
from gateway.stats.moments import Sample
from gateway.stats.significance import Significance


def satterthwaite(a: Sample, b: Sample) -> float:
    """Degrees of freedom of two arms with variances of their own (Welch 1947); nan when they have none."""
    if a.n < 2 or b.n < 2:
        return math.nan
    of_a, of_b = a.variance / a.n, b.variance / b.n
    below = of_a**2 / (a.n - 1) + of_b**2 / (b.n - 1)
    return (of_a + of_b) ** 2 / below if below > 0 else math.nan


def t_test(effect: Effect, df: float) -> Significance:
    """The two-sided t test of an effect against 0."""
    return Significance(statistic=effect.z, df=df, p=2 * float(stdtr(df, -abs(effect.z))))


def t_interval(effect: Effect, df: float, *, alpha: float = 0.05) -> Interval:
    """effect ± t se; for a one-sided bound pass twice its alpha and read one end."""
    half = float(stdtrit(df, 1 - alpha / 2)) * effect.se
    return Interval(low=effect.value - half, high=effect.value + half)


def welch(a: Sample, b: Sample) -> Significance | None:
    """Welch's t test of mean(B) - mean(A); None when an arm has fewer than two calls or nothing varies."""
    effect = unpooled_difference(a, b) if min(a.n, b.n) > 1 else None
    return None if effect is None else t_test(effect, satterthwaite(a, b))


def welch_interval(a: Sample, b: Sample, *, alpha: float = 0.05) -> Interval | None:
    """The interval that belongs to `welch`, in the metric's unit; None where that is None."""
    effect = unpooled_difference(a, b) if min(a.n, b.n) > 1 else None
    return None if effect is None else t_interval(effect, satterthwaite(a, b), alpha=alpha)
