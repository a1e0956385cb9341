"""Keeps the live state in memory: one frozen Snapshot, swapped by one reference when something newer is published.

The newest revisions in the database are right; a copy on the local disk stands in when it does not answer.
"""

import asyncio
import gc
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from gateway import log
from gateway.decide import weighted
from gateway.errors import Unavailable
from gateway.model import Experiment, Hold, LiveRoute, Snapshot, Version
from gateway.routefile import build_route, build_versions
from gateway.storage.bootfile import BootFile, Entry
from gateway.storage.engine import DOWN, Database
from gateway.storage.experiments import open_experiments
from gateway.storage.revisions import (
    Revision,
    list_holds,
    live_revisions,
    newest_publication,
    revision_of,
)

_log = log.get("livestate")

LOOK_SECONDS = 1.0
# How many replaced routes are kept in memory for calls that were assigned under them.
_PAST = 10_000


def advance(
    snapshot: Snapshot, revisions: Sequence[Revision], experiments: Mapping[str, Experiment], publication: int
) -> Snapshot:
    """The snapshot after these revisions; everything that they do not name is taken over as it is."""
    routes, numbers, versions = dict(snapshot.routes), dict(snapshot.numbers), dict(snapshot.versions)
    for revision in revisions:
        if revision.kind == "agent":
            _replace_versions(versions, revision)
    changed = [revision for revision in revisions if revision.kind == "route"]
    # Numbers may move from one route to another in one publication: all are let go before any is taken.
    for revision in changed:
        old = routes.pop(revision.name, None)
        if old is not None and old.route.direction == "inbound":
            for number in old.route.numbers:
                numbers.pop(number, None)
    for revision in changed:
        if revision.body is None:
            continue
        route, test = build_route(revision.name, revision.body), experiments.get(revision.name)
        if test is not None and test.shares is not None:
            route = replace(route, arms=weighted(route.arms, test.shares))
        live = LiveRoute(route=route, revision=revision.number, experiment=test)
        routes[revision.name] = live
        if route.direction == "inbound":
            numbers.update(dict.fromkeys(route.numbers, live))
    return Snapshot(publication=publication, routes=routes, numbers=numbers, versions=versions)


def _replace_versions(versions: dict[str, Version], revision: Revision) -> None:
    new = {version.name: version for version in build_versions(revision.name, revision.body or {})}
    # Only an agent's own names can be gone: they are looked for by number, not in the whole table.
    number = 1
    old = f"{revision.name}@{number}"
    while old in versions or number <= len(new):
        if old in versions and old not in new:
            del versions[old]
        number += 1
        old = f"{revision.name}@{number}"
    versions.update(new)


class LiveState:
    """The live Snapshot and holds, and how they follow the database."""

    def __init__(self, database: Database, bootfile: BootFile, *, wall: Callable[[], int]) -> None:
        self._database = database
        self._bootfile = bootfile
        self._wall = wall
        self._past: OrderedDict[tuple[str, int], LiveRoute] = OrderedDict()
        self._held = 0
        self._looking = asyncio.Lock()
        self._saving = asyncio.Lock()
        self._unsaved: deque[Callable[[], None]] = deque()
        self.snapshot = Snapshot()
        self.holds: Mapping[str, Hold] = {}
        self.from_disk = False
        self.looked_at = 0

    async def load(self) -> None:
        """Read the whole live state: from the database, or from the disk when it does not answer."""
        # A hundred thousand routes are built in one go; collecting garbage meanwhile would only search them.
        gc.disable()
        try:
            try:
                await self.refresh()
            except Unavailable:
                entries = await asyncio.to_thread(self._bootfile.read)
                await self._take_from_disk(entries)
        finally:
            gc.collect()
            gc.freeze()
            gc.enable()

    async def _take_from_disk(self, entries: Sequence[Entry]) -> None:
        revisions = [revision for revision, _ in entries]
        experiments = {one.route: one for _, one in entries if one is not None}
        newest = max((revision.publication for revision in revisions), default=0)
        self.snapshot = await asyncio.to_thread(advance, Snapshot(), revisions, experiments, newest)
        self.from_disk = True
        _log.warning("serving_from_disk", routes=len(self.snapshot.routes), publication=newest)

    async def refresh(self) -> bool:
        """Take over whatever was published since the last look; True when something was.

        Raises Unavailable when the database does not answer; the snapshot in hand stays.
        """
        async with self._looking:
            try:
                return await self._look()
            except DOWN as error:
                raise Unavailable("the database does not answer; try again shortly") from error

    async def _look(self) -> bool:
        async with self._database.read() as connection:
            newest, held = await newest_publication(connection)
            if held != self._held:
                self.holds, self._held = await list_holds(connection), held
            since = 0 if self.from_disk else self.snapshot.publication
            if newest == since and not self.from_disk:
                self.looked_at = self._wall()
                return False
            revisions = await live_revisions(connection, since)
            routes = [revision.name for revision in revisions if revision.kind == "route"]
            experiments = await open_experiments(connection, None if since == 0 else routes)
        base = Snapshot() if self.from_disk else self.snapshot
        snapshot = await asyncio.to_thread(advance, base, revisions, experiments, newest)
        self._keep_past(routes)
        self.snapshot, self.from_disk, self.looked_at = snapshot, False, self._wall()
        entries = [(one, experiments.get(one.name) if one.kind == "route" else None) for one in revisions]
        write = self._bootfile.append if since else self._bootfile.rewrite
        self._unsaved.append(lambda: write(entries))
        _log.info("published", publication=newest, changed=len(revisions))
        return True

    async def rewrite_copy(self) -> None:
        """Write the copy on the disk anew, without the older states that it has grown by."""
        async with self._database.read() as connection:
            revisions, experiments = await live_revisions(connection), await open_experiments(connection)
        entries = [(one, experiments.get(one.name) if one.kind == "route" else None) for one in revisions]
        self._unsaved.append(lambda: self._bootfile.rewrite(entries))
        await self.save()

    async def save(self) -> None:
        """Bring the copy on the disk up to date with what was taken over; nobody waits for it."""
        async with self._saving:
            while self._unsaved:
                try:
                    await asyncio.to_thread(self._unsaved[0])
                except OSError as error:
                    _log.error("bootfile_not_written", error=str(error))
                self._unsaved.popleft()

    def _keep_past(self, routes: Sequence[str]) -> None:
        for name in routes[:_PAST]:
            old = self.snapshot.routes.get(name)
            if old is not None:
                self._past[name, old.revision] = old
        while len(self._past) > _PAST:
            self._past.popitem(last=False)

    async def watch(self) -> None:
        """Look every second, for ever."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await self.save()
                await self.refresh()
            except Unavailable:
                continue
            except Exception:
                _log.exception("refresh_failed")

    async def route_at(self, name: str, number: int) -> LiveRoute | None:
        """A route as some revision had it, for calls that were assigned under it; None when it is unknown."""
        live = self.snapshot.routes.get(name)
        if live is not None and live.revision == number:
            return live
        past = self._past.get((name, number))
        if past is not None:
            return past
        try:
            async with self._database.read() as connection:
                old = await revision_of(connection, "route", name, number)
        except Unavailable:
            return live
        if old is None or old.body is None:
            return live
        return LiveRoute(route=build_route(name, old.body), revision=number)
