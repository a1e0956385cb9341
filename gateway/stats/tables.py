"""One look at counts by version and category: chi-squared, with Yates' correction, and a trend over periods."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.special import chdtrc

from gateway.stats.effect import Array
from gateway.stats.moments import Rate
from gateway.stats.significance import Significance

SMALL = 5.0  # an expected count below this calls for an exact test


def expected_counts(table: npt.ArrayLike) -> Array:
    """The counts (rows, columns) that the margins alone would give; rows and columns without counts are left out."""
    seen = _filled(table)
    expected: Array = seen.sum(axis=1, keepdims=True) * seen.sum(axis=0, keepdims=True) / seen.sum()
    return expected


def chi_squared(table: npt.ArrayLike) -> Significance | None:
    """Pearson's chi-squared of counts (versions, categories); df = (rows - 1)(columns - 1) of those with counts.

    None when fewer than two versions or two categories have counts.
    """
    return _pearson(table, shift=0.0)


def yates_chi_squared(table: npt.ArrayLike) -> Significance | None:
    """Pearson's chi-squared of a 2x2 table with Yates' continuity correction. Raises ValueError for another shape."""
    if np.shape(table) != (2, 2):
        raise ValueError(f"Yates' correction is for 2x2 tables, not {np.shape(table)}")
    return _pearson(table, shift=0.5)


def _filled(table: npt.ArrayLike) -> Array:
    seen = np.asarray(table, dtype=float)
    kept: Array = seen[seen.sum(axis=1) > 0][:, seen.sum(axis=0) > 0]
    return kept


def _pearson(table: npt.ArrayLike, *, shift: float) -> Significance | None:
    seen = _filled(table)
    if min(seen.shape) < 2:
        return None
    expected = expected_counts(seen)
    gap = np.abs(seen - expected)
    statistic = float((np.square(gap - np.minimum(shift, gap)) / expected).sum())
    df = (seen.shape[0] - 1) * (seen.shape[1] - 1)
    return Significance(statistic=statistic, df=df, p=float(chdtrc(df, statistic)))


def trend_test(rates: Sequence[Rate], scores: Sequence[float] | None = None) -> Significance | None:
    """Cochran-Armitage: whether a rate drifts over ordered periods; ``scores`` are their places, else 1, 2, 3 …

    None when fewer than two places have calls or all calls came out the same.
    """
    places = np.asarray(scores if scores is not None else range(1, len(rates) + 1), dtype=float)
    n = np.array([rate.n for rate in rates], dtype=float)
    hits = np.array([rate.successes for rate in rates], dtype=float)
    if len(places) != len(rates):
        raise ValueError(f"{len(places)} scores for {len(rates)} rates")
    if n.sum() == 0:
        return None
    p = hits.sum() / n.sum()
    spread = (n * np.square(places - (n * places).sum() / n.sum())).sum()
    if not p * (1 - p) * spread > 0:
        return None
    statistic = float(np.square((places * (hits - n * p)).sum()) / (p * (1 - p) * spread))
    return Significance(statistic=statistic, df=1, p=float(chdtrc(1, statistic)))
