"""Outbound calls from the API to their end, with the simulated Twilio at the other side of real HTTP."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from gateway.simulator.agent import Behaviour
from gateway.simulator.callee import Callee, Placed
from gateway.simulator.rest import RestFaults, RestSide
from tests.conftest import Running
from tests.outbound import simulated

OVER = {"completed", "busy", "no-answer", "failed", "canceled"}
MESSAGE = "This is Example & Sons; please call us back."


def people(count: int) -> list[str]:
    return [f"+1212555{number:04}" for number in range(1000, 1000 + count)]


async def listed(served: Running) -> list[dict[str, Any]]:
    calls: list[dict[str, Any]] = (await served.api("GET", "/calls?limit=100")).body["calls"]
    return calls


async def test_everybody_is_rung_once_and_followed_to_the_end(tmp_path: Path, database_url: str) -> None:
    faults, everybody = RestFaults(error_after=0.2, callbacks_lost=0.1), people(30)
    async with simulated(tmp_path, database_url, faults=faults) as (served, side):
        for number in everybody:
            placed = await served.api("POST", "/calls", {"route": "reminders", "to": number})
            assert placed.status == 201
        async with asyncio.timeout(60):
            while len(side.rung) < len(everybody):
                await asyncio.sleep(0.05)
            await side.settled()
            # One callback in ten is lost, and the sweeper would ask for those later.
            while len([call for call in await listed(served) if call["status"] in OVER]) < 20:
                await asyncio.sleep(0.05)
        calls = await listed(served)
    assert side.rung == dict.fromkeys(everybody, 1)
    assert {call["assignment"]["arm"] for call in calls} == {"a", "b"}
    sids = {entry.sid for entry in side.entries}
    assert {call["sid"] for call in calls if call["sid"]} <= sids


# -- answering machines ------------------------------------------------------------------------------------


async def placed(served: Running, side: RestSide, **settings: Any) -> tuple[dict[str, Any], Placed]:
    """Place one call and wait for its end; returns it as the gateway has it, and as Twilio has."""
    body = {"route": "reminders", "to": people(1)[0], **settings}
    answer = await served.api("POST", "/calls", body)
    assert answer.status == 201, answer.body
    async with asyncio.timeout(60):
        while not side.entries:
            await asyncio.sleep(0.05)
        await side.settled()
        while (call := await told(served, answer.body["call"]["id"]))["status"] not in OVER:
            await asyncio.sleep(0.05)
    (entry,) = side.entries
    return call, entry


async def told(served: Running, name: str) -> dict[str, Any]:
    call: dict[str, Any] = (await served.api("GET", f"/calls/{name}")).body["call"]
    return call


@pytest.mark.parametrize(
    ("settings", "verbs", "said"),
    [
        ({"machine": "hang_up", "detection": "sync"}, ["Hangup"], []),
        ({"machine": "leave_message", "message": MESSAGE, "detection": "sync"}, ["Say", "Hangup"], [MESSAGE]),
        ({"machine": "hang_up"}, ["Connect"], []),
        ({"machine": "leave_message", "message": MESSAGE}, ["Connect", "Say", "Hangup"], [MESSAGE]),
    ],
    ids=str,
)
async def test_a_machine_is_not_left_to_the_agent(
    tmp_path: Path, database_url: str, settings: dict[str, str], verbs: list[str], said: list[str]
) -> None:
    endless = dict.fromkeys(("support@3", "support@4"), Behaviour(seconds=100_000.0))
    async with simulated(tmp_path, database_url, callee=Callee(machine=1.0), behaviours=endless) as (served, side):
        call, entry = await placed(served, side, **settings)
        async with asyncio.timeout(20):
            while call["served"]["reason"] == "assigned":  # Twilio may tell of the end before it answers
                call = await told(served, call["id"])
    assert (entry.verbs, entry.said, entry.errors) == (verbs, said, [])
    assert bool(entry.versions) == (verbs[0] == "Connect")
    assert entry.success is None
    assert call["served"] == {"by": "none", "arm": None, "version": None, "reason": "machine"}
    assert call["status"] == "completed"


@pytest.mark.parametrize("detection", ["async", "sync"])
@pytest.mark.parametrize(("policy", "machine"), [("continue", 1.0), ("hang_up", 0.0)])
async def test_the_agent_keeps_a_person_and_a_machine_that_it_may_speak_to(
    tmp_path: Path, database_url: str, policy: str, machine: float, detection: str
) -> None:
    async with simulated(tmp_path, database_url, callee=Callee(machine=machine)) as (served, side):
        call, entry = await placed(served, side, machine=policy, detection=detection)
    assert entry.versions == [call["assignment"]["version"]] == [call["served"]["version"]]
    assert (entry.verbs, entry.said) == (["Connect", "Hangup"], [])
    found = [event["answered_by"] for event in call["events"] if event["kind"] == "amd"]
    assert found == [entry.answered_by] == ["machine_start" if machine else "human"]


@pytest.mark.parametrize("detection", ["async", "sync"])
async def test_a_campaign_calls_machines_again_and_people_once(
    tmp_path: Path, database_url: str, detection: str
) -> None:
    everybody = people(8)
    machines, persons = everybody[:3], everybody[3:]
    callees = dict.fromkeys(machines, Callee(machine=1.0))
    settings = {"machine": "hang_up", "detection": detection, "retry": {"machine": "1s"}, "max_attempts": 2}
    contacts = [{"to": number} for number in everybody]
    body = {"name": "spring", "route": "reminders", "contacts": contacts, "settings": settings}
    # They talk for seconds of ours, which leaves time to find out who answered.
    talks = dict.fromkeys(("support@3", "support@4"), Behaviour(seconds=1000.0))
    async with simulated(tmp_path, database_url, callees=callees, behaviours=talks) as (served, side):
        campaign = (await served.api("POST", "/campaigns", body)).body["campaign"]["id"]
        assert (await served.api("POST", f"/campaigns/{campaign}/start")).status == 200
        async with asyncio.timeout(60):
            while (await served.api("GET", f"/campaigns/{campaign}")).body["campaign"]["status"] != "completed":
                await asyncio.sleep(0.1)
        rows = (await served.api("GET", f"/campaigns/{campaign}/contacts?limit=100")).body["contacts"]
        results = (await served.api("GET", "/experiments/reminders-1/results")).body
    assert side.rung == dict.fromkeys(machines, 2) | dict.fromkeys(persons, 1)
    assert {one["to"]: one["result"] for one in rows} == (
        dict.fromkeys(machines, "machine") | dict.fromkeys(persons, "answered")
    )
    if detection == "sync":
        assert all(bool(entry.versions) == (entry.to in persons) for entry in side.entries)
    # A contact counts once, by its latest call.
    shares = {one["name"]: one["arms"].values() for one in results["metrics"]}
    counted = {
        name: [round(sum(arm["n"] * arm["mean"] for arm in arms)), sum(arm["n"] for arm in arms)]
        for name, arms in shares.items()
        if name.startswith("answered_by=")
    }
    assert counted == {
        "answered_by=human": [5, 8],
        "answered_by=machine": [3, 8],
        "answered_by=fax": [0, 8],
        "answered_by=unknown": [0, 8],
    }
