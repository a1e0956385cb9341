"""Kills the dialer at random while a faulty Twilio places its calls: nobody is rung twice, and nobody is forgotten.

The long form is ``make kill-test``; a control that claims and retries, as a job queue does, must ring somebody twice.
"""

import asyncio
import os
import random
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from gateway.client import GatewayClient
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


async def rung(folder: Path, kills: int, *, patch: str) -> tuple[FaultyTwilio, Counter[str], list[str]]:
    """Place a call to everybody, kill the gateway that often meanwhile; who was rung, and what became of each."""
    dice, everybody = random.Random(3), people(PEOPLE + 10 * kills)
    async with faulty_twilio(seed=4) as (twilio, url):
        server = Server(
            folder,
            patch=QUICK + patch,
            GATEWAY_TWILIO__API_BASE_URL=url,
            GATEWAY_OUTBOUND__ALLOWED_COUNTRIES='["US"]',
            GATEWAY_OUTBOUND__WINDOW="always",
            GATEWAY_OUTBOUND__CALLS_PER_SECOND="60",
            GATEWAY_OUTBOUND__MAX_CONCURRENT="1000",
        )
        (folder / "routes" / "reminders.toml").write_text(ROUTE)
        await server.start()
        async with GatewayClient(server.url, ADMIN) as gateway:
            for number in everybody:
                await gateway.post("/calls", {"route": "reminders", "to": number})
        for _ in range(kills):
            await asyncio.sleep(dice.uniform(0.05, 0.6))
            server.kill()
            await server.start()
        async with asyncio.timeout(60):
            while open_states(server.database):
                await asyncio.sleep(0.2)
        assert server.stop() == 0
    with closing(sqlite3.connect(server.database)) as connection:
        states = Counter(row[0] for row in connection.execute("SELECT state FROM attempt"))
        ended = [row[0] for row in connection.execute("SELECT to_number FROM attempt WHERE state != 'rejected'")]
    return twilio, states, ended


def open_states(database: Path) -> int:
    with closing(sqlite3.connect(database)) as connection:
        query = "SELECT count(*) FROM attempt WHERE state IN ('planned', 'intent', 'unknown')"
        count: int = connection.execute(query).fetchone()[0]
        return count


@pytest.mark.timeout(150 + 20 * KILLS)
async def test_nobody_is_rung_twice_and_nobody_forgotten(tmp_path: Path) -> None:
    twilio, states, ended = await rung(tmp_path, KILLS, patch="")
    assert {number: count for number, count in twilio.rung.items() if count > 1} == {}
    # Whoever was rung is known to have been rung, and everybody else is known not to have been.
    assert set(twilio.rung) <= set(ended)
    assert set(states) <= {"placed", "closed", "rejected", "absent"}
    assert states["closed"] + states["placed"] == len(twilio.rung)


@pytest.mark.timeout(150)
async def test_the_control_that_claims_and_retries_rings_somebody_twice(tmp_path: Path) -> None:
    twilio, _, _ = await rung(tmp_path, 2, patch=NAIVE)
    assert max(twilio.rung.values()) > 1
