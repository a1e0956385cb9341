"""The figures of the overview: counted from the end of the table, and the same as counted from its beginning."""

import os

from gateway.model import Call, Event, Served
from gateway.storage.batch import Batch, Statements
from gateway.storage.engine import Database
from gateway.storage.rows import CallRow, row_of
from gateway.storage.works import AppendEvent, RecordCall, Rules, Work
from gateway.traffic import HOURS, Traffic

HOUR = 3_600_000
NOON = 20_000 * 24 * HOUR + 12 * HOUR


class Clock:
    def __init__(self, now: int) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now


def call(at: int, route: str | None, status: str = "ringing") -> CallRow:
    name = "CA" + os.urandom(16).hex()
    one = Call(id=name, sid=name, account="AC0", direction="inbound", from_="+1", to="+2", at=at, status=status)
    return row_of(one, route, None, Served(by="none"))


def failure(row: CallRow, at: int, ending: str = "failed") -> Event:
    served = {"by": "version", "arm": "a", "version": "support@3", "reason": "failover"}
    data = {"hop": 0, "ending": ending, "rule": "the stream reported an error", "served": served}
    return Event(call=row.id, key="next:0", kind="next", at=at, data=data)


async def write(database: Database, *works: Work) -> None:
    statements = Statements(database)
    await database.transact(
        lambda connection: Batch(connection, statements, Rules(window=HOUR), NOON).write(list(works))
    )


async def test_calls_are_counted_by_route_and_hour(database: Database) -> None:
    clock = Clock(NOON)
    old, yesterday = call(NOON - 30 * HOUR, "support"), call(NOON - 13 * HOUR, "support")
    fresh = [call(NOON - HOUR, "support"), call(NOON, "support"), call(NOON, "sales"), call(NOON, None)]
    waiting = call(NOON, "renewals", status="planned")
    await write(database, *(RecordCall(row) for row in (old, yesterday, *fresh, waiting)))
    figures = await Traffic(database, wall=clock).figures()
    assert (figures.today, figures.under_way) == (4, 6)
    assert dict(figures.today_by_route) == {"support": 2, "sales": 1, None: 1}
    assert figures.hours[-1] == 3
    assert figures.hours[-2] == 1
    assert figures.hours[HOURS - 14] == 1
    assert sum(figures.hours) == 5


async def test_what_is_counted_bit_by_bit_is_what_is_counted_at_once(database: Database) -> None:
    clock = Clock(NOON)
    traffic = Traffic(database, wall=clock)
    for step in range(40):
        rows = [call(clock.now, "support"), call(clock.now - 3 * HOUR, "sales")]
        events = [AppendEvent(event=failure(rows[0], clock.now))] if step % 3 == 0 else []
        await write(database, *(RecordCall(row) for row in rows), *events)
        bit_by_bit = await traffic.figures()
        at_once = await Traffic(database, wall=clock).figures()
        assert bit_by_bit == at_once
        clock.now += 20_000
    clock.now += 25 * HOUR
    gone = await traffic.figures()
    assert (gone.today, sum(gone.hours), dict(gone.failing)) == (0, 0, {})
    assert gone.under_way == 80


async def test_a_route_fails_over_for_five_minutes(database: Database) -> None:
    clock = Clock(NOON)
    row, fine = call(NOON - HOUR, "support"), call(NOON, "sales")
    hung_up = failure(fine, NOON, ending="hang_up")
    await write(database, RecordCall(row), RecordCall(fine), AppendEvent(event=failure(row, NOON)))
    await write(database, AppendEvent(event=hung_up))
    traffic = Traffic(database, wall=clock)
    assert dict((await traffic.figures()).failing) == {"support": 1}
    clock.now = NOON + 5 * 60_000
    assert dict((await traffic.figures()).failing) == {"support": 1}
    clock.now += 1001
    assert dict((await traffic.figures()).failing) == {}


async def test_without_the_database_the_last_figures_stand(database: Database) -> None:
    clock = Clock(NOON)
    await write(database, RecordCall(call(NOON, "support")))
    traffic = Traffic(database, wall=clock)
    known = await traffic.figures()
    traffic._database = Database("postgresql://nobody@127.0.0.1:9/none")
    clock.now += 60_000
    assert await traffic.figures() == known
