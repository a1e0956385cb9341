"""Calls: the list with its search, and one call with all that is known of it."""

from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from aiohttp import web

from gateway.errors import Invalid, NotFound
from gateway.http.api.calls import explain_call, list_all, show_call, show_twiml
from gateway.http.console.page import View, page, problems_of, see
from gateway.storage.callbook import REACH

_FIELDS = ("number", "route", "arm", "status", "direction", "version", "experiment", "cursor")
STATUSES = (
    "planned",
    "queued",
    "initiated",
    "ringing",
    "in-progress",
    "completed",
    "busy",
    "no-answer",
    "failed",
    "canceled",
    "unknown",
)


@page("GET", "/calls")
async def show_calls(view: View) -> web.StreamResponse:
    """Calls, newest first, as the form says."""
    wanted: dict[str, Any] = {name: view.query[name] for name in _FIELDS if name in view.query}
    context: dict[str, Any] = {
        "wanted": view.query,
        "statuses": STATUSES,
        "filtered": bool(wanted.keys() - {"cursor"}),
    }
    if "call" in view.query:
        return see(f"/calls/{_segment(view.query['call'])}")
    try:
        for name in ("since", "until"):
            if name in view.query:
                wanted[name], context["filtered"] = _moment(name, view.query[name]), True
        told = await view.ask(list_all, query=wanted)
    except Invalid as error:
        return await view.render(
            "calls/list.html", status=422, calls=[], next=None, problems=problems_of(error), **context
        )
    return await view.render("calls/list.html", reach=REACH, **told, **context)


@page("GET", "/calls/{call}", live=True)
async def show_one(view: View) -> web.StreamResponse:
    """One call: assignment, timeline, outcome, transcript, and why it got its arm."""
    try:
        told = await view.ask(show_call)
    except NotFound:
        return await view.render("calls/missing.html", status=404, name=view.path["call"])
    why = (await view.ask(explain_call))["explanation"]
    twiml = (await view.ask(show_twiml))["twiml"]
    return await view.render("calls/call.html", why=why, twiml=twiml, **told)


def _moment(name: str, text: str) -> int:
    """Unix milliseconds of what a ``datetime-local`` field sends, read as UTC."""
    try:
        at = datetime.fromisoformat(text).replace(tzinfo=UTC)
    except ValueError as error:
        raise Invalid(f"{name}: write a time such as 2026-05-01T09:30") from error
    return max(0, int(at.timestamp() * 1000))


def _segment(text: str) -> str:
    return quote(text, safe="")


PAGES = (show_calls, show_one)
