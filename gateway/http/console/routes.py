"""Routes: the list, one route with its A/B test, its hold and its history, and the forms that change them."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from gateway.drafts import place_of
from gateway.errors import Conflict, GatewayError, Invalid, Moved, NotFound, Refused
from gateway.http.api import routes as api
from gateway.http.api.calls import list_all as list_calls
from gateway.http.api.calls import place_call
from gateway.http.api.overview import show_overview
from gateway.http.console.agents import keep
from gateway.http.console.page import View, page, problems_of, see
from gateway.http.console.plan import PlanForm, how_long, plan_of, typed_plan
from gateway.http.console.split import Row, body_of, rows_of, typed_rows, with_room
from gateway.metrics import METRICS
from gateway.routefile import differences, read_route, write_toml

_MINUTE = 60_000
# How long a hold may be asked for; "" holds until somebody ends it.
HOLDS: Mapping[str, tuple[str, int | None]] = {
    "15": ("15 minutes", 15 * _MINUTE),
    "60": ("1 hour", 60 * _MINUTE),
    "240": ("4 hours", 240 * _MINUTE),
    "1440": ("24 hours", 1440 * _MINUTE),
    "": ("until I end it", None),
}
_SHOWN_REVISIONS = 30


@dataclass(kw_only=True, slots=True)
class _Split:
    """The A/B form as it stands on the page: what is in its fields, and what came of looking at them."""

    base: int
    rows: list[Row]
    enabled: bool
    name: str
    unit: str
    winner: str
    plan: PlanForm
    message: str = ""
    change: dict[str, Any] | None = None
    reviewed: str = ""
    theirs: dict[str, Any] | None = None
    planned: dict[str, Any] | None = None  # the route as it would be, when it can be


@page("GET", "/routes", live=True)
async def show_routes(view: View) -> web.StreamResponse:
    """Every route, by name or as searched."""
    wanted = {name: view.query[name] for name in ("search", "cursor") if name in view.query}
    told = await view.ask(show_overview, query={"order": "name", "limit": 50, **wanted})
    return await view.render("routes/list.html", search=wanted.get("search", ""), **told)


@page("GET", "/routes/{route}", live=True)
async def show_route(view: View) -> web.StreamResponse:
    """One route."""
    return await _show(view)


async def _show(
    view: View,
    *,
    split: _Split | None = None,
    problems: Mapping[str, str] | None = None,
    status: int = 200,
) -> web.StreamResponse:
    route = (await view.ask(api.show_route))["route"]
    revisions = (await view.ask(api.list_revisions))["revisions"]
    recent = (await view.ask(list_calls, query={"route": route["name"], "limit": 8}))["calls"]
    live = _live_split(route)
    planned = split.planned if split is not None and split.planned else route["body"]
    return await view.render(
        "routes/route.html",
        status=status,
        route=route,
        live=live,
        split=split or live,
        rows=with_room((split or live).rows),
        versions=_published(view, (split or live).rows),
        revisions=revisions[:_SHOWN_REVISIONS],
        more_revisions=max(0, len(revisions) - _SHOWN_REVISIONS),
        lines={new["revision"]: _changed(old, new) for old, new in _pairs(revisions[: _SHOWN_REVISIONS + 1])},
        recent=recent,
        metrics=list(METRICS),
        needs=await how_long(view, route["name"], *_test_of(planned)) if (split or live).enabled else None,
        holds=HOLDS,
        problems=problems or {},
    )


def _test_of(body: Mapping[str, Any]) -> tuple[Mapping[str, Any], Mapping[str, float]]:
    """The plan and the split of a route's body."""
    test = body.get("ab_test") or {}
    return test.get("plan") or {}, test.get("split") or dict.fromkeys(body["versions"], 1)


def _live_split(route: Mapping[str, Any]) -> _Split:
    test = route["body"].get("ab_test") or {}
    return _Split(
        base=route["revision"],
        rows=rows_of(route["body"]),
        enabled=bool(test.get("enabled")),
        name=test.get("name", ""),
        unit=test.get("unit", "call"),
        winner=test.get("winner", ""),
        plan=plan_of(route["body"]),
    )


def _published(view: View, rows: list[Row]) -> list[str]:
    """What an arm may name: every published version, and whatever stands in the form."""
    known = view.gateway.state.snapshot.versions.values()
    names = {one.name: (one.agent, one.number) for one in known if one.status == "published"}
    for row in rows:
        names.setdefault(row.version, (row.version, 0))
    names.pop("", None)
    return sorted(names, key=lambda name: names[name])


def _pairs(revisions: list[dict[str, Any]]) -> list[tuple[dict[str, Any] | None, dict[str, Any]]]:
    older: list[dict[str, Any] | None] = [*revisions[1:], None]
    found = list(zip(older, revisions, strict=True))
    # The one behind the last that is shown is there to compare with only.
    return found[:_SHOWN_REVISIONS]


def _changed(old: Mapping[str, Any] | None, new: Mapping[str, Any]) -> list[str]:
    return differences(old["body"] if old else None, new["body"])


# -- one call ----------------------------------------------------------------------------------------------


@page("POST", "/routes/{route}/call", role="editor")
async def place_one(view: View) -> web.StreamResponse:
    """Place one call on the route."""
    body: dict[str, Any] = {"route": view.path["route"], "to": view.form.get("to", "")}
    lines = [line.partition("=") for line in view.form.get("variables", "").splitlines() if line.strip()]
    body["variables"] = {name.strip(): value.strip() for name, _, value in lines}
    if view.form.get("timezone"):
        body["timezone"] = view.form["timezone"]
    try:
        call = (await view.ask(place_call, path={}, body=body))["call"]
    except Invalid as error:
        # Beside its field where it has one, and above the form where it has none.
        told = {problem.path.partition(".")[0]: problem.text for problem in error.problems}
        fields = {name: text for name, text in told.items() if name in ("to", "timezone", "variables")}
        placed = {f"call.{name}": text for name, text in (fields or {"": error.message}).items()}
        return await _show(view, problems=placed, status=422)
    return see(f"/calls/{call['id']}", said="placed")


# -- the A/B test ------------------------------------------------------------------------------------------


@page("POST", "/routes/{route}/split", role="editor")
async def change_split(view: View) -> web.StreamResponse:
    """Show what the form would change; with ``step=publish`` publish it, on the revision that its author saw."""
    live = (await view.ask(api.show_route))["route"]
    split = _typed_split(view.form, live["revision"])
    wanted = body_of(live["body"], view.form)
    if split.base != live["revision"]:
        return await _conflict(view, split, live, wanted)
    return await _propose(view, split, live, wanted)


def _typed_split(form: Mapping[str, str], live: int) -> _Split:
    base = form.get("base", "")
    return _Split(
        base=int(base) if base.isdecimal() and len(base) < 10 else live,
        rows=typed_rows(form),
        enabled=form.get("enabled") == "on",
        name=form.get("name", ""),
        unit=form.get("unit", "call"),
        winner=form.get("winner", ""),
        plan=typed_plan(form),
        message=form.get("message", ""),
    )


async def _propose(view: View, split: _Split, live: Mapping[str, Any], wanted: dict[str, Any]) -> web.StreamResponse:
    name = view.path["route"]
    place = place_of("route", name)
    try:
        body, problems = read_route(place, name, wanted)
        if body is None:
            raise Invalid("This cannot be published as it is.", problems)
        files = {place: write_toml(body, None)}
        change = next(iter((await view.ask(api.plan_routes, body={"files": files}))["changes"]), None)
        if change is None:
            return see(f"/routes/{name}", said="nothing")
        split.change = change
        split.reviewed = _digest(body)
        split.planned = body
        # What was changed after it was looked at is looked at again.
        if view.form.get("step") != "publish" or view.form.get("reviewed", split.reviewed) != split.reviewed:
            return await _show(view, split=split)
        await _put(view, name, body, f'"{split.base}"', split.message)
    except Moved:
        live = (await view.ask(api.show_route))["route"]
        return await _conflict(view, split, live, wanted)
    except (Invalid, Refused, Conflict) as error:
        split.change = None
        return await _show(view, split=split, problems=_by_field(error), status=422)
    return see(f"/routes/{name}", said="published")


def _digest(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


async def _put(view: View, name: str, body: dict[str, Any], match: str, message: str) -> None:
    """Publish a route on the revision that ``match`` names, or with ``*`` as a new one."""
    headers = {"If-None-Match": "*"} if match == "*" else {"If-Match": match}
    answer = await view.call(
        api.put_route, path={"route": name}, body=body, headers={**headers, "X-Message": message}
    )
    if answer.status == 412:
        raise Moved("somebody else published first; nothing was changed")
    await keep(view, "route", name)


async def _conflict(
    view: View, split: _Split, live: Mapping[str, Any], wanted: Mapping[str, Any]
) -> web.StreamResponse:
    """Both states side by side; what was typed stays, on the new base."""
    revisions = (await view.ask(api.list_revisions))["revisions"]
    seen = next((one for one in revisions if one["revision"] == split.base), None)
    newest = revisions[0]
    split.theirs = {
        "author": newest["author"],
        "at": newest["at"],
        "message": newest["message"],
        "seen": split.base,
        "revision": newest["revision"],
        "lines": differences(seen["body"] if seen else None, newest["body"]),
        "yours": differences(live["body"], wanted),
    }
    split.base = newest["revision"]
    return await _show(view, split=split, status=409)


def _by_field(error: GatewayError) -> dict[str, str]:
    """What is wrong, by the field of the A/B form it stands in; what stands in none is told above it."""
    placed = {"": error.message}
    unplaced = []
    for problem in error.problems:
        for prefix, field in (("ab_test.split.", "percent."), ("versions.", "version.")):
            if problem.path.startswith(prefix):
                placed[field + problem.path.removeprefix(prefix)[:1]] = problem.text
                break
        else:
            key = _field_of(problem.path.removeprefix("ab_test."))
            if key in ("name", "unit", "winner") or key.startswith(("plan.", "guard.")):
                placed[key] = problem.text
            else:
                unplaced.append(f"{problem.path} {problem.text}".strip())
    if unplaced:
        placed[""] = "; ".join(unplaced)
    return placed


def _field_of(path: str) -> str:
    """The field of the form that a key of the test stands in: ``plan.guardrails.0.margin`` in ``guard.margin.0``."""
    parts = path.split(".")
    match parts:
        case ["plan", "primary", *rest]:
            return {"min_effect": "plan.effect", "better": "plan.better"}.get("".join(rest[:1]), "plan.metric")
        case ["plan", "guardrails", place, *rest]:
            return f"guard.{rest[0] if rest and rest[0] in ('margin', 'better') else 'metric'}.{place}"
    return path


# -- hold and history --------------------------------------------------------------------------------------


@page("POST", "/routes/{route}/hold", role="editor")
async def hold(view: View) -> web.StreamResponse:
    """Pin the route to one version, or send its calls to the fallback."""
    _, lasts = HOLDS.get(view.form.get("for", ""), HOLDS[""])
    body = {
        "to": view.form.get("to", ""),
        "reason": view.form.get("reason", ""),
        "until": view.gateway.wall() + lasts if lasts else None,
    }
    try:
        await view.ask(api.set_hold, body=body)
    except Invalid as error:
        problems = {f"hold.{path}": text for path, text in problems_of(error).items()}
        return await _show(view, problems=problems, status=422)
    return see(f"/routes/{view.path['route']}", said="held")


@page("POST", "/routes/{route}/release", role="editor")
async def end_hold(view: View) -> web.StreamResponse:
    """End the hold."""
    await view.ask(api.delete_hold)
    return see(f"/routes/{view.path['route']}", said="released")


@page("POST", "/routes/{route}/rollback", role="editor")
async def roll_back(view: View) -> web.StreamResponse:
    """Publish an old revision anew."""
    name, to = view.path["route"], view.form.get("to", "")
    try:
        done = await view.ask(api.roll_back, body={"to": to})
    except NotFound:
        raise
    except GatewayError as error:
        return await _show(view, problems={"rollback": _sentence(error)}, status=409)
    if done["changes"]:
        await keep(view, "route", name)
    return see(f"/routes/{name}", said="rolled_back" if done["changes"] else "nothing")


def _sentence(error: GatewayError) -> str:
    return "; ".join(problem.text for problem in error.problems) or error.message


# -- numbers and fallback ----------------------------------------------------------------------------------


@page("GET", "/new-route", role="editor")
async def show_new(view: View) -> web.StreamResponse:
    """A form for a new route."""
    return await view.render("routes/edit.html", route=None, versions=_published(view, []), typed={})


@page("POST", "/new-route", role="editor")
async def make_route(view: View) -> web.StreamResponse:
    """Publish a new route: Version A answers all its calls."""
    name, form = view.form.get("name", ""), view.form
    body = {
        "direction": form.get("direction", "inbound"),
        **_reach(form, {}),
        "versions": {"a": form.get("version", "")},
    }
    try:
        await _put(view, name, body, "*", form.get("message", ""))
    except GatewayError as error:
        problems = {"name": "is taken: there is such a route"} if isinstance(error, Moved) else problems_of(error)
        context = {"route": None, "versions": _published(view, []), "problems": problems}
        return await view.render("routes/edit.html", status=422, **context)
    return see(f"/routes/{name}", said="created")


@page("GET", "/routes/{route}/edit", role="editor")
async def show_edit(view: View) -> web.StreamResponse:
    """A form for a route's numbers and its fallback."""
    route = (await view.ask(api.show_route))["route"]
    fallback = route["body"].get("fallback") or {}
    typed = {
        "base": str(route["revision"]),
        "numbers": "\n".join(route["body"]["numbers"]),
        "fallback": fallback.get("to", "") if fallback.get("kind") == "number" else "",
    }
    return await view.render("routes/edit.html", route=route, versions=[], typed=typed)


@page("POST", "/routes/{route}/edit", role="editor")
async def edit(view: View) -> web.StreamResponse:
    """Publish a route's numbers and fallback."""
    name, form = view.path["route"], view.form
    route = (await view.ask(api.show_route))["route"]
    try:
        await _put(view, name, _reach(form, route["body"]), f'"{form.get("base", "")}"', form.get("message", ""))
    except GatewayError as error:
        problems = problems_of(error)
        if isinstance(error, Moved):
            view.form = {**form, "base": str(route["revision"])}
            problems = {"": "Somebody else published meanwhile. What you typed is kept: look again, then publish."}
        return await view.render("routes/edit.html", status=422, route=route, versions=[], problems=problems)
    return see(f"/routes/{name}", said="published")


def _reach(form: Mapping[str, str], base: Mapping[str, Any]) -> dict[str, Any]:
    """The route with the numbers and the fallback of the form; a fallback that is no number is kept."""
    body = {**base, "numbers": form.get("numbers", "").replace(",", " ").split()}
    old = base.get("fallback") or {}
    if form.get("fallback"):
        kept = old if old.get("kind") == "number" else {}
        body["fallback"] = {**kept, "kind": "number", "to": form["fallback"]}
    elif old.get("kind") == "number":
        body.pop("fallback")
    return body


PAGES = (
    show_routes,
    show_route,
    change_split,
    place_one,
    hold,
    end_hold,
    roll_back,
    show_new,
    make_route,
    show_edit,
    edit,
)
