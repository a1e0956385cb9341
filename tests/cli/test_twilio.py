"""``gateway twilio``: a process that plays Twilio's REST side for a gateway with the same settings."""

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

from tests.campaigns.server import ROOT
from tests.conftest import ACCOUNT, ADMIN, AGENTS, TOKEN, free_port, running, settings_for, write_files
from tests.outbound import ROUTE


async def test_a_campaign_runs_against_it_to_its_end(tmp_path: Path) -> None:
    port = free_port()
    write_files(tmp_path, AGENTS | {"routes/reminders.toml": ROUTE})
    settings = settings_for(
        tmp_path,
        f"sqlite:///{tmp_path}/gateway.db",
        GATEWAY_TWILIO__API_BASE_URL=f"http://127.0.0.1:{port}",
        GATEWAY_OUTBOUND__ALLOWED_COUNTRIES='["US"]',
        GATEWAY_OUTBOUND__WINDOW="always",
        GATEWAY_OUTBOUND__CALLS_PER_SECOND="100",
    )
    environ = {
        "PYTHONPATH": str(ROOT),
        "GATEWAY_SERVER__PORT": str(settings.server.port),
        "TWILIO_ACCOUNT_SID": ACCOUNT,
        "TWILIO_AUTH_TOKEN": TOKEN,
        "GATEWAY_TOKEN": ADMIN,
    }
    command = [sys.executable, "-m", "gateway", "twilio", "--port", str(port), "--busy", "0.5", "--machine", "0"]
    command += ["--no-answer", "0", "--rate", "100", "--speed", "1000"]
    played = subprocess.Popen(command, cwd=tmp_path, env=environ, stdout=subprocess.PIPE, text=True)
    assert played.stdout is not None
    try:
        told = await asyncio.to_thread(played.stdout.readline)
        assert f"http://127.0.0.1:{port}" in told
        async with running(settings) as served:
            contacts = [{"to": f"+1212555{number}"} for number in range(1000, 1012)]
            body = {"name": "spring", "route": "reminders", "contacts": contacts}
            campaign = (await served.api("POST", "/campaigns", body)).body["campaign"]["id"]
            await served.api("POST", f"/campaigns/{campaign}/start")
            async with asyncio.timeout(60):
                while (shown := (await served.api("GET", f"/campaigns/{campaign}")).body["campaign"])["status"] != (
                    "completed"
                ):
                    await asyncio.sleep(0.05)
        played.send_signal(signal.SIGINT)
        said = await asyncio.to_thread(played.stdout.read)
    finally:
        played.kill()
        played.communicate()
    assert shown["results"].keys() == {"answered", "busy"}
    assert "12 requests for a call, 12 calls, 12 people rung" in said
