"""The primary metric within segments: facts that were known of a call before it was drawn."""

from collections.abc import Sequence

from gateway.results.cells import HOUR, Cells, Pair
from gateway.results.evidence import Segment, Stratum
from gateway.results.study import Study
from gateway.stats.effect import Effect, difference, wald_interval
from gateway.stats.heterogeneity import ENOUGH_PER_ARM, cochran_q, gail_simon
from gateway.stats.moments import Moments
from gateway.stats.multiple import benjamini_hochberg
from gateway.stats.significance import two_sided_normal
from gateway.stats.strata import mantel_haenszel_difference, post_stratified

FALSE_DISCOVERIES = 0.10


def strata_of(study: Study, cells: Cells, arm: str) -> list[Stratum]:
    """Every stratum that was counted, for one arm against the control."""
    return [_stratum(study, cells, arm, name, values) for name, values in cells.strata().items() if name != HOUR]


def _stratum(study: Study, cells: Cells, arm: str, name: str, values: Sequence[str]) -> Stratum:
    metric = study.plan.primary
    pairs = {value: cells.pairs(metric, arm, stratum=f"{name}={value}") for value in values}
    segments = tuple(_segment(cells, metric, value, found) for value, found in pairs.items())
    asked = [one for one in segments if min(one.n_a, one.n_b) >= ENOUGH_PER_ARM and one.effect is not None]
    effects = [one.effect for one in asked if one.effect is not None]
    same, reversal = cochran_q(effects), gail_simon(effects)
    planned = name in study.plan.strata
    return Stratum(
        name=name,
        arm=arm,
        planned=planned,
        segments=segments,
        together=_together(cells, metric, [pair for found in pairs.values() for pair in found]),
        p=same.p if same else None,
        reversal_p=reversal.p if reversal else None,
        discoveries=() if planned else _discoveries(asked),
    )


def _segment(cells: Cells, metric: str, value: str, pairs: Sequence[Pair]) -> Segment:
    a, b = Moments(), Moments()
    for one, other in pairs:
        a, b = a + one, b + other
    effect = difference(cells.as_sums(metric, pairs))
    return Segment(
        value=value,
        n_a=a.n,
        mean_a=a.mean if a.n else None,
        n_b=b.n,
        mean_b=b.mean if b.n else None,
        effect=effect,
        interval=wald_interval(effect) if effect else None,
    )


def _together(cells: Cells, metric: str, pairs: Sequence[Pair]) -> Effect | None:
    """The effect with segment and epoch held fixed."""
    sums = cells.as_sums(metric, pairs)
    if cells.kind(metric) == "rate":
        return mantel_haenszel_difference(sums)
    if any(min(a.n, b.n) < 2 for a, b in sums):
        return difference(sums)
    return post_stratified(sums) if sums else None


def _discoveries(asked: Sequence[Segment]) -> tuple[str, ...]:
    tests = [(one.value, two_sided_normal(one.effect.z).p) for one in asked if one.effect is not None]
    adjusted = benjamini_hochberg([p for _, p in tests])
    return tuple(value for (value, _), p in zip(tests, adjusted, strict=True) if p <= FALSE_DISCOVERIES)
