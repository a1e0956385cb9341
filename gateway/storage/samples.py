"""Reads the calls of one experiment: a random sample with what was said, and all of them for an export."""

import heapq
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.storage.rows import CallRow, row_in
from gateway.storage.schema import call, outcome

PORTION = 500


class Spoken(NamedTuple):
    """A call and what was reported of it; ``body`` is empty when nothing was."""

    call: CallRow
    body: dict[str, Any]


async def sample_calls(
    connection: AsyncConnection, experiment: str, arm: str, *, n: int, seed: int
) -> tuple[int, list[Spoken]]:
    """(how many there are, ``n`` of them): mature, analysed calls of an arm that have a transcript.

    The draw is a keyed hash of the seed and the call, so that it is repeatable and every call is as likely.
    """
    spoken = outcome.c.body["transcript"].as_string().is_not(None)
    query = (
        sa.select(call.c.id)
        .join(outcome, outcome.c.call == call.c.id)
        .where(call.c.experiment == experiment, call.c.arm == arm, call.c.analysed, call.c.mature, spoken)
    )
    names = list(await connection.scalars(query))

    def luck(name: str) -> bytes:
        return blake2b(name.encode(), key=str(seed).encode(), digest_size=8, person=b"sample").digest()

    drawn = heapq.nsmallest(n, names, key=luck)
    found = {one.call.id: one for one in await _spoken(connection, drawn)}
    return len(names), [found[name] for name in drawn if name in found]


async def calls_of_experiment(connection: AsyncConnection, experiment: str, *, after: int) -> list[Spoken]:
    """The next portion of the calls that were assigned in an experiment, the oldest first, after a row number."""
    query = sa.select(call.c.id).where(call.c.experiment == experiment, call.c.seq > after)
    return await _spoken(connection, list(await connection.scalars(query.order_by(call.c.seq).limit(PORTION))))


async def calls_per_day(connection: AsyncConnection, route: str, *, since: int, days: float) -> float:
    """How many calls a route had a day, of those that came in from ``since`` (Unix milliseconds) on."""
    query = sa.select(sa.func.count()).where(call.c.route == route, call.c.received_at >= since)
    return (await connection.scalar(query) or 0) / days


async def _spoken(connection: AsyncConnection, names: Sequence[str]) -> list[Spoken]:
    bodies: dict[str, dict[str, Any]] = {}
    rows: list[CallRow] = []
    for start in range(0, len(names), PORTION):
        part = names[start : start + PORTION]
        for told in await connection.execute(sa.select(outcome).where(outcome.c.call.in_(part))):
            bodies[told.call] = told.body
        found = await connection.execute(sa.select(call).where(call.c.id.in_(part)).order_by(call.c.seq))
        rows += [row_in(row) for row in found]
    return [Spoken(row, bodies.get(row.id, {})) for row in rows]
