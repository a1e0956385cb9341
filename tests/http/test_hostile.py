"""What nobody should send: every malformed or forged request is refused in words, and none is a fault of ours."""

import asyncio
import gzip
import os
import re
from typing import Any

import pytest
from twilio.request_validator import RequestValidator

from tests.conftest import ACCOUNT, TOKEN, Answer, Running

SID = "CA" + "4" * 32


async def post(served: Running, body: bytes, *, path: str = "/twilio/voice", **headers: str) -> Answer:
    sent = {"Content-Type": "application/x-www-form-urlencoded", "X-Twilio-Signature": "AAAA"}
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    async with served.http.post(served.url + path, data=body, headers=sent) as answer:
        return Answer(status=answer.status, text=await answer.text(), headers=answer.headers)


def signature(served: Running, pairs: Any, path: str = "/twilio/voice") -> str:
    signed: str = RequestValidator(TOKEN).compute_signature(served.url + path, pairs)
    return signed


@pytest.mark.parametrize(
    ("body", "headers", "statuses"),
    [
        (b"CallSid=CA1&x=" + b"y" * 70_000, {}, {413}),
        (b"CallSid=\xff\xfe", {}, {400}),
        (b"CallSid=%ff%fe", {}, {400}),
        (b"&".join(b"f%d=1" % n for n in range(10_000)), {}, {400, 413}),
        (gzip.compress(b"CallSid=CA1" + b"x" * 1_000_000), {"Content_Encoding": "gzip"}, {400}),
        (b"not gzip", {"Content_Encoding": "gzip"}, {400}),
        (b"CallSid=CA1", {"Content_Type": "application/x-www-form-urlencoded; charset=nonsense"}, {400, 403}),
        (b"--x\r\n\r\nCA1", {"Content_Type": "multipart/form-data; boundary=x"}, {400, 403}),
        (b'{"CallSid": "CA1"}', {"Content_Type": "application/json"}, {400, 403}),
        (b"", {}, {400, 403}),
        (b"\x00" * 100, {}, {400, 403}),
    ],
)
async def test_nonsense_is_refused(served: Running, body: bytes, headers: dict[str, str], statuses: set[int]) -> None:
    for path in ("/twilio/voice", "/twilio/status", "/twilio/next/CA1?hop=0", "/twilio/amd"):
        answer = await post(served, body, path=path, **headers)
        assert answer.status in statuses
        assert "Traceback" not in answer.text
    assert (await served.api("GET", "/calls")).body["calls"] == []


async def test_a_repeated_field_is_refused_although_it_is_signed(served: Running) -> None:
    form = {"CallSid": SID, "AccountSid": ACCOUNT, "To": "+14155550100", "From": "+1"}
    signed = signature(served, form)
    body = f"CallSid={SID}&AccountSid={ACCOUNT}&To=%2B14155550100&From=%2B1&From=%2B1".encode()
    answer = await post(served, body, X_Twilio_Signature=signed)
    assert (answer.status, "From" in answer.text) == (400, True)


@pytest.mark.parametrize("sid", ["", "CA 1", "x" * 200])
async def test_a_call_without_a_usable_sid_is_refused(served: Running, sid: str) -> None:
    answer = await served.ring(CallSid=sid)
    assert answer.status == 400
    assert "CallSid" in answer.text


@pytest.mark.parametrize(
    "fields",
    [
        {"From": "anonymous"},
        {"From": ""},
        {"From": "sip:kim@example.com"},
        {"From": "Zoë \U0001f600 " + "x" * 500},
        {"Surprise": "new field", "AddOns": '{"a": 1}'},
        {"To": "+14155559999"},
        {"From": "\x00+1415\x00", "CallStatus": "ring\x00ing"},
        {"To": "client:lobby"},
        {"CallStatus": "never heard of"},
        {"CallSid": "v3:KIoKhVMpVVQ-iBxg_telnyx.style"},
    ],
)
async def test_whoever_rings_hears_something(served: Running, fields: dict[str, str]) -> None:
    answer = await served.ring(**fields)
    assert answer.status == 200
    assert answer.text.startswith("<?xml")


@pytest.mark.parametrize("named", ["", "a%20b", "x" * 129, "%00", "%E2%82%AC"])
async def test_an_id_that_nobody_was_given_is_passed_over(served: Running, named: str) -> None:
    answer = await served.ring(f"/twilio/voice?call={named}", CallSid=SID)
    assert (answer.status, "<Stream" in answer.text) == (200, True)
    assert (await served.ring(f"/twilio/status?call={named}", CallSid=SID, CallStatus="completed")).status == 204
    (call,) = (await served.api("GET", "/calls")).body["calls"]
    assert (call["id"], call["status"]) == (SID, "completed")


@pytest.mark.parametrize("changed", ["CallSid", "From", "To", "AccountSid", "X-Twilio-Signature", "path"])
async def test_a_tampered_request_is_refused_and_writes_nothing(served: Running, changed: str) -> None:
    form = {"CallSid": SID, "AccountSid": ACCOUNT, "From": "+14155551234", "To": "+14155550100"}
    signed, path = signature(served, form), "/twilio/voice"
    if changed in form:
        form[changed] += "1"
    elif changed == "path":
        path += "?call=out_1"
    else:
        signed = "A" + signed[1:] if signed[0] != "A" else "B" + signed[1:]
    async with served.http.post(served.url + path, data=form, headers={"X-Twilio-Signature": signed}) as answer:
        assert answer.status == 403
    assert (await served.api("GET", "/calls")).body["calls"] == []


async def test_refusals_are_counted_and_explained(served: Running, capsys: pytest.CaptureFixture[str]) -> None:
    async def refused() -> int:
        async with served.http.get(served.url + "/readyz") as answer:
            count: int = (await answer.json())["signatures_refused"]
            return count

    before = await refused()
    form = {"CallSid": SID, "AccountSid": ACCOUNT, "From": "+14155551234", "To": "+14155550100"}
    wrong = RequestValidator(TOKEN).compute_signature(
        served.url.replace("http://", "https://") + "/twilio/voice", form
    )
    async with served.http.post(
        served.url + "/twilio/voice", data=form, headers={"X-Twilio-Signature": wrong}
    ) as answer:
        assert answer.status == 403
    assert await refused() == before + 1
    said = capsys.readouterr()
    assert "https" in said.out + said.err
    assert "signature_refused" in said.out + said.err
    async with served.http.get(served.url + "/metrics") as answer:
        text = await answer.text()
    assert re.search(rf"^gateway_signatures_refused_total {before + 1}\.0$", text, re.MULTILINE)


async def test_a_flood_of_forgeries_does_not_fill_the_log(
    served: Running, capsys: pytest.CaptureFixture[str]
) -> None:
    now = served.gateway.wall()
    served.gateway.wall = lambda: now
    forged = [post(served, b"CallSid=CA1&AccountSid=" + ACCOUNT.encode(), X_Twilio_Signature="no") for _ in range(40)]
    assert {answer.status for answer in await asyncio.gather(*forged)} == {403}
    assert served.gateway.refused == 40
    said = capsys.readouterr()
    assert (said.out + said.err).count("signature_refused") == 5


async def test_a_fault_of_ours_still_connects_the_caller(served: Running) -> None:
    async def broken(call: object) -> bytes:
        raise RuntimeError("a fault")

    served.gateway.switchboard.answer = broken  # type: ignore[method-assign]
    answer = await served.ring(CallSid="CA" + os.urandom(16).hex())
    assert answer.status == 200
    assert "+14155550199" in answer.text
