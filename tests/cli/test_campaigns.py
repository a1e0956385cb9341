"""Campaigns from the shell: from a list to its export, with the simulated Twilio at the other end."""

import asyncio
import csv
import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gateway.cli.campaigns import read_settings
from gateway.cli.campaignview import View
from gateway.contacts import EXPORTED
from gateway.errors import Invalid
from gateway.simulator.callee import Callee
from tests.cli.shell import gateway
from tests.conftest import ADMIN, Running
from tests.outbound import simulated

ADA, BEA, CLEO, FOREIGN = "+12125550101", "+12125550102", "+12125550103", "+442071838750"


async def tell(served: Running, *words: str) -> str:
    code, said = await gateway(served, "campaign", *words)
    assert code == 0, said
    return said


async def made(served: Running, file: Path, *words: str) -> str:
    told = json.loads(await tell(served, "create", str(file), "--route", "reminders", *words, "--json"))
    name: str = told["campaign"]["id"]
    return name


def read(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as opened:
        return list(csv.DictReader(opened))


async def test_a_list_goes_from_the_shell_to_its_export(tmp_path: Path) -> None:
    file, back = tmp_path / "spring.csv", tmp_path / "back.csv"
    file.write_text(f"to,first_name\n{ADA},Ada\n0207,[b]x\n{BEA},Bea\n{FOREIGN},Cy\n{CLEO},Cleo\n", encoding="utf-8")
    callees = {CLEO: Callee(busy=1.0)}
    async with simulated(tmp_path, f"sqlite:///{tmp_path}/gateway.db", callees=callees) as (served, side):
        said = await tell(served, "create", str(file), "--route", "reminders", "-s", "max_attempts=1")
        assert "line 3: " in said
        assert "allowed_countries" in said
        assert "spring: 3 contacts, 2 skipped" in said
        one = said.rpartition("gateway campaign preview ")[2].strip()
        page = await tell(served, "preview", one)
        for words in (
            "3 contacts would be called",
            "line 5: ",
            "support@3",
            "33.3%",
            "at least 0:00:00",
            "number: 1",
        ):
            assert words in page
        assert side.creates == 0
        assert "ready" in await tell(served, "list")
        assert json.loads(await tell(served, "list", "--status", "running", "--json"))["campaigns"] == []
        assert "running" in await tell(served, "start", one)
        lines = [json.loads(line) for line in (await tell(served, "watch", one, "--json")).splitlines()]
        assert (lines[-1]["status"], lines[-1]["results"]["busy"]) == ("completed", 1)
        # A view that opens late sees the end at once, in one line.
        (line,) = (await tell(served, "watch", one)).splitlines()
        assert "completed, 0 waiting, 0 dialling, 3 done, 2 skipped; a: " in line
        assert "5 contacts" in await tell(served, "export", one, str(back))
        rows = {row["line"]: row for row in read(back)}
        assert list(rows) == ["2", "3", "4", "5", "6"]
        assert tuple(rows["2"]) == EXPORTED
        assert (rows["6"]["result"], rows["6"]["attempts"], rows["6"]["call"][:4]) == ("busy", "1", "out_")
        assert rows["6"]["version"] == {"a": "support@3", "b": "support@4"}[rows["6"]["arm"]]
        assert (rows["5"]["state"], rows["5"]["call"]) == ("skipped", "")
        await tell(served, "export", one, str(back), "--state", "skipped")
        assert [row["line"] for row in read(back)] == ["3", "5"]
    assert side.rung == dict.fromkeys((ADA, BEA, CLEO), 1)


async def test_a_campaign_is_paused_resumed_and_cancelled(tmp_path: Path) -> None:
    file = tmp_path / "spring.csv"
    file.write_text("to\n" + "".join(f"+1212555{number}\n" for number in range(1000, 1100)))
    async with simulated(tmp_path, f"sqlite:///{tmp_path}/gateway.db", pace=5) as (served, side):
        one = await made(served, file)
        await tell(served, "start", one)
        while not side.rung:
            await asyncio.sleep(0.02)
        said = await tell(served, "pause", one, "--reason", "wrong [b]script")
        assert "paus" in said
        assert "wrong [b]script" in said
        sent = side.creates
        assert "running" in await tell(served, "resume", one)
        code, said = await gateway(served, "campaign", "resume", one)
        assert (code, "is running" in said) == (1, True)
        assert "cancelled" in await tell(served, "cancel", one, "--reason", "enough", "--json")
        assert sent <= side.creates < 100
        # What is over is followed to its last call, and no further.
        assert "cancelled (enough)" in (await tell(served, "watch", one)).splitlines()[-1]


async def test_json_lists_and_whole_campaigns_are_taken(tmp_path: Path) -> None:
    file = tmp_path / "spring.json"
    async with simulated(tmp_path, f"sqlite:///{tmp_path}/gateway.db") as (served, _):
        file.write_text(json.dumps([{"to": ADA}]))
        told = json.loads(await tell(served, "create", str(file), "--route", "reminders", "--json"))["campaign"]
        assert (told["name"], told["route"], told["contacts"]) == ("spring", "reminders", 1)
        whole: dict[str, Any] = {"name": "summer", "route": "nowhere", "contacts": [{"to": ADA}]}
        file.write_text(json.dumps(whole | {"settings": {"max_attempts": 2}}))
        words = ("create", str(file), "--route", "reminders", "-s", "retry.busy=1h", "--json")
        told = json.loads(await tell(served, *words))["campaign"]
        assert (told["name"], told["settings"]) == ("summer", {"max_attempts": 2, "retry": {"busy": "1h"}})
        file.write_text(json.dumps(whole | {"settings": 7}))
        code, said = await gateway(served, "campaign", *words)
        assert (code, "settings" in said) == (1, True)
        file.write_text("{")
        code, said = await gateway(served, "campaign", *words)
        assert (code, "is not JSON" in said) == (1, True)


async def test_what_cannot_be_made_is_told(tmp_path: Path) -> None:
    file = tmp_path / "spring.csv"
    # Longer than the gateway reads before it answers: the answer must come through all the same.
    file.write_text("to,text\n" + f"{ADA},{'x' * 1000}\n" * 20_000)
    async with simulated(tmp_path, f"sqlite:///{tmp_path}/gateway.db") as (served, _):
        for words, told in (
            (("--route", "nowhere"), 'there is no route "nowhere"'),
            (("--route", "reminders", "-s", "windw=always"), "settings.windw"),
            (("--route", "reminders", "-s", "window"), "KEY=VALUE"),
        ):
            code, said = await gateway(served, "campaign", "create", str(file), *words)
            assert (code, told in said) == (1, True), said
        code, said = await gateway(served, "campaign", "create", str(file))
        assert (code, "--route" in said) == (2, True)
        code, said = await gateway(served, "campaign", "watch", "cmp_none")
        assert (code, "no campaign cmp_none" in said) == (1, True)
        code, said = await gateway(served, "campaign", "export", "cmp_none", str(tmp_path / "back.csv"))
        assert (code, list(tmp_path.glob("back*"))) == (1, [])


async def test_a_terminal_gets_a_live_view_that_ctrl_c_ends(tmp_path: Path) -> None:
    file = tmp_path / "spring.csv"
    file.write_text(f"to\n{ADA}\n{BEA}\n")
    async with simulated(tmp_path, f"sqlite:///{tmp_path}/gateway.db") as (served, _):
        one = await made(served, file)
        ours, theirs = pty.openpty()
        environ = {"PATH": os.environ["PATH"], "COLUMNS": "100", "TERM": "xterm"}
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "gateway", "campaign", "watch", one),
            env=environ | {"GATEWAY_URL": served.url, "GATEWAY_TOKEN": ADMIN},
            stdout=theirs,
            stderr=subprocess.PIPE,
        )
        os.close(theirs)
        seen = b""
        while b"draft" not in seen:
            seen += await asyncio.to_thread(os.read, ours, 4096)
        process.send_signal(signal.SIGINT)
        _, err = await process.communicate()
        os.close(ours)
        assert (process.returncode, b"the campaign goes on" in err, b"Traceback" in err) == (0, True, False)
        assert b"2 waiting" in seen


def test_settings_nest_and_json_is_taken_as_such() -> None:
    pairs = [
        "retry.busy=30m",
        "retry.machine=1d",
        "max_attempts=2",
        "marketing=true",
        'days=["mon"]',
        "window=always",
    ]
    assert read_settings(pairs) == {
        "retry": {"busy": "30m", "machine": "1d"},
        "max_attempts": 2,
        "marketing": True,
        "days": ["mon"],
        "window": "always",
    }
    for wrong in (["window"], ["=x"], ["retry="], ["retry=1", "retry.busy=1"]):
        with pytest.raises(Invalid):
            read_settings(wrong)


def test_the_view_tells_how_fast_people_are_done(monkeypatch: pytest.MonkeyPatch) -> None:
    now, view = 0.0, View()
    monkeypatch.setattr("gateway.cli.campaignview.time.monotonic", lambda: now)
    assert view.rate() == 0.0
    for now, done in ((0.0, 0), (30.0, 10), (60.0, 40)):  # noqa: B007 - the clock
        view.take({"counts": {"done": done}})
    assert view.rate() == 40.0
    now = 90.0
    assert view.rate() == 30.0
