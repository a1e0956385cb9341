"""The life of a campaign: made of a list of contacts, previewed, started, paused, resumed, cancelled.

The dialer does the calling; what is decided here is who is on the list at all, and what an operator is told of it.
"""

import asyncio
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gateway import log
from gateway.callee import Window, next_opening, zones_of
from gateway.contacts import Contact
from gateway.courtesy import aside
from gateway.csvfile import BadRow
from gateway.errors import Conflict, Invalid, NotFound, Problem
from gateway.model import LiveRoute
from gateway.placing import Contacts
from gateway.storage.attempts import suppressed_among
from gateway.storage.campaignbook import (
    UNENDED,
    Loader,
    all_contacts,
    called_among,
    campaign_named,
    count_contacts,
    next_due,
    unfinished,
    waiting_again,
)
from gateway.storage.campaigns import DAY, Campaign, ContactRow, set_status, told_of
from gateway.storage.engine import Connection, Database
from gateway.storage.notices import add_notice
from gateway.terms import Terms

_log = log.get("campaigns")

PORTION = 250
TOLD_ROWS = 1_000
"""How many bad rows an answer tells of; all of them stand in the campaign's list."""
_SHOWN = 20
_STARTABLE = ("draft", "ready")
_STOPPABLE = ("draft", "ready", "scheduled", "running", "pausing", "paused")


@dataclass(frozen=True, kw_only=True, slots=True)
class Created:
    """A new campaign, and the first rows of its list that nobody is called for."""

    campaign: Campaign
    problems: Sequence[BadRow]


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """How many contacts of a campaign are in each state and ended with each result, altogether and of each arm.

    ``skips`` are the reasons of those who are skipped, ``retries`` tells who waits to be called again: after which
    result, how many, from when on. ``due_at`` is when the next contact may be called, None when nobody waits;
    ``obstacle`` says why nobody is called on its route, None when nothing stands against it or it is over.
    """

    obstacle: str | None = None
    due_at: int | None = None
    retries: Sequence[tuple[str, int, int]] = ()
    states: Counter[str] = field(default_factory=Counter)
    results: Counter[str] = field(default_factory=Counter)
    skips: Counter[str] = field(default_factory=Counter)
    arms: dict[str, Counter[str]] = field(default_factory=dict)
    arm_results: dict[str, Counter[str]] = field(default_factory=dict)


@dataclass(kw_only=True, slots=True)
class _Reading:
    """What has been read of a list so far."""

    campaign: Campaign
    terms: Terms
    live: LiveRoute
    good: int = 0
    bad: list[BadRow] = field(default_factory=list)
    skipped: int = 0

    def rows(self, contacts: Contacts, told: Sequence[Contact | BadRow]) -> list[ContactRow]:
        """The rows to keep of what was read."""
        return [self._row(contacts, one) for one in told]

    def _row(self, contacts: Contacts, told: Contact | BadRow) -> ContactRow:
        if isinstance(told, BadRow):
            return self._skip(told.line, "", "row", told.text, {})
        person = ContactRow(
            self.campaign.id,
            told.line,
            self.good,
            told.to,
            told.timezone,
            told.consent,
            dict(told.variables),
            "waiting",
        )
        never = contacts.never(self.terms, self.live.route, person)
        if never is not None:
            return self._skip(told.line, told.to, never.result, never.text, person.variables)
        self.good += 1
        return person

    def _skip(self, line: int, number: str, result: str, text: str, variables: Any) -> ContactRow:
        self.skipped += 1
        if len(self.bad) < TOLD_ROWS:
            self.bad.append(BadRow(line=line, text=text))
        whole = (self.campaign.id, line, None, number, None, None, variables)
        return ContactRow(*whole, state="skipped", result=result, text=text)


class Campaigns:
    """The campaigns of one gateway."""

    def __init__(
        self, database: Database, contacts: Contacts, *, can_dial: bool, rate: float, wall: Callable[[], int]
    ) -> None:
        """``can_dial`` is whether this gateway has Twilio's API, ``rate`` the calls a second of all campaigns."""
        self._database = database
        self._contacts = contacts
        self._can_dial = can_dial
        self._rate = rate
        self._wall = wall

    # -- making one ----------------------------------------------------------------------------------------

    async def create(
        self, name: str, route: str, terms: Terms, pieces: AsyncIterator[Sequence[Contact | BadRow]], *, author: str
    ) -> Created:
        """Keep a list as it streams in. Raises Invalid where no row is good, or the route or a setting is not."""
        live = self._contacts.route_of(route)
        self._contacts.hours(terms)
        one = Campaign(
            id="cmp_" + secrets.token_hex(8),
            name=name,
            route=route,
            status="loading",
            reason="",
            settings=terms.model_dump(mode="json", exclude_unset=True),
            author=author,
            contacts=0,
            skipped=0,
            created_at=self._wall(),
        )
        loader = Loader(self._database)
        one = await loader.open(one)
        reading = _Reading(campaign=one, terms=terms, live=live)
        try:
            await self._load(loader, reading, pieces)
            if not reading.good:
                raise _no_good_row(reading.bad)
            await loader.close(one.id, contacts=reading.good, skipped=reading.skipped)
        except BaseException:
            await asyncio.shield(loader.drop(one.id))
            raise
        one = one._replace(status="draft", contacts=reading.good, skipped=reading.skipped)
        return Created(campaign=one, problems=reading.bad)

    async def _load(
        self, loader: Loader, reading: _Reading, pieces: AsyncIterator[Sequence[Contact | BadRow]]
    ) -> None:
        waiting: list[ContactRow] = []
        async for piece in pieces:
            waiting += await aside(reading.rows, self._contacts, piece)
            while len(waiting) >= PORTION:
                await loader.add(waiting[:PORTION])
                del waiting[:PORTION]
        if waiting:
            await loader.add(waiting)

    async def tidy(self) -> None:
        """Take away what a process that ended in the middle of a list has left."""
        async with self._database.read() as connection:
            stale = await unfinished(connection, before=self._wall() - DAY)
        for name in stale:
            _log.warning("unfinished_campaign_dropped", campaign=name)
            await Loader(self._database).drop(name)

    # -- reading -------------------------------------------------------------------------------------------

    async def find(self, name: str) -> Campaign:
        """One campaign; raises NotFound."""
        async with self._database.read() as connection:
            one = await campaign_named(connection, name)
        if one is None:
            raise NotFound(f"there is no campaign {name}")
        return one

    async def standing(self, one: Campaign) -> Standing:
        """How far a campaign has come."""
        async with self._database.read() as connection:
            counts = await count_contacts(connection, one.id)
            retries, due = await waiting_again(connection, one.id), await next_due(connection, one.id)
        obstacle = self._why_not(one) if one.status in UNENDED else None
        told = Standing(obstacle=obstacle, due_at=due, retries=retries)
        for state, result, arm, count in counts:
            told.states[state] += count
            if result is not None:
                told.results[result] += count
            if result is not None and state == "skipped":
                told.skips[result] += count
            if arm is not None:
                told.arms.setdefault(arm, Counter())[state] += count
                results = told.arm_results.setdefault(arm, Counter())
                if result is not None:
                    results[result] += count
        return told

    async def preview(self, one: Campaign) -> dict[str, Any]:
        """What starting would do, contact by contact; dials nobody. A draft that nothing stands against is ready."""
        obstacle = self._why_not(one)
        terms = one.terms
        look = _Look(contacts=self._contacts, terms=terms, now=max(self._wall(), terms.start_at or 0))
        if obstacle is None:
            look.hours, look.live = self._contacts.hours(terms), self._contacts.route_of(one.route)
            async for people in all_contacts(self._database, one.id):
                numbers = [person.to_number for person in people]
                async with self._database.read() as connection:
                    suppressed = await connection.run_sync(suppressed_among, numbers)
                    called = await called_among(connection, numbers, now=look.now)
                await aside(look.at, people, suppressed, called)
        if obstacle is None and look.callable and one.status == "draft":
            await self._database.transact(lambda c: set_status(c, self._database, one.id, was=("draft",), to="ready"))
        rate = min(self._rate, terms.calls_per_second or self._rate)
        return look.told() | {"obstacle": obstacle, "at_least_seconds": round(look.callable / rate)}

    def _why_not(self, one: Campaign) -> str | None:
        if not self._can_dial:
            return "calls cannot be placed: Twilio's API needs twilio.account_sid with its auth token, or an API key"
        return self._contacts.obstacle(one)

    # -- inside a transaction of somebody's own ------------------------------------------------------------

    async def start(self, connection: Connection, one: Campaign) -> None:
        """Let the dialer call its contacts, at ``start_at`` if that lies ahead."""
        obstacle = self._why_not(one)
        if obstacle is not None:
            raise Invalid(obstacle, [Problem(place="campaign", path="route", text=obstacle)])
        now = self._wall()
        if (one.terms.start_at or 0) > now:
            await self._move(connection, one, "start", was=_STARTABLE, to="scheduled")
        else:
            await self._move(connection, one, "start", was=_STARTABLE, to="running", started_at=now)
            body = told_of(one._replace(status="running", started_at=now))
            await connection.run_sync(add_notice, "campaign.started", f"campaign {one.id}", body, now)

    async def pause(self, connection: Connection, one: Campaign, reason: str) -> None:
        """Dial nobody more of it once this is committed; calls under way go on."""
        was = ("scheduled", "running")
        await self._move(connection, one, "pause", was=was, to="pausing", reason=reason)

    async def resume(self, connection: Connection, one: Campaign) -> None:
        """Go on where it was paused; one that had not begun waits for its time again."""
        to = "scheduled" if one.started_at is None else "running"
        await self._move(connection, one, "resume", was=("paused", "pausing"), to=to)

    async def cancel(self, connection: Connection, one: Campaign, reason: str) -> None:
        """End it for good; calls under way go on, nobody else is called."""
        ended = {"reason": reason, "ended_at": self._wall()}
        await self._move(connection, one, "cancel", was=_STOPPABLE, to="cancelled", **ended)

    async def _move(
        self, connection: Connection, one: Campaign, verb: str, *, was: Sequence[str], to: str, **more: Any
    ) -> None:
        def moved(sync: Any) -> bool:
            return set_status(sync, self._database, one.id, was=was, to=to, **more)

        if not await connection.run_sync(moved):
            states = " or ".join(was)
            raise Conflict(f"campaign {one.id} is {one.status}: only one that is {states} can {verb}")


@dataclass(kw_only=True, slots=True)
class _Look:
    """What a preview has seen so far."""

    contacts: Contacts
    terms: Terms
    now: int
    live: LiveRoute | None = None
    hours: Window | None = None
    callable: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    arms: Counter[tuple[str, str]] = field(default_factory=Counter)
    openings: Counter[int] = field(default_factory=Counter)
    first: list[dict[str, Any]] = field(default_factory=list)
    _known: dict[tuple[int | str, ...], int | None] = field(default_factory=dict)

    def at(self, people: Sequence[ContactRow], suppressed: set[str], called: Mapping[str, Sequence[int]]) -> None:
        """Look at some contacts; ``called`` is when their numbers were called within the last day, latest first."""
        for person in people:
            result = self._why_skipped(person, suppressed)
            opening = None if result else self._opening(person, called.get(person.to_number, ()))
            if result is None and opening is None:
                result = "timezone"
            if result is not None:
                self.skipped[result] += 1
            elif opening is not None and person.state == "waiting":
                self._count(person, opening)

    def _why_skipped(self, person: ContactRow, suppressed: set[str]) -> str | None:
        if person.state == "skipped":
            return person.result
        if person.to_number in suppressed:
            return "suppressed"
        if self.live is None:
            return "route"
        never = self.contacts.never(self.terms, self.live.route, person)
        return never.result if never else None

    def _opening(self, person: ContactRow, called: Sequence[int]) -> int | None:
        zone, number, most = person.timezone, person.to_number, self.terms.max_attempts_per_day
        earliest = max(self.now, person.not_before, called[most - 1] + DAY if len(called) >= most else 0)
        # People in one zone share their hours, and to find these out takes longer than all else.
        place: tuple[int | str, ...] = (earliest, zone, "") if zone else (earliest, "", *zones_of(number))
        if place not in self._known:
            self._known[place] = next_opening(earliest, zone=zone, number=number, window=self.hours)
        return self._known[place]

    def _count(self, person: ContactRow, opening: int) -> None:
        if self.live is None:
            return
        given = self.contacts.assignment(self.live, person)
        self.callable += 1
        self.arms[given.arm, given.version] += 1
        self.openings[opening] += 1
        if len(self.first) < _SHOWN:
            shown = {"line": person.line, "to": person.to_number, "arm": given.arm, "version": given.version}
            self.first.append(shown | {"at": opening})

    def told(self) -> dict[str, Any]:
        """In the shape of the API."""
        arms = [
            {"arm": arm, "version": version, "contacts": count, "share": count / self.callable}
            for (arm, version), count in sorted(self.arms.items())
        ]
        return {
            "contacts": self.callable,
            "skipped": [{"result": result, "contacts": count} for result, count in self.skipped.most_common()],
            "arms": arms,
            "openings": [{"at": at, "contacts": count} for at, count in sorted(self.openings.items())],
            "first": self.first,
        }


def _no_good_row(bad: Sequence[BadRow]) -> Invalid:
    problems = [Problem(place="contacts", path=f"line {row.line}", text=row.text) for row in bad]
    first = f": line {bad[0].line}: {bad[0].text}" if bad else ""
    return Invalid(f"no row of the list can be called{first}", problems)
