"""Draws who calls, and every field that Twilio posts about a call."""

import random
from dataclasses import dataclass

_CITIES = (("SAN FRANCISCO", "CA", "94105"), ("DENVER", "CO", "80202"), ("BOSTON", "MA", "02110"), ("", "", ""))
_HIDDEN = ("anonymous", "+266696687", "")


@dataclass(frozen=True, kw_only=True, slots=True)
class Caller:
    """A person with a number, or one who hides it."""

    number: str
    city: str
    state: str
    zip: str


def draw_caller(dice: random.Random, people: int) -> Caller:
    """One of ``people`` callers, so that some ring again; one in fifty hides the number."""
    if dice.random() < 0.02:
        return Caller(number=dice.choice(_HIDDEN), city="", state="", zip="")
    number = f"+1415555{dice.randrange(people) + 1000:04d}"
    city, state, zip_ = dice.choice(_CITIES)
    return Caller(number=number, city=city, state=state, zip=zip_)


def draw_sid(dice: random.Random, prefix: str) -> str:
    """A Sid as Twilio makes them: two letters and 32 hexadecimal digits."""
    return f"{prefix}{dice.getrandbits(128):032x}"


def call_fields(sid: str, account: str, caller: Caller, called: str) -> dict[str, str]:
    """The form of an inbound call's voice webhook, blank fields included."""
    country = "US" if caller.city else ""
    place = {"City": caller.city, "State": caller.state, "Zip": caller.zip, "Country": country}
    own = {"City": "", "State": "CA", "Zip": "", "Country": "US"}
    return {
        "AccountSid": account,
        "ApiVersion": "2010-04-01",
        "CallSid": sid,
        "CallStatus": "ringing",
        "CallToken": f'{{"parentCallInfoToken":"{sid[2:18]}"}}',
        "Called": called,
        "Caller": caller.number,
        "Direction": "inbound",
        "From": caller.number,
        "StirVerstat": "TN-Validation-Passed-A",
        "To": called,
        **{f"From{key}": value for key, value in place.items()},
        **{f"Caller{key}": value for key, value in place.items()},
        **{f"To{key}": value for key, value in own.items()},
        **{f"Called{key}": value for key, value in own.items()},
    }
