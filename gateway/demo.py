"""The demo: a gateway with a fresh database and a simulated Twilio beside it, shown in the terminal."""

import asyncio
import secrets
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from aiohttp import web
from rich.console import Console
from rich.live import Live

from gateway.client import GatewayClient
from gateway.http.app import make_app
from gateway.http.connection import Runner
from gateway.settings import load_settings
from gateway.simulator import Behaviour, Faults, Ledger, Plan, simulate
from gateway.simulator.table import Row, live_table
from gateway.wiring import Gateway, open_gateway

ACCOUNT = "AC" + "d" * 32
_WINDOW = 1.0

# So that there is something to find: the newer support version is better, and now and then an agent is away.
BEHAVIOURS: Mapping[str, Behaviour] = {
    "support@3": Behaviour(success=0.62, seconds=140, transfers=0.15, refuses=0.01),
    "support@4": Behaviour(success=0.71, seconds=115, transfers=0.10, refuses=0.03),
    "sales@1": Behaviour(success=0.35, seconds=200, transfers=0.25, sentiment=0.1),
}


async def demo(*, port: int, calls: int, rate: float, seed: int, console: Console) -> Ledger:
    """Serve and simulate until the calls are placed or Ctrl-C; returns what the simulator saw."""
    stop = asyncio.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    with tempfile.TemporaryDirectory(prefix="gateway-demo-") as folder:
        async with _serving(Path(folder), port) as (gateway, environ):
            return await _play(gateway, environ, stop, calls=calls, rate=rate, seed=seed, console=console)


@asynccontextmanager
async def _serving(folder: Path, port: int) -> AsyncIterator[tuple[Gateway, Mapping[str, str]]]:
    environ = {
        "GATEWAY_SERVER__PORT": str(port),
        "GATEWAY_SERVER__PUBLIC_URL": f"http://127.0.0.1:{port}",
        "GATEWAY_DATABASE__URL": f"sqlite:///{folder}/gateway.db",
        "GATEWAY_PATHS__DATA": str(folder),
        "GATEWAY_AUTH__ADMIN_TOKEN": secrets.token_urlsafe(24),
        # Nothing of a demo may reach Twilio itself, not even the question about a call whose end was lost.
        "GATEWAY_TWILIO__API_BASE_URL": "http://127.0.0.1:9",
        "TWILIO_ACCOUNT_SID": ACCOUNT,
        "TWILIO_AUTH_TOKEN": secrets.token_hex(16),
    }
    blank = folder / "gateway.toml"
    blank.touch()
    settings = load_settings(blank, environ)
    async with open_gateway(settings) as gateway:
        runner = Runner(make_app(gateway), access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        try:
            await web.TCPSite(runner, settings.server.host, port).start()
            yield gateway, environ
        finally:
            await runner.cleanup()


async def _play(
    gateway: Gateway,
    environ: Mapping[str, str],
    stop: asyncio.Event,
    *,
    calls: int,
    rate: float,
    seed: int,
    console: Console,
) -> Ledger:
    url, began, ledger = gateway.settings.server.public_url, time.monotonic(), Ledger()
    plan = Plan(
        public_url=url,
        account=ACCOUNT,
        token=environ["TWILIO_AUTH_TOKEN"],
        numbers=tuple(gateway.state.snapshot.numbers),
        agent_token=environ["GATEWAY_AUTH__ADMIN_TOKEN"],
        calls=calls,
        rate=rate,
        seed=seed,
        behaviours=BEHAVIOURS,
        faults=Faults(twice=0.05, callback_doubled=0.05, callback_lost=0.01),
    )
    simulation = asyncio.create_task(simulate(plan, ledger=ledger))
    stopped = asyncio.create_task(stop.wait())
    async with GatewayClient(url, environ["GATEWAY_AUTH__ADMIN_TOKEN"]) as client:
        with Live(console=console, refresh_per_second=4) as live:
            while not simulation.done() and not stopped.done():
                live.update(await _table(client, ledger, url, began))
                await asyncio.wait({simulation, stopped}, timeout=_WINDOW, return_when=asyncio.FIRST_COMPLETED)
            live.update(await _table(client, ledger, url, began))
        console.print()
        await _tell(client, console)
    for task in (simulation, stopped):
        task.cancel()
    with suppress(asyncio.CancelledError):
        await simulation
    return ledger


async def _table(client: GatewayClient, ledger: Ledger, url: str, began: float) -> Any:
    rows: list[Row] = []
    for experiment in (await client.get("/experiments"))["experiments"]:
        rows += _rows(experiment["route"], await client.get(f"/experiments/{experiment['id']}/results"))
    rows.sort(key=lambda row: (row.route, row.arm))
    return live_table(rows, url=url, under_way=ledger.under_way, elapsed=int(time.monotonic() - began))


async def _tell(client: GatewayClient, console: Console) -> None:
    """What the calls came to: each test's verdict, and the health checks that found something."""
    for experiment in (await client.get("/experiments"))["experiments"]:
        results = await client.get(f"/experiments/{experiment['id']}/results")
        console.print(f"[bold]{experiment['id']}[/bold]  {results['verdict']['text']}", highlight=False)
        for one in results["health"]:
            if one["status"] not in ("ok", "info"):
                console.print(f"  [dim]{one['status']}: {one['text']}[/dim]", highlight=False)


def _rows(route: str, results: Mapping[str, Any]) -> list[Row]:
    metrics = {one["name"]: one["arms"] for one in results["metrics"]}
    total = sum(arm["calls"] for arm in results["arms"])

    def mean(metric: str, arm: str) -> float | None:
        told: float | None = metrics.get(metric, {}).get(arm, {}).get("mean")
        return told

    return [
        Row(
            route=route,
            arm=arm["arm"],
            version=arm["version"],
            calls=arm["calls"],
            share=arm["calls"] / total if total else 0.0,
            served=arm["served"],
            completed=mean("success", arm["arm"]),
            seconds=mean("duration_seconds", arm["arm"]),
            transfers=mean("transferred", arm["arm"]),
        )
        for arm in results["arms"]
    ]
