"""What keeps people from being called: the suppression list, and the switch that stops all dialling."""

from typing import Any

from pydantic import Field

from gateway.errors import Invalid, NotFound, Problem
from gateway.http.api.endpoint import Answer, Ask, Body, endpoint
from gateway.phone import is_e164, masked


class Suppression(Body):
    """Somebody who must not be called, and why."""

    number: str
    reason: str = Field("asked not to be called", min_length=1, max_length=500)


class Stop(Body):
    """Why all dialling is to stop."""

    reason: str = Field(min_length=1, max_length=500)


@endpoint("GET", "/suppressions", role="viewer")
async def list_suppressions(ask: Ask) -> dict[str, Any]:
    """Everybody who must not be called, the newest first."""
    listed = await ask.gateway.outbox.suppressions()
    if not ask.caller.may("editor"):
        listed = [one | {"number": masked(one["number"])} for one in listed]
    return {"suppressions": listed, "next": None}


@endpoint("POST", "/suppressions", role="editor", body=Suppression)
async def suppress(ask: Ask) -> Answer:
    """Never call a number again; no call to it is sent once this has answered."""
    number, reason = ask.body.number, ask.body.reason
    if not is_e164(number):
        text = f"{number} is no E.164 number: write it as +14155550123"
        raise Invalid(text, [Problem(place="body", path="number", text=text)])
    async with ask.gateway.database.write() as connection:
        await ask.gateway.outbox.suppress(connection, number, reason=reason, author=ask.caller.name)
        await ask.audit(connection, "suppress", f"number …{number[-2:]}", reason=reason)
    return Answer(body={"suppression": {"number": number, "reason": reason}}, status=201)


@endpoint("DELETE", "/suppressions/{number}", role="editor")
async def release(ask: Ask) -> dict[str, Any]:
    """Allow calls to a number again."""
    number = ask.path["number"]
    async with ask.gateway.database.write() as connection:
        if not await ask.gateway.outbox.release(connection, number):
            raise NotFound(f"{number} is not on the suppression list")
        await ask.audit(connection, "release", f"number …{number[-2:]}")
    return {"suppression": None}


@endpoint("GET", "/dialing", role="viewer")
async def show_dialing(ask: Ask) -> dict[str, Any]:
    """Whether calls are dialled at all, and who stopped it if not."""
    return {"dialing": {"stopped": await ask.gateway.outbox.stopped()}}


@endpoint("POST", "/dialing/stop", role="editor", body=Stop)
async def stop_dialing(ask: Ask) -> dict[str, Any]:
    """The kill switch: no call is sent once this has answered; calls under way go on."""
    await _switch(ask, stopped=True, reason=ask.body.reason)
    return {"dialing": {"stopped": await ask.gateway.outbox.stopped()}}


@endpoint("POST", "/dialing/start", role="editor")
async def start_dialing(ask: Ask) -> dict[str, Any]:
    """Dial again what is planned."""
    await _switch(ask, stopped=False, reason="")
    return {"dialing": {"stopped": None}}


async def _switch(ask: Ask, *, stopped: bool, reason: str) -> None:
    async with ask.gateway.database.write() as connection:
        await ask.gateway.outbox.set_stopped(connection, stopped=stopped, author=ask.caller.name, reason=reason)
        await ask.audit(connection, "stop dialling" if stopped else "start dialling", "dialling", reason=reason)


ENDPOINTS = (list_suppressions, suppress, release, show_dialing, stop_dialing, start_dialing)
