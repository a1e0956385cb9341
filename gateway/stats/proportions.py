"""One look at rates: the two-proportion z test, intervals of a rate and of a difference, exact tests of small
counts.
"""

import math

import numpy as np
from scipy.special import gammaln, ndtri, xlog1py, xlogy

from gateway.stats.effect import Array, Interval
from gateway.stats.moments import Rate
from gateway.stats.significance import Significance, two_sided_normal

# Probabilities that agree to this relative distance count as equal in a two-sided exact test, as in R.
_SAME = 1 + 1e-7


def two_proportion_z(a: Rate, b: Rate) -> Significance | None:
    """z of p_B - p_A with the pooled variance, without continuity correction; its square is Pearson's chi-squared.

    None when an arm is empty or all calls came out the same.
    """
    if not (a.n and b.n):
        return None
    variance = (a + b).variance * (1 / a.n + 1 / b.n)
    return two_sided_normal((b.mean - a.mean) / math.sqrt(variance)) if variance > 0 else None


def wilson_interval(rate: Rate, *, alpha: float = 0.05) -> Interval | None:
    """Wilson's score interval of one rate; None without calls. Source: Wilson 1927."""
    if not rate.n:
        return None
    z2 = float(ndtri(1 - alpha / 2)) ** 2
    centre = (rate.successes + z2 / 2) / (rate.n + z2)
    half = math.sqrt(z2) / (rate.n + z2) * math.sqrt(rate.n * rate.variance + z2 / 4)
    return Interval(low=centre - half, high=centre + half)


def newcombe_interval(a: Rate, b: Rate, *, alpha: float = 0.05) -> Interval | None:
    """Newcombe's hybrid score interval of p_B - p_A; None when an arm is empty. Source: Newcombe 1998, method 10."""
    of_a, of_b = wilson_interval(a, alpha=alpha), wilson_interval(b, alpha=alpha)
    if of_a is None or of_b is None:
        return None
    gap = b.mean - a.mean
    return Interval(
        low=gap - math.hypot(b.mean - of_b.low, of_a.high - a.mean),
        high=gap + math.hypot(of_b.high - b.mean, a.mean - of_a.low),
    )


def binomial_test(successes: int, n: int, p: float) -> float:
    """The exact two-sided p-value of ``successes`` of ``n`` against ``p``: all outcomes that are no likelier.

    An array of n + 1 probabilities is built, so it is for small counts. Raises ValueError unless 0 < p < 1.
    """
    if not 0 < p < 1 or not 0 <= successes <= n:
        raise ValueError(f"{successes} of {n} against {p}")
    of = np.arange(n + 1.0)
    logs = gammaln(n + 1) - gammaln(of + 1) - gammaln(n - of + 1) + xlogy(of, p) + xlog1py(n - of, -p)
    return _no_likelier(logs, successes)


def fisher_exact(a: Rate, b: Rate) -> float:
    """Fisher's exact two-sided p-value of two small arms: all tables with these margins that are no likelier."""
    hits, n = a.successes + b.successes, a.n + b.n
    least = max(0, hits - b.n)
    of = np.arange(least, min(hits, a.n) + 1.0)
    logs = (
        _log_choose(a.n, of)
        + _log_choose(b.n, hits - of)
        - (gammaln(n + 1) - gammaln(hits + 1) - gammaln(n - hits + 1))
    )
    return _no_likelier(logs, a.successes - least)


def _log_choose(n: int, of: Array) -> Array:
    value: Array = gammaln(n + 1) - gammaln(of + 1) - gammaln(n - of + 1)
    return value


def _no_likelier(logs: Array, seen: int) -> float:
    probabilities = np.exp(logs)
    return min(1.0, float(probabilities[probabilities <= probabilities[seen] * _SAME].sum()))


def compare_event_rates(events_a: int, exposure_a: float, events_b: int, exposure_b: float) -> tuple[float, float]:
    """(rate ratio B over A, exact two-sided p) of two Poisson rates, by conditioning on all events.

    Exposures are positive and in one unit (call-hours). The ratio is nan when A has no events, the p 1 without any.
    """
    ratio = events_b / exposure_b / (events_a / exposure_a) if events_a else math.nan
    share = exposure_b / (exposure_a + exposure_b)
    return ratio, binomial_test(events_b, events_a + events_b, share)
