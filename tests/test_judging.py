"""Judging through storage: what is remembered, who writes, and simulated experiments from calls to verdict."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa

from gateway import wiring
from gateway.errors import NotFound
from gateway.judging import Changed, caveat, judge, look
from gateway.storage.engine import Database
from gateway.storage.experiments import take_lease
from gateway.storage.readings import (
    Remembered,
    changed,
    last_evaluation,
    put_readings,
    read_readings,
)
from gateway.storage.schema import tally
from tests.conftest import Running, running, settings_for, write_files

DAY = 86_400_000


@pytest.fixture(autouse=True)
def unled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here the tests judge, and nobody beside them."""
    monkeypatch.setattr(wiring, "LEAD_SECONDS", 3600.0)


async def feed(served: Running, calls: list[tuple[bool, bool]]) -> None:
    """Calls with (success in arm a, success in arm b), each reported at once and for good."""
    for in_a, in_b in calls:
        sid = "CA" + os.urandom(16).hex()
        await served.ring(CallSid=sid)
        arm = (await served.api("GET", f"/calls/{sid}")).body["call"]["assignment"]["arm"]
        told = {"success": in_a if arm == "a" else in_b, "final": True}
        assert (await served.api("POST", f"/calls/{sid}/outcome", told)).status == 200


async def test_a_broken_version_raises_the_alarm_over_http(served: Running) -> None:
    await feed(served, [(place % 10 < 8, place % 10 == 9) for place in range(160)])
    database, now = served.gateway.database, served.gateway.wall()
    evaluation = await judge(database, "support-1", now)
    assert (evaluation.harm, evaluation.verdict.state, evaluation.verdict.arm) == (True, "harm", "b")
    answer = await served.api("GET", "/experiments/support-1/results")
    assert answer.body["verdict"]["state"] == "harm"
    assert {"check": "harm", "number": 3, "status": "alarm"}.items() <= answer.body["health"][2].items()
    assert sum(arm["calls"] for arm in answer.body["arms"]) == 160


async def test_what_was_judged_is_remembered_and_looking_changes_nothing(served: Running) -> None:
    database = served.gateway.database
    async with database.write() as connection:
        # However long the calls take, the gateway's own task judges nothing meanwhile.
        await take_lease(connection, database, "experiments", owner="nobody", now=2**52, until=2**53)
    await feed(served, [(place % 2 == 0, place % 3 == 0) for place in range(60)])
    async with database.read() as connection:
        assert set(await changed(connection)) == {"support-1", "sales-1"}
        evaluation, shown = await look(connection, "support-1", served.gateway.wall())
        assert await read_readings(connection, "support-1") == {}
    await judge(database, "support-1", served.gateway.wall())
    async with database.read() as connection:
        assert await changed(connection) == ["sales-1"]
        kept = await last_evaluation(connection, "support-1")
        memory = await read_readings(connection, "support-1")
    assert kept is not None
    assert await caveat(database, "support-1", served.gateway.wall()) is None
    assert kept["body"]["metrics"] == shown["metrics"]
    assert memory["b", "success"].p == evaluation.evidence.primary["b"].p
    assert await Changed(database, served.gateway.wall)("support-1") is None
    await feed(served, [(True, True)])
    async with database.read() as connection:
        assert set(await changed(connection)) == {"support-1", "sales-1"}
    assert await Changed(database, served.gateway.wall)("support-1") is not None


async def test_a_blocked_verdict_says_why_to_whoever_would_apply_it(served: Running) -> None:
    gateway = served.gateway
    async with gateway.database.write() as connection:
        # Hundreds of calls that all fell to one arm: nobody would believe what is counted of them.
        cell = ("support-1", 1, gateway.wall() // DAY, "", "a", "served", 900, 1.0, 0.0)
        await connection.execute(sa.insert(tally).values(cell))
    told = await caveat(gateway.database, "support-1", gateway.wall())
    assert told is not None
    assert told.startswith("No verdict: the split differs from the plan")
    assert await caveat(gateway.database, "sales-1", gateway.wall()) is None
    assert await caveat(gateway.database, "nothing-1", gateway.wall()) is None


async def test_a_p_value_never_rises_whoever_writes_last(database: Database) -> None:
    first = Remembered(p=0.01, crossed_at=5, crossed_n=900, crossed_up=True, low=None, high=0.2)
    later = Remembered(p=0.2, crossed_at=None, crossed_n=None, crossed_up=None, low=0.0, high=0.1)
    for one in (first, later):
        async with database.write() as connection:
            await put_readings(connection, database, "support-1", {("b", "success"): one})
    async with database.read() as connection:
        found = await read_readings(connection, "support-1")
    assert found["b", "success"] == Remembered(0.01, 5, 900, True, 0.0, 0.1)


async def test_an_experiment_that_is_not_there_is_not_judged(database: Database) -> None:
    with pytest.raises(NotFound):
        await judge(database, "nothing-1", DAY)


def test_a_gateway_that_answers_calls_loads_no_numpy() -> None:
    code = "import sys, gateway.http.app, gateway.wiring, gateway.judging; print('numpy' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout == "False\n"


STARTED_AGAIN = """
import asyncio, sys
from pathlib import Path
from gateway.model import Call
from gateway.settings import load_settings
from gateway.wiring import open_gateway

async def main(folder):
    told = {"GATEWAY_DATABASE__URL": f"sqlite:///{folder}/gateway.db", "GATEWAY_PATHS__DATA": f"{folder}/data"}
    told |= {"GATEWAY_SERVER__PUBLIC_URL": "http://127.0.0.1:8080", "TWILIO_AUTH_TOKEN": "a secret of this account"}
    async with open_gateway(load_settings(Path(folder, "gateway.toml"), told)) as gateway:
        call = Call("CA1", "CA1", "AC1", "inbound", "+14155551234", "+14155550100", gateway.wall(), "ringing")
        twiml = await gateway.switchboard.answer(call)
        print(b"<Stream" in twiml, "numpy" in sys.modules)

asyncio.run(main(sys.argv[1]))
"""


async def test_a_gateway_with_an_open_test_starts_again_and_answers_without_numpy(tmp_path: Path) -> None:
    write_files(tmp_path)
    async with running(settings_for(tmp_path, f"sqlite:///{tmp_path}/gateway.db")) as served:
        assert (await served.api("GET", "/experiments/support-1")).body["experiment"]["status"] == "running"
    command = [sys.executable, "-c", STARTED_AGAIN, str(tmp_path)]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    assert told.stdout.splitlines()[-1:] == ["True False"], told.stderr


async def test_results_are_there_before_the_first_call(tmp_path: Path) -> None:
    write_files(tmp_path)
    async with running(settings_for(tmp_path, f"sqlite:///{tmp_path}/gateway.db")) as served:
        answer = await served.api("GET", "/experiments/support-1/results")
    assert answer.body["verdict"]["state"] == "collecting"
    assert [(arm["arm"], arm["calls"]) for arm in answer.body["arms"]] == [("a", 0), ("b", 0)]


async def test_a_sticky_test_counts_callers_and_a_length_has_its_median(served: Running) -> None:
    for place in range(40):
        sid = "CA" + os.urandom(16).hex()
        form = {"CallSid": sid, "From": f"+1415555{2000 + place % 20}", "To": "+14155550101"}
        await served.ring(**form)
        ended = {"CallStatus": "completed", "CallDuration": "60", "SequenceNumber": "1"}
        await served.ring(f"/twilio/status?call={sid}", **form | ended)
        await served.api("POST", f"/calls/{sid}/outcome", {"success": place % 3 == 0, "final": True})
    evaluation = await judge(served.gateway.database, "sales-1", served.gateway.wall())
    arms = evaluation.evidence.arms
    assert sum(arm.calls for arm in arms.values()) == 40
    assert sum(arm.callers or 0 for arm in arms.values()) == 20
    assert sum(sum(split.counts.values()) for split in evaluation.evidence.splits) == 20
    effect = evaluation.evidence.primary["b"].effect
    assert effect is not None
    assert effect.n == 20
    medians = [arm.readings["duration_seconds"].median for arm in arms.values()]
    assert all(median is not None and 50 < median < 72 for median in medians)
