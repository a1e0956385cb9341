"""Experiments that never happened: calls drawn by known rates, tallied as the gateway tallies them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gateway.results.evaluating import Evaluation, evaluate
from gateway.results.study import Epoch, Study, read_plan
from gateway.stats.clusters import Clusters
from gateway.storage.tallies import Cell, Count

DAY = 86_400_000
FIRST_DAY = 20_000
RECORD: Mapping[str, Any] = {
    "planned": True,
    "primary": {"metric": "success", "better": "higher", "min_effect": 0.05},
    "n_planned": 3130,
    "n_max": 5165,
}


def study(
    *shares: Mapping[str, float],
    unit: str = "call",
    status: str = "running",
    versions: Sequence[Mapping[str, str]] = (),
    **record: Any,
) -> Study:
    """An experiment with one epoch for each split, even by default; ``record`` adds to the plan."""
    splits = shares or ({"a": 0.5, "b": 0.5},)
    named = versions or [{arm: f"support@{place}" for place, arm in enumerate(sorted(split), 3)} for split in splits]
    epochs = tuple(
        Epoch(
            number=number,
            began_at=FIRST_DAY * DAY,
            shares=split,
            served={arm: (names[arm], "") for arm in split},
        )
        for number, (split, names) in enumerate(zip(splits, named, strict=True), 1)
    )
    return Study(
        id="support-1",
        unit=unit,
        status=status,
        opened_at=FIRST_DAY * DAY,
        plan=read_plan({**RECORD, **record}),
        epochs=epochs,
        closed_at=(FIRST_DAY + 30) * DAY if status in ("maturing", "stopped") else None,
    )


@dataclass
class Tallies:
    """Cells that values are added to, whole groups at a time."""

    cells: dict[Cell, Count] = field(default_factory=dict)
    clusters: dict[tuple[int, str, str], Clusters] = field(default_factory=dict)

    def add(
        self,
        arm: str,
        metric: str,
        values: Sequence[float] | np.ndarray[Any, Any],
        *,
        epoch: int = 1,
        day: int = FIRST_DAY,
        stratum: str = "",
    ) -> None:
        told = np.asarray(values, dtype=float)
        cell = Cell("support-1", epoch, day, stratum, arm, metric)
        if not told.size:
            return
        before = self.cells.get(cell, Count())
        both = before.n + told.size
        apart = told.mean() - before.mean
        m2 = before.m2 + float(((told - told.mean()) ** 2).sum()) + apart**2 * before.n * told.size / both
        self.cells[cell] = Count(n=both, mean=float(before.mean + apart * told.size / both), m2=m2)

    def rate(self, arm: str, metric: str, successes: int, n: int, **where: Any) -> None:
        """So many successes of so many calls."""
        self.add(arm, metric, np.repeat([1.0, 0.0], [successes, n - successes]), **where)

    def calls(self, arm: str, success: Sequence[float] | np.ndarray[Any, Any], **where: Any) -> None:
        """Mature calls that their arm took and somebody told the outcome of."""
        ones = np.ones(len(success))
        for metric, values in (("served", ones), ("answered", ones), ("outcome_known", ones), ("success", success)):
            self.add(arm, metric, values, **where)

    def evaluate(self, of: Study, *, days: float = 15, **more: Any) -> Evaluation:
        """Evaluate so many days after the start."""
        now = int((FIRST_DAY + days) * DAY)
        return evaluate(of, self.cells.items(), now=now, clusters=self.clusters, **more)


def outcomes(successes: int, n: int) -> np.ndarray[Any, Any]:
    """So many successes of so many calls."""
    return np.repeat([1.0, 0.0], [successes, n - successes])


def found(evaluation: Evaluation) -> dict[int, tuple[str, str]]:
    """What the rules found: level and sentence by number, the last of each."""
    return {one.number: (one.level, one.text) for one in evaluation.findings}
