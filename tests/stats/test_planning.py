"""Sample sizes against statsmodels, and the planner's own arithmetic."""

import math

import numpy as np
import pytest
from statsmodels.stats.power import TTestIndPower
from statsmodels.stats.proportion import power_proportions_2indep

from gateway.stats import planning


def test_power_of_rates_agrees_with_statsmodels(rng: np.random.Generator) -> None:
    for _ in range(500):
        p1, p2 = rng.uniform(0.02, 0.98, 2)
        n, alpha = float(rng.uniform(20, 5000)), float(rng.uniform(0.001, 0.2))
        # statsmodels adds the far tail, which R and the planner leave out.
        theirs = power_proportions_2indep(p2 - p1, p1, n, alpha=alpha, alternative="two-sided").power
        assert planning.power_of_rates(n, p1, p2, alpha=alpha) == pytest.approx(theirs, abs=alpha / 2 + 1e-9)


def test_the_planned_number_has_the_planned_power(rng: np.random.Generator) -> None:
    for _ in range(500):
        p1, p2 = rng.uniform(0.02, 0.98, 2)
        power, alpha = float(rng.uniform(0.5, 0.99)), float(rng.uniform(0.001, 0.2))
        n = planning.per_arm_of_rates(p1, p2, alpha=alpha, power=power)
        assert planning.power_of_rates(n, p1, p2, alpha=alpha) == pytest.approx(power, abs=1e-9)
        found = planning.detectable_rate(n, p1, alpha=alpha, power=power, upward=bool(p2 > p1))
        assert found == pytest.approx(p2, abs=1e-6)


def test_power_of_means_agrees_with_statsmodels(rng: np.random.Generator) -> None:
    theirs = TTestIndPower()
    for _ in range(300):
        n, size = float(rng.uniform(3, 3000)), float(rng.uniform(0.02, 0.2))
        alpha = float(rng.uniform(0.001, 0.2))
        one_sided = theirs.power(size, n, alpha, alternative="larger")
        assert planning.power_of_means(n, size * 7, 7.0, alpha=alpha, one_sided=True) == pytest.approx(
            one_sided, abs=1e-7
        )
        two_sided = theirs.power(size, n, alpha)
        assert planning.power_of_means(n, size * 7, 7.0, alpha=alpha) == pytest.approx(
            two_sided, abs=alpha / 2 + 1e-9
        )


@pytest.mark.parametrize("delta", [3.0, 1.0, 0.5, 0.2, 0.1245, 0.1255, 0.05, 0.01])
@pytest.mark.parametrize("power", [0.8, 0.95])
def test_the_number_for_means_is_right_on_both_sides_of_a_thousand(delta: float, power: float) -> None:
    n = planning.per_arm_of_means(delta, 1.0, power=power)
    assert planning.power_of_means(n, delta, 1.0) == pytest.approx(power, abs=2e-5)
    assert planning.detectable_difference(n, 1.0, power=power) == pytest.approx(delta, rel=1e-4)
    if n > 10:
        z_a, z_b = 1.959963984540054, {0.8: 0.8416212335729143, 0.95: 1.6448536269514722}[power]
        assert n == pytest.approx(2 * ((z_a + z_b) / delta) ** 2 + z_a**2 / 4, rel=0.03)


def test_the_worked_example() -> None:
    """Completion of 50% to 55%."""
    plan = planning.plan(planning.per_arm_of_rates(0.50, 0.55), calls_per_day=300)
    assert (plan.fixed, plan.planned, plan.most, plan.days) == (3130, 3130, 5165, 21)


def test_a_plan_without_traffic_knows_no_days() -> None:
    assert planning.plan(100).days is None


@pytest.mark.parametrize(
    ("calls", "per_day", "days"),
    [(10, 1000, 14), (1400, 100, 14), (1401, 100, 21), (2101, 100, 28), (5000, 0.5, 10003)],
)
def test_days_are_whole_weeks_and_two_at_least(calls: float, per_day: float, days: int) -> None:
    assert planning.days_needed(calls, per_day) == days


def test_what_raises_the_cost() -> None:
    assert planning.unequal_split_cost(0.5) == 1.0
    assert planning.unequal_split_cost(0.2) == pytest.approx(1.5625)
    assert planning.unequal_split_cost(0.9) == pytest.approx(2.78, abs=0.005)
    assert planning.sticky_cost(3.0, 0.2) == pytest.approx(1.4)
    assert planning.sticky_cost(1.0, 0.9) == 1.0
    costs = [planning.judge_cost(*judge) for judge in ((0.90, 0.85), (0.8, 0.8), (0.75, 0.75), (1.0, 1.0))]
    assert costs == pytest.approx([1.78, 2.78, 4.0, 1.0], abs=0.005)


def test_effective_calls_undo_the_plan() -> None:
    plan = planning.plan(1000, share_b=0.2, cost=1.3)
    assert planning.effective_per_arm(plan.most, share_b=0.2, cost=1.3) == pytest.approx(1000, rel=1e-3)


def test_a_guardrails_number_holds_its_power() -> None:
    n = planning.per_arm_within_margin(0.03, 0.5, alpha=0.05, power=0.9)
    z = 0.03 / math.sqrt(2 * 0.25 / n)
    assert z == pytest.approx(1.6448536 + 1.2815516, abs=1e-6)
    assert planning.power_beside_guardrails(0.8, 3) == pytest.approx(0.95)
    assert planning.power_beside_guardrails(0.8, 0) == pytest.approx(0.8)


def test_what_cannot_be_found_is_nan() -> None:
    assert math.isnan(planning.detectable_rate(3, 0.9))
    assert math.isnan(planning.detectable_difference(1, 1.0))
    assert math.isnan(planning.power_of_rates(50, 0.0, 0.0))


def test_impossible_input_is_refused() -> None:
    with pytest.raises(ValueError, match="equal rates"):
        planning.per_arm_of_rates(0.4, 0.4)
    with pytest.raises(ValueError, match="p1 must lie between 0 and 1"):
        planning.per_arm_of_rates(0.0, 0.4)
    with pytest.raises(ValueError, match="difference of 0"):
        planning.per_arm_of_means(0.0, 1.0)
    with pytest.raises(ValueError, match="margin of 0"):
        planning.per_arm_within_margin(0.0, 1.0)
    with pytest.raises(ValueError, match="tells nothing"):
        planning.judge_cost(0.4, 0.6)
    with pytest.raises(ValueError, match="calls per day"):
        planning.days_needed(10, 0)
    with pytest.raises(ValueError, match="share_b"):
        planning.unequal_split_cost(1.0)
