"""A recount finds what is not as the calls say, and repairs it, also while calls are counted on."""

from typing import Any

import pytest
import sqlalchemy as sa

from gateway.storage.engine import Database
from gateway.storage.recounting import recount
from gateway.storage.schema import cluster, cluster_sum, experiment, tally
from gateway.storage.works import PutOutcome, RecordCall
from tests.storage.test_counting import World, assert_counted_as_the_calls_say, ended, opened


@pytest.fixture
async def world(database: Database) -> World:
    """A sticky experiment with some calls of three people, counted."""
    world = await opened(database, unit="caller", strata=("country",))
    for person in (1, 1, 2, 3, 0):
        row = world.row(person, "ab"[person % 2])
        await world.do(RecordCall(row), ended(row, 60 * person, at=world.now))
        body = {"success": person == 1, "sentiment": person / 7, "fields": {"intent": "billing"}, "final": True}
        await world.do(PutOutcome(call=row.id, body=body, at=world.now, author="agent"))
    return world


DAMAGE: dict[str, Any] = {
    "a wrong cell": sa.update(tally).where(tally.c.metric == "success").values(n=tally.c.n + 3, mean=0.123),
    "a strange cell": sa.insert(tally).values(
        experiment="x", epoch=9, day=1, stratum="", arm="z", metric="success", n=4, mean=1.0, m2=0.0
    ),
    "lost cells": sa.delete(tally),
    "wrong sums": sa.update(cluster_sum).values(snn=cluster_sum.c.snn + 5, k=0),
    "lost sums": sa.delete(cluster_sum),
    "wrong clusters": sa.update(cluster).where(cluster.c.metric == "sentiment").values(y=cluster.c.y + 1),
    "lost clusters": sa.delete(cluster),
    "a strange caller": sa.insert(cluster).values(
        experiment="x", epoch=9, unit=b"nobody", metric="success", arm="z", n=4, y=4.0
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
async def test_what_is_damaged_is_found_and_repaired(world: World, damage: str) -> None:
    statement = DAMAGE[damage]
    if statement.is_insert:
        statement = statement.values(experiment=world.name)
    async with world.database.write() as connection:
        await connection.execute(statement)
    found = await recount(world.database, repair=False)
    assert (found.good, found.calls, bool(found.examples)) == (False, 5, True)
    assert not (await recount(world.database, name=world.name, repair=False)).good  # looking repairs nothing
    assert not (await recount(world.database, repair=True)).good
    assert (await recount(world.database, repair=False)).good
    await assert_counted_as_the_calls_say(world)


async def test_what_is_right_is_left_alone_and_the_progress_is_told(world: World) -> None:
    told: list[tuple[int, int]] = []
    found = await recount(world.database, repair=True, progress=lambda done, total: told.append((done, total)))
    assert (found.good, found.calls) == (True, 5)
    assert told == [(5, 5)]


async def test_calls_that_are_counted_meanwhile_stay_counted(world: World) -> None:
    """The repair waits for its view of the database while another call comes in."""
    async with world.database.write() as connection:
        await connection.execute(sa.update(tally).where(tally.c.metric == "served").values(n=tally.c.n + 3))
        await connection.execute(sa.delete(cluster_sum))
    whole = world.database.transact
    late = world.row(4, "a")

    async def after_another_call(work: Any) -> Any:
        world.database.transact = whole  # type: ignore[method-assign]
        await world.do(RecordCall(late), ended(late, 90, at=world.now))
        return await whole(work)

    world.database.transact = after_another_call  # type: ignore[method-assign]
    assert not (await recount(world.database, repair=True)).good
    await assert_counted_as_the_calls_say(world)


async def test_locked_results_are_looked_at_only_by_name(world: World) -> None:
    async with world.database.write() as connection:
        await connection.execute(sa.update(experiment).values(locked_at=1))
        await connection.execute(sa.delete(tally))
    assert (await recount(world.database, repair=False)).good
    assert not (await recount(world.database, name=world.name, repair=False)).good
