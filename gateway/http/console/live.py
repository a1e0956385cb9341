"""Tells open pages what changes, as server-sent events: one look a second, however many pages are open."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

from aiohttp import web

from gateway import log
from gateway.http.console.page import HEADERS, SESSIONS, View, cookie_name, page
from gateway.http.keys import GATEWAY
from gateway.storage.engine import AWAY
from gateway.storage.readings import judged_since
from gateway.wiring import Gateway

_log = log.get("console")

_EVERY_SECONDS = 1.0
_JUDGED_MS = 60_000  # a page that was opened earlier has been told
_CHECKED_EVERY = 30  # looks at whether the session is still good
MOST = 500


class Pulse:
    """The pages that listen, and what they were told last."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._told = asyncio.Condition()
        self.message = b""
        self.beat = 0
        self.listening = 0

    async def wait(self, beat: int) -> tuple[int, bytes]:
        """The next beat after ``beat``, and its message: empty when nothing changed."""
        async with self._told:
            await self._told.wait_for(lambda: self.beat != beat)
            return self.beat, self.message

    async def run(self) -> None:
        """Look and tell, for ever; without listeners nobody looks."""
        last: dict[str, Any] = {}
        while True:
            await asyncio.sleep(_EVERY_SECONDS)
            message = b""
            if self.listening:
                try:
                    news = await _news(self._gateway)
                    message = _event(news) if news != last else b""
                    last = news
                except AWAY:
                    pass
                except Exception:
                    _log.exception("pulse_failed")
            else:
                last = {}
            async with self._told:
                self.beat, self.message = self.beat + 1, message
                self._told.notify_all()


async def _news(gateway: Gateway) -> dict[str, Any]:
    figures = await gateway.traffic.figures()
    stopped = await gateway.outbox.stopped()
    state = gateway.state
    # A page that finds another state than its own reads itself again; figures are put in place.
    shape = [state.snapshot.publication, sorted(state.holds), sorted(figures.failing), stopped, len(gateway.drift)]
    async with gateway.database.read() as connection:
        judged = await judged_since(connection, gateway.wall() - _JUDGED_MS)
    return {
        "state": json.dumps(shape),
        "experiments": judged,
        "figures": {"under_way": figures.under_way, "today": figures.today},
    }


def _event(news: dict[str, Any]) -> bytes:
    return f"event: news\ndata: {json.dumps(news)}\n\n".encode()


PULSE: web.AppKey[Pulse] = web.AppKey("pulse", Pulse)


async def pulse(app: web.Application) -> AsyncIterator[None]:
    """Run the pulse while the application runs."""
    task = asyncio.create_task(app[PULSE].run())
    yield
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


@page("GET", "/live")
async def listen(view: View) -> web.StreamResponse:
    """The stream of what changes, until the page goes away, the session ends, or the gateway drains."""
    told = view.request.app[PULSE]
    if told.listening >= MOST:
        return web.Response(status=503, headers={"Retry-After": "60"})
    response = web.StreamResponse(headers={**HEADERS, "Content-Type": "text/event-stream", "X-Accel-Buffering": "no"})
    told.listening += 1
    try:
        await response.prepare(view.request)
        await response.write(b"retry: 3000\n\n" + _event(await _news(view.gateway)))
        beat = told.beat
        while not view.request.app[GATEWAY].draining and (beat % _CHECKED_EVERY or await _still(view)):
            beat, message = await told.wait(beat)
            # A comment now and then finds out whether anybody still listens.
            if message or beat % _CHECKED_EVERY == 0:
                await response.write(message or b":\n\n")
    except ConnectionError:
        pass
    finally:
        told.listening -= 1
    return response


async def _still(view: View) -> bool:
    secret = view.request.cookies.get(cookie_name(view.request))
    return await view.request.app[SESSIONS].find(secret) is not None


PAGES = (listen,)
