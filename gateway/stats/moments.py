"""The sums that a comparison is made of: a rate (successes of calls) or moments (count, mean, squared deviations).

Both are additive, so that cells of any kind merge into any view. This module needs no scipy.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce
from typing import Protocol, Self, TypeVar


class Sample(Protocol):
    """What a comparison reads of one arm: how many calls, their mean, and the variance of one call."""

    @property
    def n(self) -> int: ...
    @property
    def mean(self) -> float: ...
    @property
    def variance(self) -> float: ...
    def __add__(self, other: Self, /) -> Self: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Rate:
    """``successes`` of ``n`` calls; raises ValueError unless 0 <= successes <= n."""

    n: int = 0
    successes: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.successes <= self.n:
            raise ValueError(f"{self.successes} successes of {self.n} calls")

    @property
    def failures(self) -> int:
        """Calls without success."""
        return self.n - self.successes

    @property
    def mean(self) -> float:
        """The share of successes, 0 to 1; nan without calls."""
        return self.successes / self.n if self.n else math.nan

    @property
    def variance(self) -> float:
        """p (1 - p), the variance of one call; nan without calls."""
        return self.mean * (1 - self.mean)

    def __add__(self, other: "Rate") -> "Rate":
        return Rate(n=self.n + other.n, successes=self.successes + other.successes)


@dataclass(frozen=True, kw_only=True, slots=True)
class Moments:
    """Welford's three numbers of a measure: count, mean in its own unit, and sum of squared deviations from it."""

    n: int = 0
    mean: float = math.nan
    m2: float = 0.0

    def __post_init__(self) -> None:
        if self.n < 0 or self.m2 < 0:
            raise ValueError(f"moments of {self.n} values with a sum of squares of {self.m2}")

    @property
    def variance(self) -> float:
        """The sample variance (divisor n - 1); nan below two values."""
        return self.m2 / (self.n - 1) if self.n > 1 else math.nan

    def add(self, value: float) -> "Moments":
        """With one value more (Welford 1962)."""
        if self.n == 0:
            return Moments(n=1, mean=float(value), m2=0.0)
        n = self.n + 1
        mean = self.mean + (value - self.mean) / n
        return Moments(n=n, mean=mean, m2=self.m2 + (value - self.mean) * (value - mean))

    def __add__(self, other: "Moments") -> "Moments":
        """Both together (Chan, Golub and LeVeque 1979)."""
        if self.n == 0:
            return other
        if other.n == 0:
            return self
        n = self.n + other.n
        gap = other.mean - self.mean
        return Moments(
            n=n,
            mean=self.mean + gap * other.n / n,
            m2=self.m2 + other.m2 + gap * gap * self.n * other.n / n,
        )

    def __sub__(self, other: "Moments") -> "Moments":
        """Without others that are part of it (Chan's formula, turned round); nothing is left of a smaller one."""
        n = self.n - other.n
        if n <= 0 or not other.n:
            return Moments() if n <= 0 else self
        mean = (self.n * self.mean - other.n * other.mean) / n
        m2 = self.m2 - other.m2 - (other.mean - mean) ** 2 * n * other.n / self.n
        return Moments(n=n, mean=mean, m2=max(0.0, m2))

    def as_rate(self) -> Rate:
        """The same cell as a rate, when every value was 0 or 1."""
        return Rate(n=self.n, successes=round(self.n * self.mean) if self.n else 0)


S = TypeVar("S", bound=Sample)


def total(parts: Iterable[S]) -> S:
    """Several cells as one; raises TypeError when there is none."""
    return reduce(lambda one, other: one + other, parts)
