"""The ledger on both engines: first writer wins, nothing waits for a dead database, and tallies equal the rows."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from gateway.calls import STATUS
from gateway.errors import Unavailable
from gateway.model import Assignment, Call, Event, Served
from gateway.storage.batch import Batch, Statements
from gateway.storage.callbook import call_of, events_of, outcome_of
from gateway.storage.engine import Database
from gateway.storage.journal import Journal, read_entries
from gateway.storage.ledger import Ledger
from gateway.storage.recounting import recount
from gateway.storage.rows import CallRow, row_of
from gateway.storage.schema import call, experiment, tally
from gateway.storage.tallies import read_tallies
from gateway.storage.works import PutOutcome, RecordCall, Remember, Rules

WINDOW = 3_600_000


class Clock:
    """The wall clock of a test, in Unix milliseconds."""

    now = 1_795_000_000_000

    def __call__(self) -> int:
        return self.now


@asynccontextmanager
async def opened(database: Database, folder: Path, clock: Clock | None = None) -> AsyncIterator[Ledger]:
    ledger = Ledger(database, Journal(folder / "journal"), rules=Rules(window=WINDOW), wall=clock or Clock())
    ledger.open()
    yield ledger
    await ledger.close()


@pytest.fixture
async def ledger(database: Database, tmp_path: Path) -> AsyncIterator[Ledger]:
    async with opened(database, tmp_path) as one:
        yield one


def row(sid: str, arm: str = "a", **changes: Any) -> CallRow:
    assignment = Assignment(
        arm=arm,
        version=f"support@{'ab'.index(arm) + 3}",
        reason="split",
        revision=1,
        unit="call",
        analysed=True,
        experiment="support-1",
        epoch=1,
        bucket=1,
        share=0.5,
    )
    one = Call(
        id=sid, sid=sid, account="AC1", direction="inbound", from_="+14155551234", to="+14155550100", at=Clock.now
    )
    served = Served(by="version", arm=arm, version=assignment.version)
    return row_of(one, "support", assignment, served)._replace(**changes)


def ended(sid: str, seconds: int = 60, status: str = "completed") -> Event:
    data = {"status": status, "duration": seconds, "sequence": 0}
    return Event(call=sid, key="status:0", kind=STATUS, at=Clock.now + seconds * 1000, data=data)


def report(sid: str, body: dict[str, Any], *, at: int) -> PutOutcome:
    return PutOutcome(call=sid, body=body, at=at, author="agent")


async def rows_of(database: Database) -> list[Any]:
    async with database.read() as connection:
        return list(await connection.execute(sa.select(call).order_by(call.c.id)))


async def assert_tallies_are_the_rows(database: Database) -> None:
    found = await recount(database, name="support-1", repair=False)
    assert (found.good, found.examples) == (True, [])


async def test_the_first_writer_of_a_call_wins(ledger: Ledger, database: Database) -> None:
    first = await ledger.record(row("CA1", "a"))
    assert first.arm == "a"
    async with opened(database, Path(ledger._journal._folder).parent / "other") as another:
        standing = await another.record(row("CA1", "b"))
    assert (standing.arm, standing.version) == ("a", "support@3")
    assert [one.arm for one in await rows_of(database)] == ["a"]
    await assert_tallies_are_the_rows(database)


async def test_a_hundred_at_once_are_one_row(ledger: Ledger, database: Database) -> None:
    standing = await asyncio.gather(*(ledger.record(row("CA1", "ab"[n % 2])) for n in range(100)))
    assert {one.arm for one in standing} == {"a"}
    assert len(await rows_of(database)) == 1


async def test_two_rows_of_one_call_in_one_batch_are_one_row(database: Database) -> None:
    works = [RecordCall(row("CA1", arm)) for arm in "abab"] + [RecordCall(row("CA2"))]
    answers = await database.transact(
        lambda connection: Batch(connection, Statements(database), Rules(window=WINDOW), 1).write(works)
    )
    assert [(one.id, one.arm) for one in answers] == [("CA1", "a")] * 4 + [("CA2", "a")]
    assert len(await rows_of(database)) == 2
    await assert_tallies_are_the_rows(database)


async def test_a_call_whose_sid_another_call_has_fails_and_leaves_its_neighbours(
    ledger: Ledger, database: Database
) -> None:
    await ledger.record(row("out_1")._replace(sid="CA1"))
    wanted = (ledger.record(row("out_2")._replace(sid="CA1")), ledger.record(row("out_3")._replace(sid="CA3")))
    refused, good = await asyncio.gather(*wanted, return_exceptions=True)
    assert isinstance(refused, BaseException)
    assert not isinstance(good, BaseException)
    assert [one.id for one in await rows_of(database)] == ["out_1", "out_3"]


async def test_a_poisoned_row_fails_alone(ledger: Ledger, database: Database) -> None:
    good = [ledger.record(row(f"CA{n}")) for n in range(5)]
    bad = ledger.record(row("CA9", received_at=None))
    answers = await asyncio.gather(*good, bad, return_exceptions=True)
    assert [isinstance(answer, BaseException) for answer in answers] == [False] * 5 + [True]
    assert len(await rows_of(database)) == 5


async def test_the_first_event_of_a_key_stands(ledger: Ledger, database: Database) -> None:
    await ledger.record(row("CA1"))
    one = Event(call="CA1", key="next:0", kind="next", at=1, data={"hop": 0, "ending": "hang_up"})
    two = Event(call="CA1", key="next:0", kind="next", at=2, data={"hop": 0, "ending": "failed"})
    standing = await asyncio.gather(ledger.append(one), ledger.append(two))
    assert {event.data["ending"] for event in standing} == {"hang_up"}
    assert (await ledger.append(two)).data["ending"] == "hang_up"
    async with database.read() as connection:
        assert len(await events_of(connection, "CA1")) == 1


async def test_an_unknown_call_has_no_outcome(ledger: Ledger) -> None:
    assert await ledger.put_outcome(report("CA1", {"success": True}, at=1)) is None


async def test_an_outcome_counts_when_it_is_final_or_its_window_has_closed(
    database: Database, tmp_path: Path
) -> None:
    clock = Clock()
    async with opened(database, tmp_path, clock) as ledger:
        for sid in ("CA1", "CA2"):
            await ledger.record(row(sid))
            await ledger.append(ended(sid))
            await ledger.put_outcome(report(sid, {"success": sid == "CA1"}, at=clock.now))

        async def successes() -> int:
            async with database.read() as connection:
                cells = await read_tallies(connection, "support-1")
            return sum(count.n for cell, count in cells if cell.metric == "success")

        assert await successes() == 0
        await ledger.put_outcome(report("CA1", {"final": True}, at=clock.now))
        assert await successes() == 1
        assert await ledger.mature() == 0
        clock.now += WINDOW + 61_000
        assert await ledger.mature() == 1
        assert await successes() == 2
        assert await ledger.mature() == 0
    await assert_tallies_are_the_rows(database)


@pytest.mark.parametrize("seed", range(6))
async def test_tallies_equal_the_rows_whatever_came_in_which_order(
    database: Database, tmp_path: Path, seed: int
) -> None:
    dice, clock = random.Random(seed), Clock()
    async with opened(database, tmp_path, clock) as ledger:
        sids = [f"CA{n}" for n in range(12)]
        for sid in sids:
            await ledger.record(row(sid, dice.choice("ab")))
        steps: list[Any] = [ledger.append(ended(sid, dice.randrange(5, 300))) for sid in sids for _ in range(2)]
        for sid in sids * 3:
            body = {
                "success": dice.choice((True, False, None)),
                "sentiment": dice.uniform(-1, 1),
                "fields": {"csat": dice.choice((1, 5, None)), "vip": dice.random() < 0.5},
                "final": dice.choice((True, False)),
            }
            steps.append(ledger.put_outcome(report(sid, body, at=clock.now)))
        dice.shuffle(steps)
        while steps:
            some = [steps.pop() for _ in range(min(len(steps), dice.randrange(1, 8)))]
            await asyncio.gather(*some)
            clock.now += dice.randrange(0, WINDOW // 4)
            await ledger.mature()
    await assert_tallies_are_the_rows(database)
    async with database.read() as connection:
        assert await connection.scalar(sa.select(sa.func.count()).select_from(tally))


async def test_after_the_results_are_locked_an_outcome_stays_on_the_call_only(
    ledger: Ledger, database: Database
) -> None:
    await ledger.record(row("CA1"))
    async with database.write() as connection:
        await connection.execute(
            sa.insert(experiment),
            {
                "id": "support-1",
                "route": "support",
                "number": 1,
                "name": "",
                "unit": "call",
                "status": "stopped",
                "salt": b"s",
                "coverage_salt": b"c",
                "opened_at": 0,
                "opened_revision": 1,
                "closed_at": 1,
                "locked_at": 2,
            },
        )
    standing = await ledger.put_outcome(report("CA1", {"success": True, "final": True}, at=3))
    assert standing is not None
    assert standing["counted"] is False
    async with database.read() as connection:
        cells = await read_tallies(connection, "support-1")
        kept = await outcome_of(connection, "CA1")
    assert {cell.metric for cell, _ in cells} == {"served"}
    assert kept is not None
    assert kept["body"]["success"] is True


async def test_a_sticky_caller_has_one_memory(ledger: Ledger) -> None:
    wanted = [
        Remember(experiment="x-1", memory=1, unit=b"u", arm=arm, epoch=epoch) for arm, epoch in (("a", 1), ("b", 2))
    ]
    answers = await asyncio.gather(*map(ledger.remember, wanted))
    assert [(told.arm, told.epoch) for told, _ in answers] == [("a", 1), ("a", 1)]
    assert [first for _, first in answers] == [True, False]


@asynccontextmanager
async def stuck(database: Database) -> AsyncIterator[None]:
    """Somebody else holds what every write needs."""
    other = Database(database.url.render_as_string(hide_password=False))
    async with other.write() as connection:
        if not database.embedded:
            await connection.execute(sa.text("LOCK TABLE call IN ACCESS EXCLUSIVE MODE"))
        yield
    await other.close()


@pytest.mark.hurried
async def test_a_call_does_not_wait_for_a_database_that_is_stuck(database: Database, tmp_path: Path) -> None:
    async with opened(database, tmp_path) as ledger:
        async with stuck(database):
            answers = await asyncio.gather(*(ledger.record(row(f"CA{n}", "b")) for n in range(20)))
            assert {(one.arm, one.journalled) for one in answers} == {("b", True)}
            recalled = ledger.recall("CA3")
            assert recalled is not None
            assert recalled.arm == "b"
            await ledger.append(ended("CA3"))
            with pytest.raises(Unavailable):
                await ledger.put_outcome(report("CA3", {}, at=1))
        assert ledger.counters.journalled >= 21
        await replayed(ledger, 21)
    written = await rows_of(database)
    assert len(written) == 20
    assert {one.arm for one in written} == {"b"}
    async with database.read() as connection:
        told = await call_of(connection, "CA3")
    assert told is not None
    assert told.status == "completed"
    await assert_tallies_are_the_rows(database)


async def test_a_database_that_times_out_without_a_word_is_asked_again(
    ledger: Ledger, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def silent(*_: object) -> None:
        raise TimeoutError

    with monkeypatch.context() as patch:
        patch.setattr(database, "transact", silent)
        assert (await ledger.record(row("CA1"))).journalled
    await replayed(ledger, 1)
    assert not (await ledger.record(row("CA2"))).journalled
    assert [one.id for one in await rows_of(database)] == ["CA1", "CA2"]


async def replayed(ledger: Ledger, entries: int) -> None:
    async with asyncio.timeout(20):
        while ledger.counters.replayed < entries:
            await asyncio.sleep(0.05)


@pytest.mark.hurried
async def test_a_journal_left_behind_is_replayed_at_the_next_start(database: Database, tmp_path: Path) -> None:
    async with opened(database, tmp_path) as ledger, stuck(database):
        await ledger.record(row("CA1"))
    async with opened(database, tmp_path) as ledger:
        await replayed(ledger, 1)
    assert [one.id for one in await rows_of(database)] == ["CA1"]
    assert list((tmp_path / "journal").iterdir()) == []


@pytest.mark.hurried
async def test_a_call_that_the_database_refuses_does_not_hold_up_the_journal(
    database: Database, tmp_path: Path
) -> None:
    async with opened(database, tmp_path) as ledger:
        async with stuck(database):
            bad = row("CA2", received_at=None)
            await asyncio.gather(*(ledger.record(one) for one in (row("CA1"), bad, row("CA3"))))
        await replayed(ledger, 3)
    assert [one.id for one in await rows_of(database)] == ["CA1", "CA3"]
    (kept,) = (tmp_path / "journal").iterdir()
    assert [entry["call"]["id"] for entry in read_entries(kept)] == ["CA2"]
    async with opened(database, tmp_path) as ledger, stuck(database):
        await ledger.record(row("CA4"))
    async with opened(database, tmp_path) as ledger:
        await replayed(ledger, 1)
    assert [one.id for one in await rows_of(database)] == ["CA1", "CA3", "CA4"]


@pytest.mark.hurried
async def test_a_sticky_call_drawn_without_its_memory_is_not_analysed_if_it_differs(
    database: Database, tmp_path: Path
) -> None:
    memory = Remember(experiment="support-1", memory=1, unit=b"kim", arm="a", epoch=1)
    async with opened(database, tmp_path) as ledger:
        await ledger.remember(memory)
        drawn = {"a": memory, "b": Remember(experiment="support-1", memory=1, unit=b"kim", arm="b", epoch=1)}
        async with stuck(database):
            await ledger.record(row("CA1", "a"), drawn["a"])
            await ledger.record(row("CA2", "b"), drawn["b"])
        await replayed(ledger, 2)
    assert [(one.id, one.analysed) for one in await rows_of(database)] == [("CA1", True), ("CA2", False)]
    await assert_tallies_are_the_rows(database)


@pytest.mark.hurried
async def test_when_nothing_can_be_written_the_caller_is_answered_and_the_loss_is_counted(
    database: Database, tmp_path: Path
) -> None:
    async with opened(database, tmp_path) as ledger:
        (tmp_path / "journal").rmdir()
        async with stuck(database):
            standing = await ledger.record(row("CA1", "b"))
        assert standing.arm == "b"
        assert ledger.counters.unlogged == 1
        (tmp_path / "journal").mkdir()
