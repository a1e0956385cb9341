"""Reads the calls of one experiment: a random sample with what was said, and all of them for an export."""

import asyncio
import heapq
from collections.abc import Sequence
from functools import partial
from hashlib import blake2b
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.storage.analyses import Labelled
from gateway.storage.rows import CallRow, row_in
from gateway.storage.schema import call, outcome

PORTION = 500
_SPOKEN = outcome.c.body["transcript"].as_string().is_not(None)


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
    query = (
        sa.select(call.c.id)
        .join(outcome, outcome.c.call == call.c.id)
        .where(call.c.experiment == experiment, call.c.arm == arm, call.c.analysed, call.c.mature, _SPOKEN)
    )
    names = list(await connection.scalars(query))

    def luck(name: str) -> bytes:
        return blake2b(name.encode(), key=str(seed).encode(), digest_size=8, person=b"sample").digest()

    drawn = heapq.nsmallest(n, names, key=luck)
    found = {one.call.id: one for one in await _spoken(connection, drawn)}
    return len(names), [found[name] for name in drawn if name in found]


class Draw(NamedTuple):
    """What one person may label next; ``left`` counts what they passed over."""

    next: Spoken | None
    left: int


async def draw_to_label(
    connection: AsyncConnection, experiment: str, *, author: str, labels: Sequence[Labelled], wanted: int, after: str
) -> Draw:
    """A call for a person to label: random within its arm, and from the arms as they still lack labels.

    It is mature, analysed, has a transcript, and nobody has labelled it; when there are no more such, the person has
    not. Everybody has an order of their own, so that people who work side by side hear different calls. It is the
    first behind the call ``after``, of which the person wanted to hear no more.
    """
    ours = sa.and_(call.c.experiment == experiment, call.c.analysed, call.c.mature)
    arms: dict[str, list[str]] = {}
    for row in await connection.execute(sa.select(call.c.id, call.c.arm).where(ours)):
        arms.setdefault(row.arm, []).append(row.id)
    of_anybody = {one.call for one in labels}
    of_author = {one.call for one in labels if one.author == author}
    again = dict.fromkeys(arms, wanted)
    lacking = {arm: max(0, wanted - len(of_anybody.intersection(names))) for arm, names in arms.items()}
    for known, count in ((of_anybody, lacking if any(lacking.values()) else again), (of_author, again)):
        found: list[str] = []
        for arm, names in arms.items():
            # In a thread: there may be very many calls, and the loop answers those that ring.
            drawn = await asyncio.to_thread(sorted, set(names) - known, key=partial(_luck, author))
            found += await _first_spoken(connection, drawn, count[arm])
        order = sorted(found, key=lambda name: _luck(author, name)[8:])
        behind = [name for name in order if not after or _luck(author, name)[8:] > _luck(author, after)[8:]]
        if order:
            spoken = await _spoken(connection, behind[:1])
            return Draw(spoken[0] if spoken else None, len(order) - len(behind))
    return Draw(None, 0)


async def _first_spoken(connection: AsyncConnection, names: Sequence[str], count: int) -> list[str]:
    """The first so many calls that have a transcript; only as many are looked at as that takes."""
    found: list[str] = []
    for start in range(0, len(names), PORTION):
        if len(found) >= count:
            break
        part = names[start : start + PORTION]
        spoken = set(await connection.scalars(sa.select(outcome.c.call).where(outcome.c.call.in_(part), _SPOKEN)))
        found += [name for name in part if name in spoken]
    return found[:count]


def _luck(author: str, name: str) -> bytes:
    """A person's place for a call: its first half draws within the arm, the other mixes the arms."""
    return blake2b(f"{author}\n{name}".encode(errors="replace"), digest_size=16, person=b"label").digest()


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
