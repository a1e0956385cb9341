"""Exact evidence from counts: the split, and the alarm that needs no gate."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats
from scipy.special import betaln

from gateway.stats import harm, srm
from gateway.stats.moments import Rate


def test_the_evidence_is_dirichlet_multinomial_over_multinomial(rng: np.random.Generator) -> None:
    for _ in range(1000):
        weights = rng.dirichlet([2.0] * int(rng.integers(2, 6)))
        counts = rng.multinomial(int(rng.integers(1, 5000)), rng.dirichlet(weights * 50))
        k = float(rng.uniform(1, 2000))
        theirs = stats.dirichlet_multinomial.logpmf(counts, k * weights, counts.sum())
        theirs -= stats.multinomial.logpmf(counts, counts.sum(), weights)
        assert float(srm.log_e_value(counts, weights, concentration=k)) == pytest.approx(theirs, rel=1e-8, abs=1e-7)
        assert float(srm.log_dirichlet_multinomial(counts, k * weights)) == pytest.approx(
            stats.dirichlet_multinomial.logpmf(counts, k * weights, counts.sum()), rel=1e-9, abs=1e-7
        )


def test_the_evidence_is_fair_when_the_split_is_as_planned() -> None:
    """Its mean over all counts of a small experiment is 1, exactly."""
    weights, n = [0.6, 0.3, 0.1], 12
    counts = [one for one in itertools.product(range(n + 1), repeat=3) if sum(one) == n]
    chances = stats.multinomial.pmf(counts, n, weights)
    assert (np.exp(srm.log_e_value(counts, weights, concentration=7.0)) * chances).sum() == pytest.approx(1.0)


def test_weights_need_not_be_normed() -> None:
    assert srm.log_e_value([30, 70], [1, 3]) == pytest.approx(srm.log_e_value([30, 70], [0.25, 0.75]))


def test_epochs_multiply() -> None:
    first, second = ([520, 480], [0.5, 0.5]), ([950, 60], [0.9, 0.1])
    whole = srm.sequential_srm([first, second])
    assert whole == pytest.approx(srm.sequential_srm([first]) + srm.sequential_srm([second]))
    assert srm.sequential_srm([]) == 0.0


def test_an_arm_without_weight_is_no_mismatch() -> None:
    assert srm.sequential_srm([([100, 0], [1.0, 0.0])]) == 0.0
    three = srm.sequential_srm([([100, 90, 0], [0.5, 0.5, 0.0])])
    assert three == pytest.approx(srm.sequential_srm([([100, 90], [0.5, 0.5])]))


def test_a_biased_split_is_found_and_a_fair_one_is_not() -> None:
    assert srm.sequential_srm([([4800, 5200], [0.5, 0.5])]) < srm.ALARM
    assert srm.sequential_srm([([9600, 10400], [0.5, 0.5])]) >= srm.ALARM
    assert srm.sequential_srm([([100_000, 100_000], [0.5, 0.5])]) < 0


def test_looking_at_the_split_all_the_time_rings_no_false_alarm(rng: np.random.Generator) -> None:
    to_b = (rng.random((500, 20_000)) < 0.5).cumsum(axis=1)[:, 99::10]
    calls = np.arange(100, 20_001, 10)
    log_e = srm.log_e_value(np.stack([calls - to_b, to_b], axis=-1), [0.5, 0.5])
    chi = np.square(2 * to_b - calls) / calls
    assert (log_e >= srm.ALARM).any(axis=1).mean() <= 0.005
    assert (chi >= stats.chi2.isf(0.05, 1)).any(axis=1).mean() > 0.35


def test_the_exact_evidence_is_the_formula_of_betas() -> None:
    s, f, w, k = (7, 3), (90, 21), (0.8, 0.2), 30.0

    def of(counts: tuple[int, int]) -> float:
        a, b = (k * one for one in w)
        log = betaln(a + counts[0], b + counts[1]) - betaln(a, b)
        return math.exp(float(log)) / (w[0] ** counts[0] * w[1] ** counts[1])

    assert float(harm.log_exact_e_value(s, f, w)) == pytest.approx(math.log((of(s) + of(f)) / 2))


def alarm_after(
    rng: np.random.Generator, pa: float, pb: float, share: float, *, runs: int = 1000, calls: int = 3000
) -> float:
    """Median calls on B until the alarm."""
    to_b = rng.random((runs, calls)) < share
    won = rng.random((runs, calls)) < np.where(to_b, pb, pa)
    successes = np.stack([(won & ~to_b).cumsum(axis=1), (won & to_b).cumsum(axis=1)], axis=-1)
    failures = np.stack([(~won & ~to_b).cumsum(axis=1), (~won & to_b).cumsum(axis=1)], axis=-1)
    hits = harm.log_exact_e_value(successes, failures, [1 - share, share]) >= harm.ALARM
    assert hits.any(axis=1).all()
    return float(np.median(np.take_along_axis(to_b.cumsum(axis=1), hits.argmax(axis=1)[:, None], axis=1)))


@pytest.mark.parametrize(
    ("pb", "share", "calls_on_b"), [(0.1, 0.5, 39), (0.1, 0.1, 17), (0.4, 0.5, 112), (0.4, 0.1, 53)]
)
def test_a_broken_version_is_caught_within_the_stated_calls(
    rng: np.random.Generator, pb: float, share: float, calls_on_b: int
) -> None:
    assert alarm_after(rng, 0.7, pb, share) == pytest.approx(calls_on_b, abs=8)


def test_harm_is_only_the_bad_direction() -> None:
    worse = [(Rate(n=500, successes=350), Rate(n=60, successes=10), 0.1)]
    assert harm.is_harmful(worse, better="higher")
    assert not harm.is_harmful(worse, better="lower")
    even = [(Rate(n=500, successes=350), Rate(n=60, successes=41), 0.1)]
    assert not harm.is_harmful(even, better="higher")
    assert not harm.is_harmful([], better="higher")


def test_a_change_of_weights_does_not_turn_harm_round() -> None:
    """Pooled over both epochs B looks better, because it was served when calls were easy."""
    epochs = [
        (Rate(n=900, successes=90), Rate(n=100, successes=2), 0.1),
        (Rate(n=100, successes=95), Rate(n=900, successes=760), 0.9),
    ]
    assert harm.is_harmful(epochs, better="higher", threshold=0.5)
    assert harm.exact_evidence(epochs) == pytest.approx(sum(harm.exact_evidence([epoch]) for epoch in epochs))


def test_a_weight_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="above 0"):
        srm.log_e_value([1, 2], [1.0, 0.0])
