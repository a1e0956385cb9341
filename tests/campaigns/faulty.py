"""A Twilio that fails in every way that matters to whoever places calls, and knows who was really rung."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

import aiohttp
from aiohttp import web
from twilio.request_validator import RequestValidator

from tests.conftest import TOKEN, listening

# How often each fault strikes; many times more often than in life.
FAULTS = {"429": 0.03, "500 before": 0.05, "500 after": 0.08, "hang before": 0.03, "hang after": 0.08, "reset": 0.08}
LOST = 0.3  # of the callbacks


class FaultyTwilio:
    """Calls are created, listed and told of over HTTP; ``rung`` counts how often each number was rung."""

    def __init__(self, seed: int) -> None:
        self.rung: Counter[str] = Counter()
        self._dice = random.Random(seed)
        self._calls: list[dict[str, Any]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._http: aiohttp.ClientSession | None = None

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer a request of the REST API, or not."""
        if request.method == "GET":
            wanted = request.query.get("To")
            calls = [call for call in self._calls if call["to"] == wanted]
            return web.json_response({"calls": calls, "page_size": 50, "next_page_uri": None})
        form = {str(name): str(value) for name, value in (await request.post()).items()}
        return await self._create(request, form, self._fault())

    def _fault(self) -> str:
        place = self._dice.random()
        for fault, chance in FAULTS.items():
            place -= chance
            if place < 0:
                return fault
        return ""

    async def _create(self, request: web.Request, form: dict[str, str], fault: str) -> web.StreamResponse:
        if fault == "429":
            return web.json_response({"code": 20429, "message": "too many", "status": 429}, status=429)
        if fault in ("500 before", "hang before"):
            return await self._failed(fault)
        call = self._made(form)
        if fault in ("500 after", "hang after"):
            return await self._failed(fault)
        if fault == "reset":
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        return web.json_response(call, status=201)

    async def _failed(self, fault: str) -> web.StreamResponse:
        if fault.startswith("hang"):
            await asyncio.sleep(3)
        return web.json_response({"code": 20500, "message": "no", "status": 500}, status=500)

    def _made(self, form: dict[str, str]) -> dict[str, Any]:
        self.rung[form["To"]] += 1
        call = {
            "sid": f"CA{self._dice.getrandbits(128):032x}",
            "to": form["To"],
            "from": form["From"],
            "status": "queued",
            "direction": "outbound-api",
            "date_created": format_datetime(datetime.now(UTC)),
        }
        self._calls.append(call)
        task = asyncio.create_task(self._tell(form["StatusCallback"].partition("#")[0], call["sid"]))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return call

    async def _tell(self, url: str, sid: str) -> None:
        for place, status in enumerate(("initiated", "ringing", "busy")):
            await asyncio.sleep(0.05)
            if self._dice.random() < LOST:
                continue
            form = {"CallSid": sid, "CallStatus": status, "SequenceNumber": str(place)}
            signed = {"X-Twilio-Signature": RequestValidator(TOKEN).compute_signature(url, form)}
            assert self._http is not None
            try:
                async with self._http.post(url, data=form, headers=signed):
                    pass
            except aiohttp.ClientError:
                continue  # the gateway is dead just now


@asynccontextmanager
async def faulty_twilio(seed: int) -> AsyncIterator[tuple[FaultyTwilio, str]]:
    """One that listens on loopback, and its address."""
    twilio, app = FaultyTwilio(seed), web.Application()
    app.router.add_route("*", "/{tail:.*}", twilio.handle)
    async with listening(app) as url, aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as twilio._http:
        yield twilio, url
