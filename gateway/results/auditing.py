"""The audit of judged metrics: what people found in calls, held against the word that counts of the same calls.

A metric is judged when a judge told it of any call. Calls with a label are few, so they are read one by one.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

from gateway.judges.labels import NEEDED
from gateway.metrics import FIELD_PREFIX, METRICS
from gateway.results.cells import Cells
from gateway.results.comparing import Comparison
from gateway.results.study import CONTROL, Study
from gateway.results.wording import listed, noun
from gateway.stats.agreement import cohen_kappa, concordance, corrected_difference, corrected_mean
from gateway.stats.effect import Effect, difference
from gateway.stats.moments import Moments
from gateway.storage.analyses import Labelled

AGREEMENT = 0.6
LEANING_Z = 1.96

State = Literal["unaudited", "distrusted", "trusted"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Audit:
    """One judged metric beside the labels of people.

    ``labels`` counts the labelled calls of each arm that counts; ``gaps`` are the means of (person - judge), of a
    choice the shares of calls on which the two differ. ``agreement`` is Cohen's kappa, of numbers the concordance;
    nan where nothing varies. ``leans`` has the z of each rival's gap against the control's. ``means`` by arm and
    ``corrected`` by rival are what the labels make of the metric: for one look, and only once it is audited.
    """

    metric: str
    measure: Literal["kappa", "concordance"]
    labels: Mapping[str, int]
    agreement: float
    gaps: Mapping[str, float]
    leans: Mapping[str, float]
    means: Mapping[str, float] = field(default_factory=dict)
    corrected: Mapping[str, Effect] = field(default_factory=dict)

    @property
    def state(self) -> State:
        """Whether there are enough labels, and if so whether the judge stands up to them."""
        if min(self.labels.values(), default=0) < NEEDED:
            return "unaudited"
        return "distrusted" if self.disagrees or self.leaning else "trusted"

    @property
    def lacking(self) -> str:
        """That labels are missing, and how many there are, as a sentence without its full stop."""
        counts = listed([f"{n} of {arm.upper()}" for arm, n in self.labels.items()])
        return (
            f"{noun(self.metric)} is a judge's word and unaudited: people have labelled {counts}, "
            f"and each arm needs {NEEDED}"
        )

    @property
    def disagrees(self) -> bool:
        """Whether people and judge agree too little."""
        return self.agreement < AGREEMENT

    @property
    def leaning(self) -> tuple[str, ...]:
        """The arms to which the judge is kinder, or harder, than to the control."""
        return tuple(arm for arm, z in self.leans.items() if abs(z) > LEANING_Z)


class _Pair(NamedTuple):
    """A labelled call: the word that counts, and a person's."""

    epoch: int
    arm: str
    judged: Any
    person: Any


def audits_of(
    study: Study, cells: Cells, comparisons: Mapping[str, Mapping[str, Comparison]], labels: Sequence[Labelled]
) -> dict[str, Audit]:
    """The audit of each judged metric; ``labels`` stand in order, and of several of a call the newest counts."""
    judged = sorted({metric for arm in study.arms for metric in cells.judges(arm)})
    pairs: dict[str, dict[str, _Pair]] = {metric: {} for metric in judged}
    choices = set(cells.distributions())
    for one in labels:
        metric = one.criterion if one.criterion in METRICS else FIELD_PREFIX + one.criterion
        value = _counted(one.counted, metric) if metric in pairs else None
        # What was told before a question changed its kind is no pair.
        if value is not None and {isinstance(word, str) for word in (value, one.value)} == {metric in choices}:
            pairs[metric][one.call] = _Pair(one.epoch, one.arm, value, one.value)
    return {
        metric: _audit(study, cells, comparisons.get(metric, {}), metric, list(pairs[metric].values()))
        for metric in judged
    }


def labelled_calls(study: Study, labels: Sequence[Labelled]) -> dict[str, int]:
    """How many calls of each arm somebody has labelled, whatever was said."""
    return {arm: len({one.call for one in labels if one.arm == arm}) for arm in study.arms}


def _counted(counted: Mapping[str, float], metric: str) -> float | str | None:
    """What counts of a call: a number, the text of a choice, or nothing."""
    start = f"{metric}="
    text = next((name.removeprefix(start) for name in counted if name.startswith(start)), None)
    return text if text is not None else counted.get(metric)


def _audit(
    study: Study, cells: Cells, comparisons: Mapping[str, Comparison], metric: str, pairs: Sequence[_Pair]
) -> Audit:
    arms = [arm for arm in study.arms if cells.total(metric, arm).n]
    gaps = {arm: _by_epoch([one for one in pairs if one.arm == arm], _gap) for arm in arms}
    whole = {arm: _together(gaps[arm]) for arm in arms}
    apart = {arm: _difference(gaps.get(CONTROL, {}), gaps[arm]) for arm in arms if arm != CONTROL}
    choice = metric in cells.distributions()
    audit = Audit(
        metric=metric,
        measure="kappa" if choice or cells.kind(metric) == "rate" else "concordance",
        labels={arm: whole[arm].n for arm in arms},
        agreement=_kappa(pairs) if choice else concordance(*_columns(pairs)),
        gaps={arm: one.mean for arm, one in whole.items() if one.n},
        leans={arm: _z(effect) for arm, effect in apart.items() if effect is not None},
    )
    if choice or audit.state == "unaudited":
        return audit
    judged = {arm: _by_epoch([one for one in pairs if one.arm == arm], _judged) for arm in arms}
    means = {
        arm: corrected_mean(cells.as_sum(metric, cells.total(metric, arm) - _together(judged[arm])), whole[arm])[0]
        for arm in arms
    }
    corrected = {}
    for arm, gap in apart.items():
        if study.sticky:
            # By caller the labelled calls cannot be taken out; they are a small part of all.
            effect = comparisons[arm].effect if arm in comparisons else None
        else:
            effect = difference(cells.as_sums(metric, _unlabelled(study, cells, metric, arm, judged)))
        if effect is not None and gap is not None:
            corrected[arm] = corrected_difference(effect, gap)
    return replace(audit, means=means, corrected=corrected)


def _gap(pair: _Pair) -> float:
    return float(pair.person != pair.judged) if isinstance(pair.judged, str) else float(pair.person) - pair.judged


def _judged(pair: _Pair) -> float:
    return 0.0 if isinstance(pair.judged, str) else float(pair.judged)


def _by_epoch(pairs: Sequence[_Pair], read: Any) -> dict[int, Moments]:
    found: dict[int, Moments] = {}
    for one in pairs:
        found[one.epoch] = found.get(one.epoch, Moments()).add(read(one))
    return found


def _together(parts: Mapping[int, Moments]) -> Moments:
    return sum(parts.values(), Moments())


def _difference(control: Mapping[int, Moments], arm: Mapping[int, Moments]) -> Effect | None:
    """The arm's gap minus the control's, by epoch; one without variance where a judge never errs, or always alike."""
    pairs = [(control[epoch], arm[epoch]) for epoch in control if epoch in arm]
    if not pairs:
        return None
    a, b = _together(control), _together(arm)
    return difference(pairs) or Effect(value=b.mean - a.mean, variance=0.0, n=a.n + b.n)


def _z(effect: Effect) -> float:
    if effect.variance > 0:
        return effect.z
    return math.copysign(math.inf, effect.value) if effect.value else 0.0


def _unlabelled(
    study: Study, cells: Cells, metric: str, arm: str, judged: Mapping[str, Mapping[int, Moments]]
) -> list[tuple[Moments, Moments]]:
    """The control and an arm by epoch, without the calls that people have labelled."""
    nothing = Moments()

    def left(name: str, epoch: int) -> Moments:
        return cells.total(metric, name, epoch=epoch) - judged.get(name, {}).get(epoch, nothing)

    return [(left(CONTROL, epoch.number), left(arm, epoch.number)) for epoch in study.epochs]


def _kappa(pairs: Sequence[_Pair]) -> float:
    values = sorted({value for one in pairs for value in (one.judged, one.person)})
    table = [[0] * len(values) for _ in values]
    for one in pairs:
        table[values.index(one.judged)][values.index(one.person)] += 1
    return cohen_kappa(table) if values else math.nan


def _columns(pairs: Sequence[_Pair]) -> tuple[list[float], list[float]]:
    return [float(one.judged) for one in pairs], [float(one.person) for one in pairs]
