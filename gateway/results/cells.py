"""The tallies of one experiment, put in order: by metric, arm, epoch, day and stratum.

Some cells are no metric of their own but part of one: ``fields.intent=billing`` counts a value,
``duration_seconds#07`` a bin, ``duration_seconds.log`` the logarithms. What was never tallied is absent, and reads as
no calls.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from gateway.metrics import JUDGED_PREFIX, METRICS, is_auxiliary, judges_of, kind_told
from gateway.results.study import CONTROL, Kind
from gateway.stats.moments import Moments, Rate
from gateway.storage.tallies import Cell, Count

SERVED = "served"
"""The measure that every analysed call has, from the moment it is assigned: 1 when its own arm took it."""
KNOWN = "outcome_known"
"""The measure of every mature call: 1 when somebody told what became of it."""
HUMAN = "answered_by=human"
"""The measure of every answered call of which Twilio's detection told who answered: 1 when a human did."""
HOUR = "hour"
"""The stratum of the hour of the day, which only shows whether the arms were served alike."""

Sum = Rate | Moments
Pair = tuple[Moments, Moments]


class Place(NamedTuple):
    """Where calls of one arm were counted."""

    epoch: int
    day: int


class Cells:
    """The tallies of an experiment; sums of them are made on demand."""

    def __init__(self, tallies: Iterable[tuple[Cell, Count]]) -> None:
        self._cells: dict[tuple[str, str], dict[str, dict[Place, Moments]]] = {}
        self._kinds: dict[str, Kind] = {}
        for cell, count in tallies:
            if count.n > 0:
                arms = self._cells.setdefault((cell.stratum, cell.metric), {})
                places = arms.setdefault(cell.arm, {})
                place = Place(cell.epoch, cell.day)
                places[place] = places.get(place, Moments()) + Moments(n=count.n, mean=count.mean, m2=count.m2)

    def metrics(self) -> list[str]:
        """The metrics that were measured, those of the gateway first."""
        own = {name for stratum, name in self._cells if not stratum and not is_auxiliary(name)}
        own -= {SERVED, KNOWN, *self.distributions()}
        return [name for name in METRICS if name in own] + sorted(own - METRICS.keys())

    def arms(self) -> set[str]:
        """The arms that have calls."""
        return set(self._cells.get(("", SERVED), {}))

    def total(self, metric: str, arm: str, *, stratum: str = "", epoch: int | None = None) -> Moments:
        """All calls of an arm (of one epoch)."""
        places = self._cells.get((stratum, metric), {}).get(arm, {})
        return _together(sums for place, sums in places.items() if epoch in (None, place.epoch))

    def pairs(self, metric: str, arm: str, *, stratum: str = "") -> list[Pair]:
        """The control and an arm, epoch by epoch."""
        return [pair for _, pair in self._by(metric, arm, stratum, lambda place: Place(place.epoch, 0))]

    def by_day(self, metric: str, arm: str) -> list[tuple[Place, Pair]]:
        """The control and an arm by epoch and day, the oldest day first."""
        cells = self._by(metric, arm, "", lambda place: place)
        return sorted(cells, key=lambda one: (one[0].day, one[0].epoch))

    def by_day_and_arm(self, metric: str) -> dict[int, dict[str, int]]:
        """How many calls of each arm were counted on each day, the oldest day first."""
        days: dict[int, dict[str, int]] = {}
        for arm, places in sorted(self._cells.get(("", metric), {}).items()):
            for place, sums in places.items():
                told = days.setdefault(place.day, {})
                told[arm] = told.get(arm, 0) + sums.n
        return dict(sorted(days.items()))

    def strata(self) -> dict[str, list[str]]:
        """The strata that were counted: each fact with its values, as in ``country`` of ``US``."""
        found: dict[str, set[str]] = {}
        for stratum, _ in self._cells:
            if stratum:
                name, _, value = stratum.rpartition("=")
                found.setdefault(name, set()).add(value)
        return {name: sorted(values) for name, values in sorted(found.items())}

    def values(self, metric: str) -> list[str]:
        """The values of a metric that was counted by value, as ``billing`` of ``fields.intent``."""
        start = f"{metric}="
        return sorted(
            name.removeprefix(start) for stratum, name in self._cells if not stratum and name.startswith(start)
        )

    def distributions(self) -> list[str]:
        """The metrics that were counted by value."""
        return sorted({name.partition("=")[0] for stratum, name in self._cells if not stratum and "=" in name})

    def counts(self, arm: str) -> dict[str, int]:
        """How often each thing was counted in an arm, by its full name."""
        return {name: self.total(name, arm).n for stratum, name in self._cells if not stratum}

    def judges(self, arm: str, *, epoch: int | None = None) -> dict[str, dict[str, int]]:
        """How many calls of an arm (of one epoch) each judge has told of, by metric."""
        names = [name for _, name in self._cells if name.startswith(JUDGED_PREFIX)]
        return judges_of({name: self.total(name, arm, epoch=epoch).n for name in names})

    def kind(self, metric: str) -> Kind:
        """Whether a metric is a rate or a mean; a field of an outcome is what its values were."""
        if metric not in self._kinds:
            arms = self._cells.get(("", metric), {})
            whole = _together(sums for places in arms.values() for sums in places.values())
            told = kind_told(metric, (), n=whole.n, mean=whole.mean, m2=whole.m2)
            self._kinds[metric] = "rate" if told == "rate" else "mean"
        return self._kinds[metric]

    def as_sum(self, metric: str, sums: Moments) -> Sum:
        """The sums as what the metric is: a rate, or moments."""
        return sums.as_rate() if self.kind(metric) == "rate" else sums

    def as_sums(self, metric: str, pairs: Iterable[Pair]) -> list[tuple[Any, Any]]:
        """Pairs of the control and an arm as what the metric is."""
        return [(self.as_sum(metric, a), self.as_sum(metric, b)) for a, b in pairs]

    def count(self, metric: str, arm: str, *, epoch: int | None = None) -> int:
        """How often a thing that is counted as 1 was so (in one epoch)."""
        sums = self.total(metric, arm, epoch=epoch)
        return round(sums.n * sums.mean) if sums.n else 0

    def _by(self, metric: str, arm: str, stratum: str, key: Callable[[Place], Place]) -> Iterator[tuple[Place, Pair]]:
        arms = self._cells.get((stratum, metric), {})
        groups: dict[Place, tuple[list[Moments], list[Moments]]] = {}
        for side, name in enumerate((CONTROL, arm)):
            for place, sums in arms.get(name, {}).items():
                groups.setdefault(key(place), ([], []))[side].append(sums)
        for place, (control, rival) in groups.items():
            yield place, (_together(control), _together(rival))


def _together(sums: Iterable[Moments]) -> Moments:
    whole = Moments()
    for one in sums:
        whole = whole + one
    return whole
