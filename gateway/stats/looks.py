"""What fixed looks cost: the error of looking several times at a plain z test, and bounds that spend alpha over the
looks.

For comparison only, nothing live depends on it: a dashboard has no fixed looks.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import ndtr, ndtri

from gateway.stats.effect import Array

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(400)


class _Standing(NamedTuple):
    """The paths that have not crossed yet: places of a Brownian motion, and the probability at each."""

    places: Array
    mass: Array

    def crossing(self, bound: float, step: float) -> float:
        """The probability of standing beyond ±bound after ``step`` more of the information."""
        deviation = math.sqrt(step)
        beyond = ndtr((-bound - self.places) / deviation) + ndtr((self.places - bound) / deviation)
        return float((self.mass * beyond).sum())

    def after(self, bound: float, step: float) -> "_Standing":
        """Those that still stand within ±bound."""
        places = bound * _NODES
        steps = (places[:, None] - self.places) / math.sqrt(step)
        density = np.exp(-0.5 * np.square(steps)) @ self.mass / math.sqrt(2 * math.pi * step)
        return _Standing(places, bound * _WEIGHTS * density)


_START = _Standing(np.zeros(1), np.ones(1))


def repeated_looks_error(looks: int, *, z: float = 1.959963984540054) -> float:
    """The chance that one of so many equally spaced z tests passes ±z without any effect: 19.3% at ten looks.

    Exact to six digits up to a hundred looks. Source: Armitage, McPherson and Rowe 1969.
    """
    error, standing = 0.0, _START
    for look in range(1, looks + 1):
        bound = z * math.sqrt(look / looks)
        error += standing.crossing(bound, 1 / looks)
        standing = standing.after(bound, 1 / looks)
    return error


def obrien_fleming_bounds(times: Sequence[float], *, alpha: float = 0.05) -> tuple[list[float], list[float]]:
    """(z at each look, alpha spent by then), for looks at rising shares of the information, 0 < t <= 1.

    Each side spends 2 (1 - Phi(z_{alpha/4} / sqrt(t))). Raises ValueError unless the looks rise. Source: Lan and
    DeMets 1983.
    """
    before = [0.0, *times[:-1]]
    if not times or times[-1] > 1 or any(not low < high for low, high in zip(before, times, strict=True)):
        raise ValueError(f"looks must rise from above 0 to at most 1: {list(times)}")
    spent = [4 * float(ndtr(ndtri(alpha / 4) / math.sqrt(t))) for t in times]
    bounds, standing, gone = [], _START, 0.0
    for low, now, by_now in zip(before, times, spent, strict=True):
        bound = _bound(standing, now - low, by_now - gone)
        bounds.append(bound / math.sqrt(now))
        standing, gone = standing.after(bound, now - low), by_now
    return bounds, spent


def _bound(standing: _Standing, step: float, share: float) -> float:
    """Where so much of the probability crosses, by bisection."""
    low, high = 0.0, 40.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if standing.crossing(middle, step) > share else (low, middle)
    return high
