"""From tallies to a comparison of the arms: what each was given, and what became of it.

Tallies come in, plain numbers go out; the cost is the number of cells, whatever the number of calls.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gateway.metrics import METRICS, is_auxiliary, kind_of
from gateway.storage.tallies import Cell, Count

_CALLS = "served"  # the one measure that every analysed call has, from the moment it is assigned


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """A metric in one arm: of how many calls, their mean, and their sample variance (None below two)."""

    n: int
    mean: float | None
    variance: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class ArmResult:
    """An arm; ``calls`` were assigned to it and are analysed, ``served`` of those it really took."""

    arm: str
    version: str
    calls: int
    served: int
    metrics: Mapping[str, Reading] = field(default_factory=dict)


def merge(counts: Sequence[Count]) -> Reading:
    """Several cells as one (Chan, Golub and LeVeque 1979)."""
    n = np.array([count.n for count in counts], dtype=float)
    mean = np.array([count.mean for count in counts])
    total = n.sum()
    if total == 0:
        return Reading(n=0, mean=None, variance=None)
    together = float((n * mean).sum() / total)
    m2 = float(np.array([count.m2 for count in counts]).sum() + (n * (mean - together) ** 2).sum())
    return Reading(n=int(total), mean=together, variance=m2 / (total - 1) if total > 1 else None)


def compare(tallies: Sequence[tuple[Cell, Count]], versions: Mapping[str, str]) -> list[ArmResult]:
    """The arms side by side; ``versions`` names the version of each arm, an arm without calls included."""
    cells: dict[str, dict[str, list[Count]]] = {arm: {} for arm in versions}
    for cell, count in tallies:
        # The strata are parts of the same calls, and the auxiliary counts no metrics.
        if cell.stratum or is_auxiliary(cell.metric):
            continue
        cells.setdefault(cell.arm, {}).setdefault(cell.metric, []).append(count)
    results = []
    for arm in sorted(cells):
        readings = {metric: merge(counts) for metric, counts in cells[arm].items()}
        calls = readings.pop(_CALLS, Reading(n=0, mean=None, variance=None))
        results.append(
            ArmResult(
                arm=arm,
                version=versions.get(arm, ""),
                calls=calls.n,
                served=round(calls.n * (calls.mean or 0.0)),
                metrics={name: reading for name, reading in readings.items() if reading.n},
            )
        )
    return results


def as_json(results: Sequence[ArmResult], *, primary: str) -> dict[str, Any]:
    """The comparison in the shape of the HTTP API: arms, and per metric what each arm reads."""
    known = {name for result in results for name in result.metrics}
    names = [name for name in METRICS if name in known] + sorted(known - METRICS.keys())
    return {
        "arms": [
            {"arm": one.arm, "version": one.version, "calls": one.calls, "served": one.served} for one in results
        ],
        "metrics": [
            {
                "name": name,
                "kind": kind_of(name),
                "role": "primary" if name == primary else "monitor",
                "arms": {
                    one.arm: {"n": one.metrics[name].n, "mean": one.metrics[name].mean}
                    for one in results
                    if name in one.metrics
                },
                "effects": {},
            }
            for name in names
        ],
        "health": [],
        "verdict": {"state": "counting", "text": "Counts only: nothing is compared yet."},
    }
