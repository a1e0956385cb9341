"""What an endpoint of the API is: a path, the role it needs, the shape of what it takes, and a function.

The table of endpoints makes the routes, guards them and describes them at ``/openapi.json``; what is not in the
table does not exist.
"""

import hashlib
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

from aiohttp import web
from pydantic import BaseModel, ConfigDict, ValidationError

from gateway import log
from gateway.errors import (
    BaseRequired,
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
from gateway.http.auth import DOORKEEPER, Caller, Need, caller_of
from gateway.http.following import follow
from gateway.http.keys import GATEWAY
from gateway.storage.access import add_audit, claim_request, drop_request, keep_answer
from gateway.storage.engine import AWAY, BAD_ROW, DOWN, Connection
from gateway.wiring import Gateway

_log = log.get("api")

_BODY_BYTES = 64 * 1024 * 1024

# An escaped NUL: an odd number of backslashes before it.
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")

STATUS: Mapping[type[GatewayError], HTTPStatus] = {
    Malformed: HTTPStatus.BAD_REQUEST,
    Unauthenticated: HTTPStatus.UNAUTHORIZED,
    Refused: HTTPStatus.FORBIDDEN,
    NotFound: HTTPStatus.NOT_FOUND,
    Conflict: HTTPStatus.CONFLICT,
    Moved: HTTPStatus.CONFLICT,
    Invalid: HTTPStatus.UNPROCESSABLE_ENTITY,
    BaseRequired: HTTPStatus.PRECONDITION_REQUIRED,
    Unavailable: HTTPStatus.SERVICE_UNAVAILABLE,
}


class Body(BaseModel):
    """Base of what requests carry; an unknown key is a mistake of the caller's."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Nothing(Body):
    """For endpoints that take nothing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ask:
    """A request that passed the door: who asks, and what, already checked."""

    gateway: Gateway
    caller: Caller
    path: Mapping[str, str]
    query: Any
    body: Any
    headers: Mapping[str, str]
    stream: AsyncIterator[bytes] | None
    forget_tokens: Callable[[], None]
    door: str = "api"

    async def audit(self, connection: Connection, action: str, subject: str, **detail: Any) -> None:
        """Write what was done to the audit log, in the transaction that did it."""
        at, author = self.gateway.wall(), self.caller.name
        await add_audit(connection, at=at, author=author, action=action, subject=subject, detail=detail)


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What an endpoint answers when it is not simply 200; ``file`` is sent as it is, in place of the body."""

    body: dict[str, Any]
    status: int = 200
    headers: Mapping[str, str] | None = None
    file: Path | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Streamed:
    """What an endpoint answers when it is a file of any size: its name, and its pieces as they are made."""

    content_type: str
    name: str
    pieces: AsyncIterator[bytes]


@dataclass(frozen=True, slots=True)
class Following:
    """What an endpoint answers when it tells what changes from now on, as server-sent events."""


Handler = Callable[[Ask], Awaitable[dict[str, Any] | Answer | Streamed | Following]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Endpoint:
    """One row of the table. With ``takes_csv`` the body may be a file of any size, handed on as it comes."""

    method: str
    path: str
    role: Need
    handler: Handler
    query: type[Body] = Nothing
    body: type[Body] | None = None
    takes_csv: bool = False

    @property
    def mutates(self) -> bool:
        """Whether it changes anything."""
        return self.method not in ("GET", "HEAD")


def endpoint(
    method: str,
    path: str,
    *,
    role: Need,
    query: type[Body] = Nothing,
    body: type[Body] | None = None,
    takes_csv: bool = False,
) -> Callable[[Handler], Endpoint]:
    """Make a function an endpoint of the API."""

    def made(handler: Handler) -> Endpoint:
        return Endpoint(
            method=method, path=path, role=role, handler=handler, query=query, body=body, takes_csv=takes_csv
        )

    return made


def serve(one: Endpoint) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """The endpoint as aiohttp wants it: guard, read, call, answer."""

    async def handle(request: web.Request) -> web.StreamResponse:
        try:
            caller = await caller_of(request)
            admit(one, caller)
            if "\x00" in request.path or "\x00" in request.query_string:
                raise Malformed("the address holds a NUL character")
            sent = await _sent(one, request)
            key = request.headers.get("Idempotency-Key") if one.mutates else None
            if key is None:
                answer = await _call(one, request, caller, sent)
                if isinstance(answer, Streamed):
                    return await stream(request, answer)
                return _response(answer) if isinstance(answer, Answer) else await _follow(request)
            return await _once(one, request, caller, sent, key)
        except GatewayError as error:
            return error_response(error)
        except web.HTTPException as error:
            return error_response(Malformed(error.reason), status=error.status)
        except Exception as error:
            if isinstance(error, DOWN) and not isinstance(error, BAD_ROW):
                return error_response(Unavailable("the database does not answer; try again shortly"))
            _log.exception("api_failed", path=request.path)
            fault = Unavailable("the gateway met a fault of its own; it is in its log")
            return error_response(fault, status=500)

    return handle


class _Sent:
    """What a request carries: its whole body, or a stream of it; and the digest of as much as has been read."""

    def __init__(self, raw: bytes, stream: AsyncIterator[bytes] | None = None) -> None:
        self.raw = raw
        self.stream = None if stream is None else self._hashed(stream)
        self._hash = hashlib.sha256(raw)

    async def _hashed(self, stream: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        try:
            async for chunk in stream:
                self._hash.update(chunk)
                yield chunk
        except (ConnectionError, web.RequestPayloadError) as error:
            raise Malformed("the body broke off before its end") from error

    async def digest(self, one: Endpoint, request: web.Request) -> bytes:
        """The digest of the whole request; reads what nobody has read of a stream."""
        if self.stream is not None:
            async for _ in self.stream:
                pass
        parts = [one.method.encode(), request.raw_path.encode(), self._hash.digest()]
        return hashlib.sha256(b"\n".join(parts)).digest()


async def _sent(one: Endpoint, request: web.Request) -> _Sent:
    if not one.mutates:
        return _Sent(b"")
    if one.takes_csv and request.content_type == "text/csv":
        return _Sent(b"", request.content.iter_any())
    return _Sent(await _body(request))


async def _follow(request: web.Request) -> web.StreamResponse:
    async def still() -> bool:
        try:
            await caller_of(request)
        except Unauthenticated:
            return False
        return True

    return await follow(request, headers={}, still=still)


async def _call(one: Endpoint, request: web.Request, caller: Caller, sent: _Sent) -> Answer | Streamed | Following:
    return await perform(
        one,
        gateway=request.app[GATEWAY],
        caller=caller,
        path=request.match_info,
        query=dict(request.query),
        body=read_json_body(sent.raw) if one.body is not None and sent.stream is None else None,
        headers=request.headers,
        stream=sent.stream,
        forget_tokens=request.app[DOORKEEPER].forget,
    )


def admit(one: Endpoint, caller: Caller) -> None:
    """Raise Refused when the caller's role is not enough for the endpoint."""
    if not caller.may(one.role):
        raise Refused(f"the role {caller.role} may not do this; it needs {one.role}")


async def perform(
    one: Endpoint,
    *,
    gateway: Gateway,
    caller: Caller,
    path: Mapping[str, str],
    query: Mapping[str, Any],
    body: Any,
    headers: Mapping[str, str],
    forget_tokens: Callable[[], None],
    stream: AsyncIterator[bytes] | None = None,
    door: str = "api",
) -> Answer | Streamed | Following:
    """Guard an endpoint, check what it is given, and do it; the API and the console both come in here."""
    admit(one, caller)
    ask = Ask(
        gateway=gateway,
        caller=caller,
        path=path,
        query=_checked(one.query, query, "query"),
        body=_checked(one.body, body, "body") if one.body is not None and stream is None else None,
        headers=headers,
        stream=stream,
        forget_tokens=forget_tokens,
        door=door,
    )
    answer = await one.handler(ask)
    return Answer(body=answer) if isinstance(answer, dict) else answer


async def stream(
    request: web.Request, file: Streamed, headers: Mapping[str, str] | None = None
) -> web.StreamResponse:
    """Send a file as it is made, as something to keep and not to show."""
    pieces = aiter(file.pieces)
    # What fails before the first piece is still answered as an error.
    first = await anext(pieces, b"")
    named = {"Content-Disposition": f'attachment; filename="{file.name}"', "X-Content-Type-Options": "nosniff"}
    response = web.StreamResponse(headers={**(headers or {}), **named})
    response.content_type = file.content_type
    response.charset = "utf-8"
    await response.prepare(request)
    try:
        await response.write(first)
        async for piece in pieces:
            await response.write(piece)
        await response.write_eof()
    except Exception:
        # Half a file is sent: only a broken connection tells the reader that it is no whole one.
        _log.exception("api_failed", path=request.path)
        if request.transport is not None:
            request.transport.abort()
    return response


async def _once(one: Endpoint, request: web.Request, caller: Caller, sent: _Sent, key: str) -> web.StreamResponse:
    """Do the request of an idempotency key once; a repeat gets the first answer again."""
    if not 1 <= len(key) <= 255:
        raise Invalid("Idempotency-Key: write 1 to 255 characters")
    gateway = request.app[GATEWAY]
    author, now = caller.name, gateway.wall()
    # The digest of a stream is known at its end only.
    digest = b"" if sent.stream is not None else await sent.digest(one, request)
    async with gateway.database.write() as connection:
        kept = await claim_request(connection, gateway.database, author=author, key=key, request=digest, at=now)
    if kept is not None:
        if kept["status"] is None and kept["request"] in (digest, b""):
            raise Conflict("the first request with this Idempotency-Key is still at work; try again shortly")
        if kept["request"] != await sent.digest(one, request):
            raise Conflict("this Idempotency-Key was used for another request; take a new key")
        replayed = Answer(
            body=json.loads(kept["answer"]), status=kept["status"], headers={"Idempotent-Replayed": "true"}
        )
        return _response(replayed)
    try:
        answer = await _call(one, request, caller, sent)
        if not isinstance(answer, Answer):
            raise TypeError(f"{one.path} changes things and streams: such an answer cannot be kept for a repeat")
        digest = await sent.digest(one, request)
    except BaseException:
        # Nothing was changed: the key may be used again.
        with suppress(*AWAY):
            async with gateway.database.write() as connection:
                await drop_request(connection, author=author, key=key)
        raise
    async with gateway.database.write() as connection:
        text = json.dumps(answer.body)
        await keep_answer(connection, author=author, key=key, request=digest, status=answer.status, answer=text)
    return _response(answer)


async def _body(request: web.Request) -> bytes:
    try:
        # A request has the limit of the outermost application, which is a webhook's.
        return await request.clone(client_max_size=_BODY_BYTES).read()
    except web.HTTPRequestEntityTooLarge:
        raise
    except (ValueError, OSError) as error:
        raise Malformed("the body cannot be read") from error


def read_json_body(raw: bytes, what: str = "the body") -> Any:
    """JSON as it can be stored, or Malformed; nothing at all is an empty object."""
    if not raw:
        return {}
    if _NUL.search(raw):
        raise Malformed(f"{what} holds a NUL character, which cannot be stored")
    try:
        told = json.loads(raw)
        if b"\\u" in raw:
            # Half of a surrogate pair can be written in JSON and nowhere else; it fails here.
            json.dumps(told, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise Malformed(f"{what} is not JSON: {error}") from error
    return told


def _checked(shape: type[Body], given: Any, place: str) -> Body:
    try:
        return shape.model_validate(given)
    except ValidationError as error:
        problems = [
            Problem(place=place, path=".".join(map(str, one["loc"])), text=one["msg"])
            for one in error.errors(include_url=False, include_input=False, include_context=False)
        ]
        raise Invalid(f"the {place} does not fit: {problems[0].path} {problems[0].text}", problems) from error


def _response(answer: Answer) -> web.StreamResponse:
    if answer.file is not None:
        return web.FileResponse(answer.file, headers={"Content-Type": "application/octet-stream"})
    return web.json_response({"ok": True, **answer.body}, status=answer.status, headers=answer.headers)


def error_response(error: GatewayError, *, status: int | None = None) -> web.Response:
    """An error in the one shape that the API has for it."""
    code = status or next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)
    headers = {}
    if code == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    if code == HTTPStatus.SERVICE_UNAVAILABLE:
        headers["Retry-After"] = "1"
    return web.json_response(error.as_json(), status=int(code), headers=headers)
