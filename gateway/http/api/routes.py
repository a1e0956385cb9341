"""Routes: read them, check, plan and publish them, roll them back, hold them."""

from dataclasses import asdict
from typing import Any

from pydantic import ConfigDict, Field

from gateway.drafts import Author, Change, Draft, key_of, read_files, read_folders
from gateway.errors import BaseRequired, Invalid, Malformed, Moved, NotFound, Problem
from gateway.http.api.endpoint import Answer, Ask, Body, endpoint
from gateway.http.api.overview import hold_of, line
from gateway.model import Hold, LiveRoute
from gateway.routefile import read_route
from gateway.storage.revisions import Revision, end_hold, put_hold


class Files(Body):
    """Files by name (``routes/x.toml``, ``agents/y.toml``); without them the server reads its own folders."""

    files: dict[str, str] | None = None
    message: str = ""
    bases: dict[str, int] | None = None
    overwrite: list[str] = Field(default_factory=list)
    allow_removal: bool = False


class Export(Body):
    """The operator's own files, whose comments are kept."""

    files: dict[str, str] = Field(default_factory=dict)


class RouteBody(Body):
    """A route in the shape of its file."""

    model_config = ConfigDict(extra="allow", frozen=True)


class Rollback(Body):
    """The revision whose body is to be live again."""

    to: int = Field(ge=1, le=2**31 - 1)
    message: str = ""


class HoldBody(Body):
    """To which version or ``fallback`` the route is pinned, until when (Unix milliseconds), and why."""

    to: str = Field(min_length=1, max_length=200)
    reason: str = Field(min_length=1, max_length=500)
    until: int | None = Field(None, ge=0, le=2**53)


def author_of(ask: Ask, *, door: str, message: str) -> Author:
    """The caller as the author of a publication."""
    may_test = ask.caller.may(ask.gateway.settings.auth.experiments_role)
    return Author(name=ask.caller.name, door=door, message=message, may_test=may_test)


@endpoint("GET", "/routes", role="viewer")
async def list_routes(ask: Ask) -> dict[str, Any]:
    """Every live route, by name."""
    routes, figures = ask.gateway.state.snapshot.routes, await ask.gateway.traffic.figures()
    return {"routes": [line(ask.gateway, routes[name], figures) for name in sorted(routes)], "next": None}


@endpoint("GET", "/routes/{route}", role="viewer")
async def show_route(ask: Ask) -> Answer:
    """One live route with its body, as its file has it."""
    name = ask.path["route"]
    revision = await ask.gateway.publishing.live("route", name)
    live = ask.gateway.state.snapshot.routes.get(name)
    shown = line(ask.gateway, live, await ask.gateway.traffic.figures()) if live is not None else {"name": name}
    return Answer(
        body={"route": shown | {"revision": revision.number, "body": revision.body}},
        headers={"ETag": f'"{revision.number}"'},
    )


@endpoint("GET", "/routes/{route}/revisions", role="viewer")
async def list_revisions(ask: Ask) -> dict[str, Any]:
    """Every revision of a route, newest first."""
    found = await ask.gateway.publishing.history("route", ask.path["route"])
    return {"revisions": [_revision(one) for one in found], "next": None}


@endpoint("PUT", "/routes/{route}", role="editor", body=RouteBody)
async def put_route(ask: Ask) -> Answer:
    """Publish one route; ``If-Match`` names the revision its author saw, ``If-None-Match: *`` creates it."""
    name = ask.path["route"]
    base = _base(ask)
    body, problems = read_route(f"routes/{name}.toml", name, ask.body.model_dump())
    if problems or body is None:
        raise Invalid(f"{len(problems)} found; nothing was changed", problems)
    message = ask.headers.get("X-Message", "")[:500]
    try:
        _, changes = await ask.gateway.publishing.publish(
            Draft(bodies={("route", name): body}),
            author_of(ask, door=ask.door, message=message),
            bases={("route", name): base},
        )
    except Moved as error:
        return Answer(body=error.as_json(), status=412)
    revision = await ask.gateway.publishing.live("route", name)
    shown = {"name": name, "revision": revision.number, "body": revision.body}
    created = any(change.action == "create" for change in changes)
    return Answer(body={"route": shown}, status=201 if created else 200, headers={"ETag": f'"{revision.number}"'})


@endpoint("POST", "/routes/check", role="viewer", body=Files)
async def check_routes(ask: Ask) -> dict[str, Any]:
    """Check files as publishing would; every problem at once."""
    draft = _draft(ask)
    await ask.gateway.publishing.check(draft)
    return {"checked": len(draft.bodies)}


@endpoint("POST", "/routes/plan", role="viewer", body=Files)
async def plan_routes(ask: Ask) -> dict[str, Any]:
    """What publishing these files would change, and on which bases."""
    changes = await ask.gateway.publishing.plan(_draft(ask), allow_removal=ask.body.allow_removal)
    return {
        "changes": [_change(one) for one in changes if one.action != "keep"],
        "bases": {one.place: one.base for one in changes},
    }


@endpoint("POST", "/routes/publish", role="editor", body=Files)
async def publish_routes(ask: Ask) -> dict[str, Any]:
    """Publish files, all of them or none."""
    wanted: Files = ask.body
    bases = {key_of(place): base for place, base in wanted.bases.items()} if wanted.bases is not None else None
    number, changes = await ask.gateway.publishing.publish(
        _draft(ask),
        author_of(ask, door="files", message=wanted.message),
        bases=bases,
        overwrite=wanted.overwrite,
        allow_removal=wanted.allow_removal,
    )
    return {"publication": number, "changes": [_change(one) for one in changes]}


@endpoint("POST", "/routes/export", role="editor", body=Export)
async def export_routes(ask: Ask) -> dict[str, Any]:
    """The live state as files; its revisions then count as held by the folder."""
    author = author_of(ask, door="export", message="")
    return {"files": await ask.gateway.publishing.export(author, ask.body.files)}


@endpoint("POST", "/routes/{route}/rollback", role="editor", body=Rollback)
async def roll_back(ask: Ask) -> dict[str, Any]:
    """Publish an old revision's body as a new revision."""
    message = ask.body.message or f"roll back to revision {ask.body.to}"
    author = author_of(ask, door="rollback", message=message)
    number, changes = await ask.gateway.publishing.rollback("route", ask.path["route"], ask.body.to, author)
    return {"publication": number, "changes": [_change(one) for one in changes]}


@endpoint("GET", "/routes/{route}/hold", role="viewer")
async def show_hold(ask: Ask) -> dict[str, Any]:
    """The hold of a route, or null."""
    _live(ask)
    return {"hold": _hold(ask, ask.path["route"])}


@endpoint("POST", "/routes/{route}/hold", role="editor", body=HoldBody)
async def set_hold(ask: Ask) -> Answer:
    """Pin a route to one version, or send its calls to the fallback, at once."""
    live, wanted, gateway = _live(ask), ask.body, ask.gateway
    arms = {arm.name for arm in live.route.arms}
    version = gateway.state.snapshot.versions.get(wanted.to)
    if wanted.to not in arms and wanted.to != "fallback" and (version is None or version.status == "draft"):
        text = f'{wanted.to} is no arm of route "{live.route.name}", no published version, and not fallback'
        raise Invalid(text, [Problem(place="body", path="to", text=text)])
    if wanted.until is not None and wanted.until <= gateway.wall():
        raise Invalid("until lies in the past", [Problem(place="body", path="until", text="lies in the past")])
    hold = Hold(
        route=live.route.name,
        to=wanted.to,
        until=wanted.until,
        author=ask.caller.name,
        reason=wanted.reason,
        set_at=gateway.wall(),
    )
    async with gateway.database.write() as connection:
        await put_hold(connection, gateway.database, hold)
        detail = {"to": hold.to, "until": hold.until, "reason": hold.reason}
        await ask.audit(connection, "hold", f"route {hold.route}", **detail)
    await gateway.state.refresh()
    return Answer(body={"hold": _hold(ask, hold.route)}, status=201)


@endpoint("DELETE", "/routes/{route}/hold", role="editor")
async def delete_hold(ask: Ask) -> dict[str, Any]:
    """End the hold of a route."""
    route, gateway = ask.path["route"], ask.gateway
    async with gateway.database.write() as connection:
        if not await end_hold(connection, gateway.database, route):
            raise NotFound(f'route "{route}" is not held')
        await ask.audit(connection, "end hold", f"route {route}")
    await gateway.state.refresh()
    return {"hold": None}


def _draft(ask: Ask) -> Draft:
    files = ask.body.files
    if files is None:
        paths = ask.gateway.settings.paths
        files = read_folders(paths.routes, paths.agents)
    return read_files(files)


def _base(ask: Ask) -> int:
    if ask.headers.get("If-None-Match") == "*":
        return 0
    match = ask.headers.get("If-Match")
    if match is None:
        raise BaseRequired('send If-Match: "REVISION" with the revision you saw, or If-None-Match: * to create')
    number = match.strip().removeprefix("W/").strip('"')
    if not number.isascii() or not number.isdigit() or len(number) > 9:
        raise Malformed(f"If-Match: {match} is no revision number")
    return int(number)


def _live(ask: Ask) -> LiveRoute:
    live = ask.gateway.state.snapshot.routes.get(ask.path["route"])
    if live is None:
        raise NotFound(f'there is no route "{ask.path["route"]}"')
    return live


def _hold(ask: Ask, route: str) -> dict[str, Any] | None:
    hold = hold_of(ask.gateway, route)
    return asdict(hold) if hold else None


def _revision(one: Revision) -> dict[str, Any]:
    return {
        "revision": one.number,
        "publication": one.publication,
        "author": one.author,
        "door": one.door,
        "message": one.message,
        "at": one.at,
        "body": one.body,
    }


def _change(one: Change) -> dict[str, Any]:
    return {
        "place": one.place,
        "action": one.action,
        "base": one.base,
        "lines": list(one.lines),
        "test": one.test or None,
        "experiment": one.experiment or None,
        "unexported": one.unexported or None,
    }


ENDPOINTS = (
    list_routes,
    check_routes,
    plan_routes,
    publish_routes,
    export_routes,
    show_route,
    list_revisions,
    put_route,
    roll_back,
    show_hold,
    set_hold,
    delete_hold,
)
