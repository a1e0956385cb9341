"""Times every page of the console over a million calls, 10,000 routes and a campaign of 100,000 contacts.

Run as ``python -m tests.benchmarks.pages``. The pages are those of the application's own table, so that none is
forgotten; a new page whose address names something unknown here ends the benchmark.
"""

import http.client
import re
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import nullcontext, suppress
from pathlib import Path
from statistics import median
from typing import Annotated, NamedTuple
from urllib.parse import urlencode

import typer
from rich.console import Console
from rich.table import Table

from gateway.http.console import PAGES

from . import calls, machine
from .filled import BIG_CAMPAIGN, EXPERIMENT, ROUTE, call_id, filled
from .servers import PEERS, Peer, Server, serving

TOKEN = "benchmark-" + "0" * 32
LIMIT = 0.2
"""Seconds within which every page is to be answered."""

NAMES: Mapping[str, str] = {
    "route": ROUTE,
    "experiment": EXPERIMENT,
    "agent": "support",
    "campaign": BIG_CAMPAIGN,
}
# Besides the bare address of a page: what its forms can ask for, and a page deep in its list.
ASKED: Mapping[str, tuple[Mapping[str, str], ...]] = {
    "/routes": ({"search": "r99"}, {"search": "nothing"}, {"cursor": "9000"}),
    "/calls": (
        {"cursor": "400000"},
        {"route": ROUTE},
        {"route": "r5000"},
        {"route": "reminders"},
        {"route": "nothing"},
        {"status": "completed"},
        {"status": "no-answer"},
        {"status": "busy"},
        {"status": "unknown"},
        {"status": "ringing"},
        {"direction": "inbound"},
        {"direction": "outbound"},
        {"arm": "a"},
        {"arm": "c"},
        {"version": "support@2"},
        {"version": "agent-7@1"},
        {"experiment": EXPERIMENT},
        {"experiment": "r5000-1"},
        {"experiment": "nothing"},
        {"number": calls.NUMBER},
        {"number": "+14155550190"},
        {"number": "+12120000007"},
        {"number": "+12129999999"},
        {"number": calls.NUMBER, "status": "busy"},
        {"number": "+14155550190", "arm": "c"},
        {"route": ROUTE, "status": "unknown"},
        {"route": ROUTE, "arm": "c"},
        {"route": ROUTE, "status": "busy", "arm": "b"},
        {"since": "{recent}"},
        {"until": "{old}"},
        {"since": "{old}", "until": "{older}"},
        {"since": "{old}", "arm": "c"},
        {"since": "{future}"},
        {"until": "{older}", "route": ROUTE},
    ),
    "/experiments": ({"cursor": "4000"},),
    "/experiments/{experiment}/samples": ({"seed": "7"},),
    "/experiments/{experiment}/label": ({"seed": "7", "at": "20"},),
    "/experiments/{experiment}/export": ({"format": "html"}, {"format": "jsonl"}),
    "/campaigns": ({"status": "completed"}, {"status": "scheduled"}),
    "/campaigns/{campaign}": (
        {"state": "skipped"},
        {"state": "waiting"},
        {"state": "dialling"},
        {"result": "busy"},
        {"result": "failed"},
        {"state": "done", "result": "row"},
        {"cursor": "90000"},
    ),
    "/suppressions": ({"number": "+12123000000"}, {"number": "+19"}),
    "/admin/audit": ({"author": "author 7"}, {"action": "nothing"}, {"subject": "route r5000"}, {"cursor": "100"}),
    "/agents/{agent}": ({"old": "1", "new": "2"},),
}


class Timed(NamedTuple):
    """A page, its seconds (of a file: to its first bytes), those of the processor, its last status, and its bytes."""

    address: str
    seconds: list[float]
    worked: list[float]
    status: int
    size: int


def addresses() -> Iterator[str]:
    """Every page that can be looked at, as the application's table has it, with each of its questions."""
    now = time.time()
    days = {"recent": -1, "old": -14, "older": -21, "future": 1}
    moments = {name: time.strftime("%Y-%m-%dT%H:%M", time.gmtime(now + n * 86_400)) for name, n in days.items()}
    known = {**NAMES, "call": call_id(500_001)}
    paths = [one.path for one in PAGES if one.method == "GET" and not one.endless]
    forgotten = ASKED.keys() - set(paths)
    if forgotten:
        raise SystemExit(f"there is no page {', '.join(sorted(forgotten))}")
    for path in paths:
        unknown = set(re.findall(r"{(\w+)}", path)) - known.keys()
        if unknown:
            raise SystemExit(f"{path}: say which {', '.join(sorted(unknown))} is to be looked at")
        where = path.format_map(known)
        yield where
        for query in ASKED.get(path, ()):
            yield f"{where}?{urlencode({name: value.format_map(moments) for name, value in query.items()})}"
    # Nearly every draft is asked for by its name too, and a call by half of its other name.
    yield "/experiments/r11-1"
    yield "/routes/r5000"
    yield "/calls/nothing"


class Browser:
    """One connection of somebody signed in."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._headers = {"Host": calls.PUBLIC_URL.partition("://")[2]}
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)

    def sign_in(self) -> None:
        """Take a session."""
        headers = {**self._headers, "Origin": calls.PUBLIC_URL, "Content-Type": "application/x-www-form-urlencoded"}
        self._connection.request("POST", "/sign-in", urlencode({"token": TOKEN}), headers)
        answer = self._connection.getresponse()
        answer.read()
        self._headers["Cookie"] = answer.headers["Set-Cookie"].partition(";")[0]

    def time(self, address: str) -> tuple[float, int, int]:
        """Seconds until a page has come (of a file: its first bytes), its status and its bytes."""
        began = time.perf_counter()
        self._connection.request("GET", address, headers=self._headers)
        answer = self._connection.getresponse()
        if "attachment" in answer.headers.get("Content-Disposition", ""):
            size = len(answer.read(1))
            took = time.perf_counter() - began
            self._connection.close()
        else:
            size = len(answer.read())
            took = time.perf_counter() - began
        return took, answer.status, size


def worked(server: Server) -> float:
    """Seconds of processor time that the server's threads have had, as Linux tells it to the nanosecond."""
    spent = 0
    for stat in Path(f"/proc/{server.group}/task").glob("*/schedstat"):
        with suppress(OSError):  # a thread that has just ended
            spent += int(stat.read_text().split()[0])
    return spent / 1e9


def measure(server: Server, rounds: int, only: str) -> list[Timed]:
    """Look at every page ``rounds`` times, one after the other."""
    browser = Browser(server.port)
    browser.sign_in()
    found = [Timed(address, [], [], 0, 0) for address in addresses() if only in address]
    for _ in range(rounds):
        for place, one in enumerate(found):
            before = worked(server)
            took, status, size = browser.time(one.address)
            one.worked.append(worked(server) - before)
            one.seconds.append(took)
            found[place] = one._replace(status=status, size=size)
    return found


def main(
    total: Annotated[int, typer.Option("--calls", help="How many calls.")] = 1_000_000,
    routes: Annotated[int, typer.Option(min=10, help="How many routes.")] = 10_000,
    rounds: Annotated[int, typer.Option(min=1, help="How often each page is looked at.")] = 5,
    keep: Annotated[
        Path | None, typer.Option(help="A folder in which the filled database stays for next time.")
    ] = None,
    only: Annotated[str, typer.Option(help="Only pages whose address holds this.")] = "",
) -> None:
    """Time every page of the console over much data."""
    console = Console(width=None if sys.stdout.isatty() else 160)
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
    with (
        nullcontext(str(keep)) if keep is not None else tempfile.TemporaryDirectory(prefix="gateway-pages-") as where,
        tempfile.TemporaryDirectory(prefix="gateway-benchmark-") as empty,
    ):
        for line in machine.facts(Path(empty)):
            console.print(line, highlight=False)
        database = filled(Path(where), total=total, routes=routes, progress=console.print)
        peer = Peer(name="gateway", what="with much data", order=lambda port, folder: _order(port, folder, database))
        with serving(peer, Path(empty), None, patience=120) as server:
            found = measure(server, rounds, only)
    columns = ("page", "best ms", "median ms", "worst ms", "processor ms", "KB", "status", "")
    table = Table(*columns, title=f"{total:,} calls, {routes:,} routes")
    for one in found:
        mark = "over" if median(one.seconds) > LIMIT else "worst over" if max(one.seconds) > LIMIT else ""
        told = (min(one.seconds), median(one.seconds), max(one.seconds), median(one.worked))
        times = (f"{seconds * 1e3:.0f}" for seconds in told)
        table.add_row(one.address, *times, f"{one.size / 1024:.0f}", str(one.status), mark)
    console.print(table)
    slow = sum(median(one.seconds) > LIMIT for one in found)
    console.print(f"{len(found)} pages, {slow} over {LIMIT * 1e3:.0f} ms")
    if any(one.status >= 500 for one in found):
        raise typer.Exit(1)


def _order(port: int, folder: Path, database: Path) -> tuple[list[str], Mapping[str, str]]:
    command, environment = PEERS[1].order(port, folder)
    # Without folders of its own: what is live is what the database holds.
    for name in ("routes", "agents"):
        (folder / name / "support.toml").unlink()
    return command, {**environment, "GATEWAY_DATABASE__URL": f"sqlite:///{database}"}


if __name__ == "__main__":
    typer.run(main)
