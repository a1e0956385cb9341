"""Results over HTTP: samples that can be drawn again, exports that hold every call, and plans."""

import csv
import io
import json
import os
from typing import Any

import pytest

from gateway.storage import samples
from tests.conftest import ADMIN, Running

SAID = [{"role": "agent", "text": "Good morning"}, {"role": "caller", "text": "Goodbye"}]


async def call(served: Running, *, caller: str = "+14155551234", **outcome: Any) -> str:
    sid = "CA" + os.urandom(16).hex()
    await served.ring(CallSid=sid, From=caller)
    assert (await served.api("POST", f"/calls/{sid}/outcome", {"final": True, **outcome})).status == 200
    return sid


async def export(served: Running, form: str) -> str:
    url = f"{served.url}/api/v1/experiments/support-1/export?format={form}"
    async with served.http.get(url, headers={"Authorization": f"Bearer {ADMIN}"}) as answer:
        assert answer.status == 200
        assert f'filename="support-1.{form}"' in answer.headers["Content-Disposition"]
        return await answer.text()


async def test_samples_are_random_repeatable_and_only_what_can_be_read(served: Running) -> None:
    spoken = {await call(served, success=True, transcript=SAID) for _ in range(24)}
    await call(served, success=True)
    first = (await served.api("GET", "/experiments/support-1/samples?n=3&seed=7")).body
    again = (await served.api("GET", "/experiments/support-1/samples?n=3&seed=7")).body
    other = (await served.api("GET", "/experiments/support-1/samples?n=3&seed=8")).body
    assert first["samples"] == again["samples"] != other["samples"]
    assert sorted(first["samples"]) == ["a", "b"]
    assert sum(arm["of"] for arm in first["samples"].values()) == 24
    for name, arm in first["samples"].items():
        assert len(arm["calls"]) == min(3, arm["of"])
        for one in arm["calls"]:
            assert (one["arm"], one["transcript"], one["call"] in spoken) == (name, SAID, True)
            assert "transcript" not in one["outcome"]
            assert one["why"].startswith(f"drawn by seed 7 from the {arm['of']} mature calls of arm {name}")
    only = (await served.api("GET", "/experiments/support-1/samples?arm=b")).body
    assert list(only["samples"]) == ["b"]
    assert (await served.api("GET", "/experiments/support-1/samples?arm=q")).status == 404
    assert (await served.api("GET", "/experiments/support-1/samples?n=0")).status == 422


async def test_an_export_has_every_call_and_no_formula_or_number(served: Running) -> None:
    callers = ["+14155551234", "+14155551234", "+14155559999"]
    sids = [await call(served, caller=who, success=True, fields={"note": "=1+1"}) for who in callers]
    formula = await call(served, caller="anonymous", success=False)
    text = await export(served, "csv")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["id"] for row in rows] == [*sids, formula]
    assert rows[0]["caller"] == rows[1]["caller"] != rows[2]["caller"] != ""
    assert rows[3]["caller"] == ""
    assert "+1415555" not in text
    assert (rows[0]["success"], json.loads(rows[0]["fields"])) == ("true", {"note": "=1+1"})
    assert json.loads(rows[0]["counted"])["success"] == 1.0
    lines = [json.loads(line) for line in (await export(served, "jsonl")).splitlines()]
    assert [line["id"] for line in lines] == [*sids, formula]
    whole = json.loads(await export(served, "json"))
    assert whole["calls"] == lines
    assert whole["results"]["verdict"]["state"] == "collecting"
    assert set(whole["registered"]) == {"record", "digest"}


async def test_a_cell_that_a_spreadsheet_would_run_gets_an_apostrophe(served: Running) -> None:
    await served.ring(CallSid="-2")
    (row,) = csv.DictReader(io.StringIO(await export(served, "csv")))
    assert row["id"] == "'-2"


async def test_an_export_of_many_portions_loses_no_call(served: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "PORTION", 7)
    sids = [await call(served) for _ in range(30)]
    rows = list(csv.DictReader(io.StringIO(await export(served, "csv"))))
    assert [row["id"] for row in rows] == sids


async def test_an_experiment_that_is_not_there(served: Running) -> None:
    for path in ("results", "samples", "export"):
        assert (await served.api("GET", f"/experiments/nothing-1/{path}")).status == 404


async def test_the_plan_of_the_documents(served: Running) -> None:
    asked = {"baseline": 0.5, "effect": 0.05, "calls_per_day": 400}
    plan = (await served.api("POST", "/experiments/plan", asked)).body["plan"]
    assert (plan["n_fixed"], plan["n_planned"], plan["n_max"], plan["days"]) == (3130, 3130, 5165, 14)
    assert plan["costs"] == {"split": 1.0, "sticky": 1.0, "judge": 1.0}
    assert (plan["warnings"], round(plan["detectable_in_four_weeks"], 3)) == ([], 0.034)


@pytest.mark.parametrize(
    ("more", "times"),
    [
        ({"split": {"a": 80, "b": 20}}, 1.5625),
        ({"split": {"a": 90, "b": 10}}, 2.7778),
        ({"sensitivity": 0.9, "specificity": 0.85}, 1.7778),
        ({"icc": 0.2, "calls_per_caller_squared": 3.0}, 1.4),
    ],
)
async def test_what_costs_how_many_times(served: Running, more: dict[str, Any], times: float) -> None:
    plan = (await served.api("POST", "/experiments/plan", more)).body["plan"]
    assert plan["n_fixed"] == pytest.approx(3130 * times, rel=0.001)


async def test_too_few_calls_are_told_before_the_start(served: Running) -> None:
    asked = {"calls_per_day": 20, "split": {"a": 80, "b": 20}}
    (warning,) = (await served.api("POST", "/experiments/plan", asked)).body["plan"]["warnings"]
    assert "four weeks bring 560 and can only detect" in warning
    assert "split evenly" in warning


async def test_a_route_tells_its_own_traffic(served: Running) -> None:
    for _ in range(14):
        await served.ring()
    plan = (await served.api("POST", "/experiments/plan", {"route": "support"})).body["plan"]
    assert plan["calls_per_day"] == 0.5
    quiet = (await served.api("POST", "/experiments/plan", {"route": "sales"})).body["plan"]
    assert (quiet["calls_per_day"], quiet["days"]) == (None, None)
    assert (await served.api("POST", "/experiments/plan", {"route": "nothing"})).status == 404


@pytest.mark.parametrize(
    "body",
    [
        {"effect": 0},
        {"effect": 0.6},
        {"kind": "mean", "effect": 1},
        {"sensitivity": 0.4, "specificity": 0.5},
        {"split": {"b": 1, "c": 1}},
        {"split": {"a": 1, "b": 0}},
        {"split": {"a": 1, "b": float("1e400")}},
    ],
)
async def test_what_cannot_be_planned_is_told(served: Running, body: dict[str, Any]) -> None:
    answer = await served.api("POST", "/experiments/plan", body)
    assert answer.status in (400, 422)
    assert answer.body["error"]["message"]


async def test_a_mean_is_planned_with_its_spread(served: Running) -> None:
    asked = {"kind": "mean", "effect": -10, "sd": 60}
    plan = (await served.api("POST", "/experiments/plan", asked)).body["plan"]
    assert plan["per_arm"] == pytest.approx(566, abs=2)
