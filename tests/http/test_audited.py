"""From transcripts to results over HTTP: a model judges, people label, and what they find stands in every answer."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.judging import judge
from tests.cli.shell import gateway
from tests.conftest import Running
from tests.http.console.visitor import visitor, words
from tests.judges.model import serving, verdict
from tests.test_analysis import judging, told

CALLS = 12
QUESTION = "Was the problem of the caller solved?"
CRITERIA = json.dumps([{"name": "resolved", "question": QUESTION, "as": "success"}])


def judged(body: dict[str, Any]) -> str:
    """A model that finds every call a success in which somebody says thanks."""
    return verdict("Thank you" in body["messages"][1]["content"])


@pytest.fixture
async def audited(tmp_path: Path, database_url: str) -> AsyncIterator[Running]:
    """A gateway with judged calls: a model of the agents' own family has found each third one bad."""
    async with serving(judged) as model:
        llm = json.dumps({"base_url": model.url, "model": "judge-large", "requests_per_minute": 100_000})
        async with judging(tmp_path, database_url, judge="llm", llm=llm, criteria=CRITERIA) as served:
            for place in range(CALLS):
                await served.ring(CallSid=_call(place))
                said = {"role": "caller", "text": "No." if place % 3 == 0 else "Thank you!"}
                body = {"transcript": [said], "final": True}
                assert (await served.api("POST", f"/calls/{_call(place)}/outcome", body)).status == 200
            for place in range(CALLS):
                await told(served, _call(place), until="done")
            yield served


def _call(place: int) -> str:
    return f"CA{place:032d}"


async def _success(served: Running) -> dict[str, Any]:
    results = (await served.api("GET", "/experiments/support-1/results")).body
    found: dict[str, Any] = next(one for one in results["metrics"] if one["name"] == "success")
    return found


async def test_labels_are_held_against_the_judge_in_every_answer(audited: Running, tmp_path: Path) -> None:
    served = audited
    audit = (await _success(served))["audit"]
    assert (audit["state"], audit["agreement"]) == ("unaudited", None)
    assert {one["labels"] for one in audit["arms"].values()} == {0}
    mark = await judge(served.gateway.database, "support-1", served.gateway.wall())
    assert mark.evidence.labelled == {"a": 0, "b": 0}

    for _ in range(CALLS):
        drawn = (await served.api("GET", "/experiments/support-1/labels")).body
        assert drawn["criteria"][0]["question"] == QUESTION
        thanks = "Thank you" in drawn["to_label"]["transcript"][0]["text"]
        # People see one bad call more than the model: they agree in all but one of twelve.
        good = thanks and drawn["to_label"]["call"] != _call(1)
        body = {"criterion": "success", "value": good}
        assert (await served.api("POST", f"/calls/{drawn['to_label']['call']}/label", body)).status == 200

    audit = (await _success(served))["audit"]
    assert sum(one["labels"] for one in audit["arms"].values()) == CALLS
    assert audit["agreement"] == pytest.approx(0.8235, abs=0.0001)
    gaps = [one["gap"] * one["labels"] for one in audit["arms"].values() if one["labels"]]
    assert sum(gaps) == pytest.approx(-1)
    health = {
        one["number"]: one for one in (await served.api("GET", "/experiments/support-1/results")).body["health"]
    }
    assert (health[17]["status"], "a judge's word and unaudited" in health[17]["text"]) == ("info", True)
    assert (health[19]["status"], "200 of each arm are suggested" in health[19]["text"]) == ("info", True)
    assert (health[16]["status"], health[18]["status"]) == ("ok", "ok")

    page = words(await (await visitor(served)).get("/experiments/support-1"))
    assert "Is the judge right? Completion A judge's word, unaudited: labels A" in page
    assert "type support-1" in page
    report = await (await visitor(served)).get("/experiments/support-1/export?format=html")
    assert "Is the judge right?" in words(report)
    code, said = await gateway(served, "experiments", "results", "support-1")
    assert (code, "judged metric" in said, "kappa 0.82" in said) == (0, True, True), said


async def test_a_winner_by_an_unaudited_judge_is_applied_only_by_the_experiments_name(audited: Running) -> None:
    refused = await audited.api("POST", "/experiments/support-1/apply", {"winner": "b"})
    assert refused.status == 409
    assert "completion is a judge's word and unaudited" in refused.body["error"]["message"]
    kept = await audited.api("POST", "/experiments/support-1/apply", {"winner": "b", "override": "support-1"})
    assert kept.status == 200
    (event,) = (one for one in kept.body["experiment"]["events"] if one["kind"] == "applied")
    assert "unaudited" in event["detail"]["overridden"]


async def test_an_agents_own_word_needs_no_audit(audited: Running) -> None:
    for place in range(CALLS):
        await audited.api("POST", f"/calls/{_call(place)}/outcome", {"success": place % 2 == 0})
    assert (await _success(audited))["audit"] is None
    assert (await audited.api("POST", "/experiments/support-1/apply", {"winner": "b"})).status == 200
