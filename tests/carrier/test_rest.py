"""Twilio's REST API as the gateway asks it: once, within its limit, and with every answer understood."""

import asyncio
import base64
from collections.abc import AsyncIterator

import aiohttp
import pytest

from gateway.carrier import client as carrier_client
from gateway.carrier.client import Carrier, open_carrier
from gateway.errors import GatewayError, Invalid, NotFound, Unavailable
from gateway.wiring import sweep
from tests.carrier.rest import Rest, asking, rest
from tests.conftest import ACCOUNT, TOKEN, Running

__all__ = ["asking", "rest"]  # fixtures


@pytest.fixture
async def carrier(rest: tuple[Rest, str]) -> AsyncIterator[tuple[Rest, Carrier]]:
    double, url = rest
    async with open_carrier(account=ACCOUNT, user=ACCOUNT, password=TOKEN, base_url=url) as opened:
        yield double, opened


async def test_a_number_is_pointed_here_by_one_request(carrier: tuple[Rest, Carrier]) -> None:
    double, twilio = carrier
    number = await twilio.connect_number(
        "+14155550100",
        voice_url="https://calls.example.com/twilio/voice",
        status_callback="https://calls.example.com/twilio/status",
        fallback_url="https://other.example.com/sorry",
    )
    posts = [(form, auth) for method, _, form, auth in double.asked if method == "POST"]
    assert len(posts) == 1
    form, auth = posts[0]
    assert form["VoiceUrl"] == "https://calls.example.com/twilio/voice#rc=2&rp=ct,rt,5xx&ct=2000&rt=4000&tt=12000"
    assert form["StatusCallback"] == "https://calls.example.com/twilio/status#rc=5&rp=all"
    assert form["VoiceFallbackUrl"] == "https://other.example.com/sorry"
    assert base64.b64decode(auth.removeprefix("Basic ")).decode() == f"{ACCOUNT}:{TOKEN}"
    assert number.voice_url == form["VoiceUrl"]


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, Invalid),
        (401, Invalid),
        (404, NotFound),
        (429, Unavailable),
        (500, Unavailable),
        (503, Unavailable),
        (302, GatewayError),
    ],
)
async def test_every_refusal_is_understood_and_nothing_is_sent_twice(
    carrier: tuple[Rest, Carrier], status: int, error: type[Exception]
) -> None:
    double, twilio = carrier
    double.status = status
    with pytest.raises(error):
        await twilio.list_numbers()
    assert len(double.asked) == 1


async def test_a_request_never_lasts_longer_than_its_limit(
    carrier: tuple[Rest, Carrier], monkeypatch: pytest.MonkeyPatch
) -> None:
    double, twilio = carrier
    double.hang = True
    monkeypatch.setattr(carrier_client, "REQUEST_SECONDS", 0.2)
    async with asyncio.timeout(10):
        with pytest.raises(Unavailable):
            await twilio.list_numbers()
    assert len(double.asked) == 1


async def test_an_unknown_call_is_none(carrier: tuple[Rest, Carrier]) -> None:
    double, twilio = carrier
    double.status = 404
    assert await twilio.fetch_call("CA" + "0" * 32) is None


async def test_a_call_whose_end_was_lost_is_asked_about(asking: tuple[Rest, Running]) -> None:
    double, served = asking
    call = "CA" + "8" * 32
    await served.ring(CallSid=call)
    assert await sweep(served.gateway) == 0
    later = served.gateway.wall() + 11 * 60_000
    served.gateway.wall = lambda: later
    double.call = {"status": "in-progress", "duration": ""}
    assert await sweep(served.gateway) == 0
    double.call = {"status": "completed", "duration": "42"}
    assert await sweep(served.gateway) == 1
    told = (await served.api("GET", f"/calls/{call}")).body["call"]
    assert (told["status"], told["duration_seconds"]) == ("completed", 42)
    assert await sweep(served.gateway) == 0


async def test_a_call_that_nobody_knows_is_given_up_after_a_day(asking: tuple[Rest, Running]) -> None:
    double, served = asking
    double.status = 404
    await served.ring(CallSid="CA" + "8" * 32)
    later = served.gateway.wall() + 25 * 3_600_000
    served.gateway.wall = lambda: later
    assert await sweep(served.gateway) == 1
    (call,) = (await served.api("GET", "/calls?status=unknown")).body["calls"]
    assert call["ended_at"] is not None


async def test_the_api_tells_which_numbers_point_elsewhere(asking: tuple[Rest, Running]) -> None:
    _, served = asking
    (number,) = (await served.api("GET", "/numbers")).body["numbers"]
    assert (number["connected"], number["route"]) == (False, "support")
    done = await served.api("POST", "/numbers/connect", {"number": "+14155550100"})
    assert done.body["number"]["connected"] is True
    async with aiohttp.ClientSession() as http, http.get(served.url + "/healthz") as answer:
        assert answer.status == 200
