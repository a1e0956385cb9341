"""Lets the simulated REST side of Twilio listen on loopback, for whoever has no account to try campaigns with."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from gateway.simulator.rest import RestPlan, RestSide


@asynccontextmanager
async def listen(plan: RestPlan, port: int = 0) -> AsyncIterator[tuple[RestSide, str]]:
    """Twilio's REST side while the block runs, and its address for ``twilio.api_base_url``; port 0 is a free one."""
    side = RestSide(plan)
    runner = web.AppRunner(side.app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        yield side, f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
