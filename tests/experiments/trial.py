"""An experiment as it happens: people ring a real gateway over HTTP, agents report, days of its clock pass.

Every call is a signed voice webhook, the TwiML it is answered with, an outcome over the API and a status callback.
CallSids, callers and what becomes of each call are drawn from a fixed seed, and so is the salt of an experiment: the
same calls fall to the same arms in every run.
"""

import asyncio
import random
import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from typing import Any, NamedTuple

from gateway.wiring import lead
from tests.conftest import AGENTS, Answer, Running, running, settings_for, write_files

HOUR = 3_600_000
DAY = 24 * HOUR
MONDAY = int(datetime(2026, 1, 5, 10, tzinfo=UTC).timestamp() * 1000)
SEED = 1
LINES = 48  # calls under way at once
COUNTRIES = ("US", "US", "DE", "GB")

Outcome = Mapping[str, Any]


class Person(NamedTuple):
    """Who calls: a number that nobody else has, from a country, and ``luck`` from 0 to 1 for what becomes of it."""

    sid: str
    number: str
    country: str
    luck: float
    temper: float


Agent = Callable[[str, Person], Outcome | None]
"""What the agent of a version reports of a call with that person; None when nobody hears of it."""


def completing(**rates: float) -> Agent:
    """Agents who complete such shares of their calls, by arm, and say so for good."""
    return lambda arm, person: {"success": person.luck < rates[arm], "final": True}


def route(number: str, *, a: int = 50, b: int = 50, effect: float = 0.1, more: str = "") -> str:
    """A route file with a test that is on; ``more`` are lines of its plan."""
    return f"""
direction = "inbound"
numbers = ["{number}"]
fallback = {{ kind = "number", to = "+14155550199" }}
[versions]
a = "support@3"
b = "support@4"
[ab_test]
enabled = true
name = "shorter greeting"
split = {{ a = {a}, b = {b} }}
[ab_test.plan]
hypothesis = "A shorter greeting keeps more callers"
primary = {{ metric = "success", better = "higher", min_effect = {effect} }}
{more}
"""


def line(place: int) -> str:
    """The number of the test at that place."""
    return f"+1415555{place:04d}"


@dataclass(kw_only=True)
class Trial:
    """A gateway whose clock is moved by hand, and its callers; each test is ``t<place>-1`` on a line of its own.

    ``rung`` counts the calls; ``strangers`` is what those heard who were put through to no version.
    """

    served: Running
    now: list[int]
    rung: int = 0
    strangers: list[str] = field(default_factory=list)

    def people(self, count: int) -> list[Person]:
        """The next callers."""
        return [self._person(self.rung + place) for place in range(count)]

    def _person(self, index: int) -> Person:
        # Dice of their own, so that what becomes of one does not depend on the others.
        dice = random.Random(f"{SEED}/{index}")
        sid, country = f"CA{dice.getrandbits(128):032x}", dice.choice(COUNTRIES)
        return Person(sid, f"+1212{index:07d}", country, dice.random(), dice.random())

    async def ring(self, place: int, count: int, agent: Agent) -> None:
        """Let so many people call the line of a test, and tell the gateway what became of each."""
        slots = asyncio.Semaphore(LINES)
        people = self.people(count)
        self.rung += count

        async def one(person: Person) -> None:
            async with slots:
                await self._call(person, line(place), agent)

        await asyncio.gather(*map(one, people))

    async def _call(self, person: Person, called: str, agent: Agent) -> None:
        form = {"CallSid": person.sid, "From": person.number, "To": called, "FromCountry": person.country}
        answer = await self.served.ring(**form)
        assert answer.status == 200
        given = dict(re.findall(r'<Parameter name="([^"]+)" value="([^"]*)"', answer.text))
        if "gateway_version" not in given:
            self.strangers.append(answer.text)
            return
        arm = {"support@3": "a", "support@4": "b"}[given["gateway_version"]]
        outcome = agent(arm, person)
        if outcome is not None:
            told = await self.served.api("POST", f"/calls/{given['gateway_call']}/outcome", outcome)
            assert told.status == 200, told.body
        await self._hang_up(form, seconds=30 + round(120 * person.temper))

    async def _hang_up(self, form: Mapping[str, str], *, seconds: int) -> None:
        ended = {
            "CallStatus": "completed",
            "CallDuration": str(seconds),
            "CallbackSource": "call-progress-events",
            "SequenceNumber": "0",
            "Timestamp": format_datetime(datetime.fromtimestamp(self.now[0] / 1000, UTC)),
        }
        assert (await self.served.ring("/twilio/status", **{**form, **ended})).status == 204

    async def look(self, *places: int) -> list[dict[str, Any]]:
        """The leader judges, as it does every few seconds; then the results of each test as anybody reads them."""
        await lead(self.served.gateway)
        return [await self.results(place) for place in places]

    async def results(self, place: int) -> dict[str, Any]:
        answer = await self.served.api("GET", f"/experiments/t{place}-1/results")
        assert answer.status == 200, answer.body
        body: dict[str, Any] = answer.body
        return body

    async def experiment(self, place: int) -> dict[str, Any]:
        answer = await self.served.api("GET", f"/experiments/t{place}-1")
        assert answer.status == 200, answer.body
        shown: dict[str, Any] = answer.body["experiment"]
        return shown

    async def reweigh(self, place: int, **split: int) -> Answer:
        """Publish other weights over the API, as an operator does."""
        found = await self.served.api("GET", f"/routes/t{place}")
        body = found.body["route"]["body"]
        body["ab_test"]["split"] = split
        return await self.served.api("PUT", f"/routes/t{place}", body, If_Match=found.headers["ETag"])

    async def win(self, place: int, arm: str) -> None:
        """Stop a test and make an arm Version A of its line."""
        for verb in ("stop", "apply"):
            done = await self.served.api(
                "POST", f"/experiments/t{place}-1/{verb}", {"winner": arm, "reason": "better"}
            )
            assert done.status == 200, done.body

    async def latest(self, count: int) -> list[dict[str, Any]]:
        """The calls that came in last."""
        calls: list[dict[str, Any]] = (await self.served.api("GET", f"/calls?limit={count}")).body["calls"]
        return calls

    async def execute(self, statements: Mapping[str, str]) -> None:
        """Do to the database what its owner may do beside the gateway, in its own dialect."""
        database = self.served.gateway.database
        async with database.write() as connection:
            driver: Any = (await connection.get_raw_connection()).driver_connection
            await getattr(driver, "executescript" if database.embedded else "execute")(statements[database.dialect])

    def pass_time(self, milliseconds: int) -> None:
        self.now[0] += milliseconds

    async def mature(self) -> None:
        """Count what has become mature, as the gateway does every few seconds."""
        while await self.served.gateway.ledger.mature():
            pass


@asynccontextmanager
async def trial(folder: Path, database_url: str, routes: Sequence[str]) -> AsyncIterator[Trial]:
    """A gateway with a test on each of the routes, from a Monday morning on."""
    write_files(folder, AGENTS | {f"routes/t{place}.toml": text for place, text in enumerate(routes)})
    now, luck = [MONDAY], random.Random(SEED).randbytes
    async with running(settings_for(folder, database_url), wall=lambda: now[0], luck=luck) as served:
        yield Trial(served=served, now=now)


def found(results: Mapping[str, Any]) -> dict[int, tuple[str, str]]:
    """What the health checks found: status and sentence by the number of the rule."""
    return {one["number"]: (one["status"], one["text"]) for one in results["health"] if one["status"] != "ok"}


def arms_of(results: Mapping[str, Any], metric: str = "success") -> dict[str, tuple[int, float]]:
    """Calls and mean of each arm."""
    shown = next(one for one in results["metrics"] if one["name"] == metric)
    return {name: (arm["n"], arm["mean"]) for name, arm in shown["arms"].items()}


def effect_of(results: Mapping[str, Any], metric: str = "success") -> dict[str, Any]:
    """The effect of B."""
    effect: dict[str, Any] = next(one for one in results["metrics"] if one["name"] == metric)["effects"]["b"]
    return effect
