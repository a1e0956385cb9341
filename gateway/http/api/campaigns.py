"""Campaigns: made from a list, previewed, started, paused, resumed, cancelled, and followed contact by contact."""

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Any

from pydantic import Field, JsonValue, ValidationError

from gateway.campaigns import Created, Standing
from gateway.contacts import Contact, CsvReader, read_json
from gateway.courtesy import aside
from gateway.csvfile import BadRow
from gateway.errors import Invalid, Problem
from gateway.http.api.endpoint import Answer, Ask, Body, endpoint, read_json_body
from gateway.http.api.files import read_pieces
from gateway.http.api.paging import Page, next_cursor
from gateway.http.auth import Caller
from gateway.log import mask
from gateway.phone import masked
from gateway.storage.campaignbook import contacts_page, count_states, list_campaigns
from gateway.storage.campaigns import Campaign, ContactRow
from gateway.storage.engine import Connection
from gateway.terms import Terms

STATES = ("waiting", "dialling", "done", "skipped")
"""What a contact can be."""
_ROWS = 50


class Wanted(Page):
    """Which campaigns to list."""

    name: str | None = None
    status: str | None = None


class Which(Page):
    """Which contacts of a campaign to list."""

    state: str | None = None
    result: str | None = None


class Named(Body):
    """What a CSV body is: the settings are JSON."""

    name: str | None = Field(None, min_length=1, max_length=200)
    route: str | None = None
    settings: str | None = Field(None, max_length=10_000)


class List(Body):
    """A campaign with its contacts."""

    name: str = Field(min_length=1, max_length=200)
    route: str
    contacts: list[dict[str, JsonValue]]
    settings: Terms = Terms()


class Why(Body):
    """Why a campaign is to pause or end."""

    reason: str = Field("", max_length=500)


@endpoint("POST", "/campaigns", role="editor", query=Named, body=List, takes_csv=True)
async def create_campaign(ask: Ask) -> Answer:
    """Keep a list of contacts, as JSON or as CSV of any length; nobody is called before it is started."""
    campaigns, author = ask.gateway.campaigns, ask.caller.name
    if ask.stream is not None:
        name, route, terms = _named(ask.query)
        made = await campaigns.create(name, route, terms, read_pieces(ask.stream, CsvReader()), author=author)
    else:
        body: List = ask.body
        rows = read_json(body.contacts)
        made = await campaigns.create(body.name, body.route, body.settings, _pieces(rows), author=author)
    async with ask.gateway.database.write() as connection:
        await ask.audit(connection, "create campaign", f"campaign {made.campaign.id}", route=made.campaign.route)
    return Answer(body={"campaign": _shown(made.campaign) | {"problems": _problems(made)}}, status=201)


@endpoint("GET", "/campaigns", role="viewer", query=Wanted)
async def list_all(ask: Ask) -> dict[str, Any]:
    """Campaigns, the newest first."""
    wanted: Wanted = ask.query
    async with ask.gateway.database.read() as connection:
        found = await list_campaigns(
            connection, before=wanted.cursor, limit=wanted.limit, name=wanted.name, status=wanted.status
        )
        counted = await count_states(connection, [one.id for one in found])
    return {
        "campaigns": [_shown(one) | {"counts": _counts(counted.get(one.id, {}))} for one in found],
        "next": next_cursor([one.created_at for one in found], wanted.limit),
    }


@endpoint("GET", "/campaigns/{campaign}", role="viewer")
async def show_campaign(ask: Ask) -> dict[str, Any]:
    """One campaign and how far it has come, by state, by result and by arm."""
    return {"campaign": await _standing(ask)}


@endpoint("GET", "/campaigns/{campaign}/contacts", role="viewer", query=Which)
async def list_contacts(ask: Ask) -> dict[str, Any]:
    """The contacts of a campaign in the order of its list, with what became of each and why one is skipped."""
    one = await ask.gateway.campaigns.find(ask.path["campaign"])
    which: Which = ask.query
    async with ask.gateway.database.read() as connection:
        people = await contacts_page(
            connection,
            one.id,
            after=which.cursor or 0,
            limit=which.limit,
            state=which.state,
            result=which.result,
        )
    return {
        "contacts": [_contact(person, ask.caller) for person in people],
        "next": next_cursor([person.line for person in people], which.limit),
    }


@endpoint("POST", "/campaigns/{campaign}/preview", role="editor")
async def preview(ask: Ask) -> dict[str, Any]:
    """Who would be called, when and with which arm, and who not and why; nobody is called."""
    one = await ask.gateway.campaigns.find(ask.path["campaign"])
    return {"preview": await ask.gateway.campaigns.preview(one)}


@endpoint("POST", "/campaigns/{campaign}/start", role="editor")
async def start(ask: Ask) -> dict[str, Any]:
    """Call its contacts, from `start_at` on if that lies ahead."""
    return await _moved(ask, "start", ask.gateway.campaigns.start)


@endpoint("POST", "/campaigns/{campaign}/pause", role="editor", body=Why)
async def pause(ask: Ask) -> dict[str, Any]:
    """Call nobody more once this has answered; calls under way go on."""
    return await _moved(ask, "pause", partial(ask.gateway.campaigns.pause, reason=ask.body.reason))


@endpoint("POST", "/campaigns/{campaign}/resume", role="editor")
async def resume(ask: Ask) -> dict[str, Any]:
    """Go on calling where a pause left off."""
    return await _moved(ask, "resume", ask.gateway.campaigns.resume)


@endpoint("POST", "/campaigns/{campaign}/cancel", role="editor", body=Why)
async def cancel(ask: Ask) -> dict[str, Any]:
    """End it for good: calls under way go on, nobody else is called."""
    return await _moved(ask, "cancel", partial(ask.gateway.campaigns.cancel, reason=ask.body.reason))


async def _moved(
    ask: Ask, verb: str, move: Callable[[Connection, Campaign], Coroutine[Any, Any, None]]
) -> dict[str, Any]:
    """The campaign after it was moved to another state, with the move in the audit log."""
    one = await ask.gateway.campaigns.find(ask.path["campaign"])
    why = {"reason": ask.body.reason} if isinstance(ask.body, Why) else {}
    async with ask.gateway.database.write() as connection:
        await move(connection, one)
        await ask.audit(connection, f"{verb} campaign", f"campaign {one.id}", **why)
    return {"campaign": await _standing(ask)}


# -- reading what is sent ------------------------------------------------------------------------------------


def _named(query: Named) -> tuple[str, str, Terms]:
    missing = [name for name in ("name", "route") if getattr(query, name) is None]
    if missing:
        texts = [f"a CSV body needs ?name=…&route=…: {name} is missing" for name in missing]
        raise Invalid(texts[0], [Problem(place="query", path=n, text=t) for n, t in zip(missing, texts, strict=True)])
    try:
        terms = Terms.model_validate(read_json_body((query.settings or "").encode(), "settings"))
    except ValidationError as error:
        problems = [
            Problem(place="query", path=".".join(("settings", *map(str, one["loc"]))), text=one["msg"])
            for one in error.errors(include_url=False, include_input=False, include_context=False)
        ]
        raise Invalid(f"the settings do not fit: {problems[0]}", problems) from error
    return query.name or "", query.route or "", terms


async def _pieces(rows: Iterator[Contact | BadRow]) -> AsyncIterator[Sequence[Contact | BadRow]]:
    def some() -> list[Contact | BadRow]:
        return list(islice(rows, _ROWS))

    while piece := await aside(some):
        yield piece


# -- showing -------------------------------------------------------------------------------------------------


async def _standing(ask: Ask) -> dict[str, Any]:
    campaigns = ask.gateway.campaigns
    one = await campaigns.find(ask.path["campaign"])
    standing: Standing = await campaigns.standing(one)
    return _shown(one) | {
        "obstacle": standing.obstacle,
        "counts": _counts(standing.states),
        "due_at": standing.due_at,
        "retries": [{"result": why, "contacts": count, "at": at} for why, count, at in standing.retries],
        "results": dict(standing.results),
        "skips": dict(standing.skips),
        "arms": _plain(standing.arms),
        "arm_results": _plain(standing.arm_results),
    }


def _counts(states: Mapping[str, int]) -> dict[str, int]:
    return {state: states.get(state, 0) for state in STATES}


def _plain(arms: Mapping[str, Mapping[str, int]]) -> dict[str, dict[str, int]]:
    return {arm: dict(states) for arm, states in sorted(arms.items())}


def _shown(one: Campaign) -> dict[str, Any]:
    told = one._asdict()
    del told["next_at"]
    return told


def _problems(made: Created) -> list[dict[str, Any]]:
    return [{"line": row.line, "text": row.text} for row in made.problems]


def _contact(person: ContactRow, caller: Caller) -> dict[str, Any]:
    given, whole = person.assignment, caller.may("editor")
    # What was written in the list may hold a number anywhere.
    told: Callable[[str], str] = str if whole else mask
    return {
        "line": person.line,
        "to": person.to_number if whole else masked(person.to_number),
        "timezone": person.timezone,
        "consent": person.consent and told(person.consent),
        "variables": {told(name): told(value) for name, value in person.variables.items()},
        "state": person.state,
        "result": person.result,
        "text": person.text and told(person.text),
        "not_before": person.not_before or None,
        "attempts": person.attempts,
        "call": person.call,
        "assignment": None
        if given is None
        else {"arm": given.arm, "version": given.version, "reason": given.reason, "epoch": given.epoch},
    }


ENDPOINTS = (create_campaign, list_all, show_campaign, list_contacts, preview, start, pause, resume, cancel)
