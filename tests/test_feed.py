"""A follower who does not keep up is let go, and holds up nobody."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import Unavailable
from gateway.feed import KEPT, WAITING, Feed, Picture, changes, whole
from gateway.livestate import LiveState
from gateway.storage.bootfile import BootFile
from gateway.storage.engine import Database
from gateway.storage.outbox import Outbox
from gateway.storage.works import Rules
from gateway.traffic import Figures, Traffic


class Desk:
    """A feed whose looks are made by hand; every look finds another drift."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.now = 1_000_000
        self.drift: list[str] = []
        wall = lambda: self.now  # noqa: E731
        state = LiveState(database, BootFile(folder / "live.jsonl"), wall=wall)
        outbox = Outbox(database, rules=Rules(window=1000, judged=False), wall=wall)
        self.feed = Feed(
            database, state, Traffic(database, wall=wall), outbox, drift=lambda: list(self.drift), wall=wall
        )

    async def tell(self, count: int = 1) -> None:
        for _ in range(count):
            self.drift.append(f"routes/r{len(self.drift)}.toml")
            await self.feed.look()


@pytest.fixture
async def desk(database: Database, tmp_path: Path) -> Desk:
    return Desk(database, tmp_path)


def events(message: bytes | None) -> list[bytes]:
    return [part for part in (message or b"").split(b"\n\n") if part]


def never() -> None:
    raise AssertionError("a follower who keeps up was dropped")


async def test_who_does_not_keep_up_is_dropped_and_nobody_waits_for_him(desk: Desk) -> None:
    dropped: list[bool] = []
    async with (
        desk.feed.follow(None, lambda: dropped.append(True)) as slow,
        desk.feed.follow(None, never) as quick,
    ):
        heard = len(events(await quick.get()))
        for _ in range(WAITING + 5):
            await desk.tell()
            heard += len(events(await quick.get()))
        assert heard == 1 + WAITING + 5
        assert (dropped, slow.qsize(), desk.feed.following) == ([True], WAITING, 1)
    assert desk.feed.following == 0


async def test_what_is_too_long_ago_is_told_as_a_whole(desk: Desk) -> None:
    async with desk.feed.follow(None, never) as first:
        began = events(await first.get())[0].split(b"\n")[0].removeprefix(b"id: ").decode()
        await desk.tell(3)
        async with desk.feed.follow(began, never) as back:
            assert [b"event: drift" in one for one in events(await back.get())] == [True, True, True]
        for _ in range(KEPT):
            await desk.tell()
            while not first.empty():
                first.get_nowait()
        async with desk.feed.follow(began, never) as late:
            assert b"event: snapshot" in (await late.get() or b"")


async def test_with_nobody_there_nobody_looks_and_the_next_is_told_all(desk: Desk) -> None:
    async with desk.feed.follow(None, never) as queue:
        began = events(await queue.get())[0].split(b"\n")[0].removeprefix(b"id: ").decode()
    desk.drift.append("routes/late.toml")
    async with desk.feed.follow(began, never) as back:
        assert b"late.toml" in (await back.get() or b"")


async def test_a_closed_feed_ends_its_followers_and_takes_no_more(desk: Desk) -> None:
    async with desk.feed.follow(None, never) as queue:
        await queue.get()
        desk.feed.close()
        assert await asyncio.wait_for(queue.get(), 5) is None
    with pytest.raises(Unavailable):
        async with desk.feed.follow(None, never):
            pass


def told(before: Picture, now: Picture) -> dict[str, Any]:
    return {kind: dict(what) for kind, what in changes(before, now)}


def test_calls_of_today_are_told_by_route_and_begin_anew_at_midnight() -> None:
    one = Figures(today=3, today_by_route={"support": 2, None: 1})
    two = Figures(today=4, today_by_route={"support": 2, "sales": 1, None: 1})
    late = Figures(today=1, today_by_route={"sales": 1})
    first, then, next_day = (Picture(figures=figures) for figures in (one, two, late))
    assert told(first, then)["traffic"]["routes"] == {"sales": 1}
    assert told(then, next_day)["traffic"]["routes"] == {"support": 0}
    assert told(then, then) == {}
    assert whole(first)["traffic"]["unrouted_today"] == 1


def test_a_failover_is_told_when_it_begins_and_when_it_is_over() -> None:
    calm, failing = Picture(), Picture(figures=Figures(failing={"support": 2}))
    assert told(calm, failing) == {"failover": {"routes": {"support": 2}}}
    assert told(failing, calm) == {"failover": {"routes": {}}}
