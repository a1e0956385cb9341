"""The outbox of notices, on both engines: nothing is told that did not happen, and nobody has a delivery twice."""

import asyncio
from typing import Any, Literal

import pytest
import sqlalchemy as sa

from gateway.model import NoticeKind
from gateway.storage.engine import Database
from gateway.storage.notices import (
    Claimed,
    Tried,
    add_notice,
    claim_due,
    forget_notices,
    is_any_due,
    last_ended,
    list_notices,
    settle,
)

NOW = 1_795_000_000_000
EVERY: dict[str, set[str]] = {"ops": {"campaign.paused", "experiment.alarm"}, "desk": {"campaign.paused"}}


async def add(database: Database, kind: NoticeKind = "campaign.paused", at: int = NOW) -> str:
    body = {"reason": "Größe 5", "numbers": [1, None]}
    return await database.transact(lambda c: add_notice(c, kind, "campaign cmp_1", body, at))


async def claim(database: Database, now: int = NOW, limit: int = 100) -> list[Claimed]:
    return await database.transact(lambda c: claim_due(c, EVERY, now=now, until=now + 60_000, limit=limit))


async def end(database: Database, *tried: Tried, now: int = NOW) -> None:
    await database.transact(lambda c: settle(c, tried, now=now))


async def listed(database: Database) -> list[dict[str, Any]]:
    async with database.read() as connection:
        return await list_notices(connection, before=None, limit=100)


async def due(database: Database, now: int) -> bool:
    async with database.read() as connection:
        return await is_any_due(connection, now)


async def test_a_notice_goes_to_whom_it_concerns_with_all_that_was_written(database: Database) -> None:
    first, second = await add(database), await add(database, "experiment.alarm")
    claimed = await claim(database)
    assert {(one.notice.id, one.receiver) for one in claimed} == {(first, "ops"), (first, "desk"), (second, "ops")}
    one = next(one for one in claimed if one.notice.id == first)
    assert (one.notice.kind, one.notice.subject, one.notice.at) == ("campaign.paused", "campaign cmp_1", NOW)
    assert one.notice.body == {"reason": "Größe 5", "numbers": [1, None]}


async def test_what_concerns_nobody_is_never_due_again(database: Database) -> None:
    await add(database, "campaign.completed")
    assert await due(database, NOW)
    assert await claim(database) == []
    assert not await due(database, NOW + 10**9)


async def test_a_transaction_that_is_rolled_back_tells_nothing(database: Database) -> None:

    def work(connection: sa.Connection) -> None:
        add_notice(connection, "campaign.paused", "campaign cmp_1", {}, NOW)
        raise RuntimeError("not after all")

    with pytest.raises(RuntimeError, match="after all"):
        await database.transact(work)
    assert await listed(database) == []
    assert not await due(database, NOW)
    async with database.write() as connection:
        name = await connection.run_sync(add_notice, "campaign.paused", "campaign cmp_1", {}, NOW)
    assert [one["id"] for one in await listed(database)] == [name]


async def test_of_many_claimers_one_has_each_delivery(database: Database) -> None:
    names = [await add(database) for _ in range(40)]

    async def take() -> list[Claimed]:
        taken = []
        while some := await claim(database, limit=3):
            taken += some
        return taken

    taken = [one for some in await asyncio.gather(*(take() for _ in range(6))) for one in some]
    # A claimer that meets only rows locked by others leaves early; what is left is nobody's, and still due.
    taken += await take()
    assert sorted((one.notice.id, one.receiver) for one in taken) == sorted(
        (name, receiver) for name in names for receiver in EVERY
    )
    assert {one.tries for one in taken} == {1}


async def test_a_claim_that_nobody_settles_is_due_again_when_its_time_is_over(database: Database) -> None:
    await add(database, "experiment.alarm")
    (lost,) = await claim(database)
    assert await claim(database, NOW + 59_999) == []
    (again,) = await claim(database, NOW + 60_000)
    assert (again.notice.id, again.tries) == (lost.notice.id, 2)
    # Whoever comes back late has nothing to say any more.
    await end(database, Tried(lost, "failed", "late"))
    await end(database, Tried(again, "sent", "answered 200"))
    await end(database, Tried(lost, "failed", "later"))
    ((only,),) = (one["deliveries"] for one in await listed(database))
    assert (only["state"], only["text"], only["due_at"], only["ended_at"]) == ("sent", "answered 200", None, NOW)


async def test_a_delivery_that_waits_is_not_due_before_its_time(database: Database) -> None:
    await add(database, "experiment.alarm")
    (one,) = await claim(database)
    await end(database, Tried(one, "waiting", "answered 500", NOW + 5_000))
    assert not await due(database, NOW + 4_999)
    assert await due(database, NOW + 5_000)
    assert len(await claim(database, NOW + 5_000)) == 1


async def test_the_last_word_on_a_receiver_is_its_latest(database: Database) -> None:
    states: tuple[Literal["sent", "failed", "waiting"], ...] = ("sent", "failed", "waiting")
    for number, state in enumerate(states):
        await add(database, "experiment.alarm")
        (one,) = await claim(database, NOW + number)
        due_at = NOW * 2 if state == "waiting" else None
        await end(database, Tried(one, state, f"answer {number}", due_at), now=NOW + number)
    async with database.read() as connection:
        assert await last_ended(connection, "ops") == ("failed", "answer 1")
        assert await last_ended(connection, "nobody") is None


async def test_old_notices_go_with_their_deliveries_and_pages_run_backwards(database: Database) -> None:
    old, new, newest = [await add(database, at=NOW + number) for number in range(3)]
    await claim(database)
    async with database.read() as connection:
        page = await list_notices(connection, before=None, limit=2)
        rest = await list_notices(connection, before=page[-1]["seq"], limit=2)
    assert [[one["id"] for one in some] for some in (page, rest)] == [[newest, new], [old]]
    assert [one["receiver"] for one in rest[0]["deliveries"]] == ["desk", "ops"]
    assert await database.transact(lambda c: forget_notices(c, before=NOW + 1)) == 1
    async with database.read() as connection:
        left = set(await connection.scalars(sa.text("SELECT notice FROM delivery")))
    assert left == {new, newest}
