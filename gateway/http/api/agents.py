"""Agents and their versions: drafts, publishing and retiring."""

from dataclasses import asdict
from typing import Any

from pydantic import Field

from gateway.drafts import Draft
from gateway.errors import Conflict, Invalid, NotFound, Problem
from gateway.handshake import shake_hands
from gateway.http.api.endpoint import Answer, Ask, Body, endpoint
from gateway.http.api.routes import author_of
from gateway.model import Version
from gateway.routefile import read_agent
from gateway.targets import written_target


class NewVersion(Body):
    """A new version: its target as the file has it. It is a draft unless ``status`` says otherwise."""

    target: dict[str, Any]
    notes: str = ""
    status: str = Field("draft", pattern="^(draft|published)$")
    message: str = ""


class Redraft(Body):
    """A draft as it is to be: its target as the file has it."""

    target: dict[str, Any]
    notes: str = ""
    message: str = ""


class Reason(Body):
    """Why."""

    message: str = ""


@endpoint("GET", "/agents", role="viewer")
async def list_agents(ask: Ask) -> dict[str, Any]:
    """Every agent with its versions and where each is used."""
    versions = ask.gateway.state.snapshot.versions
    names = sorted({version.agent for version in versions.values()})
    return {"agents": [_agent(ask, name) for name in names], "next": None}


@endpoint("GET", "/agents/{agent}", role="viewer")
async def show_agent(ask: Ask) -> dict[str, Any]:
    """One agent with its versions."""
    revision = await ask.gateway.publishing.live("agent", ask.path["agent"])
    return {"agent": _agent(ask, ask.path["agent"]) | {"revision": revision.number, "body": revision.body}}


@endpoint("POST", "/agents/{agent}/versions", role="editor", body=NewVersion)
async def add_version(ask: Ask) -> Answer:
    """Add the next version of an agent; the agent is made if it is not there."""
    name = ask.path["agent"]
    body = await _body(ask, name)
    numbers = [int(number) for number in body.get("versions", {})]
    number = max(numbers, default=0) + 1
    version = {"status": ask.body.status, "target": ask.body.target}
    if ask.body.notes:
        version["notes"] = ask.body.notes
    body = {**body, "versions": {**body.get("versions", {}), str(number): version}}
    await _publish(ask, name, body, ask.body.message or f"version {number}")
    return Answer(body={"version": _version(ask, f"{name}@{number}")}, status=201)


@endpoint("POST", "/agents/{agent}/versions/{number}/publish", role="editor", body=Reason)
async def publish_version(ask: Ask) -> dict[str, Any]:
    """Publish a draft; from then on it never changes."""
    return await _set_status(ask, "published")


@endpoint("POST", "/agents/{agent}/versions/{number}/retire", role="editor", body=Reason)
async def retire_version(ask: Ask) -> dict[str, Any]:
    """Retire a published version that no route uses."""
    return await _set_status(ask, "retired")


@endpoint("PUT", "/agents/{agent}/versions/{number}", role="editor", body=Redraft)
async def change_draft(ask: Ask) -> dict[str, Any]:
    """Write a draft anew; what was published never changes."""
    name, number = ask.path["agent"], ask.path["number"]
    body = await _body(ask, name)
    old = body.get("versions", {}).get(number)
    if old is None:
        raise NotFound(f"there is no {name}@{number}")
    if old["status"] != "draft":
        raise Conflict(f"{name}@{number} is {old['status']} and never changes; add a version")
    version = {"status": "draft", "target": ask.body.target} | ({"notes": ask.body.notes} if ask.body.notes else {})
    message = ask.body.message or f"draft {name}@{number}"
    await _publish(ask, name, {**body, "versions": {**body["versions"], number: version}}, message)
    return {"version": _version(ask, f"{name}@{number}")}


@endpoint("POST", "/agents/{agent}/versions/{number}/test", role="editor")
async def try_version(ask: Ask) -> dict[str, Any]:
    """Try whether a version's target answers, by a handshake and without a call; five seconds at most."""
    name = f"{ask.path['agent']}@{ask.path['number']}"
    version = ask.gateway.state.snapshot.versions.get(name)
    if version is None:
        raise NotFound(f"there is no {name}")
    return {"test": asdict(await shake_hands(version.target))}


async def _set_status(ask: Ask, status: str) -> dict[str, Any]:
    name, number = ask.path["agent"], ask.path["number"]
    body = await _body(ask, name)
    old = body.get("versions", {}).get(number)
    if old is None:
        raise NotFound(f"there is no {name}@{number}")
    if status == "retired" and old["status"] == "draft":
        raise Conflict(f"{name}@{number} is a draft; only a published version can be retired")
    versions = {**body["versions"], number: {**old, "status": status}}
    await _publish(ask, name, {**body, "versions": versions}, ask.body.message or f"{status} {name}@{number}")
    return {"version": _version(ask, f"{name}@{number}")}


async def _body(ask: Ask, name: str) -> dict[str, Any]:
    try:
        return (await ask.gateway.publishing.live("agent", name)).body or {}
    except NotFound:
        return {}


async def _publish(ask: Ask, name: str, written: dict[str, Any], message: str) -> None:
    body, problems = read_agent(f"agents/{name}.toml", name, written)
    if problems or body is None:
        raise Invalid("the version cannot be used", problems or [Problem(place=name, path="", text="is empty")])
    await ask.gateway.publishing.publish(
        Draft(bodies={("agent", name): body}), author_of(ask, door=ask.door, message=message)
    )


def _agent(ask: Ask, name: str) -> dict[str, Any]:
    own = [version for version in ask.gateway.state.snapshot.versions.values() if version.agent == name]
    return {
        "name": name,
        "versions": [_shown(ask, version) for version in sorted(own, key=lambda version: version.number)],
    }


def _version(ask: Ask, name: str) -> dict[str, Any]:
    return _shown(ask, ask.gateway.state.snapshot.versions[name])


def _shown(ask: Ask, version: Version) -> dict[str, Any]:
    routes = ask.gateway.state.snapshot.routes
    return {
        "version": version.name,
        "number": version.number,
        "status": version.status,
        "notes": version.notes,
        "target": written_target(version.target),
        "used_by": sorted(
            name for name, live in routes.items() if any(arm.version == version.name for arm in live.route.arms)
        ),
    }


ENDPOINTS = (list_agents, show_agent, add_version, publish_version, retire_version, change_draft, try_version)
