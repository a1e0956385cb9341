"""Times the voice webhook with no console open and with fifty, whose pages follow along and read themselves again.

Run as ``python -m tests.benchmarks.consoles``. A hold is set or ended every five seconds, so every open page reads
itself again all the time: far more than a working day brings.
"""

import asyncio
import json
import random
import re
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import aiohttp
import typer
from rich.console import Console
from rich.table import Table

from . import machine
from .figures import Measurement, Workload
from .servers import PEERS, ROOT, Server, serving

TOKEN = "benchmark-" + "0" * 32
CHANGE_SECONDS = 5.0
console = Console(width=None if sys.stdout.isatty() else 160)


class Consoles:
    """Open pages of one operator's browser; counts what they heard and read."""

    def __init__(self, http: aiohttp.ClientSession, url: str) -> None:
        self._http = http
        self._url = url
        self.events = 0
        self.pages = 0

    async def sign_in(self) -> None:
        """Take a session."""
        form = {"token": TOKEN}
        # The gateway is told another public address than the one it listens at, so its cookie and Origin are given.
        headers = {"Origin": _origin()}
        async with self._http.post(
            f"{self._url}/sign-in", data=form, headers=headers, allow_redirects=False
        ) as answer:
            found = re.search(r"((?:__Host-)?session=[^;]+)", answer.headers.get("Set-Cookie", ""))
            assert found, await answer.text()
            self._http.headers["Cookie"] = found[1]

    async def follow(self) -> None:
        """Be one open page: hear what changes, and read the overview again as its script does."""
        async with self._http.get(f"{self._url}/live") as answer:
            assert answer.status == 200, answer.status
            reading: asyncio.Task[None] | None = None
            async for line in answer.content:
                if not line.startswith(b"event: "):
                    continue
                self.events += 1
                if line.strip() == b"event: hold" and (reading is None or reading.done()):
                    reading = asyncio.create_task(self.read())

    async def read(self) -> None:
        """Read the overview at a moment of its own, as live.js does."""
        await asyncio.sleep(random.random() * 3)
        async with self._http.get(f"{self._url}/") as answer:
            assert answer.status == 200, answer.status
            await answer.read()
            self.pages += 1

    async def unsettle(self) -> None:
        """Set and end a hold, for ever."""
        where = f"{self._url}/api/v1/routes/support/hold"
        headers = {"Authorization": f"Bearer {TOKEN}"}
        while True:
            await self._http.post(where, json={"to": "a", "reason": "benchmark"}, headers=headers)
            await asyncio.sleep(CHANGE_SECONDS)
            await self._http.delete(where, headers=headers)
            await asyncio.sleep(CHANGE_SECONDS)


def _origin() -> str:
    from . import calls

    return calls.PUBLIC_URL.rstrip("/")


async def measure(server: Server, first: int, seconds: float, rate: float) -> Measurement:
    """Let the load generator, a process of its own, ring ``rate`` times a second."""
    order = {"port": server.port, "group": server.group, "first": first, "seconds": seconds}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", f"{__package__}.load", cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    said, _ = await process.communicate(json.dumps(order | {"workload": asdict(Workload(rate=rate))}).encode())
    return Measurement(**json.loads(said))


async def run(pages: int, seconds: float, rate: float, rounds: int) -> list[tuple[int, Measurement, int, int]]:
    """Measure without and with open pages in turn; the order changes from round to round."""
    found = []
    gateway = next(peer for peer in PEERS if peer.name == "gateway")
    with (
        tempfile.TemporaryDirectory(prefix="gateway-benchmark-", ignore_cleanup_errors=True) as folder,
        serving(gateway, Path(folder), None) as server,
    ):
        first = 0
        for turn in range(rounds):
            for count in (0, pages) if turn % 2 == 0 else (pages, 0):
                heard, read, run_ = await _with(server, count, first, seconds, rate)
                first += run_.sent
                found.append((count, run_, heard, read))
    return found


async def _with(server: Server, count: int, first: int, seconds: float, rate: float) -> tuple[int, int, Measurement]:
    timeout = aiohttp.ClientTimeout(total=None)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout, headers={"Host": _host()}) as http:
        consoles = Consoles(http, f"http://127.0.0.1:{server.port}")
        tasks: list[asyncio.Task[Any]] = []
        if count:
            await consoles.sign_in()
            await consoles.read()
            tasks = [asyncio.create_task(consoles.follow()) for _ in range(count)]
            tasks.append(asyncio.create_task(consoles.unsettle()))
            await asyncio.sleep(2)
        measured = await measure(server, first, seconds, rate)
        broken = [task for task in tasks if task.done()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if broken:
            raise SystemExit(f"{len(broken)} of the open pages ended early: {broken[0]}")
        return consoles.events, consoles.pages, measured


def _host() -> str:
    return _origin().partition("://")[2]


def main(
    pages: Annotated[int, typer.Option(help="Open pages.")] = 50,
    seconds: Annotated[float, typer.Option(help="Length of one measurement.")] = 10.0,
    rate: Annotated[float, typer.Option(help="Calls a second.")] = 100.0,
    rounds: Annotated[int, typer.Option(help="How often each has its turn.")] = 3,
) -> None:
    """Time the voice webhook with no console open and with many."""
    with tempfile.TemporaryDirectory(prefix="gateway-benchmark-") as folder:
        for line in machine.facts(Path(folder)):
            console.print(line, highlight=False)
    found = asyncio.run(run(pages, seconds, rate, rounds))
    table = Table(
        "open pages", "p50 ms", "p99 ms", "worst ms", "CPU µs a call", "events heard", "pages read", "errors"
    )
    for count in (0, pages):
        runs = [one for one in found if one[0] == count]
        figures = [run_ for _, run_, _, _ in runs]
        table.add_row(
            str(count),
            *(f"{median(getattr(one, name) for one in figures) * 1e3:.2f}" for name in ("p50", "p99")),
            f"{max(one.worst for one in figures) * 1e3:.1f}",
            f"{median(one.cpu for one in figures) * 1e6:.0f}",
            str(sum(heard for _, _, heard, _ in runs)),
            str(sum(read for *_, read in runs)),
            str(sum(sum(one.errors.values()) for one in figures)),
        )
    console.print(table)
    if any(run_.errors for _, run_, _, _ in found):
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
