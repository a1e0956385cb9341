"""Outbound calls from the API to their end, with the simulated Twilio at the other side of real HTTP."""

import asyncio
from pathlib import Path

from gateway.simulator.rest import RestFaults
from tests.outbound import simulated

OVER = {"completed", "busy", "no-answer", "failed", "canceled"}


async def test_everybody_is_rung_once_and_followed_to_the_end(tmp_path: Path, database_url: str) -> None:
    people = [f"+1212555{number:04}" for number in range(1000, 1030)]
    faults = RestFaults(error_after=0.2, callbacks_lost=0.1)
    async with simulated(tmp_path, database_url, faults=faults) as (served, side):
        for number in people:
            placed = await served.api("POST", "/calls", {"route": "reminders", "to": number})
            assert placed.status == 201
        async with asyncio.timeout(60):
            while len(side.rung) < len(people):
                await asyncio.sleep(0.05)
            await side.settled()
        calls = (await served.api("GET", "/calls?limit=100")).body["calls"]
    assert side.rung == dict.fromkeys(people, 1)
    ended = [call for call in calls if call["status"] in OVER]
    assert len(ended) >= 20  # one callback in ten is lost, and the sweeper would ask for those later
    assert {call["assignment"]["arm"] for call in calls} == {"a", "b"}
    sids = {entry.sid for entry in side.entries}
    assert {call["sid"] for call in calls if call["sid"]} <= sids
