"""Answering machines: what Twilio is asked to listen for, what a machine hears, and what is written of it."""

import asyncio
from typing import Any

import pytest

from gateway.carrier.client import Order
from gateway.errors import Unavailable
from gateway.machines import Machines, taking, with_detection
from gateway.model import Call, Event
from gateway.storage.attempts import Attempt
from gateway.targets import HANGUP, say
from gateway.terms import Terms
from tests.conftest import Answer
from tests.outbound import TO, Outbound, outbound
from tests.test_campaigns import change, contacts, create, end, people

__all__ = ["outbound"]

MESSAGE = "Kim & Co. called; please call us back."
LEAVE = {"machine": "leave_message", "message": MESSAGE}
MACHINE = {"by": "none", "arm": None, "version": None, "reason": "machine"}


def policy(name: str, detection: str = "async") -> dict[str, str]:
    return {"policy": name, "detection": detection, "message": MESSAGE}


# -- the policy, on paper ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "answered_by", "twiml"),
    [
        ("hang_up", "machine_start", HANGUP),
        ("hang_up", "fax", HANGUP),
        ("hang_up", "human", None),
        ("hang_up", "unknown", None),
        ("hang_up", "a word of tomorrow", None),
        ("leave_message", "machine_end_beep", say(MESSAGE)),
        ("leave_message", "machine_end_silence", say(MESSAGE)),
        ("leave_message", "machine_end_other", say(MESSAGE)),
        ("leave_message", "fax", HANGUP),
        ("leave_message", "human", None),
        ("leave_message", "unknown", None),
        ("continue", "machine_start", None),
        ("continue", "fax", None),
    ],
)
def test_whom_the_policy_takes_from_the_agent(name: str, answered_by: str, twiml: bytes | None) -> None:
    assert taking(policy(name), answered_by) == twiml


def test_without_a_policy_the_agent_has_every_call() -> None:
    assert taking(None, "machine_start") is None


@pytest.mark.parametrize("detection", ["async", "sync"])
@pytest.mark.parametrize(
    ("name", "asked"), [("hang_up", "Enable"), ("continue", "Enable"), ("leave_message", "DetectMessageEnd")]
)
def test_what_twilio_is_asked_to_listen_for(name: str, asked: str, detection: str) -> None:
    order = Order(to=TO, from_="+14155550190", url="u", fallback_url="u", status_callback="s")
    ordered = with_detection(order, policy(name, detection), callback="amd")
    assert ordered.detection == asked
    assert ordered.detection_callback == ("amd" if detection == "async" else None)
    assert with_detection(order, None, callback="amd") == order


def test_a_message_to_leave_is_needed() -> None:
    for missing in ({}, {"message": None}, {"message": "  "}):
        with pytest.raises(ValueError, match="leave_message needs a message"):
            Terms.model_validate({"machine": "leave_message"} | missing)
    assert Terms.model_validate(LEAVE).screening() == policy("leave_message")
    assert Terms().screening() is None


# -- a gateway and its callee ------------------------------------------------------------------------------


async def dialled(outbound: Outbound, **settings: Any) -> str:
    """Place a call and let Twilio take it; returns its id."""
    call = await outbound.place(**settings)
    assert await outbound.dialer.step() == 1
    name: str = call["id"]
    return name


async def answer(outbound: Outbound, call: str, **fields: str) -> Answer:
    """Let Twilio ask what to do with a call that was answered."""
    ids = {"CallSid": outbound.twilio.sid(0), "From": "+14155550190", "To": TO, "Direction": "outbound-api"}
    return await outbound.served.ring(f"/twilio/voice?call={call}", **ids, CallStatus="in-progress", **fields)


async def detected(outbound: Outbound, call: str, answered_by: str, sid: str | None = None) -> None:
    """Let Twilio tell beside the call who answered, and wait for what follows from it."""
    told = {"CallSid": sid or outbound.twilio.sid(0), "AnsweredBy": answered_by, "MachineDetectionDuration": "3100"}
    assert (await outbound.served.ring(f"/twilio/amd?call={call}", **told)).status == 204
    await settled(outbound)


async def settled(outbound: Outbound) -> None:
    async with asyncio.timeout(20):
        while outbound.served.gateway.machines._tasks:
            await asyncio.sleep(0.01)


async def over(outbound: Outbound, call: str, seconds: int = 4) -> None:
    done = {"CallSid": outbound.twilio.sid(0), "CallStatus": "completed", "CallDuration": str(seconds)}
    await outbound.served.ring(f"/twilio/status?call={call}", **done, SequenceNumber="3")


async def measures(outbound: Outbound, call: dict[str, Any]) -> dict[str, Any]:
    results = (await outbound.served.api("GET", "/experiments/reminders-1/results")).body
    arm = call["assignment"]["arm"]
    return {one["name"]: one["arms"][arm] for one in results["metrics"] if arm in one["arms"]}


async def test_a_call_without_a_policy_asks_for_no_detection(outbound: Outbound) -> None:
    await dialled(outbound)
    (form,) = outbound.twilio.created
    assert [name for name in form if "Amd" in name or "Machine" in name] == []


@pytest.mark.parametrize(
    ("settings", "asked"), [({"machine": "hang_up"}, "Enable"), (LEAVE, "DetectMessageEnd")], ids=str
)
async def test_twilio_is_asked_to_listen_beside_the_agent(
    outbound: Outbound, settings: dict[str, str], asked: str
) -> None:
    call = await dialled(outbound, **settings)
    (form,) = outbound.twilio.created
    assert (form["MachineDetection"], form["AsyncAmd"]) == (asked, "true")
    callback = f"{outbound.served.url}/twilio/amd?call={call}#rc=5&rp=all"
    assert (form["AsyncAmdStatusCallback"], form["AsyncAmdStatusCallbackMethod"]) == (callback, "POST")


async def test_twilio_is_asked_to_listen_before_the_agent(outbound: Outbound) -> None:
    await dialled(outbound, machine="continue", detection="sync")
    (form,) = outbound.twilio.created
    assert form["MachineDetection"] == "Enable"
    assert [name for name in form if "Amd" in name] == []


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"machine": "leave_message"}, "leave_message needs a message"),
        ({"machine": "shout"}, "hang_up"),
        ({"machine": "hang_up", "detection": "soon"}, "sync"),
    ],
)
async def test_a_policy_that_cannot_be_kept_is_refused_for_calls_and_campaigns(
    outbound: Outbound, settings: dict[str, str], says: str
) -> None:
    refused = await outbound.served.api("POST", "/calls", {"route": "reminders", "to": TO} | settings)
    assert (refused.status, says in str(refused.body["error"])) == (422, True), refused.body
    body = {"name": "n", "route": "reminders", "contacts": [{"to": TO}], "settings": settings}
    refused = await outbound.served.api("POST", "/campaigns", body)
    assert (refused.status, says in str(refused.body["error"])) == (422, True), refused.body
    assert [problem["path"][:9] for problem in refused.body["error"]["problems"]] == ["settings."]


# -- before the agent is connected -------------------------------------------------------------------------


async def test_a_machine_is_hung_up_on_and_the_agent_never_hears_of_it(outbound: Outbound) -> None:
    call = await dialled(outbound, machine="hang_up", detection="sync")
    first = await answer(outbound, call, AnsweredBy="machine_start")
    assert (first.status, first.text.encode()) == (200, HANGUP)
    assert (await answer(outbound, call, AnsweredBy="machine_start")).text == first.text
    again = await answer(outbound, call, AnsweredBy="machine_start", ErrorCode="11200", ErrorUrl="")
    assert again.text == first.text
    await over(outbound, call)
    shown = await outbound.told(call)
    assert shown["served"] == MACHINE
    kinds = [event["kind"] for event in shown["events"]]
    assert (kinds.count("amd"), kinds.count("machine")) == (1, 1)
    told = await measures(outbound, shown)
    assert told["answered"].items() >= {"n": 1, "mean": 1.0}.items()
    assert told["answered_by=machine"].items() >= {"n": 1, "mean": 1.0}.items()
    assert told["answered_by=human"].items() >= {"n": 1, "mean": 0.0}.items()
    assert "hung_up_early" not in told
    arms = (await outbound.served.api("GET", "/experiments/reminders-1/results")).body["arms"]
    assert [(one["calls"], one["served"]) for one in arms if one["calls"]] == [(1, 0)]
    assert outbound.twilio.changed == []


async def test_a_machine_is_left_the_message(outbound: Outbound) -> None:
    call = await dialled(outbound, **LEAVE, detection="sync")
    heard = await answer(outbound, call, AnsweredBy="machine_end_beep")
    assert heard.text.encode() == say(MESSAGE)
    assert "Kim &amp; Co." in heard.text
    assert (await outbound.told(call))["served"] == MACHINE


@pytest.mark.parametrize(
    ("settings", "answered_by"),
    [
        ({"machine": "hang_up"}, "human"),
        ({"machine": "hang_up"}, "unknown"),
        (LEAVE, "unknown"),
        ({"machine": "continue"}, "machine_start"),
        ({"machine": "continue"}, "fax"),
    ],
    ids=str,
)
async def test_everybody_else_gets_the_agent(outbound: Outbound, settings: dict[str, str], answered_by: str) -> None:
    call = await dialled(outbound, **settings, detection="sync")
    planned = await outbound.told(call)
    assert planned["assignment"]["version"] in (await answer(outbound, call, AnsweredBy=answered_by)).text
    shown = await outbound.told(call)
    assert shown["served"] == planned["served"]
    assert [event["answered_by"] for event in shown["events"] if event["kind"] == "amd"] == [answered_by]


async def test_a_second_call_of_an_attempt_leaves_no_message(outbound: Outbound) -> None:
    call = await dialled(outbound, **LEAVE, detection="sync")
    stray = {"CallSid": "CA" + "9" * 32, "CallStatus": "in-progress", "Direction": "outbound-api"}
    heard = await outbound.served.ring(f"/twilio/voice?call={call}", **stray, AnsweredBy="machine_end_beep")
    assert heard.text.encode() == HANGUP
    assert (await outbound.told(call))["served"]["reason"] == "assigned"


async def test_a_call_that_was_taken_from_its_agent_still_has_it_on_its_first_rung(outbound: Outbound) -> None:
    call = await dialled(outbound, machine="hang_up", detection="sync")
    await answer(outbound, call, AnsweredBy="machine_start")
    unheard = await answer(outbound, call)  # without a verdict, as from a Twilio that had not listened
    assert (await outbound.told(call))["assignment"]["version"] in unheard.text


# -- beside the agent --------------------------------------------------------------------------------------


async def test_a_machine_that_has_the_agent_is_hung_up_on_once(outbound: Outbound) -> None:
    call = await dialled(outbound, machine="hang_up")
    planned = await outbound.told(call)
    assert planned["assignment"]["version"] in (await answer(outbound, call)).text
    for _ in range(3):
        await detected(outbound, call, "machine_start")
    assert outbound.twilio.changed == [{"sid": outbound.twilio.sid(0), "Status": "completed"}]
    await outbound.served.ring(f"/twilio/next/{call}?hop=0", CallSid=outbound.twilio.sid(0), CallStatus="completed")
    await over(outbound, call)
    shown = await outbound.told(call)
    assert (shown["served"], shown["status"]) == (MACHINE, "completed")
    told = await measures(outbound, shown)
    assert told["agent_failed"]["mean"] == 0.0
    outcome = {"fields": {"note": "beep"}, "final": True}
    assert (await outbound.served.api("POST", f"/calls/{call}/outcome", outcome)).status == 200
    assert "success" not in await measures(outbound, shown)


async def test_a_machine_that_has_the_agent_is_left_the_message_once(outbound: Outbound) -> None:
    call = await dialled(outbound, **LEAVE)
    await answer(outbound, call)
    await asyncio.gather(*(detected(outbound, call, "machine_end_beep") for _ in range(5)))
    assert outbound.twilio.changed == [{"sid": outbound.twilio.sid(0), "Twiml": say(MESSAGE).decode()}]
    assert (await outbound.told(call))["served"] == MACHINE


@pytest.mark.parametrize(
    ("settings", "answered_by"),
    [
        ({}, "machine_start"),
        ({"machine": "continue"}, "machine_start"),
        ({"machine": "hang_up"}, "human"),
        ({"machine": "hang_up"}, "unknown"),
        (LEAVE, "unknown"),
        ({"machine": "hang_up"}, ""),
    ],
    ids=str,
)
async def test_everybody_else_keeps_the_agent(outbound: Outbound, settings: dict[str, str], answered_by: str) -> None:
    call = await dialled(outbound, **settings)
    await answer(outbound, call)
    await detected(outbound, call, answered_by)
    assert outbound.twilio.changed == []
    assert (await outbound.told(call))["served"]["by"] == "version"


async def test_a_call_that_is_over_already_was_the_agents(outbound: Outbound) -> None:
    call = await dialled(outbound, machine="hang_up")
    await answer(outbound, call)
    outbound.twilio.over = True
    await detected(outbound, call, "machine_start")
    assert len(outbound.twilio.changed) == 1
    await over(outbound, call)
    shown = await outbound.told(call)
    assert shown["served"]["by"] == "version"
    assert (await measures(outbound, shown))["answered_by=machine"]["mean"] == 1.0


async def test_who_answered_a_stray_is_not_who_answered_the_call(outbound: Outbound) -> None:
    call = await dialled(outbound, machine="hang_up")
    await answer(outbound, call)
    stray = "CA" + "9" * 32
    await detected(outbound, call, "machine_start", sid=stray)
    assert {change["sid"] for change in outbound.twilio.changed} == {stray}
    shown = await outbound.told(call)
    assert shown["served"]["by"] == "version"
    assert [event for event in shown["events"] if event["kind"] == "amd"] == []


async def test_the_verdict_proves_a_call_that_nobody_knew_of(outbound: Outbound) -> None:
    outbound.twilio.answers = ["500"]
    call = await dialled(outbound, machine="hang_up")
    assert await outbound.state(call) == "unknown"
    await detected(outbound, call, "machine_start")
    assert await outbound.state(call) == "placed"
    assert outbound.twilio.changed == [{"sid": outbound.twilio.sid(0), "Status": "completed"}]


# -- in a campaign -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("detection", ["async", "sync"])
async def test_a_campaign_calls_again_whose_machine_answered(outbound: Outbound, detection: str) -> None:
    settings = {"machine": "hang_up", "detection": detection, "retry": {"machine": "2h"}, "max_attempts": 2}
    campaign = await create(outbound, people(1), **settings)
    await change(outbound, campaign, "start")
    assert await outbound.dialer.step() == 1
    (form,) = outbound.twilio.created
    call = form["Url"].partition("?call=")[2].partition("#")[0]
    if detection == "sync":
        assert (await answer(outbound, call, AnsweredBy="machine_start")).text.encode() == HANGUP
    else:
        await answer(outbound, call)
        await detected(outbound, call, "machine_start")
    await end(outbound, 0, "completed", CallDuration="3")
    (person,) = await contacts(outbound, campaign)
    assert (person["state"], person["result"]) == ("waiting", "machine")
    assert await outbound.dialer.step() == 0
    outbound.pass_time(2 * 3_600_000 + 1)
    assert await outbound.dialer.step() == 1
    again = outbound.twilio.created[1]
    assert again["MachineDetection"] == form["MachineDetection"] == "Enable"
    await end(outbound, 1, "completed", CallDuration="60")
    (person,) = await contacts(outbound, campaign)
    assert (person["state"], person["result"]) == ("done", "answered")


# -- when something is slow, or away -----------------------------------------------------------------------


class Parts:
    """The policy's neighbours, which do as they are told."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, str], Event] = {}
        self.ended: list[str] = []
        self.may_end = asyncio.Event()
        self.away = False

    async def append(self, event: Event) -> Event:
        return self.kept.setdefault((event.call, event.key), event)

    async def attempt(self, name: str) -> Attempt | None:
        if self.away:
            raise Unavailable("away")
        return Attempt(name, None, "r", TO, TO, None, {}, "placed", None, None, 0, 0, machine=policy("hang_up"))

    async def end_call(self, sid: str) -> None:
        await self.may_end.wait()
        self.ended.append(sid)

    async def redirect_call(self, sid: str, twiml: bytes) -> None:
        raise AssertionError


def machines(parts: Parts) -> Machines:
    return Machines(ledger=parts, outbox=parts, carrier=parts, wall=lambda: 7)


def verdict() -> Event:
    return Event(call="out_1", key="amd", kind="amd", at=1, data={"answered_by": "machine_start"})


async def test_twilio_is_answered_before_it_is_asked_and_the_end_waits_for_both() -> None:
    parts = Parts()
    policies = machines(parts)
    await policies.detected(verdict(), "CA1")
    await asyncio.sleep(0)
    assert (list(parts.kept), parts.ended) == ([("out_1", "amd")], [])
    closing = asyncio.create_task(policies.close())
    await asyncio.sleep(0)
    assert not closing.done()
    parts.may_end.set()
    await closing
    assert parts.ended == ["CA1"]
    assert parts.kept["out_1", "machine"].data["done"] == "hang_up"


async def test_where_the_policy_cannot_be_read_the_agent_has_the_call() -> None:
    parts = Parts()
    parts.away = True
    policies = machines(parts)
    call = Call("out_1", "CA1", "AC1", "outbound", TO, TO, 1, answered_by="machine_start")
    assert await policies.screen(call) is None
    await policies.detected(Event(call="out_2", key="amd", kind="amd", at=1, data={"answered_by": "fax"}), "CA2")
    await policies.close()
    assert (list(parts.kept), parts.ended) == ([("out_1", "amd"), ("out_2", "amd")], [])
