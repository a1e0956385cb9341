"""Times results and a recount at ten thousand, a hundred thousand and a million calls.

Reading results must not grow with the calls: only the counts are read. The calls are written straight into the table,
as they stand after their outcomes; the recount then makes every count from them. Results are read by the functions
that the API uses, and then over HTTP from a gateway that serves that very database.
"""

import asyncio
import http.client
import json
import random
import statistics
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import sqlalchemy as sa
import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from gateway.judging import look
from gateway.metrics import Facts, read_measures
from gateway.storage.clusters import read_sums
from gateway.storage.engine import Database
from gateway.storage.migrate import migrate
from gateway.storage.recounting import recount
from gateway.storage.schema import call, epoch, experiment
from gateway.storage.tallies import MILLISECONDS_PER_DAY, read_tallies

from .servers import PEERS, Peer, serving

DAYS = 28
START = 20_000 * MILLISECONDS_PER_DAY
_PAGE = 5_000
_NAME = "support-1"
_READINGS = 9
_TOKEN = "benchmark-" + "0" * 32

console = Console()


def calls(first: int, count: int, total: int, *, unit: str) -> list[dict[str, Any]]:
    """Calls from the ``first`` on of ``total``, which are spread over four weeks; one in ten callers rings again."""
    rows = []
    for n in range(first, first + count):
        dice = random.Random(n)
        arm, number = dice.choice("ab"), f"+1212{dice.randrange(max(1, total * 9 // 10)):07d}"
        outcome: dict[str, Any] = {"success": dice.random() < 0.6, "sentiment": dice.uniform(-1, 1), "cost": 0.1}
        outcome["fields"] = {"csat": dice.randrange(1, 6), "intent": dice.choice(("billing", "moving", "other"))}
        told = Facts(
            ended=True,
            answered=True,
            duration_seconds=round(dice.lognormvariate(4, 1)),
            rang_again=dice.random() < 0.1,
            transfer_requested=dice.random() < 0.2,
            outcome=outcome,
        )
        rows.append(
            {
                "id": f"CA{n:032x}",
                "account": "AC1",
                "direction": "inbound",
                "from_number": number,
                "to_number": "+14155550100",
                "country": "US",
                "received_at": START + n * DAYS * MILLISECONDS_PER_DAY // total,
                "route": "support",
                "revision": 1,
                "experiment": _NAME,
                "epoch": 1,
                "arm": arm,
                "version": f"support@{'ab'.index(arm) + 3}",
                "reason": "split",
                "unit": unit,
                "bucket": 1,
                "share": 0.5,
                "analysed": True,
                "journalled": False,
                "served_by": "version",
                "served_arm": arm,
                "served_reason": "assigned",
                "status": "completed",
                "mature": True,
                "counted": read_measures(told, mature=True),
                "strata": [f"country={dice.choice(('US', 'GB', 'DE'))}", f"new_caller={dice.choice(('yes', 'no'))}"],
            }
        )
    return rows


async def fill(database: Database, total: int, *, unit: str, progress: Progress | None = None) -> None:
    """Write an experiment and its calls, with nothing counted yet."""
    one = {"id": _NAME, "route": "support", "number": 1, "name": "", "unit": unit, "status": "running", "salt": b"s"}
    one |= {"coverage_salt": b"c", "opened_at": START, "opened_revision": 1}
    async with database.write() as connection:
        await connection.execute(sa.insert(experiment), one)
        arms = [{"arm": arm, "version": f"support@{place}", "share": 0.5} for place, arm in enumerate("ab", 3)]
        first_epoch = {"experiment": _NAME, "number": 1, "memory": 1, "began_at": START, "revision": 1, "arms": arms}
        await connection.execute(sa.insert(epoch), first_epoch)
    task = progress.add_task(f"writing {total:,} calls", total=total) if progress else None
    for first in range(0, total, _PAGE):
        rows = calls(first, min(_PAGE, total - first), total, unit=unit)
        async with database.write() as connection:
            await connection.execute(sa.insert(call), rows)
        if progress and task is not None:
            progress.advance(task, len(rows))


async def read_results(database: Database) -> tuple[dict[str, Any], int]:
    """What ``GET /experiments/{experiment}/results`` reads and answers, and of how many cells and sums."""
    async with database.read() as connection:
        cells = len(await read_tallies(connection, _NAME)) + len(await read_sums(connection, _NAME))
        _, shown = await look(connection, _NAME, START + DAYS * MILLISECONDS_PER_DAY)
    return shown, cells


class Figure(NamedTuple):
    """Of so many calls: seconds of a recount, how many cells are read, and seconds of reading the results.

    ``read`` is by the functions and ``told`` over HTTP, medians both; ``first`` is the first of those over HTTP.
    """

    total: int
    counted: float
    cells: int
    read: float
    told: float
    first: float


async def measure(total: int, unit: str, folder: Path, progress: Progress) -> tuple[float, int, float]:
    """Seconds of a recount of ``total`` calls, how many cells there are, and seconds of one reading (the median)."""
    database = Database(f"sqlite:///{folder}/calls.db")
    await migrate(database)
    await fill(database, total, unit=unit, progress=progress)
    task = progress.add_task(f"counting {total:,} calls", total=total)
    began = time.perf_counter()
    await recount(database, repair=True, progress=lambda done, _: progress.update(task, completed=done))
    counted = time.perf_counter() - began
    times, cells = [], 0
    for _ in range(_READINGS):
        began = time.perf_counter()
        _, cells = await read_results(database)
        times.append(time.perf_counter() - began)
    await database.close()
    return counted, cells, statistics.median(times)


def read_over_http(folder: Path, total: int) -> tuple[float, float]:
    """Seconds of ``GET /experiments/{experiment}/results`` from a gateway on the database in ``folder``.

    The median of some readings on one connection, and the first of all, for which the statistics are loaded.
    """
    times = []
    with serving(Peer(name="gateway", what="no routes", order=_order), folder, None) as server:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        for _ in range(_READINGS + 1):
            began = time.perf_counter()
            path = f"/api/v1/experiments/{_NAME}/results"
            connection.request("GET", path, headers={"Authorization": f"Bearer {_TOKEN}"})
            told = json.load(connection.getresponse())
            times.append(time.perf_counter() - began)
            if sum(arm["calls"] for arm in told["arms"]) != total:
                raise RuntimeError(f"not all {total:,} calls are told: {told['arms']}")
        connection.close()
    return statistics.median(times[1:]), times[0]


def _order(port: int, folder: Path) -> tuple[list[str], Mapping[str, str]]:
    command, environment = PEERS[1].order(port, folder)
    # The experiment stands in the database already; a route of this name would open another.
    (folder / "routes" / "support.toml").unlink()
    return command, environment


def main(
    sizes: Annotated[list[int] | None, typer.Argument(help="How many calls (10000 100000 1000000).")] = None,
    unit: Annotated[str, typer.Option(help="call, or caller for a sticky test.")] = "call",
) -> None:
    """Time results and a full recount as the calls become more."""
    columns = ("calls", "cells", "results", "over HTTP", "first over HTTP", "full recount", "calls a second")
    table = Table(*columns)
    with Progress(console=console, transient=True) as progress:
        for total in sizes or (10_000, 100_000, 1_000_000):
            with tempfile.TemporaryDirectory(prefix="gateway-results-") as name:
                figure = Figure(
                    total,
                    *asyncio.run(measure(total, unit, Path(name), progress)),
                    *read_over_http(Path(name), total),
                )
            times = [f"{seconds * 1e3:.1f} ms" for seconds in (figure.read, figure.told, figure.first)]
            counted = f"{figure.counted:.1f} s", f"{total / figure.counted:,.0f}"
            table.add_row(f"{total:,}", f"{figure.cells:,}", *times, *counted)
    console.print(table)


if __name__ == "__main__":
    typer.run(main)
