"""Kills the dialer at random while a faulty Twilio places its calls: nobody is rung twice, and nobody is forgotten.

The long form is ``make kill-test``; a control that claims and retries, as a job queue does, must ring somebody twice.
"""

import asyncio
import os
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from gateway.client import GatewayClient
from gateway.simulator.callee import Callee, Placed
from gateway.simulator.listen import listen
from gateway.simulator.rest import RestFaults, RestPlan, RestSide
from gateway.storage.engine import Database
from gateway.storage.schema import attempt
from tests.campaigns.server import Server
from tests.conftest import ACCOUNT, ADMIN, TOKEN

KILLS = int(os.environ.get("GATEWAY_KILLS", "3"))
SINGLES, PEOPLE = 15, 20
ROUTE = """
direction = "outbound"
numbers = ["+14155550190"]
[versions]
a = "support@3"
b = "support@4"
[ab_test]
enabled = true
name = "greeting"
split = { a = 50, b = 50 }
"""
# Each strikes many times more often than in life.
FAULTS = RestFaults(
    hang_before=0.03,
    error_before=0.05,
    too_many=0.03,
    hang_after=0.08,
    error_after=0.08,
    reset_after=0.08,
    garbage_after=0.03,
    callbacks_lost=0.2,
)
SETTINGS = {"max_attempts": 2, "max_attempts_per_day": 2, "retry": {"busy": "1s", "no_answer": "1s"}}

# The same rules in a fraction of the time.
QUICK = """
from gateway import dialer, wiring
from gateway.carrier import client
client.REQUEST_SECONDS = 0.4
dialer.STEP_SECONDS = 0.02
dialer.RECONCILE_SECONDS = 0.2
dialer.SETTLE_MS = 700
dialer.ABSENT_MS = 2_500
dialer._AGAIN_MS = 500
wiring.SWEEP_SECONDS = 0.5
wiring._ASK_AFTER = 3_000
"""

# Whatever is not known to have worked is done again.
NAIVE = """
from gateway.dialer import Dialer
send = Dialer._send
async def again(self, claimed, hours):
    await send(self, claimed, hours)
    await self._outbox.move(claimed.id, was="unknown", state="planned")
async def reconcile(self):
    for one in await self._outbox.unsettled("intent", "unknown"):
        if one.owner != self._owner.name:
            await self._outbox.move(one.id, was=one.state, state="planned")
Dialer._send, Dialer.reconcile = again, reconcile
"""


@dataclass(kw_only=True)
class Seen:
    """What the campaigns left: Twilio's books, and our own of attempts and contacts."""

    books: list[Placed]
    attempts: dict[str, str]
    campaigns: list[dict[str, Any]]
    contacts: list[dict[str, Any]]

    def rung_twice(self) -> dict[str, list[str]]:
        """Attempts that are more than one call, and numbers called again though the call before was no miss."""
        found = {name: ["sent"] * count for name, count in self.sent().items() if count > 1}
        by_number: dict[str, list[Placed]] = {}
        for call in self.books:
            by_number.setdefault(call.to, []).append(call)
        for number, calls in by_number.items():
            before, after = calls[:-1], calls[1:]
            missed = all(call.status in ("busy", "no-answer") for call in before)
            apart = all((one.ended_at or 0) <= other.created_at for one, other in zip(before, after, strict=True))
            if len(calls) > SETTINGS["max_attempts"] or not (missed and apart):  # type: ignore[operator]
                found[number] = [call.status for call in calls]
        return found

    def sent(self) -> Counter[str]:
        """How many calls Twilio made of each attempt."""
        return Counter(call.attempt for call in self.books)


def people(count: int, first: int = 1000) -> list[str]:
    return [f"+1212555{number:04}" for number in range(first, first + count)]


async def dialled(folder: Path, url: str, kills: int, *, dialers: int, patch: str = "") -> Seen:
    """Call everybody, singly and by campaigns, killing gateways meanwhile; what is in the books in the end."""
    dice, campaigns = random.Random(3), list[str]()
    plan = RestPlan(
        account=ACCOUNT,
        token=TOKEN,
        # Callbacks go to the very address that each gateway asks for, so that none is reached in another's place.
        public_url="http://127.0.0.1",
        agent_token=None,
        rate=10.0,
        lag=50.0,
        speed=200.0,
        seed=4,
        callee=Callee(busy=0.25, no_answer=0.15),
        faults=FAULTS,
    )
    async with listen(plan) as (side, base_url):
        servers = [at_work(folder / str(number), url, base_url, patch) for number in range(dialers)]
        try:
            for server in servers:
                await server.start()
            async with GatewayClient(servers[0].url, ADMIN) as gateway:
                for number in people(SINGLES):
                    await gateway.post("/calls", {"route": "reminders", "to": number})
            # Each kill has people of its own to disturb, however long the last start took.
            for round_ in range(kills):
                campaigns.append(await start_campaign(servers[0], people(PEOPLE, 2000 + PEOPLE * round_)))
                await kill(dice.choice(servers), side, dice)
            seen = await at_the_end(servers[0], url, campaigns, side)
            assert [server.stop() for server in servers] == [0] * dialers
        finally:
            for server in servers:
                server.kill()
    return seen


async def start_campaign(server: Server, numbers: list[str]) -> str:
    """Make a campaign that calls the numbers; its id."""
    body = {"name": "spring", "route": "reminders", "settings": SETTINGS, "contacts": [{"to": to} for to in numbers]}
    async with GatewayClient(server.url, ADMIN) as gateway:
        campaign: str = (await gateway.post("/campaigns", body))["campaign"]["id"]
        await gateway.post(f"/campaigns/{campaign}/start", {})
    return campaign


async def kill(victim: Server, side: RestSide, dice: random.Random) -> None:
    """Kill a gateway when a few more calls have been asked for, and start it again."""
    enough = side.creates + dice.randint(1, 8)
    async with asyncio.timeout(30):
        while side.creates < enough:
            await asyncio.sleep(0.005)
    await asyncio.sleep(dice.uniform(0, 0.1))
    victim.kill()
    await victim.start()


def at_work(folder: Path, url: str, base_url: str, patch: str) -> Server:
    """A gateway with an outbound route and files of its own."""
    server = Server(
        folder,
        patch=QUICK + patch,
        GATEWAY_DATABASE__URL=url,
        GATEWAY_TWILIO__API_BASE_URL=base_url,
        GATEWAY_OUTBOUND__ALLOWED_COUNTRIES='["US"]',
        GATEWAY_OUTBOUND__WINDOW="always",
        GATEWAY_OUTBOUND__CALLS_PER_SECOND="15",
        GATEWAY_OUTBOUND__MAX_CONCURRENT="1000",
        GATEWAY_OUTBOUND__DAILY_CAP="100000",
    )
    (folder / "routes" / "reminders.toml").write_text(ROUTE)
    return server


async def at_the_end(server: Server, url: str, campaigns: list[str], side: RestSide) -> Seen:
    """Wait until every campaign is completed and no attempt is open, and read all books."""
    late = asyncio.get_running_loop().time() + 90
    async with opened(url) as database, GatewayClient(server.url, ADMIN) as gateway:
        while True:
            running = (await gateway.get("/campaigns", status="running"))["campaigns"]
            found = await states(database)
            if not running and not {"planned", "intent", "unknown", "placed"} & set(found.values()):
                break
            if asyncio.get_running_loop().time() > late:
                left = (
                    [(await gateway.get(f"/campaigns/{one['id']}"))["campaign"]["counts"] for one in running],
                    Counter(found.values()),
                )
                pytest.fail(f"somebody is forgotten: {left}")
            await asyncio.sleep(0.2)
        await side.settled()
        shown = [(await gateway.get(f"/campaigns/{name}"))["campaign"] for name in campaigns]
        contacts = [
            one for name in campaigns for one in (await gateway.get(f"/campaigns/{name}/contacts"))["contacts"]
        ]
    return Seen(books=side.entries, attempts=found, campaigns=shown, contacts=contacts)


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Database]:
    """A database that others write."""
    database = Database(url)
    try:
        yield database
    finally:
        await database.close()


async def states(database: Database) -> dict[str, str]:
    """The state of every attempt."""
    async with database.read() as connection:
        return {row.id: row.state for row in await connection.execute(sa.select(attempt.c.id, attempt.c.state))}


@pytest.mark.timeout(180 + 20 * KILLS)
async def test_nobody_is_rung_twice_and_nobody_forgotten(tmp_path: Path, database_url: str) -> None:
    # One process writes a SQLite file; on PostgreSQL two dialers share the work.
    dialers = 1 if database_url.startswith("sqlite") else 2
    seen = await dialled(tmp_path, database_url, KILLS, dialers=dialers)
    assert seen.rung_twice() == {}
    # Whoever was rung is known to have been rung, and everybody else is known not to have been.
    assert {name for name, state in seen.attempts.items() if state == "closed"} == set(seen.sent())
    assert set(seen.attempts.values()) <= {"closed", "rejected", "absent"}
    assert [one["status"] for one in seen.campaigns] == ["completed"] * KILLS
    assert [one["state"] for one in seen.contacts] == ["done"] * PEOPLE * KILLS
    # Who was never rung is told as such, and who was busy had the second call that the rules promise.
    unrung = {one["to"] for one in seen.contacts} - {call.to for call in seen.books}
    assert {one["result"] for one in seen.contacts if one["to"] in unrung} <= {"unknown", "failed"}
    again = [number for number, count in Counter(call.to for call in seen.books).items() if count == 2]
    assert again


@pytest.mark.timeout(180)
async def test_the_control_that_claims_and_retries_rings_somebody_twice(tmp_path: Path) -> None:
    seen = await dialled(tmp_path, f"sqlite:///{tmp_path}/gateway.db", 2, dialers=1, patch=NAIVE)
    assert seen.rung_twice() != {}
