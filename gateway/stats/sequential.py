"""The comparison that may be read at any time: asymptotic confidence sequences and always-valid p-values.

Normal mixture after Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas 2024 (arXiv 2103.06476; eq. 9, 134, 155, 161), as
GrowthBook codes it, with the variance of `effect` and a gate. Throughout, ``r2`` is the tuning of `tuning`, frozen at
the start of an experiment, and a = n r2 with n the units of both arms.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gateway.stats.effect import Array, Effect, Interval
from gateway.stats.moments import Moments, Rate

NEEDED_OF_A_RATE = 10  # successes and failures, in every arm
NEEDED_OF_A_MEAN = 100  # calls, in every arm


@dataclass(frozen=True, kw_only=True, slots=True)
class Gate:
    """How many observations the poorest arm has of those that are needed before anything may be said."""

    have: int
    need: int

    @property
    def open(self) -> bool:
        """Whether there are enough."""
        return self.have >= self.need


def gate(*arms: Rate | Moments) -> Gate:
    """The gate of a metric; each arm is the total over all epochs.

    A rate needs 10 successes and 10 failures in every arm, a mean 100 calls. Source: docs/explanation/statistics.md:
    without it a 10% arm at a rate of 2% has 28% false winners.
    """
    if not arms:
        raise ValueError("a gate needs arms")
    rates = [arm for arm in arms if isinstance(arm, Rate)]
    if rates:
        return Gate(have=min(min(arm.successes, arm.failures) for arm in rates), need=NEEDED_OF_A_RATE)
    return Gate(have=min(arm.n for arm in arms), need=NEEDED_OF_A_MEAN)


def tuning(planned: float, *, alpha: float = 0.05) -> float:
    """r2 = (L + ln(L + 1)) / N* with L = -2 ln(alpha): narrowest at N* = ``planned`` units of both arms.

    For one-sided bounds pass twice their alpha. Raises ValueError unless planned > 0 and 0 < alpha < 1.
    """
    if not planned > 0:
        raise ValueError(f"planned units must be above 0, not {planned}")
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must lie between 0 and 1, not {alpha}")
    spent = -2 * math.log(alpha)
    return (spent + math.log1p(spent)) / planned


def log_e_value(z: npt.ArrayLike, a: npt.ArrayLike) -> Array:
    """ln E = -ln(1 + a)/2 + z^2/2 a/(1 + a), element by element; evidence against "no difference" once E >=
    1/alpha.
    """
    ratio = np.asarray(a, dtype=float)
    value: Array = -0.5 * np.log1p(ratio) + 0.5 * np.square(np.asarray(z, dtype=float)) * ratio / (1 + ratio)
    return value


def critical_value(a: npt.ArrayLike, *, alpha: float = 0.05) -> Array:
    """The |z| at which E reaches 1/alpha: sqrt((1 + a)/a ln((1 + a)/alpha^2)), element by element."""
    ratio = np.asarray(a, dtype=float)
    value: Array = np.sqrt((1 + ratio) / ratio * (np.log1p(ratio) - 2 * math.log(alpha)))
    return value


def one_sided_critical_value(a: npt.ArrayLike, *, alpha: float = 0.05) -> Array:
    """The z of a one-sided bound: sqrt(2 (1 + a)/a ln(1 + sqrt(1 + a)/(2 alpha))), a tuned with twice alpha (eq.
    134).
    """
    ratio = np.asarray(a, dtype=float)
    value: Array = np.sqrt(2 * (1 + ratio) / ratio * np.log1p(np.sqrt(1 + ratio) / (2 * alpha)))
    return value


def log_evidence(effect: Effect, *, r2: float) -> float:
    """ln E of an effect now; nan when its variance is 0."""
    return float(log_e_value(effect.z, effect.n * r2))


def always_valid_p(log_e: float, *, previous: float = 1.0) -> float:
    """The p-value that may be read at any time: the smallest of 1/E so far and 1.

    ``previous`` is the one before; without it the p of this moment alone. An E that cannot be computed (nan) changes
    nothing.
    """
    if math.isnan(log_e):
        return previous
    return min(previous, math.exp(-max(log_e, 0.0)))


def confidence_sequence(effect: Effect, *, r2: float, alpha: float = 0.05) -> Interval:
    """effect ± se times the critical value: covers the truth at all times together with probability 1 - alpha.

    It excludes 0 exactly when E >= 1/alpha. At a Holm level keep r2 and pass the level as alpha.
    """
    half = effect.se * float(critical_value(effect.n * r2, alpha=alpha))
    return Interval(low=effect.value - half, high=effect.value + half)


def one_sided_bounds(effect: Effect, *, r2: float, alpha: float = 0.05) -> Interval:
    """The lower and the upper bound, each one-sided at alpha; ``r2`` is tuned with twice alpha (guardrails).

    Read one of them: together they are an interval at 2 alpha.
    """
    half = effect.se * float(one_sided_critical_value(effect.n * r2, alpha=alpha))
    return Interval(low=effect.value - half, high=effect.value + half)
