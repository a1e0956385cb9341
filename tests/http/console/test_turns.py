"""Who asks for the same is answered together, never with what was begun before, and few things are made at once."""

import asyncio

import pytest

from gateway.http.console.turns import Turns


class Maker:
    """Makes numbers, each when it is told to; keeps how many were in the making at once."""

    def __init__(self) -> None:
        self.made = 0
        self.at_once = 0
        self.most = 0
        self.go = asyncio.Event()

    async def make(self) -> int:
        self.made += 1
        mine = self.made
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        await self.go.wait()
        self.at_once -= 1
        return mine


async def settled() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_fifty_who_ask_alike_are_answered_by_two() -> None:
    turns, maker = Turns[int](2), Maker()
    first = asyncio.create_task(turns.together("page", maker.make))
    await settled()
    others = [asyncio.create_task(turns.together("page", maker.make)) for _ in range(49)]
    await settled()
    assert maker.made == 1  # the second waits for the first, although there is room
    maker.go.set()
    assert await first == 1
    assert set(await asyncio.gather(*others)) == {2}
    assert await turns.together("page", maker.make) == 3


async def test_few_are_made_at_once() -> None:
    turns, maker = Turns[int](2), Maker()
    asked = [asyncio.create_task(turns.together(name, maker.make)) for name in "abcde"]
    asked += [asyncio.create_task(turns.alone(maker.make)) for _ in range(5)]
    await settled()
    assert maker.made == 2
    maker.go.set()
    assert sorted(await asyncio.gather(*asked)) == list(range(1, 11))
    assert maker.most == 2


async def test_calls_have_their_time_after_each_turn() -> None:
    turns, maker = Turns[int](1), Maker()

    async def slow() -> int:
        await asyncio.sleep(0.05)
        return 0

    await turns.alone(slow)
    ended = asyncio.get_running_loop().time()
    maker.go.set()
    next_ = asyncio.create_task(turns.alone(maker.make))
    await settled()
    # Whoever waited has it; the next one begins when as long again has passed.
    assert maker.made == 0
    assert await next_ == 1
    assert asyncio.get_running_loop().time() - ended >= 0.04


async def test_the_others_are_answered_when_the_first_goes_away() -> None:
    turns, maker = Turns[int](1), Maker()
    first = asyncio.create_task(turns.together("page", maker.make))
    second = asyncio.create_task(turns.together("page", maker.make))
    await settled()
    first.cancel()
    maker.go.set()
    assert await second == 1
    assert maker.made == 1


async def test_what_fails_fails_for_all_who_asked_and_for_nobody_later() -> None:
    turns, maker = Turns[int](1), Maker()
    maker.go.set()

    async def fail() -> int:
        raise LookupError("away")

    asked = [asyncio.create_task(turns.together("page", fail)) for _ in range(3)]
    assert [type(one) for one in await asyncio.gather(*asked, return_exceptions=True)] == [LookupError] * 3
    with pytest.raises(LookupError):
        await turns.alone(fail)
    assert await turns.together("page", maker.make) == 1
