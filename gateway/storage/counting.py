"""Counts calls: what each one measures goes into the tallies and clusters, and is corrected by the difference."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from gateway.calls import State, facts
from gateway.metrics import CAP_SECONDS, CATEGORIES, FIELD_PREFIX, OTHER, REPEAT_MS, read_measures
from gateway.phone import is_withheld
from gateway.storage.bulk import Many
from gateway.storage.clusters import ClusterChanges, ClusterStatements, clusters_of
from gateway.storage.engine import Database
from gateway.storage.rows import CallRow
from gateway.storage.schema import attempt, call, category, experiment
from gateway.storage.tallies import MERGED, Changes, Count, cell_of, merge_statement, stands_in
from gateway.strata import VALUES, VARIABLE, Known, stratum_of

# A call that came in within the window may be on its way into the database for so long.
_ARRIVING_MS = 60_000


class Scope(NamedTuple):
    """What of an experiment says how its calls are counted; ``locked`` when they no longer are."""

    locked: bool
    unit: str
    salt: bytes
    opened_at: int
    strata: tuple[str, ...] = ()
    cap_seconds: int = CAP_SECONDS

    @classmethod
    def of(cls, row: Any) -> "Scope":
        """What a row of ``experiment`` says."""
        plan = row.plan or {}
        strata = tuple(dict.fromkeys(plan.get("strata") or ()))
        cap = plan.get("cap_seconds") or CAP_SECONDS
        return cls(row.locked_at is not None, row.unit, row.salt, row.opened_at, strata, cap)


class Told(NamedTuple):
    """A call that is to be counted: its row as it was and as it will be, and what is known of it."""

    old: CallRow
    new: CallRow
    state: State
    body: Mapping[str, Any]


class CountStatements:
    """The statements of counting, made once for the database at hand."""

    def __init__(self, database: Database) -> None:
        self.merge_tally = Many(database, merge_statement(database), MERGED)
        self.add_category = database.insert(category).on_conflict_do_nothing()
        self.clusters = ClusterStatements(database)


def repeat_due(row: CallRow) -> int | None:
    """From when on it is known whether a call's caller rang again; None for a call of which that is never asked."""
    if not row.analysed or row.direction != "inbound" or row.route is None or is_withheld(row.from_number):
        return None
    return row.received_at + REPEAT_MS + _ARRIVING_MS


def rung_before(connection: sa.Connection, row: CallRow) -> Sequence[str]:
    """The calls that a call makes repeated ones: for one that is recorded late, when they may have been counted."""
    if row.direction != "inbound" or row.route is None or is_withheld(row.from_number):
        return ()
    query = sa.select(call.c.id).where(
        call.c.from_number == row.from_number,
        call.c.received_at >= row.received_at - REPEAT_MS,
        call.c.received_at < row.received_at,
        call.c.route == row.route,
        call.c.direction == "inbound",
        call.c.analysed,
    )
    return connection.scalars(query).all()


class Counting:
    """What one transaction counts; ``write`` writes it, at the end."""

    def __init__(self, connection: sa.Connection, statements: CountStatements) -> None:
        self._connection = connection
        self._statements = statements
        self._changes = Changes()
        self._clusters = ClusterChanges()
        self._scopes: dict[str, Scope | None] = {}
        self._categories: dict[tuple[str, str], set[str]] = {}

    def record(self, rows: Iterable[CallRow]) -> None:
        """Count analysed calls that were just recorded."""
        for cell, count in Counter(cell_of(row, "served") for row in rows).items():
            self._changes.merge(cell, Count(n=count, mean=1.0))

    def locked(self, name: str | None) -> bool:
        """Whether the results of an experiment are locked."""
        scope = self._scope(name)
        return scope is not None and scope.locked

    def count(self, told: Sequence[Told]) -> list[CallRow]:
        """The new rows, each with what counts of it now; the differences are kept until ``write``."""
        self._read_scopes({one.old.experiment for one in told})
        strata = self._strata([one.old for one in told if one.old.strata is None and self._counts(one.old)])
        again = self._rang_again([one.new for one in told if self._counts(one.old)])
        rows = []
        for one in told:
            row = one.new
            if self._counts(one.old):
                measures = self._measures(one, again.get(row.id))
                row = row._replace(counted=measures, strata=strata.get(row.id, row.strata))
                self._correct(one.old, row)
            rows.append(row)
        return rows

    def take_back(self, row: CallRow) -> None:
        """Count a call no longer."""
        self._correct(row, row._replace(counted={}))

    def write(self) -> None:
        """Write what has changed."""
        self._clusters.write(self._connection, self._statements.clusters, self._changes)
        merges = self._changes.merges()
        if merges:
            self._statements.merge_tally(self._connection, merges)

    # ------------------------------------------------------------------------------------------------------

    def _read_scopes(self, names: Iterable[str | None]) -> None:
        asked = {name for name in names if name is not None} - self._scopes.keys()
        if asked:
            self._scopes |= dict.fromkeys(asked)
            columns = (experiment.c[name] for name in ("id", "locked_at", "unit", "salt", "opened_at", "plan"))
            for row in self._connection.execute(sa.select(*columns).where(experiment.c.id.in_(asked))):
                self._scopes[row.id] = Scope.of(row)

    def _scope(self, name: str | None) -> Scope | None:
        self._read_scopes([name])
        return self._scopes[name] if name is not None else None

    def _counts(self, row: CallRow) -> bool:
        return row.analysed and not self.locked(row.experiment)

    def _correct(self, old: CallRow, new: CallRow) -> None:
        if old.counted == new.counted and old.strata == new.strata:
            return
        before, after = dict(stands_in(old)), dict(stands_in(new))
        for cell in before.keys() | after.keys():
            was, is_ = before.get(cell), after.get(cell)
            if was == is_:
                continue
            if is_ is not None:
                self._changes.add(cell, is_)
            if was is not None:
                self._changes.remove(cell, was)
        scope = self._scope(old.experiment)
        if scope is not None:
            for key, value in clusters_of(old, unit=scope.unit, salt=scope.salt):
                self._clusters.add(key, value, -1)
            for key, value in clusters_of(new, unit=scope.unit, salt=scope.salt):
                self._clusters.add(key, value)

    def _measures(self, told: Told, rang_again: bool | None) -> dict[str, float]:
        old, new = told.old, told.new
        scope = self._scope(old.experiment)
        known = facts(
            told.state,
            told.body,
            assigned_arm=old.arm,
            served_arm=new.served_arm,
            cap_seconds=scope.cap_seconds if scope else CAP_SECONDS,
            rang_again=rang_again,
        )
        measures = read_measures(known, mature=new.mature)
        return dict(self._bounded(old.experiment or "", measures))

    def _bounded(self, name: str, measures: Mapping[str, float]) -> Iterator[tuple[str, float]]:
        for metric, value in measures.items():
            of, said, text = metric.partition("=")
            if said and metric.startswith(FIELD_PREFIX):
                yield f"{of}={self._admitted(name, of, text, CATEGORIES)}", value
            else:
                yield metric, value

    def _admitted(self, name: str, of: str, value: str, limit: int) -> str:
        """The value itself while there is room for another, else ``other``: who is in stays in."""
        known = self._categories.get((name, of))
        if known is None:
            where = sa.and_(category.c.experiment == name, category.c.name == of)
            known = set(self._connection.scalars(sa.select(category.c.value).where(where)))
            self._categories[name, of] = known
        if value in known or value == OTHER:
            return value
        if len(known) >= limit:
            return OTHER
        known.add(value)
        row = {"experiment": name, "name": of, "value": value}
        self._connection.execute(self._statements.add_category, row)
        return value

    def _rang_again(self, rows: Sequence[CallRow]) -> dict[str, bool]:
        """Whether the callers of those calls rang again of which it is known by now."""
        asked = [row.id for row in rows if row.mature and row.mature_at is None and repeat_due(row) is not None]
        if not asked:
            return {}
        later = call.alias()
        again = sa.exists().where(
            later.c.from_number == call.c.from_number,
            later.c.received_at > call.c.received_at,
            later.c.received_at <= call.c.received_at + REPEAT_MS,
            later.c.route == call.c.route,
            later.c.direction == "inbound",
        )
        found = set(self._connection.scalars(sa.select(call.c.id).where(call.c.id.in_(asked), again)))
        return {name: name in found for name in asked}

    # -- strata ------------------------------------------------------------------------------------------------

    def _strata(self, rows: Sequence[CallRow]) -> dict[str, list[str]]:
        """The strata of calls that are counted in them for the first time; they stay in these."""
        found: dict[str, list[str]] = {}
        for row in rows:
            scope = self._scope(row.experiment)
            names = scope.strata if scope else ()
            known = self._known(row, scope) if scope and names else None
            found[row.id] = [f"{name}={self._value(row, name, known)}" for name in names] if known else []
        return found

    def _value(self, row: CallRow, name: str, known: Known) -> str:
        value = stratum_of(name, known)
        return self._admitted(row.experiment or "", name, value, VALUES) if name.startswith(VARIABLE) else value

    def _known(self, row: CallRow, scope: Scope) -> Known:
        """What was known before the draw: of a contact before the first attempt, of a sticky caller before all."""
        inbound = row.direction == "inbound"
        other = row.from_number if inbound else row.to_number
        at, variables = row.received_at, {}
        placed = (
            None if inbound else self._connection.execute(sa.select(attempt).where(attempt.c.id == row.id)).first()
        )
        if placed is not None:
            at, variables = placed.planned_at, placed.variables
        if placed is not None and placed.contact is not None:
            mine = (attempt.c.to_number, attempt.c.campaign, attempt.c.contact)
            first = sa.select(sa.func.min(attempt.c.planned_at)).where(
                *(column == placed._mapping[column.name] for column in mine)
            )
            at = self._connection.execute(first).scalar_one()
        new = None
        if "new_caller" in scope.strata and not is_withheld(other):
            before = scope.opened_at if scope.unit == "caller" else at
            if inbound:
                earlier = sa.and_(call.c.from_number == other, call.c.received_at < before)
            else:
                earlier = sa.and_(attempt.c.to_number == other, attempt.c.planned_at < before)
            new = not self._connection.execute(sa.select(sa.exists().where(earlier))).scalar_one()
        return Known(
            at=at, country=row.country, number=row.to_number, other=other, new_caller=new, variables=variables
        )
