"""Tells whoever follows along what changes: publications, holds, calls, experiments, campaigns, the dialling switch.

One look a second finds what is new, however many follow, and none when nobody does. What is told is written once and
left in the queue of each follower; nobody waits for a slow one.
"""

import asyncio
import json
import secrets
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

from gateway import log
from gateway.errors import Unavailable
from gateway.livestate import LiveState
from gateway.model import Experiment, Snapshot
from gateway.storage.engine import AWAY, Connection, Database
from gateway.storage.feed import (
    Standing,
    Stopped,
    count_contacts,
    published_since,
    standing_campaigns,
    stopped_since,
)
from gateway.storage.outbox import Outbox
from gateway.storage.readings import judged_since
from gateway.traffic import Figures, Traffic

_log = log.get("feed")

EVERY_SECONDS = 1.0
MOST = 500  # followers
WAITING = 64  # what is not yet sent to one follower; with more he is let go
KEPT = 512  # events that a follower who comes back can catch up with
_NAMED = 100  # names in one event
_AT_ONCE = 8  # followers that are given something before calls have their turn
_JUDGED_MS = 60_000  # whoever began to follow before that has been told
_SELDOM_MS = 5_000  # how often what costs more is read
_ENDED_MS = 10 * 60_000

News = tuple[str, Mapping[str, Any]]
"""The kind of an event, and what it tells."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """What was known at a look; ``published`` is what was new then, ``experiments`` are the open ones by route."""

    snapshot: Snapshot = field(default_factory=Snapshot)
    published: Sequence[tuple[str, str]] = ()
    holds: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    experiments: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    stopped: frozenset[Stopped] = frozenset()
    campaigns: Mapping[str, Standing] = field(default_factory=dict)
    contacts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    switch: Mapping[str, Any] | None = None
    drift: Sequence[str] = ()
    judged: Mapping[str, int] = field(default_factory=dict)
    figures: Figures = field(default_factory=Figures)


class Feed:
    """Those who follow, and what they were told."""

    def __init__(
        self,
        database: Database,
        state: LiveState,
        traffic: Traffic,
        outbox: Outbox,
        *,
        drift: Callable[[], Sequence[str]],
        wall: Callable[[], int],
    ) -> None:
        """``drift`` gives the files that differ from what is live."""
        self._database = database
        self._state = state
        self._traffic = traffic
        self._outbox = outbox
        self._drift = drift
        self._wall = wall
        self._looking = asyncio.Lock()
        self._followers: dict[asyncio.Queue[bytes | None], Callable[[], None]] = {}
        self._picture: Picture | None = None
        self._seldom_at = 0
        self._counted: Mapping[str, Standing] = {}
        self._counts: dict[str, dict[str, int]] = {}
        self._began = secrets.token_hex(4)
        self._told = 0
        self._kept: deque[tuple[int, bytes]] = deque(maxlen=KEPT)
        self._closed = False

    @property
    def following(self) -> int:
        """How many follow."""
        return len(self._followers)

    async def run(self) -> None:
        """Look and tell, for ever; without followers nobody looks."""
        while True:
            await asyncio.sleep(EVERY_SECONDS)
            if self._followers:
                try:
                    await self.look()
                except AWAY:
                    continue
                except Exception:
                    _log.exception("feed_failed")

    @asynccontextmanager
    async def follow(self, last: str | None, drop: Callable[[], None]) -> AsyncIterator[asyncio.Queue[bytes | None]]:
        """A queue of events as they go over the wire; None ends it. Raises Unavailable when too many follow.

        First comes what was told after the event ``last``, or, when that is not known, the whole picture. ``drop``
        is called for a follower who does not keep up, and gets nothing more.
        """
        if self._closed or len(self._followers) >= MOST:
            raise Unavailable("too many follow the events; try again in a minute")
        if not self._followers:
            try:
                await self.look()
            except AWAY as error:
                raise Unavailable("the database does not answer; try again shortly") from error
        queue: asyncio.Queue[bytes | None] = asyncio.Queue(WAITING)
        queue.put_nowait(self._since(last))
        self._followers[queue] = drop
        if self._closed:
            self.close()
        try:
            yield queue
        finally:
            self._followers.pop(queue, None)

    def close(self) -> None:
        """End every follower's stream, and take no more."""
        self._closed = True
        for queue in list(self._followers):
            self._put(queue, None)

    # -- telling -------------------------------------------------------------------------------------------

    async def look(self) -> None:
        """Find what is new, and leave it with everybody who follows."""
        async with self._looking:
            before, now = self._picture, await self._read()
            self._picture = now
            if before is None:
                return
            message = b"".join(self._keep(kind, told) for kind, told in changes(before, now))
            followers = list(self._followers) if message else []
            for place, queue in enumerate(followers, 1):
                if queue in self._followers:
                    self._put(queue, message)
                if place % _AT_ONCE == 0:
                    await asyncio.sleep(0)

    def _keep(self, kind: str, told: Mapping[str, Any]) -> bytes:
        self._told += 1
        message = self._event(kind, told)
        self._kept.append((self._told, message))
        return message

    def _event(self, kind: str, told: Mapping[str, Any]) -> bytes:
        return f"id: {self._began}-{self._told}\nevent: {kind}\ndata: {json.dumps(told)}\n\n".encode()

    def _put(self, queue: asyncio.Queue[bytes | None], message: bytes | None) -> None:
        try:
            queue.put_nowait(message)
        except asyncio.QueueFull:
            _log.warning("follower_dropped", waiting=queue.qsize())
            self._followers.pop(queue)()

    def _since(self, last: str | None) -> bytes:
        began, _, number = (last or "").partition("-")
        if began == self._began and number.isascii() and number.isdigit() and len(number) < 16:
            oldest = self._kept[0][0] if self._kept else self._told + 1
            if oldest - 1 <= int(number) <= self._told:
                return b"".join(message for place, message in self._kept if place > int(number))
        return self._event("snapshot", whole(self._picture or Picture()))

    # -- reading -------------------------------------------------------------------------------------------

    async def _read(self) -> Picture:
        before, now, snapshot = self._picture, self._wall(), self._state.snapshot
        seldom = before is None or now - self._seldom_at >= _SELDOM_MS
        held = {name: asdict(hold) for name, hold in self._state.holds.items() if hold.active(now)}
        figures = await self._traffic.figures()
        switch = await self._outbox.stopped()
        async with self._database.read() as connection:
            campaigns = await standing_campaigns(connection, ended_since=now - _ENDED_MS)
            published = await _published(connection, before, snapshot)
            judged = await judged_since(connection, now - _JUDGED_MS)
            stopped = before.stopped if before else frozenset()
            if seldom:
                stopped = frozenset(await stopped_since(connection, now - _ENDED_MS))
                await self._count(connection, campaigns)
                self._seldom_at = now
        experiments = dict(before.experiments) if before else {}
        names = {name for kind, name in published if kind == "route"}
        for name in names | _paused(held) | (_paused(before.holds) if before else set()):
            live = snapshot.routes.get(name)
            experiments.pop(name, None)
            if live is not None and live.experiment is not None:
                paused = live.experiment.status == "running" and name in _paused(held)
                experiments[name] = _shown(live.experiment, "paused" if paused else live.experiment.status)
        return Picture(
            snapshot=snapshot,
            published=published,
            holds=held,
            experiments=experiments,
            stopped=stopped,
            campaigns=campaigns,
            contacts={name: self._counts[name] for name in campaigns if name in self._counts},
            switch=switch,
            drift=tuple(self._drift()),
            judged=judged,
            figures=figures,
        )

    async def _count(self, connection: Connection, campaigns: Mapping[str, Standing]) -> None:
        """Count the contacts of the campaigns that dial, and once more of those that have moved."""
        dial = {name for name, one in campaigns.items() if one.status in ("running", "pausing")}
        moved = {name for name, one in campaigns.items() if self._counted.get(name) != one}
        self._counts |= await count_contacts(connection, sorted(dial | moved))
        self._counts = {name: self._counts[name] for name in campaigns}
        self._counted = campaigns


async def _published(connection: Connection, before: Picture | None, snapshot: Snapshot) -> Sequence[tuple[str, str]]:
    if before is None:
        return [("route", name) for name in snapshot.routes]
    if before.snapshot.publication == snapshot.publication:
        return ()
    return await published_since(connection, before.snapshot.publication)


def _paused(held: Mapping[str, Mapping[str, Any]]) -> set[str]:
    return {name for name, hold in held.items() if hold["to"] == "a"}


def _shown(one: Experiment, status: str) -> dict[str, Any]:
    return {"id": one.id, "route": one.route, "status": status, "winner": None, "epoch": one.epoch}


# -- what is told ----------------------------------------------------------------------------------------------


def changes(before: Picture, now: Picture) -> Iterator[News]:
    """What is to be told to somebody who knew ``before``."""
    if now.snapshot.publication != before.snapshot.publication:
        yield "publication", _publication(now)
    for name in sorted(before.holds.keys() | now.holds.keys()):
        if before.holds.get(name) != now.holds.get(name):
            yield "hold", {"route": name, "hold": now.holds.get(name)}
    yield from _experiments(before, now)
    for name, one in now.campaigns.items():
        counts = now.contacts.get(name)
        if before.campaigns.get(name) != one or before.contacts.get(name) != counts:
            yield "campaign", one._asdict() | {"counts": counts}
    for name, at in now.judged.items():
        if before.judged.get(name) != at:
            yield "judged", {"experiment": name, "at": at}
    if before.switch != now.switch:
        yield "dialing", {"stopped": now.switch}
    if before.drift != now.drift:
        yield "drift", {"files": list(now.drift[:_NAMED])}
    traffic = _traffic(now.figures)
    if traffic != _traffic(before.figures):
        yield "traffic", traffic | {"routes": _moved(before.figures, now.figures)}
    if before.figures.failing != now.figures.failing:
        yield "failover", {"routes": dict(now.figures.failing)}


def whole(now: Picture) -> dict[str, Any]:
    """All that is known, for somebody who knows nothing."""
    return {
        "publication": now.snapshot.publication,
        "holds": list(now.holds.values()),
        "experiments": [now.experiments[name] for name in sorted(now.experiments)],
        "campaigns": [one._asdict() | {"counts": now.contacts.get(one.id)} for one in now.campaigns.values()],
        "dialing": {"stopped": now.switch},
        "drift": list(now.drift[:_NAMED]),
        "traffic": _traffic(now.figures) | {"routes": _moved(Figures(), now.figures)},
        "failover": dict(now.figures.failing),
    }


def _publication(now: Picture) -> dict[str, Any]:
    routes = [name for kind, name in now.published if kind == "route"]
    agents = [name for kind, name in now.published if kind == "agent"]
    return {"publication": now.snapshot.publication, "routes": routes[:_NAMED], "agents": agents[:_NAMED]}


def _experiments(before: Picture, now: Picture) -> Iterator[News]:
    for name in sorted(before.experiments.keys() | now.experiments.keys()):
        old, new = before.experiments.get(name), now.experiments.get(name)
        if old == new:
            continue
        if old is not None and (new is None or new["id"] != old["id"]):
            live = now.snapshot.routes.get(name)
            winner = live.route.winner if live is not None and live.experiment is None else None
            yield "experiment", {**old, "status": "maturing", "winner": winner}
        if new is not None:
            yield "experiment", new
    for one in sorted(now.stopped - before.stopped, key=lambda one: one.id):
        yield "experiment", {"id": one.id, "route": one.route, "status": "stopped", "winner": one.winner}


def _traffic(figures: Figures) -> dict[str, Any]:
    unrouted = figures.today_by_route.get(None, 0)
    return {"under_way": figures.under_way, "today": figures.today, "unrouted_today": unrouted}


def _moved(before: Figures, now: Figures) -> dict[str, int]:
    """The routes whose calls of today are more than they were, and how many they are; all at midnight."""
    old, new = before.today_by_route, now.today_by_route
    names = new.keys() | (old.keys() if now.today < before.today else ())
    return {name: new.get(name, 0) for name in names if name is not None and new.get(name, 0) != old.get(name, 0)}
