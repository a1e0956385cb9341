"""Judging through storage: what is remembered, who writes, what is told, and calls that become a verdict."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from gateway import wiring
from gateway.errors import NotFound
from gateway.judging import Changed, caveat, judge, look
from gateway.storage.bulk import Many
from gateway.storage.engine import Database
from gateway.storage.experiments import take_lease
from gateway.storage.notices import list_notices
from gateway.storage.readings import (
    Remembered,
    last_evaluation,
    put_readings,
    read_readings,
)
from gateway.storage.schema import tally
from gateway.storage.tallies import MERGED, Cell, Changes, Count, merge_statement
from gateway.wiring import wall_clock
from tests.conftest import Running, running, settings_for, write_files

DAY = 86_400_000


@pytest.fixture(autouse=True)
def unled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here the tests judge, and nobody beside them."""
    monkeypatch.setattr(wiring, "LEAD_SECONDS", 3600.0)


@pytest.fixture
async def alone(database: Database, database_url: str, tmp_path: Path) -> AsyncIterator[Running]:
    """A gateway that judges nothing by itself, however long a test takes: somebody else leads."""
    now = wall_clock()
    async with database.write() as connection:
        await take_lease(connection, database, "experiments", owner="the test", now=now, until=now + DAY)
    write_files(tmp_path)
    async with running(settings_for(tmp_path, database_url)) as started:
        yield started


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


async def test_what_was_judged_is_remembered_and_looking_changes_nothing(alone: Running) -> None:
    database = alone.gateway.database
    await feed(alone, [(place % 2 == 0, place % 3 == 0) for place in range(60)])
    async with database.read() as connection:
        evaluation, shown = await look(connection, "support-1", alone.gateway.wall())
        assert await read_readings(connection, "support-1") == {}
        assert await last_evaluation(connection, "support-1") is None
    assert await Changed(database, alone.gateway.wall)("support-1") is not None
    async with database.read() as connection:
        kept = await last_evaluation(connection, "support-1")
        memory = await read_readings(connection, "support-1")
    assert kept is not None
    assert await caveat(database, "support-1", alone.gateway.wall()) is None
    assert kept["body"]["metrics"] == shown["metrics"]
    assert memory["b", "success"].p == evaluation.evidence.primary["b"].p
    assert await Changed(database, alone.gateway.wall)("support-1") is None
    await feed(alone, [(True, True)])
    assert await Changed(database, alone.gateway.wall)("support-1") is not None


async def count(database: Database, *, a: tuple[int, int], b: tuple[int, int]) -> None:
    """Count calls of the support line's test: of each arm so many successes of so many."""
    changes = Changes()
    for arm, (successes, n) in {"a": a, "b": b}.items():
        for metric, mean in (("served", 1.0), ("success", successes / n)):
            cell = Cell("support-1", 1, 1, "", arm, metric)
            changes.merge(cell, Count(n=n, mean=mean, m2=n * mean * (1 - mean)))
    merge = Many(database, merge_statement(database), MERGED)
    await database.transact(lambda connection: merge(connection, changes.merges()))


async def told(served: Running) -> list[tuple[str, dict[str, Any]]]:
    """The notices about the support line's test since it began, the oldest first."""
    async with served.gateway.database.read() as connection:
        found = await list_notices(connection, before=None, limit=100)
    kinds = ("experiment.alarm", "experiment.verdict")
    return [(one["kind"], one["body"]) for one in reversed(found) if one["kind"] in kinds]


async def test_what_is_new_is_told_once_in_the_transaction_that_keeps_it(
    alone: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    database, wall = alone.gateway.database, alone.gateway.wall
    await judge(database, "support-1", wall())
    assert await told(alone) == []
    await count(database, a=(30, 30), b=(0, 30))

    async def fails(*args: Any, **more: Any) -> None:
        raise OSError("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr("gateway.judging.put_evaluation", fails)
        with pytest.raises(OSError, match="disk"):
            await judge(database, "support-1", wall())
    assert await told(alone) == []
    await asyncio.gather(*(judge(database, "support-1", wall()) for _ in range(3)))
    (first, alarm), (second, verdict) = await told(alone)
    assert (first, alarm["check"], alarm["number"], alarm["level"]) == ("experiment.alarm", "harm", 3, "alarm")
    assert (alarm["arm"], alarm["metric"]) == ("b", "success")
    assert "B does harm" in alarm["text"]
    assert (second, verdict["before"], verdict["state"], verdict["arm"]) == (
        "experiment.verdict",
        "collecting",
        "harm",
        "b",
    )
    await count(database, a=(3, 3), b=(0, 3))
    assert await Changed(database, wall)("support-1") is not None
    assert len(await told(alone)) == 2


async def test_a_verdict_is_told_each_time_it_turns_and_an_alarm_only_the_first_time(alone: Running) -> None:
    database, wall = alone.gateway.database, alone.gateway.wall
    for a, b in (((30, 30), (0, 30)), ((0, 30), (30, 30)), ((90, 90), (0, 90))):
        await count(database, a=a, b=b)
        await judge(database, "support-1", wall())
    found = await told(alone)
    turns = [(body["before"], body["state"]) for kind, body in found if kind == "experiment.verdict"]
    assert turns == [("collecting", "harm"), ("harm", "running"), ("running", "harm")]
    assert [kind for kind, _ in found].count("experiment.alarm") == 1


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


async def test_a_fault_in_one_experiment_holds_up_no_other(alone: Running) -> None:
    asked: list[str] = []

    async def judging(name: str) -> None:
        asked.append(name)
        raise KeyError("a fault of ours")

    async with alone.gateway.database.write() as connection:
        now = alone.gateway.wall() + 2 * DAY
        await take_lease(connection, alone.gateway.database, "experiments", owner="the test", now=now, until=0)
    await alone.gateway.experiments.lead(judging)
    assert set(asked) == {"support-1", "sales-1"}
