"""Tells open pages what changes: the stream of the API's ``/events``, for whoever is signed in."""

from http import HTTPStatus

from aiohttp import web

from gateway.errors import Unavailable
from gateway.http.console.page import HEADERS, SESSIONS, View, cookie_name, page
from gateway.http.following import follow


@page("GET", "/live", endless=True)
async def listen(view: View) -> web.StreamResponse:
    """The stream of what changes, until the page goes away, the session ends, or the gateway drains."""

    async def still() -> bool:
        secret = view.request.cookies.get(cookie_name(view.request))
        return await view.request.app[SESSIONS].find(secret) is not None

    try:
        return await follow(view.request, headers=HEADERS, still=still)
    except Unavailable:
        return web.Response(status=HTTPStatus.SERVICE_UNAVAILABLE, headers={"Retry-After": "60"})


PAGES = (listen,)
