"""Placing calls: each is sent once, whatever Twilio answers, and only evidence says what became of a doubtful one."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from gateway.dialer import ABSENT_MS, SETTLE_MS, Bucket, Dialer, Owner, Pace
from gateway.wiring import sweep, wall_clock
from tests.conftest import AGENTS, Running, listening, running, settings_for, write_files

ROUTE = """
direction = "outbound"
numbers = ["+14155550190", "+14155550191"]
[versions]
a = "support@3"
b = "support@4"
[ab_test]
enabled = true
name = "greeting"
split = { a = 50, b = 50 }
"""
TO = "+12125550142"


class Twilio:
    """Twilio's calls as a double at the wire: answers each creation as told, and keeps what was asked."""

    def __init__(self) -> None:
        self.created: list[dict[str, str]] = []
        self.cancelled: list[str] = []
        self.answers: list[str] = []  # one for each creation; then "201"
        self.listed: list[str] = []

    async def handle(self, request: web.Request) -> web.StreamResponse:
        form = {str(name): str(value) for name, value in (await request.post()).items()}
        if request.method == "POST" and request.path.endswith("/Calls.json"):
            return await self._create(request, form)
        if request.method == "POST":
            self.cancelled.append(request.path.rpartition("/")[2].removesuffix(".json"))
            return web.json_response({"sid": "CA1", "status": "canceled"})
        if request.path.endswith("/Calls.json"):
            calls = [self._call(number) for number in range(len(self.created)) if self.sid(number) in self.listed]
            return web.json_response({"calls": calls, "page_size": 50, "next_page_uri": None})
        return web.json_response({"code": 20404, "message": "no", "status": 404}, status=404)

    async def _create(self, request: web.Request, form: dict[str, str]) -> web.StreamResponse:
        self.created.append(form)
        answer = self.answers.pop(0) if self.answers else "201"
        if answer == "reset":
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        if answer == "garbage":
            return web.Response(status=201, text="<html>")
        if answer != "201":
            status, _, code = answer.partition("/")
            body = {"code": int(code or status), "message": "no", "status": int(status)}
            return web.json_response(body, status=int(status))
        return web.json_response(self._call(len(self.created) - 1), status=201)

    @staticmethod
    def sid(number: int) -> str:
        return f"CA{number:032x}"

    def _call(self, number: int) -> dict[str, Any]:
        form = self.created[number]
        created = format_datetime(datetime.now(UTC))
        told = {"sid": self.sid(number), "status": "queued", "direction": "outbound-api", "date_created": created}
        return told | {"to": form["To"], "from": form["From"]}


class Clock:
    """How far the dialer's clock is ahead, in milliseconds."""

    later = 0


@dataclass(kw_only=True)
class Outbound:
    """A gateway with an outbound route, whose dialer is moved by hand."""

    twilio: Twilio
    served: Running
    dialer: Dialer
    clock: "Clock"

    async def place(self, to: str = TO, **more: Any) -> dict[str, Any]:
        answer = await self.served.api("POST", "/calls", {"route": "reminders", "to": to, **more})
        assert answer.status == 201, answer.body
        call: dict[str, Any] = answer.body["call"]
        return call

    async def told(self, call: str) -> dict[str, Any]:
        shown: dict[str, Any] = (await self.served.api("GET", f"/calls/{call}")).body["call"]
        return shown

    async def state(self, call: str) -> str:
        found = await self.served.gateway.outbox.attempt(call)
        assert found is not None
        return found.state

    def pass_time(self, milliseconds: int) -> None:
        self.clock.later += milliseconds


@pytest.fixture
async def outbound(tmp_path: Path, database_url: str) -> AsyncIterator[Outbound]:
    double, app = Twilio(), web.Application()
    app.router.add_route("*", "/{tail:.*}", double.handle)
    async with listening(app) as url:
        write_files(tmp_path, AGENTS | {"routes/reminders.toml": ROUTE})
        settings = settings_for(
            tmp_path,
            database_url,
            GATEWAY_TWILIO__API_BASE_URL=url,
            GATEWAY_OUTBOUND__ALLOWED_COUNTRIES='["US"]',
            GATEWAY_OUTBOUND__WINDOW="always",
        )
        async with running(settings) as served:
            gateway = served.gateway
            assert gateway.carrier is not None
            assert gateway.dialling is not None
            gateway.dialling.cancel()
            owner = Owner(tmp_path / "dialer")
            clock = Clock()
            dialer = Dialer(
                outbox=gateway.outbox,
                placer=gateway.carrier,
                owner=owner,
                pace=Pace(per_second=1000.0, at_once=5, per_day=100, window=None),
                public_url=served.url,
                wall=lambda: wall_clock() + clock.later,
            )
            yield Outbound(twilio=double, served=served, dialer=dialer, clock=clock)
            owner.close()


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
        claimed = await outbound.served.gateway.outbox.claim(call["id"], owner=owner.name, since=0, most=5, cap=9)
        assert not isinstance(claimed, str | None)
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
    calls = [await outbound.place(f"+1212555{number:04}") for number in range(100, 120)]
    outbox = outbound.served.gateway.outbox

    async def take(call: str, claimer: int) -> bool:
        claimed = await outbox.claim(call, owner=f"claimer-{claimer}", since=0, most=100, cap=100)
        return not isinstance(claimed, str | None)

    taken = await asyncio.gather(*(take(call["id"], claimer) for call in calls for claimer in range(8)))
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


async def test_a_call_that_waits_for_its_turn_is_not_given_up(outbound: Outbound) -> None:
    call = await outbound.place()
    later = outbound.served.gateway.wall() + 48 * 3_600_000
    outbound.served.gateway.wall = lambda: later
    assert await sweep(outbound.served.gateway) == 0
    assert (await outbound.told(call["id"]))["status"] == "planned"
    assert await outbound.dialer.step() == 1


def test_the_pace_is_even_and_saves_nothing_up() -> None:
    now = 0.0
    bucket = Bucket(2.0, lambda: now)
    turns = []
    for _ in range(10):
        while (pause := bucket.wait()) > 0:
            now += pause
        turns.append(now)
    assert turns == [number * 0.5 for number in range(10)]
    now += 100
    assert (bucket.wait(), bucket.wait()) == (0.0, 0.5)
