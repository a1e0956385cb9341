"""How many calls an experiment needs, what it can see with the calls it gets, and how long that takes.

Numbers per arm are those of one fixed look at equal arms; `plan` turns them into the calls of an experiment that is
read all the time. Rates are shares (0.05 is five points), ``alpha`` is two-sided unless said otherwise.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from scipy.special import nctdtr, ndtr, ndtri, stdtrit

SEQUENTIAL_COST = 1.65  # calls for 80% power when looking all the time over those of one look (measured 1.56 to 1.66)
MIN_DAYS = 14
WEEK = 7


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """Calls of both arms together, and days.

    ``fixed`` is N_f for one look, ``planned`` N* that tunes the sequence, ``most`` N_max; ``days`` is None when
    nothing is known about the traffic.
    """

    fixed: int
    planned: int
    most: int
    days: int | None


def _checked(**shares: float) -> None:
    for name, share in shares.items():
        if not 0 < share < 1:
            raise ValueError(f"{name} must lie between 0 and 1, not {share}")


def _root(rises: Callable[[float], float], low: float, high: float) -> float:
    """Where a rising function passes 0 between low and high, by bisection; nan when it does not."""
    if rises(high) < 0:
        return math.nan
    for _ in range(200):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (middle, high) if rises(middle) < 0 else (low, middle)
    return high


def power_of_rates(per_arm: float, p1: float, p2: float, *, alpha: float = 0.05) -> float:
    """The power of the two-proportion z test with ``per_arm`` calls in each arm, as R's power.prop.test."""
    middle = (p1 + p2) / 2
    own = math.sqrt(p1 * (1 - p1) + p2 * (1 - p2))
    if own == 0:
        return math.nan
    needed = -float(ndtri(alpha / 2)) * math.sqrt(2 * middle * (1 - middle))
    return float(ndtr((math.sqrt(per_arm) * abs(p2 - p1) - needed) / own))


def per_arm_of_rates(p1: float, p2: float, *, alpha: float = 0.05, power: float = 0.8) -> float:
    """Calls per arm that find p2 against p1, not rounded, as R's power.prop.test; ValueError when they are equal."""
    _checked(p1=p1, p2=p2, alpha=alpha, power=power)
    if p1 == p2:
        raise ValueError("no number of calls tells two equal rates apart")
    middle = (p1 + p2) / 2
    spread = -float(ndtri(alpha / 2)) * math.sqrt(2 * middle * (1 - middle))
    spread += float(ndtri(power)) * math.sqrt(p1 * (1 - p1) + p2 * (1 - p2))
    return (spread / (p2 - p1)) ** 2


def detectable_rate(
    per_arm: float,
    p1: float,
    *,
    alpha: float = 0.05,
    power: float = 0.8,
    better: Literal["higher", "lower"] = "higher",
) -> float:
    """The nearest p2 above p1 (or below) that so many calls per arm find; nan when even the last one is not found.

    Its distance from p1 is the minimum detectable effect.
    """
    _checked(p1=p1, alpha=alpha, power=power)
    if better == "lower":
        return 1 - detectable_rate(per_arm, 1 - p1, alpha=alpha, power=power)
    return _root(lambda p2: power_of_rates(per_arm, p1, p2, alpha=alpha) - power, p1, 1.0)


def power_of_means(per_arm: float, delta: float, sd: float, *, alpha: float = 0.05) -> float:
    """The power of the two-sample t test for a true difference of ``delta``, as R's power.t.test.

    For a one-sided test pass twice its alpha, here and below.
    """
    df = 2 * (per_arm - 1)
    needed = float(stdtrit(df, 1 - alpha / 2))
    return 1 - float(nctdtr(df, math.sqrt(per_arm / 2) * abs(delta) / sd, needed))


def per_arm_of_means(delta: float, sd: float, *, alpha: float = 0.05, power: float = 0.8) -> float:
    """Calls per arm that find a difference of ``delta`` between means with ``sd`` (same unit), not rounded.

    n = 2 (z_a + z_b)^2 sd^2/delta^2 + z_a^2/4, the normal answer with the first term of the t's; where n is below
    1,000 the t's own, as R's power.t.test. Raises ValueError unless delta and sd are above 0.
    """
    _checked(alpha=alpha, power=power)
    if not (delta > 0 and sd > 0):
        raise ValueError(f"a difference of {delta} with a standard deviation of {sd} cannot be planned")
    z = -float(ndtri(alpha / 2))
    normal = 2 * ((z + float(ndtri(power))) * sd / delta) ** 2 + z * z / 4
    if normal > 1000:
        return normal
    return _root(lambda n: power_of_means(n, delta, sd, alpha=alpha) - power, 1.001, 2 * normal + 10)


def detectable_difference(per_arm: float, sd: float, *, alpha: float = 0.05, power: float = 0.8) -> float:
    """The smallest difference of means that so many calls per arm find, in the unit of ``sd``; nan below two."""
    _checked(alpha=alpha, power=power)
    z = -float(ndtri(alpha / 2))
    if per_arm < 2:
        return math.nan
    if per_arm > 1000:
        return sd * (z + float(ndtri(power))) * math.sqrt(2 / (per_arm - z * z / 4))
    return _root(lambda delta: power_of_means(per_arm, delta, sd, alpha=alpha) - power, 0.0, 100 * sd)


def per_arm_within_margin(margin: float, sd: float, *, alpha: float = 0.05, power: float = 0.8) -> float:
    """Calls per arm that show a guardrail no worse than ``margin`` when it has not moved: 2 (z_a + z_b)^2
    sd^2/margin^2.

    ``alpha`` is one-sided; the ``sd`` of a rate is sqrt(p (1 - p)).
    """
    _checked(alpha=alpha, power=power)
    if not (margin > 0 and sd > 0):
        raise ValueError(f"a margin of {margin} with a standard deviation of {sd} cannot be planned")
    return 2 * ((float(ndtri(power)) - float(ndtri(alpha))) * sd / margin) ** 2


def power_beside_guardrails(power: float, guardrails: int) -> float:
    """The power to plan the primary metric and each of G guardrails with: 1 - beta/(G + 1).

    Source: Schultzberg, Ankargren and Frånberg, arXiv 2402.11609.
    """
    return 1 - (1 - power) / (guardrails + 1)


def unequal_split_cost(share_b: float) -> float:
    """How many times the calls of a 50/50 split it takes: 1/(4 w (1 - w)), w being B's share of A and B."""
    _checked(share_b=share_b)
    return 1 / (4 * share_b * (1 - share_b))


def sticky_cost(mean_square_over_mean: float, icc: float) -> float:
    """How many times the calls it takes when callers stick: 1 + (Snn/Sn - 1) ICC.

    Sn are the calls, Snn the sum of squared calls per caller, and the first argument is Snn/Sn.
    """
    return 1 + (mean_square_over_mean - 1) * icc


def judge_cost(sensitivity: float, specificity: float) -> float:
    """How many times the calls it takes when a fair judge errs: 1/(Se + Sp - 1)^2.

    Raises ValueError when the judge tells nothing (Se + Sp <= 1).
    """
    if not sensitivity + specificity > 1:
        raise ValueError(f"a judge with sensitivity {sensitivity} and specificity {specificity} tells nothing")
    return 1 / (sensitivity + specificity - 1) ** 2


def days_needed(calls: float, calls_per_day: float) -> int:
    """Days until so many calls have matured: whole weeks, 14 at least. Raises ValueError unless calls_per_day > 0."""
    if not calls_per_day > 0:
        raise ValueError(f"calls per day must be above 0, not {calls_per_day}")
    return max(MIN_DAYS, math.ceil(math.ceil(calls / calls_per_day) / WEEK) * WEEK)


def plan(per_arm: float, *, share_b: float = 0.5, cost: float = 1.0, calls_per_day: float | None = None) -> Plan:
    """The calls and days of an experiment from the calls per arm of one fixed look.

    ``cost`` is the product of `sticky_cost` and `judge_cost`; ``calls_per_day`` counts matured calls of A and B. N_f
    = 2 n times the costs, N* = N_f, N_max = 1.65 N_f. Source: docs/explanation/statistics.md.
    """
    fixed = math.ceil(2 * per_arm * unequal_split_cost(share_b) * cost)
    most = math.ceil(SEQUENTIAL_COST * fixed)
    days = None if calls_per_day is None else days_needed(most, calls_per_day)
    return Plan(fixed=fixed, planned=fixed, most=most, days=days)


def effective_per_arm(calls: float, *, share_b: float = 0.5, cost: float = 1.0) -> float:
    """The reverse of `plan`: to how many calls per arm of one fixed look so many calls amount (those of four weeks,
    say).
    """
    return calls / SEQUENTIAL_COST / (2 * unequal_split_cost(share_b) * cost)
