"""Does long work beside the calls: in a thread, some milliseconds at a time, and never without a rest."""

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def aside(work: Callable[..., T], *arguments: object) -> T:
    """What ``work`` returns, which should take a few milliseconds of the interpreter that answers calls too.

    Afterwards the interpreter has as long a rest from it. To yield the loop alone would be none: the database's
    thread would still have to wait.
    """
    result, seconds = await asyncio.to_thread(_timed, work, *arguments)
    await asyncio.sleep(seconds)
    return result


def _timed(work: Callable[..., T], *arguments: object) -> tuple[T, float]:
    began = time.thread_time()
    return work(*arguments), time.thread_time() - began
