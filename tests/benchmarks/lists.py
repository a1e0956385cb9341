"""Times what callers feel while a long list of contacts is uploaded and previewed.

Run as ``python -m tests.benchmarks.lists``. The gateway is a process of its own; this one rings and sends the list.
"""

import asyncio
import http.client
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer
from rich.console import Console
from rich.table import Table

from . import calls
from .figures import percentile
from .load import Tally, open_loop, processor_time
from .servers import PEERS, Peer, Server, serving

TOKEN = "benchmark-" + "0" * 32
AREAS = (212, 415, 312, 206, 305, 713, 602, 617, 404, 303, 702, 503, 214, 813, 919, 215, 313, 612, 816, 504)
OUTBOUND = """\
direction = "outbound"
numbers = ["+14155550190"]
[versions]
a = "support@1"
b = "support@2"
[ab_test]
enabled = true
name = "benchmark"
split = { a = 50, b = 50 }
"""
_PORTION = 1_000


def list_of(count: int) -> Iterator[bytes]:
    """A list of valid numbers of several area codes as CSV, in pieces."""
    yield b"to,consent,first_name\n"
    for start in range(0, count, _PORTION):
        rows = (
            f"+1{AREAS[n % len(AREAS)]}{2_000_000 + n // len(AREAS)},yes,Ada\n"
            for n in range(start, min(start + _PORTION, count))
        )
        yield "".join(rows).encode()


def _order(port: int, folder: Path) -> tuple[list[str], Mapping[str, str]]:
    command, environment = PEERS[1].order(port, folder)
    (folder / "routes" / "reminders.toml").write_text(OUTBOUND)
    return command, {**environment, "GATEWAY_OUTBOUND__ALLOWED_COUNTRIES": '["US"]'}


def post(server: Server, path: str, body: Iterator[bytes] | None = None) -> dict[str, Any]:
    """What the API answers."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=3600)
    headers = {"Authorization": f"Bearer {TOKEN}"} | ({"Content-Type": "text/csv"} if body else {})
    connection.request("POST", f"/api/v1{path}", body=body, headers=headers, encode_chunked=body is not None)
    answer = connection.getresponse()
    told: dict[str, Any] = json.load(answer)
    connection.close()
    if answer.status >= 300:
        raise RuntimeError(f"{path}: {answer.status} {told}")
    return told


def memory(server: Server) -> dict[str, int]:
    """The server's memory in MB, as Linux tells it: now (VmRSS) and at its most (VmHWM)."""
    status = Path(f"/proc/{server.group}/status").read_text().splitlines()
    fields = dict(line.split(":", 1) for line in status)
    return {name: int(fields[name].split()[0]) // 1024 for name in ("VmRSS", "VmHWM")}


class Figure(NamedTuple):
    """What was done, what callers felt meanwhile, and its seconds: by the clock and of the server's processor."""

    what: str
    tally: Tally
    took: float
    worked: float


async def ring(server: Server, first: int, rate: float, seconds: float) -> Tally:
    """Ring the gateway at random moments."""
    ready = calls.stock(range(first, first + int(rate * seconds * 1.5) + 100))
    return await open_loop(server.port, rate, seconds, ready)


async def measure(server: Server, count: int, rate: float, seconds: float) -> list[Figure]:
    """What callers feel of nothing else, and of the first ``seconds`` of an upload and of a preview."""
    await ring(server, 0, rate, 2)
    figures: list[Figure] = []
    made: dict[str, Any] = {}

    async def beside(what: str, first: int, work: Callable[[], dict[str, Any]]) -> None:
        start, processor = time.perf_counter(), processor_time(server.group)
        working = asyncio.create_task(asyncio.to_thread(work))
        tally = await ring(server, first, rate, seconds)
        made.update(await working)
        figures.append(Figure(what, tally, time.perf_counter() - start, processor_time(server.group) - processor))

    await beside("nothing else", 100_000, dict)
    query = "/campaigns?name=benchmark&route=reminders"
    await beside("an upload", 200_000, lambda: post(server, query, list_of(count)))
    name = made["campaign"]["id"]
    await beside("a preview", 300_000, lambda: post(server, f"/campaigns/{name}/preview"))
    begin = time.perf_counter()
    post(server, f"/campaigns/{name}/start")
    Console().print(f"start: {time.perf_counter() - begin:.3f} s; {made['preview']['contacts']:,} contacts")
    return figures


def main(
    count: Annotated[int, typer.Option(min=1000, help="How many contacts.")] = 100_000,
    rate: Annotated[float, typer.Option(help="Calls a second.")] = 50,
    seconds: Annotated[float, typer.Option(help="For how long to ring beside each piece of work.")] = 8,
) -> None:
    """Time the voice webhook while a list is read."""
    peer = Peer(name="gateway", what="with an outbound route", order=_order)
    with (
        tempfile.TemporaryDirectory(prefix="gateway-benchmark-") as folder,
        serving(peer, Path(folder), None) as server,
    ):
        figures = asyncio.run(measure(server, count, rate, seconds))
        told = memory(server)
    columns = ("beside", "p50 ms", "p90 ms", "p99 ms", "worst ms", "errors", "seconds", "of the processor")
    table = Table(*columns, title=f"{count:,} contacts")
    for one in figures:
        latencies = (f"{percentile(one.tally.latencies, at) * 1000:.1f}" for at in (0.5, 0.9, 0.99, 1.0))
        errors = str(len(one.tally.refused))
        table.add_row(one.what, *latencies, errors, f"{one.took:.1f}", f"{one.worked:.1f}")
    Console().print(table)
    Console().print(f"memory in MB: {told}")


if __name__ == "__main__":
    typer.run(main)
