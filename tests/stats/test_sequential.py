"""The confidence sequence, the always-valid p-value, the gate and the guardrails that rest on them."""

import math

import numpy as np
import pytest
from scipy import integrate

from gateway.stats.effect import Effect
from gateway.stats.guardrail import guardrail
from gateway.stats.moments import Moments, Rate
from gateway.stats.sequential import (
    always_valid_p,
    confidence_sequence,
    critical_value,
    gate,
    log_e_value,
    log_evidence,
    one_sided_bounds,
    one_sided_critical_value,
    tuning,
)


def test_needed_z_is_as_tabled() -> None:
    """At 10, 25, 50, 100 and 200% of the planned calls."""
    a = np.array([0.1, 0.25, 0.5, 1.0, 2.0]) * 5000 * tuning(5000)
    assert critical_value(a) == pytest.approx([3.86, 3.26, 3.08, 3.04, 3.06], abs=0.005)


def test_the_sequence_is_narrowest_at_the_planned_calls() -> None:
    for alpha in (0.01, 0.05, 0.2):
        a = np.exp(np.linspace(-3, 3, 601)) * 1000 * tuning(1000, alpha=alpha)
        assert np.exp(np.linspace(-3, 3, 601))[critical_value(a, alpha=alpha).argmin()] == pytest.approx(1.0, rel=0.1)


def test_the_e_value_is_the_normal_mixture() -> None:
    """Against numerical integration of the likelihood ratio over effects drawn from a normal distribution."""
    for z, a in ((0.0, 0.3), (2.5, 1.0), (-3.0, 8.0), (4.0, 40.0)):
        density = integrate.quad(
            lambda m, z=z, a=a: math.exp(z * m - m * m / 2 - m * m / (2 * a)) / math.sqrt(2 * math.pi * a), -60, 60
        )[0]
        assert float(log_e_value(z, a)) == pytest.approx(math.log(density), abs=1e-7)


def test_the_e_value_is_fair_when_there_is_no_difference() -> None:
    for a in (0.1, 1.0, 20.0):
        mean = integrate.quad(
            lambda z, a=a: math.exp(float(log_e_value(z, a)) - z * z / 2) / math.sqrt(2 * math.pi), -80, 80
        )[0]
        assert mean == pytest.approx(1.0, abs=1e-6)


def test_the_interval_excludes_zero_exactly_when_the_evidence_suffices(rng: np.random.Generator) -> None:
    for _ in range(2000):
        effect = Effect(value=rng.normal(0, 3), variance=rng.lognormal(0, 0.5), n=int(rng.integers(1, 20_000)))
        r2, alpha = tuning(5000), float(rng.choice([0.05, 0.025, 0.01]))
        suffices = log_evidence(effect, r2=r2) >= -math.log(alpha)
        assert confidence_sequence(effect, r2=r2, alpha=alpha).excludes(0.0) == suffices


def test_p_only_falls_and_never_passes_one() -> None:
    assert always_valid_p(math.log(20)) == pytest.approx(0.05)
    assert always_valid_p(-3.0) == 1.0
    assert always_valid_p(0.0, previous=0.04) == 0.04
    assert always_valid_p(math.log(50), previous=0.04) == pytest.approx(0.02)
    assert always_valid_p(math.nan, previous=0.3) == 0.3
    assert always_valid_p(5000.0) == 0.0


def test_a_one_sided_bound_is_closer_than_the_interval() -> None:
    effect = Effect(value=0.02, variance=1e-4, n=4000)
    bounds = one_sided_bounds(effect, r2=tuning(5000, alpha=0.1))
    interval = confidence_sequence(effect, r2=tuning(5000))
    assert interval.low < bounds.low < effect.value < bounds.high < interval.high
    # Where both sides are spent on one the factor is that of eq. 134.
    assert float(one_sided_critical_value(1.0, alpha=0.05)) == pytest.approx(
        math.sqrt(4 * math.log1p(math.sqrt(2) / 0.1))
    )


def test_the_one_sided_bound_holds_at_all_times_together(rng: np.random.Generator) -> None:
    steps = rng.normal(0, 1, (2000, 4000)).cumsum(axis=1)
    n = np.arange(1.0, 4001)
    needed = one_sided_critical_value(n * tuning(2000, alpha=0.1), alpha=0.05)
    crossed = (steps / np.sqrt(n) > needed).any(axis=1).mean()
    fixed = (steps / np.sqrt(n) > 1.645).any(axis=1).mean()
    assert crossed <= 0.05
    assert fixed > 0.3


def test_the_gate_of_a_rate_counts_the_rarer_outcome_of_the_poorest_arm() -> None:
    plenty = Rate(n=1000, successes=500)
    assert gate(plenty, Rate(n=1000, successes=9)).have == 9
    assert not gate(plenty, Rate(n=1000, successes=991)).open
    assert gate(plenty, Rate(n=20, successes=10)).open
    assert gate(plenty, plenty, Rate()).have == 0


def test_the_gate_of_a_mean_counts_calls() -> None:
    assert gate(Moments(n=100, mean=1.0, m2=1.0), Moments(n=5000, mean=1.0, m2=1.0)).open
    assert gate(Moments(n=99, mean=1.0, m2=1.0), Moments(n=5000, mean=1.0, m2=1.0)) != gate(Moments(n=100))
    with pytest.raises(ValueError, match="needs arms"):
        gate()


@pytest.mark.parametrize(("planned", "alpha"), [(0, 0.05), (-5, 0.05), (math.nan, 0.05), (100, 0.0), (100, 1.0)])
def test_a_senseless_tuning_is_refused(planned: float, alpha: float) -> None:
    with pytest.raises(ValueError, match="must"):
        tuning(planned, alpha=alpha)


@pytest.mark.parametrize(
    ("value", "se", "state"),
    [
        (0.000, 0.005, "pass"),
        (-0.013, 0.003, "pass"),
        (-0.10, 0.01, "fail"),
        (-0.06, 0.012, "harm"),
        (-0.02, 0.02, "inconclusive"),
        (0.05, 0.05, "inconclusive"),
    ],
)
def test_the_states_of_a_guardrail(value: float, se: float, state: str) -> None:
    r2 = tuning(5000, alpha=0.1)
    effect = Effect(value=value, variance=se**2, n=5000)
    assert guardrail(effect, margin=0.03, better="higher", r2=r2) == state
    mirrored = Effect(value=-value, variance=se**2, n=5000)
    assert guardrail(mirrored, margin=0.03, better="lower", r2=r2) == state


def test_a_guardrail_needs_a_margin() -> None:
    with pytest.raises(ValueError, match="margin"):
        guardrail(Effect(value=0.0, variance=1.0, n=9), margin=0.0, better="higher", r2=0.1)
