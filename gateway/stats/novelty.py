"""Whether an effect changes with time: the first week against the rest, and a slope over the days.

Both have little power: an absent warning is no proof that nothing changes. The real protection is to run for two
whole weeks.
"""

from collections.abc import Sequence
from typing import TypeVar

from gateway.stats.effect import Effect, difference
from gateway.stats.moments import Sample
from gateway.stats.significance import Significance, two_sided_normal

FIRST_DAYS = 7
FROM_DAY = 10
THRESHOLD = 2.58

S = TypeVar("S", bound=Sample)


def early_against_late(days: Sequence[tuple[int, S, S]], *, first: int = FIRST_DAYS) -> Effect | None:
    """The effect of days 1 to ``first`` minus that of the later ones; ``days`` holds (day from 1, A, B) of each cell.

    Read it from day 10 on; |z| > 2.58 says that the effect is changing. A positive value is one that faded. None when
    a part has no effect. Source: docs/explanation/statistics.md.
    """
    early = difference([(a, b) for day, a, b in days if day <= first])
    late = difference([(a, b) for day, a, b in days if day > first])
    if early is None or late is None:
        return None
    return Effect(value=early.value - late.value, variance=early.variance + late.variance, n=early.n + late.n)


def slope(days: Sequence[tuple[int, S, S]]) -> tuple[float, Significance] | None:
    """(change of the effect per day, its z test): a line through the daily effects, each weighted by 1/variance.

    For the end of an experiment; None when fewer than two days have an effect.
    """
    daily = [(day, difference([(a, b)])) for day, a, b in days]
    known = [(float(day), effect.value, 1 / effect.variance) for day, effect in daily if effect is not None]
    weight = sum(w for _, _, w in known)
    if not known:
        return None
    middle = sum(w * day for day, _, w in known) / weight
    spread = sum(w * (day - middle) ** 2 for day, _, w in known)
    if not spread > 0:
        return None
    change = sum(w * (day - middle) * value for day, value, w in known) / spread
    return change, two_sided_normal(change * spread**0.5)
