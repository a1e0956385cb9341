"""Outbound calls from the API to their end, with the simulated Twilio at the other side of real HTTP."""

import asyncio
from pathlib import Path

from aiohttp import web

from gateway.simulator.callee import Callee
from gateway.simulator.rest import RestFaults, RestPlan, RestSide
from tests.conftest import ACCOUNT, ADMIN, AGENTS, TOKEN, free_port, running, settings_for, write_files
from tests.outbound import ROUTE

OVER = {"completed", "busy", "no-answer", "failed", "canceled"}


async def test_everybody_is_rung_once_and_followed_to_the_end(tmp_path: Path, database_url: str) -> None:
    write_files(tmp_path, AGENTS | {"routes/reminders.toml": ROUTE})
    port = free_port()
    settings = settings_for(
        tmp_path,
        database_url,
        GATEWAY_TWILIO__API_BASE_URL=f"http://127.0.0.1:{port}",
        GATEWAY_OUTBOUND__ALLOWED_COUNTRIES='["US"]',
        GATEWAY_OUTBOUND__WINDOW="always",
        GATEWAY_OUTBOUND__CALLS_PER_SECOND="100",
        GATEWAY_OUTBOUND__MAX_CONCURRENT="100",
    )
    side = RestSide(
        RestPlan(
            account=ACCOUNT,
            token=TOKEN,
            public_url=settings.server.public_url,
            agent_token=ADMIN,
            rate=1000.0,
            speed=500.0,
            callee=Callee(),
            faults=RestFaults(error_after=0.2, callbacks_lost=0.1),
        )
    )
    runner = web.AppRunner(side.app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    people = [f"+1212555{number:04}" for number in range(1000, 1030)]
    async with running(settings) as served:
        for number in people:
            placed = await served.api("POST", "/calls", {"route": "reminders", "to": number})
            assert placed.status == 201
        async with asyncio.timeout(60):
            while len(side.rung) < len(people):
                await asyncio.sleep(0.05)
            await side.settled()
        calls = (await served.api("GET", "/calls?limit=100")).body["calls"]
    await runner.cleanup()
    assert side.rung == dict.fromkeys(people, 1)
    ended = [call for call in calls if call["status"] in OVER]
    assert len(ended) >= 20  # one callback in ten is lost, and the sweeper would ask for those later
    assert {call["assignment"]["arm"] for call in calls} == {"a", "b"}
    sids = {entry.sid for entry in side.entries}
    assert {call["sid"] for call in calls if call["sid"]} <= sids
