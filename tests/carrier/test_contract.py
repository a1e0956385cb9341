"""What the gateway sends is a request of Twilio's API as Twilio describes it; see prism.py for what that proves."""

import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from twilio.base.exceptions import TwilioRestException
from twilio.rest import Client

from gateway.carrier.client import Carrier, Order, open_carrier
from gateway.errors import Invalid
from gateway.machines import with_detection
from gateway.targets import say
from tests.carrier import prism
from tests.carrier.prism import described_twilio
from tests.conftest import ACCOUNT, TOKEN

__all__ = ["described_twilio"]  # a fixture

CALL = "CA" + "0" * 31 + "1"
ORDER: dict[str, Any] = {
    "to": "+14155551212",
    "from_": "+14155550100",
    "url": "https://calls.example.com/twilio/voice?attempt=7#rc=2&rp=ct,rt,5xx&ct=2000&rt=4000&tt=12000",
    "method": "POST",
    "fallback_url": "https://other.example.com/sorry?attempt=7",
    "status_callback": "https://calls.example.com/twilio/status?attempt=7#rc=5&rp=all",
    "status_callback_event": ["initiated", "ringing", "answered", "completed"],
    "timeout": 30,
    "machine_detection": "Enable",
}


@dataclass(kw_only=True)
class Line:
    """The gateway's carrier on a line to Prism, each answer that came back over it, and each fault they named."""

    carrier: Carrier
    twilio: Client
    answers: list[tuple[str, str, int]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def listen(self, session: aiohttp.ClientSession) -> None:
        async def note(_: object, __: SimpleNamespace, end: aiohttp.TraceRequestEndParams) -> None:
            self.answers.append((end.method, end.url.path.partition(ACCOUNT)[2], end.response.status))

        async def read(_: object, __: SimpleNamespace, part: aiohttp.TraceResponseChunkReceivedParams) -> None:
            found = json.loads(part.chunk).get("validation", ())
            self.faults += [f"{one['location']} {one['message']}" for one in found]

        trace = aiohttp.TraceConfig()
        trace.on_request_end.append(note)
        trace.on_response_chunk_received.append(read)
        trace.freeze()
        session.trace_configs.append(trace)


@pytest.fixture
async def line(described_twilio: str) -> AsyncIterator[Line]:
    async with open_carrier(account=ACCOUNT, user=ACCOUNT, password=TOKEN, base_url=described_twilio) as opened:
        twilio = opened._client
        made = Line(carrier=opened, twilio=twilio)
        made.listen(twilio.http_client.session)
        yield made


async def test_a_call_with_everything_the_gateway_can_ask_for(line: Line) -> None:
    made = await line.twilio.calls.create_async(**ORDER)
    assert re.fullmatch(r"CA[0-9a-f]{32}", made.sid)
    assert line.answers == [("POST", "/Calls.json", 201)]


PLACED = Order(
    to="+14155551212",
    from_="+14155550100",
    url="https://calls.example.com/twilio/voice?call=out_7",
    fallback_url="https://other.example.com/sorry?call=out_7",
    status_callback="https://calls.example.com/twilio/status?call=out_7",
)


@pytest.mark.parametrize("detection", ["async", "sync"])
@pytest.mark.parametrize("policy", [None, "hang_up", "continue", "leave_message"])
async def test_the_calls_that_the_gateway_places(line: Line, policy: str | None, detection: str) -> None:
    asked = {"policy": policy, "detection": detection, "message": "Hello"} if policy else None
    order = with_detection(PLACED, asked, callback="https://calls.example.com/twilio/amd?call=out_7")
    placed = await line.carrier.create_call(order)
    assert placed.made
    assert line.answers == [("POST", "/Calls.json", 201)]


async def test_a_detection_that_is_none_is_refused(line: Line) -> None:
    placed = await line.carrier.create_call(replace(PLACED, detection="Perhaps"))  # type: ignore[arg-type]
    assert placed.made is False
    assert "'MachineDetection'" in line.faults[0]
    placed = await line.carrier.create_call(replace(PLACED, detection="Enable", detection_callback="not an address"))
    assert placed.made is False
    assert "'AsyncAmdStatusCallback'" in line.faults[1]


async def test_the_gateway_takes_an_answered_call_from_its_agent(line: Line) -> None:
    await line.carrier.redirect_call(CALL, say("Please call us back."))
    await line.carrier.end_call(CALL)
    assert line.answers == [("POST", f"/Calls/{CALL}.json", 200)] * 2


@pytest.mark.parametrize("events", [["completed"], ["initiated", "completed"]])
async def test_one_event_and_several_are_both_lists(line: Line, events: list[str]) -> None:
    await line.twilio.calls.create_async(**ORDER | {"status_callback_event": events})
    assert line.answers == [("POST", "/Calls.json", 201)]


@pytest.mark.parametrize(
    ("wrong", "culprit"),
    [
        ({"timeout": "abc"}, "Timeout"),
        ({"to": None}, "To"),
        ({"from_": None}, "From"),
        ({"url": "not an address"}, "Url"),
        ({"fallback_url": "not an address"}, "FallbackUrl"),
        ({"status_callback": "not an address"}, "StatusCallback"),
        ({"method": "FROB"}, "Method"),
        # Of a repeated name Prism only looks at the last value.
        ({"status_callback_event": ["initiated", "finished"]}, "StatusCallbackEvent"),
        ({"status_callback_event": "initiated,completed"}, "StatusCallbackEvent"),
        ({"status_callback_event": "['initiated', 'completed']"}, "StatusCallbackEvent"),
        ({"machine_detection": "Perhaps"}, "MachineDetection"),
    ],
    ids=str,
)
async def test_a_malformed_call_is_refused(line: Line, wrong: dict[str, Any], culprit: str) -> None:
    with pytest.raises(TwilioRestException) as refused:
        await line.twilio.calls.create_async(**ORDER | wrong)
    assert refused.value.status == 422
    assert len(line.faults) == 1
    assert f"'{culprit}'" in line.faults[0]


@pytest.mark.parametrize("account", ["AC1", "AC" + "z" * 32, "SK" + "0" * 32])
async def test_an_account_that_is_none_is_refused(described_twilio: str, account: str) -> None:
    async with open_carrier(account=account, user=account, password=TOKEN, base_url=described_twilio) as carrier:
        with pytest.raises(Invalid, match="422"):
            await carrier.fetch_call(CALL)
        with pytest.raises(Invalid, match="422"):
            await carrier.list_numbers()


async def test_a_call_is_fetched(line: Line) -> None:
    found = await line.carrier.fetch_call(CALL)
    assert found is not None
    assert found.status == "completed"
    assert line.answers == [("GET", f"/Calls/{CALL}.json", 200)]


async def test_a_call_id_that_is_none_is_refused(line: Line) -> None:
    with pytest.raises(Invalid, match="422"):
        await line.carrier.fetch_call("CA1")


@pytest.mark.parametrize("status", ["canceled", "completed"])
async def test_a_call_is_ended(line: Line, status: str) -> None:
    await line.twilio.calls(CALL).update_async(status=status)
    assert line.answers == [("POST", f"/Calls/{CALL}.json", 200)]


async def test_a_call_cannot_be_ended_in_another_way(line: Line) -> None:
    with pytest.raises(TwilioRestException):
        await line.twilio.calls(CALL).update_async(status="cancelled")
    assert line.answers == [("POST", f"/Calls/{CALL}.json", 422)]


async def test_the_gateway_cancels_calls(line: Line) -> None:
    await line.carrier.cancel_call(CALL)
    assert line.answers
    assert set(line.answers) == {("POST", f"/Calls/{CALL}.json", 200)}


async def test_calls_are_listed(line: Line) -> None:
    queued = await line.twilio.calls.list_async(to=ORDER["to"], from_=ORDER["from_"], status="queued", limit=2)
    assert len(queued) == 2
    assert line.answers == [("GET", "/Calls.json", 200)]


async def test_the_gateway_finds_calls(line: Line) -> None:
    found = await line.carrier.find_calls(to=ORDER["to"], since=0)
    assert found
    assert line.answers == [("GET", "/Calls.json", 200)]


async def test_calls_of_a_status_that_is_none_are_not_listed(line: Line) -> None:
    with pytest.raises(Exception, match="422"):
        await line.twilio.calls.list_async(status="waiting", limit=2)


async def test_numbers_are_listed(line: Line) -> None:
    numbers = await line.carrier.list_numbers()
    assert [one.number for one in numbers] == ["+18089255327"]  # the number of the description's example
    assert line.answers == [("GET", "/IncomingPhoneNumbers.json", 200)]


async def test_a_number_is_pointed_here(line: Line) -> None:
    number = await line.carrier.connect_number(
        "+14155550100",
        voice_url="https://calls.example.com/twilio/voice",
        status_callback="https://calls.example.com/twilio/status",
        fallback_url="https://other.example.com/sorry",
    )
    assert line.answers == [
        ("GET", "/IncomingPhoneNumbers.json", 200),
        ("POST", f"/IncomingPhoneNumbers/{number.sid}.json", 200),
    ]


async def test_a_number_is_not_pointed_nowhere(line: Line) -> None:
    with pytest.raises(Invalid, match="422"):
        await line.carrier.connect_number(
            "+14155550100",
            voice_url="not an address",
            status_callback="https://calls.example.com/",
            fallback_url=None,
        )


async def test_a_request_without_a_password_is_refused(described_twilio: str) -> None:
    async with aiohttp.ClientSession() as http:
        path = f"/2010-04-01/Accounts/{ACCOUNT}/Calls/{CALL}.json"
        async with http.get(described_twilio + path) as answer:
            assert answer.status == 401


def test_without_prism_one_is_told_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="`make test` installs it"):
        prism.find_prism(tmp_path)
