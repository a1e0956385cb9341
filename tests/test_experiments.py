"""The life of an experiment over the API: started, scheduled, ramped, paused, stopped, applied and deleted."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from gateway.storage.experiments import add_epochs, experiment_lines, list_experiments, take_lease
from gateway.wiring import wall_clock
from tests.conftest import AGENTS, Answer, Running, running, settings_for, write_files
from tests.http.test_access import token

HOUR = 3_600_000
ROUTE: dict[str, Any] = {
    "direction": "inbound",
    "numbers": ["+14155550100"],
    "versions": {"a": "support@3", "b": "support@4"},
    "ab_test": {"enabled": False, "name": "shorter greeting", "split": {"a": 50, "b": 50}},
}
TOML = """
direction = "inbound"
numbers = ["+14155550100"]
[versions]
a = "support@3"
b = "support@4"
[ab_test]
enabled = false
name = "shorter greeting"
split = { a = 50, b = 50 }
"""


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What the comparison is said to say."""

    blocked: bool = False
    harm: bool = False
    failing_guardrails: tuple[str, ...] = ()
    mature: Mapping[str, int] = field(default_factory=dict)


@dataclass(kw_only=True)
class Lab:
    """A gateway with a draft, whose clock and comparison are moved by hand."""

    served: Running
    later: list[int]

    async def do(self, verb: str, name: str = "support-1", **body: Any) -> Answer:
        return await self.served.api("POST", f"/experiments/{name}/{verb}", body)

    async def show(self, name: str = "support-1") -> dict[str, Any]:
        answer = await self.served.api("GET", f"/experiments/{name}")
        assert answer.status == 200, answer.body
        shown: dict[str, Any] = answer.body["experiment"]
        return shown

    async def plan(self, **plan: Any) -> None:
        """Write a plan into the draft."""
        found = await self.served.api("GET", "/routes/support")
        body = found.body["route"]["body"]
        body["ab_test"]["plan"] = plan
        base = found.headers["ETag"]
        answer = await self.served.api("PUT", "/routes/support", body, If_Match=base)
        assert answer.status == 200, answer.body

    async def lead(self, judged: Judged | None = None) -> None:
        async def judging(name: str) -> Judged | None:
            return judged

        await self.served.gateway.experiments.lead(judging)

    async def ring(self, count: int = 40) -> list[dict[str, Any]]:
        """Let people call; what the gateway keeps of each call."""
        before = len((await self.served.api("GET", "/calls?limit=1000")).body["calls"])
        for _ in range(count):
            assert (await self.served.ring()).status == 200
        calls: list[dict[str, Any]] = (await self.served.api("GET", "/calls?limit=1000")).body["calls"]
        return calls[: len(calls) - before]

    def pass_time(self, milliseconds: int) -> None:
        self.later[0] += milliseconds


@pytest.fixture
async def lab(tmp_path: Path, database_url: str) -> AsyncIterator[Lab]:
    write_files(tmp_path, AGENTS | {"routes/support.toml": TOML})
    later = [0]
    async with running(settings_for(tmp_path, database_url), wall=lambda: wall_clock() + later[0]) as served:
        yield Lab(served=served, later=later)


def shares(calls: list[dict[str, Any]]) -> dict[str, int]:
    arms = [call["assignment"]["arm"] for call in calls]
    return {arm: arms.count(arm) for arm in sorted(set(arms))}


async def test_a_draft_is_started_stopped_and_its_winner_applied(lab: Lab) -> None:
    draft = await lab.show()
    assert (draft["status"], draft["serves"]) == ("draft", "Version A serves")
    assert shares(await lab.ring(10)) == {"a": 10}
    started = await lab.do("start", reason="the board agreed")
    assert started.status == 200, started.body
    assert started.body["experiment"]["status"] == "running"
    calls = await lab.ring(40)
    assert set(shares(calls)) == {"a", "b"}
    assert {call["assignment"]["experiment"] for call in calls} == {"support-1"}
    stopped = (await lab.do("stop", winner="b", reason="B is better")).body["experiment"]
    assert (stopped["status"], stopped["winner"]) == ("maturing", "b")
    assert "Version B serves" in stopped["serves"]
    assert {(c["assignment"]["arm"], c["assignment"]["reason"]) for c in await lab.ring(5)} == {("b", "winner")}
    applied = await lab.do("apply")
    assert applied.status == 200, applied.body
    body = (await lab.served.api("GET", "/routes/support")).body["route"]["body"]
    assert body["versions"] == {"a": "support@4"}
    assert "ab_test" not in body
    events = [(event["kind"], event["author"], event["reason"]) for event in (await lab.show())["events"]]
    assert events == [
        ("started", "admin", "the board agreed"),
        ("stopped", "admin", "B is better"),
        ("applied", "admin", ""),
    ]


async def test_without_a_winner_version_a_serves(lab: Lab) -> None:
    await lab.do("start")
    stopped = (await lab.do("stop", winner=None)).body["experiment"]
    assert (stopped["winner"], stopped["serves"]) == (None, "Version A serves")
    assert shares(await lab.ring(10)) == {"a": 10}


async def test_a_second_start_is_refused_by_the_name_of_the_first(lab: Lab) -> None:
    await lab.do("start")
    for name in ("support-1", "support-2"):
        again = await lab.do("start", name)
        assert (again.status, "support-1" in again.body["error"]["message"]) == (409, True)
    await lab.do("stop")
    assert (await lab.do("start", "support-1")).status == 409
    assert (await lab.do("start", "support-2")).status == 200


async def test_what_was_settled_is_frozen_and_a_later_edit_is_an_amendment(lab: Lab) -> None:
    primary = {"metric": "success", "better": "higher", "min_effect": 0.05}
    await lab.plan(
        hypothesis="shorter is better", primary=primary, guardrails=[{"metric": "hung_up_early", "margin": 0.02}]
    )
    one = (await lab.do("start")).body["experiment"]
    record = one["record"]
    # The power is split over the primary and one guardrail: more calls than the 3,130 of a test without any.
    assert (record["planned"], record["n_planned"] > 3_130, record["n_max"] > record["n_planned"]) == (
        True,
        True,
        True,
    )
    text = json.dumps(record, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert one["digest"] == sha256(text.encode()).hexdigest()
    await lab.plan(hypothesis="longer is better", primary=primary)
    after = await lab.show()
    assert (after["record"], after["digest"]) == (record, one["digest"])
    amended = after["events"][-1]
    assert amended["kind"] == "amended"
    assert any("hypothesis" in line for line in amended["detail"]["lines"])
    assert len(after["epochs"]) == 1


async def test_a_pause_is_a_hold_on_a(lab: Lab) -> None:
    await lab.do("start")
    assert (await lab.do("pause", reason="odd calls")).body["experiment"]["status"] == "paused"
    calls = await lab.ring(20)
    assert {(c["served"]["arm"], c["served"]["reason"], c["assignment"]["analysed"]) for c in calls} == {
        ("a", "hold", False)
    }
    assert set(shares(calls)) == {"a", "b"}
    assert (await lab.do("resume")).body["experiment"]["status"] == "running"
    assert (await lab.do("resume")).status == 409
    assert all(call["assignment"]["analysed"] for call in await lab.ring(5))
    assert [event["kind"] for event in (await lab.show())["events"]] == ["started", "paused", "resumed"]


async def test_a_scheduled_start_begins_by_itself(lab: Lab) -> None:
    at = lab.served.gateway.wall() + HOUR
    one = (await lab.do("start", at=at)).body["experiment"]
    assert (one["status"], one["starts_at"] // 1000) == ("scheduled", at // 1000)
    calls = await lab.ring(10)
    assert {(c["assignment"]["arm"], c["assignment"]["reason"]) for c in calls} == {("a", "off")}
    await lab.lead()
    assert (await lab.show())["status"] == "scheduled"
    lab.pass_time(HOUR + 1000)
    await lab.lead()
    assert (await lab.show())["status"] == "running"
    assert set(shares(await lab.ring(40))) == {"a", "b"}
    assert [event["author"] for event in (await lab.show())["events"]] == ["admin", "gateway"]


async def test_a_ramp_goes_on_step_by_step_each_an_epoch(lab: Lab) -> None:
    await lab.plan(ramp={"arm": "b", "percent": [1, 10, 50], "hold": "1h"})
    await lab.do("start")
    assert shares(await lab.ring(20)).get("b", 0) <= 3
    before = (await lab.served.api("GET", "/routes/support")).body["route"]["revision"]
    for percent in (10, 50, 50):
        lab.pass_time(HOUR)
        await lab.lead()
        await lab.lead()
        arms = (await lab.show())["epochs"][-1]["arms"]
        assert [round(arm["share"] * 100) for arm in arms] == [100 - percent, percent]
    assert len((await lab.show())["epochs"]) == 3
    assert (await lab.served.api("GET", "/routes/support")).body["route"]["revision"] == before
    calls = await lab.ring(40)
    assert {call["assignment"]["epoch"] for call in calls} == {3}
    assert set(shares(calls)) == {"a", "b"}
    explained = (await lab.served.api("GET", f"/calls/{calls[0]['id']}/explain")).body["explanation"]
    assert explained["agrees"] is True


async def test_a_ramp_goes_back_to_a_when_a_guardrail_fails(lab: Lab) -> None:
    await lab.plan(ramp={"arm": "b", "percent": [10, 50], "hold": "1h"})
    await lab.do("start")
    lab.pass_time(HOUR)
    await lab.lead(Judged(failing_guardrails=("hung_up_early",)))
    one = await lab.show()
    assert (one["status"], len(one["epochs"])) == ("paused", 1)
    assert "hung_up_early" in one["events"][-1]["reason"]
    assert {call["served"]["arm"] for call in await lab.ring(20)} == {"a"}


@pytest.mark.parametrize(
    ("plan", "judged", "status"),
    [
        ({"per_arm": 100}, Judged(mature={"a": 120, "b": 99}), "running"),
        ({"per_arm": 100}, Judged(mature={"a": 120, "b": 100}), "maturing"),
        ({"n_max": 200}, Judged(mature={"a": 120, "b": 80}), "maturing"),
        ({}, Judged(mature={"a": 10**7, "b": 10**7}), "running"),
        ({}, Judged(harm=True), "running"),
        ({"on_harm": "pause"}, Judged(harm=True), "paused"),
        ({"on_harm": "pause"}, Judged(), "running"),
    ],
)
async def test_it_ends_as_planned(lab: Lab, plan: dict[str, Any], judged: Judged, status: str) -> None:
    await lab.plan(**plan)
    await lab.do("start")
    await lab.lead(judged)
    one = await lab.show()
    assert (one["status"], one["winner"]) == (status, None)


async def test_it_ends_at_its_time_and_is_locked_when_the_last_outcome_can_have_come(lab: Lab) -> None:
    end = "2100-01-01T00:00:00Z"
    await lab.plan(end=end)
    await lab.do("start")
    await lab.lead()
    assert (await lab.show())["status"] == "running"
    lab.pass_time(100 * 366 * 24 * HOUR)
    await lab.lead()
    assert (await lab.show())["status"] == "maturing"
    assert (await lab.served.api("DELETE", "/experiments/support-1")).status == 409


async def test_only_one_process_leads(lab: Lab) -> None:
    await lab.do("start")
    other = type(lab.served.gateway.experiments)
    gateway = lab.served.gateway

    asked: list[str] = []

    async def judging(name: str) -> None:
        asked.append(name)

    async def free(name: str) -> str | None:
        return None

    await lab.lead()
    second = other(gateway.database, gateway.state, gateway.publishing, caveat=free, wall=gateway.wall)
    await second.lead(judging)
    assert asked == []
    lab.pass_time(60_000)
    await second.lead(judging)
    assert asked == ["support-1"]


async def test_a_blocked_verdict_is_applied_only_by_its_name(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    async def blocked(name: str) -> str | None:
        return "the split differs from the plan"

    monkeypatch.setattr(lab.served.gateway.experiments, "_caveat", blocked)
    await lab.do("start")
    await lab.do("stop", winner="b")
    refused = await lab.do("apply", override="yes")
    assert (refused.status, "split differs" in refused.body["error"]["message"]) == (409, True)
    assert (await lab.do("apply", override="support-1", reason="we know why")).status == 200
    assert (await lab.show())["events"][-1]["detail"]["overridden"] == "the split differs from the plan"


async def test_who_may_start_and_stop_is_a_setting(lab: Lab) -> None:
    viewer = await token(lab.served, "viewer")
    assert (await lab.served.api("POST", "/experiments/support-1/start", {}, token=viewer)).status == 403


async def test_a_deleted_experiment_leaves_its_calls_as_they_were(lab: Lab) -> None:
    await lab.do("start")
    calls = await lab.ring(5)
    await lab.do("stop")
    lab.pass_time(48 * HOUR)
    from gateway.wiring import _mature

    await _mature(lab.served.gateway)
    assert (await lab.show())["status"] == "stopped"
    assert (await lab.served.api("DELETE", "/experiments/support-1")).status == 200
    (latest, *_) = (await lab.served.api("GET", "/audit?limit=10")).body["audit"]
    assert (latest["action"], latest["subject"]) == ("delete experiment", "experiment support-1")
    assert (await lab.served.api("GET", "/experiments/support-1")).status == 404
    for call in calls:
        kept = (await lab.served.api("GET", f"/calls/{call['id']}")).body["call"]["assignment"]
        assert kept == call["assignment"]
    assert (await lab.do("start", "support-2")).status == 200


@pytest.mark.parametrize(
    ("plan", "cure"),
    [
        ({"ramp": {"arm": "c", "percent": [1, 2], "hold": "1h"}}, "arm c"),
        ({"ramp": {"arm": "b", "percent": [5, 2], "hold": "1h"}}, "rise"),
        ({"ramp": {"arm": "b", "percent": [5], "hold": "soon"}}, "30m"),
        ({"on_harm": "panic"}, "alarm"),
    ],
)
async def test_a_plan_that_cannot_be_kept_is_told(lab: Lab, plan: dict[str, Any], cure: str) -> None:
    body = ROUTE | {"ab_test": ROUTE["ab_test"] | {"plan": plan}}
    answer = await lab.served.api("PUT", "/routes/support", body, If_Match='"1"')
    assert (answer.status, cure in str(answer.body)) == (422, True), answer.body


async def test_a_start_and_a_stop_are_told_to_receivers(lab: Lab) -> None:
    await lab.do("start", reason="the board agreed")
    await lab.do("stop", winner="b")
    told = (await lab.served.api("GET", "/notifications")).body["notifications"]
    assert {(one["type"], one["subject"]) for one in told} >= {
        ("experiment.started", "experiment support-1"),
        ("experiment.stopped", "experiment support-1"),
    }


def asking(question: str, *, per_minute: int = 60) -> dict[str, str]:
    """Settings of a gateway whose calls are judged by a model."""
    model = {"base_url": "http://127.0.0.1:9/v1", "model": "judge-large", "requests_per_minute": per_minute}
    criteria = [{"name": "solved", "question": question, "as": "success"}]
    return {
        "GATEWAY_ANALYSIS__JUDGE": "llm",
        "GATEWAY_ANALYSIS__LLM": json.dumps(model),
        "GATEWAY_ANALYSIS__CRITERIA": json.dumps(criteria),
    }


async def test_another_judge_begins_an_epoch_by_itself_and_is_an_amendment(tmp_path: Path, database_url: str) -> None:
    write_files(tmp_path, AGENTS | {"routes/support.toml": TOML})
    later = [0]

    @asynccontextmanager
    async def with_settings(**environ: str) -> AsyncIterator[Lab]:
        later[0] += 60_000  # the lease of the process before has lapsed
        settings = settings_for(tmp_path, database_url, **environ)
        async with running(settings, wall=lambda: wall_clock() + later[0]) as served:
            yield Lab(served=served, later=later)

    async with with_settings(**asking("Was it solved?")) as lab:
        primary = {"metric": "success", "better": "higher", "min_effect": 0.05}
        await lab.plan(primary=primary)
        one = (await lab.do("start")).body["experiment"]
        await lab.lead()
        (epoch,) = (await lab.show())["epochs"]
        assert (epoch["judge"]["model"], epoch["judge"]["questions"]) == (
            "judge-large",
            {"success": "Was it solved?"},
        )
        assert epoch["judge"]["id"] == one["record"]["judge"]
        results = (await lab.served.api("GET", "/experiments/support-1/results")).body
        assert results["verdict"]["exploratory"] is False

    # What changes no verdict changes no epoch.
    async with with_settings(**asking("Was it solved?", per_minute=120)) as lab:
        await lab.lead()
        assert len((await lab.show())["epochs"]) == 1

    async with with_settings(**asking("Is the caller content?")) as lab:
        await lab.lead()
        await lab.lead()
        shown = await lab.show()
        first, second = shown["epochs"]
        assert second["judge"]["questions"] == {"success": "Is the caller content?"}
        assert (second["arms"], second["memory"]) == (first["arms"], first["memory"])
        (amended,) = (event for event in shown["events"] if event["kind"] == "amended")
        assert (amended["author"], amended["detail"]["judge"]) == ("gateway", second["judge"])
        assert amended["detail"]["judge_before"] == first["judge"]
        assert {call["assignment"]["epoch"] for call in await lab.ring(5)} == {2}
        results = (await lab.served.api("GET", "/experiments/support-1/results")).body
        assert results["verdict"]["exploratory"] is True
        told = next(one for one in results["health"] if one["number"] == 5)
        assert (told["status"], "the judge was changed" in told["text"]) == ("warn", True)
        # A change of weights beside it keeps the judge, and so does every step of a ramp.
        found = await lab.served.api("GET", "/routes/support")
        body = found.body["route"]["body"]
        body["ab_test"]["split"] = {"a": 80, "b": 20}
        await lab.served.api("PUT", "/routes/support", body, If_Match=found.headers["ETag"])
        assert (await lab.show())["epochs"][-1]["judge"] == second["judge"]


async def test_where_nobody_judges_no_epoch_has_a_judge(lab: Lab) -> None:
    await lab.do("start")
    await lab.lead()
    assert [epoch["judge"] for epoch in (await lab.show())["epochs"]] == [None]


async def test_a_list_reads_no_more_the_more_epochs_there_are(lab: Lab) -> None:
    await lab.do("start")
    database, now = lab.served.gateway.database, lab.served.gateway.wall()
    async with database.write() as connection:
        # Nobody leads meanwhile, who reads epochs too.
        assert await take_lease(
            connection, database, "experiments", owner="test", now=now + HOUR, until=now + 2 * HOUR
        )
    statements: list[str] = []

    async def listed() -> tuple[int, dict[str, Any]]:
        counts = []
        for _ in range(3):
            statements.clear()
            (one,) = (await lab.served.api("GET", "/experiments")).body["experiments"]
            counts.append(sum("epoch" in told and "SELECT" in told for told in statements))
        return min(counts), one

    engine = database._reader.sync_engine
    sa.event.listen(engine, "before_cursor_execute", lambda _c, _d, told, *_: statements.append(told))
    before, one = await listed()
    async with database.write() as connection:
        (first,) = (await list_experiments(connection, "support-1"))[0]["epochs"]
        changed = [{"arm": "c", "version": "support@5"}]
        later = [first | {"number": number, "arms": changed} for number in range(2, 800)]
        await add_epochs(connection, later)
    after, again = await listed()
    assert [arm["arm"] for arm in one["arms"]] == ["a", "b"]
    assert [(arm["arm"], arm["version"]) for arm in again["arms"]] == [("c", "support@5")]
    assert after == before == 1
    async with database.read() as connection:
        (line,) = await experiment_lines(connection, after=0, limit=10)
    assert line["arms"] == changed
    assert not {"epochs", "plan", "record"} & line.keys()


async def test_the_list_is_paged_drafts_before_what_was_started(lab: Lab) -> None:
    for _ in range(2):
        started = (await lab.served.api("GET", "/experiments?limit=1")).body["experiments"][0]
        await lab.do("start", started["id"])
        await lab.do("stop", started["id"])
    found, cursor = [], 0
    while cursor is not None:
        page = (await lab.served.api("GET", f"/experiments?limit=1&cursor={cursor}")).body
        found += [(one["id"], one["status"]) for one in page["experiments"]]
        cursor = page["next"]
    assert found == [("support-3", "draft"), ("support-2", "maturing"), ("support-1", "maturing")]
    assert (await lab.served.api("GET", "/experiments/support-3")).body["experiment"]["status"] == "draft"
    for name in ("support-4", "support-03", "support", "nobody-1"):
        assert (await lab.served.api("GET", f"/experiments/{name}")).status == 404
