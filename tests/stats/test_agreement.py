"""Kappa against statsmodels, and estimates that people's labels have corrected."""

import math

import numpy as np
import numpy.typing as npt
import pytest
from statsmodels.stats.inter_rater import cohens_kappa

from gateway.stats.agreement import cohen_kappa, concordance, corrected_difference, corrected_mean
from gateway.stats.effect import unpooled_difference
from gateway.stats.moments import Moments, Rate
from tests.stats.known import known


def test_kappa_agrees_with_statsmodels(rng: np.random.Generator) -> None:
    for _ in range(500):
        labels = int(rng.integers(2, 6))
        table = rng.poisson(4, (labels, labels)) + np.diag(rng.poisson(20, labels)) + 1
        assert cohen_kappa(table) == pytest.approx(cohens_kappa(table).kappa)


def test_kappa_of_nothing_is_nan() -> None:
    assert math.isnan(cohen_kappa([[0, 0], [0, 0]]))
    assert math.isnan(cohen_kappa([[12, 0], [0, 0]]))
    assert cohen_kappa([[10, 0], [0, 5]]) == 1.0
    with pytest.raises(ValueError, match="square"):
        cohen_kappa([[1, 2, 3], [4, 5, 6]])


def test_of_yes_and_no_the_concordance_is_kappa(rng: np.random.Generator) -> None:
    for _ in range(100):
        judged = rng.random(60) < 0.6
        people = np.where(rng.random(60) < 0.85, judged, ~judged)
        table = [
            [int(((judged == one) & (people == other)).sum()) for other in (False, True)] for one in (False, True)
        ]
        assert concordance(judged, people) == pytest.approx(cohen_kappa(table))


def test_concordance_of_numbers() -> None:
    # Means 2.5 and 3, variances 1.25 and 1.5, covariance 1.25: 2.5 / (1.25 + 1.5 + 0.25).
    assert concordance([1, 2, 3, 4], [1, 3, 4, 4]) == pytest.approx(2 * 1.25 / (1.25 + 1.5 + 0.25))
    assert concordance([1, 2, 3], [1, 2, 3]) == pytest.approx(1)
    # Who is always half a point higher agrees less, however well the two go together.
    assert concordance([1, 2, 3], [1.5, 2.5, 3.5]) < 0.9
    assert math.isnan(concordance([], []))
    assert math.isnan(concordance([2, 2], [2, 2]))
    assert concordance([2, 2], [1, 3]) == 0
    with pytest.raises(ValueError, match="no pairs"):
        concordance([1, 2], [1])


def of(values: npt.NDArray[np.float64]) -> Moments:
    return Moments(n=len(values), mean=float(values.mean()), m2=float(np.square(values - values.mean()).sum()))


def audited(rng: np.random.Generator, sensitivity: float, specificity: float) -> tuple[Rate, Moments]:
    """An arm of 5,000 calls, 60% of which are good: the judge's word on 4,800, and 200 labels with their gaps."""
    good = rng.random(5000) < 0.6
    judged = np.where(good, rng.random(5000) < sensitivity, rng.random(5000) >= specificity)
    return Rate(n=4800, successes=int(judged[200:].sum())), of(good[:200] * 1.0 - judged[:200] * 1.0)


def test_labels_mend_a_judge_who_favours_one_arm(rng: np.random.Generator) -> None:
    """No difference, and a judge three points kinder to B: without the labels most experiments find a winner."""
    runs, fooled, mended, errors = 1500, 0, 0, []
    for _ in range(runs):
        (a, gap_a), (b, gap_b) = audited(rng, 0.90, 0.85), audited(rng, 0.93, 0.82)
        corrected = corrected_difference(known(unpooled_difference(a, b)), known(unpooled_difference(gap_a, gap_b)))
        fooled += abs(known(unpooled_difference(a, b)).z) > 1.96
        mended += abs(corrected.z) > 1.96
        errors.append(corrected.se)
    assert fooled / runs == pytest.approx(0.8688, abs=0.03)
    assert mended / runs == pytest.approx(0.0465, abs=0.02)
    assert np.mean(errors) == pytest.approx(0.0355, abs=0.001)


def test_a_bias_between_arms_is_found_in_the_gaps() -> None:
    fair, kind = of(np.repeat([0.0, 1.0, -1.0], [180, 10, 10])), of(np.repeat([0.0, 1.0, -1.0], [160, 2, 38]))
    assert abs(known(unpooled_difference(fair, fair)).z) < 1.96
    assert known(unpooled_difference(fair, kind)).z < -1.96


def test_what_cannot_be_computed_is_none_or_nan() -> None:
    some, gap = Rate(n=50, successes=30), of(np.array([0.0, 1.0, -1.0]))
    assert all(math.isnan(one) for one in corrected_mean(Rate(), gap))
    assert all(math.isnan(one) for one in corrected_mean(some, Moments()))
    assert unpooled_difference(gap, Moments(n=1, mean=0.0)) is None
    assert unpooled_difference(Moments(n=9, mean=0.0), Moments(n=9, mean=0.0)) is None
