"""The command line against a running gateway, as an operator types it."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.cli.shell import gateway
from tests.conftest import FILES, NOBODY, Running, free_port, write_files


def test_help_does_not_wait_for_what_only_the_work_needs() -> None:
    code = "import sys, gateway.cli; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "gateway.cli" in loaded
    assert {"numpy", "sqlalchemy", "aiohttp", "twilio"} & set(loaded) == set()


async def test_an_operator_reads_and_changes_a_running_gateway(served: Running, tmp_path: Path) -> None:
    call = "CA" + "5" * 32
    await served.ring(CallSid=call)
    code, said = await gateway(served, "calls", "list")
    assert (code, call in said) == (0, True)
    code, said = await gateway(served, "calls", "explain", call, "--json")
    assert json.loads(said)["explanation"]["agrees"] is True
    code, said = await gateway(served, "experiments", "results", "support-1")
    assert (code, "support@4" in said) == (0, True)
    folders = ("--routes", str(tmp_path / "routes"), "--agents", str(tmp_path / "agents"))
    code, said = await gateway(served, "routes", "plan", *folders)
    assert (code, "nothing would change" in said) == (0, True)
    route = tmp_path / "routes/support.toml"
    route.write_text(route.read_text().replace("a = 50, b = 50", "a = 80, b = 20"))
    code, said = await gateway(served, "routes", "publish", "-m", "less of b", *folders)
    assert (code, "ab_test.split.b: 50 -> 20" in said) == (0, True)
    code, said = await gateway(served, "routes", "rollback", "support", "--to", "1")
    assert code == 0
    code, said = await gateway(served, "routes", "export", *folders)
    assert "a = 50, b = 50" in route.read_text()
    code, said = await gateway(served, "tokens", "create", "kim", "--role", "viewer")
    secret = said.strip()
    code, said = await gateway(served, "routes", "publish", "-m", "mine", *folders, token=secret)
    assert (code, "needs editor" in said) == (1, True)


async def test_check_tells_every_problem_without_a_server(tmp_path: Path) -> None:
    write_files(tmp_path)
    folders = ("--routes", str(tmp_path / "routes"), "--agents", str(tmp_path / "agents"))
    code, said = await gateway(None, "routes", "check", *folders)
    assert (code, f"{len(FILES)} files, no problem" in said) == (0, True)
    (tmp_path / "routes/bad.toml").write_text(
        'direction = "sideways"\nnumbers = [14155550100]\n[versions]\nb = "latest"\n'
    )
    code, said = await gateway(None, "routes", "check", *folders)
    assert code == 1
    for culprit in ("routes/bad.toml", "direction", "quote the number", "versions.b"):
        assert culprit in said


async def test_without_a_gateway_the_error_says_where_it_looked() -> None:
    code, said = await gateway(None, "routes", "list")
    assert (code, "no gateway answers at http://127.0.0.1:8080" in said) == (1, True)


async def test_serve_refuses_to_start_unsafe_and_stops_cleanly(tmp_path: Path) -> None:
    code, said = await gateway(None, "serve", folder=tmp_path)
    assert (code, "auth" in said) == (1, True)
    write_files(tmp_path)
    port = free_port()
    environ = {
        "PATH": os.environ["PATH"],
        "GATEWAY_SERVER__PORT": str(port),
        "GATEWAY_PATHS__AGENTS": "agents",
        "GATEWAY_TWILIO__API_BASE_URL": NOBODY,
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gateway", "serve", "--insecure-dev", env=environ, cwd=tmp_path, stderr=subprocess.PIPE
    )
    assert process.stderr is not None
    async with asyncio.timeout(30):
        async for line in process.stderr:
            if b"serving" in line:
                break
        process.send_signal(signal.SIGTERM)
        rest = await process.stderr.read()
        assert await process.wait() == 0
    assert b"stopped" in rest
    assert b"Traceback" not in rest


async def test_a_recount_compares_and_repairs_while_the_gateway_runs(served: Running, tmp_path: Path) -> None:
    url = served.gateway.settings.database.url.get_secret_value()
    for _ in range(3):
        await served.ring()
    config = tmp_path / "recount.toml"
    config.write_text('[database]\nurl = "env:RECOUNTED"\n')
    recount = ("db", "recount", "--config", str(config))
    code, said = await gateway(None, *recount, "--check", RECOUNTED=url)
    assert (code, "3 calls: everything is as they say" in said) == (0, True)
    async with served.gateway.database.write() as connection:
        await connection.exec_driver_sql("UPDATE tally SET n = n + 7")
    code, said = await gateway(None, *recount, "--check", RECOUNTED=url)
    assert (code, "served in support-1" in said, "differ" in said) == (1, True, True)
    code, said = await gateway(None, *recount, "support-1", RECOUNTED=url)
    assert (code, "were corrected" in said) == (0, True)
    code, said = await gateway(None, *recount, "--check", RECOUNTED=url)
    assert (code, "everything is as they say" in said) == (0, True)
