"""Deletes what has been kept long enough, a few rows in each transaction, so that no call waits for it.

What was counted stays counted: a call whose events are gone is sealed, and never derived anew.
"""

from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Any

import sqlalchemy as sa

from gateway.storage.analyses import forget_analysis
from gateway.storage.engine import Database
from gateway.storage.schema import attempt, call, call_event, contact, outcome

_PORTION = 200


async def delete_events(database: Database, *, before: int, now: int) -> AsyncIterator[int]:
    """Delete the events from before then (Unix milliseconds) of calls that are over, and what their contacts brought.

    Yields after each transaction how many events it deleted.
    """
    last = 0
    over = sa.and_(call.c.ended_at < before, call.c.mature)
    query = (
        sa.select(call_event.c.seq, call_event.c.call, call_event.c.at, call.c.id, over.label("over"))
        .outerjoin(call, call.c.id == call_event.c.call)
        .order_by(call_event.c.seq)
        .limit(_PORTION)
    )
    while True:
        async with database.read() as connection:
            rows = (await connection.execute(query.where(call_event.c.seq > last))).all()
        # They stand in the order in which they came: where none is old, none behind them is.
        if not any(row.at < before for row in rows):
            return
        last = rows[-1].seq
        old = [row for row in rows if row.at < before and (row.over or row.id is None)]
        if old:
            calls = sorted({row.call for row in old})
            yield await database.transact(partial(_delete, seqs=[row.seq for row in old], calls=calls, now=now))


def _delete(connection: sa.Connection, *, seqs: Sequence[int], calls: Sequence[str], now: int) -> int:
    # In the order in which whoever writes several calls has them.
    connection.execute(sa.select(call.c.seq).where(call.c.id.in_(calls)).order_by(call.c.id).with_for_update())
    seal = sa.update(call).where(call.c.id.in_(calls), call.c.sealed_at.is_(None))
    connection.execute(seal.values(sealed_at=now, mature_at=None))
    told = sa.select(attempt.c.campaign, attempt.c.contact).where(
        attempt.c.id.in_(calls), attempt.c.contact.is_not(None)
    )
    for campaign, line in connection.execute(told).all():
        done = sa.and_(contact.c.campaign == campaign, contact.c.line == line, contact.c.state == "done")
        connection.execute(sa.update(contact).where(done).values(variables={}))
    connection.execute(sa.update(attempt).where(attempt.c.id.in_(calls)).values(variables={}))
    return connection.execute(sa.delete(call_event).where(call_event.c.seq.in_(seqs))).rowcount


async def delete_transcripts(database: Database, *, before: int) -> AsyncIterator[int]:
    """Delete the transcripts of calls of which nothing was reported since then, and what a judge said of them.

    The verdicts that the judge reported as the outcome stay. Yields after each transaction how many it deleted.
    """
    last: tuple[int, str] = (-1, "")
    place = sa.tuple_(outcome.c.updated_at, outcome.c.call)
    query = (
        sa.select(outcome.c.updated_at, outcome.c.call)
        .where(outcome.c.updated_at < before, outcome.c.body["transcript"].as_string().is_not(None))
        .order_by(outcome.c.updated_at, outcome.c.call)
        .limit(_PORTION)
    )
    while True:
        behind = sa.tuple_(sa.literal(last[0], sa.BigInteger), sa.literal(last[1], sa.Text))
        async with database.read() as connection:
            rows = (await connection.execute(query.where(place > behind))).all()
        if not rows:
            return
        last = rows[-1].updated_at, rows[-1].call
        yield await database.transact(partial(_cut, calls=[row.call for row in rows], before=before))


def _cut(connection: sa.Connection, *, calls: Sequence[str], before: int) -> int:
    cut = 0
    for name in calls:
        # The call first, as whoever writes an outcome has it.
        connection.execute(sa.select(call.c.seq).where(call.c.id == name).with_for_update())
        which = sa.and_(outcome.c.call == name, outcome.c.updated_at < before)
        body: dict[str, Any] | None = connection.execute(sa.select(outcome.c.body).where(which)).scalar()
        if body is not None and body.pop("transcript", None) is not None:
            connection.execute(sa.update(outcome).where(which).values(body=body))
            forget_analysis(connection, name)
            cut += 1
    return cut
