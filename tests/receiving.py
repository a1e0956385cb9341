"""A receiver of notices on a real port: it answers as it is told, and verifies with the library of the standard."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from standardwebhooks import Webhook

from tests.conftest import WEBHOOK_SECRET, listening


class Receiving:
    """Keeps what came; ``answers`` are the statuses of the next answers, then 204; None answers nothing."""

    def __init__(self) -> None:
        self.url = ""
        self.came: list[tuple[dict[str, str], bytes]] = []
        self.answers: list[int | None] = []
        self.at_once = 0
        self.most_at_once = 0
        self.redirected = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.came.append(({name.lower(): value for name, value in request.headers.items()}, body))
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        status = self.answers.pop(0) if self.answers else 204
        try:
            await self.gate.wait()
            if status is None:
                await asyncio.sleep(60)
        finally:
            self.at_once -= 1
        headers = {"Location": "/elsewhere"} if status in (301, 302, 307, 308) else {}
        return web.Response(status=status or 204, headers=headers)

    async def elsewhere(self, request: web.Request) -> web.Response:
        self.redirected += 1
        return web.Response()

    @property
    def told(self) -> list[dict[str, Any]]:
        return [json.loads(body) for _, body in self.came]

    @property
    def ids(self) -> list[str]:
        return [headers["webhook-id"] for headers, _ in self.came]

    def verify(self) -> None:
        """Raises for a notice that the standard's own library does not take."""
        for headers, body in self.came:
            Webhook(WEBHOOK_SECRET).verify(body, headers)


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiving]:
    """A receiver that listens while the block runs."""
    double, app = Receiving(), web.Application()
    app.router.add_post("/hooks", double.handle)
    app.router.add_route("*", "/elsewhere", double.elsewhere)
    async with listening(app) as url:
        double.url = f"{url}/hooks"
        yield double
