"""The demo: a gateway with a fresh database, and beside it a simulated Twilio with callers and a campaign, shown in
the terminal.
"""

import asyncio
import secrets
import shutil
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from aiohttp import web
from rich.console import Console, RenderableType
from rich.live import Live

from gateway.client import GatewayClient
from gateway.errors import Unavailable
from gateway.http.app import make_app
from gateway.http.connection import Runner
from gateway.http.console import SESSIONS
from gateway.settings import load_settings
from gateway.simulator import Behaviour, Callee, Faults, Ledger, Plan, RestPlan, listen, simulate
from gateway.simulator.table import Progress, Row, live_table
from gateway.wiring import Gateway, open_gateway

ACCOUNT = "AC" + "d" * 32
SPEED = 60.0
"""Seconds of a call that pass in one of ours."""
PEOPLE, DIALLED = 40, 4.0
"""Contacts of the campaign, and calls a second of ours in which they are dialled."""
_WINDOW = 1.0

# So that there is something to find: the newer support version is better, and now and then an agent is away.
BEHAVIOURS: Mapping[str, Behaviour] = {
    "support@3": Behaviour(success=0.62, seconds=140, transfers=0.15, refuses=0.01),
    "support@4": Behaviour(success=0.71, seconds=115, transfers=0.10, refuses=0.03),
    "sales@2": Behaviour(success=0.42, seconds=180, transfers=0.2, sentiment=0.2),
    "sales@1": Behaviour(success=0.35, seconds=200, transfers=0.25, sentiment=0.1),
}


async def demo(*, port: int, calls: int, rate: float, seed: int, console: Console) -> Ledger:
    """Serve and simulate until the calls are placed or Ctrl-C; returns what the simulator saw."""
    stop = asyncio.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    with tempfile.TemporaryDirectory(prefix="gateway-demo-") as folder:
        token, admin, url = secrets.token_hex(16), secrets.token_urlsafe(24), f"http://127.0.0.1:{port}"
        people = RestPlan(
            account=ACCOUNT,
            token=token,
            public_url=url,
            agent_token=admin,
            rate=DIALLED / SPEED,
            speed=SPEED,
            seed=seed,
            callee=Callee(busy=0.15, no_answer=0.15, machine=0.05),
            behaviours=BEHAVIOURS,
        )
        callers = Plan(
            public_url=url,
            account=ACCOUNT,
            token=token,
            numbers=(),
            agent_token=admin,
            calls=calls,
            rate=rate,
            speed=SPEED,
            seed=seed,
            behaviours=BEHAVIOURS,
            faults=Faults(twice=0.05, callback_doubled=0.05, callback_lost=0.01),
        )
        async with listen(people) as (_, address), _serving(Path(folder), port, token, admin, address) as served:
            gateway, link = served
            console.print(f"The console, signed in by this link once: {link}", soft_wrap=True)
            callers = replace(callers, numbers=tuple(gateway.state.snapshot.numbers))
            return await _play(gateway, callers, stop, console)


@asynccontextmanager
async def _serving(
    folder: Path, port: int, token: str, admin: str, twilio: str
) -> AsyncIterator[tuple[Gateway, str]]:
    # The demo publishes too, and a copy keeps what it changes out of the operator's own files.
    for place in (Path("routes"), Path("config/agents")):
        if place.is_dir():
            shutil.copytree(place, folder / place)
    environ = {
        "GATEWAY_SERVER__PORT": str(port),
        "GATEWAY_SERVER__PUBLIC_URL": f"http://127.0.0.1:{port}",
        "GATEWAY_DATABASE__URL": f"sqlite:///{folder}/gateway.db",
        "GATEWAY_PATHS__DATA": str(folder),
        "GATEWAY_PATHS__ROUTES": str(folder / "routes"),
        "GATEWAY_PATHS__AGENTS": str(folder / "config/agents"),
        "GATEWAY_AUTH__ADMIN_TOKEN": admin,
        # Nothing of a demo may reach Twilio itself, not even the question about a call whose end was lost.
        "GATEWAY_TWILIO__API_BASE_URL": twilio,
        "GATEWAY_OUTBOUND__ALLOWED_COUNTRIES": '["US"]',
        "GATEWAY_OUTBOUND__WINDOW": "always",
        "GATEWAY_OUTBOUND__CALLS_PER_SECOND": str(DIALLED),
        "TWILIO_ACCOUNT_SID": ACCOUNT,
        "TWILIO_AUTH_TOKEN": token,
    }
    blank = folder / "gateway.toml"
    blank.touch()
    settings = load_settings(blank, environ)
    async with open_gateway(settings) as gateway:
        app = make_app(gateway)
        code = app[SESSIONS].invite(environ["GATEWAY_AUTH__ADMIN_TOKEN"])
        runner = Runner(app, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        try:
            await web.TCPSite(runner, settings.server.host, port).start()
            yield gateway, f"{settings.server.public_url}/sign-in/{code}"
        finally:
            await runner.cleanup()


async def _play(gateway: Gateway, plan: Plan, stop: asyncio.Event, console: Console) -> Ledger:
    url, began, ledger = plan.public_url, time.monotonic(), Ledger()
    async with GatewayClient(url, plan.agent_token) as client:
        await _start_campaigns(client, gateway)
        simulation = asyncio.create_task(simulate(plan, ledger=ledger))
        stopped = asyncio.create_task(stop.wait())
        with Live(console=console, refresh_per_second=4) as live:
            while not stopped.done():
                # A machine that is busy with other work shows the same table for a while.
                with suppress(Unavailable):
                    campaigns = await _campaigns(client)
                    live.update(await _table(client, campaigns, ledger, url, began))
                    if simulation.done() and not any(one.status == "running" for one in campaigns):
                        break
                await asyncio.wait({stopped}, timeout=_WINDOW)
        console.print()
        await _tell(client, console)
    for task in (simulation, stopped):
        task.cancel()
    with suppress(asyncio.CancelledError):
        await simulation
    return ledger


async def _start_campaigns(client: GatewayClient, gateway: Gateway) -> None:
    """Call some people on every outbound route, its test switched on; who is missed is called once more."""
    settings = {"max_attempts": 2, "retry": {"busy": "5s", "no_answer": "10s"}}
    for name, live in tuple(gateway.state.snapshot.routes.items()):
        if live.route.direction == "outbound":
            route = (await client.get(f"/routes/{name}"))["route"]
            if "ab_test" in route["body"]:
                body = route["body"] | {"ab_test": route["body"]["ab_test"] | {"enabled": True}}
                await client.put(f"/routes/{name}", body, base=route["revision"])
            wanted = {"name": name, "route": name, "contacts": _people(), "settings": settings}
            made = (await client.post("/campaigns", wanted))["campaign"]
            await client.post(f"/campaigns/{made['id']}/start", {})


def _people() -> list[dict[str, Any]]:
    names = ("Ada", "Kim", "Noor", "Sam")
    return [
        {"to": f"+1212555{1000 + place}", "variables": {"first_name": names[place % len(names)]}}
        for place in range(PEOPLE)
    ]


async def _campaigns(client: GatewayClient) -> list[Progress]:
    found = []
    for listed in (await client.get("/campaigns"))["campaigns"]:
        one = (await client.get(f"/campaigns/{listed['id']}"))["campaign"]
        arms: dict[str, Any] = dict(one["arms"])
        tried = sum(sum(counts.values()) for counts in arms.values())
        if untried := one["contacts"] - tried:
            arms[""] = {"waiting": untried}
        found.append(Progress(name=one["name"], status=one["status"], arms=arms, results=one["results"]))
    return found


async def _table(
    client: GatewayClient, campaigns: Sequence[Progress], ledger: Ledger, url: str, began: float
) -> RenderableType:
    rows: list[Row] = []
    for experiment in await _tests(client):
        rows += _rows(experiment["route"], await client.get(f"/experiments/{experiment['id']}/results"))
    rows.sort(key=lambda row: (row.route, row.arm))
    elapsed = int(time.monotonic() - began)
    return live_table(rows, campaigns, url=url, under_way=ledger.under_way, elapsed=elapsed)


async def _tests(client: GatewayClient) -> list[dict[str, Any]]:
    """The experiments that were ever started."""
    return [one for one in (await client.get("/experiments"))["experiments"] if one["status"] != "draft"]


async def _tell(client: GatewayClient, console: Console) -> None:
    """What the calls came to: each test's verdict, and the health checks that found something."""
    for experiment in await _tests(client):
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
