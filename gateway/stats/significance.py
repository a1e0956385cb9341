"""The answer of a test that looks once: its statistic and p-value."""

import math
from dataclasses import dataclass

from scipy.special import ndtr


@dataclass(frozen=True, kw_only=True, slots=True)
class Significance:
    """A test statistic (z, t, chi-squared, U), its two-sided p-value, and its degrees of freedom where it has any."""

    statistic: float
    p: float
    df: float = math.nan


def two_sided_normal(z: float) -> Significance:
    """The two-sided p-value of a standard normal statistic."""
    return Significance(statistic=z, p=2 * float(ndtr(-abs(z))))


def one_sided(test: Significance) -> float:
    """The p-value of a two-sided z or t test in the direction "B is greater than A"."""
    return test.p / 2 if test.statistic > 0 else 1 - test.p / 2
