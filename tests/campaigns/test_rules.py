"""What must hold when hours end, holds come and go, a test is stopped, a clock is put back, or a dialer is lost."""

import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import sqlalchemy as sa

from gateway.callee import Window
from gateway.errors import Unavailable
from gateway.storage.attempts import Attempt, Limits
from gateway.storage.schema import campaign as campaigns
from gateway.wiring import sweep
from tests.conftest import ADMIN
from tests.outbound import TO, Outbound, outbound
from tests.test_campaigns import change, contacts, create, end, people, told

__all__ = ["outbound"]

HOUR = 3_600_000
DAY = 24 * HOUR


def noon(outbound: Outbound) -> int:
    """Moves the clock on to the next noon, UTC."""
    outbound.pass_time(DAY - (outbound.clock() - DAY // 2) % DAY)
    return outbound.clock()


async def in_hours(outbound: Outbound, **settings: Any) -> dict[str, Any]:
    body = {"name": "n", "route": "reminders", "contacts": [{"to": TO, "timezone": "Etc/UTC"}]}
    settings = {"window": "09:00-13:00"} | settings
    made: dict[str, Any] = (await outbound.served.api("POST", "/campaigns", body | {"settings": settings})).body[
        "campaign"
    ]
    await change(outbound, made, "start")
    return made


async def test_a_call_that_would_leave_twilios_queue_too_late_is_cancelled_and_waits(outbound: Outbound) -> None:
    at = noon(outbound)
    outbound.twilio.queue_ms = 2 * HOUR
    campaign = await in_hours(outbound)
    await outbound.dialer.step()
    assert set(outbound.twilio.cancelled) == {outbound.twilio.sid(0)}
    (person,) = await contacts(outbound, campaign)
    assert (person["state"], person["attempts"], "queue" in person["text"]) == ("waiting", 0, True)
    assert 20 * HOUR < person["not_before"] - at <= 21 * HOUR
    call = await outbound.told(person["call"])
    assert (call["status"], call["sid"]) == ("canceled", outbound.twilio.sid(0))
    assert await outbound.state(person["call"]) == "rejected"
    outbound.twilio.queue_ms = HOUR // 2
    outbound.pass_time(21 * HOUR)
    await outbound.dialer.step()
    (person,) = await contacts(outbound, campaign)
    assert (person["state"], person["attempts"], len(outbound.twilio.created)) == ("dialling", 1, 2)


async def test_a_call_that_can_no_longer_be_cancelled_is_left_to_its_callbacks(outbound: Outbound) -> None:
    noon(outbound)
    outbound.twilio.queue_ms, outbound.twilio.over = 2 * HOUR, True
    campaign = await in_hours(outbound)
    await outbound.dialer.step()
    (person,) = await contacts(outbound, campaign)
    assert (person["state"], person["attempts"]) == ("dialling", 1)
    assert await outbound.state(person["call"]) == "placed"


async def test_nothing_is_sent_when_the_hours_end_after_the_claim(outbound: Outbound) -> None:
    noon(outbound)
    call = await outbound.place(timezone="Etc/UTC")
    claimed = await outbound.claim(call["id"], "one")
    assert isinstance(claimed, Attempt)
    outbound.pass_time(HOUR)
    await outbound.dialer._send(claimed, Window(start=9 * 60, end=13 * 60))
    assert outbound.twilio.created == []
    assert await outbound.state(call["id"]) == "rejected"


async def test_a_single_call_waits_while_its_route_is_held_to_its_fallback(outbound: Outbound) -> None:
    call = await outbound.place()
    held = await outbound.served.api("POST", "/routes/reminders/hold", {"to": "fallback", "reason": "wrong script"})
    assert held.status == 201, held.body
    assert await outbound.dialer.step() == 0
    assert await outbound.state(call["id"]) == "planned"
    await outbound.served.api("DELETE", "/routes/reminders/hold")
    outbound.pass_time(6_000)
    assert await outbound.dialer.step() == 1


async def counted(outbound: Outbound) -> int:
    results = (await outbound.served.api("GET", "/experiments/reminders-1/results")).body
    return sum(arm["calls"] for arm in results["arms"])


async def analysed(outbound: Outbound) -> list[bool]:
    """Of every call, the oldest first."""
    calls = (await outbound.served.api("GET", "/calls?limit=100")).body["calls"]
    return [call["assignment"]["analysed"] for call in reversed(calls)]


async def test_a_retry_after_the_test_has_ended_keeps_its_arm_and_counts_nothing_twice(outbound: Outbound) -> None:
    campaign = await create(outbound, [TO], retry={"busy": "30m"})
    await change(outbound, campaign, "start")
    await outbound.dialer.step()
    await end(outbound, 0, "busy")
    before = (await contacts(outbound, campaign))[0]["assignment"]["arm"]
    stopped = await outbound.served.api("POST", "/experiments/reminders-1/stop", {"winner": None, "reason": "enough"})
    assert stopped.status == 200, stopped.body
    outbound.pass_time(31 * 60_000)
    assert await outbound.dialer.step() == 1
    assert await analysed(outbound) == [True, False]
    assert await counted(outbound) == 1
    assert (await contacts(outbound, campaign))[0]["assignment"]["arm"] == before


async def test_whoever_was_called_during_a_hold_stays_out_of_the_comparison(outbound: Outbound) -> None:
    campaign = await create(outbound, [TO], retry={"busy": "30m"})
    await change(outbound, campaign, "start")
    for number in range(3):
        if number == 1:
            await outbound.served.api("POST", "/routes/reminders/hold", {"to": "b", "reason": "a look"})
        assert await outbound.dialer.step() == 1
        await outbound.served.api("DELETE", "/routes/reminders/hold")
        await end(outbound, number, "busy")
        outbound.pass_time(31 * 60_000)
    assert await analysed(outbound) == [False, False, False]
    assert await counted(outbound) == 0


async def test_a_scheduled_campaign_that_was_paused_still_waits_for_its_time(outbound: Outbound) -> None:
    campaign = await create(outbound, [TO], start_at=outbound.clock() + HOUR)
    await change(outbound, campaign, "start")
    await change(outbound, campaign, "pause")
    assert (await change(outbound, campaign, "resume")).body["campaign"]["status"] == "scheduled"
    assert await outbound.dialer.step() == 0
    outbound.pass_time(HOUR + 1)
    assert await outbound.dialer.step() == 1
    assert (await told(outbound, campaign))["started_at"] is not None


async def test_a_clock_that_was_fast_and_is_put_right_does_not_stop_the_dialling(outbound: Outbound) -> None:
    campaign = await create(outbound, people(2), calls_per_second=1)
    single = await outbound.place()
    await change(outbound, campaign, "start")
    outbound.pass_time(2 * HOUR)
    assert await outbound.dialer.step() == 2
    outbound.pass_time(outbound.clock.later * -1)
    before = outbound.clock.later
    assert await outbound.dialer.step() == 1
    assert outbound.clock.later - before < 60_000
    assert await outbound.state(single["id"]) == "placed"


async def test_what_was_refused_is_none_of_the_calls_of_a_day(outbound: Outbound) -> None:
    outbound.twilio.answers = ["503", "429/20429"]
    for number in people(3):
        await outbound.place(number)
    await outbound.dialer.step()
    limits = Limits(per_second=1e6, at_once=1000, at_once_on_route=1000, per_day=3)
    calls = [await outbound.place(number) for number in people(2, 2000)]
    claimed = [await outbound.claim(call["id"], "one", limits) for call in calls]
    assert [isinstance(one, Attempt) for one in claimed] == [True, False]


async def test_one_broken_campaign_does_not_hold_up_the_others(outbound: Outbound) -> None:
    broken, whole = await create(outbound, people(1)), await create(outbound, people(1, 2000))
    for one in (broken, whole):
        await change(outbound, one, "start")
    spoiled = sa.update(campaigns).where(campaigns.c.id == broken["id"]).values(settings={"window": "noonish"})
    await outbound.served.gateway.database.transact(lambda connection: connection.execute(spoiled))
    assert await outbound.dialer.step() == 1
    assert [form["To"] for form in outbound.twilio.created] == people(1, 2000)


async def test_an_intent_whose_dialer_cannot_be_seen_is_settled_in_the_end(outbound: Outbound) -> None:
    call = await outbound.place()
    assert isinstance(await outbound.claim(call["id"], "dialer-on-another-machine"), Attempt)
    outbound.pass_time(59 * 60_000)
    await outbound.dialer.reconcile()
    assert await outbound.state(call["id"]) == "intent"
    outbound.pass_time(2 * 60_000)
    for _ in range(3):
        await outbound.dialer.reconcile()
    assert await outbound.state(call["id"]) == "absent"
    assert outbound.twilio.created == []


async def test_a_call_that_waited_for_days_is_not_given_up_as_soon_as_it_is_placed(outbound: Outbound) -> None:
    call = await outbound.place()
    outbound.pass_time(2 * DAY)
    assert await outbound.dialer.step() == 1
    assert await sweep(outbound.served.gateway) == 0
    assert await outbound.state(call["id"]) == "placed"
    outbound.pass_time(DAY + 1)
    assert await sweep(outbound.served.gateway) == 1


async def test_a_refusal_of_the_whole_account_uses_nobody_up(outbound: Outbound) -> None:
    campaign = await create(outbound, people(2), concurrency=1)
    outbound.twilio.answers = ["404/20404"]
    await change(outbound, campaign, "start")
    await outbound.dialer.step()
    assert (await told(outbound, campaign))["status"] == "pausing"
    assert {(one["state"], one["attempts"]) for one in await contacts(outbound, campaign)} == {("waiting", 0)}


async def test_an_answer_that_says_only_time_out_leaves_doubt(outbound: Outbound) -> None:
    outbound.twilio.answers = ["408"]
    call = await outbound.place()
    await outbound.dialer.step()
    assert await outbound.state(call["id"]) == "unknown"


async def test_a_viewer_is_shown_no_number_in_a_reason_either(outbound: Outbound) -> None:
    campaign = await create(outbound, [TO, "+19005550142"])
    made = await outbound.served.api("POST", "/tokens", {"name": "v", "role": "viewer"})
    path = f"/campaigns/{campaign['id']}/contacts"
    shown = await outbound.served.api("GET", path, token=made.body["token"]["secret"])
    assert shown.status == 200
    assert "9005550142" not in json.dumps(shown.body)
    assert "9005550142" in json.dumps((await outbound.served.api("GET", path)).body)


@pytest.mark.parametrize(
    ("settings", "status"),
    [("[" * 9_000, 400), ('{"message": "\\u0000"}', 400), ('{"calls_per_second": 1e-20}', 422), ("[]", 422)],
)
async def test_settings_that_cannot_be_meant_are_refused(outbound: Outbound, settings: str, status: int) -> None:
    query = {"name": "n", "route": "reminders", "settings": settings}
    headers = {"Authorization": f"Bearer {ADMIN}", "Content-Type": "text/csv"}
    url = f"{outbound.served.url}/api/v1/campaigns"
    async with outbound.served.http.post(url, params=query, data=f"to\n{TO}\n", headers=headers) as answer:
        assert answer.status == status, await answer.text()


@asynccontextmanager
async def away(outbound: Outbound) -> AsyncIterator[None]:
    """A database that takes no claim while the block runs."""
    database = outbound.served.gateway.database
    if database.embedded:
        with sqlite3.connect(database.url.database or "", isolation_level=None) as file:
            file.execute("BEGIN EXCLUSIVE")
            yield
            file.execute("ROLLBACK")
        return
    async with database.write() as connection:
        await connection.execute(sa.text("LOCK TABLE dialing IN ACCESS EXCLUSIVE MODE"))
        yield


async def test_without_its_database_the_gateway_dials_nobody_and_says_so(outbound: Outbound) -> None:
    campaign = await create(outbound, people(2))
    await change(outbound, campaign, "start")
    await outbound.place()
    async with away(outbound):
        with pytest.raises(Unavailable):
            await outbound.dialer.step()
        assert (await change(outbound, campaign, "pause")).status == 503
    assert outbound.twilio.created == []
    assert await outbound.dialer.step() == 3
