"""Checks what one file alone cannot show: routes beside each other and their versions, agents beside what is live."""

import difflib
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from gateway.errors import Problem
from gateway.model import Arm, Route, Version
from gateway.targets import KINDS, check_limits

# A look for the nearest name goes through all names; more than a few slips at once have another cause.
_HINTS = 10


def check_together(
    routes: Mapping[str, Route],
    versions: Mapping[str, Version],
    places: Mapping[str, str],
    *,
    changed: Collection[str] | None = None,
    numbers: Mapping[str, str] | None = None,
) -> list[Problem]:
    """What is wrong with the ``changed`` routes, or with all, beside everything else.

    ``numbers`` gives the inbound route of every number as it was before the change; what it says of changed or
    removed routes is passed over. ``places`` names the file of every route that is checked. The cost grows with
    the routes that are checked, not with all.
    """
    checked = frozenset(routes if changed is None else changed)
    unknown = {arm.version for name in checked for arm in routes[name].arms if arm.version not in versions}
    hints = _nearest(unknown, versions) if unknown else {}
    problems = []
    taken: dict[str, str] = {}
    for name in sorted(checked):
        route = routes[name]
        faults = [fault for arm in route.arms for fault in _arm_faults(route, arm, versions, hints)]
        for number in route.numbers if route.direction == "inbound" else ():
            before = (numbers or {}).get(number, name)
            stays = before in routes and before not in checked
            owner = before if stays else taken.setdefault(number, name)
            if owner != name:
                text = f'{number} is on route "{owner}" and on route "{name}": only one inbound route can take it'
                faults.append(("numbers", text))
        problems += [Problem(place=places[name], path=path, text=text) for path, text in faults]
    return problems


def _arm_faults(
    route: Route, arm: Arm, versions: Mapping[str, Version], hints: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    path, says = f"versions.{arm.name}", f'route "{route.name}" splits to {arm.version}'
    version = versions.get(arm.version)
    if version is None:
        yield path, f"{says}, which does not exist{hints.get(arm.version, '')}"
    elif version.status == "draft":
        yield path, f"{says}, which is a draft: publish it first"
    elif version.status == "retired":
        yield path, f"{says}, which is retired: name a published version"
    elif arm.parameters and not KINDS[version.target.kind].hands_over:
        kind = version.target.kind
        yield f"{path}.parameters", f"{arm.version} is a {kind} target, which cannot be given anything: drop them"
    elif arm.parameters:
        # Without an arm's parameters a target is what it was when its agent was read.
        yield from ((f"{path}.parameters", text) for text in check_limits(version.target, arm.parameters))


def _nearest(unknown: Collection[str], versions: Mapping[str, Version]) -> dict[str, str]:
    agents: dict[str, list[Version]] = {}
    for version in versions.values():
        agents.setdefault(version.agent, []).append(version)
    hints = {}
    for name in sorted(unknown)[:_HINTS]:
        agent, _, number = name.rpartition("@")
        own = agents.get(agent)
        if own is None:
            near = difflib.get_close_matches(agent, agents, n=1)
            own = agents[near[0]] if near else []
        if own:
            closest = min(own, key=lambda version: (abs(version.number - int(number)), version.number))
            hints[name] = f"; did you mean {closest.name}?"
    return hints


def immutable_problems(
    agent: str, live: Mapping[str, Any], new: Mapping[str, Any], in_use: Collection[str]
) -> list[Problem]:
    """What the ``new`` body of an agent would change of its ``live`` one that cannot change.

    ``in_use`` are the versions that routes name. An empty ``new`` removes the agent, which it may when no route
    uses it; a draft may become anything.
    """
    before, after = live.get("versions", {}), new.get("versions", {})
    following = max((int(number) for number in (*before, *after)), default=0) + 1
    problems = []
    for number, old in before.items():
        name = f"{agent}@{number}"
        text = _forbidden(name, old, after.get(number), following, name in in_use) if old["status"] != "draft" else ""
        if text and (after or name in in_use):
            problems.append(Problem(place=f"agents/{agent}.toml", path=f"versions.{number}", text=text))
    return problems


def _forbidden(name: str, old: Mapping[str, Any], new: Mapping[str, Any] | None, following: int, used: bool) -> str:
    status = old["status"]
    if new is None:
        cure = "a route splits to it" if used else "retire it instead"
        return f"{name} is {status} and cannot be removed: {cure}"
    if new["target"] != old["target"]:
        return f"{name} is {status} and cannot change; add version {following}"
    if new["status"] == "draft":
        return f"{name} is {status} and cannot be a draft again; add version {following}"
    if new["status"] == "retired" and used:
        return f"{name} cannot be retired while a route splits to it: point the route to another version first"
    return ""
