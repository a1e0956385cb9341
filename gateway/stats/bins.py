"""What counts in fixed bins still tell: quantiles, medians and the Mann-Whitney test, at the cost of the bins.

``counts`` has one number per bin. Ratings take one bin per value and lose nothing; durations take bins of equal width
on the log scale, which know a quantile to a few percent.
"""

import math

import numpy as np
import numpy.typing as npt

from gateway.stats.effect import Array
from gateway.stats.moments import Moments
from gateway.stats.significance import Significance, two_sided_normal


def log_edges(low: float, high: float, bins: int = 60) -> Array:
    """``bins`` + 1 edges from low to high (both above 0, same unit) at equal distances on the log scale."""
    if not 0 < low < high:
        raise ValueError(f"edges from {low} to {high}")
    edges: Array = np.geomspace(low, high, bins + 1)
    return edges


def bin_of(value: float, edges: npt.ArrayLike) -> int:
    """The bin of a value, 0 to bins - 1; what lies outside falls into the first or the last."""
    ends = np.asarray(edges, dtype=float)
    return int(np.clip(np.searchsorted(ends, value, side="right") - 1, 0, len(ends) - 2))


def quantile(counts: npt.ArrayLike, edges: npt.ArrayLike, q: float) -> float:
    """The q-quantile (0 to 1) in the unit of the edges, spread evenly on the log scale within its bin.

    nan without counts. Edges are above 0. q = 0.5 is the median; q = 0.995 of the 14 days before the start is the cap
    of a winsorised mean.
    """
    seen, ends = np.asarray(counts, dtype=float), np.log(np.asarray(edges, dtype=float))
    if len(ends) != len(seen) + 1 or not 0 <= q <= 1:
        raise ValueError(f"{len(seen)} bins with {len(ends)} edges at {q}")
    if seen.sum() == 0:
        return math.nan
    below = np.concatenate([[0.0], np.cumsum(seen)])
    wanted = q * below[-1]
    place = int(np.clip(np.searchsorted(below, wanted, side="left") - 1, 0, len(seen) - 1))
    while seen[place] == 0:
        place += 1
    share = (wanted - below[place]) / seen[place]
    return float(np.exp(ends[place] + share * (ends[place + 1] - ends[place])))


def mann_whitney(counts_a: npt.ArrayLike, counts_b: npt.ArrayLike) -> Significance | None:
    """Mann-Whitney from counts per ordered value or bin: U of arm A, with tie and continuity correction.

    U is above nA nB / 2 when A tends to be greater. None when an arm is empty or all values share a bin.
    """
    a, b = np.asarray(counts_a, dtype=float), np.asarray(counts_b, dtype=float)
    n_a, n_b, both = a.sum(), b.sum(), a + b
    n = n_a + n_b
    if not (n_a and n_b):
        return None
    u = float((a * (np.cumsum(b) - b / 2)).sum())
    ties = float((both**3 - both).sum()) / (n * (n - 1))
    variance = float(n_a * n_b / 12 * (n + 1 - ties))
    if not variance > 0:
        return None
    gap = u - float(n_a * n_b) / 2
    z = math.copysign(max(abs(gap) - 0.5, 0.0), gap) / math.sqrt(variance)
    return Significance(statistic=u, p=min(1.0, two_sided_normal(z).p))


def winsorise(value: float, cap: float) -> float:
    """min(value, cap): what a heavy-tailed measure counts as; the cap is frozen before the start."""
    return min(value, cap)


def geometric_mean(logs: Moments) -> float:
    """The geometric mean from the moments of ln(value); nan without values."""
    return math.exp(logs.mean) if logs.n else math.nan
