"""What a page of the console is: a path, the role it needs, and a function; and what every page is guarded by.

A page reads and changes through the very endpoints of the API, called in the process: it can show nothing and do
nothing that the API could not, and every rule, role check and audit row is theirs.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from html import escape
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import aiohttp_jinja2
from aiohttp import web

from gateway import log
from gateway.errors import GatewayError, Malformed, Refused
from gateway.http.api.endpoint import STATUS, Answer, Endpoint, Following, Streamed, perform
from gateway.http.api.endpoint import stream as send_file
from gateway.http.auth import DOORKEEPER, Caller, Need
from gateway.http.console.sessions import Sessions, SignedIn, same_text
from gateway.http.console.turns import Turns
from gateway.http.console.upload import File, read_upload, tidied
from gateway.http.keys import GATEWAY
from gateway.storage.engine import DOWN
from gateway.wiring import Gateway

_log = log.get("console")

FAILED: tuple[type[Exception], ...] = (GatewayError, *DOWN)

SESSIONS: web.AppKey[Sessions] = web.AppKey("sessions", Sessions)
TURNS: web.AppKey[Turns[web.StreamResponse]] = web.AppKey("turns", Turns[web.StreamResponse])
AT_ONCE = 2

# What stands in a page that is made for all of one role, where each reader's own is put in. Nobody can write these.
_MARK, _NAME = secrets.token_hex(32), secrets.token_hex(32)

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # "no-referrer" would make browsers hide the Origin of our own forms too.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


@dataclass(kw_only=True, slots=True)
class View:
    """A request by somebody signed in, past the door: who asks, and what was typed into the form.

    ``sources`` gathers the addresses of the API that the page reads, for it to name them.
    """

    request: web.Request
    gateway: Gateway
    signed_in: SignedIn
    form: Mapping[str, str] = field(default_factory=dict)
    checked: Mapping[str, list[str]] = field(default_factory=dict)
    file: File | None = None
    sources: list[str] = field(default_factory=list)

    @property
    def caller(self) -> Caller:
        """Who asks."""
        return self.signed_in.caller

    @property
    def path(self) -> Mapping[str, str]:
        """What the address names."""
        return self.request.match_info

    @property
    def query(self) -> Mapping[str, str]:
        """What stands behind the question mark, empty fields left out."""
        return {name: value.strip() for name, value in self.request.query.items() if value.strip()}

    async def call(
        self,
        one: Endpoint,
        *,
        path: Mapping[str, str] | None = None,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        stream: AsyncIterator[bytes] | None = None,
    ) -> Answer:
        """Do an endpoint of the API as whoever is signed in; raises what it raises."""
        answer = await self._perform(one, path=path, query=query, body=body, headers=headers, stream=stream)
        if not isinstance(answer, Answer):
            raise TypeError(f"{one.path} is no answer for a page")
        return answer

    async def download(self, one: Endpoint, query: Mapping[str, Any]) -> web.StreamResponse:
        """Send the file that an endpoint answers with; raises what it raises."""
        answer = await self._perform(one, path=None, query=query, body=None, headers=None)
        if not isinstance(answer, Streamed):
            raise TypeError(f"{one.path} answers with no file")
        return await send_file(self.request, answer, HEADERS)

    async def _perform(
        self,
        one: Endpoint,
        *,
        path: Mapping[str, str] | None,
        query: Mapping[str, Any] | None,
        body: Any,
        headers: Mapping[str, str] | None,
        stream: AsyncIterator[bytes] | None = None,
    ) -> Answer | Streamed | Following:
        path = self.path if path is None else path
        if not one.mutates or one.role == "viewer":
            self.sources.append(_address(one, path, query or {}))
        return await perform(
            one,
            gateway=self.gateway,
            caller=self.caller,
            path=path,
            query=query or {},
            body=body if body is not None else {},
            headers=headers or {},
            stream=stream,
            forget_tokens=self.request.app[DOORKEEPER].forget,
            door="console",
        )

    async def ask(self, one: Endpoint, **given: Any) -> dict[str, Any]:
        """The body of an endpoint's answer."""
        return (await self.call(one, **given)).body

    async def render(self, template: str, *, status: int = 200, **context: Any) -> web.Response:
        """A page from a template."""
        shown = await _chrome(self) | context
        text = await asyncio.to_thread(aiohttp_jinja2.render_string, template, self.request, shown)
        return web.Response(text=text, status=status, content_type="text/html")


def _address(one: Endpoint, path: Mapping[str, str], query: Mapping[str, Any]) -> str:
    where = one.path.format_map({name: quote(value, safe="") for name, value in path.items()})
    return f"{one.method} /api/v1{where}" + (f"?{urlencode(query)}" if query else "")


Handler = Callable[[View], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """One row of the table of pages."""

    method: str
    path: str
    role: Need
    handler: Handler
    takes_file: bool = False
    endless: bool = False
    live: bool = False


def page(method: str, path: str, *, role: Need = "viewer", **kind: bool) -> Callable[[Handler], Page]:
    """Make a function a page of the console.

    With ``takes_file`` its form carries a file behind its fields; one that is ``endless`` goes on answering; one that
    is ``live`` reads itself again when something changes, and shows everybody of a role the same.
    """

    def made(handler: Handler) -> Page:
        return Page(method=method, path=path, role=role, handler=handler, **kind)

    return made


def see(path: str, **query: str) -> web.Response:
    """After a change: look at a page, which a reload then only reads again."""
    where = f"{path}?{urlencode(query)}" if query else path
    return web.Response(status=HTTPStatus.SEE_OTHER, headers={"Location": where})


def problems_of(error: GatewayError) -> dict[str, str]:
    """What an error says of each field, under "" what it says of the whole."""
    told = {problem.path: problem.text for problem in error.problems}
    return {"": error.message, **told}


def serve_page(one: Page) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """The page as aiohttp wants it: guard, call, and put the headers on whatever comes out."""

    async def handle(request: web.Request) -> web.StreamResponse:
        response = await _answer(one, request)
        if not response.prepared:
            response.headers.update(HEADERS)
        return response

    return handle


async def _answer(one: Page, request: web.Request) -> web.StreamResponse:
    sessions = request.app[SESSIONS]
    try:
        signed_in = await sessions.find(request.cookies.get(cookie_name(request)))
        if signed_in is None:
            return _to_sign_in(request)
    except FAILED:
        return _plain_error(request, HTTPStatus.SERVICE_UNAVAILABLE, "The database does not answer; try again.")
    view = View(request=request, gateway=request.app[GATEWAY], signed_in=signed_in)
    if one.method == "GET" and not one.endless:
        response = await _in_turn(one, view)
    else:
        response = await _guarded(one, view)
    if not response.prepared:
        with suppress(*FAILED):
            renewed = await sessions.renew(signed_in)
            if renewed is not None:
                set_cookie(request, response, renewed)
    return response


async def _in_turn(one: Page, view: View) -> web.StreamResponse:
    turns = view.request.app[TURNS]
    if not one.live:
        return await turns.alone(lambda: _guarded(one, view))
    somebody = replace(view.signed_in, caller=Caller(name=_NAME, role=view.caller.role), csrf=_MARK)
    shared = replace(view, signed_in=somebody)
    made = await turns.together((view.caller.role, view.request.path_qs), lambda: _guarded(one, shared))
    if not isinstance(made, web.Response):
        raise TypeError(f"{one.path} is no page that can be shared")
    text = (made.text or "").replace(_MARK, view.signed_in.csrf).replace(_NAME, escape(view.caller.name))
    return web.Response(text=text, status=made.status, headers=made.headers)


async def _guarded(one: Page, view: View) -> web.StreamResponse:
    try:
        if not view.caller.may(one.role):
            raise Refused(f"Your role is {view.caller.role}; this needs {one.role}.")
        if "\x00" in view.request.path or "\x00" in view.request.query_string:
            raise Malformed("the address holds a NUL character")
        if one.method == "POST":
            await (_read_upload(view) if one.takes_file else _read_form(view))
        return await one.handler(view)
    except GatewayError as error:
        code = next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)
        return await _error(view, int(code), error)
    except web.HTTPException:
        raise
    except DOWN:
        return _plain_error(view.request, HTTPStatus.SERVICE_UNAVAILABLE, "The database does not answer; try again.")
    except Exception:
        _log.exception("page_failed", path=view.request.path)
        return _plain_error(view.request, HTTPStatus.INTERNAL_SERVER_ERROR, "The gateway met a fault of its own.")


async def _error(view: View, status: int, error: GatewayError) -> web.Response:
    return await view.render("error.html", status=status, error=error, title=HTTPStatus(status).phrase)


def _check_origin(request: web.Request) -> None:
    origin = request.headers.get("Origin", "")
    if origin != origin_of(request.app[GATEWAY].settings.server.public_url):
        raise Refused("The form did not come from this console. Open it at the address that public_url names.")


async def read_form(request: web.Request) -> Mapping[str, list[str]]:
    """The fields of a form that one of our own pages sent; anything else raises Refused or Malformed."""
    _check_origin(request)
    if request.content_type != "application/x-www-form-urlencoded":
        raise Malformed("a form is sent as application/x-www-form-urlencoded")
    try:
        sent = await request.post()
    except (ValueError, LookupError) as error:
        raise Malformed("the form cannot be read") from error
    fields: dict[str, list[str]] = {}
    for name, value in sent.items():
        if not isinstance(value, str) or "\x00" in value:
            raise Malformed(f"the field {name} cannot be read")
        fields.setdefault(name, []).append(tidied(value))
    return fields


async def _read_form(view: View) -> None:
    _take(view, await read_form(view.request))
    _check_mark(view, view.form.get("csrf", ""))


async def _read_upload(view: View) -> None:
    """The fields of a form with a file; the file itself is left to be read, and only if the form is one of ours."""
    _check_origin(view.request)
    fields, view.file = await read_upload(view.request, lambda mark: _check_mark(view, mark))
    _take(view, fields)


def _take(view: View, fields: Mapping[str, list[str]]) -> None:
    view.checked = fields
    view.form = {name: values[-1] for name, values in fields.items()}


def _check_mark(view: View, mark: str) -> None:
    if not same_text(mark, view.signed_in.csrf):
        raise Refused("The form is too old, or was not made by this console. Load the page again.")


def origin_of(url: str) -> str:
    """Scheme, host and port of an address, as a browser sends them in Origin."""
    parts = urlsplit(url)
    usual = {"http": 80, "https": 443}[parts.scheme]
    host = f"[{parts.hostname}]" if parts.hostname and ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}" + (f":{parts.port}" if parts.port and parts.port != usual else "")


# -- cookies -----------------------------------------------------------------------------------------------


def cookie_name(request: web.Request) -> str:
    """``__Host-`` binds the cookie to https and to this very host; plain http is taken on loopback only."""
    return "__Host-session" if _is_https(request) else "session"


def set_cookie(request: web.Request, response: web.StreamResponse, secret: str) -> None:
    """Give the browser its session."""
    response.set_cookie(
        cookie_name(request), secret, path="/", httponly=True, samesite="Lax", secure=_is_https(request)
    )


def drop_cookie(request: web.Request, response: web.StreamResponse) -> None:
    """Take the session away from the browser."""
    response.del_cookie(cookie_name(request), path="/", httponly=True, samesite="Lax", secure=_is_https(request))


def _is_https(request: web.Request) -> bool:
    return request.app[GATEWAY].settings.server.public_url.startswith("https://")


# -- what is around every page -----------------------------------------------------------------------------

_SAID: Mapping[str, str] = {
    "published": "Published. The next call obeys.",
    "nothing": "Nothing to publish: this is what is live already.",
    "held": "The route is held from the next call on.",
    "released": "The hold has ended.",
    "rolled_back": "Rolled back: the old revision is live again under a new number.",
    "created": "The route is live.",
    "added": "The version was added.",
    "version": "The version was changed.",
    "stopped": "All dialling is stopped. Calls under way go on.",
    "started": "Dialling goes on.",
    "suppressed": "The number will not be called again.",
    "allowed": "The number may be called again.",
    "revoked": "The token is revoked.",
    "kept": "The list is kept. Nobody is called before the campaign is started.",
    "campaign_started": "The campaign is started.",
    "pausing": "Nobody more is called. Calls under way end by themselves.",
    "resumed": "The campaign goes on.",
    "cancelled": "The campaign is cancelled for good.",
    "placed": "The call is planned, and placed as soon as its turn comes.",
    "test_started": "The test has started: from the next call on, calls are split.",
    "test_scheduled": "The test starts by itself when its time has come. Until then Version A answers.",
    "test_paused": "The test is paused: Version A answers, and these calls are not analysed.",
    "test_resumed": "The test goes on from the next call.",
    "test_stopped": "The test has stopped, and no winner was chosen: Version A answers every call.",
    "test_won": "The test has stopped, and the winner answers every call.",
    "test_applied": "The winner is Version A of the route now.",
    "test_deleted": "The experiment is deleted. Its calls keep what they were assigned.",
    "labelled": "Your label is kept.",
}


async def _chrome(view: View) -> dict[str, Any]:
    gateway = view.gateway
    try:
        stopped = await gateway.outbox.stopped()
    except FAILED:
        stopped = None
    return {
        "me": view.caller,
        "can": view.caller.may,
        "csrf": view.signed_in.csrf,
        "here": view.request.path,
        "now": gateway.wall(),
        "stopped": stopped,
        "said": _SAID.get(view.request.query.get("said", ""), ""),
        "typed": view.form,
        "problems": {},
        "sources": list(dict.fromkeys(view.sources)),
    }


def _to_sign_in(request: web.Request) -> web.Response:
    if request.headers.get("Accept", "").startswith("text/event-stream"):
        return web.Response(status=HTTPStatus.UNAUTHORIZED)
    wanted = request.path_qs if request.method == "GET" and request.path != "/" else ""
    return see("/sign-in", **({"next": wanted} if wanted else {}))


def _plain_error(request: web.Request, status: HTTPStatus, text: str) -> web.Response:
    context = {"title": status.phrase, "text": text, "me": None}
    response = aiohttp_jinja2.render_template("plain.html", request, context)
    response.set_status(status)
    return response
