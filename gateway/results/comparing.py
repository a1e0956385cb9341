"""One metric of one arm against the control: the effect, its always-valid interval and p-value, and what came before.

Calls are compared call by call; where callers were randomised, caller by caller.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gateway.results.cells import Cells
from gateway.results.study import CONTROL, Better, Kind, Study
from gateway.stats.clusters import Clusters, cluster_difference
from gateway.stats.effect import Effect, Interval, difference, lift_interval, log_ratio
from gateway.stats.multiple import holm, holm_levels
from gateway.stats.sequential import (
    NEEDED_OF_A_MEAN,
    NEEDED_OF_A_RATE,
    Gate,
    always_valid_p,
    confidence_sequence,
    gate,
    log_evidence,
    tuning,
)

ClusterSums = Mapping[tuple[int, str, str], Clusters]
"""The callers' sums by (epoch, arm, metric); only where callers stick."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Running:
    """What is remembered of a comparison from one evaluation to the next.

    ``p`` is the smallest p-value so far; ``crossed_at`` (Unix milliseconds), ``crossed_n`` and ``crossed_up`` tell
    when it first reached alpha, after how many units, and on which side; ``low`` and ``high`` are what all intervals
    so far have in common.
    """

    p: float = 1.0
    crossed_at: int | None = None
    crossed_n: int | None = None
    crossed_up: bool | None = None
    low: float = -math.inf
    high: float = math.inf


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """An arm minus the control in one metric; ``effect`` is None while it cannot be computed.

    ``p`` may be read at any time, ``adjusted_p`` answers for the number of arms too, and ``interval`` holds at
    ``level``. Nothing is said before the gate is open: p is 1 and the interval None.
    """

    metric: str
    arm: str
    kind: Kind
    better: Better
    gate: Gate
    effect: Effect | None
    log_e: float
    running: Running
    level: float
    adjusted_p: float
    interval: Interval | None
    lift: float | None
    lift_interval: Interval | None

    @property
    def p(self) -> float:
        """The always-valid p-value."""
        return self.running.p

    @property
    def gain(self) -> float:
        """The effect in the good direction; nan while there is none."""
        if self.effect is None:
            return math.nan
        return self.effect.value if self.better == "higher" else -self.effect.value

    @property
    def certain(self) -> bool:
        """Whether the arm differs for sure: the p-value has reached alpha, and the estimate is still on that side."""
        return self.effect is not None and self.running.crossed_up is (self.effect.value > 0)


def compare(
    study: Study,
    cells: Cells,
    clusters: ClusterSums,
    metric: str,
    arm: str,
    *,
    running: Running,
) -> Comparison:
    """Compare an arm with the control in one metric, stratified by epoch."""
    effect = _effect(study, cells, clusters, metric, arm)
    opening = _gate(study, cells, clusters, metric, arm)
    r2 = tuning(study.plan.size, alpha=study.plan.alpha)
    log_e = log_evidence(effect, r2=r2) if effect is not None and opening.open else math.nan
    p = always_valid_p(log_e, previous=running.p)
    lift = None if study.sticky else _lift(cells, metric, arm)
    lift_range = None
    if lift is not None and opening.open:
        lift_range = lift_interval(confidence_sequence(lift, r2=r2, alpha=study.plan.alpha))
    comparison = Comparison(
        metric=metric,
        arm=arm,
        kind=cells.kind(metric),
        better=study.plan.direction(metric),
        gate=opening,
        effect=effect,
        log_e=log_e,
        running=replace(running, p=p),
        level=study.plan.alpha,
        adjusted_p=p,
        interval=None,
        lift=math.expm1(lift.value) if lift is not None else None,
        lift_interval=lift_range,
    )
    return _at_level(comparison, p, study.plan.alpha, r2)


def together(study: Study, comparisons: Sequence[Comparison]) -> list[Comparison]:
    """The comparisons of the primary metric, corrected for the number of arms (Holm)."""
    p = [one.p for one in comparisons]
    r2 = tuning(study.plan.size, alpha=study.plan.alpha)
    levels = holm_levels(p, alpha=study.plan.alpha)
    return [
        _at_level(one, adjusted, level, r2) for one, adjusted, level in zip(comparisons, holm(p), levels, strict=True)
    ]


def noted(comparison: Comparison, *, alpha: float, now: int) -> Comparison:
    """With the first crossing noted, and what all intervals so far have in common."""
    before, effect, interval = comparison.running, comparison.effect, comparison.interval
    if effect is None or interval is None:
        return comparison
    now_known = replace(before, low=max(before.low, interval.low), high=min(before.high, interval.high))
    if before.crossed_at is None and comparison.adjusted_p <= alpha:
        now_known = replace(now_known, crossed_at=now, crossed_n=effect.n, crossed_up=effect.value > 0)
    return replace(comparison, running=now_known)


def cluster_pairs(clusters: ClusterSums, study: Study, metric: str, arm: str) -> list[tuple[Clusters, Clusters]]:
    """The callers of the control and an arm, epoch by epoch."""
    empty = Clusters()
    return [
        (clusters.get((epoch.number, CONTROL, metric), empty), clusters.get((epoch.number, arm, metric), empty))
        for epoch in study.epochs
    ]


def _at_level(comparison: Comparison, adjusted: float, level: float, r2: float) -> Comparison:
    interval = None
    if comparison.effect is not None and comparison.gate.open:
        interval = confidence_sequence(comparison.effect, r2=r2, alpha=level)
    return replace(comparison, adjusted_p=adjusted, level=level, interval=interval)


def _effect(study: Study, cells: Cells, clusters: ClusterSums, metric: str, arm: str) -> Effect | None:
    if study.sticky:
        return cluster_difference(cluster_pairs(clusters, study, metric, arm))
    return difference(cells.as_sums(metric, cells.pairs(metric, arm)))


def _lift(cells: Cells, metric: str, arm: str) -> Effect | None:
    return log_ratio(cells.as_sums(metric, cells.pairs(metric, arm)))


def _gate(study: Study, cells: Cells, clusters: ClusterSums, metric: str, arm: str) -> Gate:
    """The poorer of the two arms; where callers stick, as many callers are needed as calls elsewhere."""
    sums: list[Any] = [cells.as_sum(metric, cells.total(metric, one)) for one in (CONTROL, arm)]
    by_call = gate(*sums)
    if not study.sticky:
        return by_call
    pairs = cluster_pairs(clusters, study, metric, arm)
    callers = min(sum(pair[side].callers for pair in pairs) for side in (0, 1)) if pairs else 0
    need = 2 * NEEDED_OF_A_RATE if cells.kind(metric) == "rate" else NEEDED_OF_A_MEAN
    if by_call.open or cells.kind(metric) == "mean":
        return Gate(have=callers, need=need)
    return by_call
