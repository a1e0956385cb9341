"""The calls that every peer must answer: Twilio's voice webhook as signed bytes, made before the clock runs."""

from collections.abc import Iterable
from hashlib import blake2b
from urllib.parse import urlencode

from twilio.request_validator import RequestValidator  # type: ignore[import-untyped, unused-ignore]

PUBLIC_URL = "https://calls.example.com"
VOICE_PATH = "/twilio/voice"
ACCOUNT_SID = "AC" + "5e" * 16
AUTH_TOKEN = "not-a-secret-" + "0" * 19
NUMBER = "+14155550100"

_sign = RequestValidator(AUTH_TOKEN).compute_signature


def call_sid(index: int) -> str:
    """The CallSid of the ``index``-th call: evenly spread, as Twilio's are, and the same on every run."""
    return "CA" + blake2b(index.to_bytes(8, "big"), digest_size=16).hexdigest()


def form(index: int) -> dict[str, str]:
    """The 20 fields that Twilio posts when the ``index``-th caller rings."""
    caller = f"+1212{2_000_000 + index % 8_000_000}"
    return {
        "AccountSid": ACCOUNT_SID,
        "ApiVersion": "2010-04-01",
        "CallSid": call_sid(index),
        "CallStatus": "ringing",
        "Called": NUMBER,
        "CalledCountry": "US",
        "Caller": caller,
        "CallerCountry": "US",
        "Direction": "inbound",
        "From": caller,
        "FromCity": "NEW YORK",
        "FromCountry": "US",
        "FromState": "NY",
        "FromZip": "10001",
        "StirVerstat": "TN-Validation-Passed-A",
        "To": NUMBER,
        "ToCity": "SAN FRANCISCO",
        "ToCountry": "US",
        "ToState": "CA",
        "ToZip": "",
    }


def request(index: int) -> bytes:
    """The ``index``-th call as it stands on the wire: one signed HTTP/1.1 POST on a connection that stays open."""
    fields = form(index)
    body = urlencode(fields)
    head = (
        f"POST {VOICE_PATH} HTTP/1.1\r\n"
        f"Host: {PUBLIC_URL.removeprefix('https://')}\r\n"
        "User-Agent: TwilioProxy/1.1\r\n"
        "Accept: text/xml, application/xml, text/html\r\n"
        "Content-Type: application/x-www-form-urlencoded\r\n"
        f"Content-Length: {len(body)}\r\n"
        f"I-Twilio-Idempotency-Token: {fields['CallSid'][2:]}\r\n"
        f"X-Twilio-Signature: {_sign(PUBLIC_URL + VOICE_PATH, fields)}\r\n"
        "\r\n"
    )
    return (head + body).encode()


def stock(indices: Iterable[int]) -> list[tuple[int, bytes]]:
    """Those calls, each with its index, ready to be sent."""
    return [(index, request(index)) for index in indices]
