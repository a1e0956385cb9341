"""What waits to be written: each kind of work is a value, and every batch of them is one transaction.

First writer wins throughout: an insert that meets a standing row changes nothing, and what stands is read back.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from gateway.calls import State, derive, facts, merge_outcome
from gateway.decide import Remembered
from gateway.metrics import read_measures
from gateway.model import Event
from gateway.storage.engine import Database
from gateway.storage.schema import call, call_event, experiment, outcome, sticky
from gateway.storage.tallies import MILLISECONDS_PER_DAY, Cell, Changes, merge_statement

Row = Mapping[str, Any]

BATCH_LIMIT = 256


@dataclass(frozen=True, kw_only=True, slots=True)
class RecordCall:
    """Write a call with its assignment; answered by the row that stands.

    ``drawn`` is set for a sticky caller who was assigned without the memory: if that holds another arm, the
    call is not analysed.
    """

    row: dict[str, Any]
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
        self.insert_call = database.insert(call).on_conflict_do_nothing().returning(call.c.id)
        self.insert_event = (
            database.insert(call_event).on_conflict_do_nothing().returning(call_event.c.call, call_event.c.key)
        )
        self.insert_sticky = database.insert(sticky).on_conflict_do_nothing().returning(sticky.c.unit)
        self.merge_tally = merge_statement(database)
        put = database.insert(outcome)
        self.put_outcome = put.on_conflict_do_update(
            index_elements=[outcome.c.call],
            set_={name: put.excluded[name] for name in ("body", "updated_at", "counted")},
        )
        self.update_call = (
            sa.update(call)
            .where(call.c.id == sa.bindparam("call_id"))
            .values({name: sa.bindparam(f"new_{name}") for name in _DERIVED})
        )


_DERIVED = (
    "status",
    "answered_at",
    "ended_at",
    "duration_seconds",
    "served_by",
    "served_arm",
    "served_version",
    "served_reason",
    "mature",
    "mature_at",
    "counted",
)


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
    rows = changes.rows()
    if rows:
        connection.execute(statements.merge_tally, rows)
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
    wanted: list[tuple[int, dict[str, Any]]] = []
    for place, work in enumerate(works):
        if isinstance(work, RecordCall):
            row = work.row
            if work.drawn is not None:
                standing, _ = _memory(connection, statements, work.drawn)
                if standing.arm != work.drawn.arm:
                    row = row | {"analysed": False}
            wanted.append((place, row))
    if not wanted:
        return
    result = connection.execute(statements.insert_call, [row for _, row in wanted])
    written = set(result.scalars())
    for place, row in wanted:
        if row["id"] not in written:
            continue
        answers[place] = row
        if row["analysed"]:
            changes.add(_cell(row, "served"), 1.0)
        if row["journalled"]:
            touched[row["id"]] = None  # its events may have come before it
    missing = [row["id"] for _, row in wanted if row["id"] not in written]
    if missing:
        rows = connection.execute(sa.select(call).where(call.c.id.in_(missing)))
        by_id = {row.id: dict(row._mapping) for row in rows}
        answers.update({place: by_id[row["id"]] for place, row in wanted if row["id"] in by_id})


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
        (event.call, event.key): {
            "call": event.call,
            "key": event.key,
            "kind": event.kind,
            "at": event.at,
            "data": dict(event.data),
        }
        for _, event in reversed(wanted)  # of two with one key the first stands
    }
    result = connection.execute(statements.insert_event, list(rows.values()))
    written = {(row.call, row.key) for row in result}
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
    rows = (connection.execute(sa.select(call).where(call.c.id.in_(ids)).order_by(call.c.id).with_for_update())).all()
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
        update = _derived(row, state, body, rules, now)
        if row.analysed and row.experiment not in locked:
            update["new_counted"] = _count(row, update, state, body, changes)
        updates.append(update)
    connection.execute(statements.update_call, updates)


def _announced(row: Any) -> str:
    """What the call was announced with: a final status was derived, and is derived again."""
    return "in-progress" if row.direction == "outbound" and row.answered_at else "ringing"


def _derived(row: Any, state: State, body: Row, rules: Rules, now: int) -> dict[str, Any]:
    closes = state.ended_at + rules.window if state.ended_at is not None else None
    mature = row.mature or bool(body.get("final")) or (closes is not None and closes <= now)
    served = state.served or {
        "by": row.served_by,
        "arm": row.served_arm,
        "version": row.served_version,
        "reason": row.served_reason,
    }
    return {
        "call_id": row.id,
        "new_status": state.status,
        "new_answered_at": state.answered_at,
        "new_ended_at": state.ended_at,
        "new_duration_seconds": state.duration_seconds,
        "new_served_by": served["by"],
        "new_served_arm": served["arm"],
        "new_served_version": served["version"],
        "new_served_reason": served["reason"],
        "new_mature": mature,
        "new_mature_at": None if mature else closes,
        "new_counted": row.counted,
    }


def _count(row: Any, update: Row, state: State, body: Row, changes: Changes) -> dict[str, float]:
    old = row.counted if row.counted is not None else {"served": 1.0}
    known = facts(state, body, assigned_arm=row.arm, served_arm=update["new_served_arm"])
    new = read_measures(known, mature=update["new_mature"])
    for metric in old.keys() | new.keys():
        before, after = old.get(metric), new.get(metric)
        if before == after:
            continue
        if after is not None:
            changes.add(_cell(row._mapping, metric), after)
        if before is not None:
            changes.remove(_cell(row._mapping, metric), before)
    return new


def _cell(row: Row, metric: str) -> Cell:
    return Cell(
        experiment=row["experiment"],
        epoch=row["epoch"],
        day=row["received_at"] // MILLISECONDS_PER_DAY,
        stratum="",
        arm=row["arm"],
        metric=metric,
    )


def named(name: str) -> sa.ColumnElement[bool]:
    """Finds a call by our id or by Twilio's CallSid; spelled so that the partial index on the Sid is used."""
    return sa.or_(call.c.id == name, sa.and_(call.c.sid == name, call.c.sid != call.c.id))


def event_of(row: Any) -> Event:
    """A row of ``call_event`` as the event it stores."""
    return Event(call=row.call, key=row.key, kind=row.kind, at=row.at, data=row.data)
