"""Gives pages their turns: few are made at once, and what several ask for alike is made once for all of them.

So fifty open pages that read themselves again at an event cost two or three. After each turn its place stays empty
for as long as the turn took, so that calls have their time in between; whoever waited for the page has it already.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable
from contextlib import asynccontextmanager
from typing import Generic, TypeVar

T = TypeVar("T")

_LONGEST_REST = 0.25  # seconds: who waits long for the database does not keep others waiting


class Turns(Generic[T]):
    """Makes things of one kind, ``at_once`` of them at a time."""

    def __init__(self, at_once: int) -> None:
        self._free = asyncio.Semaphore(at_once)
        self._waiting: dict[Hashable, asyncio.Task[T]] = {}
        self._making: dict[Hashable, asyncio.Task[T]] = {}

    async def alone(self, make: Callable[[], Awaitable[T]]) -> T:
        """What ``make`` gives, when its turn has come."""
        async with self._turn():
            return await make()

    async def together(self, key: Hashable, make: Callable[[], Awaitable[T]]) -> T:
        """The same for everybody who asks for ``key`` before its turn has come.

        Nobody is given what was begun before they asked: it may be older than what they have seen already. What is
        begun is made to its end, also when whoever asked first goes away.
        """
        joined = self._waiting.get(key)
        if joined is None:
            joined = self._waiting[key] = asyncio.create_task(self._make(key, make))
        return await asyncio.shield(joined)

    async def _make(self, key: Hashable, make: Callable[[], Awaitable[T]]) -> T:
        before = self._making.get(key)
        if before is not None:
            await asyncio.wait([before])
        async with self._turn():
            self._making[key] = self._waiting.pop(key)
            try:
                return await make()
            finally:
                del self._making[key]

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        await self._free.acquire()
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            yield
        finally:
            loop.call_later(min(loop.time() - began, _LONGEST_REST), self._free.release)
