"""Reads what is known of calls: pages of the list, one call with its timeline, and calls left open."""

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.model import Event
from gateway.storage.rows import CallRow, event_in, row_in
from gateway.storage.schema import call, call_event, outcome


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


async def list_calls(connection: AsyncConnection, wanted: Filter, *, before: int | None, limit: int) -> list[CallRow]:
    """Calls, newest first, from just before the row number ``before``."""
    query = sa.select(call).order_by(call.c.seq.desc()).limit(limit)
    if before is not None:
        query = query.where(call.c.seq < before)
    for name in ("route", "experiment", "arm", "version", "status", "direction"):
        value = getattr(wanted, name)
        if value is not None:
            query = query.where(call.c[name] == value)
    if wanted.number is not None:
        query = query.where(sa.or_(call.c.from_number == wanted.number, call.c.to_number == wanted.number))
    if wanted.since is not None:
        query = query.where(call.c.received_at >= wanted.since)
    if wanted.until is not None:
        query = query.where(call.c.received_at < wanted.until)
    return [row_in(row) for row in await connection.execute(query)]


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
