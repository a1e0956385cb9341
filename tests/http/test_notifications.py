"""Notifications as an operator meets them: the test over the API, the list, the note on /readyz, the counters."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway import wiring
from tests.conftest import WEBHOOK_SECRET, Running, running, settings_for, write_files
from tests.receiving import Receiving, receiving
from tests.test_judging import feed

GUIDE = Path(__file__).parent.parent.parent / "docs/how-to/notifications.md"


@pytest.fixture
async def told(tmp_path: Path, database_url: str) -> AsyncIterator[tuple[Receiving, Running]]:
    async with receiving() as double:
        write_files(tmp_path)
        ops: dict[str, Any] = {"url": double.url, "secret": WEBHOOK_SECRET, "events": ["campaign.paused"]}
        receivers = json.dumps({"ops": ops})
        settings = settings_for(tmp_path, database_url, GATEWAY_NOTIFICATIONS__RECEIVERS=receivers)
        async with running(settings) as served:
            yield double, served


async def read(served: Running, path: str) -> str:
    async with served.http.get(served.url + path) as answer:
        return await answer.text()


async def test_a_test_reaches_every_receiver_and_tells_what_came_of_it(told: tuple[Receiving, Running]) -> None:
    double, served = told
    double.answers = [500]
    answer = await served.api("POST", "/notifications/test")
    assert answer.status == 200, answer.body
    name = answer.body["notification"]["id"]
    assert answer.body["notification"]["deliveries"] == [
        {"receiver": "ops", "state": "failed", "text": "answered 500"}
    ]
    assert "the receiver ops did not take the last notice: answered 500" in await read(served, "/readyz")
    assert "gateway_notices_failed_total 1.0" in await read(served, "/metrics")
    answer = await served.api("POST", "/notifications/test")
    assert answer.body["notification"]["deliveries"][0]["state"] == "sent"
    assert "did not take" not in await read(served, "/readyz")
    assert "gateway_notices_sent_total 1.0" in await read(served, "/metrics")
    double.verify()
    assert ([one["type"] for one in double.told], double.ids[0]) == (["test", "test"], name)
    listed = (await served.api("GET", "/notifications")).body
    assert [one["type"] for one in listed["notifications"]][:2] == ["test", "test"]
    last = listed["notifications"][1]
    (delivery,) = last["deliveries"]
    assert (last["id"], delivery["state"], delivery["tries"], delivery["due_at"]) == (name, "failed", 1, None)
    first = (await served.api("GET", "/notifications?limit=1")).body
    rest = (await served.api("GET", f"/notifications?limit=1&cursor={first['next']}")).body
    assert [one["notifications"][0]["id"] for one in (first, rest)] == [double.ids[1], double.ids[0]]


async def test_the_life_of_an_experiment_arrives_signed_and_once(tmp_path: Path, database_url: str) -> None:
    async with receiving() as double:
        write_files(tmp_path)
        receivers = json.dumps({"ops": {"url": double.url, "secret": WEBHOOK_SECRET}})
        settings = settings_for(tmp_path, database_url, GATEWAY_NOTIFICATIONS__RECEIVERS=receivers)

        async def came(*kinds: str) -> None:
            while not {*kinds} <= {one["type"] for one in double.told}:
                await asyncio.sleep(0.05)

        async with running(settings) as served:
            await feed(served, [(True, False)] * 80)
            await led(served)
            await came("experiment.started", "experiment.alarm", "experiment.verdict")
            await feed(served, [(True, False)] * 3)
            await led(served)
            await served.api("POST", "/experiments/support-1/stop", {"reason": "B does harm"})
        async with running(settings) as served:
            await led(served)
            await came("experiment.stopped")
        double.verify()
    about = [one for one in double.told if one["subject"] == "experiment support-1"]
    kinds = ("alarm", "started", "stopped", "verdict")
    assert sorted(one["type"] for one in about) == [f"experiment.{kind}" for kind in kinds]
    alarm, started, stopped, verdict = (one["data"] for one in sorted(about, key=lambda one: one["type"]))
    assert set(alarm) == {"check", "number", "level", "text", "arm", "metric"}
    assert set(started) == set(stopped) == {"author", "reason", "detail"}
    assert (stopped["author"], stopped["reason"]) == ("admin", "B does harm")
    assert set(verdict) == {"before", "state", "text", "arm", "exploratory", "caveat", "arms"}
    guide = GUIDE.read_text(encoding="utf-8")
    for name in {*alarm, *started, *stopped, *verdict}:
        assert f"`{name}`" in guide, name


async def led(served: Running) -> None:
    """Let the gateway judge now, and not when its turn comes."""
    await wiring.lead(served.gateway)


async def test_only_an_admin_sees_and_tests(told: tuple[Receiving, Running]) -> None:
    double, served = told
    made = await served.api("POST", "/tokens", {"name": "kim", "role": "editor"})
    secret = made.body["token"]["secret"]
    for method, path in (("GET", "/notifications"), ("POST", "/notifications/test")):
        assert (await served.api(method, path, token=secret)).status == 403
    assert double.came == []


async def test_a_test_repeated_under_its_key_is_sent_once(told: tuple[Receiving, Running]) -> None:
    double, served = told
    first = await served.api("POST", "/notifications/test", Idempotency_Key="k")
    again = await served.api("POST", "/notifications/test", Idempotency_Key="k")
    assert (first.body, len(double.came)) == (again.body, 1)


async def test_without_a_receiver_a_test_says_what_is_missing(served: Running) -> None:
    answer = await served.api("POST", "/notifications/test")
    assert (answer.status, "notifications.receivers" in answer.body["error"]["message"]) == (422, True)


async def test_a_receiver_that_hangs_holds_up_no_call(told: tuple[Receiving, Running]) -> None:
    double, served = told
    double.gate.clear()
    asking = asyncio.create_task(served.api("POST", "/notifications/test"))
    while not double.came:
        await asyncio.sleep(0.01)
    for _ in range(20):
        answer = await served.ring()
        assert (answer.status, "<Response>" in answer.text) == (200, True)
    assert not asking.done()
    double.gate.set()
    assert (await asking).status == 200
