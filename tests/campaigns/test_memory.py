"""A long list is made a campaign and started within bounded memory, by a gateway in a process of its own.

The long form, a hundred thousand contacts within 300 MB, is part of ``make kill-test``.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from gateway.simulator.listen import listen
from gateway.simulator.rest import RestPlan
from tests.campaigns.server import Server
from tests.campaigns.test_dialing import ROUTE
from tests.conftest import ACCOUNT, ADMIN, TOKEN

ROWS = int(os.environ.get("GATEWAY_ROWS", "20000"))
WHOLE, MEGABYTES = 100_000, 300


def peak(server: Server) -> float:
    """The most memory that the server has had so far, in megabytes."""
    lines = Path(f"/proc/{server.process.pid}/status").read_text().splitlines()
    kilobytes = next(line.split()[1] for line in lines if line.startswith("VmHWM"))
    return int(kilobytes) / 1000


async def rows() -> AsyncIterator[bytes]:
    yield b"to,first_name,city\n"
    for start in range(2_000_000, 2_000_000 + ROWS, 500):
        yield "".join(f"+1212{number},Kim,New York\n" for number in range(start, start + 500)).encode()


@pytest.mark.timeout(120 + ROWS // 200)
async def test_a_long_list_is_dialled_within_little_memory(tmp_path: Path) -> None:
    server = Server(
        tmp_path,
        GATEWAY_OUTBOUND__ALLOWED_COUNTRIES='["US"]',
        GATEWAY_OUTBOUND__WINDOW="always",
        GATEWAY_OUTBOUND__CALLS_PER_SECOND="50",
    )
    (tmp_path / "routes" / "reminders.toml").write_text(ROUTE)
    async with listen(RestPlan(account=ACCOUNT, token=TOKEN, public_url=server.url, speed=200.0)) as (side, address):
        server.environ["GATEWAY_TWILIO__API_BASE_URL"] = address
        try:
            await server.start()
            idle = peak(server)
            made = await post(server, "?name=long&route=reminders", rows())
            assert (made["contacts"], made["skipped"]) == (ROWS, 0)
            await post(server, f"/{made['id']}/preview")
            await post(server, f"/{made['id']}/start")
            async with asyncio.timeout(60):
                while len(side.rung) < 5:
                    await asyncio.sleep(0.05)
            # A shorter list has its share of what the whole one may take beside the gateway itself.
            assert peak(server) < idle + (MEGABYTES - idle) * ROWS / WHOLE
            assert server.stop() == 0
        finally:
            server.kill()


async def post(server: Server, path: str, file: AsyncIterator[bytes] | None = None) -> dict[str, Any]:
    """Send a file, or nothing; what the gateway tells of the campaign."""
    headers = {"Authorization": f"Bearer {ADMIN}"} | ({"Content-Type": "text/csv"} if file else {})
    patience = aiohttp.ClientTimeout(total=None)
    async with (
        aiohttp.ClientSession(timeout=patience) as http,
        http.post(f"{server.url}/api/v1/campaigns{path}", data=file, headers=headers) as answer,
    ):
        told = await answer.json()
        assert answer.status in (200, 201), told
        found: dict[str, Any] = told.get("campaign") or told["preview"]
        return found
