"""What somebody wants to be live: files and bodies read, checked beside the live state, and compared with it.

Nothing here changes anything; ``publishing`` does.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.errors import Conflict, Invalid, Moved, Problem, Refused
from gateway.model import Route, Snapshot, Target, Version
from gateway.routefile import (
    build_route,
    build_versions,
    check_together,
    immutable_problems,
    read_agent,
    read_route,
    read_toml,
    write_toml,
)
from gateway.storage.revisions import Key, Revision
from gateway.targets import secrets_of

_FOLDERS = {"route": "routes", "agent": "agents"}

Progress = Callable[[int, int], None]


def place_of(kind: str, name: str) -> str:
    """How a file is named in requests, plans and problems: ``routes/support.toml``."""
    return f"{_FOLDERS[kind]}/{name}.toml"


def key_of(place: str) -> Key:
    """The kind and name behind ``routes/support.toml``; Invalid for any other shape."""
    folder, _, file = place.partition("/")
    kinds = {folder: kind for kind, folder in _FOLDERS.items()}
    if folder not in kinds or not file.endswith(".toml") or "/" in file:
        text = "a file is named routes/NAME.toml or agents/NAME.toml"
        raise Invalid(f"{place}: {text}", [Problem(place=place, path="", text=text)])
    return kinds[folder], file.removesuffix(".toml")


@dataclass(frozen=True, kw_only=True, slots=True)
class Draft:
    """What somebody wants to be live: a body for each thing named, None to remove it."""

    bodies: Mapping[Key, dict[str, Any] | None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """What publishing would do to one thing. ``base`` is the number of its live revision, 0 for none.

    ``unexported`` names the author and reason of a live revision that the operator's folder never held.
    """

    kind: str
    name: str
    action: str  # create | update | remove | keep
    base: int
    lines: tuple[str, ...] = ()
    test: str = ""  # what happens to the route's experiment: opens | closes | new epoch | amends
    unexported: str = ""
    experiment: str = ""  # in a plan: the one that opens, closes or is touched

    @property
    def place(self) -> str:
        """The file it stands in."""
        return place_of(self.kind, self.name)


@dataclass(frozen=True, kw_only=True, slots=True)
class Author:
    """Who publishes, through which door, and why; ``may_test`` allows opening, closing and re-weighting tests."""

    name: str
    door: str
    message: str = ""
    may_test: bool = True


def read_folders(routes: Path, agents: Path) -> dict[str, str]:
    """The text of every file in an operator's two folders, by place."""
    files = {}
    for folder, kind in ((agents, "agent"), (routes, "route")):
        for path in sorted(folder.glob("*.toml")):
            files[place_of(kind, path.stem)] = path.read_text(encoding="utf-8")
    return files


def read_files(files: Mapping[str, str], progress: Progress | None = None) -> Draft:
    """The draft that files describe; raises Invalid with the problems of all of them."""
    bodies: dict[Key, dict[str, Any] | None] = {}
    problems: list[Problem] = []
    for count, (place, text) in enumerate(files.items()):
        try:
            kind, name = key_of(place)
            written = read_toml(place, text)
        except Invalid as error:
            problems += error.problems
            continue
        read = read_route if kind == "route" else read_agent
        body, found = read(place, name, written)
        problems += found
        if body is not None:
            bodies[kind, name] = body
        if progress is not None and count % 1000 == 0:
            progress(count, len(files))
    refuse(problems)
    return Draft(bodies=bodies)


def check(draft: Draft, snapshot: Snapshot) -> tuple[dict[str, Route], dict[str, Version]]:
    """Hold a draft against the rest of the live state; raises Invalid with every problem.

    Returns the routes that it brings and all versions as they would be.
    """
    routes = {
        name: build_route(name, body)
        for (kind, name), body in draft.bodies.items()
        if kind == "route" and body is not None
    }
    versions = dict(snapshot.versions)
    touched: set[str] = set(routes)
    for (kind, name), body in draft.bodies.items():
        if kind == "agent":
            for old in [version for version in versions if version.rpartition("@")[0] == name]:
                del versions[old]
            versions.update({version.name: version for version in build_versions(name, body or {})})
    agents = {name for kind, name in draft.bodies if kind == "agent"}
    whole = {name: live.route for name, live in snapshot.routes.items()}
    if agents:
        # A route that is not in the draft may lean on a version that the draft changes.
        touched |= {
            name
            for name, route in whole.items()
            if any(arm.version.rpartition("@")[0] in agents for arm in route.arms)
        }
    numbers = {number: live.route.name for number, live in snapshot.numbers.items()}
    for kind, name in draft.bodies:
        if kind == "route":
            old_route = whole.pop(name, None)
            touched.discard(name)
            for number in old_route.numbers if old_route else ():
                numbers.pop(number, None)
    whole |= routes
    touched |= set(routes)
    places = {name: place_of("route", name) for name in touched}
    refuse(check_together(whole, versions, places, changed=touched & set(whole), numbers=numbers))
    return routes, versions


def missing_secrets(draft: Draft, secret: Callable[[str], str]) -> list[Problem]:
    """A problem for every environment variable that a target of the draft names and that is not set here."""
    targets: list[tuple[str, str, Target]] = []
    for (kind, name), body in draft.bodies.items():
        if kind == "agent":
            built = [version for version in build_versions(name, body or {}) if version.status == "published"]
            targets += [(place_of(kind, name), f"versions.{one.number}.target", one.target) for one in built]
        elif body is not None and (fallback := build_route(name, body).fallback) is not None:
            targets.append((place_of(kind, name), "fallback", fallback))
    problems = []
    for place, path, target in targets:
        for key, variable in secrets_of(target).items():
            try:
                secret(variable)
            except LookupError:
                text = f"the environment variable {variable} is not set where the gateway runs: set it and restart it"
                problems.append(Problem(place=place, path=f"{path}.{key}", text=text))
    return problems


def refuse(problems: Sequence[Problem]) -> None:
    """Raise Invalid with all of the problems, if there are any."""
    if problems:
        count = "one problem" if len(problems) == 1 else f"{len(problems)} problems"
        raise Invalid(f"{count} found; nothing was changed", problems)


def immutable(draft: Draft, live: Mapping[Key, Revision], snapshot: Snapshot) -> list[Problem]:
    """A problem for each published version whose content would change under a call that can still reach it."""
    agents = {name: body for (kind, name), body in draft.bodies.items() if kind == "agent"}
    if not agents:
        return []
    in_use: set[str] = set()
    for name, live_route in snapshot.routes.items():
        route = live_route.route
        if ("route", name) in draft.bodies:
            body = draft.bodies["route", name]
            if body is None:
                continue
            route = build_route(name, body)
        in_use |= {arm.version for arm in route.arms}
    problems: list[Problem] = []
    for name, body in agents.items():
        old = live.get(("agent", name))
        if old is not None and old.body is not None:
            problems += immutable_problems(name, old.body, body or {}, in_use)
    return problems


def write_files(live: Sequence[Revision], files: Mapping[str, str]) -> dict[str, str]:
    """The live revisions as files by place; comments in ``files``, the operator's own, are kept."""
    written = {}
    for one in live:
        place = place_of(one.kind, one.name)
        written[place] = write_toml(one.body or {}, files.get(place))
    return written


def drift(files: Mapping[str, str], live: Mapping[Key, dict[str, Any] | None]) -> list[str]:
    """The places where a folder differs from the live bodies; a file that cannot be read differs too."""
    different = []
    for place, text in files.items():
        try:
            draft = read_files({place: text})
        except Invalid:
            different.append(place)
            continue
        different += [place_of(*key) for key, body in draft.bodies.items() if live.get(key) != body]
    return different + [place_of(*key) for key in live if place_of(*key) not in files]


def compare(
    changes: Sequence[Change], bases: Mapping[Key, int] | None, author: Author, overwrite: Collection[str]
) -> None:
    """Refuse what would overwrite somebody's work (Moved, Conflict), or what this author may not do (Refused)."""
    moved = [
        Problem(
            place=change.place,
            path="",
            text=f"is at revision {change.base} now, not {bases[change.kind, change.name]}; look again, then publish",
        )
        for change in changes
        if bases is not None
        and change.action != "keep"
        and bases.get((change.kind, change.name), change.base) != change.base
    ]
    if moved:
        raise Moved("somebody else published first; nothing was changed", moved)
    foreign = [
        Problem(
            place=change.place,
            path="",
            text=f"the live revision {change.base} was never in the folder ({change.unexported}); "
            "export it, or name the file in overwrite",
        )
        for change in changes
        if author.door == "files" and change.action != "keep" and change.unexported and change.place not in overwrite
    ]
    if foreign:
        raise Conflict("the folder does not know of newer live revisions; nothing was changed", foreign)
    tests = [change.name for change in changes if change.test]
    if tests and not author.may_test:
        raise Refused(
            f"your role may not open, close or re-weight a test, and this does so on {', '.join(sorted(tests)[:5])}; "
            "ask an administrator (auth.experiments_role)"
        )
