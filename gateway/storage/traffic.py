"""Counts calls as they come in, from the end of the table: what is already counted is never read again."""

from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.calls import NEXT
from gateway.storage.schema import call, call_event

HOUR = 3_600_000


class Counted(NamedTuple):
    """So many calls of a route (None: no route names the number) in an hour (hours since 1970, UTC)."""

    route: str | None
    hour: int
    calls: int


async def first_since(connection: AsyncConnection, *, calls: int, events: int) -> tuple[int, int]:
    """The row numbers just before the first call, and the first event, of these times or later."""
    seqs = []
    for table, when, at in ((call, call.c.received_at, calls), (call_event, call_event.c.at, events)):
        query = sa.select(table.c.seq).where(when < at).order_by(table.c.seq.desc()).limit(1)
        seqs.append(await connection.scalar(query) or 0)
    return seqs[0], seqs[1]


async def newest(connection: AsyncConnection) -> tuple[int, int]:
    """The highest row numbers of calls and of events."""
    calls = await connection.scalar(sa.select(sa.func.max(call.c.seq)))
    events = await connection.scalar(sa.select(sa.func.max(call_event.c.seq)))
    return calls or 0, events or 0


async def count_calls(connection: AsyncConnection, *, after: int, upto: int) -> list[Counted]:
    """Calls by route and hour among the rows ``after`` to ``upto``; what is only planned is not yet a call."""
    hour = (call.c.received_at // HOUR).label("hour")
    query = (
        sa.select(call.c.route, hour, sa.func.count())
        .where(call.c.seq > after, call.c.seq <= upto, call.c.status != "planned")
        .group_by(call.c.route, sa.literal_column("hour"))
    )
    return [Counted(*row) for row in await connection.execute(query)]


async def count_open(connection: AsyncConnection) -> int:
    """Calls under way: they have begun, and nobody has told of their end."""
    query = sa.select(sa.func.count()).where(call.c.ended_at.is_(None), call.c.status != "planned")
    return await connection.scalar(query) or 0


async def failed_handoffs(connection: AsyncConnection, *, after: int, upto: int, since: int) -> list[tuple[str, int]]:
    """Route and time of the handoffs that failed, of the events ``after`` to ``upto``, not before ``since``."""
    query = (
        sa.select(call.c.route, call_event.c.at, call_event.c.data)
        .join(call, call.c.id == call_event.c.call)
        .where(
            call_event.c.seq > after,
            call_event.c.seq <= upto,
            call_event.c.kind == NEXT,
            call_event.c.at >= since,
            call.c.route.is_not(None),
        )
    )
    rows = await connection.execute(query)
    return [(row.route, row.at) for row in rows if row.data.get("ending") == "failed"]
