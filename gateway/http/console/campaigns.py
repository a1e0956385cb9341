"""Campaigns: the list, a new one from a file, and one with how far it has come, whom it skips, and its buttons."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from typing import Any

from aiohttp import web

from gateway.contacts import EXPORTED, exported
from gateway.errors import GatewayError, Malformed
from gateway.http.api import campaigns as api
from gateway.http.api.overview import show_overview
from gateway.http.console.campaignform import placed, settings_of
from gateway.http.console.page import HEADERS, View, page, see
from gateway.terms import DAYS

_LISTED = 25
_CONTACTS = 25
_SKIPPED = 10
_EXPORTED = 1000
_ROUTES = 100
STATUSES = ("draft", "ready", "scheduled", "running", "pausing", "paused", "completed", "cancelled")
# What a button leads to in each status. Whoever is too late is told so by the endpoint.
VERBS: Mapping[str, tuple[str, ...]] = {
    "draft": ("preview", "start", "cancel"),
    "ready": ("preview", "start", "cancel"),
    "scheduled": ("preview", "pause", "cancel"),
    "running": ("pause", "cancel"),
    "pausing": ("resume", "cancel"),
    "paused": ("resume", "cancel"),
}
# What a contact's result means, in the order in which results are shown.
RESULTS: Mapping[str, str] = {
    "answered": "A person took the call.",
    "short": "The conversation was a short one.",
    "machine": "A machine or a fax took the call.",
    "busy": "The line was busy.",
    "no_answer": "Nobody took the call.",
    "failed": "The call could not be connected.",
    "canceled": "The call was cancelled before it was taken.",
    "refused": "Twilio would not dial the number.",
    "unknown": "Nobody can tell whether the phone rang, so it is not dialled again.",
    "row": "The row cannot be read, or repeats a number.",
    "number": "The number is of a country or a kind that may not be called.",
    "timezone": "Nobody can tell the local time, or it is never within the hours.",
    "variables": "A version of the route needs a variable that is missing, or cannot be given one.",
    "consent": "The campaign is marketing, and the person did not agree.",
    "suppressed": "The number is on the suppression list.",
    "route": "The route cannot be dialled on.",
}


@page("GET", "/campaigns", live=True)
async def show_campaigns(view: View) -> web.StreamResponse:
    """Campaigns with how far each has come, the newest first."""
    wanted = {name: view.query[name] for name in ("status", "cursor") if name in view.query}
    told = await view.ask(api.list_all, query=wanted | {"limit": _LISTED})
    return await view.render("campaigns/list.html", statuses=STATUSES, wanted=wanted, **told)


# -- a new one ---------------------------------------------------------------------------------------------


@page("GET", "/new-campaign", role="editor")
async def show_new(view: View) -> web.StreamResponse:
    """The form for a new campaign."""
    return await _form(view)


async def _form(view: View, status: int = 200, **more: Any) -> web.StreamResponse:
    told = await view.ask(show_overview, query={"order": "name", "limit": 1000})
    routes = [one["name"] for one in told["routes"] if one["direction"] == "outbound"]
    named = view.form.get("route", view.query.get("route", ""))
    return await view.render(
        "campaigns/new.html",
        status=status,
        routes=routes[:_ROUTES],
        route=named or (routes[0] if len(routes) == 1 else ""),
        days=DAYS,
        chosen=view.checked.get("days", DAYS if not view.form else ()),
        **more,
    )


@page("POST", "/new-campaign", role="editor", takes_file=True)
async def make(view: View) -> web.StreamResponse:
    """Keep a list as it comes in, with the settings that stand in the form before it."""
    try:
        if view.file is None:
            raise Malformed("choose the file with the list")
        query = {
            "name": view.form.get("name", ""),
            "route": view.form.get("route", ""),
            "settings": json.dumps(settings_of(view.form, view.checked.get("days", ()))),
        }
        made = await view.ask(api.create_campaign, path={}, query=query, stream=view.file.chunks())
    except GatewayError as error:
        if view.file is not None:
            with suppress(Malformed):
                await view.file.skip()
        problems, rows = placed(error)
        return await _form(view, 422, problems=problems, rows=rows)
    return see(f"/campaigns/{made['campaign']['id']}", said="kept")


# -- one of them -------------------------------------------------------------------------------------------


@page("GET", "/campaigns/{campaign}", live=True)
async def show_one(view: View) -> web.StreamResponse:
    """One campaign: what it does now, how far it has come, and its contacts."""
    return await _show(view)


async def _show(view: View, status: int = 200, problem: str = "") -> web.StreamResponse:
    one = (await view.ask(api.show_campaign))["campaign"]
    which = {name: view.query[name] for name in ("state", "result") if name in view.query}
    paged = {"cursor": view.query["cursor"]} if "cursor" in view.query else {}
    told = await view.ask(api.list_contacts, query={**which, **paged, "limit": _CONTACTS})
    skipped = await view.ask(api.list_contacts, query={"state": "skipped", "limit": _SKIPPED})
    return await view.render(
        "campaigns/campaign.html",
        status=status,
        campaign=one,
        verbs=VERBS.get(one["status"], ()),
        known=RESULTS,
        results=_in_order(one["results"], one["skips"]),
        skipped=skipped["contacts"],
        states=api.STATES,
        which=which,
        contacts=told["contacts"],
        next=told["next"],
        problems={"": problem},
    )


def _in_order(results: Mapping[str, int], skips: Mapping[str, int]) -> list[str]:
    """The results that calls ended with, those that are known first."""
    called = [name for name, count in results.items() if count > skips.get(name, 0)]
    places = list(RESULTS)
    return sorted(called, key=lambda name: (places.index(name) if name in RESULTS else len(places), name))


@page("GET", "/campaigns/{campaign}/preview")
async def leave_preview(view: View) -> web.StreamResponse:
    """A preview is made anew each time it is asked for; its address alone leads to the campaign."""
    return see(f"/campaigns/{view.path['campaign']}")


@page("POST", "/campaigns/{campaign}/preview", role="editor")
async def preview(view: View) -> web.StreamResponse:
    """What starting would do: who, when, with which arm, and who not and why."""
    told = (await view.ask(api.preview))["preview"]
    one = (await view.ask(api.show_campaign))["campaign"]
    return await view.render(
        "campaigns/preview.html", campaign=one, preview=told, known=RESULTS, verbs=VERBS.get(one["status"], ())
    )


@page("POST", "/campaigns/{campaign}/start", role="editor")
async def start(view: View) -> web.StreamResponse:
    """Let it call its contacts."""
    return await _turn(view, api.start, "campaign_started")


@page("POST", "/campaigns/{campaign}/resume", role="editor")
async def resume(view: View) -> web.StreamResponse:
    """Let it go on."""
    return await _turn(view, api.resume, "resumed")


@page("POST", "/campaigns/{campaign}/pause", role="editor")
async def pause(view: View) -> web.StreamResponse:
    """Call nobody more of it for now."""
    return await _turn(view, api.pause, "pausing", reason=view.form.get("reason", ""))


@page("POST", "/campaigns/{campaign}/cancel", role="editor")
async def cancel(view: View) -> web.StreamResponse:
    """End it for good."""
    return await _turn(view, api.cancel, "cancelled", reason=view.form.get("reason", ""))


async def _turn(view: View, one: Any, said: str, **body: str) -> web.StreamResponse:
    try:
        await view.ask(one, body=body)
    except GatewayError as error:
        return await _show(view, 409, error.message)
    return see(f"/campaigns/{view.path['campaign']}", said=said)


@page("GET", "/campaigns/{campaign}/pause", role="editor")
async def ask_pause(view: View) -> web.StreamResponse:
    """The form to pause it, for browsers without a script."""
    return await _confirm(view, "pause")


@page("GET", "/campaigns/{campaign}/cancel", role="editor")
async def ask_cancel(view: View) -> web.StreamResponse:
    """The form to cancel it, for browsers without a script."""
    return await _confirm(view, "cancel")


async def _confirm(view: View, verb: str) -> web.StreamResponse:
    one = (await view.ask(api.show_campaign))["campaign"]
    if verb not in VERBS.get(one["status"], ()):
        return see(f"/campaigns/{one['id']}")
    return await view.render("campaigns/confirm.html", campaign=one, verb=verb)


# -- its contacts as a file --------------------------------------------------------------------------------


@page("GET", "/campaigns/{campaign}/contacts.csv")
async def export(view: View) -> web.StreamResponse:
    """Every contact, or those of a state or result, as CSV; the numbers as the caller may see them."""
    which = {name: view.query[name] for name in ("state", "result") if name in view.query}
    first = await view.ask(api.list_contacts, query={**which, "limit": _EXPORTED})
    name = view.path["campaign"]  # of a campaign that there is, so its characters are ours
    response = web.StreamResponse(
        headers={
            **HEADERS,
            "Content-Type": "text/csv; charset=utf-8",
            "Content-Disposition": f'attachment; filename="{name}.csv"',
        }
    )
    await response.prepare(view.request)
    await response.write((",".join(EXPORTED) + "\r\n").encode())
    with suppress(ConnectionError):
        async for lines in _lines(view, which, first):
            await response.write(lines)
        await response.write_eof()
    return response


async def _lines(view: View, which: Mapping[str, str], told: dict[str, Any]) -> AsyncIterator[bytes]:
    while True:
        yield "".join(map(exported, told["contacts"])).encode()
        if told["next"] is None:
            return
        told = await view.ask(api.list_contacts, query={**which, "cursor": told["next"], "limit": _EXPORTED})


PAGES = (
    show_campaigns,
    show_new,
    make,
    show_one,
    leave_preview,
    preview,
    start,
    resume,
    pause,
    cancel,
    ask_pause,
    ask_cancel,
    export,
)
