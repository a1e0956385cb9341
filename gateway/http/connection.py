"""The server's connections: as aiohttp's, but a header that comes slower than it should is cut off."""

import asyncio
from typing import Any

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

HEADER_SECONDS = 5.0


class _Connection(RequestHandler):
    """A connection with a deadline for each request's header; aiohttp itself waits for ever."""

    __slots__ = ("_deadline",)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._deadline = self._loop.call_later(HEADER_SECONDS, self._cut_off)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._messages or self._current_request is not None:
            # The header is whole; its body has a deadline where it is read.
            if self._deadline is not None:
                self._deadline.cancel()
                self._deadline = None
        elif self._deadline is None:
            self._deadline = self._loop.call_later(HEADER_SECONDS, self._cut_off)

    def connection_lost(self, exc: BaseException | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        super().connection_lost(exc)

    def _cut_off(self) -> None:
        self._deadline = None
        self.force_close()


class _Server(web.Server):
    def __call__(self) -> RequestHandler:
        # Nobody has reason to send us a compressed body, and unpacking a broken one takes the connection down.
        return _Connection(self, loop=self._loop, **(self._kwargs | {"auto_decompress": False}))


class Runner(web.AppRunner):
    """Runs an application on such connections."""

    async def _make_server(self) -> web.Server:
        server = await super()._make_server()
        server.__class__ = _Server
        return server
