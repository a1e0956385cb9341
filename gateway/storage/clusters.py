"""One caller's calls as a cluster: what results by caller are computed from, kept as the tallies are.

Of a test whose unit is the caller every metric has clusters. Of any other only ``served`` has: they tell how calls
spread over callers.
"""

from collections import defaultdict
from collections.abc import Iterator
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.decide import memory_key
from gateway.metrics import callers_with, had_and_lacked, is_auxiliary
from gateway.phone import is_withheld
from gateway.storage.bulk import Many
from gateway.storage.engine import Database
from gateway.storage.rows import CallRow
from gateway.storage.schema import cluster, cluster_sum
from gateway.storage.tallies import ALL_DAYS, Cell, Changes


class Key(NamedTuple):
    """Which cluster: one caller's calls in an arm, for a metric."""

    experiment: str
    unit: bytes
    epoch: int
    metric: str
    arm: str


class Sums(NamedTuple):
    """Of the clusters of an arm: how many, and the sums of n, y, n², y² and n·y (Deng, Knoblich and Lu 2018)."""

    k: int = 0
    sn: float = 0.0
    sy: float = 0.0
    snn: float = 0.0
    syy: float = 0.0
    sny: float = 0.0

    @classmethod
    def of(cls, n: int, y: float) -> "Sums":
        """Those of one cluster."""
        return cls(1, n, y, n * n, y * y, n * y) if n else cls()

    def plus(self, other: "Sums", sign: int = 1) -> "Sums":
        """Together with others, or with ``sign`` -1 without them."""
        return Sums._make(mine + sign * its for mine, its in zip(self, other, strict=True))


class SumKey(NamedTuple):
    """What sums are of."""

    experiment: str
    epoch: int
    arm: str
    metric: str


def unit_of(row: CallRow, salt: bytes) -> bytes:
    """Under which key a call's caller has clusters; a withheld number counts as a caller of its own."""
    other = row.from_number if row.direction == "inbound" else row.to_number
    return memory_key(salt, row.id if is_withheld(other) else other)


def clusters_of(row: CallRow, *, unit: str, salt: bytes) -> Iterator[tuple[Key, float]]:
    """Every cluster that a call stands in, by what its row says, and with which value."""
    if row.counted is None or row.strata is None:
        return
    whose = unit_of(row, salt)
    for metric, value in row.counted.items():
        if metric == "served" or (unit == "caller" and not is_auxiliary(metric)):
            yield Key(row.experiment or "", whose, row.epoch or 0, metric, row.arm or ""), value


def callers_cells(key: Key, n: int, y: float) -> set[Cell]:
    """Where a caller is counted as one: by the number of calls, and by whether any was a success, or none."""
    names = had_and_lacked(key.metric, n, y)
    if key.metric == "served" and n:
        names.append(callers_with(n))
    return {Cell(key.experiment, key.epoch, ALL_DAYS, "", key.arm, name) for name in names}


class ClusterStatements:
    """The statements that change clusters, made once for the database at hand."""

    def __init__(self, database: Database) -> None:
        self.appear = Many(database, database.insert(cluster).on_conflict_do_nothing(), (*Key._fields, "n", "y"))
        which = sa.and_(*(cluster.c[name] == sa.bindparam(f"its_{name}") for name in Key._fields))
        values: dict[str, Any] = {name: sa.bindparam(f"new_{name}") for name in ("n", "y")}
        names = ("new_n", "new_y", *(f"its_{name}" for name in Key._fields))
        self.update = Many(database, sa.update(cluster).where(which).values(values), names)
        put = database.insert(cluster_sum)
        added = {name: cluster_sum.c[name] + put.excluded[name] for name in Sums._fields}
        self.add_sums = Many(
            database,
            put.on_conflict_do_update(index_elements=list(cluster_sum.primary_key), set_=added),
            (*SumKey._fields, *Sums._fields),
        )


class ClusterChanges:
    """What a transaction changes in the clusters, gathered so that each is touched once, in key order."""

    def __init__(self) -> None:
        self._changes: dict[Key, tuple[int, float]] = defaultdict(lambda: (0, 0.0))

    def add(self, key: Key, value: float, count: int = 1) -> None:
        """Count a value; with ``count`` -1 take back what was counted before."""
        n, y = self._changes[key]
        self._changes[key] = n + count, y + count * value

    def write(self, connection: sa.Connection, statements: ClusterStatements, tallies: Changes) -> None:
        """Write them, with the sums that follow; what counts callers goes to ``tallies``."""
        changed = sorted((key, change) for key, change in self._changes.items() if change != (0, 0.0))
        sums: dict[SumKey, Sums] = defaultdict(Sums)
        if not changed:
            return
        # Each is there, and locked, before it is read: two transactions may meet a new caller at once.
        statements.appear(connection, [(*key, 0, 0.0) for key, _ in changed])
        standing = _standing(connection, [key for key, _ in changed])
        rows = []
        for key, (count, value) in changed:
            n, y = standing[key]
            after = n + count, (y + value if n + count else 0.0)
            rows.append((*after, *key))
            where = SumKey(key.experiment, key.epoch, key.arm, key.metric)
            sums[where] = sums[where].plus(Sums.of(*after)).plus(Sums.of(n, y), -1)
            was, is_ = callers_cells(key, n, y), callers_cells(key, *after)
            for cell in is_ - was:
                tallies.add(cell, 1.0)
            for cell in was - is_:
                tallies.remove(cell, 1.0)
        statements.update(connection, rows)
        statements.add_sums(connection, [(*where, *sums[where]) for where in sorted(sums)])


def _standing(connection: sa.Connection, keys: list[Key]) -> dict[Key, tuple[int, float]]:
    columns = [cluster.c[name] for name in Key._fields]
    # By the callers alone, of whom each has a few: SQLite would search the whole table for a list of whole keys.
    whose = (
        cluster.c.experiment.in_({key.experiment for key in keys}),
        cluster.c.unit.in_({key.unit for key in keys}),
    )
    query = sa.select(*columns, cluster.c.n, cluster.c.y).where(*whose).order_by(*columns).with_for_update()
    return {Key(*row[:5]): (row.n, row.y) for row in connection.execute(query)}


async def read_sums(connection: AsyncConnection, experiment: str) -> list[tuple[SumKey, Sums]]:
    """The sums of an experiment: one for each epoch, arm and metric, whatever the number of callers."""
    rows: Any = await connection.execute(sa.select(cluster_sum).where(cluster_sum.c.experiment == experiment))
    return [(SumKey(*row[:4]), Sums(*row[4:])) for row in rows]
