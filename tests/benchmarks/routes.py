"""Times a gateway that has very many routes: reading their files, loading them from the database, publishing one.

Run as ``python -m tests.benchmarks.routes``. The event loop is watched while one route of many is published: whatever
holds it up would hold up a caller.
"""

import asyncio
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated

import typer
import uvloop
from rich.console import Console
from rich.table import Table

from gateway.drafts import Author, Draft, read_files
from gateway.livestate import LiveState
from gateway.publishing import Publishing
from gateway.storage.bootfile import BootFile
from gateway.storage.engine import Database
from gateway.storage.migrate import migrate
from gateway.wiring import wall_clock

from .servers import AGENT

AUTHOR = Author(name="benchmark", door="benchmark")


def route(number: int, weight: int = 50) -> str:
    """The file of one of the routes."""
    return f"""\
direction = "inbound"
numbers = ["+1415{number:07d}"]
[versions]
a = "support@1"
b = "support@2"
[ab_test]
enabled = true
split = {{ a = {weight}, b = 50 }}
"""


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[tuple[LiveState, Publishing]]:
    """The live state and the publishing of a gateway whose database lies in ``folder``."""
    database = Database(f"sqlite:///{folder / 'gateway.db'}")
    await migrate(database)
    state = LiveState(database, BootFile(folder / "live.jsonl"), wall=wall_clock)
    yield state, Publishing(database, state, secret=str, wall=wall_clock, outcome_window=3600)
    await database.close()


async def timed(work: Callable[[], Awaitable[object]]) -> tuple[float, float]:
    """How long ``work`` took, and the longest that the event loop was held up meanwhile; in seconds."""
    longest = 0.0

    async def watch() -> None:
        nonlocal longest
        while True:
            before = time.perf_counter()
            await asyncio.sleep(0.001)
            longest = max(longest, time.perf_counter() - before - 0.001)

    watching = asyncio.create_task(watch())
    await asyncio.sleep(0.01)
    start = time.perf_counter()
    await work()
    took = time.perf_counter() - start
    watching.cancel()
    return took, longest


async def measure(count: int, folder: Path) -> list[tuple[str, float, float]]:
    """What was done, how long it took, and how long the loop stood still; in seconds."""
    files = {"agents/support.toml": AGENT} | {f"routes/r{n}.toml": route(n) for n in range(count)}
    drafts: list[Draft] = []

    async def read() -> None:
        drafts.append(await asyncio.to_thread(read_files, files))

    figures = [("read and check the files", *await timed(read))]
    async with opened(folder) as (state, publishing):
        await state.load()
        figures.append(("publish all of them", *await timed(lambda: publishing.publish(drafts[0], AUTHOR))))
    (folder / "live.jsonl").unlink(missing_ok=True)
    async with opened(folder) as (state, publishing):
        figures.append(("load from the database", *await timed(state.load)))
        assert len(state.snapshot.routes) == count
        for turn in range(3):
            change = read_files({"routes/r7.toml": route(7, weight=60 + turn)})
            label = f"publish one of them, time {turn + 1}"
            figures.append((label, *await timed(lambda draft=change: publishing.publish(draft, AUTHOR))))  # type: ignore[misc]
            assert state.snapshot.routes["r7"].revision == turn + 2
    return figures


def main(count: Annotated[int, typer.Option(min=10, help="How many routes.")] = 100_000) -> None:
    """Time a gateway that has very many routes."""
    uvloop.install()
    folder = Path(tempfile.mkdtemp(prefix="gateway-benchmark-"))
    try:
        figures = asyncio.run(measure(count, folder))
    finally:
        shutil.rmtree(folder)
    table = Table("what", "seconds", "loop held up, ms", title=f"{count:,} routes")
    for what, took, held in figures:
        table.add_row(what, f"{took:.2f}", f"{held * 1000:.0f}")
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
