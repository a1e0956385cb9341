"""The alarm that needs no gate: exact evidence that two versions differ, from the first call on.

While the rates are equal, the arm of each success is a coin with the planned weight, whatever the rate does over
time, and so is the arm of each failure (Lindon and Malek). Weak for small effects: it alarms, and never declares a
winner.
"""

import math
from collections.abc import Iterable
from typing import Literal

import numpy as np
import numpy.typing as npt

from gateway.stats.effect import Array
from gateway.stats.moments import Rate
from gateway.stats.srm import log_e_value

CONCENTRATION = 30.0
ALARM = math.log(100.0)  # ln E of an alarm, alpha 1%


def log_exact_e_value(
    successes: npt.ArrayLike, failures: npt.ArrayLike, weights: npt.ArrayLike, *, concentration: float = CONCENTRATION
) -> Array:
    """ln E with E = (E_successes + E_failures) / 2; counts of shape (..., arms), weights (arms,), the result (...).

    Exact at any count; two-sided. Source: docs/explanation/statistics.md.
    """
    of_successes = log_e_value(successes, weights, concentration=concentration)
    of_failures = log_e_value(failures, weights, concentration=concentration)
    value: Array = np.logaddexp(of_successes, of_failures) - math.log(2)
    return value


def exact_evidence(epochs: Iterable[tuple[Rate, Rate, float]], *, concentration: float = CONCENTRATION) -> float:
    """ln E of the product over epochs, each (A, B, share of B among the calls of A and B, above 0 and below 1).

    The unit must be what was randomised: calls, or one outcome per caller when callers stick.
    """
    return sum(
        float(
            log_exact_e_value(
                [a.successes, b.successes], [a.failures, b.failures], [1 - share, share], concentration=concentration
            )
        )
        for a, b, share in epochs
    )


def uneven_evidence(epochs: Iterable[tuple[Rate, Rate, float]]) -> float:
    """ln E that the calls whose measure is known did not fall to A and B as drawn; at least 0.

    Where an arm's outcomes are late or lost, its share of the successes tells nothing of how it did.
    """
    found = (
        float(log_e_value([a.n, b.n], [1 - share, share], concentration=CONCENTRATION))
        for a, b, share in epochs
        if 0 < share < 1
    )
    return max(0.0, sum(found))


def is_harmful(
    epochs: Iterable[tuple[Rate, Rate, float]], *, better: Literal["higher", "lower"], threshold: float = ALARM
) -> bool:
    """Whether ln E has reached the threshold with B on the bad side of A; ``better`` is the metric's good direction.

    The side is that of B's successes beyond its share, summed by epoch, so that a change of weights does not turn it.
    """
    cells = [(a, b, share) for a, b, share in epochs if 0 < share < 1]
    if not cells or exact_evidence(cells) < threshold:
        return False
    surplus = sum(_surplus(one, other) for one, other, _ in cells)
    return surplus < 0 if better == "higher" else surplus > 0


def _surplus(a: Rate, b: Rate) -> float:
    """Successes of B beyond its share of all, given how many calls each arm has."""
    both = a + b
    return b.successes - both.mean * b.n if both.n else 0.0
