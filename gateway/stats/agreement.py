"""How far a judge can be trusted: agreement with people, bias between arms, and estimates corrected by labels.

A *gap* is (person - judge) over the labelled calls of an arm. Whether the judge leans to one arm is
`effect.unpooled_difference` of the two gaps: biased when |z| > 1.96.
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


def corrected_mean(judged: Sample, gap: Sample) -> tuple[float, float]:
    """(estimate, its variance) of an arm: mean(judge, unlabelled) + mean(person - judge, labelled).

    ``judged`` are the judge's scores of the unlabelled calls; the variance is var(judged)/n + var(gap)/n. nan where
    it cannot be computed. Source: Angelopoulos et al. 2023 (prediction-powered inference).
    """
    if not (judged.n and gap.n):
        return math.nan, math.nan
    return judged.mean + gap.mean, judged.variance / judged.n + gap.variance / gap.n


def corrected_difference(judged_a: Sample, gap_a: Sample, judged_b: Sample, gap_b: Sample) -> Effect | None:
    """B minus A of the corrected means, for one look (`effect.wald_interval`); None when it cannot be computed."""
    (mean_a, variance_a), (mean_b, variance_b) = corrected_mean(judged_a, gap_a), corrected_mean(judged_b, gap_b)
    if not variance_a + variance_b > 0:
        return None
    n = judged_a.n + gap_a.n + judged_b.n + gap_b.n
    return Effect(value=mean_b - mean_a, variance=variance_a + variance_b, n=n)
