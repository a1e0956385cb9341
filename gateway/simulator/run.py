"""Runs a simulation from its plan: so many calls, at such a rate, the same for the same seed; it ends by itself."""

import asyncio
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from gateway.simulator.agent import Behaviour, report
from gateway.simulator.call import Faults, Line
from gateway.simulator.caller import call_fields, draw_caller, draw_sid
from gateway.simulator.ledger import Ledger
from gateway.simulator.webhook import Twilio


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What to simulate against which gateway.

    ``rate`` is in calls per second; ``speed`` is how many seconds of a call pass in one of ours; ``people`` is how
    many callers there are. ``reach`` is where the gateway listens, when that is not its public URL.
    """

    public_url: str
    account: str
    token: str
    numbers: tuple[str, ...]
    agent_token: str
    calls: int = 100
    rate: float = 20.0
    concurrency: int = 200
    speed: float = 60.0
    seed: int = 1
    people: int = 400
    reach: str | None = None
    fallback_url: str | None = None
    behaviours: Mapping[str, Behaviour] = field(default_factory=dict)
    faults: Faults = field(default_factory=Faults)


async def simulate(
    plan: Plan, *, ledger: Ledger | None = None, on_change: Callable[[Ledger], None] | None = None
) -> Ledger:
    """Place every call of the plan and return the ledger once the last has ended."""
    ledger = Ledger() if ledger is None else ledger
    slots = asyncio.Semaphore(plan.concurrency)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as http, asyncio.TaskGroup() as calls:
        for index in range(plan.calls):
            await slots.acquire()
            task = calls.create_task(_call(plan, http, ledger, index))
            task.add_done_callback(lambda _: slots.release())
            if on_change is not None:
                task.add_done_callback(lambda _: on_change(ledger))
            await asyncio.sleep(1 / plan.rate)
    return ledger


async def _call(plan: Plan, http: aiohttp.ClientSession, ledger: Ledger, index: int) -> None:
    # Each call has dice of its own, so that what it draws does not depend on what happens beside it.
    dice = random.Random(f"{plan.seed}/{index}")  # noqa: S311 - a simulation, which must be repeatable
    caller = draw_caller(dice, plan.people)
    sid, called = draw_sid(dice, "CA"), dice.choice(plan.numbers)
    reach = plan.reach or plan.public_url

    async def pause(seconds: float) -> None:
        await asyncio.sleep(seconds / plan.speed)

    async def reported(call: str, outcome: Mapping[str, Any]) -> bool:
        return await report(http, reach, plan.agent_token, call, outcome)

    line = Line(
        twilio=Twilio(http, token=plan.token, public_url=plan.public_url, reach=reach),
        dice=dice,
        fields=call_fields(sid, plan.account, caller, called),
        entry=ledger.open(sid, caller.number, called),
        behaviours=plan.behaviours,
        faults=plan.faults,
        pause=pause,
        report=reported,
        now=time.time,
    )
    voice = f"{plan.public_url}/twilio/voice#rc=2&rp=ct,rt,5xx&ct=2000&rt=4000&tt=12000"
    fallback = plan.fallback_url or f"{plan.public_url}/twilio/voice"
    await line.live(voice, fallback, f"{plan.public_url}/twilio/status#rc=5&rp=all")
