"""Times the voice webhook with no console open, with fifty that follow along, and with fifty that also read again.

Run as ``python -m tests.benchmarks.consoles``. A hold is set or ended every five seconds in all three, so every open
page reads itself again all the time: far more than a working day brings.
"""

import asyncio
import json
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Annotated, Any, NamedTuple

import aiohttp
import typer
from rich.console import Console
from rich.table import Table

from . import machine
from .figures import Measurement, Workload, percentile
from .servers import PEERS, ROOT, Server, serving

TOKEN = "benchmark-" + "0" * 32
CHANGE_SECONDS = 5.0
MODES = ("none", "following", "reading")
READ_AGAIN_SECONDS = 3.0
"""How long a page leaves between two readings, as in live.js."""

PAGES = ("/", "/routes", "/routes/support", "/experiments/support-1")
"""What the pages show, in turn."""
console = Console(width=None if sys.stdout.isatty() else 160)


class Consoles:
    """Open pages of one operator's browser; counts what they heard and read."""

    def __init__(self, http: aiohttp.ClientSession, url: str) -> None:
        self._http = http
        self._url = url
        self.events = 0
        self.seconds: list[float] = []

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

    async def follow(self, page: str, *, reads: bool) -> None:
        """Be one open page: hear what changes, and read itself again as its script does."""
        rested = 0.0
        reading: asyncio.Task[None] | None = None
        async with asyncio.TaskGroup() as readings, self._http.get(f"{self._url}/live") as answer:
            assert answer.status == 200, answer.status
            async for line in answer.content:
                if not line.startswith(b"event: "):
                    continue
                self.events += 1
                if reads and line.strip() == b"event: hold" and (reading is None or reading.done()):
                    reading = readings.create_task(self.read(page, max(0.0, rested - time.monotonic())))
                    rested = time.monotonic() + READ_AGAIN_SECONDS

    async def read(self, page: str, after: float = 0.0) -> None:
        """Read a page."""
        await asyncio.sleep(after)
        began = time.perf_counter()
        async with self._http.get(f"{self._url}{page}") as answer:
            assert answer.status == 200, (page, answer.status)
            await answer.read()
        self.seconds.append(time.perf_counter() - began)

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


class Run(NamedTuple):
    """One measurement: what was open, what callers felt, events heard, and the seconds of each page that was read."""

    mode: str
    measured: Measurement
    events: int
    seconds: list[float]


async def run(pages: int, seconds: float, rate: float, rounds: int) -> list[Run]:
    """Measure each mode in turn; the order changes from round to round, so that the machine's moods hit all alike."""
    found: list[Run] = []
    gateway = next(peer for peer in PEERS if peer.name == "gateway")
    with (
        tempfile.TemporaryDirectory(prefix="gateway-benchmark-", ignore_cleanup_errors=True) as folder,
        serving(gateway, Path(folder), None) as server,
    ):
        first = 0
        for turn in range(rounds):
            place = turn % len(MODES)
            for mode in MODES[place:] + MODES[:place]:
                one = await _open(server, mode, pages, first, seconds, rate)
                first += one.measured.sent
                found.append(one)
    return found


async def _open(server: Server, mode: str, pages: int, first: int, seconds: float, rate: float) -> Run:
    timeout = aiohttp.ClientTimeout(total=None)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout, headers={"Host": _host()}) as http:
        consoles = Consoles(http, f"http://127.0.0.1:{server.port}")
        await consoles.sign_in()
        tasks: list[asyncio.Task[Any]] = [asyncio.create_task(consoles.unsettle())]
        for number in range(pages if mode != "none" else 0):
            page = PAGES[number % len(PAGES)]
            tasks.append(asyncio.create_task(consoles.follow(page, reads=mode == "reading")))
        await asyncio.sleep(2)
        measured = await measure(server, first, seconds, rate)
        broken = [task for task in tasks if task.done()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if broken:
            raise SystemExit(f"{len(broken)} of the open pages ended early: {broken[0]}")
        return Run(mode, measured, consoles.events, consoles.seconds)


def _host() -> str:
    return _origin().partition("://")[2]


def main(
    pages: Annotated[int, typer.Option(help="Open pages.")] = 50,
    seconds: Annotated[float, typer.Option(help="Length of one measurement.")] = 10.0,
    rate: Annotated[float, typer.Option(help="Calls a second.")] = 100.0,
    rounds: Annotated[int, typer.Option(help="How often each has its turn.")] = 5,
) -> None:
    """Time the voice webhook with no console open and with many."""
    with tempfile.TemporaryDirectory(prefix="gateway-benchmark-") as folder:
        for line in machine.facts(Path(folder)):
            console.print(line, highlight=False)
    found = asyncio.run(run(pages, seconds, rate, rounds))
    columns = (
        "open pages",
        "p50 ms",
        "p99 ms",
        "worst ms",
        "CPU µs a call",
        "events",
        "pages read",
        "page p50, p99 ms",
    )
    table = Table(*columns, "errors", title=f"{pages} open pages, {rate:g} calls a second, {rounds} rounds")
    for mode in MODES:
        runs = [one for one in found if one.mode == mode]
        figures = [one.measured for one in runs]
        read = [seconds for one in runs for seconds in one.seconds]
        table.add_row(
            mode,
            *(_spread([getattr(one, name) for one in figures]) for name in ("p50", "p99", "worst")),
            f"{median(one.cpu for one in figures) * 1e6:.0f}",
            str(sum(one.events for one in runs)),
            str(len(read)),
            f"{percentile(read, 0.5) * 1e3:.0f}, {percentile(read, 0.99) * 1e3:.0f}" if read else "",
            str(sum(sum(one.errors.values()) for one in figures)),
        )
    console.print(table)
    if any(one.measured.errors for one in found):
        raise typer.Exit(1)


def _spread(values: list[float]) -> str:
    return f"{median(values) * 1e3:.2f} ({min(values) * 1e3:.2f} to {max(values) * 1e3:.2f})"


if __name__ == "__main__":
    typer.run(main)
