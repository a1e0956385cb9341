"""Calls drawn for labelling, on both engines: random within their arm, never twice, shared out among people."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from gateway.storage.analyses import put_label, read_labels
from gateway.storage.engine import Database
from gateway.storage.ledger import Ledger
from gateway.storage.samples import Draw, draw_to_label
from gateway.storage.schema import call, outcome
from tests.storage.test_ledger import Clock, opened, report, row

EXPERIMENT = {"id": "support-1", "route": "support", "opened_at": Clock.now, "closed_at": None}
SAID = [{"role": "caller", "text": "hello"}]


@pytest.fixture
async def ledger(database: Database, tmp_path: Path) -> AsyncIterator[Ledger]:
    async with opened(database, tmp_path) as one:
        yield one


async def spoke(ledger: Ledger, arm: str, count: int, *, final: bool = True, said: bool = True) -> list[str]:
    """Calls of an arm with what was said in them."""
    names = [f"CA{arm}{place:03d}" for place in range(count)]
    for name in names:
        await ledger.record(row(name, arm))
        body = {"success": True, "final": final} | ({"transcript": SAID} if said else {})
        await ledger.put_outcome(report(name, body, at=Clock.now))
    return names


async def draw(database: Database, author: str, *, wanted: int = 10, after: str = "") -> Draw:
    async with database.read() as connection:
        labels = await read_labels(connection, "support-1")
        return await draw_to_label(connection, EXPERIMENT, author=author, labels=labels, wanted=wanted, after=after)


async def label(database: Database, name: str, author: str) -> None:
    told = {"call": name, "criterion": "success", "author": author, "value": True, "at": Clock.now}
    async with database.write() as connection:
        await put_label(connection, database, told | {"experiment": "support-1"})


async def heard(database: Database, author: str, *, wanted: int = 10, limit: int = 1000) -> list[str]:
    """What a person is given, one after the other, and labels."""
    names: list[str] = []
    while len(names) < limit and (given := (await draw(database, author, wanted=wanted)).next) is not None:
        names.append(given.call.id)
        await label(database, names[-1], author)
    return names


async def test_every_arm_is_drawn_as_often_as_it_lacks_labels(ledger: Ledger, database: Database) -> None:
    await spoke(ledger, "a", 40)
    await spoke(ledger, "b", 15)
    first = await heard(database, "kim", limit=20)
    assert sorted(name[2] for name in first) == ["a"] * 10 + ["b"] * 10
    # Not one arm after the other, so that nobody can guess whom they hear.
    assert len({"".join(name[2] for name in first[start : start + 10]) for start in (0, 10)} - {"a" * 10, "b" * 10})
    # Not the oldest ones either.
    assert max(name for name in first if name[2] == "a") > "CAa020"
    rest = await heard(database, "kim")
    assert sorted([*first, *rest]) == sorted({*first, *rest})
    assert len(first) + len(rest) == 55


async def test_a_draw_stays_until_the_call_is_labelled_and_people_draw_their_own(
    ledger: Ledger, database: Database
) -> None:
    await spoke(ledger, "a", 60)
    given = {name: (await draw(database, name)).next for name in ("kim", "lee", "ada", "eve")}
    again = {name: (await draw(database, name)).next for name in given}
    calls = {name: one.call.id for name, one in given.items() if one is not None}
    assert calls == {name: one.call.id for name, one in again.items() if one is not None}
    assert len(set(calls.values())) >= 3
    assert all(one is not None and one.body["transcript"] == SAID for one in given.values())


async def test_what_somebody_has_labelled_is_given_to_others_last(ledger: Ledger, database: Database) -> None:
    names = await spoke(ledger, "a", 6)
    mine = await heard(database, "kim", limit=4)
    theirs = await heard(database, "lee")
    assert set(theirs[:2]) == set(names) - set(mine)
    assert set(theirs[2:]) == set(mine)
    assert (await heard(database, "lee")) == []
    assert set(await heard(database, "kim")) == set(names) - set(mine)


async def test_a_call_that_was_passed_over_comes_back_when_the_rest_is_done(
    ledger: Ledger, database: Database
) -> None:
    names = await spoke(ledger, "a", 5)
    seen: list[str] = []
    after = ""
    for _ in names:
        one = await draw(database, "kim", after=after)
        assert one.next is not None
        after = one.next.call.id
        seen.append(after)
    assert sorted(seen) == names
    assert await draw(database, "kim", after=after) == Draw(None, 5)
    first = (await draw(database, "kim")).next
    assert first is not None
    assert first.call.id == seen[0]


async def test_only_calls_that_can_be_judged_are_drawn(ledger: Ledger, database: Database) -> None:
    assert await draw(database, "kim") == Draw(None, 0)
    await spoke(ledger, "a", 4, final=False)
    await spoke(ledger, "b", 4, said=False)
    assert await draw(database, "kim") == Draw(None, 0)
    async with database.write() as connection:
        await connection.execute(sa.update(call).where(call.c.arm == "a").values(mature=True))
        await connection.execute(sa.update(call).where(call.c.id == "CAa001").values(analysed=False))
        await connection.execute(sa.delete(outcome).where(outcome.c.call == "CAa002"))
    assert sorted(await heard(database, "kim")) == ["CAa000", "CAa003"]


async def test_labels_are_read_with_what_counts_of_their_calls(ledger: Ledger, database: Database) -> None:
    (name,) = await spoke(ledger, "b", 1)
    await label(database, name, "kim")
    await label(database, name, "lee")
    async with database.read() as connection:
        found = await read_labels(connection, "support-1")
        assert await read_labels(connection, "sales-1") == []
    assert [(one.author, one.value, one.epoch, one.arm, one.counted["success"]) for one in found] == [
        ("kim", True, 1, "b", 1.0),
        ("lee", True, 1, "b", 1.0),
    ]
