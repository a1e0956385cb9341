"""The simulator against a real gateway: its own ledger and the gateway's books must tell the same."""

from dataclasses import replace

import pytest

from gateway.simulator import Behaviour, Faults, Ledger, Plan, simulate
from tests.conftest import ACCOUNT, ADMIN, TOKEN, Running


def plan_for(served: Running, **changes: object) -> Plan:
    plan = Plan(
        public_url=served.url,
        account=ACCOUNT,
        token=TOKEN,
        numbers=("+14155550100",),
        agent_token=ADMIN,
        calls=40,
        rate=400,
        speed=100_000,
    )
    return replace(plan, **changes)  # type: ignore[arg-type]


async def books(served: Running) -> dict[str, dict[str, object]]:
    listed = await served.api("GET", "/calls?limit=1000")
    return {call["id"]: call for call in listed.body["calls"]}


async def test_every_call_is_in_the_books_with_its_version_and_its_end(served: Running) -> None:
    ledger = await simulate(plan_for(served))
    written = await books(served)
    assert written.keys() == ledger.calls.keys()
    for sid, entry in ledger.calls.items():
        call = written[sid]
        assert call["assignment"]["version"] == entry.versions[0]  # type: ignore[index]
        assert (call["status"], call["duration_seconds"]) == ("completed", entry.seconds)
    results = (await served.api("GET", "/experiments/support-1/results")).body
    assert sum(arm["calls"] for arm in results["arms"]) == 40
    told = {one["name"]: one["arms"] for one in results["metrics"]}["success"]
    known = [entry.success for entry in ledger.calls.values() if entry.success is not None]
    assert sum(arm["n"] for arm in told.values()) == len(known)
    assert sum(arm["n"] * arm["mean"] for arm in told.values()) == pytest.approx(sum(known))


async def test_repeats_and_doubled_callbacks_change_nothing(served: Running) -> None:
    ledger = await simulate(plan_for(served, faults=Faults(twice=1.0, copies=5, callback_doubled=1.0)))
    written = await books(served)
    assert len(written) == 40
    assert {len(entry.answers) for entry in ledger.calls.values()} == {1}
    assert {call["status"] for call in written.values()} == {"completed"}


async def test_a_version_that_refuses_hands_on_to_the_control(served: Running) -> None:
    refusing = {"support@4": Behaviour(refuses=1.0), "support@3": Behaviour(success=1.0)}
    ledger = await simulate(plan_for(served, behaviours=refusing))
    written = await books(served)
    for sid, entry in ledger.calls.items():
        call = written[sid]
        assert entry.versions[-1] == "support@3"
        assert call["served"]["version"] == "support@3"  # type: ignore[index]
        if entry.versions[0] == "support@4":
            assert call["assignment"]["arm"] == "b"  # type: ignore[index]
            assert call["served"]["reason"] == "failover"  # type: ignore[index]
    assert {entry.versions[0] for entry in ledger.calls.values()} == {"support@3", "support@4"}


async def test_an_agent_that_twilio_cannot_fetch_is_passed_over(served: Running) -> None:
    refusing = {"sales@1": Behaviour(refuses=1.0), "support@3": Behaviour()}
    ledger = await simulate(plan_for(served, numbers=("+14155550101",), behaviours=refusing, people=1000))
    written = await books(served)
    first = {entry.versions[0] for entry in ledger.calls.values()}
    assert first == {"sales@1", "support@3"}
    for sid, entry in ledger.calls.items():
        if entry.versions[0] == "sales@1":
            # Arm a is the webhook itself and the route has no fallback: what is left is the apology.
            assert written[sid]["served"]["by"] == "none"  # type: ignore[index]
            assert 11205 in entry.errors


async def test_the_same_seed_calls_the_same_people(served: Running) -> None:
    def drawn(ledger: Ledger) -> list[tuple[str, str]]:
        return sorted((entry.sid, entry.from_) for entry in ledger.calls.values())

    one = drawn(await simulate(plan_for(served, seed=7)))
    again = drawn(await simulate(plan_for(served, seed=7)))
    other = drawn(await simulate(plan_for(served, seed=8)))
    assert one == again != other


async def test_a_lost_callback_leaves_the_call_open(served: Running) -> None:
    await simulate(plan_for(served, calls=5, faults=Faults(callback_lost=1.0)))
    assert {call["status"] for call in (await books(served)).values()} == {"ringing"}
