"""Runs the benchmark: every peer in turn, in several rounds, every answer and every stored row checked."""

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from . import calls, machine, report
from .figures import Measurement, Workload
from .servers import PEERS, ROOT, CannotStart, Peer, Server, serving, stored

CLIENTS = (1, 16, 64, 256)
RATE = 200.0
"""Calls a second in the open loop; far more than a busy call centre sees."""

# Tables that are piped into a file are as wide as they need to be.
console = Console(width=None if sys.stdout.isatty() else 160)


def measure(server: Server, first: int, seconds: float, workload: Workload, core: int | None) -> Measurement:
    """Run the load generator against ``server``, on ``core`` alone unless None; calls are numbered from ``first``."""
    order = {"port": server.port, "group": server.group, "first": first, "seconds": seconds}
    process = subprocess.Popen(
        [sys.executable, "-m", f"{__package__}.load"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    if core is not None:
        os.sched_setaffinity(process.pid, {core})
    said, _ = process.communicate(json.dumps(order | {"workload": asdict(workload)}))
    if process.returncode:
        raise SystemExit(f"the load generator ended with {process.returncode}")
    return Measurement(**json.loads(said))


def mismatch(acknowledged: set[str], found: set[str]) -> str:
    """What differs between the calls that were answered and those that are stored; "" for nothing."""
    lost, extra = len(acknowledged - found), len(found - acknowledged)
    parts = [f"{lost} answered, but not stored"] * bool(lost) + [f"{extra} stored, but not answered"] * bool(extra)
    return ", ".join(parts)


def run_peer(
    peer: Peer, workloads: list[Workload], seconds: float, cores: tuple[int, int] | None
) -> tuple[dict[Workload, Measurement], str]:
    """Start ``peer`` with an empty database and run every workload; also says how its rows differ from its answers.

    Raises CannotStart.
    """
    server_core, generator_core = cores or (None, None)
    acknowledged = set[str]()
    runs = dict[Workload, Measurement]()
    first = 0
    with (
        tempfile.TemporaryDirectory(prefix="gateway-benchmark-", ignore_cleanup_errors=True) as folder,
        serving(peer, Path(folder), server_core) as server,
    ):
        for workload in workloads:
            run = runs[workload] = measure(server, first, seconds, workload, generator_core)
            refused = set(run.refused)
            acknowledged |= {calls.call_sid(i) for i in range(first, first + run.sent) if i not in refused}
            first += run.sent
        # Asked while the server still runs: an answered call must not need an orderly shutdown to be stored. The
        # gateway may have kept some in its journal while the disk was slow, and brings them over within seconds.
        deadline = time.monotonic() + 10
        while peer.stores and (differs := mismatch(acknowledged, stored(server))):
            if time.monotonic() > deadline:
                return runs, differs
            time.sleep(0.5)
        return runs, ""


def run_rounds(
    peers: list[Peer], rounds: int, workloads: list[Workload], seconds: float, cores: tuple[int, int] | None
) -> tuple[report.Results, list[str]]:
    """Give every peer its turn in every round; the figures of those that could start, and what is wrong otherwise."""
    results: report.Results = {(peer.name, workload): [] for workload in workloads for peer in peers}
    wrong, skipped = list[str](), set[str]()
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("", total=rounds * len(peers))
        for turn in range(rounds):
            # A different one begins each round, so that nobody always follows the heaviest.
            start = turn % len(peers)
            for peer in peers[start:] + peers[:start]:
                progress.update(task, description=f"round {turn + 1}: {peer.name}", advance=1)
                if peer.name in skipped:
                    continue
                try:
                    runs, differs = run_peer(peer, workloads, seconds, cores)
                except CannotStart as error:
                    wrong.append(f"{peer.name} is skipped: {error}")
                    skipped.add(peer.name)
                    continue
                for workload, run in runs.items():
                    results[peer.name, workload].append(run)
                if differs:
                    wrong.append(f"{peer.name}, round {turn + 1}: {differs}")
    return {key: runs for key, runs in results.items() if key[0] not in skipped}, wrong


def main(
    quick: Annotated[bool, typer.Option("--quick", help="One short round at 1 and 64 clients.")] = False,
    rounds: Annotated[int, typer.Option(min=1, help="How often every peer has its turn.")] = 3,
    seconds: Annotated[float, typer.Option(min=0.5, help="Length of one measurement, after its warm-up.")] = 4.0,
    peer: Annotated[list[str] | None, typer.Option(help="Only this peer (repeat it for more).")] = None,
    pin: Annotated[bool, typer.Option(help="Give server and generator a core each.")] = True,
) -> None:
    """Time the voice webhook of the gateway, of its ceiling and of two quickstarts on this machine.

    Ends with 1 when the gateway could not start, answered one call wrongly, or did not store what it answered.
    """
    known = [each.name for each in PEERS]
    if unknown := sorted(set(peer or ()) - set(known)):
        raise typer.BadParameter(f"no peer is called {', '.join(unknown)}; there are {', '.join(known)}")
    peers = [each for each in PEERS if not peer or each.name in peer]
    if quick:
        rounds, seconds = 1, min(seconds, 2.0)
    workloads = [Workload(clients=clients) for clients in ((1, 64) if quick else CLIENTS)] + [Workload(rate=RATE)]
    cores = machine.cores() if pin else None
    _say_conditions(cores, rounds, seconds)
    results, wrong = run_rounds(peers, rounds, workloads, seconds, cores)
    console.print(report.measurements(results))
    ours = [run for (name, _), runs in results.items() if name == "gateway" for run in runs]
    if ours:
        console.print(report.comparison(results))
    _say_checks(results, wrong)
    if any(line.startswith("gateway") for line in wrong) or any(run.errors for run in ours):
        raise typer.Exit(1)


def _say_conditions(cores: tuple[int, int] | None, rounds: int, seconds: float) -> None:
    with tempfile.TemporaryDirectory(prefix="gateway-benchmark-") as folder:
        lines = machine.facts(Path(folder))
    if cores:
        lines.append(f"each server with its workers on core {cores[0]} alone, the load generator on core {cores[1]}")
    else:
        lines.append("servers and load generator share all cores")
    lines.append(
        f"{rounds} round{'s' * (rounds > 1)} of {seconds:g} s; every call is a signed form of 20 fields with its own"
        f" CallSid; in the open loop ({RATE:g} calls/s) latency counts from the moment a call was due"
    )
    for line in lines:
        console.print(line, highlight=False)
    console.print()


def _say_checks(results: report.Results, wrong: list[str]) -> None:
    busiest = max((run.generator for runs in results.values() for run in runs), default=0.0)
    if busiest > 0.9:
        console.print("[yellow]the load generator was busy all the time: the fastest figures are its own[/]")
    late = max((run.late for (_, load), runs in results.items() if load.rate for run in runs), default=0.0)
    if late > 0.001:
        console.print(f"[yellow]in the open loop the generator itself was up to {late * 1e3:.1f} ms late (p99)[/]")
    for line in wrong:
        console.print(line, style="red", markup=False, highlight=False)
    if not wrong:
        console.print("every database holds exactly the calls that were answered")


if __name__ == "__main__":
    typer.run(main)
