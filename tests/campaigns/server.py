"""A gateway in a process of its own that is killed under load, and the callers who ring it meanwhile."""

import asyncio
import os
import random
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import aiohttp
from twilio.request_validator import RequestValidator

from tests.conftest import ACCOUNT, ADMIN, NOBODY, TOKEN, free_port, write_files

ROOT = Path(__file__).parents[2]
CLIENTS = 16


class Server:
    """A ``gateway serve`` of its own on one folder; killed and started again on the same files."""

    def __init__(self, folder: Path, *, patch: str = "", **environ: str) -> None:
        """``patch`` is Python that runs in the server's process before it starts; ``environ`` is added to its own."""
        self.folder, self.port, self.patch, self.environ = folder, free_port(), patch, environ
        self.url = f"http://127.0.0.1:{self.port}"
        self.database = folder / "gateway.db"
        write_files(folder)

    async def start(self) -> None:
        code = f"{self.patch}\nfrom gateway.cli import main\nmain()"
        command = [sys.executable, "-c", code, "serve"]
        environ = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "GATEWAY_SERVER__PORT": str(self.port),
            "GATEWAY_DATABASE__URL": f"sqlite:///{self.database}",
            "GATEWAY_PATHS__ROUTES": str(self.folder / "routes"),
            "GATEWAY_PATHS__AGENTS": str(self.folder / "agents"),
            "GATEWAY_PATHS__DATA": str(self.folder / "data"),
            "GATEWAY_AUTH__ADMIN_TOKEN": ADMIN,
            "GATEWAY_LOG__LEVEL": "warning",
            "GATEWAY_TWILIO__API_BASE_URL": NOBODY,
            "TWILIO_ACCOUNT_SID": ACCOUNT,
            "TWILIO_AUTH_TOKEN": TOKEN,
            **self.environ,
        }
        self.process = subprocess.Popen(command, cwd=self.folder, env=environ)
        async with aiohttp.ClientSession() as http, asyncio.timeout(30):
            while True:
                try:
                    async with http.get(f"{self.url}/healthz") as answer:
                        if answer.status == 200:
                            return
                except aiohttp.ClientError:
                    await asyncio.sleep(0.05)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)

    def stored(self) -> set[str]:
        with closing(sqlite3.connect(self.database)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            return {row[0] for row in connection.execute("SELECT id FROM call")}


async def ring_until_dead(server: Server, answered: set[str], dice: random.Random) -> None:
    validator = RequestValidator(TOKEN)
    async with aiohttp.ClientSession() as http:
        while True:
            sid = f"CA{dice.getrandbits(128):032x}"
            form = {"CallSid": sid, "AccountSid": ACCOUNT, "From": "+14155551234", "To": "+14155550100"}
            signature = validator.compute_signature(f"{server.url}/twilio/voice", form)
            try:
                async with http.post(
                    f"{server.url}/twilio/voice", data=form, headers={"X-Twilio-Signature": signature}
                ) as answer:
                    if answer.status == 200 and "<Stream" in await answer.text():
                        answered.add(sid)
            except (aiohttp.ClientError, OSError):
                return


async def kill_under_load(server: Server, seed: int, after: float) -> set[str]:
    """Start, ring from several clients, kill after some seconds; the calls that were answered."""
    answered: set[str] = set()
    await server.start()
    async with asyncio.TaskGroup() as clients:
        for client in range(CLIENTS):
            clients.create_task(ring_until_dead(server, answered, random.Random(f"{seed}/{client}")))
        await asyncio.sleep(after)
        server.kill()
    return answered
