"""Server-sent events over HTTP: one stream of what changes, for the API and for the console's open pages."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress

from aiohttp import web

from gateway.http.keys import GATEWAY

BEAT_SECONDS = 15.0
CHECKED_SECONDS = 30.0


async def follow(
    request: web.Request, *, headers: Mapping[str, str], still: Callable[[], Awaitable[bool]]
) -> web.StreamResponse:
    """Tell until the follower goes away or falls behind, ``still`` says no, or the gateway drains.

    Raises Unavailable, before anything is sent, when too many follow or the database is away.
    """
    feed, transport = request.app[GATEWAY].feed, request.transport
    response = web.StreamResponse(headers={**headers, "Content-Type": "text/event-stream", "X-Accel-Buffering": "no"})
    response.headers.setdefault("Cache-Control", "no-store")
    response.force_close()
    drop = transport.abort if transport is not None else _nothing
    with suppress(ConnectionError):
        async with feed.follow(request.headers.get("Last-Event-ID"), drop) as waiting:
            await response.prepare(request)
            await response.write(b"retry: 3000\n\n")
            clock = asyncio.get_running_loop().time
            checked = clock()
            while True:
                try:
                    async with asyncio.timeout(BEAT_SECONDS):
                        message = await waiting.get()
                except TimeoutError:
                    # A comment now and then finds out whether anybody still listens.
                    message = b":\n\n"
                if clock() - checked >= CHECKED_SECONDS:
                    if not await still():
                        break
                    checked = clock()
                if message is None:
                    break
                if message:
                    await response.write(message)
    return response


def _nothing() -> None:
    pass
