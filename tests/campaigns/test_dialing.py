"""Kills the dialer at random while a faulty Twilio places its calls: nobody is rung twice, and nobody is forgotten.

The long form is ``make kill-test``; a control that claims and retries, as a job queue does, must ring somebody twice.
"""

import asyncio
import os
import random
from pathlib import Path

import pytest
import sqlalchemy as sa

from gateway.client import GatewayClient
from gateway.storage.engine import Database
from gateway.storage.schema import attempt
from tests.campaigns.faulty import FaultyTwilio, faulty_twilio
from tests.campaigns.server import Server
from tests.conftest import ADMIN

KILLS = int(os.environ.get("GATEWAY_KILLS", "3"))
PEOPLE = 40
ROUTE = """
direction = "outbound"
numbers = ["+14155550190"]
[versions]
a = "support@3"
"""

# The same rules in a fraction of the time.
QUICK = """
from gateway import dialer
from gateway.carrier import client
client.REQUEST_SECONDS = 0.4
dialer.STEP_SECONDS = 0.02
dialer.RECONCILE_SECONDS = 0.2
dialer.SETTLE_MS = 700
dialer.ABSENT_MS = 2_500
"""

# Whatever is not known to have worked is done again.
NAIVE = """
from gateway.dialer import Dialer
send = Dialer._send
async def again(self, claimed):
    await send(self, claimed)
    await self._outbox.move(claimed.id, was="unknown", state="planned")
async def reconcile(self):
    for one in await self._outbox.unsettled("intent", "unknown"):
        if one.owner != self._owner.name:
            await self._outbox.move(one.id, was=one.state, state="planned")
Dialer._send, Dialer.reconcile = again, reconcile
"""


def people(count: int) -> list[str]:
    return [f"+1212555{number:04}" for number in range(1000, 1000 + count)]


async def rung(
    folder: Path, url: str, kills: int, *, dialers: int, patch: str = ""
) -> tuple[FaultyTwilio, dict[str, str]]:
    """Place a call to everybody, killing gateways meanwhile; who was rung, and each number's state in the end."""
    dice, everybody = random.Random(3), people(PEOPLE + 10 * kills)
    async with faulty_twilio(seed=4) as (twilio, base_url):
        servers = [at_work(folder / str(number), url, base_url, patch=patch) for number in range(dialers)]
        for server in servers:
            await server.start()
        async with GatewayClient(servers[0].url, ADMIN) as gateway:
            for number in everybody:
                await gateway.post("/calls", {"route": "reminders", "to": number})
        for _ in range(kills):
            await asyncio.sleep(dice.uniform(0.05, 0.6))
            victim = dice.choice(servers)
            victim.kill()
            await victim.start()
        database = Database(url)
        async with asyncio.timeout(60):
            while {"planned", "intent", "unknown"} & set((found := await states(database)).values()):
                await asyncio.sleep(0.2)
        await database.close()
        assert [server.stop() for server in servers] == [0] * dialers
    return twilio, found


def at_work(folder: Path, url: str, base_url: str, *, patch: str) -> Server:
    """A gateway with an outbound route and files of its own."""
    server = Server(
        folder,
        patch=QUICK + patch,
        GATEWAY_DATABASE__URL=url,
        GATEWAY_TWILIO__API_BASE_URL=base_url,
        GATEWAY_OUTBOUND__ALLOWED_COUNTRIES='["US"]',
        GATEWAY_OUTBOUND__WINDOW="always",
        GATEWAY_OUTBOUND__CALLS_PER_SECOND="60",
        GATEWAY_OUTBOUND__MAX_CONCURRENT="1000",
    )
    (folder / "routes" / "reminders.toml").write_text(ROUTE)
    return server


async def states(database: Database) -> dict[str, str]:
    """The state of the attempt at each number."""
    async with database.read() as connection:
        return {row.to_number: row.state for row in await connection.execute(sa.select(attempt))}


@pytest.mark.timeout(150 + 20 * KILLS)
async def test_nobody_is_rung_twice_and_nobody_forgotten(tmp_path: Path, database_url: str) -> None:
    # One process writes a SQLite file; on PostgreSQL two dialers share the work.
    dialers = 1 if database_url.startswith("sqlite") else 2
    twilio, found = await rung(tmp_path, database_url, KILLS, dialers=dialers)
    assert {number: count for number, count in twilio.rung.items() if count > 1} == {}
    # Whoever was rung is known to have been rung, and everybody else is known not to have been.
    assert {number for number, state in found.items() if state in ("placed", "closed")} == set(twilio.rung)
    assert set(found.values()) <= {"placed", "closed", "rejected", "absent"}


@pytest.mark.timeout(150)
async def test_the_control_that_claims_and_retries_rings_somebody_twice(tmp_path: Path) -> None:
    twilio, _ = await rung(tmp_path, f"sqlite:///{tmp_path}/gateway.db", 2, dialers=1, patch=NAIVE)
    assert max(twilio.rung.values()) > 1
