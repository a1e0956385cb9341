"""Counts anew from what each call says it contributed, compares that with what is kept, and repairs it.

Everything is read on one view of the database, and what differs is corrected by the difference in short
transactions; so calls are counted on meanwhile. In memory are the cells, and one caller's calls at a time.
"""

import math
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.phone import is_withheld
from gateway.storage.bulk import Many
from gateway.storage.clusters import (
    ClusterStatements,
    Key,
    SumKey,
    Sums,
    callers_cells,
    clusters_of,
)
from gateway.storage.counting import Scope
from gateway.storage.engine import Database
from gateway.storage.rows import CallRow
from gateway.storage.schema import call, cluster, cluster_sum, experiment, tally
from gateway.storage.tallies import (
    MERGED,
    MILLISECONDS_PER_DAY,
    SERVED,
    Cell,
    Count,
    merge_statement,
    stands_in,
)
from gateway.strata import HOUR

Progress = Callable[[int, int], None]
"""Told how many calls are counted, and of how many."""

_PAGE = 2000
_CHUNK = 500
_HOUR = 60 * 60 * 1000
_NOBODY: Mapping[Key, tuple[int, float]] = {}


@dataclass(kw_only=True, slots=True)
class Recount:
    """What a recount found: how many calls it read, and how many cells, sums and clusters were not as they should be.

    ``examples`` names the first of them.
    """

    calls: int = 0
    tallies: int = 0
    sums: int = 0
    clusters: int = 0
    examples: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Whether everything was as the calls say."""
        return not (self.tallies or self.sums or self.clusters)

    def found(self, what: str) -> None:
        """Keep the first few for people to read."""
        if len(self.examples) < 10:
            self.examples.append(what)


async def recount(
    database: Database, *, name: str | None = None, repair: bool, progress: Progress = lambda done, total: None
) -> Recount:
    """Count an experiment anew, or all whose results are not locked; with ``repair`` correct what differs."""
    async with database.read() as connection:
        if not database.embedded:
            await connection.execution_options(isolation_level="REPEATABLE READ")
        scopes = await _scopes(connection, name)
        work = _Work(database, connection, scopes, repair)
        where = sa.and_(call.c.analysed, call.c.experiment.in_(scopes))
        total = (await connection.execute(sa.select(sa.func.count()).where(where))).scalar_one()
        async for page in _pages(connection, where):
            await work.read(page)
            progress(work.found.calls, total)
        await work.end()
        return work.found


async def _scopes(connection: AsyncConnection, name: str | None) -> dict[str, Scope | None]:
    columns = (experiment.c[one] for one in ("id", "locked_at", "unit", "salt", "opened_at", "plan"))
    found: dict[str, Scope | None] = {row.id: Scope.of(row) for row in await connection.execute(sa.select(*columns))}
    if name is not None:
        return {name: found.get(name)}
    return {one: scope for one, scope in found.items() if scope is not None and not scope.locked}


async def _pages(connection: AsyncConnection, where: sa.ColumnElement[bool]) -> AsyncIterator[list[CallRow]]:
    """The calls, those of one number together: in the order of an index, a page at a time."""
    order = (call.c.from_number, call.c.received_at, call.c.seq)
    columns = [call.c[one] for one in CallRow._fields]
    last: tuple[Any, ...] = ("", -1, -1)
    while True:
        query = sa.select(*columns).where(sa.tuple_(*order) > sa.tuple_(*last), where).order_by(*order).limit(_PAGE)
        page = [CallRow._make(row) for row in await connection.execute(query)]
        if page:
            yield page
        if len(page) < _PAGE:
            return
        last = (page[-1].from_number, page[-1].received_at, page[-1].seq)


class _Work:
    """One recount under way."""

    def __init__(
        self, database: Database, connection: AsyncConnection, scopes: Mapping[str, Scope | None], repair: bool
    ) -> None:
        self._database = database
        self._connection = connection
        self._scopes = scopes
        self._repair = repair
        self._statements = ClusterStatements(database)
        self._merge = Many(database, merge_statement(database), MERGED)
        put = database.insert(cluster)
        added = {one: cluster.c[one] + put.excluded[one] for one in ("n", "y")}
        put = put.on_conflict_do_update(index_elements=list(cluster.primary_key), set_=added)
        self._add_clusters = Many(database, put, (*Key._fields, "n", "y"))
        self.found = Recount()
        # Calls alike in all that says where they are counted, one of them, and the count of each of their measures;
        # the hours apart, because with them too few would be alike.
        self._alike: dict[tuple[Any, ...], tuple[CallRow, dict[str, list[float]]]] = {}
        self._hours: dict[tuple[Any, ...], tuple[CallRow, dict[str, list[float]]]] = {}
        self._callers: dict[Cell, int] = defaultdict(int)
        self._sums: dict[SumKey, Sums] = defaultdict(Sums)
        self._number: str | None = None
        self._one: dict[Key, tuple[int, float]] = {}  # the clusters of the number that is being read
        self._placed: dict[Key, tuple[int, float]] = {}  # of calls that we placed, which come in no order of callers
        self._ready: dict[Key, tuple[int, float]] = {}
        self._units: set[tuple[str, bytes]] = set()
        self._matched = 0

    async def read(self, page: Sequence[CallRow]) -> None:
        for row in page:
            self.found.calls += 1
            self._count(row)
            scope = self._scopes.get(row.experiment or "")
            if scope is None:
                continue
            if row.from_number != self._number or is_withheld(row.from_number):
                self._close(self._one)
                self._number, self._one = row.from_number, {}
            its = self._one if row.direction == "inbound" else self._placed
            for key, value in clusters_of(row, unit=scope.unit, salt=scope.salt):
                n, y = its.get(key, (0, 0.0))
                its[key] = n + 1, y + value
            if len(self._ready) >= _CHUNK:
                await self._compare_clusters()

    async def end(self) -> None:
        self._close(self._one)
        self._close(self._placed)
        await self._compare_clusters()
        await self._compare_orphans()
        await self._compare_sums()
        await self._compare_tallies()

    # -- counting --------------------------------------------------------------------------------------------

    def _count(self, row: CallRow) -> None:
        alike = (
            row.experiment,
            row.epoch,
            row.arm,
            row.received_at // MILLISECONDS_PER_DAY,
            tuple(row.strata) if row.strata is not None else None,
        )
        known = self._alike.get(alike)
        if known is None:
            known = self._alike[alike] = row, {}
        for metric, value in (SERVED if row.counted is None else row.counted).items():
            _add(known[1], metric, value)
        if row.strata is not None and row.counted is not None:
            self._count_hour(row, row.counted.get("served"))

    def _count_hour(self, row: CallRow, value: float | None) -> None:
        where = row.experiment, row.epoch, row.arm, row.received_at // _HOUR % 24
        if value is not None:
            _add(self._hours.setdefault(where, (row, {}))[1], "served", value)

    def _cells(self) -> dict[Cell, Count]:
        cells: dict[Cell, Count] = {cell: Count(n=n, mean=1.0) for cell, n in self._callers.items() if n}
        for hourly, alike in ((False, self._alike), (True, self._hours)):
            for row, counts in alike.values():
                for metric, (n, mean, m2) in counts.items():
                    told = Count(n=int(n), mean=mean, m2=m2)
                    for cell, _ in stands_in(row._replace(counted={metric: mean})):
                        if cell.stratum.startswith(HOUR) == hourly:
                            cells[cell] = cells.get(cell, Count()).merge(told)
        return cells

    def _close(self, its: Mapping[Key, tuple[int, float]]) -> None:
        """All calls of some callers are read."""
        for key, (n, y) in its.items():
            where = SumKey(key.experiment, key.epoch, key.arm, key.metric)
            self._sums[where] = self._sums[where].plus(Sums.of(n, y))
            self._units.add((key.experiment, key.unit))
            for cell in callers_cells(key, n, y):
                self._callers[cell] += 1
        self._ready |= its

    # -- comparing -------------------------------------------------------------------------------------------

    async def _compare_clusters(self) -> None:
        units: dict[str, set[bytes]] = defaultdict(set)
        for key in self._ready:
            units[key.experiment].add(key.unit)
        kept: dict[Key, tuple[int, float]] = {}
        for name, some in units.items():
            wanted = sorted(some)
            for start in range(0, len(wanted), _CHUNK):
                part = cluster.c.unit.in_(wanted[start : start + _CHUNK])
                kept |= await self._kept(sa.and_(cluster.c.experiment == name, part))
        self._matched += len(kept)
        await self._correct_clusters(kept, self._ready)
        self._ready = {}

    async def _compare_orphans(self) -> None:
        """Clusters of callers who have no call."""
        where = sa.and_(cluster.c.experiment.in_(self._scopes), cluster.c.n != 0)
        count = (await self._connection.execute(sa.select(sa.func.count()).where(where))).scalar_one()
        if count == self._matched:
            return
        columns = [cluster.c[one] for one in Key._fields]
        last: Sequence[Any] = ("", b"", -1, "", "")
        while True:
            query = sa.select(*columns, cluster.c.n, cluster.c.y).order_by(*columns).limit(_PAGE)
            after = sa.tuple_(*columns) > sa.tuple_(*last)
            page = list(await self._connection.execute(query.where(where, after)))
            known = self._units
            stray = {Key(*row[:5]): (row.n, row.y) for row in page if (row.experiment, row.unit) not in known}
            await self._correct_clusters(stray, _NOBODY)
            if len(page) < _PAGE:
                return
            last = page[-1][:5]

    async def _kept(self, where: sa.ColumnElement[bool]) -> dict[Key, tuple[int, float]]:
        columns = [cluster.c[one] for one in Key._fields]
        rows = await self._connection.execute(sa.select(*columns, cluster.c.n, cluster.c.y).where(where))
        return {Key(*row[:5]): (row.n, row.y) for row in rows if row.n}

    async def _correct_clusters(
        self, kept: Mapping[Key, tuple[int, float]], fresh: Mapping[Key, tuple[int, float]]
    ) -> None:
        changes = []
        for key in kept.keys() | fresh.keys():
            (n, y), (wanted, sum_) = kept.get(key, (0, 0.0)), fresh.get(key, (0, 0.0))
            if n == wanted and math.isclose(y, sum_, rel_tol=1e-9, abs_tol=1e-6):
                continue
            changes.append((*key, wanted - n, sum_ - y))
            self.found.found(f"{key.metric} of a caller in {key.experiment}, arm {key.arm}: {n} calls, not {wanted}")
        self.found.clusters += len(changes)
        await self._write(self._add_clusters, sorted(changes))

    async def _compare_sums(self) -> None:
        query = sa.select(cluster_sum).where(cluster_sum.c.experiment.in_(self._scopes))
        kept = {SumKey(*row[:4]): Sums(*row[4:]) for row in await self._connection.execute(query)}
        changes = []
        for where in sorted(kept.keys() | self._sums.keys()):
            was, wanted = kept.get(where, Sums()), self._sums.get(where, Sums())
            if all(math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-6) for a, b in zip(was, wanted, strict=True)):
                continue
            changes.append((*where, *wanted.plus(was, -1)))
            self.found.found(
                f"{where.metric} in {where.experiment}, arm {where.arm}: {was.k} callers, not {wanted.k}"
            )
        self.found.sums += len(changes)
        await self._write(self._statements.add_sums, changes)

    async def _compare_tallies(self) -> None:
        fresh, kept = self._cells(), {}
        for row in await self._connection.execute(sa.select(tally).where(tally.c.experiment.in_(self._scopes))):
            kept[Cell(*row[:6])] = Count(n=row.n, mean=row.mean, m2=row.m2)
        wrong = []
        for cell in sorted(kept.keys() | fresh.keys()):
            was, wanted = kept.get(cell, Count()), fresh.get(cell, Count())
            if not _alike(was, wanted):
                wrong.append((cell, was, wanted))
                place = f"{cell.experiment}, epoch {cell.epoch}, arm {cell.arm}, {cell.stratum or 'all'}"
                self.found.found(f"{cell.metric} in {place}: {was.n} calls, not {wanted.n}")
        self.found.tallies += len(wrong)
        for start in range(0, len(wrong) if self._repair else 0, _CHUNK):
            part = wrong[start : start + _CHUNK]
            await self._database.transact(partial(self._correct_tallies, wrong=part))

    def _correct_tallies(self, connection: sa.Connection, wrong: Iterable[tuple[Cell, Count, Count]]) -> None:
        for cell, was, wanted in wrong:
            which = sa.and_(*(tally.c[one] == value for one, value in zip(Cell._fields, cell, strict=True)))
            now = connection.execute(sa.select(tally).where(which).with_for_update()).first()
            if now is not None and (now.n, now.mean, now.m2) == (was.n, was.mean, was.m2):
                values = {"n": wanted.n, "mean": wanted.mean, "m2": wanted.m2}
                connection.execute(sa.update(tally).where(which).values(values))
                continue
            # Calls were counted here since it was read: what it lacked is added, what it had too much taken away.
            merges = [(*cell, wanted.n, wanted.mean, wanted.m2)] if wanted.n else []
            merges += [(*cell, -was.n, was.mean, -was.m2)] if was.n else []
            self._merge(connection, merges)

    async def _write(self, statement: Many, rows: Sequence[tuple[Any, ...]]) -> None:
        for start in range(0, len(rows) if self._repair else 0, _CHUNK):
            part = rows[start : start + _CHUNK]
            await self._database.transact(partial(statement, rows=part))


def _add(counts: dict[str, list[float]], metric: str, value: float) -> None:
    """Count a value in place, as ``Count.add`` does: a frozen value for each of many millions takes minutes."""
    count = counts.get(metric)
    if count is None:
        counts[metric] = [1, value, 0.0]
        return
    count[0] += 1
    apart = value - count[1]
    count[1] += apart / count[0]
    count[2] += apart * (value - count[1])


def _alike(was: Count, wanted: Count) -> bool:
    """Whether two counts differ by no more than the order in which the same values came and went."""
    if was.n != wanted.n or not was.n:
        return was.n == wanted.n
    scale = max(1.0, abs(wanted.mean))
    return math.isclose(was.mean, wanted.mean, abs_tol=1e-9 * scale) and math.isclose(
        was.m2, wanted.m2, rel_tol=1e-6, abs_tol=1e-6 * scale * scale
    )
