"""The running counts that results are read from: one cell per experiment, epoch, day, stratum, arm and metric."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.metrics import is_auxiliary
from gateway.storage.engine import Database
from gateway.storage.rows import CallRow
from gateway.storage.schema import tally
from gateway.strata import hour_of

MILLISECONDS_PER_DAY = 86_400_000
ALL_DAYS = 0
SERVED: Mapping[str, float] = {"served": 1.0}
"""What of a call is counted the moment that it is recorded."""


class Cell(NamedTuple):
    """Where a measure is counted.

    Metrics of the whole (stratum "") are counted by ``day``, the UTC day on which the call came in. Strata and the
    auxiliary counts are not: they stand at ``ALL_DAYS``, so that their number does not grow with time.
    """

    experiment: str
    epoch: int
    day: int
    stratum: str
    arm: str
    metric: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Count:
    """Welford's three numbers: how many, their mean, and the sum of squared deviations from it."""

    n: int = 0
    mean: float = 0.0
    m2: float = 0.0

    def add(self, value: float) -> "Count":
        """With one value more (Welford 1962)."""
        n = self.n + 1
        mean = self.mean + (value - self.mean) / n
        return Count(n=n, mean=mean, m2=self.m2 + (value - self.mean) * (value - mean))

    def merge(self, other: "Count") -> "Count":
        """Together with others, or without them when their n is negative (Chan, Golub and LeVeque 1979)."""
        n = self.n + other.n
        if n == 0:
            return Count()
        apart = other.mean - self.mean
        m2 = self.m2 + other.m2 + apart * apart * self.n * other.n / n
        return Count(n=n, mean=self.mean + apart * other.n / n, m2=m2)


def cell_of(row: CallRow, metric: str) -> Cell:
    """Where a measure of an analysed call is counted as a part of the whole."""
    day = ALL_DAYS if is_auxiliary(metric) else row.received_at // MILLISECONDS_PER_DAY
    return Cell(row.experiment or "", row.epoch or 0, day, "", row.arm or "", metric)


def stands_in(row: CallRow) -> Iterator[tuple[Cell, float]]:
    """Every cell that an analysed call is counted in, by what its row says, and with which value."""
    counted = SERVED if row.counted is None else row.counted
    for metric, value in counted.items():
        yield cell_of(row, metric), value
    if row.strata is None:
        return
    strata = [Cell(row.experiment or "", row.epoch or 0, ALL_DAYS, name, row.arm or "", "") for name in row.strata]
    for metric, value in counted.items():
        if metric == "served":
            yield cell_of(row, metric)._replace(day=ALL_DAYS, stratum=hour_of(row.received_at)), value
        if not is_auxiliary(metric):
            for cell in strata:
                yield cell._replace(metric=metric), value


class Changes:
    """What a transaction changes in the tallies, gathered so that each cell is touched once, in key order."""

    def __init__(self) -> None:
        self._added: dict[Cell, Count] = {}
        self._removed: list[tuple[Cell, float]] = []

    def add(self, cell: Cell, value: float) -> None:
        """Count a value."""
        self._added[cell] = self._added.get(cell, Count()).add(value)

    def merge(self, cell: Cell, count: Count) -> None:
        """Count several values of a cell that none was added to before."""
        self._added[cell] = count

    def remove(self, cell: Cell, value: float) -> None:
        """Take back a value that was counted before."""
        self._removed.append((cell, value))

    def merges(self) -> list[tuple[Any, ...]]:
        """The rows of ``MERGED`` to merge, ordered by cell: taking back is merging with a count of -1."""
        merges = [(cell, count.n, count.mean, count.m2) for cell, count in self._added.items()]
        merges += [(cell, -1, value, 0.0) for cell, value in self._removed]
        # Additions come first within a cell, so that no count passes through a negative number.
        merges.sort(key=lambda merge: (merge[0], -merge[1]))
        return [(*cell, n, mean, m2) for cell, n, mean, m2 in merges]


MERGED = (*Cell._fields, "n", "mean", "m2")
"""The columns of a row that is merged into a cell."""


def merge_statement(database: Database) -> Any:
    """The upsert that merges a count into its cell (Chan, Golub and LeVeque 1979), atomic in the database."""
    statement = database.insert(tally)
    new = statement.excluded
    total = tally.c.n + new.n
    apart = new.mean - tally.c.mean
    spread = tally.c.m2 + new.m2 + apart * apart * tally.c.n * new.n / total
    zero: sa.ColumnElement[int] = sa.literal_column("0")
    return statement.on_conflict_do_update(
        index_elements=list(tally.primary_key),
        set_={
            "n": total,
            "mean": sa.case((total == zero, zero), else_=tally.c.mean + apart * new.n / total),
            "m2": sa.case((total == zero, zero), else_=spread),
        },
    )


async def read_tallies(connection: AsyncConnection, experiment: str) -> list[tuple[Cell, Count]]:
    """Every cell of an experiment; its cost is the number of cells, whatever the number of calls."""
    rows = await connection.execute(sa.select(tally).where(tally.c.experiment == experiment))
    return [
        (
            Cell(
                experiment=row.experiment,
                epoch=row.epoch,
                day=row.day,
                stratum=row.stratum,
                arm=row.arm,
                metric=row.metric,
            ),
            Count(n=row.n, mean=row.mean, m2=max(0.0, row.m2)),
        )
        for row in rows
    ]
