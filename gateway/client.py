"""The Python client of the HTTP API: what the command line, scripts and tests speak to a gateway with."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, BinaryIO, Self

import aiohttp

from gateway.errors import (
    Conflict,
    GatewayError,
    Invalid,
    Malformed,
    Moved,
    NotFound,
    Problem,
    Refused,
    Unauthenticated,
    Unavailable,
)

_KINDS: Mapping[str, type[GatewayError]] = {
    kind.code: kind for kind in (Conflict, Invalid, Malformed, Moved, NotFound, Refused, Unauthenticated, Unavailable)
}

_PIECE_BYTES = 1 << 16
_OVER = frozenset({"completed", "cancelled"})
# However long the other side is at work, or a file on its way.
_PATIENCE = aiohttp.ClientTimeout(total=None, sock_connect=60.0)


class GatewayClient:
    """Speaks to one gateway; use it as ``async with GatewayClient(url, token) as gateway``.

    Every method raises the error of ``gateway.errors`` that the gateway answered with, and Unavailable when it
    does not answer at all.
    """

    def __init__(self, url: str, token: str, *, seconds: float = 60.0) -> None:
        self._url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {token}"}
        self._timeout = aiohttp.ClientTimeout(total=seconds)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(headers=self._headers, timeout=self._timeout)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def get(self, path: str, **query: Any) -> dict[str, Any]:
        """GET ``/api/v1`` + path; a None in the query is left out."""
        wanted = {name: str(value) for name, value in query.items() if value is not None}
        return await self._ask("GET", path, params=wanted)

    async def post(
        self, path: str, body: Mapping[str, Any], *, key: str | None = None, patient: bool = False
    ) -> dict[str, Any]:
        """POST a body; ``key`` is an Idempotency-Key, ``patient`` waits for the answer however long it takes."""
        headers = {"Idempotency-Key": key} if key else None
        timeout = _PATIENCE if patient else self._timeout
        return await self._ask("POST", path, json=dict(body), headers=headers, timeout=timeout)

    async def upload(
        self,
        path: str,
        file: BinaryIO,
        sent: Callable[[int], None] = lambda _: None,
        *,
        key: str | None = None,
        kind: str = "text/csv",
        **query: str,
    ) -> dict[str, Any]:
        """POST a file as it is read, however long it takes; ``sent`` is told how many bytes are on their way."""

        async def pieces() -> AsyncIterator[bytes]:
            while piece := file.read(_PIECE_BYTES):
                yield piece
                sent(file.tell())

        headers = {"Content-Type": kind} | ({"Idempotency-Key": key} if key else {})
        return await self._ask("POST", path, params=query, data=pieces(), headers=headers, timeout=_PATIENCE)

    async def download(
        self, path: str, file: BinaryIO, got: Callable[[int], None] = lambda _: None, **query: str
    ) -> None:
        """GET a file into ``file``; ``got`` is told how many bytes have come. One that breaks off is Unavailable."""
        async with self._answered("GET", path, params=query, timeout=_PATIENCE) as answer:
            if answer.status >= 400:
                raise _error(await answer.json(content_type=None), answer.status)
            async for piece in answer.content.iter_chunked(_PIECE_BYTES):
                file.write(piece)
                got(file.tell())

    async def put(self, path: str, body: Mapping[str, Any], *, base: int | None) -> dict[str, Any]:
        """PUT a body over the revision ``base``, or create it when that is None."""
        headers = {"If-None-Match": "*"} if base is None else {"If-Match": f'"{base}"'}
        return await self._ask("PUT", path, json=dict(body), headers=headers)

    async def delete(self, path: str) -> dict[str, Any]:
        """DELETE what stands at a path."""
        return await self._ask("DELETE", path)

    async def pages(self, path: str, noun: str, **query: Any) -> AsyncIterator[dict[str, Any]]:
        """Every item of a list, page after page."""
        cursor: Any = None
        while True:
            page = await self.get(path, **query, cursor=cursor)
            for item in page[noun]:
                yield item
            cursor = page["next"]
            if cursor is None:
                return

    async def follow(
        self, campaign: str, *, every: float = 1.0, patience: float = 120.0
    ) -> AsyncIterator[dict[str, Any]]:
        """A campaign as it stands now and after every change, until it is over and its last call has ended.

        It is asked for ``every`` so many seconds, and more rarely where a long list takes long to count. A gateway
        that is away is waited for, up to ``patience`` seconds.
        """
        seen, heard = None, time.monotonic()
        while True:
            asked = time.monotonic()
            try:
                one: dict[str, Any] | None = (await self.get(f"/campaigns/{campaign}"))["campaign"]
                heard = time.monotonic()
            except Unavailable:
                if time.monotonic() - heard > patience:
                    raise
                one = None
            if one is not None and one != seen:
                seen = one
                yield one
                if one["status"] in _OVER and not one["counts"]["dialling"]:
                    return
            await asyncio.sleep(max(every, 5 * (time.monotonic() - asked)))

    async def _ask(self, method: str, path: str, **kwargs: Any) -> dict[str, Any]:
        async with self._answered(method, path, **kwargs) as answer:
            body = await answer.json(content_type=None)
            if answer.status < 400 and isinstance(body, dict):
                return body
            raise _error(body, answer.status)

    @asynccontextmanager
    async def _answered(self, method: str, path: str, **kwargs: Any) -> AsyncIterator[aiohttp.ClientResponse]:
        if self._session is None:
            raise RuntimeError("use the client as `async with GatewayClient(...)`")
        try:
            async with self._session.request(method, f"{self._url}/api/v1{path}", **kwargs) as answer:
                yield answer
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise Unavailable(f"no gateway answers at {self._url}: {error or type(error).__name__}") from error


def _error(body: Any, status: int) -> GatewayError:
    told = body.get("error") if isinstance(body, dict) else None
    if not isinstance(told, dict):
        return Unavailable(f"the gateway answered {status}")
    kind = _KINDS.get(told.get("code", ""), Unavailable)
    return kind(told.get("message", ""), [Problem(**problem) for problem in told.get("problems", ())])
