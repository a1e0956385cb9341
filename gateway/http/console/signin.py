"""Signing in and out: a token once, then a cookie; or a link that works once."""

from http import HTTPStatus

import aiohttp_jinja2
from aiohttp import web

from gateway.errors import Malformed, Refused, Unauthenticated
from gateway.http.console.page import (
    FAILED,
    HEADERS,
    SESSIONS,
    View,
    cookie_name,
    drop_cookie,
    page,
    read_form,
    see,
    set_cookie,
)
from gateway.http.console.sessions import LockedOut


async def show_sign_in(request: web.Request) -> web.Response:
    """The form for the token; whoever is signed in already goes on."""
    try:
        if await request.app[SESSIONS].find(request.cookies.get(cookie_name(request))) is not None:
            return _with_headers(see(_next(request.query.get("next", ""))))
    except FAILED:
        return _form(request, HTTPStatus.SERVICE_UNAVAILABLE, "The database does not answer; try again shortly.")
    return _form(request)


async def sign_in(request: web.Request) -> web.Response:
    """Take the token; the session that comes of it is always a new one."""
    wanted = ""
    try:
        fields = await read_form(request)
        wanted = fields.get("next", [""])[0]
        secret = await request.app[SESSIONS].sign_in(fields.get("token", [""])[0], _address(request))
    except LockedOut as error:
        return _form(request, HTTPStatus.TOO_MANY_REQUESTS, error.message, wanted)
    except Unauthenticated:
        text = "This token is not known, has expired, or was revoked."
        return _form(request, HTTPStatus.UNAUTHORIZED, text, wanted)
    except Refused as error:
        return _form(request, HTTPStatus.FORBIDDEN, error.message, wanted)
    except Malformed as error:
        return _form(request, HTTPStatus.BAD_REQUEST, error.message, wanted)
    except FAILED:
        return _form(request, HTTPStatus.SERVICE_UNAVAILABLE, "The database does not answer; try again shortly.")
    return _opened(request, secret, _next(wanted))


async def follow_link(request: web.Request) -> web.Response:
    """Sign in by a link that works once."""
    try:
        secret = await request.app[SESSIONS].accept(request.match_info["code"], _address(request))
    except FAILED:
        return _form(
            request, HTTPStatus.UNAUTHORIZED, "This link was used before, or is too old. Sign in with a token."
        )
    return _opened(request, secret, "/")


@page("POST", "/sign-out")
async def sign_out(view: View) -> web.StreamResponse:
    """Sign this browser out."""
    await view.request.app[SESSIONS].sign_out(view.signed_in)
    return _gone(view)


@page("POST", "/sign-out-everywhere")
async def sign_out_everywhere(view: View) -> web.StreamResponse:
    """Sign out every browser that is signed in with the same token."""
    await view.request.app[SESSIONS].sign_out_everywhere(view.signed_in)
    return _gone(view)


def _opened(request: web.Request, secret: str, where: str) -> web.Response:
    response = see(where)
    set_cookie(request, response, secret)
    return _with_headers(response)


def _gone(view: View) -> web.Response:
    response = see("/sign-in")
    drop_cookie(view.request, response)
    return response


def _form(
    request: web.Request, status: HTTPStatus = HTTPStatus.OK, text: str = "", wanted: str | None = None
) -> web.Response:
    where = request.query.get("next", "") if wanted is None else wanted
    context = {"problem": text, "next": _next(where), "me": None}
    response = aiohttp_jinja2.render_template("signin/form.html", request, context)
    response.set_status(status)
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        response.headers["Retry-After"] = "900"
    return _with_headers(response)


def _with_headers(response: web.Response) -> web.Response:
    response.headers.update(HEADERS)
    return response


def _next(where: str) -> str:
    """A path of this console; whatever could lead elsewhere becomes the first page."""
    safe = where.startswith("/") and not where.startswith(("//", "/\\")) and where.isprintable() and "\\" not in where
    return where if safe else "/"


def _address(request: web.Request) -> str:
    return request.remote or "unknown"


PAGES = (sign_out, sign_out_everywhere)
DOORS = (
    ("GET", "/sign-in", show_sign_in),
    ("POST", "/sign-in", sign_in),
    ("GET", "/sign-in/{code}", follow_link),
)
