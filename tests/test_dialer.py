"""Placing calls: each is sent once, whatever Twilio answers, and only evidence says what became of a doubtful one."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from gateway.dialer import ABSENT_MS, SETTLE_MS, Owner
from gateway.storage.access import forget_requests
from gateway.storage.attempts import Attempt, Held, Limits
from gateway.wiring import sweep
from tests.outbound import TO, Outbound, outbound

__all__ = ["outbound"]


async def test_a_call_is_placed_answered_and_followed_to_its_end(outbound: Outbound) -> None:
    call = await outbound.place(variables={"first_name": "Kim"})
    assert (call["status"], call["to"], call["from"]) == ("planned", TO, "+14155550190")
    assert await outbound.dialer.step() == 1
    (form,) = outbound.twilio.created
    assert (form["To"], form["From"]) == (TO, "+14155550190")
    assert f"?call={call['id']}" in form["Url"]
    assert f"?call={call['id']}" in form["StatusCallback"]
    assert (await outbound.told(call["id"]))["sid"] == outbound.twilio.sid(0)
    ids = {"CallSid": outbound.twilio.sid(0), "From": "+14155550190", "To": TO, "Direction": "outbound-api"}
    await outbound.served.ring(f"/twilio/status?call={call['id']}", **ids, CallStatus="ringing", SequenceNumber="1")
    assert (await outbound.told(call["id"]))["status"] == "ringing"
    answer = await outbound.served.ring(f"/twilio/voice?call={call['id']}", **ids, CallStatus="in-progress")
    assert call["assignment"]["version"] in answer.text
    assert 'value="Kim"' in answer.text
    done = {"CallStatus": "completed", "CallDuration": "42", "SequenceNumber": "3"}
    await outbound.served.ring(f"/twilio/status?call={call['id']}", **ids, **done)
    shown = await outbound.told(call["id"])
    assert (shown["status"], shown["duration_seconds"]) == ("completed", 42)
    assert shown["assignment"] == call["assignment"]
    assert await outbound.state(call["id"]) == "closed"
    assert await outbound.dialer.step() == 0
    assert len(outbound.twilio.created) == 1


async def test_calls_are_split_between_the_versions(outbound: Outbound) -> None:
    calls = [await outbound.place(f"+1212555{number:04}") for number in range(100, 140)]
    assert {call["assignment"]["arm"] for call in calls} == {"a", "b"}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"to": "+442071838750"}, "outbound.allowed_countries"),
        ({"to": "+19005550142"}, "premium"),
        ({"to": "2125550142"}, "country code"),
        ({"from": "+14155550100"}, "not among the numbers"),
        ({"variables": {"gateway_call": "x"}}, "reserved"),
        ({"timezone": "Mars/Olympus"}, "Mars/Olympus"),
    ],
)
async def test_what_may_not_be_called_is_refused_in_words(
    outbound: Outbound, changes: dict[str, Any], says: str
) -> None:
    answer = await outbound.served.api("POST", "/calls", {"route": "reminders", "to": TO} | changes)
    assert answer.status == 422
    assert says in answer.body["error"]["message"]
    assert (await outbound.served.api("GET", "/calls")).body["calls"] == []


@pytest.mark.parametrize("answer", ["400/21211", "429/20429", "401/20003"])
async def test_what_twilio_refuses_was_not_made(outbound: Outbound, answer: str) -> None:
    outbound.twilio.answers = [answer]
    call = await outbound.place()
    await outbound.dialer.step()
    assert await outbound.state(call["id"]) == "rejected"
    shown = await outbound.told(call["id"])
    assert shown["status"] == "failed"
    assert answer.partition("/")[2] in shown["events"][-1]["reason"]
    await outbound.dialer.step()
    assert len(outbound.twilio.created) == 1


@pytest.mark.parametrize("answer", ["500", "503", "reset", "garbage"])
async def test_what_nobody_can_know_is_never_sent_again_and_a_webhook_proves_it(
    outbound: Outbound, answer: str
) -> None:
    outbound.twilio.answers = [answer]
    call = await outbound.place()
    await outbound.dialer.step()
    assert await outbound.state(call["id"]) == "unknown"
    again = await outbound.place()
    await outbound.dialer.step()
    assert await outbound.state(again["id"]) == "planned"  # the number is held by the doubtful one
    assert len(outbound.twilio.created) == 1
    ids = {"CallSid": outbound.twilio.sid(0), "CallStatus": "initiated", "SequenceNumber": "0"}
    await outbound.served.ring(f"/twilio/status?call={call['id']}", **ids)
    assert await outbound.state(call["id"]) == "placed"
    assert (await outbound.told(call["id"]))["sid"] == outbound.twilio.sid(0)


async def test_twilios_list_proves_a_call_too(outbound: Outbound) -> None:
    outbound.twilio.answers = ["500"]
    call = await outbound.place()
    await outbound.dialer.step()
    assert await outbound.dialer.reconcile() == 0  # too early to look
    outbound.twilio.listed = [outbound.twilio.sid(0)]
    outbound.pass_time(SETTLE_MS + 1)
    assert await outbound.dialer.reconcile() == 1
    assert await outbound.state(call["id"]) == "placed"


async def test_an_empty_list_is_believed_late_and_late_proof_still_wins(outbound: Outbound) -> None:
    outbound.twilio.answers = ["500"]
    call = await outbound.place()
    await outbound.dialer.step()
    for _ in range(3):
        outbound.pass_time(SETTLE_MS + 1)
        await outbound.dialer.reconcile()
        assert await outbound.state(call["id"]) == "unknown"
    outbound.pass_time(ABSENT_MS)
    assert await outbound.dialer.reconcile() == 1
    assert await outbound.state(call["id"]) == "absent"
    assert (await outbound.told(call["id"]))["status"] == "unknown"
    await outbound.served.ring(
        f"/twilio/status?call={call['id']}", CallSid="CA" + "9" * 32, CallStatus="ringing", SequenceNumber="1"
    )
    assert await outbound.state(call["id"]) == "placed"
    assert len(outbound.twilio.created) == 1


async def test_an_intent_of_a_dead_dialer_becomes_doubtful_and_of_a_living_one_does_not(
    outbound: Outbound, tmp_path: Path
) -> None:
    dead, living = Owner(tmp_path / "dialer"), Owner(tmp_path / "dialer")
    calls = [await outbound.place(f"+1212555{number}") for number in ("0151", "0152")]
    for call, owner in zip(calls, (dead, living), strict=True):
        claimed = await outbound.claim(call["id"], owner.name)
        assert isinstance(claimed, Attempt)
    dead.close()
    await outbound.dialer.reconcile()
    assert [await outbound.state(call["id"]) for call in calls] == ["unknown", "intent"]
    living.close()


async def test_a_second_call_on_one_attempt_is_ended_and_changes_nothing(outbound: Outbound) -> None:
    call = await outbound.place()
    await outbound.dialer.step()
    stray = {"CallSid": "CA" + "9" * 32, "Direction": "outbound-api", "To": TO}
    told = {"CallStatus": "busy", "SequenceNumber": "2"}
    await outbound.served.ring(f"/twilio/status?call={call['id']}", **stray, **told)
    assert outbound.twilio.cancelled[0] == stray["CallSid"]
    answer = await outbound.served.ring(f"/twilio/voice?call={call['id']}", **stray, CallStatus="in-progress")
    assert "<Hangup" in answer.text
    shown = await outbound.told(call["id"])
    assert (shown["sid"], shown["status"]) == (outbound.twilio.sid(0), "queued")
    assert await outbound.state(call["id"]) == "placed"


async def test_nothing_is_sent_after_the_switch_or_an_opt_out(outbound: Outbound) -> None:
    first, second = await outbound.place(), await outbound.place("+12125550199")
    stopped = await outbound.served.api("POST", "/dialing/stop", {"reason": "wrong script"})
    assert stopped.body["dialing"]["stopped"]["reason"] == "wrong script"
    assert await outbound.dialer.step() == 0
    assert (await outbound.served.api("POST", "/dialing/start")).status == 200
    await outbound.served.api("POST", f"/calls/{second['id']}/outcome", {"opt_out": True})
    assert await outbound.dialer.step() == 1
    assert [form["To"] for form in outbound.twilio.created] == [TO]
    assert await outbound.state(second["id"]) == "rejected"
    refused = await outbound.served.api("POST", "/calls", {"route": "reminders", "to": "+12125550199"})
    assert (refused.status, "must not be called" in refused.body["error"]["message"]) == (422, True)
    assert (await outbound.served.api("DELETE", "/suppressions/+12125550199")).status == 200
    await outbound.place("+12125550199")
    assert await outbound.state(first["id"]) == "placed"


async def test_no_more_at_once_and_on_a_day_than_allowed(outbound: Outbound) -> None:
    for number in range(100, 109):
        await outbound.place(f"+1212555{number:04}")
    assert await outbound.dialer.step() == 5
    assert await outbound.dialer.step() == 0
    ids = {"CallSid": outbound.twilio.sid(0), "CallStatus": "busy", "SequenceNumber": "2"}
    call = outbound.twilio.created[0]["Url"].partition("?call=")[2].partition("#")[0]
    await outbound.served.ring(f"/twilio/status?call={call}", **ids)
    assert await outbound.dialer.step() == 1


async def test_of_many_claimers_one_has_the_attempt(outbound: Outbound) -> None:
    calls = [await outbound.place(f"+1212555{number:04}") for number in range(100, 110)]

    async def take(call: str, claimer: int) -> bool:
        return isinstance(await outbound.claim(call, f"claimer-{claimer}"), Attempt)

    taken = await asyncio.gather(*(take(call["id"], claimer) for call in calls for claimer in range(4)))
    assert sum(taken) == len(calls)


async def test_the_same_key_rings_once(outbound: Outbound) -> None:
    body = {"route": "reminders", "to": TO}
    first = await outbound.served.api("POST", "/calls", body, Idempotency_Key="k")
    again = await outbound.served.api("POST", "/calls", body, Idempotency_Key="k")
    assert again.body == first.body
    assert again.headers["Idempotent-Replayed"] == "true"
    assert (
        await outbound.served.api("POST", "/calls", body | {"to": "+12125550199"}, Idempotency_Key="k")
    ).status == 409
    assert await outbound.dialer.step() == 1


async def test_a_key_rings_once_even_where_nobody_remembers_its_answer(
    outbound: Outbound, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = {"route": "reminders", "to": TO}

    def lost(*_: object) -> None:
        raise RuntimeError("the answer is lost after the call was stored")

    with monkeypatch.context() as patch:
        patch.setattr("gateway.http.api.calls.shown", lost)
        assert (await outbound.served.api("POST", "/calls", body, Idempotency_Key="k")).status == 500
    again = await outbound.served.api("POST", "/calls", body, Idempotency_Key="k")
    assert (again.status, again.headers["Idempotent-Replayed"]) == (201, "true")
    async with outbound.served.gateway.database.write() as connection:
        await forget_requests(connection, before=1 << 60, unanswered_before=1 << 60)
    later = await outbound.served.api("POST", "/calls", body, Idempotency_Key="k")
    assert later.body["call"]["id"] == again.body["call"]["id"]
    other = await outbound.served.api("POST", "/calls", body | {"to": "+12125550199"}, Idempotency_Key="k")
    assert (other.status, "take a new key" in other.body["error"]["message"]) == (409, True)
    assert len((await outbound.served.api("GET", "/calls")).body["calls"]) == 1
    assert await outbound.dialer.step() == 1


async def test_a_call_that_waits_for_its_turn_is_not_given_up(outbound: Outbound) -> None:
    call = await outbound.place()
    outbound.pass_time(48 * 3_600_000)
    assert await sweep(outbound.served.gateway) == 0
    assert (await outbound.told(call["id"]))["status"] == "planned"
    assert await outbound.dialer.step() == 1


async def test_no_second_has_more_calls_than_the_pace(outbound: Outbound) -> None:
    sent: list[int] = []
    for number in range(120):
        await outbound.place(f"+1212555{number + 100:04}")
    limits = Limits(per_second=2.0, at_once=1000, at_once_on_route=1000, per_day=1000)
    for place, wanted in enumerate(await outbound.served.gateway.outbox.due(limit=200)):
        while isinstance(held := await outbound.claim(wanted.id, "one", limits), Held):
            assert (held.why, held.until) == ("pace", sent[-1] + 500)
            outbound.pass_time(170 if place % 3 else 501)
        assert isinstance(held, Attempt)
        assert held.intent_at is not None
        sent.append(held.intent_at)
    assert len(sent) == 120
    assert max(sum(start <= at < start + 1000 for at in sent) for start in sent) == 2
    assert sent[-1] - sent[0] < 75_000


async def test_the_call_of_an_attempt_just_before_is_no_evidence_of_the_next(outbound: Outbound) -> None:
    first = await outbound.place()
    await outbound.dialer.step()
    outbound.twilio.listed = [outbound.twilio.sid(0)]
    busy = {"CallSid": outbound.twilio.sid(0), "CallStatus": "busy", "SequenceNumber": "3"}
    await outbound.served.ring(f"/twilio/status?call={first['id']}", **busy)
    outbound.twilio.answers = ["500"]
    second = await outbound.place()
    await outbound.dialer.step()
    for _ in range(12):
        outbound.pass_time(SETTLE_MS + 1_000)
        await outbound.dialer.reconcile()
    assert await outbound.state(second["id"]) == "absent"
    assert (await outbound.told(second["id"]))["sid"] is None
    assert outbound.twilio.cancelled == []
