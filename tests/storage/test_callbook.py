"""Lists of calls: a page reads a bounded part of them, and no call is missed from page to page."""

from typing import Any

import pytest
import sqlalchemy as sa

from gateway.storage import callbook
from gateway.storage.callbook import Filter, list_calls, seq_before
from gateway.storage.engine import Database
from gateway.storage.schema import call
from gateway.storage.tallies import MILLISECONDS_PER_DAY as DAY
from tests.benchmarks.results import DAYS, START, calls, fill

TOTAL = 280  # ten a day


async def pages(database: Database, limit: int = 7, **wanted: Any) -> list[list[int]]:
    """The row numbers of every page of a list."""
    found, cursor = list[list[int]](), None
    async with database.read() as connection:
        while True:
            rows, cursor = await list_calls(connection, Filter(**wanted), before=cursor, limit=limit)
            found.append([row.seq or 0 for row in rows])
            if cursor is None:
                return found
            assert len(found) < 200


async def which(database: Database, *conditions: sa.ColumnElement[bool]) -> list[int]:
    async with database.read() as connection:
        return list(await connection.scalars(sa.select(call.c.seq).where(*conditions).order_by(call.c.seq.desc())))


@pytest.mark.parametrize(
    ("wanted", "conditions"),
    [
        ({}, []),
        ({"route": "support"}, []),
        ({"route": "sales"}, [sa.false()]),
        ({"arm": "b"}, [call.c.arm == "b"]),
        ({"status": "busy"}, [sa.false()]),
        ({"version": "support@3", "route": "support"}, [call.c.version == "support@3"]),
        ({"experiment": "support-1", "arm": "a"}, [call.c.arm == "a"]),
        ({"experiment": "support-2"}, [sa.false()]),
        ({"number": "+14155550100"}, []),
        ({"number": "+14155550100", "arm": "a"}, [call.c.arm == "a"]),
        ({"since": START + 20 * DAY}, [call.c.received_at >= START + 20 * DAY]),
        ({"until": START + 3 * DAY}, [call.c.received_at < START + 3 * DAY]),
        (
            {"since": START + 5 * DAY, "until": START + 9 * DAY, "arm": "b"},
            [call.c.received_at >= START + 5 * DAY, call.c.received_at < START + 9 * DAY, call.c.arm == "b"],
        ),
        ({"since": START + 9 * DAY, "until": START + 5 * DAY}, [sa.false()]),
    ],
)
async def test_every_call_is_found_once_from_page_to_page(
    database: Database, monkeypatch: pytest.MonkeyPatch, wanted: dict[str, Any], conditions: list[Any]
) -> None:
    monkeypatch.setattr(callbook, "REACH", 30)
    await fill(database, TOTAL, unit="call")
    found = [seq for page in await pages(database, **wanted) for seq in page]
    assert found == await which(database, *conditions)


async def test_what_no_index_finds_is_looked_for_a_part_at_a_time(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callbook, "REACH", 30)
    await fill(database, TOTAL, unit="call")
    assert await pages(database, limit=50, status="busy") == [[]] * 10  # 280 calls, 30 at a time
    assert await pages(database, limit=50, route="sales") == [[]]
    async with database.write() as connection:
        await connection.execute(sa.update(call).where(call.c.seq == 1).values(status="busy"))
    assert await pages(database, limit=50, status="busy") == [[]] * 9 + [[1]]


async def test_a_call_that_the_journal_kept_is_found_by_its_time(database: Database) -> None:
    await fill(database, TOTAL, unit="call")
    late = calls(TOTAL, 1, TOTAL, unit="call")[0] | {"received_at": START + 3 * DAY, "journalled": True}
    async with database.write() as connection:
        # Written six hours after it came in, among calls of then.
        kept = await connection.scalar(
            sa.select(sa.func.min(call.c.seq)).where(call.c.received_at > START + 3.25 * DAY)
        )
        await connection.execute(sa.delete(call).where(call.c.seq == kept))
        await connection.execute(sa.insert(call), late | {"seq": kept})
    day = {"since": START + 3 * DAY, "until": START + 3 * DAY + 1}
    assert kept in (await pages(database, **day))[0]


async def test_the_last_call_before_a_moment_is_found_without_the_late_ones(database: Database) -> None:
    async with database.read() as connection:
        assert await seq_before(connection, START) == 0
    await fill(database, TOTAL, unit="call")
    async with database.write() as connection:
        old = sa.and_(call.c.seq > 150, call.c.seq % 2 == 0)
        await connection.execute(sa.update(call).where(old).values(received_at=START, journalled=True))
    ordered = sa.not_(call.c.journalled)
    for at in (START - 1, START, START + 1, START + 7 * DAY, START + 20 * DAY + 1, START + DAYS * DAY):
        before = await which(database, call.c.received_at < at, ordered)
        async with database.read() as connection:
            assert await seq_before(connection, at) == (before[0] if before else 0)
