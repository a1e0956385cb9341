"""The scripts as an operator runs them: against a gateway that serves, with Twilio as a double at the wire, or as the
simulator plays it."""

import asyncio
import csv
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.contacts import Contact, CsvReader
from gateway.drafts import read_folders
from gateway.simulator.callee import Callee
from tests.conftest import ADMIN, Running
from tests.outbound import TO, Outbound, outbound, simulated

__all__ = ["outbound"]  # a fixture

ROOT = Path(__file__).parents[1]
SCRIPTS = ROOT / "scripts"
SAMPLE = SCRIPTS / "sample_contacts.csv"


async def run(served: str, *arguments: str, token: str = ADMIN) -> tuple[int, str, str]:
    """Run place_call.py; its exit code and what it said."""
    return await python(served, str(SCRIPTS / "place_call.py"), *arguments, token=token)


async def python(served: str, *arguments: str, token: str = ADMIN, typed: str = "") -> tuple[int, str, str]:
    """Run Python with these arguments against a gateway; its exit code and what it said."""
    process = await begun(served, *arguments, token=token)
    out, err = await process.communicate(typed.encode())
    return process.returncode or 0, out.decode(), err.decode()


async def begun(served: str, *arguments: str, token: str = ADMIN) -> asyncio.subprocess.Process:
    """Python at work with these arguments against a gateway."""
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *arguments,
        env=os.environ | {"GATEWAY_URL": served, "GATEWAY_TOKEN": token},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


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


# -- a whole campaign ----------------------------------------------------------------------------------------


def campaign(*arguments: str) -> tuple[str, ...]:
    return (str(SCRIPTS / "run_campaign.py"), *arguments)


def numbers(file: Path) -> list[str]:
    with file.open(encoding="utf-8", newline="") as opened:
        return [row["to"] for row in csv.DictReader(opened)]


def written(file: Path, count: int) -> Path:
    file.write_text("to\n" + "".join(f"+1212555{number:04}\n" for number in range(1000, 1000 + count)))
    return file


async def campaigns(served: Running) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = (await served.api("GET", "/campaigns")).body["campaigns"]
    return listed


def test_the_sample_is_good_and_fictional() -> None:
    reader = CsvReader()
    rows = [*reader.feed(SAMPLE.read_bytes()), *reader.finish()]
    assert len(rows) == 12
    for row in rows:
        assert isinstance(row, Contact), row
        # 555-0100 to 555-0199 belong to nobody, in every area.
        assert row.to[5:10] == "55501"
        assert row.timezone
        assert row.consent
        assert row.variables["first_name"]


async def test_the_sample_goes_to_its_end_on_the_shipped_route_and_twice_is_once(tmp_path: Path) -> None:
    files = read_folders(ROOT / "routes", ROOT / "config/agents")
    async with simulated(tmp_path, f"sqlite:///{tmp_path}/gateway.db", files=dict(files)) as (served, side):
        command = campaign(str(SAMPLE), "renewals", "--yes", "--settings", '{"marketing": true}')
        code, out, err = await python(served.url, *command)
        assert (code, out.splitlines()[-1]) == (0, "completed: 12 done, 0 not called, 0 skipped"), err
        assert "arm a, sales@1: 12 contacts, 100.0%" in out
        assert side.rung == dict.fromkeys(numbers(SAMPLE), 1)
        again, out_again, err = await python(served.url, *command)
        assert (again, out_again.splitlines()[-1]) == (0, out.splitlines()[-1]), err
        assert side.creates == 12
        assert [one["name"] for one in await campaigns(served)] == [out.splitlines()[0].partition("  ")[2][:24]]


@pytest.mark.parametrize("seen", [0, 1, 10, 25])
async def test_killed_anywhere_and_run_again_everybody_is_rung_once(tmp_path: Path, seen: int) -> None:
    file = written(tmp_path / "people.csv", 40)
    async with simulated(tmp_path, f"sqlite:///{tmp_path}/gateway.db", pace=20) as (served, side):
        process = await begun(served.url, *campaign(str(file), "reminders", "--yes"))
        # With nobody rung yet it dies as early as the campaign is seen, in the middle of its making.
        while not await campaigns(served) or len(side.rung) < seen:
            assert process.returncode is None
            await asyncio.sleep(0.01)
        process.kill()
        await process.wait()
        code, out, err = await python(served.url, *campaign(str(file), "reminders", "--yes"))
        assert (code, out.splitlines()[-1]) == (0, "completed: 40 done, 0 not called, 0 skipped"), err
        await python(served.url, *campaign(str(file), "reminders", "--yes"))
        assert len(await campaigns(served)) == 1
    assert side.rung == dict.fromkeys(numbers(file), 1)


async def test_killed_while_it_sends_the_list_it_sends_it_again(tmp_path: Path) -> None:
    file = written(tmp_path / "people.csv", 10)
    with file.open("a") as opened:
        opened.writelines(f"{'x' * 9_000}\n" for _ in range(300))
    async with simulated(tmp_path, f"sqlite:///{tmp_path}/gateway.db") as (served, side):
        process = await begun(served.url, *campaign(str(file), "reminders", "--yes"))
        while not await campaigns(served):
            await asyncio.sleep(0.01)
        process.kill()
        await process.communicate()
        assert [one["status"] for one in await campaigns(served)] == ["loading"]
        code, out, err = await python(served.url, *campaign(str(file), "reminders", "--yes"))
        assert (code, out.splitlines()[-1]) == (0, "completed: 10 done, 0 not called, 300 skipped"), err
        assert [one["status"] for one in await campaigns(served)] == ["completed"]
    assert side.rung == dict.fromkeys(numbers(file)[:10], 1)


async def test_two_at_once_make_one_campaign(tmp_path: Path) -> None:
    file = written(tmp_path / "people.csv", 20)
    async with simulated(tmp_path, f"sqlite:///{tmp_path}/gateway.db") as (served, side):
        command = campaign(str(file), "reminders", "--yes", "--name", "spring")
        runs = await asyncio.gather(*(python(served.url, *command) for _ in range(3)))
        assert [(code, err) for code, _, err in runs if code] == []
        assert [one["name"] for one in await campaigns(served)] == ["spring"]
    assert side.rung == dict.fromkeys(numbers(file), 1)


async def test_it_asks_before_it_calls_anybody_and_tells_how_it_ended(tmp_path: Path) -> None:
    file = written(tmp_path / "people.csv", 5)
    async with simulated(tmp_path, f"sqlite:///{tmp_path}/gateway.db", callee=Callee(busy=1.0)) as (served, side):
        command = campaign(str(file), "reminders")
        code, out, _ = await python(served.url, *command, typed="n\n")
        assert (code, "5 contacts from" in out) == (1, True)
        code, _, err = await python(served.url, *command)
        assert (code, "--yes" in err) == (1, True)
        assert side.creates == 0
        code, out, _ = await python(served.url, *command, typed="y\n")
        assert (code, " busy" in out, side.rung) == (0, True, dict.fromkeys(numbers(file), 1))
        code, _, err = await python(served.url, *campaign(str(file), "elsewhere"))
        assert (code, "on route reminders already" in err) == (2, True)
        code, _, err = await python(served.url, *campaign(str(file), "elsewhere", "--name", "other"))
        assert (code, 'no route "elsewhere"' in err) == (2, True)
        code, _, err = await python(served.url, *campaign(str(file), "reminders", "--name", "x", "--settings", "{"))
        assert code == 2
        code, _, err = await python(served.url, *campaign(str(tmp_path / "nowhere.csv"), "reminders"))
        assert (code, "nowhere.csv" in err.replace("\n", "")) == (2, True)


async def test_a_cancelled_campaign_is_not_called_again(tmp_path: Path) -> None:
    file = written(tmp_path / "people.csv", 30)
    async with simulated(tmp_path, f"sqlite:///{tmp_path}/gateway.db", pace=5) as (served, side):
        process = await begun(served.url, *campaign(str(file), "reminders", "--yes"))
        while len(side.rung) < 3:
            await asyncio.sleep(0.02)
        (one,) = await campaigns(served)
        assert (await served.api("POST", f"/campaigns/{one['id']}/cancel", {"reason": "[b]enough"})).status == 200
        out, _ = await process.communicate()
        assert (process.returncode, "cancelled: " in out.decode()) == (1, True)
        rung = side.creates
        assert (await python(served.url, *campaign(str(file), "reminders", "--yes")))[0] == 1
        assert side.creates == rung < 30


def test_help_needs_no_gateway() -> None:
    for script in SCRIPTS.glob("*.py"):
        told = subprocess.run([sys.executable, str(script), "--help"], capture_output=True, text=True, check=True)
        assert "usage:" in told.stdout
