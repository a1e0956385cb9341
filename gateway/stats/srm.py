"""Whether calls were split as planned: the sequential multinomial test, and chi-squared for one look at the end.

The same evidence serves every claim "each of these events fell to an arm with the planned weight": missing analyses,
calls of an hour of the day, successes (`harm`).
"""

import math
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
from scipy.special import chdtrc, gammaln

from gateway.stats.effect import Array
from gateway.stats.significance import Significance

CONCENTRATION = 1000.0
ALARM = math.log(1000.0)  # ln E at which a split is called broken


def _weights(weights: npt.ArrayLike) -> Array:
    shares = np.asarray(weights, dtype=float)
    if shares.ndim != 1 or not np.all(shares > 0):
        raise ValueError(f"weights must be a list of numbers above 0, not {weights!r}")
    normed: Array = shares / shares.sum()
    return normed


def log_e_value(counts: npt.ArrayLike, weights: npt.ArrayLike, *, concentration: float = CONCENTRATION) -> Array:
    """ln E against "counts follow the weights": Dirichlet-multinomial over multinomial.

    ``counts`` has shape (..., arms), the result (...); ``weights`` (arms,) are normed to 1. ln E = lnG(k) - lnG(k +
    n) + sum[lnG(k w + c) - lnG(k w)] - sum(c ln w) with k = ``concentration``: valid at every count. Raises
    ValueError for a weight that is not above 0. Source: Lindon and Malek, Anytime-valid inference for multinomial
    count data.
    """
    shares, seen = _weights(weights), np.asarray(counts, dtype=float)
    prior = concentration * shares
    value: Array = (
        gammaln(concentration)
        - gammaln(concentration + seen.sum(axis=-1))
        + (gammaln(prior + seen) - gammaln(prior) - seen * np.log(shares)).sum(axis=-1)
    )
    return value


def sequential_srm(
    epochs: Iterable[tuple[Sequence[int], Sequence[float]]], *, concentration: float = CONCENTRATION
) -> float:
    """ln E of the product over epochs, each (counts per arm, weights); alarm at ln E >= `ALARM`, i.e. E >= 1000.

    An epoch with less than two arms of weight, or without calls, says nothing. Calls on an arm without weight are not
    counted here.
    """
    return sum(_epoch(counts, weights, concentration) for counts, weights in epochs)


def _epoch(counts: Sequence[int], weights: Sequence[float], concentration: float) -> float:
    drawn = [(count, weight) for count, weight in zip(counts, weights, strict=True) if weight > 0]
    if len(drawn) < 2 or not any(count for count, _ in drawn):
        return 0.0
    return float(log_e_value([c for c, _ in drawn], [w for _, w in drawn], concentration=concentration))


def _log_orders(counts: npt.ArrayLike) -> Array:
    seen = np.asarray(counts, dtype=float)
    value: Array = gammaln(seen.sum(axis=-1) + 1) - gammaln(seen + 1).sum(axis=-1)
    return value


def log_multinomial(counts: npt.ArrayLike, weights: npt.ArrayLike) -> Array:
    """ln of the multinomial probability of counts (..., arms) under the weights (arms,)."""
    seen = np.asarray(counts, dtype=float)
    value: Array = _log_orders(counts) + (seen * np.log(_weights(weights))).sum(axis=-1)
    return value


def log_dirichlet_multinomial(counts: npt.ArrayLike, prior: npt.ArrayLike) -> Array:
    """ln of the probability of counts (..., arms) when the weights are Dirichlet(prior), prior of shape (arms,)."""
    seen, alpha = np.asarray(counts, dtype=float), np.asarray(prior, dtype=float)
    whole = alpha.sum()
    value: Array = (
        _log_orders(counts)
        + gammaln(whole)
        - gammaln(whole + seen.sum(axis=-1))
        + (gammaln(alpha + seen) - gammaln(alpha)).sum(axis=-1)
    )
    return value


def chi_squared_srm(counts: Sequence[int], weights: Sequence[float]) -> Significance | None:
    """Pearson's goodness of fit of the split, for one look at the end; None without calls or with a single arm."""
    shares, seen = _weights(weights), np.asarray(counts, dtype=float)
    if seen.sum() == 0 or len(seen) < 2:
        return None
    expected = shares * seen.sum()
    statistic = float((np.square(seen - expected) / expected).sum())
    return Significance(statistic=statistic, df=len(seen) - 1, p=float(chdtrc(len(seen) - 1, statistic)))
