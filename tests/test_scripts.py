"""The scripts as an operator runs them: against a gateway that serves, with Twilio as a double at the wire."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.conftest import ADMIN
from tests.outbound import TO, Outbound, outbound

__all__ = ["outbound"]  # a fixture

SCRIPTS = Path(__file__).parents[1] / "scripts"


async def run(served: str, *arguments: str, token: str = ADMIN) -> tuple[int, str, str]:
    """Run place_call.py; its exit code and what it said."""
    return await python(served, str(SCRIPTS / "place_call.py"), *arguments, token=token)


async def python(served: str, *arguments: str, token: str = ADMIN) -> tuple[int, str, str]:
    """Run Python with these arguments against a gateway; its exit code and what it said."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *arguments,
        env=os.environ | {"GATEWAY_URL": served, "GATEWAY_TOKEN": token},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()


@pytest.fixture
async def dialled(outbound: Outbound) -> AsyncIterator[Outbound]:
    """An outbound gateway whose dialer runs, and whose callees all talk for 42 seconds."""

    async def live() -> None:
        seen = 0
        while True:
            await outbound.dialer.step()
            while seen < len(outbound.twilio.created):
                call = outbound.twilio.created[seen]["Url"].partition("?call=")[2].partition("#")[0]
                ids = {"CallSid": outbound.twilio.sid(seen), "SequenceNumber": "3", "CallDuration": "42"}
                await outbound.served.ring(f"/twilio/status?call={call}", **ids, CallStatus="completed")
                seen += 1
            await asyncio.sleep(0.05)

    living = asyncio.create_task(live())
    yield outbound
    living.cancel()


async def test_a_call_is_placed_and_followed_and_a_key_rings_once(dialled: Outbound) -> None:
    code, out, err = await run(dialled.served.url, "reminders", TO, "first_name=Kim", "--key", "k1")
    assert (code, err) == (0, "")
    assert out.splitlines()[-1] == "completed"
    again = await run(dialled.served.url, "reminders", TO, "first_name=Kim", "--key", "k1")
    assert again[1].splitlines()[0] == out.splitlines()[0]
    assert len(dialled.twilio.created) == 1


async def test_what_cannot_be_asked_for_is_told(dialled: Outbound) -> None:
    code, _, err = await run(dialled.served.url, "reminders", "+442071838750")
    assert (code, "outbound.allowed_countries" in err) == (2, True)
    code, _, err = await run(dialled.served.url, "reminders", TO, token="gw_wrong")
    assert (code, "token" in err) == (2, True)


async def test_the_command_line_places_stops_and_suppresses(outbound: Outbound) -> None:
    async def gateway(*arguments: str) -> str:
        code, out, err = await python(outbound.served.url, "-m", "gateway", *arguments)
        assert code == 0, err
        return out

    assert "planned" in await gateway("call", "reminders", TO, "-v", "first_name=Kim", "--json")
    assert "nothing is dialled" in await gateway("dialing", "stop", "wrong script")
    assert await outbound.dialer.step() == 0
    assert "wrong script" in await gateway("dialing", "show")
    await gateway("dialing", "start")
    await gateway("suppressions", "add", TO, "--reason", "asked by letter")
    assert "asked by letter" in await gateway("suppressions", "list", "--json")
    assert await outbound.dialer.step() == 0
    await gateway("suppressions", "remove", TO)
    assert outbound.twilio.created == []


def test_help_needs_no_gateway() -> None:
    for script in SCRIPTS.glob("*.py"):
        told = subprocess.run([sys.executable, str(script), "--help"], capture_output=True, text=True, check=True)
        assert "usage:" in told.stdout
