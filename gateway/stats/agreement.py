"""How far a judge can be trusted: agreement with people, bias between arms, and estimates corrected by labels.

A *gap* is (person - judge) over the labelled calls of an arm. Whether the judge leans to one arm is the difference of
the two gaps: biased when |z| > 1.96.
"""

import math

import numpy as np
import numpy.typing as npt

from gateway.stats.effect import Effect
from gateway.stats.moments import Sample


def cohen_kappa(table: npt.ArrayLike) -> float:
    """Cohen's kappa of a square table of counts (label of the judge, label of a person).

    1 is full agreement, 0 is chance; nan without labels, or when chance alone would agree always. Source: Cohen 1960.
    Raises ValueError unless square.
    """
    counts = np.asarray(table, dtype=float)
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1]:
        raise ValueError(f"a table of agreement is square, not {counts.shape}")
    n = counts.sum()
    if n == 0:
        return math.nan
    seen = float(np.trace(counts)) / n
    chance = float((counts.sum(axis=0) * counts.sum(axis=1)).sum()) / n**2
    return float((seen - chance) / (1 - chance)) if chance < 1 else math.nan


def concordance(judged: npt.ArrayLike, people: npt.ArrayLike) -> float:
    """How far two raters give the same numbers: 1 is equality, 0 is chance; nan when nobody's numbers vary.

    2 cov / (var + var + (difference of the means)^2), all with divisor n: Cohen's kappa with squared weights, and of
    yes and no Cohen's kappa itself. Source: Lin 1989, equation 5. Raises ValueError unless there are as many of both.
    """
    x, y = np.asarray(judged, dtype=float), np.asarray(people, dtype=float)
    if x.shape != y.shape or x.ndim != 1:
        raise ValueError(f"{x.shape} verdicts and {y.shape} labels are no pairs")
    if not x.size:
        return math.nan
    apart = float(np.mean((x - x.mean()) ** 2) + np.mean((y - y.mean()) ** 2) + (x.mean() - y.mean()) ** 2)
    return float(2 * np.mean((x - x.mean()) * (y - y.mean()))) / apart if apart > 0 else math.nan


def corrected_mean(judged: Sample, gap: Sample) -> tuple[float, float]:
    """(estimate, its variance) of an arm: mean(judge, unlabelled) + mean(person - judge, labelled).

    ``judged`` are the judge's scores of the unlabelled calls; the variance is var(judged)/n + var(gap)/n. nan where
    it cannot be computed. Source: Angelopoulos et al. 2023 (prediction-powered inference).
    """
    if not (judged.n and gap.n):
        return math.nan, math.nan
    return judged.mean + gap.mean, judged.variance / judged.n + gap.variance / gap.n


def corrected_difference(judged: Effect, gap: Effect) -> Effect:
    """B minus A of the corrected means, for one look (`effect.wald_interval`).

    ``judged`` is the effect by the judge's word on the unlabelled calls, ``gap`` the difference of the gaps. They
    rest on different calls, so their variances add up; both may be stratified.
    """
    return Effect(value=judged.value + gap.value, variance=judged.variance + gap.variance, n=judged.n + gap.n)
