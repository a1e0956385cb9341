"""Long work runs beside the event loop, and gives what it gives."""

import asyncio
import threading

import pytest

from gateway.courtesy import aside


async def test_the_loop_turns_while_the_work_is_done() -> None:
    turned = threading.Event()
    asyncio.get_running_loop().call_soon(turned.set)
    assert await aside(turned.wait, 10)


async def test_what_the_work_raises_is_raised() -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        await aside(int, "x")
