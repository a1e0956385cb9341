"""What a test will cost before it starts: calls, days, and what can be seen with the calls there are."""

import math
from dataclasses import dataclass

from gateway.results.study import Kind
from gateway.results.wording import amount
from gateway.stats.planning import (
    Plan,
    detectable_difference,
    detectable_rate,
    effective_per_arm,
    judge_cost,
    per_arm_of_means,
    per_arm_of_rates,
    plan,
    power_beside_guardrails,
    sticky_cost,
    unequal_split_cost,
)

WEEKS_AHEAD_DAYS = 28


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """What is planned: a rate from ``baseline``, or a mean with ``sd``; ``effect`` is signed, in the metric's unit.

    ``share_b`` is the arm's share among the calls of the control and itself, ``calls_per_day`` counts both, and
    ``squares`` is the sum of squared calls per caller over the calls (1 when nobody calls twice).
    """

    kind: Kind
    effect: float
    baseline: float = 0.5
    sd: float | None = None
    alpha: float = 0.05
    power: float = 0.8
    share_b: float = 0.5
    guardrails: int = 0
    calls_per_day: float | None = None
    icc: float = 0.0
    squares: float = 1.0
    sensitivity: float = 1.0
    specificity: float = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Size:
    """The answer: calls per arm of one look at even arms, the sizes with all costs, and what costs how many times.

    ``detectable`` is the smallest effect that the calls of four weeks show; None without traffic.
    """

    per_arm: int
    sizes: Plan
    split_cost: float
    sticky_cost: float
    judge_cost: float
    power: float
    detectable: float | None
    warnings: tuple[str, ...]


def size(asked: Question) -> Size:
    """The size of a test; raises ValueError with a sentence where it cannot be computed."""
    power = power_beside_guardrails(asked.power, asked.guardrails)
    if asked.kind == "rate":
        per_arm = per_arm_of_rates(asked.baseline, asked.baseline + asked.effect, alpha=asked.alpha, power=power)
    elif asked.sd is None:
        raise ValueError("a mean needs its sd: the standard deviation of one call")
    else:
        per_arm = per_arm_of_means(abs(asked.effect), asked.sd, alpha=asked.alpha, power=power)
    sticky = sticky_cost(asked.squares, asked.icc)
    judge = judge_cost(asked.sensitivity, asked.specificity)
    sizes = plan(per_arm, share_b=asked.share_b, cost=sticky * judge, calls_per_day=asked.calls_per_day)
    detectable = _detectable(asked, sticky * judge, power)
    return Size(
        per_arm=math.ceil(per_arm),
        sizes=sizes,
        split_cost=unequal_split_cost(asked.share_b),
        sticky_cost=sticky,
        judge_cost=judge,
        power=power,
        detectable=detectable,
        warnings=tuple(_warnings(asked, sizes, detectable)),
    )


def _detectable(asked: Question, cost: float, power: float) -> float | None:
    if asked.calls_per_day is None:
        return None
    per_arm = effective_per_arm(asked.calls_per_day * WEEKS_AHEAD_DAYS, share_b=asked.share_b, cost=cost)
    if asked.kind == "mean":
        found = detectable_difference(per_arm, asked.sd or math.nan, alpha=asked.alpha, power=power)
    else:
        other = detectable_rate(
            per_arm, asked.baseline, alpha=asked.alpha, power=power, better="higher" if asked.effect > 0 else "lower"
        )
        found = abs(other - asked.baseline)
    return None if math.isnan(found) else found


def _warnings(asked: Question, sizes: Plan, detectable: float | None) -> list[str]:
    """Rule 28, before the start."""
    if asked.calls_per_day is None or asked.calls_per_day * WEEKS_AHEAD_DAYS >= 0.5 * sizes.most:
        return []
    seen = f"can only detect {amount(detectable, asked.kind)} or more" if detectable else "cannot detect any effect"
    advice = "plan for a larger effect" if asked.share_b == 0.5 else "plan for a larger effect, or split evenly"
    return [f"too few calls: four weeks bring {asked.calls_per_day * WEEKS_AHEAD_DAYS:,.0f} and {seen}; {advice}"]
