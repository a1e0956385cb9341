"""Checks, plans and publishes routes and agents: the one door through which the live state changes.

Everything that can fail comes first; then one transaction writes revisions, experiments, epochs and the audit
row, provided that the live revisions are still the ones the author saw.
"""

import asyncio
import secrets
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from gateway import log
from gateway.errors import Conflict, Invalid, Moved, NotFound, Problem, Refused
from gateway.livestate import LiveState
from gateway.model import Experiment, NoticeKind, Route, Snapshot, Target, Version
from gateway.registration import digest_of, ramp_shares, record_of
from gateway.routefile import (
    build_route,
    build_versions,
    check_together,
    differences,
    immutable_problems,
    read_agent,
    read_route,
    read_toml,
    same_epoch,
    same_memory,
    write_toml,
)
from gateway.storage.access import add_audit
from gateway.storage.engine import Connection, Database
from gateway.storage.experiments import (
    add_epochs,
    add_events,
    add_experiments,
    close_experiments,
    duration_cap,
    epoch_row,
    experiment_numbers,
)
from gateway.storage.notices import add_notice
from gateway.storage.revisions import (
    Key,
    Revision,
    add_publication,
    add_revisions,
    history,
    live_of,
    live_revisions,
    lock_head,
    mark_in_folder,
    revision_of,
)
from gateway.targets import secrets_of

_log = log.get("publishing")

_FOLDERS = {"route": "routes", "agent": "agents"}


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


@dataclass(slots=True)
class _Consequences:
    """What a publication does to experiments."""

    opened: list[Experiment] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)
    winners: dict[str, str] = field(default_factory=dict)
    epochs: list[dict[str, Any]] = field(default_factory=list)
    records: dict[str, tuple[dict[str, Any], str]] = field(default_factory=dict)
    events: list[dict[str, Any]] = field(default_factory=list)


# Where durations are cut is read from the calls of the fourteen days before a test.
_CAP_MS = 14 * 24 * 60 * 60 * 1000
# A publication that opens more tests than these takes the default for the rest: each asks for a search.
_CAPS = 20

Progress = Callable[[int, int], None]


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
    _raise(problems)
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
    _raise(check_together(whole, versions, places, changed=touched & set(whole), numbers=numbers))
    return routes, versions


def _missing_secrets(draft: Draft, secret: Callable[[str], str]) -> list[Problem]:
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


def _raise(problems: Sequence[Problem]) -> None:
    if problems:
        count = "one problem" if len(problems) == 1 else f"{len(problems)} problems"
        raise Invalid(f"{count} found; nothing was changed", problems)


class Publishing:
    """Check, plan, publish, roll back and export."""

    def __init__(
        self,
        database: Database,
        state: LiveState,
        *,
        secret: Callable[[str], str],
        outcome_window: int,
        judge: Callable[[], str | None] = lambda: None,
        luck: Callable[[int], bytes] = secrets.token_bytes,
        wall: Callable[[], int],
    ) -> None:
        """``secret`` gives the text of an environment variable that a target names, or raises LookupError.

        ``outcome_window`` is how many seconds after its end a call's outcome is waited for; ``judge`` names who
        judges transcripts, by a digest of how. ``luck`` draws so many random bytes: the salts of an experiment.
        """
        self._outcome_window = outcome_window
        self._judge = judge
        self._luck = luck
        self._database = database
        self._state = state
        self._secret = secret
        self._wall = wall

    async def check(self, draft: Draft) -> None:
        """Raise Invalid with every problem that the draft has beside the live state."""
        await self._state.refresh()
        await asyncio.to_thread(self._check, draft, self._state.snapshot)

    def _check(self, draft: Draft, snapshot: Snapshot) -> None:
        check(draft, snapshot)
        _raise(_missing_secrets(draft, self._secret))

    async def plan(self, draft: Draft, *, allow_removal: bool = False) -> list[Change]:
        """What publishing the draft would change, things that stay as they are included."""
        await self.check(draft)
        async with self._database.read() as connection:
            draft = await self._with_removals(connection, draft, allow_removal)
            live = await live_of(connection, draft.bodies)
            changes = await asyncio.to_thread(self._changes, draft, live)
            numbers = await experiment_numbers(connection, [one.name for one in changes if one.test == "opens"])
        return [self._with_experiment(one, numbers) for one in changes]

    def _with_experiment(self, change: Change, numbers: Mapping[str, int]) -> Change:
        live = self._state.snapshot.routes.get(change.name) if change.kind == "route" else None
        if change.test == "opens":
            return replace(change, experiment=f"{change.name}-{numbers.get(change.name, 0) + 1}")
        if change.test and live is not None and live.experiment is not None:
            return replace(change, experiment=live.experiment.id)
        return change

    async def publish(
        self,
        draft: Draft,
        author: Author,
        *,
        bases: Mapping[Key, int] | None = None,
        overwrite: Collection[str] = (),
        allow_removal: bool = False,
    ) -> tuple[int, list[Change]]:
        """Publish in one transaction; returns the publication's number and what changed.

        ``bases`` are the live revision numbers that the author saw (0: none); without them, those of this
        moment. Raises Invalid, Moved (a base is no longer live), Conflict or Refused, and changes nothing then.
        """
        while True:
            await self._state.refresh()
            snapshot = self._state.snapshot
            await asyncio.to_thread(self._check, draft, snapshot)
            async with self._database.write() as connection:
                newest = await lock_head(connection, self._database)
                if newest != snapshot.publication:
                    continue  # somebody published in between: check again beside what they did
                draft = await self._with_removals(connection, draft, allow_removal)
                live = await live_of(connection, draft.bodies)
                changes = await asyncio.to_thread(self._changes, draft, live)
                _raise(_immutable(draft, live, self._state.snapshot))
                _compare(changes, bases, author, overwrite)
                await self._write(connection, newest, draft, changes, live, author)
                changed = [change for change in changes if change.action != "keep"]
            if changed:
                await self._state.refresh()
            return self._state.snapshot.publication, changed

    async def rollback(self, kind: str, name: str, to: int, author: Author) -> tuple[int, list[Change]]:
        """Publish the body of an old revision as a new one."""
        async with self._database.read() as connection:
            old = await revision_of(connection, kind, name, to)
        if old is None:
            raise NotFound(f'{kind} "{name}" has no revision {to}')
        return await self.publish(Draft(bodies={(kind, name): old.body}), author)

    async def export(self, author: Author, files: Mapping[str, str] | None = None) -> dict[str, str]:
        """The live state as files; comments in ``files``, the operator's own, are kept.

        The live revisions then count as held by the folder.
        """
        async with self._database.read() as connection:
            live = [revision for revision in await live_revisions(connection) if revision.body is not None]
        written = await asyncio.to_thread(_write_files, live, files or {})
        async with self._database.write() as connection:
            await mark_in_folder(connection, [(one.kind, one.name, one.number) for one in live])
            await add_audit(
                connection,
                at=self._wall(),
                author=author.name,
                action="export",
                subject=f"{len(live)} files",
                detail={},
            )
        return written

    async def held_in_folder(self, revision: Revision) -> None:
        """Remember that the operator's folder holds a revision now."""
        async with self._database.write() as connection:
            await mark_in_folder(connection, [(revision.kind, revision.name, revision.number)])

    async def history(self, kind: str, name: str) -> list[Revision]:
        """Every revision of one thing, newest first; NotFound when there never was one."""
        async with self._database.read() as connection:
            found = await history(connection, kind, name)
        if not found:
            raise NotFound(f'there is no {kind} "{name}"')
        return found

    async def live(self, kind: str, name: str) -> Revision:
        """The live revision of one thing; NotFound when there is none."""
        async with self._database.read() as connection:
            found = (await live_of(connection, [(kind, name)])).get((kind, name))
        if found is None or found.body is None:
            raise NotFound(f'there is no {kind} "{name}"')
        return found

    async def live_bodies(self) -> dict[Key, Revision]:
        """Every live revision; for lists and for comparing with a folder."""
        async with self._database.read() as connection:
            found = await live_revisions(connection)
        return {(one.kind, one.name): one for one in found if one.body is not None}

    async def drift(self, files: Mapping[str, str]) -> list[str]:
        """The places where a folder differs from the live state; a file that cannot be read differs too."""
        live = await self.live_bodies()
        return await asyncio.to_thread(_drift, files, {key: one.body for key, one in live.items()})

    # -- inside the transaction ----------------------------------------------------------------------------

    async def _with_removals(self, connection: Connection, draft: Draft, allow: bool) -> Draft:
        if not allow:
            return draft
        gone = {
            (one.kind, one.name): None
            for one in await live_revisions(connection)
            if one.body is not None and (one.kind, one.name) not in draft.bodies
        }
        draft = replace(draft, bodies={**draft.bodies, **gone})
        await asyncio.to_thread(check, draft, self._state.snapshot)
        return draft

    def _changes(self, draft: Draft, live: Mapping[Key, Revision]) -> list[Change]:
        changes = []
        for (kind, name), body in draft.bodies.items():
            old = live.get((kind, name))
            before = old.body if old else None
            action = _action(before, body)
            test = self._test(kind, name, before, body) if action not in ("keep", "create") else ""
            if action == "create" and kind == "route" and body and build_route(name, body).enabled:
                test = "opens"
            unexported = f"{old.author}: {old.message or old.door}" if old and not old.in_folder else ""
            changes.append(
                Change(
                    kind=kind,
                    name=name,
                    action=action,
                    base=old.number if old else 0,
                    lines=tuple(differences(before, body)) if action != "keep" else (),
                    test=test,
                    unexported=unexported,
                )
            )
        return changes

    def _test(self, kind: str, name: str, before: dict[str, Any] | None, body: dict[str, Any] | None) -> str:
        live = self._state.snapshot.routes.get(name) if kind == "route" else None
        new = build_route(name, body) if kind == "route" and body is not None else None
        open_ = live.experiment if live else None
        if open_ is None or live is None:
            return "opens" if new is not None and new.enabled else ""
        if new is None or not new.enabled:
            return "closes"
        for what, old, wanted in (("unit", open_.unit, new.unit), ("name", open_.name, new.test_name)):
            if old != wanted:
                raise Conflict(
                    f'route "{name}": the {what} of experiment {open_.id} cannot change from "{old}" to "{wanted}" '
                    "while it is open; switch the test off first, which closes it"
                )
        # The live route may stand on a step of its ramp; what was written is compared.
        if not same_epoch(build_route(name, before) if before else live.route, new):
            return "new epoch"
        return "" if dict(live.route.plan) == dict(new.plan) else "amends"

    async def _write(
        self,
        connection: Connection,
        newest: int,
        draft: Draft,
        changes: Sequence[Change],
        live: Mapping[Key, Revision],
        author: Author,
    ) -> None:
        from_files = author.door == "files"
        kept = [change for change in changes if change.action == "keep" and change.unexported]
        if from_files and kept:
            await mark_in_folder(connection, [(one.kind, one.name, one.base) for one in kept])
        changed = [change for change in changes if change.action != "keep"]
        if not changed:
            return
        now, number = self._wall(), newest + 1
        await add_publication(
            connection, number=number, at=now, author=author.name, door=author.door, message=author.message
        )
        added = [
            Revision(
                kind=change.kind,
                name=change.name,
                number=change.base + 1,
                publication=number,
                body=draft.bodies[change.kind, change.name],
                in_folder=from_files,
            )
            for change in changed
        ]
        await add_revisions(connection, self._database, added)
        await self._write_experiments(connection, changed, draft, author, now)
        await add_audit(
            connection,
            at=now,
            author=author.name,
            action="publish",
            subject=f"publication {number}",
            detail={
                "door": author.door,
                "message": author.message,
                "changes": [
                    {"place": one.place, "action": one.action, "revision": one.base + 1, "lines": list(one.lines)}
                    for one in changed[:200]
                ],
            },
        )

    async def _write_experiments(
        self, connection: Connection, changed: Sequence[Change], draft: Draft, author: Author, now: int
    ) -> None:
        tested = [change for change in changed if change.test]
        if not tested:
            return
        opening = [change.name for change in tested if change.test == "opens"]
        numbers = await experiment_numbers(connection, opening)
        caps = {name: await duration_cap(connection, name, since=now - _CAP_MS) for name in opening[:_CAPS]}
        found = _Consequences()
        revisions = {change.name: change.base + 1 for change in tested}
        plans: dict[str, Any] = {}

        def gather() -> None:
            for change in tested:
                body = draft.bodies["route", change.name]
                route = build_route(change.name, body) if body is not None else None
                if route is not None:
                    plans[change.name] = dict(route.plan)
                if change.test == "opens" and route is not None:
                    record = self._record(route, caps.get(change.name))
                    found.records[change.name] = record, digest_of(record)
                    plans[change.name]["cap_seconds"] = record["cap_seconds"]
                self._consequence(change, route, numbers.get(change.name, 0), revisions[change.name], now, found)
            for event in found.events:
                event |= {"at": now, "author": author.name, "reason": author.message}

        await asyncio.to_thread(gather)
        await add_experiments(connection, found.opened, revisions=revisions, plans=plans, records=found.records)
        await add_epochs(connection, found.epochs)
        closing = {one: revisions[one.rpartition("-")[0]] for one in found.closed}
        await close_experiments(connection, found.closed, at=now, revisions=closing, winners=found.winners)
        await add_events(connection, found.events)
        for event in found.events:
            if event["kind"] in ("started", "stopped"):
                subject, told = (
                    f"experiment {event['experiment']}",
                    {key: event[key] for key in ("author", "reason", "detail")},
                )
                kind: NoticeKind = "experiment.started" if event["kind"] == "started" else "experiment.stopped"
                await connection.run_sync(add_notice, kind, subject, told, now)

    def _consequence(
        self, change: Change, route: Route | None, last: int, revision: int, now: int, found: _Consequences
    ) -> None:
        live = self._state.snapshot.routes.get(change.name)
        open_ = live.experiment if live else None
        detail: dict[str, Any] = {"revision": revision, "lines": list(change.lines)}
        if change.test == "closes" and open_ is not None:
            found.closed.append(open_.id)
            if route is not None and route.winner:
                found.winners[open_.id] = route.winner
            winner = route.winner if route is not None else None
            found.events.append({"experiment": open_.id, "kind": "stopped", "detail": detail | {"winner": winner}})
            return
        if route is None:
            return
        if change.test == "opens":
            one = _opened(route, last + 1, now, self._luck)
            found.opened.append(one)
            epoch = epoch_row(route, one.id, number=1, memory=1, revision=revision, now=now, shares=one.shares)
            found.epochs.append(epoch)
            kind = "scheduled" if one.status == "scheduled" else "started"
            _, digest = found.records[route.name]
            found.events.append({"experiment": one.id, "kind": kind, "detail": detail | {"digest": digest}})
        elif open_ is not None and live is not None:
            kind = "changed" if dict(live.route.plan) == dict(route.plan) else "amended"
            found.events.append({"experiment": open_.id, "kind": kind, "detail": detail})
            if change.test == "new epoch":
                number = open_.epoch + 1
                memory = open_.memory if same_memory(live.route, route) else number
                found.epochs.append(
                    epoch_row(route, open_.id, number=number, memory=memory, revision=revision, now=now)
                )

    def _record(self, route: Route, cap_seconds: int | None) -> dict[str, Any]:
        return record_of(route, cap_seconds=cap_seconds, outcome_window=self._outcome_window, judge=self._judge())


def _opened(route: Route, number: int, now: int, luck: Callable[[int], bytes]) -> Experiment:
    start = route.plan.get("start")
    starts_at = round(datetime.fromisoformat(start).timestamp() * 1000) if start else None
    ramp = route.plan.get("ramp")
    return Experiment(
        id=f"{route.name}-{number}",
        route=route.name,
        number=number,
        name=route.test_name,
        unit=route.unit,
        status="scheduled" if starts_at is not None and starts_at > now else "running",
        salt=luck(16),
        coverage_salt=luck(16),
        epoch=1,
        memory=1,
        opened_at=now,
        starts_at=starts_at,
        shares=ramp_shares(route.arms, ramp, 0) if ramp else None,
    )


def _action(before: dict[str, Any] | None, after: dict[str, Any] | None) -> str:
    if before == after:
        return "keep"
    if before is None:
        return "create"
    return "remove" if after is None else "update"


def _compare(
    changes: Sequence[Change], bases: Mapping[Key, int] | None, author: Author, overwrite: Collection[str]
) -> None:
    """Refuse what would overwrite somebody's work, or what this author may not do."""
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


def _immutable(draft: Draft, live: Mapping[Key, Revision], snapshot: Snapshot) -> list[Problem]:
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


def _write_files(live: Sequence[Revision], files: Mapping[str, str]) -> dict[str, str]:
    written = {}
    for one in live:
        place = place_of(one.kind, one.name)
        written[place] = write_toml(one.body or {}, files.get(place))
    return written


def _drift(files: Mapping[str, str], live: Mapping[Key, dict[str, Any] | None]) -> list[str]:
    different = []
    for place, text in files.items():
        try:
            draft = read_files({place: text})
        except Invalid:
            different.append(place)
            continue
        different += [place_of(*key) for key, body in draft.bodies.items() if live.get(key) != body]
    return different + [place_of(*key) for key in live if place_of(*key) not in files]
