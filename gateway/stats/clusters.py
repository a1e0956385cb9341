"""Sticky callers: when the caller was randomised, the variance must be counted by caller, not by call.

Each arm is six sums over its callers, where caller i made n_i calls that sum up to y_i; one caller's change updates
them in O(1).
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gateway.stats.effect import Effect
from gateway.stats.moments import Sample


@dataclass(frozen=True, kw_only=True, slots=True)
class Clusters:
    """``callers`` K, ``n`` = sum n_i, ``y`` = sum y_i, ``nn`` = sum n_i^2, ``yy`` = sum y_i^2, ``ny`` = sum n_i
    y_i.
    """

    callers: int = 0
    n: float = 0.0
    y: float = 0.0
    nn: float = 0.0
    yy: float = 0.0
    ny: float = 0.0

    @classmethod
    def of(cls, callers: Iterable[tuple[float, float]]) -> "Clusters":
        """The sums of callers given as (calls, total)."""
        sums = cls()
        for calls, amount in callers:
            sums = sums.moved((0, 0.0), (calls, amount))
        return sums

    def moved(self, before: tuple[float, float], after: tuple[float, float]) -> "Clusters":
        """With one caller's (calls, total) changed; a caller with 0 calls is none."""
        (n0, y0), (n1, y1) = before, after
        return Clusters(
            callers=self.callers + (n1 > 0) - (n0 > 0),
            n=self.n + n1 - n0,
            y=self.y + y1 - y0,
            nn=self.nn + n1 * n1 - n0 * n0,
            yy=self.yy + y1 * y1 - y0 * y0,
            ny=self.ny + n1 * y1 - n0 * y0,
        )

    def __add__(self, other: "Clusters") -> "Clusters":
        return Clusters(
            callers=self.callers + other.callers,
            n=self.n + other.n,
            y=self.y + other.y,
            nn=self.nn + other.nn,
            yy=self.yy + other.yy,
            ny=self.ny + other.ny,
        )

    @property
    def mean(self) -> float:
        """The mean per call, y / n; nan without calls."""
        return self.y / self.n if self.n else math.nan

    @property
    def residual_squares(self) -> float:
        """Sum of (y_i - mean n_i)^2 over callers."""
        r = self.mean
        return max(0.0, self.yy - 2 * r * self.ny + r * r * self.nn)

    @property
    def variance_of_mean(self) -> float:
        """K/(K-1) (yy - 2 r ny + r^2 nn) / n^2, the variance of `mean`; nan below two callers.

        The delta method of Deng, Knoblich and Lu 2018: cluster-robust CR0 times K/(K-1).
        """
        if self.callers < 2 or not self.n:
            return math.nan
        return self.callers / (self.callers - 1) * self.residual_squares / self.n**2


def _largest_variance(a: Clusters, b: Clusters) -> float:
    """max(pooled, unpooled) variance of mean(B) - mean(A); the pooled one has the residual mean square of both
    arms.
    """
    unpooled = a.variance_of_mean + b.variance_of_mean
    residual = (a.residual_squares + b.residual_squares) / (a.callers + b.callers - 2)
    return max(unpooled, residual * (a.callers / a.n**2 + b.callers / b.n**2))


def cluster_difference(pairs: Sequence[tuple[Clusters, Clusters]]) -> Effect | None:
    """mean(B) - mean(A) per call with the callers' variance, stratified by epoch like `effect.difference`; n counts
    callers.

    ``pairs`` holds (A, B) of each epoch. V_h = max(pooled, unpooled): with the arms' own variances alone a sticky 10%
    arm has 8% false winners. An epoch with fewer than two callers in an arm is left out; None when none is left or
    nothing varies. Source: docs/explanation/statistics.md.
    """
    cells = [(a.n * b.n / (a.n + b.n), a, b) for a, b in pairs if min(a.callers, b.callers) > 1]
    weight = sum(w for w, _, _ in cells)
    variance = sum(w * w * _largest_variance(a, b) for w, a, b in cells)
    if not variance > 0:
        return None
    return Effect(
        value=sum(w * (b.mean - a.mean) for w, a, b in cells) / weight,
        variance=variance / weight**2,
        n=sum(a.callers + b.callers for _, a, b in cells),
    )


def design_effect(clusters: Clusters, calls: Sample) -> float:
    """How many times larger the variance by caller is than the variance by call of the same arm; nan when there is
    none.
    """
    by_call = calls.variance / calls.n if calls.n else math.nan
    return clusters.variance_of_mean / by_call if by_call > 0 else math.nan
