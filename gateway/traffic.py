"""Keeps the figures of the overview: calls under way, calls by route and hour, and handoffs that failed just now.

Each look reads only what came since the last one, so that a table of a million calls costs no more than a new one.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from gateway.storage.engine import AWAY, Database
from gateway.storage.traffic import HOUR, count_calls, count_open, failed_handoffs, first_since, newest

HOURS = 24
FAILING_MILLISECONDS = 5 * 60_000
_FRESH_MILLISECONDS = 1000
# On PostgreSQL a row can be committed after one with a higher number: the newest rows are counted again for a while.
_SETTLED_MILLISECONDS = 15_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Figures:
    """What was counted at ``at``. ``hours`` are the last 24 hours, oldest first; ``today`` begins at 00:00 UTC.

    ``failing`` gives, for each route with a failed handoff in the last five minutes, how many there were.
    """

    at: int = 0
    under_way: int = 0
    today: int = 0
    hours: tuple[int, ...] = (0,) * HOURS
    today_by_route: Mapping[str | None, int] = field(default_factory=dict)
    hours_by_route: Mapping[str | None, tuple[int, ...]] = field(default_factory=dict)
    failing: Mapping[str, int] = field(default_factory=dict)


class Traffic:
    """Counts, for however many pages ask, once a second at most."""

    def __init__(self, database: Database, *, wall: Callable[[], int]) -> None:
        self._database = database
        self._wall = wall
        self._counting = asyncio.Lock()
        self._figures = Figures()
        self._settled: Counter[tuple[str | None, int]] = Counter()
        self._failures: list[tuple[str, int]] = []
        self._upto: tuple[int, int] | None = None
        # Where the tables ended at some moments past, oldest first.
        self._ends: list[tuple[int, tuple[int, int]]] = []

    async def figures(self) -> Figures:
        """The figures of this moment, at most a second old; without the database the last ones known."""
        async with self._counting:
            now = self._wall()
            if now - self._figures.at >= _FRESH_MILLISECONDS:
                with suppress(*AWAY):
                    self._figures = await self._count(now)
            return self._figures

    async def _count(self, now: int) -> Figures:
        oldest, since = now // HOUR - HOURS + 1, now - FAILING_MILLISECONDS
        async with self._database.read() as connection:
            if self._upto is None:
                self._upto = await first_since(connection, calls=oldest * HOUR, events=since)
            end = await newest(connection)
            settled = self._settled_end(now, end)
            if settled != self._upto:
                for one in await count_calls(connection, after=self._upto[0], upto=settled[0]):
                    self._settled[one.route, one.hour] += one.calls
                self._failures += await failed_handoffs(connection, after=self._upto[1], upto=settled[1], since=since)
                self._upto = settled
            fresh = await count_calls(connection, after=settled[0], upto=end[0])
            failures = await failed_handoffs(connection, after=settled[1], upto=end[1], since=since)
            under_way = await count_open(connection)
        for key in [key for key in self._settled if key[1] < oldest]:
            del self._settled[key]
        self._failures = [one for one in self._failures if one[1] >= since]
        counted = self._settled.copy()
        counted.update({(one.route, one.hour): one.calls for one in fresh})
        # With many routes this takes tens of milliseconds, but of any second no more than once.
        return await asyncio.to_thread(_figures, counted, [*self._failures, *failures], now, under_way)

    def _settled_end(self, now: int, end: tuple[int, int]) -> tuple[int, int]:
        """How far the tables reached when the last commit that could still be under way began."""
        self._ends.append((now, end))
        settled = self._upto or (0, 0)
        while self._ends and self._ends[0][0] <= now - _SETTLED_MILLISECONDS:
            settled = self._ends.pop(0)[1]
        return settled


def _figures(
    counted: Mapping[tuple[str | None, int], int], failures: list[tuple[str, int]], now: int, under_way: int
) -> Figures:
    first, midnight = now // HOUR - HOURS + 1, now // HOUR // HOURS * HOURS
    total, today = [0] * HOURS, Counter[str | None]()
    by_route: dict[str | None, list[int]] = {}
    for (route, hour), calls in counted.items():
        place = hour - first
        if not 0 <= place < HOURS:
            continue
        total[place] += calls
        by_route.setdefault(route, [0] * HOURS)[place] += calls
        if hour >= midnight:
            today[route] += calls
    return Figures(
        at=now,
        under_way=under_way,
        today=today.total(),
        hours=tuple(total),
        today_by_route=today,
        hours_by_route={route: tuple(hours) for route, hours in by_route.items()},
        failing=Counter(route for route, _ in failures),
    )
