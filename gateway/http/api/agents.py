"""Agents and their versions: drafts, publishing and retiring."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from pydantic import Field

from gateway.drafts import Draft
from gateway.errors import Conflict, Invalid, NotFound, Problem
from gateway.handshake import shake_hands
from gateway.http.api.endpoint import Answer, Ask, Body, endpoint
from gateway.http.api.routes import author_of
from gateway.model import Snapshot, Version
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


class Wanted(Body):
    """Which agents to list: from the one after the first ``cursor`` on, ``limit`` of them."""

    cursor: int = Field(0, ge=0, le=2**31)
    limit: int = Field(1000, ge=1, le=1000)


@endpoint("GET", "/agents", role="viewer", query=Wanted)
async def list_agents(ask: Ask) -> dict[str, Any]:
    """Every agent with its versions and where each is used, by name."""
    wanted: Wanted = ask.query
    snapshot = ask.gateway.state.snapshot
    own: dict[str, list[Version]] = {}
    for version in snapshot.versions.values():
        own.setdefault(version.agent, []).append(version)
    names, end = sorted(own), wanted.cursor + wanted.limit
    users = _users(snapshot)
    agents = [_agent(name, own[name], users) for name in names[wanted.cursor : end]]
    return {"agents": agents, "next": end if end < len(names) else None}


@endpoint("GET", "/agents/{agent}", role="viewer")
async def show_agent(ask: Ask) -> dict[str, Any]:
    """One agent with its versions."""
    revision = await ask.gateway.publishing.live("agent", ask.path["agent"])
    name, snapshot = ask.path["agent"], ask.gateway.state.snapshot
    own = [version for version in snapshot.versions.values() if version.agent == name]
    told = _agent(name, own, _users(snapshot))
    return {"agent": told | {"revision": revision.number, "body": revision.body}}


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


def _users(snapshot: Snapshot) -> Mapping[str, Sequence[str]]:
    """The routes with an arm of each version, by name."""
    users: dict[str, list[str]] = {}
    for name in sorted(snapshot.routes):
        for version in {arm.version for arm in snapshot.routes[name].route.arms}:
            users.setdefault(version, []).append(name)
    return users


def _agent(name: str, own: Sequence[Version], users: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    by_number = sorted(own, key=lambda version: version.number)
    return {"name": name, "versions": [_shown(version, users) for version in by_number]}


def _version(ask: Ask, name: str) -> dict[str, Any]:
    snapshot = ask.gateway.state.snapshot
    return _shown(snapshot.versions[name], _users(snapshot))


def _shown(version: Version, users: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    return {
        "version": version.name,
        "number": version.number,
        "status": version.status,
        "notes": version.notes,
        "target": written_target(version.target),
        "used_by": list(users.get(version.name, ())),
    }


ENDPOINTS = (list_agents, show_agent, add_version, publish_version, retire_version, change_draft, try_version)
