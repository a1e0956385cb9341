"""The Twilio account's numbers: which point here, and pointing them here."""

from typing import Any

from pydantic import Field

from gateway.carrier.client import Carrier, Number
from gateway.errors import Invalid
from gateway.http.api.endpoint import Ask, Body, endpoint


class Connect(Body):
    """A number of the account, and where Twilio is to ask when this gateway does not answer."""

    number: str = Field(pattern=r"^\+[1-9][0-9]{6,14}$")
    fallback_url: str | None = Field(None, pattern="^https?://", max_length=2000)


@endpoint("GET", "/numbers", role="viewer")
async def list_numbers(ask: Ask) -> dict[str, Any]:
    """Every incoming number of the Twilio account, and whether its calls come here."""
    numbers = await _carrier(ask).list_numbers()
    return {"numbers": [_shown(ask, number) for number in numbers], "next": None}


@endpoint("POST", "/numbers/connect", role="admin", body=Connect)
async def connect_number(ask: Ask) -> dict[str, Any]:
    """Point a number's voice, status and fallback webhooks at this gateway."""
    base = ask.gateway.settings.server.public_url
    number = await _carrier(ask).connect_number(
        ask.body.number,
        voice_url=f"{base}/twilio/voice",
        status_callback=f"{base}/twilio/status",
        fallback_url=ask.body.fallback_url,
    )
    async with ask.gateway.database.write() as connection:
        await ask.audit(connection, "connect", f"number {number.number}", voice_url=number.voice_url)
    return {"number": _shown(ask, number)}


def _carrier(ask: Ask) -> Carrier:
    carrier = ask.gateway.carrier
    if carrier is None:
        raise Invalid("Twilio's API needs twilio.account_sid with its auth token, or an API key")
    return carrier


def _shown(ask: Ask, number: Number) -> dict[str, Any]:
    ours = ask.gateway.settings.server.public_url + "/twilio/"
    live = ask.gateway.state.snapshot.numbers.get(number.number)
    here = number.voice_url.startswith(ours) and not (number.application_sid or number.trunk_sid)
    return {
        "number": number.number,
        "sid": number.sid,
        "connected": here,
        "route": live.route.name if live else None,
        "voice_url": number.voice_url,
        "status_callback": number.status_callback,
        "voice_fallback_url": number.voice_fallback_url,
    }


ENDPOINTS = (list_numbers, connect_number)
