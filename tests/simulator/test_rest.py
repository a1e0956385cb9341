"""The simulated Twilio's REST side as Twilio's own client sees it, and its books against what was really posted."""

import asyncio
import heapq
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from itertools import pairwise
from random import Random
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from twilio.base.exceptions import TwilioRestException
from twilio.request_validator import RequestValidator
from twilio.rest import Client

from gateway.carrier.client import Carrier, Order, open_carrier
from gateway.errors import GatewayError
from gateway.simulator.agent import Behaviour
from gateway.simulator.callee import Callee, Clock, Hurried, Wanted, react
from gateway.simulator.rest import Fault, RestFaults, RestPlan, RestSide
from tests.conftest import ACCOUNT, TOKEN, free_port

FROM, TO = "+14155550100", "+14155551212"
EVENTS = ["initiated", "ringing", "answered", "completed"]
START = datetime(2026, 11, 21, 12, tzinfo=UTC)
HELLO = "<Response><Say>Hello</Say><Hangup/></Response>"
STREAM = """<Response><Connect><Stream url="wss://agents.example.com/3">
<Parameter name="gateway_version" value="support@3"/><Parameter name="gateway_call" value="out_1"/>
</Stream></Connect></Response>"""


class HandClock:
    """A clock that stands still until it is put forward."""

    def __init__(self) -> None:
        self._time = 0.0
        self._waiting: list[tuple[float, int, asyncio.Future[None]]] = []
        self._pauses = 0

    def now(self) -> float:
        return START.timestamp() + self._time

    def passed(self) -> float:
        return self._time

    async def pause(self, seconds: float) -> None:
        until: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._pauses += 1
        heapq.heappush(self._waiting, (self._time + seconds, self._pauses, until))
        await until

    async def advance(self, seconds: float) -> None:
        end = self._time + seconds
        while self._waiting and self._waiting[0][0] <= end:
            self._time, _, until = heapq.heappop(self._waiting)
            if not until.done():
                until.set_result(None)
            await others_run()
        self._time = end


async def others_run() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def until(true: Callable[[], bool]) -> None:
    """Let the others run until something is so; what never comes to be so fails the test."""
    async with asyncio.timeout(30):
        while not true():
            await asyncio.sleep(0)


@dataclass(kw_only=True)
class Posted:
    """A request that Twilio made of us."""

    path: str
    fields: dict[str, str]
    genuine: bool


@dataclass(kw_only=True)
class Receiver:
    """Takes Twilio's webhooks, checks their signatures and answers with ``twiml``."""

    url: str
    twiml: str = HELLO
    status: int = 204
    posted: list[Posted] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.Response:
        fields = {name: str(value) for name, value in (await request.post()).items()}
        signature = request.headers["X-Twilio-Signature"]
        genuine = RequestValidator(TOKEN).validate(self.url + request.path_qs, fields, signature)
        self.posted.append(Posted(path=request.path_qs, fields=fields, genuine=genuine))
        if request.path == "/twilio/voice":
            return web.Response(text=self.twiml, content_type="text/xml")
        return web.Response(status=self.status)

    def at(self, path: str) -> list[dict[str, str]]:
        return [one.fields for one in self.posted if one.path.startswith(path)]

    @property
    def statuses(self) -> list[str]:
        return [told["CallStatus"] for told in self.at("/twilio/status")]


@dataclass(kw_only=True)
class World:
    """Twilio, those whom it calls back, and Twilio's client with the gateway's carrier over it."""

    side: RestSide
    receiver: Receiver
    carrier: Carrier
    url: str

    @property
    def client(self) -> Client:
        return self.carrier._client

    async def create(self, to: str = TO, attempt: str = "out_1", **changes: Any) -> Any:
        order = {
            "to": to,
            "from_": FROM,
            "url": f"{self.receiver.url}/twilio/voice?call={attempt}#rc=2",
            "status_callback": f"{self.receiver.url}/twilio/status?call={attempt}#rc=5&rp=all",
            "status_callback_event": EVENTS,
        }
        return await self.client.calls.create_async(**order | changes)

    def order(self, attempt: str = "out_1") -> Order:
        url = f"{self.receiver.url}/twilio"
        voice, status = f"{url}/voice?call={attempt}", f"{url}/status?call={attempt}"
        return Order(to=TO, from_=FROM, url=voice, fallback_url=voice, status_callback=status)


@asynccontextmanager
async def serving(app: web.Application, port: int) -> AsyncIterator[str]:
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        yield f"http://127.0.0.1:{port}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def playing(clock: Clock | None = None, **plan: Any) -> AsyncIterator[World]:
    """A world whose time flies, unless it is given a clock."""
    port = free_port()
    receiver = Receiver(url=f"http://127.0.0.1:{port}")
    app = web.Application()
    app.router.add_post("/{tail:.*}", receiver.handle)
    side = RestSide(RestPlan(account=ACCOUNT, token=TOKEN, public_url=receiver.url, **plan), clock or Hurried(1e6))
    async with (
        serving(app, port),
        serving(side.app, free_port()) as url,
        open_carrier(account=ACCOUNT, user=ACCOUNT, password=TOKEN, base_url=url) as carrier,
    ):
        yield World(side=side, receiver=receiver, carrier=carrier, url=url)


async def answered(clock: HandClock, world: World) -> None:
    """Put the clock forward until the only call is answered and its TwiML runs."""
    [entry] = world.side.entries
    while entry.answered is None:
        await clock.advance(0.25)
    await until(lambda: bool(entry.verbs))


async def code_of(request: Awaitable[object]) -> tuple[int, int]:
    """The HTTP status and the error number with which a request is refused."""
    with pytest.raises(TwilioRestException) as refused:
        await request
    return refused.value.status, refused.value.code


# -- a call that is answered -------------------------------------------------------------------------------


async def test_a_created_call_is_told_as_twilio_tells_it() -> None:
    async with playing(HandClock()) as world:
        made = await world.create()
        assert (made.status, made.direction, made.to, made._from) == ("queued", "outbound-api", TO, FROM)
        assert made.date_created == START
        assert (made.queue_time, made.duration, made.start_time) == ("0", None, None)
        assert [(one.sid, one.attempt, one.to) for one in world.side.entries] == [(made.sid, "out_1", TO)]


async def test_callbacks_come_in_order_numbered_and_signed() -> None:
    async with playing() as world:
        made = await world.create()
        await world.side.settled()
        told = world.receiver.at("/twilio/status?call=out_1")
        assert [one["CallStatus"] for one in told] == ["initiated", "ringing", "in-progress", "completed"]
        assert [one["SequenceNumber"] for one in told] == ["0", "1", "2", "3"]
        assert {one["CallSid"] for one in told} == {made.sid}
        assert {one["CallbackSource"] for one in told} == {"call-progress-events"}
        assert all(parsedate_to_datetime(one["Timestamp"]).utcoffset() == timedelta(0) for one in told)
        assert [one.get("CallDuration") for one in told] == [None, None, None, "2"]
        assert told[-1]["Duration"] == "1"
        assert all(one.genuine for one in world.receiver.posted)


async def test_the_answer_webhook_keeps_the_attempt() -> None:
    async with playing() as world:
        made = await world.create(attempt="out_77")
        await world.side.settled()
        [asked] = [one for one in world.receiver.posted if one.path.startswith("/twilio/voice")]
        assert asked.path == "/twilio/voice?call=out_77"
        assert asked.genuine
        wanted = {"CallSid": made.sid, "Direction": "outbound-api", "CallStatus": "in-progress"}
        wanted |= {"AccountSid": ACCOUNT, "To": TO, "Called": TO, "From": FROM, "Caller": FROM}
        assert wanted.items() <= asked.fields.items()
        assert "AnsweredBy" not in asked.fields


async def test_the_twiml_is_followed_to_the_agent() -> None:
    async with playing(behaviours={"support@3": Behaviour(seconds=40.0)}) as world:
        world.receiver.twiml = STREAM
        made = await world.create()
        await world.side.settled()
        [entry] = world.side.entries
        assert (entry.versions, entry.verbs, entry.status) == (["support@3"], ["Connect"], "completed")
        fetched = await world.client.calls(made.sid).fetch_async()
        assert fetched.duration == str(entry.seconds) == world.receiver.at("/twilio/status")[-1]["CallDuration"]


@pytest.mark.parametrize(
    ("events", "statuses"),
    [
        (["completed"], ["completed"]),
        (["answered"], ["in-progress"]),
        (["completed", "initiated"], ["initiated", "completed"]),
    ],
)
async def test_only_what_is_subscribed_is_told(events: list[str], statuses: list[str]) -> None:
    async with playing() as world:
        await world.create(status_callback_event=events)
        await world.side.settled()
        told = world.receiver.at("/twilio/status")
        assert [one["CallStatus"] for one in told] == statuses
        assert [one["SequenceNumber"] for one in told] == [str(place) for place in range(len(statuses))]


async def test_without_a_subscription_only_the_end_is_told() -> None:
    async with playing() as world:
        url = f"{world.receiver.url}/twilio"
        await world.client.calls.create_async(to=TO, from_=FROM, url=f"{url}/voice", status_callback=f"{url}/status")
        await world.client.calls.create_async(to=TO, from_=FROM, url=f"{url}/voice")
        await world.side.settled()
        assert world.receiver.statuses == ["completed"]


async def test_a_callback_that_is_refused_stands_in_the_books() -> None:
    async with playing() as world:
        world.receiver.status = 403
        await world.create(status_callback=f"{world.receiver.url}/twilio/status")
        await world.side.settled()
        assert world.side.entries[0].errors == [15003] * 4


# -- how it is taken ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("callee", "end", "sip"),
    [
        (Callee(busy=1.0), "busy", "486"),
        (Callee(no_answer=1.0), "no-answer", "487"),
        (Callee(failed=1.0), "failed", "503"),
        (Callee(rings=500.0), "no-answer", "487"),
    ],
    ids=str,
)
async def test_a_call_that_nobody_takes(callee: Callee, end: str, sip: str) -> None:
    async with playing(callees={TO: callee}) as world:
        made = await world.create(timeout=20)
        await world.side.settled()
        assert world.receiver.statuses == ["initiated", "ringing", end]
        last = world.receiver.at("/twilio/status")[-1]
        assert (last["SipResponseCode"], last["CallDuration"], last["SequenceNumber"]) == (sip, "0", "2")
        assert world.receiver.at("/twilio/voice") == []
        fetched = await world.client.calls(made.sid).fetch_async()
        assert (fetched.status, fetched.duration) == (end, None)
        assert world.side.rung == {TO: 1}


@pytest.mark.parametrize(
    ("machine", "detection", "found"),
    [
        (1.0, "Enable", "machine_start"),
        (1.0, "DetectMessageEnd", "machine_end_beep"),
        (0.0, "Enable", "human"),
    ],
)
async def test_a_machine_is_named_to_the_answer_webhook(machine: float, detection: str, found: str) -> None:
    async with playing(callee=Callee(machine=machine)) as world:
        made = await world.create(machine_detection=detection)
        await world.side.settled()
        [asked] = world.receiver.at("/twilio/voice")
        assert asked["AnsweredBy"] == found
        assert int(asked["MachineDetectionDuration"]) >= 2000
        assert (await world.client.calls(made.sid).fetch_async()).answered_by == found


async def test_an_asynchronous_detection_is_told_while_the_twiml_runs() -> None:
    clock = HandClock()
    async with playing(clock, callee=Callee(machine=1.0)) as world:
        world.receiver.twiml = "<Response>" + "<Pause/>" * 10 + "</Response>"
        told = f"{world.receiver.url}/twilio/amd?call=out_1"
        made = await world.create(machine_detection="Enable", async_amd="true", async_amd_status_callback=told)
        await answered(clock, world)
        assert world.receiver.at("/twilio/amd") == []
        assert "AnsweredBy" not in world.receiver.at("/twilio/voice")[0]
        await clock.advance(6)
        await until(lambda: bool(world.receiver.at("/twilio/amd")))
        [found] = world.receiver.at("/twilio/amd?call=out_1")
        assert found.keys() == {"CallSid", "AccountSid", "AnsweredBy", "MachineDetectionDuration"}
        assert (found["CallSid"], found["AnsweredBy"]) == (made.sid, "machine_start")
        assert world.side.entries[0].status == "in-progress"


@given(
    st.integers(),
    st.builds(
        Callee,
        busy=st.floats(0, 0.25),
        no_answer=st.floats(0, 0.25),
        failed=st.floats(0, 0.25),
        machine=st.floats(0, 0.25),
        rings=st.floats(1, 100),
    ),
    st.integers(1, 600),
)
def test_nobody_is_rung_longer_than_asked_for(seed: int, callee: Callee, timeout: int) -> None:
    wanted = Wanted(to=TO, from_=FROM, url="https://calls.example.com/", timeout=timeout, detection="Enable")
    taken = react(Random(seed), callee, wanted)
    assert taken == react(Random(seed), callee, wanted)
    assert taken.status in ("in-progress", "busy", "no-answer", "failed")
    if taken.status in ("in-progress", "no-answer"):
        assert taken.seconds <= timeout
    assert (taken.status == "in-progress") == (taken.found in ("human", "machine_start"))


def test_the_chances_are_kept() -> None:
    callee = Callee(busy=0.2, no_answer=0.1, failed=0.1, machine=0.3)
    wanted = Wanted(to=TO, from_=FROM, url="https://calls.example.com/")
    dice = Random(1)
    taken = [react(dice, callee, wanted) for _ in range(4000)]
    shares = {
        name: sum(name in (one.status, one.found) for one in taken) / len(taken)
        for name in ("busy", "no-answer", "failed", "machine_start", "human")
    }
    expected = {"busy": 0.2, "no-answer": 0.1, "failed": 0.1, "machine_start": 0.3, "human": 0.3}
    assert shares == pytest.approx(expected, abs=0.03)


async def test_the_same_seed_rings_the_same_way() -> None:
    async def seen(seed: int) -> list[tuple[str, str]]:
        async with playing(seed=seed, callee=Callee(busy=0.4, failed=0.3)) as world:
            for place in range(12):
                await world.create(to=f"+1415555{place:04d}")
            await world.side.settled()
            return [(entry.sid, entry.status) for entry in world.side.entries]

    one, again, other = await seen(7), await seen(7), await seen(8)
    assert one == again != other
    assert {status for _, status in one} == {"busy", "failed", "completed"}


# -- the queue ---------------------------------------------------------------------------------------------


async def test_calls_above_the_rate_wait_for_their_turn_in_order() -> None:
    clock = HandClock()
    async with playing(clock, callee=Callee(rings=30.0)) as world:
        numbers = [f"+1415555{place:04d}" for place in range(5)]
        made = [await world.create(to=number) for number in numbers]
        assert [one.queue_time for one in made] == ["0", "1000", "2000", "3000", "4000"]
        assert dict(world.side.rung) == {numbers[0]: 1}
        for _ in range(20):
            await clock.advance(0.25)
        rung = sorted((entry.rang, entry.to) for entry in world.side.entries if entry.rang is not None)
        assert [number for _, number in rung] == numbers
        assert all(later - earlier >= 1.0 for (earlier, _), (later, _) in pairwise(rung))
        assert rung[-1][0] == 4.0


async def test_another_rate() -> None:
    clock = HandClock()
    async with playing(clock, rate=4.0, callee=Callee(rings=30.0)) as world:
        for _ in range(5):
            await world.create()
        await clock.advance(0.5)
        assert world.side.rung == {TO: 3}
        await clock.advance(0.5)
        assert world.side.rung == {TO: 5}


async def test_a_pause_saves_no_turns_up() -> None:
    clock = HandClock()
    async with playing(clock, callee=Callee(rings=30.0)) as world:
        await clock.advance(60)
        for _ in range(3):
            await world.create()
        assert world.side.rung == {TO: 1}


# -- fetch, list, cancel -----------------------------------------------------------------------------------


async def test_a_call_is_fetched_as_it_stands() -> None:
    clock = HandClock()
    async with playing(clock) as world:
        sid = (await world.create()).sid
        ringing = await world.client.calls(sid).fetch_async()
        assert (ringing.status, ringing.start_time, ringing.end_time) == ("ringing", START, None)
        await answered(clock, world)
        assert (await world.client.calls(sid).fetch_async()).status == "in-progress"
        await clock.advance(2)
        await world.side.settled()
        over = await world.client.calls(sid).fetch_async()
        assert (over.status, over.duration) == ("completed", "2")
        assert START < over.end_time <= START + timedelta(seconds=clock.passed())


async def test_calls_are_listed_by_number_status_and_day() -> None:
    async with playing(HandClock(), callee=Callee(rings=30.0)) as world:
        first = (await world.create(to=TO)).sid
        other = (await world.create(to="+14155551213")).sid
        third = (await world.create(to=TO, from_="+14155550101")).sid

        async def listed(**query: Any) -> list[str]:
            return [str(one.sid) for one in await world.client.calls.list_async(**query)]

        assert await listed() == [third, other, first]
        assert await listed(to=TO) == [third, first]
        assert await listed(to=TO, from_=FROM) == [first]
        assert await listed(status="ringing") == [first]
        assert await listed(status="queued") == [third, other]
        # What waits in the queue has no start.
        assert await listed(start_time_after=START) == await listed(start_time=START) == [first]
        assert await listed(start_time_after=START + timedelta(days=1)) == []
        assert await listed(start_time_before=START - timedelta(days=1)) == []
        assert await listed(page_size=2) == [third, other, first]
        assert await listed(to=TO, page_size=1) == [third, first]


async def test_the_day_is_read_from_a_bare_query_too() -> None:
    async with playing(HandClock()) as world, aiohttp.ClientSession() as http:
        await world.create()
        headers = {"Authorization": aiohttp.encode_basic_auth(ACCOUNT, TOKEN)}
        path = f"{world.url}/2010-04-01/Accounts/{ACCOUNT}/Calls.json"
        async with http.get(f"{path}?StartTime>=2026-11-21", headers=headers) as answer:
            assert len((await answer.json())["calls"]) == 1
        async with http.get(f"{path}?StartTime>=2026-11-22", headers=headers) as answer:
            assert (await answer.json())["calls"] == []


async def test_a_new_call_is_listed_after_the_lag_and_fetched_at_once() -> None:
    clock = HandClock()
    async with playing(clock, lag=30.0) as world:
        sid = (await world.create()).sid
        assert (await world.client.calls(sid).fetch_async()).sid == sid
        await clock.advance(29.5)
        assert await world.client.calls.list_async(to=TO) == []
        await clock.advance(0.5)
        assert [one.sid for one in await world.client.calls.list_async(to=TO)] == [sid]


async def test_a_call_canceled_in_the_queue_never_rings_and_is_never_told() -> None:
    clock = HandClock()
    async with playing(clock, callee=Callee(rings=30.0)) as world:
        await world.create(attempt="out_1")
        second = await world.create(to="+14155551213", attempt="out_2")
        await world.create(to="+14155551214", attempt="out_3")
        assert (await world.client.calls(second.sid).update_async(status="canceled")).status == "canceled"
        # It takes nobody's turn: the third call rings a second after the first.
        await clock.advance(1)
        assert world.side.rung == {TO: 1, "+14155551214": 1}
        await until(lambda: len(world.receiver.at("/twilio/status?call=out_3")) == 2)
        assert world.receiver.at("/twilio/status?call=out_2") == []
        assert await code_of(world.client.calls(second.sid).update_async(status="canceled")) == (400, 21220)


async def test_a_live_call_goes_on_with_other_twiml() -> None:
    clock = HandClock()
    async with playing(clock, behaviours={"support@3": Behaviour(seconds=4000.0)}) as world:
        world.receiver.twiml = STREAM
        made = await world.create()
        update = world.client.calls(made.sid).update_async
        assert await code_of(update(twiml=HELLO)) == (400, 21220)  # it rings
        await answered(clock, world)
        await clock.advance(10)
        assert await code_of(update(twiml="x" * 4001)) == (400, 32018)
        assert (await update(twiml=HELLO)).status == "in-progress"
        [entry] = world.side.entries
        await until(lambda: entry.said == ["Hello"])
        assert entry.status == "in-progress"
        await clock.advance(3)
        await world.side.settled()
        assert (entry.verbs, entry.success) == (["Connect", "Say", "Hangup"], None)
        assert world.receiver.statuses == ["initiated", "ringing", "in-progress", "completed"]
        assert 10 <= int(world.receiver.at("/twilio/status")[-1]["CallDuration"]) <= 15
        assert await code_of(update(twiml=HELLO)) == (400, 21220)


@pytest.mark.parametrize("status", ["canceled", "completed"])
async def test_a_call_is_ended_while_it_rings(status: str) -> None:
    async with playing(HandClock()) as world:
        made = await world.create()
        assert (await world.client.calls(made.sid).update_async(status=status)).status == "canceled"
        await world.side.settled()
        assert world.receiver.statuses == ["initiated", "ringing", "canceled"]
        assert world.receiver.at("/twilio/voice") == []
        assert (await world.client.calls(made.sid).fetch_async()).duration is None


async def test_a_call_is_ended_while_somebody_talks() -> None:
    clock = HandClock()
    async with playing(clock) as world:
        world.receiver.twiml = STREAM
        made = await world.create()
        await answered(clock, world)
        await clock.advance(1)
        assert await code_of(world.client.calls(made.sid).update_async(status="canceled")) == (400, 21220)
        assert (await world.client.calls(made.sid).update_async(status="completed")).status == "completed"
        await world.side.settled()
        assert world.receiver.statuses == ["initiated", "ringing", "in-progress", "completed"]
        last = world.receiver.at("/twilio/status")[-1]
        picked_up = world.side.entries[0].answered
        assert picked_up is not None
        assert last["CallDuration"] == str(round(clock.passed() - picked_up))
        assert await code_of(world.client.calls(made.sid).update_async(status="completed")) == (400, 21220)


# -- errors ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"to": ""}, 21201),
        ({"from_": ""}, 21213),
        ({"to": "4155551212"}, 21211),
        ({"to": "+1415"}, 21211),
        ({"from_": "nobody"}, 21212),
        ({"from_": "+14155550999"}, 21210),
        ({"to": "+15005550001"}, 21217),
        ({"to": "+15005550002"}, 21214),
        ({"to": "+15005550003"}, 21215),
        ({"to": "+15005550004"}, 21216),
        ({"url": "ftp://calls.example.com/"}, 21205),
        ({"url": "http://[calls"}, 21205),
        ({"timeout": 601}, 20001),
        ({"machine_detection": "Perhaps"}, 20001),
        ({"machine_detection": "Enable", "async_amd": "true"}, 21262),
        ({"status_callback_event": ["finished"]}, 20001),
    ],
    ids=str,
)
async def test_what_cannot_be_called_is_refused(wrong: dict[str, Any], code: int) -> None:
    async with playing(numbers=frozenset({FROM})) as world:
        assert await code_of(world.create(**wrong)) == (400, code)
        assert (world.side.entries, world.side.creates) == ([], 1)


async def test_a_stranger_is_refused() -> None:
    key = "SK" + "0" * 32
    async with playing(keys={key: "its secret"}) as world:

        async def fetched(user: str, password: str, account: str = ACCOUNT) -> tuple[int, int]:
            async with open_carrier(account=account, user=user, password=password, base_url=world.url) as carrier:
                return await code_of(carrier._client.calls("CA" + "0" * 32).fetch_async())

        assert await fetched(ACCOUNT, "wrong") == (401, 20003)
        assert await fetched("AC" + "9" * 32, TOKEN) == (401, 20003)
        # With an API key, and for the call, an unknown Sid is all that is wrong.
        assert await fetched(key, "its secret") == await fetched(ACCOUNT, TOKEN) == (404, 20404)
        assert await fetched(ACCOUNT, TOKEN, "AC" + "9" * 32) == (404, 20404)
        assert await code_of(world.client.calls("CA1").update_async(status="canceled")) == (404, 20404)
        assert await code_of(world.client.queues("QU1").fetch_async()) == (404, 20404)


@pytest.mark.parametrize("status", ["cancelled", "busy"])
async def test_a_status_that_nobody_can_ask_for(status: str) -> None:
    async with playing(HandClock()) as world:
        made = await world.create()
        assert await code_of(world.client.calls(made.sid).update_async(status=status)) == (400, 20001)


@pytest.mark.parametrize(
    ("code", "status"),
    [(20003, 401), (20404, 404), (21211, 400), (21212, 400), (21214, 400), (21215, 400), (21217, 400), (20429, 429)],
)
async def test_each_error_on_demand_and_once(code: int, status: int) -> None:
    async with playing(HandClock()) as world:
        world.side.force(code)
        assert await code_of(world.create()) == (status, code)
        assert world.side.entries == []
        sid = (await world.create()).sid
        for request in ("fetch", "update"):
            world.side.force(code, request)
        assert await code_of(world.client.calls(sid).fetch_async()) == (status, code)
        assert await code_of(world.client.calls(sid).update_async(status="canceled")) == (status, code)
        assert (await world.client.calls(sid).fetch_async()).status == "ringing"


async def test_an_error_has_twilios_shape() -> None:
    async with playing() as world, aiohttp.ClientSession() as http:
        async with http.get(f"{world.url}/2010-04-01/Accounts/{ACCOUNT}/Calls.json") as answer:
            body = await answer.json()
        assert (answer.status, body.keys()) == (401, {"code", "message", "more_info", "status"})
        assert (body["code"], body["status"]) == (20003, 401)
        assert body["more_info"].endswith("/20003")


async def test_what_cannot_be_forced_is_refused() -> None:
    side = RestSide(RestPlan(account=ACCOUNT, token=TOKEN, public_url="http://127.0.0.1:9"))
    with pytest.raises(ValueError, match="12345 is none of Twilio's errors"):
        side.force(12345)
    with pytest.raises(ValueError, match='"delete" is no request'):
        side.force(Fault.ERROR_AFTER, "delete")


# -- faults ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "made", "rung"),
    [
        (Fault.ERROR_BEFORE, None, 0),
        (Fault.TOO_MANY, False, 0),
        (Fault.ERROR_AFTER, None, 1),
        (Fault.RESET_AFTER, None, 1),
        (Fault.GARBAGE_AFTER, None, 1),
    ],
)
async def test_the_books_know_what_the_creator_cannot(fault: Fault, made: bool | None, rung: int) -> None:
    async with playing() as world:
        world.side.force(fault)
        placed = await world.carrier.create_call(world.order())
        assert (placed.made, placed.sid) == (made, "")
        await world.side.settled()
        assert (world.side.creates, world.side.rung[TO]) == (1, rung)
        assert [entry.attempt for entry in world.side.entries] == ["out_1"] * rung
        # The webhooks of such a call, and the list, are what proves it.
        assert len(world.receiver.at("/twilio/voice?call=out_1")) == rung
        assert len(await world.carrier.find_calls(to=TO, since=0)) == rung
        again = await world.carrier.create_call(world.order("out_2"))
        assert again.made
        assert again.sid == world.side.entries[-1].sid


@pytest.mark.parametrize(("fault", "rung"), [(Fault.HANG_BEFORE, 0), (Fault.HANG_AFTER, 1)])
async def test_an_answer_that_never_comes(fault: Fault, rung: int) -> None:
    async with playing() as world:
        world.side.force(fault)
        hanging = asyncio.create_task(world.create())
        await until(lambda: world.side.creates == 1 and len(world.side.entries) == rung)
        await world.create(to="+14155551213", attempt="out_2")
        await world.side.settled()
        assert not hanging.done()
        hanging.cancel()
        await asyncio.wait([hanging])
        assert world.side.rung == {"+14155551213": 1} | ({TO: 1} if rung else {})
        assert len(world.receiver.at("/twilio/status?call=out_1")) == 4 * rung


async def test_what_is_refused_is_refused_whatever_comes_after() -> None:
    async with playing() as world:
        world.side.force(Fault.HANG_AFTER)
        assert await code_of(world.create(to="+15005550001")) == (400, 21217)


async def test_callbacks_that_are_lost_leave_the_call() -> None:
    async with playing() as world:
        world.side.force(Fault.CALLBACKS_LOST)
        lost = await world.create(attempt="out_1")
        await world.create(attempt="out_2")
        await world.side.settled()
        assert world.receiver.at("/twilio/status?call=out_1") == []
        assert len(world.receiver.at("/twilio/status?call=out_2")) == 4
        assert (await world.client.calls(lost.sid).fetch_async()).status == "completed"
        assert len(world.receiver.at("/twilio/voice?call=out_1")) == 1


async def test_single_callbacks_are_lost_by_chance_and_leave_a_gap() -> None:
    async with playing(faults=RestFaults(callbacks_lost=0.5)) as world:
        for place in range(20):
            await world.create(attempt=f"out_{place}")
        await world.side.settled()
        told = world.receiver.at("/twilio/status")
        assert 20 < len(told) < 60
        numbers = {"initiated": "0", "ringing": "1", "in-progress": "2", "completed": "3"}
        assert all(numbers[one["CallStatus"]] == one["SequenceNumber"] for one in told)


async def test_a_cancel_whose_answer_is_lost_was_done() -> None:
    async with playing(HandClock()) as world:
        made = await world.create()
        world.side.force(Fault.ERROR_AFTER, "update")
        assert await code_of(world.client.calls(made.sid).update_async(status="canceled")) == (500, 20500)
        assert (await world.client.calls(made.sid).fetch_async()).status == "canceled"


async def test_a_list_that_is_not_to_be_had() -> None:
    async with playing() as world:
        world.side.force(Fault.ERROR_BEFORE, "list")
        with pytest.raises(GatewayError):
            await world.carrier.find_calls(to=TO, since=0)
        assert await world.carrier.find_calls(to=TO, since=0) == []


async def test_faults_by_chance_are_in_the_books_and_the_same_for_a_seed() -> None:
    chances = RestFaults(error_before=0.2, too_many=0.2, error_after=0.2, reset_after=0.2, garbage_after=0.2)

    async def placed(seed: int) -> list[tuple[bool | None, int]]:
        async with playing(seed=seed, faults=chances) as world:
            told = []
            for place in range(30):
                before = len(world.side.entries)
                made = (await world.carrier.create_call(world.order(f"out_{place}"))).made
                told.append((made, len(world.side.entries) - before))
            await world.side.settled()
            assert world.side.creates == 30
            assert world.side.rung[TO] == len(world.side.entries)
            return told

    one = await placed(1)
    assert one == await placed(1)
    assert one != await placed(2)
    # Who is told that it was made has a call, who is told that it was not has none, and who is told nothing either.
    assert set(one) == {(True, 1), (False, 0), (None, 0), (None, 1)}
