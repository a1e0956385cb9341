"""Gives pages their turns: few are made at once, and what several ask for alike is made once for all of them.

So fifty open pages that read themselves again at an event cost two or three, and calls have their time in between.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class Turns(Generic[T]):
    """Makes things of one kind, ``at_once`` of them at a time."""

    def __init__(self, at_once: int) -> None:
        self._free = asyncio.Semaphore(at_once)
        self._waiting: dict[Hashable, asyncio.Task[T]] = {}
        self._making: dict[Hashable, asyncio.Task[T]] = {}

    async def alone(self, make: Callable[[], Awaitable[T]]) -> T:
        """What ``make`` gives, when its turn has come."""
        async with self._free:
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
        async with self._free:
            self._making[key] = self._waiting.pop(key)
            try:
                return await make()
            finally:
                del self._making[key]
