"""Reads what is known of calls: pages of the list, one call with its timeline, and calls left open."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.model import Event
from gateway.storage.rows import CallRow, event_in, row_in
from gateway.storage.schema import call, call_event, experiment, outcome

REACH = 100_000
"""How many calls one page looks through for what no index finds."""

_UNINDEXED = ("arm", "version", "status", "direction")
_ASTRAY = 60_000  # milliseconds by which the clocks of two processes may differ
_KEPT = 24 * 60 * 60_000  # how long the journal may have kept a call


@dataclass(frozen=True, kw_only=True, slots=True)
class Filter:
    """Which calls a list shows; None asks for any. ``number`` matches either side of the call exactly.

    ``since`` and ``until`` are Unix milliseconds of when the call came in.
    """

    route: str | None = None
    experiment: str | None = None
    arm: str | None = None
    version: str | None = None
    status: str | None = None
    direction: str | None = None
    number: str | None = None
    since: int | None = None
    until: int | None = None


async def list_calls(
    connection: AsyncConnection, wanted: Filter, *, before: int | None, limit: int
) -> tuple[list[CallRow], int | None]:
    """Calls, newest first, from just before the row number ``before``, and before which one the next page begins.

    What no index finds is looked for among ``REACH`` calls at a time: a page may then hold fewer than ``limit``, or
    none, with more behind it. Behind the last page that is None. A call that the journal kept for more than a day is
    not found by ``until``.
    """
    top = await newest_seq(connection) + 1
    if before is not None:
        top = min(top, before)
    bottom, conditions = (
        0,
        [
            call.c[name] == value
            for name in ("route", "experiment", *_UNINDEXED)
            if (value := getattr(wanted, name)) is not None
        ],
    )
    if wanted.experiment is not None:
        # Its calls are found by those of its route, from its beginning on.
        one = sa.select(experiment.c.route, experiment.c.opened_at).where(experiment.c.id == wanted.experiment)
        of = (await connection.execute(one)).first()
        if of is None:
            return [], None
        conditions.append(call.c.route == of.route)
        bottom = await seq_before(connection, of.opened_at - _ASTRAY)
    if wanted.since is not None:
        conditions.append(call.c.received_at >= wanted.since)
        bottom = max(bottom, await seq_before(connection, wanted.since - _ASTRAY))
    if wanted.until is not None:
        conditions.append(call.c.received_at < wanted.until)
        top = min(top, await seq_before(connection, wanted.until + _KEPT) + 1)
    lowest = bottom
    if any(getattr(wanted, name) is not None for name in _UNINDEXED):
        bottom = max(bottom, top - 1 - REACH)
    conditions += [call.c.seq > bottom, call.c.seq < top]
    rows = [row_in(row) for row in await connection.execute(_newest(conditions, wanted.number, limit))]
    if len(rows) == limit:
        return rows, rows[-1].seq
    return rows, bottom + 1 if bottom > lowest else None


def _newest(conditions: Sequence[sa.ColumnElement[bool]], number: str | None, limit: int) -> sa.Select[Any]:
    newest = call.c.seq.desc()
    query = sa.select(call).order_by(newest).limit(limit)
    if number is None:
        return query.where(*conditions)
    # Each side is looked up in its own index, in its order: an "or" would read all calls of a busy number.
    sides = [
        sa.select(sa.select(call.c.seq).where(side == number, *conditions).order_by(newest).limit(limit).subquery())
        for side in (call.c.from_number, call.c.to_number)
    ]
    return query.where(call.c.seq.in_(sa.union(*sides)))


async def newest_seq(connection: AsyncConnection) -> int:
    """The row number of the newest call; 0 without any."""
    return await connection.scalar(sa.select(sa.func.max(call.c.seq))) or 0


async def seq_before(connection: AsyncConnection, at: int) -> int:
    """The row number of the last call before a moment (Unix milliseconds), within a second or so; 0 for none.

    Found by halving, because calls are written as they come in, but for those that the journal kept for a while: they
    are passed over, and have higher numbers than their time says.
    """
    low, high = 0, await newest_seq(connection)
    while low < high:
        middle = (low + high + 1) // 2
        query = sa.select(call.c.seq, call.c.received_at).where(call.c.seq >= middle, sa.not_(call.c.journalled))
        row = (await connection.execute(query.order_by(call.c.seq).limit(1))).first()
        if row is not None and row.seq <= high and row.received_at < at:
            low = row.seq
        else:
            high = middle - 1
    return low


async def call_of(connection: AsyncConnection, name: str) -> CallRow | None:
    """One call by our id or Twilio's CallSid, or None."""
    row = (await connection.execute(sa.select(call).where(named(name)))).first()
    return row_in(row) if row else None


async def events_of(connection: AsyncConnection, name: str) -> list[Event]:
    """The timeline of a call, in the order in which the gateway learned of it."""
    rows = await connection.execute(sa.select(call_event).where(call_event.c.call == name).order_by(call_event.c.seq))
    return [event_in(row) for row in rows]


async def outcome_of(connection: AsyncConnection, name: str) -> dict[str, Any] | None:
    """What agents reported of a call, or None."""
    row = (await connection.execute(sa.select(outcome).where(outcome.c.call == name))).first()
    return dict(row._mapping) if row else None


async def open_calls(connection: AsyncConnection, *, before: int, limit: int) -> list[CallRow]:
    """Calls that came in before ``before`` and have had no final status, oldest first; not those yet to be placed."""
    rows = await connection.execute(
        sa.select(call)
        .where(call.c.ended_at.is_(None), call.c.received_at < before, call.c.status != "planned")
        .order_by(call.c.received_at)
        .limit(limit)
    )
    return [row_in(row) for row in rows]


def named(name: str) -> sa.ColumnElement[bool]:
    """Finds a call by our id or by Twilio's CallSid; spelled so that the partial index on the Sid is used."""
    return sa.or_(call.c.id == name, sa.and_(call.c.sid == name, call.c.sid != call.c.id))
