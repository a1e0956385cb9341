"""Several questions at once: adjusted p-values, and the choice of discoveries from e-values.

Lists go in and come out in the same order; a p-value that is not within 0 and 1 raises ValueError.
"""

from collections.abc import Sequence

import numpy as np

from gateway.stats.effect import Array


def _checked(p: Sequence[float]) -> Array:
    values = np.asarray(p, dtype=float)
    if not np.all((values >= 0) & (values <= 1)):
        raise ValueError(f"p-values must lie within 0 and 1: {list(p)}")
    return values


def bonferroni(p: Sequence[float]) -> list[float]:
    """Adjusted p-values: m p."""
    return [float(one) for one in np.minimum(1.0, _checked(p) * len(p))]


def holm(p: Sequence[float]) -> list[float]:
    """Adjusted p-values, family-wise (Holm 1979): valid under any dependence, and on always-valid p at any time."""
    values = _checked(p)
    order = np.argsort(values, kind="stable")
    steps = np.maximum.accumulate(values[order] * np.arange(len(p), 0, -1))
    return _restored(steps, order)


def holm_levels(p: Sequence[float], *, alpha: float = 0.05) -> list[float]:
    """The level at which each hypothesis is tested by Holm: alpha/m for the smallest p, and so on until one stands.

    From the first that stands all share its level. Confidence sequences at these levels agree with the adjusted
    p-values.
    """
    values = _checked(p)
    order = np.argsort(values, kind="stable")
    levels = np.empty(len(p))
    level = alpha
    for place, index in enumerate(order):
        standing = place > 0 and values[order[place - 1]] > level
        level = level if standing else alpha / (len(p) - place)
        levels[index] = level
    return [float(one) for one in levels]


def benjamini_hochberg(p: Sequence[float]) -> list[float]:
    """Adjusted p-values for a false discovery rate, tests not negatively dependent (Benjamini and Hochberg 1995)."""
    values = _checked(p)
    order = np.argsort(values, kind="stable")
    ranked = values[order] * len(p) / np.arange(1, len(p) + 1)
    return _restored(np.minimum.accumulate(ranked[::-1])[::-1], order)


def benjamini_yekutieli(p: Sequence[float]) -> list[float]:
    """Adjusted p-values for a false discovery rate under any dependence (Benjamini and Yekutieli 2001)."""
    values = _checked(p)
    order = np.argsort(values, kind="stable")
    harmonic = float((1 / np.arange(1, len(p) + 1)).sum())
    ranked = values[order] * len(p) * harmonic / np.arange(1, len(p) + 1)
    return _restored(np.minimum.accumulate(ranked[::-1])[::-1], order)


def _restored(adjusted: Array, order: np.ndarray[tuple[int, ...], np.dtype[np.intp]]) -> list[float]:
    values = np.empty(len(order))
    values[order] = np.minimum(1.0, adjusted)
    return [float(one) for one in values]


def e_benjamini_hochberg(log_e: Sequence[float], *, q: float = 0.10) -> list[bool]:
    """Which hypotheses are discoveries at rate ``q``: the k largest E with k E_(k) / m >= 1/q (Wang and Ramdas 2022).

    ``log_e`` are the current ln E; valid under any dependence, at a stopping time. One that is nan is never a
    discovery.
    """
    values = np.nan_to_num(np.asarray(log_e, dtype=float), nan=-np.inf)
    ranks = np.arange(1, len(values) + 1)
    ranked = np.sort(values)[::-1] + np.log(ranks / max(len(values), 1))
    passing = ranks[ranked >= -np.log(q) - 1e-12]
    if not len(passing):
        return [False] * len(values)
    threshold = np.sort(values)[::-1][passing.max() - 1]
    return [bool(one >= threshold) for one in values]
