"""The competitors as processes: how each is started, when it is ready, what it has stored."""

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from . import calls

ROOT = Path(__file__).parents[2]

AGENT = """\
[versions.1]
status = "published"
target = { kind = "stream", url = "wss://agents.example.com/support/1" }
[versions.2]
status = "published"
target = { kind = "stream", url = "wss://agents.example.com/support/2" }
"""

ROUTE = f"""\
direction = "inbound"
numbers = ["{calls.NUMBER}"]

[versions]
a = "support@1"
b = "support@2"

[ab_test]
enabled = true
name = "benchmark"
split = {{ a = 50, b = 50 }}
"""


class CannotStart(Exception):
    """A peer did not come up; the message says what it said last."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Peer:
    """A competitor: ``order`` gives the command and its extra environment for a port and an empty folder."""

    name: str
    what: str
    order: Callable[[int, Path], tuple[list[str], Mapping[str, str]]]
    stores: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class Server:
    """A peer that is up; ``group`` is the process group of it and its workers."""

    port: int
    group: int
    database: Path


def _ceiling(port: int, _: Path) -> tuple[list[str], Mapping[str, str]]:
    return [sys.executable, "-m", f"{__package__}.peers.ceiling", str(port)], {}


def _flask(port: int, folder: Path) -> tuple[list[str], Mapping[str, str]]:
    # Threads, because gunicorn's plain workers close the connection after every answer and are slower for it.
    command = [sys.executable, "-m", "gunicorn", "--workers", "2", "--threads", "4", "--log-level", "warning"]
    app = f"{__package__}.peers.flask_quickstart:app"
    return [*command, "--bind", f"127.0.0.1:{port}", app], _quickstart(folder)


def _fastapi(port: int, folder: Path) -> tuple[list[str], Mapping[str, str]]:
    # One process: on the one core that each peer has, a second one made it slower.
    command = [sys.executable, "-m", "uvicorn", "--log-level", "warning", "--no-access-log"]
    app = f"{__package__}.peers.fastapi_quickstart:app"
    return [*command, "--port", str(port), "--loop", "uvloop", "--http", "httptools", app], _quickstart(folder)


def _quickstart(folder: Path) -> Mapping[str, str]:
    return {
        "DATABASE": str(folder / "calls.db"),
        "PUBLIC_URL": calls.PUBLIC_URL,
        "TWILIO_AUTH_TOKEN": calls.AUTH_TOKEN,
    }


def _gateway(port: int, folder: Path) -> tuple[list[str], Mapping[str, str]]:
    for name, text in (("agents", AGENT), ("routes", ROUTE), ("data", "")):
        (folder / name).mkdir()
        if text:
            (folder / name / "support.toml").write_text(text)
    script = Path(sys.executable).with_name("gateway")
    command = [str(script)] if script.exists() else [sys.executable, "-m", "gateway"]
    return [*command, "serve"], {
        "GATEWAY_SERVER__HOST": "127.0.0.1",
        "GATEWAY_SERVER__PORT": str(port),
        "GATEWAY_SERVER__PUBLIC_URL": calls.PUBLIC_URL,
        "GATEWAY_DATABASE__URL": f"sqlite:///{folder / 'calls.db'}",
        "GATEWAY_PATHS__ROUTES": str(folder / "routes"),
        "GATEWAY_PATHS__AGENTS": str(folder / "agents"),
        "GATEWAY_PATHS__DATA": str(folder / "data"),
        "GATEWAY_AUTH__ADMIN_TOKEN": "benchmark-" + "0" * 32,
        "GATEWAY_LOG__LEVEL": "warning",
        "TWILIO_ACCOUNT_SID": calls.ACCOUNT_SID,
        "TWILIO_AUTH_TOKEN": calls.AUTH_TOKEN,
    }


PEERS = (
    Peer(name="ceiling", what="aiohttp + uvloop, constant answer", order=_ceiling, stores=False),
    Peer(name="gateway", what="everything on, SQLite FULL", order=_gateway),
    Peer(name="flask", what="Flask, gunicorn, sqlite3", order=_flask),
    Peer(name="fastapi", what="FastAPI, uvicorn, aiosqlite", order=_fastapi),
)


@contextmanager
def serving(peer: Peer, folder: Path, core: int | None, *, patience: float = 20.0) -> Iterator[Server]:
    """Run ``peer`` in the empty ``folder``, on ``core`` alone unless None, until the block ends.

    Raises CannotStart when it ends or is not ready within ``patience`` seconds.
    """
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    command, extra = peer.order(port, folder)
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("GATEWAY_", "TWILIO_"))}
    environment = {**inherited, **extra}
    # The gateway runs in the empty folder, so that no gateway.toml of the checkout is read.
    where = folder if peer.name == "gateway" else ROOT
    said = folder / "server.log"
    with said.open("wb") as log:
        process = subprocess.Popen(
            command, cwd=where, env=environment, stdout=log, stderr=log, start_new_session=True
        )
    try:
        if core is not None:
            os.sched_setaffinity(process.pid, {core})
        _await_ready(process, port, said, patience)
        yield Server(port=port, group=process.pid, database=folder / "calls.db")
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        with suppress(ProcessLookupError):  # workers that outlived their master
            os.killpg(process.pid, signal.SIGKILL)


def _await_ready(process: subprocess.Popen[bytes], port: int, said: Path, patience: float) -> None:
    deadline = time.monotonic() + patience
    why = "no answer"
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2):
                return
        except urllib.error.HTTPError as error:
            why = f"/readyz answers {error.code}"
        except OSError as error:
            why = str(error)
        time.sleep(0.05)
    if process.poll() is not None:
        why = f"it ended with {process.returncode}"
    lines = said.read_text(errors="replace").split("\n")
    raise CannotStart(f"{why}; last words: {next((line for line in reversed(lines) if line.strip()), 'none')}")


def stored(server: Server) -> set[str]:
    """The ids of all calls in the server's database, as another reader sees them now."""
    with closing(sqlite3.connect(f"file:{server.database}?mode=ro", uri=True)) as connection:
        return {row[0] for row in connection.execute("SELECT id FROM call")}
