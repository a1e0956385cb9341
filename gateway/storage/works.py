"""What waits to be written: each kind of work is a value, and every batch of them is one transaction.

First writer wins throughout: an insert that meets a standing row changes nothing, and what stands is read back.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import sqlalchemy as sa

from gateway.calls import State, derive, facts, merge_outcome
from gateway.decide import Remembered
from gateway.metrics import read_measures
from gateway.model import Event
from gateway.storage.bulk import Many, Newcomers
from gateway.storage.engine import Database
from gateway.storage.rows import CallRow, row_in
from gateway.storage.schema import call, call_event, experiment, outcome, sticky
from gateway.storage.tallies import MILLISECONDS_PER_DAY, Cell, Changes, Count, Merge, merge_statement

Row = Mapping[str, Any]

BATCH_LIMIT = 256


class RecordCall(NamedTuple):
    """Write a call with its assignment; answered by the row that stands.

    ``drawn`` is set for a sticky caller who was assigned without the memory: if that holds another arm, the
    call is not analysed.
    """

    row: CallRow
    drawn: "Remember | None" = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Remember:
    """Give a sticky caller an arm; answered by the ``Remembered`` that stands and whether it is this one."""

    experiment: str
    memory: int
    unit: bytes
    arm: str
    epoch: int


@dataclass(frozen=True, kw_only=True, slots=True)
class AppendEvent:
    """Append an event to a call; answered by the event that stands under its key."""

    event: Event


@dataclass(frozen=True, kw_only=True, slots=True)
class PutOutcome:
    """Merge an outcome into what is known; answered by the outcome's row, or None for an unknown call."""

    call: str
    body: dict[str, Any]
    at: int


@dataclass(frozen=True, kw_only=True, slots=True)
class MatureCalls:
    """Count the agents' measures of calls whose outcome window has closed by ``now``; answered by how many."""

    now: int
    limit: int = BATCH_LIMIT


Work = RecordCall | Remember | AppendEvent | PutOutcome | MatureCalls


@dataclass(frozen=True, kw_only=True, slots=True)
class Rules:
    """``window`` is how long after its end a call's outcome is waited for, in milliseconds."""

    window: int


class Statements:
    """The statements of a batch, made once for the database at hand."""

    def __init__(self, database: Database) -> None:
        self.insert_call = Newcomers(database, call, CallRow._fields[_FIRST], ("id",))
        self.insert_event = Newcomers(database, call_event, _EVENT, ("call", "key"))
        self.insert_sticky = database.insert(sticky).on_conflict_do_nothing().returning(sticky.c.unit)
        self.merge_tally = Many(database, merge_statement(database), Merge._fields)
        put = database.insert(outcome)
        self.put_outcome = put.on_conflict_do_update(
            index_elements=[outcome.c.call],
            set_={name: put.excluded[name] for name in ("body", "updated_at", "counted")},
        )
        self.update_call = Many(
            database,
            sa.update(call)
            .where(call.c.id == sa.bindparam("call_id"))
            .values({name: sa.bindparam(f"new_{name}") for name in _DERIVED}),
            (*(f"new_{name}" for name in _DERIVED), "call_id"),
        )


_EVENT = ("call", "key", "kind", "at", "data")
# What a voice webhook writes; the columns behind it are null by default.
_FIRST = slice(CallRow._fields.index("mature") + 1)
# The columns of a call that are derived from what is told of it later.
_LATER = slice(CallRow._fields.index("served_by"), CallRow._fields.index("seq"))
_DERIVED = CallRow._fields[_LATER]


def write_batch(
    connection: sa.Connection, statements: Statements, works: Sequence[Work], rules: Rules, now: int
) -> list[Any]:
    """Do all works inside the open transaction; returns their answers in the same order."""
    changes = Changes()
    answers: dict[int, Any] = {}
    touched: dict[str, None] = {}
    _remember(connection, statements, works, answers)
    _record_calls(connection, statements, works, answers, changes, touched)
    _append_events(connection, statements, works, answers, touched)
    outcomes = _merge_outcomes(connection, works, answers, touched, now)
    for place, work in enumerate(works):
        if isinstance(work, MatureCalls):
            due = _due(connection, work)
            answers[place] = len(due)
            touched.update(dict.fromkeys(due))
    if touched:
        _settle(connection, statements, list(touched), outcomes, changes, rules, now)
    merges = changes.merges()
    if merges:
        statements.merge_tally(connection, merges)
    return [answers[place] for place in range(len(works))]


def _remember(
    connection: sa.Connection, statements: Statements, works: Sequence[Work], answers: dict[int, Any]
) -> None:
    for place, work in enumerate(works):
        if isinstance(work, Remember):
            answers[place] = _memory(connection, statements, work)


def _memory(connection: sa.Connection, statements: Statements, wanted: Remember) -> tuple[Remembered, bool]:
    row = {name: getattr(wanted, name) for name in Remember.__slots__}
    first = (connection.execute(statements.insert_sticky, row)).first() is not None
    standing = (
        connection.execute(
            sa.select(sticky.c.arm, sticky.c.epoch).where(
                sticky.c.experiment == wanted.experiment,
                sticky.c.memory == wanted.memory,
                sticky.c.unit == wanted.unit,
            )
        )
    ).one()
    return Remembered(arm=standing.arm, epoch=standing.epoch), first


def _record_calls(
    connection: sa.Connection,
    statements: Statements,
    works: Sequence[Work],
    answers: dict[int, Any],
    changes: Changes,
    touched: dict[str, None],
) -> None:
    wanted: list[tuple[int, CallRow]] = []
    for place, work in enumerate(works):
        if isinstance(work, RecordCall):
            row = work.row
            if work.drawn is not None:
                standing, _ = _memory(connection, statements, work.drawn)
                if standing.arm != work.drawn.arm:
                    row = row._replace(analysed=False)
            wanted.append((place, row))
    if not wanted:
        return
    written = statements.insert_call(connection, [tuple(row)[_FIRST] for _, row in wanted])
    missing = []
    served: Counter[Cell] = Counter()
    for place, row in wanted:
        if (row.id,) not in written:
            missing.append((place, row.id))
            continue
        answers[place] = row
        if row.analysed:
            served[_cell(row, "served")] += 1
        if row.journalled:
            touched[row.id] = None  # its events may have come before it
    for cell, count in served.items():
        changes.merge(cell, Count(n=count, mean=1.0))
    if missing:
        rows = connection.execute(sa.select(call).where(call.c.id.in_([name for _, name in missing])))
        by_id = {row.id: row_in(row) for row in rows}
        answers.update({place: by_id[name] for place, name in missing if name in by_id})


def _append_events(
    connection: sa.Connection,
    statements: Statements,
    works: Sequence[Work],
    answers: dict[int, Any],
    touched: dict[str, None],
) -> None:
    wanted = [(place, work.event) for place, work in enumerate(works) if isinstance(work, AppendEvent)]
    if not wanted:
        return
    rows = {
        (event.call, event.key): (event.call, event.key, event.kind, event.at, dict(event.data))
        for _, event in reversed(wanted)  # of two with one key the first stands
    }
    written = statements.insert_event(connection, list(rows.values()))
    touched.update(dict.fromkeys(name for name, _ in written))
    standing = {(event.call, event.key): event for _, event in reversed(wanted) if (event.call, event.key) in written}
    missing = [event for _, event in wanted if (event.call, event.key) not in written]
    for event in missing:
        row = (
            connection.execute(
                sa.select(call_event).where(call_event.c.call == event.call, call_event.c.key == event.key)
            )
        ).one()
        standing[event.call, event.key] = event_of(row)
    answers.update({place: standing[event.call, event.key] for place, event in wanted})


def _merge_outcomes(
    connection: sa.Connection,
    works: Sequence[Work],
    answers: dict[int, Any],
    touched: dict[str, None],
    now: int,
) -> dict[str, dict[str, Any]]:
    """The new body of every outcome in the batch, by call id; ``_settle`` writes them."""
    merged: dict[str, dict[str, Any]] = {}
    for place, work in enumerate(works):
        if not isinstance(work, PutOutcome):
            continue
        known = (
            connection.execute(sa.select(call.c.id, call.c.experiment).where(named(work.call)).with_for_update())
        ).first()
        if known is None:
            answers[place] = None
            continue
        old = merged.get(known.id)
        if old is None:
            row = (connection.execute(sa.select(outcome).where(outcome.c.call == known.id))).first()
            old = dict(row._mapping) if row else {"call": known.id, "body": {}, "received_at": work.at}
        locked = known.experiment is not None and connection.scalar(
            sa.select(experiment.c.locked_at).where(experiment.c.id == known.experiment)
        )
        merged[known.id] = old | {
            "body": merge_outcome(old["body"], work.body),
            "updated_at": now,
            "counted": not locked,
        }
        answers[place] = merged[known.id]
        touched[known.id] = None
    return merged


def _due(connection: sa.Connection, work: MatureCalls) -> list[str]:
    result = connection.execute(
        sa.select(call.c.id).where(call.c.mature_at <= work.now).order_by(call.c.mature_at).limit(work.limit)
    )
    return list(result.scalars())


def _settle(
    connection: sa.Connection,
    statements: Statements,
    ids: list[str],
    merged: Mapping[str, dict[str, Any]],
    changes: Changes,
    rules: Rules,
    now: int,
) -> None:
    """Derive each touched call anew from all that is known of it, and correct the tallies by the difference."""
    query = sa.select(call).where(call.c.id.in_(ids)).order_by(call.c.id).with_for_update()
    rows = [row_in(row) for row in connection.execute(query)]
    if not rows:
        return
    if merged:
        connection.execute(statements.put_outcome, list(merged.values()))
    events: dict[str, list[Event]] = {}
    for told in connection.execute(sa.select(call_event).where(call_event.c.call.in_(ids))):
        events.setdefault(told.call, []).append(event_of(told))
    stored = connection.execute(sa.select(outcome).where(outcome.c.call.in_(ids)))
    outcomes = {row.call: row.body for row in stored}
    tests = {row.experiment for row in rows if row.experiment}
    locked = set(
        connection.scalars(
            sa.select(experiment.c.id).where(experiment.c.id.in_(tests), experiment.c.locked_at.is_not(None))
        )
        if tests
        else ()
    )
    updates = []
    for row in rows:
        body = outcomes.get(row.id, {})
        state = derive(_announced(row), events.get(row.id, ()))
        new = _derived(row, state, body, rules, now)
        if row.analysed and row.experiment not in locked:
            new = new._replace(counted=_count(row, new, state, body, changes))
        updates.append((*tuple(new)[_LATER], new.id))
    statements.update_call(connection, updates)


def _announced(row: CallRow) -> str:
    """What the call was announced with: a final status was derived, and is derived again."""
    return "in-progress" if row.direction == "outbound" and row.answered_at else "ringing"


def _derived(row: CallRow, state: State, body: Row, rules: Rules, now: int) -> CallRow:
    closes = state.ended_at + rules.window if state.ended_at is not None else None
    mature = row.mature or bool(body.get("final")) or (closes is not None and closes <= now)
    row = row._replace(
        status=state.status,
        answered_at=state.answered_at,
        ended_at=state.ended_at,
        duration_seconds=state.duration_seconds,
        mature=mature,
        mature_at=None if mature else closes,
    )
    if state.served is None:
        return row
    return row._replace(**{f"served_{name}": state.served[name] for name in ("by", "arm", "version", "reason")})


def _count(row: CallRow, new: CallRow, state: State, body: Row, changes: Changes) -> dict[str, float]:
    old = row.counted if row.counted is not None else {"served": 1.0}
    known = facts(state, body, assigned_arm=row.arm, served_arm=new.served_arm)
    measures = read_measures(known, mature=new.mature)
    for metric in old.keys() | measures.keys():
        before, after = old.get(metric), measures.get(metric)
        if before == after:
            continue
        if after is not None:
            changes.add(_cell(row, metric), after)
        if before is not None:
            changes.remove(_cell(row, metric), before)
    return measures


def _cell(row: CallRow, metric: str) -> Cell:
    """Where a measure of an analysed call is counted."""
    return Cell(
        experiment=row.experiment or "",
        epoch=row.epoch or 0,
        day=row.received_at // MILLISECONDS_PER_DAY,
        stratum="",
        arm=row.arm or "",
        metric=metric,
    )


def named(name: str) -> sa.ColumnElement[bool]:
    """Finds a call by our id or by Twilio's CallSid; spelled so that the partial index on the Sid is used."""
    return sa.or_(call.c.id == name, sa.and_(call.c.sid == name, call.c.sid != call.c.id))


def event_of(row: Any) -> Event:
    """A row of ``call_event`` as the event it stores."""
    return Event(call=row.call, key=row.key, kind=row.kind, at=row.at, data=row.data)
