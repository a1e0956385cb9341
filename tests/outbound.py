"""A gateway that places calls, with a double of Twilio at the wire and a clock that is moved by hand."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from gateway.dialer import Dialer, Owner
from gateway.simulator.listen import listen
from gateway.simulator.rest import RestPlan, RestSide
from gateway.storage.attempts import Attempt, Held, Limits
from gateway.wiring import wall_clock
from tests.conftest import (
    ACCOUNT,
    ADMIN,
    AGENTS,
    TOKEN,
    Running,
    free_port,
    listening,
    running,
    settings_for,
    write_files,
)

ROUTE = """
direction = "outbound"
numbers = ["+14155550190", "+14155550191"]
[versions]
a = "support@3"
b = "support@4"
[ab_test]
enabled = true
name = "greeting"
split = { a = 50, b = 50 }
"""
TO = "+12125550142"


class Twilio:
    """Twilio's calls as a double at the wire: answers each creation as told, and keeps what was asked."""

    def __init__(self) -> None:
        self.created: list[dict[str, str]] = []
        self.cancelled: list[str] = []
        self.changed: list[dict[str, str]] = []  # what was asked of calls under way
        self.over = False  # then every change is refused
        self.answers: list[str] = []  # one for each creation; then "201"
        self.listed: list[str] = []
        self.queue_ms = 0

    async def handle(self, request: web.Request) -> web.StreamResponse:
        form = {str(name): str(value) for name, value in (await request.post()).items()}
        if request.method == "POST" and request.path.endswith("/Calls.json"):
            return await self._create(request, form)
        if request.method == "POST":
            sid = request.path.rpartition("/")[2].removesuffix(".json")
            self.cancelled.append(sid)
            self.changed.append({"sid": sid, **form})
            if self.over:
                return web.json_response({"code": 21220, "message": "over", "status": 400}, status=400)
            return web.json_response({"sid": "CA1", "status": "canceled"})
        if request.path.endswith("/Calls.json"):
            calls = [self._call(number) for number in range(len(self.created)) if self.sid(number) in self.listed]
            return web.json_response({"calls": calls, "page_size": 50, "next_page_uri": None})
        return web.json_response({"code": 20404, "message": "no", "status": 404}, status=404)

    async def _create(self, request: web.Request, form: dict[str, str]) -> web.StreamResponse:
        self.created.append(form)
        answer = self.answers.pop(0) if self.answers else "201"
        if answer == "reset":
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        if answer == "garbage":
            return web.Response(status=201, text="<html>")
        if answer != "201":
            status, _, code = answer.partition("/")
            body = {"code": int(code or status), "message": "no", "status": int(status)}
            return web.json_response(body, status=int(status))
        return web.json_response(self._call(len(self.created) - 1), status=201)

    @staticmethod
    def sid(number: int) -> str:
        return f"CA{number:032x}"

    def _call(self, number: int) -> dict[str, Any]:
        form = self.created[number]
        created = format_datetime(datetime.now(UTC))
        told = {"sid": self.sid(number), "status": "queued", "direction": "outbound-api", "date_created": created}
        return told | {"to": form["To"], "from": form["From"], "queue_time": str(self.queue_ms)}


class Clock:
    """The gateway's clock, which can be ahead of ours; whoever sleeps by it wakes at once, so much later."""

    def __init__(self) -> None:
        self.later = 0

    def __call__(self) -> int:
        return wall_clock() + self.later

    async def sleep(self, seconds: float) -> None:
        self.later += round(seconds * 1000)


@dataclass(kw_only=True)
class Outbound:
    """A gateway with an outbound route, whose dialer is moved by hand."""

    twilio: Twilio
    served: Running
    dialer: Dialer
    clock: "Clock"

    async def place(self, to: str = TO, **more: Any) -> dict[str, Any]:
        answer = await self.served.api("POST", "/calls", {"route": "reminders", "to": to, **more})
        assert answer.status == 201, answer.body
        call: dict[str, Any] = answer.body["call"]
        return call

    async def told(self, call: str) -> dict[str, Any]:
        shown: dict[str, Any] = (await self.served.api("GET", f"/calls/{call}")).body["call"]
        return shown

    async def state(self, call: str) -> str:
        found = await self.served.gateway.outbox.attempt(call)
        assert found is not None
        return found.state

    async def claim(self, call: str, owner: str, limits: Limits | None = None) -> Attempt | Held | None:
        wanted = await self.served.gateway.outbox.attempt(call)
        assert wanted is not None
        freely = Limits(per_second=1e6, at_once=1000, at_once_on_route=1000, per_day=1000)
        return await self.served.gateway.outbox.claim(wanted, owner=owner, limits=limits or freely)

    def pass_time(self, milliseconds: int) -> None:
        self.clock.later += milliseconds


@pytest.fixture
async def outbound(tmp_path: Path, database_url: str) -> AsyncIterator[Outbound]:
    double, app = Twilio(), web.Application()
    app.router.add_route("*", "/{tail:.*}", double.handle)
    async with listening(app) as url:
        write_files(tmp_path, AGENTS | {"routes/reminders.toml": ROUTE})
        settings = settings_for(
            tmp_path,
            database_url,
            GATEWAY_TWILIO__API_BASE_URL=url,
            GATEWAY_OUTBOUND__ALLOWED_COUNTRIES='["US"]',
            GATEWAY_OUTBOUND__WINDOW="always",
        )
        clock = Clock()
        async with running(settings, wall=clock) as served:
            gateway = served.gateway
            assert gateway.carrier is not None
            assert gateway.dialling is not None
            gateway.dialling.cancel()
            owner = Owner(tmp_path / "dialer")
            dialer = Dialer(
                outbox=gateway.outbox,
                placer=gateway.carrier,
                owner=owner,
                contacts=gateway.contacts,
                limits=Limits(per_second=1000.0, at_once=5, at_once_on_route=5, per_day=100),
                public_url=served.url,
                wall=clock,
                sleep=clock.sleep,
            )
            yield Outbound(twilio=double, served=served, dialer=dialer, clock=clock)
            owner.close()


@asynccontextmanager
async def simulated(
    folder: Path, database_url: str, *, files: dict[str, str] | None = None, pace: int = 100, **plan: Any
) -> AsyncIterator[tuple[Running, RestSide]]:
    """A gateway that dials ``pace`` calls a second by itself, and the simulated Twilio that takes them."""
    write_files(folder, files or AGENTS | {"routes/reminders.toml": ROUTE})
    port = free_port()
    settings = settings_for(
        folder,
        database_url,
        GATEWAY_TWILIO__API_BASE_URL=f"http://127.0.0.1:{port}",
        GATEWAY_OUTBOUND__ALLOWED_COUNTRIES='["US"]',
        GATEWAY_OUTBOUND__WINDOW="always",
        GATEWAY_OUTBOUND__CALLS_PER_SECOND=str(pace),
        GATEWAY_OUTBOUND__MAX_CONCURRENT="100",
    )
    told: dict[str, Any] = {"agent_token": ADMIN, "rate": 1000.0, "speed": 500.0} | plan
    side_plan = RestPlan(account=ACCOUNT, token=TOKEN, public_url=settings.server.public_url, **told)
    async with listen(side_plan, port) as (side, _), running(settings) as served:
        yield served, side
