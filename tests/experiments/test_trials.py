"""Experiments from the first ring to the verdict, over HTTP; GATEWAY_TRIALS=8 makes eight times as many.

What the statistics promise in the long run is tested on sums (tests/stats, tests/results). Here it must come out of
the gateway itself: drawn by its hash, counted by its ledger, judged by its leader and told by its API.
"""

import os
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import structlog

from gateway.stats.moments import Rate
from gateway.stats.proportions import two_proportion_z
from tests.experiments.trial import (
    DAY,
    HOUR,
    MONDAY,
    Outcome,
    Person,
    arms_of,
    completing,
    effect_of,
    found,
    line,
    route,
    trial,
)

TIMES = int(os.environ.get("GATEWAY_TRIALS", "1"))
pytestmark = pytest.mark.timeout(300 * TIMES)  # thousands of calls, on whatever else the machine has to do
LOUD = {"better", "guarded", "worse", "harm", "blocked"}
EFFECT = 0.15
"""Found after some 340 calls, 560 at most; five points would take thousands."""


def sqlite(folder: Path) -> str:
    """The address of a database in a folder."""
    return f"sqlite:///{folder}/gateway.db"


def state(results: Mapping[str, Any]) -> str:
    """The state of the verdict."""
    told: str = results["verdict"]["state"]
    return told


def naive(results: Mapping[str, Any]) -> bool:
    """Whether the plain z test at 5%, looked at now, would call a winner, from 30 calls of each arm on."""
    told = arms_of(results)
    if len(told) < 2 or min(n for n, _ in told.values()) < 30:
        return False
    a, b = (Rate(n=told[arm][0], successes=round(told[arm][0] * told[arm][1])) for arm in "ab")
    test = two_proportion_z(a, b)
    return test is not None and test.p < 0.05


async def test_two_equal_versions_stay_quiet_however_often_anybody_looks(tmp_path: Path) -> None:
    tests = range(5 * TIMES)
    called, fooled = set(), set()
    async with trial(tmp_path, sqlite(tmp_path), [route(line(place), effect=EFFECT) for place in tests]) as one:
        for _ in range(14):
            for place in tests:
                await one.ring(place, 40, completing(a=0.5, b=0.5))
            one.pass_time(DAY)
            looks = await one.look(*tests)
            called |= {place for place, results in enumerate(looks) if state(results) in LOUD}
            fooled |= {place for place, results in enumerate(looks) if naive(results)}
    assert len(called) <= len(tests) // 10
    # Of the same calls, looked at as often, the plain z test makes winners.
    assert len(fooled) >= len(tests) / 8
    for results in (results for place, results in enumerate(looks) if place not in called):
        assert sum(arm["calls"] for arm in results["arms"]) == results["plan"]["n_max"] == 560
        ends = {
            "equivalent": ": no difference that matters (±15.0 points); safe to read at any time.",
            "inconclusive": ": all planned calls are in, nothing is certain.",
        }
        assert results["verdict"]["text"].endswith(ends[state(results)])


async def test_a_real_difference_is_found_near_the_planned_size(tmp_path: Path) -> None:
    tests, effect = range(4 * TIMES), 0.2
    ends: dict[int, dict[str, Any]] = {}
    async with trial(tmp_path, sqlite(tmp_path), [route(line(place), effect=effect) for place in tests]) as one:
        for _ in range(10):
            for place in tests:
                await one.ring(place, 31, completing(a=0.5, b=0.5 + effect))
            one.pass_time(DAY * 3 // 2)
            looks = await one.look(*tests)
            assert not {state(results) for results in looks} & {"worse", "harm", "blocked"}
            for place, results in enumerate(looks):
                if state(results) == "better":
                    ends.setdefault(place, results)
        await one.win(0, "b")
        await one.ring(0, 3, completing(a=0.5, b=0.5 + effect))
        assert {call["served"]["version"] for call in await one.latest(3)} == {"support@4"}
        assert (await one.results(0))["phase"] == "maturing"
    plan = looks[0]["plan"]
    assert (plan["n_planned"], plan["n_max"], plan["planned"]) == (186, 307, True)
    # Four in five within n_max is the promise.
    assert len(ends) >= 0.6 * len(tests)
    crossed = [effect_of(results)["crossed_n"] for results in ends.values()]
    assert plan["n_planned"] / 2 <= statistics.median(crossed) <= plan["n_max"]
    for results in ends.values():
        b, text = effect_of(results), results["verdict"]["text"]
        assert b["low"] > 0
        assert text.startswith(f"B completes {100 * b['difference']:.1f} points more calls (95 % always-valid")
        assert text.endswith("; safe to read at any time.")
        assert (11 in found(results)) is (results["at"] < MONDAY + 14 * DAY)


async def test_a_broken_version_raises_the_alarm_and_is_paused(tmp_path: Path) -> None:
    """B completes a tenth where A completes seven: 17 calls of a 10 % arm are stated, as a median."""
    tests = range(3 * TIMES)
    needed: dict[int, int] = {}
    routes = [route(line(place), a=90, b=10, effect=EFFECT, more='on_harm = "pause"') for place in tests]
    async with trial(tmp_path, sqlite(tmp_path), routes) as one:
        while len(needed) < len(tests) and one.rung < 450 * len(tests):
            for place in tests:
                await one.ring(place, 0 if place in needed else 15, completing(a=0.7, b=0.1))
            one.pass_time(HOUR)
            for place, results in enumerate(await one.look(*tests)):
                if state(results) == "harm":
                    needed.setdefault(place, arms_of(results)["b"][0])
                    status, text = found(results)[3]
                    assert (status, results["verdict"]["text"]) == ("alarm", f"{text}.")
                    assert text.startswith("B does harm: completion ")
                    assert text.endswith(" calls; pausing is advised")
        assert len(needed) == len(tests)
        assert statistics.median(needed.values()) <= 20
        assert max(needed.values()) <= 40
        for place in tests:
            told = await one.experiment(place)
            assert (told["status"], told["events"][-1]["author"]) == ("paused", "gateway")
        # From the pause on nobody meets B, whoever was drawn.
        await one.ring(0, 30, completing(a=0.7, b=0.1))
        (after,) = await one.look(0)
        served = {(call["served"]["arm"], call["assignment"]["analysed"]) for call in await one.latest(30)}
        assert served == {("a", False)}
        assert arms_of(after)["b"][0] == needed[0]


async def test_a_change_of_weights_while_the_rate_drifts_fools_nobody(tmp_path: Path) -> None:
    async with trial(tmp_path, sqlite(tmp_path), [route(line(0), a=90, b=10, effect=EFFECT)]) as one:
        states = []
        for half, rate in enumerate((0.75, 0.4)):
            if half:
                assert (await one.reweigh(0, a=50, b=50)).status == 200
            for _ in range(7):
                await one.ring(0, 100 * TIMES, completing(a=rate, b=rate))
                one.pass_time(DAY)
                (results,) = await one.look(0)
                states.append(state(results))
    assert not LOUD & set(states)
    assert naive(results)
    checks, (a, b) = found(results), (arms_of(results)[arm][1] for arm in "ab")
    assert checks[6] == (
        "info",
        "weights were changed: numbers are stratified by epoch; pooled ones are not shown, they would mislead",
    )
    assert checks[7][0] == "warn"
    assert checks[7][1].startswith(f"Simpson: pooled B stands at −{100 * (a - b):.1f}, stratified by epoch at ")
    assert [one["shares"] for one in results["split"]["epochs"]] == [{"a": 0.9, "b": 0.1}, {"a": 0.5, "b": 0.5}]
    assert abs(effect_of(results)["difference"]) < (a - b) / 2


MIRROR = {
    "sqlite": """
CREATE TABLE tariff (version TEXT, country TEXT, PRIMARY KEY (version, country));
CREATE TABLE mirror (version TEXT, country TEXT, FOREIGN KEY (version, country) REFERENCES tariff (version, country));
INSERT INTO tariff VALUES ('support@3', 'US'), ('support@3', 'GB'), ('support@3', 'DE'), ('support@4', 'DE');
CREATE TRIGGER copy AFTER INSERT ON call BEGIN INSERT INTO mirror VALUES (NEW.version, NEW.country); END;
""",
    "postgresql": """
CREATE TABLE tariff (version TEXT, country TEXT, PRIMARY KEY (version, country));
CREATE TABLE mirror (version TEXT, country TEXT, FOREIGN KEY (version, country) REFERENCES tariff (version, country));
INSERT INTO tariff VALUES ('support@3', 'US'), ('support@3', 'GB'), ('support@3', 'DE'), ('support@4', 'DE');
CREATE FUNCTION copy() RETURNS trigger AS
$$ BEGIN INSERT INTO mirror VALUES (NEW.version, NEW.country); RETURN NEW; END $$ LANGUAGE plpgsql;
CREATE TRIGGER copy AFTER INSERT ON call FOR EACH ROW EXECUTE FUNCTION copy();
""",
}
"""What an operator's analysts might add to the database: each call is copied with its tariff, and nobody has entered
those of version 4 outside Germany. The database then refuses those calls of B, and the gateway cannot record them."""


@pytest.mark.parametrize("database_url", ["postgres"] if TIMES == 1 else ["sqlite", "postgres"], indirect=True)
async def test_a_biased_logger_raises_srm(
    tmp_path: Path, database_url: str, told: list[structlog.typing.EventDict]
) -> None:
    """Whoever is drawn to B and does not ring from Germany is put through to a person, and stands in no book."""
    async with trial(tmp_path, database_url, [route(line(0), effect=EFFECT)]) as one:
        await one.execute(MIRROR)
        for _ in range(9):
            await one.ring(0, 40, completing(a=0.5, b=0.5))
            one.pass_time(DAY)
            (results,) = await one.look(0)
        counted = {arm["arm"]: arm["calls"] for arm in results["arms"]}
        assert counted["a"] + counted["b"] + len(one.strangers) == one.rung
        assert all("+14155550199" in twiml for twiml in one.strangers)
        applied = await one.served.api("POST", "/experiments/t0-1/apply", {"winner": "b"})
    assert len([event for event in told if event["event"] == "work_failed"]) == len(one.strangers) > 0
    assert state(results) == "blocked"
    total = counted["a"] + counted["b"]
    split = [f"{arm.upper()} has {counted[arm]} ({counted[arm] / total * 100:.1f} % for 50.0 %)" for arm in "ab"]
    sentence = f"the split differs from the plan: in epoch 1, of {total} calls {' and '.join(split)}"
    assert found(results)[1] == ("block", sentence)
    assert results["verdict"]["text"] == f"No verdict: {sentence}."
    assert (applied.status, sentence in applied.body["error"]["message"]) == (409, True)


def forgetful(arm: str, person: Person) -> Outcome | None:
    """Half of all callers are helped by either version; of those whom it did not help, B's agent forgets most."""
    if person.luck < 0.5:
        return {"success": True}
    return None if arm == "b" and person.temper < 0.75 else {"success": False}


async def test_an_agent_that_forgets_its_failures_is_found(tmp_path: Path) -> None:
    async with trial(tmp_path, sqlite(tmp_path), [route(line(0), effect=EFFECT)]) as one:
        for _ in range(10):
            await one.ring(0, 70, forgetful)
            (pending,) = await one.look(0)
            one.pass_time(DAY)
            await one.mature()
            (results,) = await one.look(0)
    # What is missing is only known when the hour has passed in which it may still come.
    assert sum(arm["mature"] for arm in pending["arms"]) == 630
    assert sum(arm["mature"] for arm in results["arms"]) == 700
    assert results["verdict"]["arms"]["b"]["state"] == "better"
    assert state(results) == "blocked"
    status, text = found(results)[4]
    assert (status, results["verdict"]["text"]) == ("block", f"No verdict: {text}.")
    assert text.startswith("outcomes are missing more often in one arm than in another: A 0.0 % and B ")
    assert 1 not in found(results)


def mixed(arm: str, person: Person) -> Outcome | None:
    """B helps more callers everywhere; half of A's outcomes from Europe are lost, and half of B's from America."""
    american = person.country == "US"
    lost = american is (arm == "b") and person.temper < 0.5
    rate = (0.8 if american else 0.2) + (0.1 if arm == "b" else 0.0)
    return None if lost else {"success": person.luck < rate}


async def test_a_simpson_case_warns(tmp_path: Path) -> None:
    """As many outcomes are lost of A as of B, and no count looks odd; but most of A's callers are then American."""
    plan = route(line(0), effect=EFFECT, more='strata = ["country"]')
    async with trial(tmp_path, sqlite(tmp_path), [plan]) as one:
        for _ in range(10):
            await one.ring(0, 100 * TIMES, mixed)
            one.pass_time(DAY)
            await one.mature()
            (results,) = await one.look(0)
    checks, pooled = found(results), effect_of(results)
    (stratum,) = results["strata"]
    assert (stratum["name"], stratum["planned"]) == ("country", True)
    assert [part["value"] for part in stratum["segments"]] == ["DE", "GB", "US"]
    assert all(part["difference"] > 0 for part in stratum["segments"])
    assert pooled["high"] < 0 < stratum["together"]
    sizes = f"−{-100 * pooled['difference']:.1f}", f"+{100 * stratum['together']:.1f}"
    sentence = f"Simpson: pooled B stands at {sizes[0]}, stratified by country at {sizes[1]}; read the second"
    assert checks[7] == ("warn", sentence)
    assert checks[4][0] == "warn"
    # Sure of the pooled number, the gateway names no loser that is the better one in every country.
    assert state(results) == "running"
    assert results["verdict"]["text"].endswith(f"but {sizes[1]} with country held fixed: nothing is certain.")
