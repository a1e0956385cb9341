"""Twilio's door, over real HTTP with signatures made by Twilio's own library."""

import asyncio

from tests.conftest import Running


async def test_a_call_is_answered_recorded_and_followed(served: Running) -> None:
    sid = "CA" + "1" * 32
    first = await served.ring(CallSid=sid)
    assert first.status == 200
    assert first.headers["Content-Type"].startswith("text/xml")
    assert "<Stream" in first.text
    again = await served.ring(CallSid=sid)
    assert again.text == first.text
    done = await served.ring("/twilio/status", CallSid=sid, CallStatus="completed", CallDuration="61", Duration="2")
    assert done.status == 204
    told = (await served.api("GET", f"/calls/{sid}")).body["call"]
    assert (told["status"], told["duration_seconds"]) == ("completed", 61)
    assert told["assignment"]["version"] == told["served"]["version"]


async def test_a_hundred_repeats_at_once_are_one_call(served: Running) -> None:
    sid = "CA" + "2" * 32
    answers = await asyncio.gather(*(served.ring(CallSid=sid) for _ in range(100)))
    assert {(answer.status, answer.text) for answer in answers} == {(200, answers[0].text)}
    listed = await served.api("GET", "/calls")
    assert [call["id"] for call in listed.body["calls"]] == [sid]


async def test_a_forged_request_is_refused_and_leaves_nothing(served: Running) -> None:
    form = {"CallSid": "CA" + "3" * 32, "To": "+14155550100", "From": "+14155551234"}
    async with served.http.post(
        served.url + "/twilio/voice", data=form, headers={"X-Twilio-Signature": "AAAA"}
    ) as answer:
        assert answer.status == 403
    assert (await served.api("GET", "/calls")).body["calls"] == []
