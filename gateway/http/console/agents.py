"""Agents: their versions, where each is used, what changed between two, and adding, publishing, retiring."""

import tomllib
from collections.abc import Mapping
from typing import Any

import tomlkit
from aiohttp import web

from gateway.errors import GatewayError, Invalid, Problem
from gateway.folders import write_back
from gateway.http.api.agents import (
    add_version,
    change_draft,
    list_agents,
    publish_version,
    retire_version,
    show_agent,
    try_version,
)
from gateway.http.console.page import View, page, problems_of, see
from gateway.routefile import differences

_PAGE = 50
# The field of each kind of target that says where calls go.
KINDS: Mapping[str, tuple[str, str]] = {
    "stream": ("url", "wss://agents.example.com/support"),
    "conversation_relay": ("url", "wss://agents.example.com/support"),
    "sip": ("uri", "sip:support@agents.example.com;transport=tls"),
    "webhook": ("url", "https://agents.example.com/support"),
    "number": ("to", "+14155550199"),
    "application": ("sid", "AP followed by 32 digits"),
}


@page("GET", "/agents")
async def show_agents(view: View) -> web.StreamResponse:
    """Every agent in a line."""
    told = await view.ask(list_agents, query={"limit": _PAGE, "cursor": view.query.get("cursor", "0")})
    return await view.render("agents/list.html", **told)


@page("GET", "/agents/{agent}")
async def show_one(view: View) -> web.StreamResponse:
    """One agent: versions, differences, and a form for the next one."""
    return await _show(view)


async def _show(
    view: View, status: int = 200, problems: Mapping[str, str] | None = None, tested: Mapping[str, Any] | None = None
) -> web.StreamResponse:
    agent = (await view.ask(show_agent))["agent"]
    by_number = {str(one["number"]): one for one in agent["versions"]}
    old, new = view.query.get("old", ""), view.query.get("new", "")
    lines = None
    if old in by_number and new in by_number:
        lines = differences(_compared(by_number[old]), _compared(by_number[new]))
    edited = by_number.get(view.query.get("edit", view.path.get("number", "")))
    if edited is not None and edited["status"] != "draft":
        edited = None
    copied = edited or by_number.get(view.query.get("copy", ""))
    return await view.render(
        "agents/agent.html",
        status=status,
        agent=agent,
        kinds=KINDS,
        compared=(old, new),
        lines=lines,
        edited=edited if tested is None else None,
        tested=tested,
        typed=view.form or (_typed(copied) if copied else {}),
        problems=problems or {},
    )


def _compared(version: Mapping[str, Any]) -> dict[str, Any]:
    return {"notes": version["notes"], "target": version["target"]}


def _typed(version: Mapping[str, Any]) -> dict[str, str]:
    """The form that would make this version again."""
    target = dict(version["target"])
    kind = target.pop("kind")
    field, _ = KINDS.get(kind, ("", ""))
    address = str(target.pop(field, ""))
    more = "\n".join(f"{name} = {_toml(value)}" for name, value in target.items())
    return {"kind": kind, "address": address, "more": more, "notes": version["notes"]}


def _toml(value: Any) -> str:
    return str(tomlkit.item(value).as_string())


@page("GET", "/new-agent", role="editor")
async def show_new(view: View) -> web.StreamResponse:
    """A form for an agent's first version."""
    return await view.render("agents/new.html", kinds=KINDS)


@page("POST", "/new-agent", role="editor")
async def make_agent(view: View) -> web.StreamResponse:
    """Add the first version of an agent."""
    name = view.form.get("name", "")
    try:
        await _add(view, name)
    except GatewayError as error:
        return await view.render("agents/new.html", status=422, kinds=KINDS, problems=_placed(error))
    return see(f"/agents/{name}", said="added")


@page("POST", "/agents/{agent}/versions", role="editor")
async def add(view: View) -> web.StreamResponse:
    """Add the next version of an agent."""
    try:
        await _add(view, view.path["agent"])
    except GatewayError as error:
        return await _show(view, 422, _placed(error))
    return see(f"/agents/{view.path['agent']}", said="added")


@page("POST", "/agents/{agent}/versions/{number}/publish", role="editor")
async def publish(view: View) -> web.StreamResponse:
    """Publish a draft."""
    return await _turn(view, publish_version)


@page("POST", "/agents/{agent}/versions/{number}/retire", role="editor")
async def retire(view: View) -> web.StreamResponse:
    """Retire a version that no route uses."""
    return await _turn(view, retire_version)


@page("POST", "/agents/{agent}/versions/{number}", role="editor")
async def redraft(view: View) -> web.StreamResponse:
    """Write a draft anew."""
    try:
        body = {"target": _target(view.form), "notes": view.form.get("notes", "")}
        await view.ask(change_draft, body=body)
    except GatewayError as error:
        return await _show(view, 422, _placed(error))
    await keep(view, "agent", view.path["agent"])
    return see(f"/agents/{view.path['agent']}", said="version")


@page("POST", "/agents/{agent}/versions/{number}/test", role="editor")
async def try_out(view: View) -> web.StreamResponse:
    """Try whether the version's target answers, and say so."""
    told = (await view.ask(try_version))["test"]
    return await _show(view, tested=told | {"number": int(view.path["number"])})


async def _turn(view: View, one: Any) -> web.StreamResponse:
    try:
        await view.ask(one)
    except GatewayError as error:
        return await _show(view, 409, {"": "; ".join(problem.text for problem in error.problems) or error.message})
    await keep(view, "agent", view.path["agent"])
    return see(f"/agents/{view.path['agent']}", said="version")


async def _add(view: View, name: str) -> None:
    body = {
        "target": _target(view.form),
        "notes": view.form.get("notes", ""),
        "status": "published" if view.form.get("publish") else "draft",
    }
    await view.ask(add_version, path={"agent": name}, body=body)
    await keep(view, "agent", name)


async def keep(view: View, kind: str, name: str) -> None:
    """Bring what was just published into the operator's folder too."""
    paths = view.gateway.settings.paths
    await write_back(view.gateway.publishing, {"route": paths.routes, "agent": paths.agents}, (kind, name))


def _target(form: Mapping[str, str]) -> dict[str, Any]:
    kind = form.get("kind", "")
    try:
        more = tomllib.loads(form.get("more", ""))
    except ValueError as error:
        text = f"is not TOML: {error}"
        raise Invalid(text, [Problem(place="form", path="more", text=text)]) from error
    field, _ = KINDS.get(kind, ("url", ""))
    return {**more, "kind": kind, field: form.get("address", "")}


def _placed(error: GatewayError) -> dict[str, str]:
    """What is wrong, by the field of the form that it stands in."""
    placed: dict[str, str] = {}
    addresses = {field for field, _ in KINDS.values()}
    for path, text in problems_of(error).items():
        name = path.rpartition(".")[2]
        field = "address" if name in addresses else path if path in ("", "more") else "more"
        placed[field] = text if field in ("address", "") else f"{name}: {text}" if path != "more" else text
    return placed


PAGES = (show_agents, show_one, show_new, make_agent, add, publish, retire, redraft, try_out)
