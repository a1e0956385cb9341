"""Keeps outbound attempts: what the switchboard plans, what the dialer claims and settles.

Nothing here waits in a queue or goes to a journal: without the database nothing is dialled.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import sqlalchemy as sa

from gateway import log
from gateway.errors import Invalid, Problem, Unavailable
from gateway.model import Event, NoticeKind
from gateway.storage.attempts import (
    Attempt,
    Dialing,
    Held,
    Limits,
    claim,
    is_open,
    lock_dialing,
    mark,
    release,
    suppress,
    suppressed_among,
)
from gateway.storage.batch import Batch, Statements
from gateway.storage.campaigns import (
    Campaign,
    ContactRow,
    Drawn,
    advance,
    campaign_of,
    claim_contact,
    contact_of,
    give_back,
    move_on,
    set_status,
    told_of,
)
from gateway.storage.engine import BAD_ROW, DOWN, Connection, Database
from gateway.storage.notices import add_notice
from gateway.storage.rows import CallRow, row_in
from gateway.storage.schema import attempt, audit, call, campaign, dialing, experiment, suppression
from gateway.storage.works import AppendEvent, RecordCall, Rules, Supersede, Work

_log = log.get("outbox")

T = TypeVar("T")

# What the outside is told of a campaign that goes on or ends by itself.
_TOLD: Mapping[str, NoticeKind] = {"running": "campaign.started", "completed": "campaign.completed"}


class Then(NamedTuple):
    """What follows for the contact of an attempt that was never a call.

    ``result`` is a word for the retry rules; with ``not_before`` the attempt does not count and the contact waits
    till then. ``pauses`` when the fault is not the contact's: the campaign stops, and ``text`` says why.
    """

    result: str
    text: str
    not_before: int | None = None
    pauses: bool = False


class Outbox:
    """The attempts of every process on one database. Every method raises Unavailable without it."""

    def __init__(self, database: Database, *, rules: Rules, wall: Callable[[], int]) -> None:
        self._database = database
        self._rules = rules
        self._wall = wall
        self._statements = Statements(database)

    async def plan(self, row: CallRow, wanted: Attempt, *, author: str) -> CallRow:
        """Write an attempt, its call and who asked for it in one transaction; returns the call that stands.

        That is ``row`` itself, or an earlier call of the same attempt id. Raises Invalid for a number that must not
        be called.
        """

        def work(connection: sa.Connection) -> CallRow:
            first = self._database.insert(attempt).on_conflict_do_nothing(index_elements=["id"])
            if connection.execute(first.returning(attempt.c.id), wanted._asdict()).first() is None:
                return row_in(connection.execute(sa.select(call).where(call.c.id == wanted.id)).one())
            if suppressed_among(connection, [wanted.to_number]):
                listed = sa.select(suppression.c.reason).where(suppression.c.number == wanted.to_number)
                reason = connection.execute(listed).scalar() or "they were erased"
                text = f"{wanted.to_number} must not be called: {reason}"
                raise Invalid(text, [Problem(place="body", path="to", text=text)])
            self._batch(connection).write([RecordCall(row)])
            entry = {
                "at": wanted.planned_at,
                "author": author,
                "action": "place call",
                "subject": f"call {wanted.id}",
            }
            connection.execute(sa.insert(audit), entry | {"detail": {"route": wanted.route}})
            return row

        return await self._transact(work)

    async def due(self, *, limit: int) -> list[Attempt]:
        """Planned attempts whose time has come, the longest due first."""
        query = (
            sa.select(attempt)
            .where(attempt.c.state == sa.literal_column("'planned'"), attempt.c.not_before <= self._wall())
            .order_by(attempt.c.not_before, attempt.c.id)
        )
        return await self._read(query.limit(limit))

    async def unsettled(self, *states: str) -> list[Attempt]:
        """Open attempts in these states, the oldest first."""
        # They are few, and sorted here: for the sake of the order SQLite would read all attempts ever made.
        found = await self._read(sa.select(attempt).where(is_open(attempt), attempt.c.state.in_(states)))
        return sorted(found, key=lambda one: one.intent_at or 0)

    async def attempt(self, name: str) -> Attempt | None:
        """One attempt, or None."""
        found = await self._read(sa.select(attempt).where(attempt.c.id == name))
        return found[0] if found else None

    async def bound(self, sids: Sequence[str]) -> set[str]:
        """Which of these CallSids belong to a call that we know."""
        async with self._database.read() as connection:
            return set(await connection.scalars(sa.select(call.c.sid).where(call.c.sid.in_(sids))))

    async def claim(self, wanted: Attempt, *, owner: str, limits: Limits) -> Attempt | Held | None:
        """Claim a planned attempt; see ``attempts.claim``. What is returned as an attempt may be sent, once."""

        def work(connection: sa.Connection) -> Attempt | Held | None:
            standing, now = self._turn(connection)
            return claim(connection, wanted, standing, owner=owner, now=now, limits=limits)

        return await self._transact(work)

    async def claim_contact(
        self, one: Campaign, *, owner: str, limits: Limits, draw: Callable[[ContactRow], Drawn]
    ) -> Attempt | Held | None:
        """Claim the next contact of a campaign; see ``campaigns.claim_contact``. An attempt may be sent, once.

        The call is recorded in the same transaction; of a contact's calls the latest is analysed, and the latest
        before the end of the test where that has ended.
        """

        def work(connection: sa.Connection) -> Attempt | Held | None:
            standing, now = self._turn(connection)
            claimed = claim_contact(connection, one, standing, owner=owner, now=now, limits=limits, draw=draw)
            if claimed is None or isinstance(claimed, Held):
                return claimed
            person, drawn = claimed
            if person.call is None:
                works: list[Work] = [RecordCall(drawn.row)]
            elif _is_over(connection, drawn.row.experiment):
                works = [RecordCall(drawn.row._replace(analysed=False))]
            else:
                works = [Supersede(call=person.call, by=drawn.row.id, at=now), RecordCall(drawn.row)]
            self._batch(connection).write(works)
            return drawn.attempt

        return await self._transact(work)

    async def running(self) -> list[Campaign]:
        """The campaigns that are dialled now, the longest running first, after what time has brought."""

        def work(connection: sa.Connection) -> list[tuple[str, str]]:
            moved = advance(connection, self._database, self._wall())
            for name, status in moved:
                if status in _TOLD:
                    self._tell(connection, name, _TOLD[status])
            return moved

        live = sa.select(campaign).where(campaign.c.status.in_(("scheduled", "running", "pausing")))
        async with self._database.read() as connection:
            found = [Campaign(*row) for row in await connection.execute(live.order_by(campaign.c.started_at))]
        if not found:
            return []
        moved = dict(await self._transact(work))
        for name, status in moved.items():
            _log.info("campaign_moved", campaign=name, status=status)
        found = [one._replace(status=moved.get(one.id, one.status)) for one in found]
        return [one for one in found if one.status == "running"]

    async def pause(self, name: str, reason: str) -> None:
        """Stop a campaign from dialling, for the reason given; calls under way go on."""
        _log.error("campaign_paused", campaign=name, reason=reason)
        await self._transact(lambda connection: self._pause(connection, name, reason))

    async def move(self, name: str, *, was: str, state: str, reason: str | None = None, **more: Any) -> bool:
        """Move an attempt from one state to the next; False when it was not where it should have been."""
        return await self._transact(
            lambda connection: mark(connection, name, was=was, state=state, reason=reason, **more)
        )

    async def settle(
        self, event: Event, *, was: str, state: str | None = None, reason: str | None = None, then: Then | None = None
    ) -> None:
        """Append what became of an attempt to its call's timeline and, with ``state``, move it there, together.

        ``then`` is what follows for the contact whom a campaign called.
        """

        def work(connection: sa.Connection) -> None:
            # In the order of every claim and of the ledger's batches, so that no two wait for each other.
            if then is not None and then.pauses:
                lock_dialing(connection, self._database)
            connection.execute(sa.select(call.c.seq).where(call.c.id == event.call).with_for_update())
            # What was never made rang nobody, and is none of the day's calls.
            more = {"intent_at": None} if state == "rejected" else {}
            if state is not None and not mark(connection, event.call, was=was, state=state, reason=reason, **more):
                return
            person = contact_of(connection, event.call) if then is not None else None
            self._batch(connection).write([AppendEvent(event=event)])
            if person is not None and then is not None:
                self._follow(connection, person, then)

        await self._transact(work)

    def _follow(self, connection: sa.Connection, person: ContactRow, then: Then) -> None:
        if then.not_before is not None:
            give_back(connection, person, not_before=then.not_before, text=then.text)
        else:
            terms = campaign_of(connection, person.campaign).terms
            move_on(connection, person._replace(text=then.text), terms, then.result, now=self._wall())
        if then.pauses:
            self._pause(connection, person.campaign, then.text)

    def _pause(self, connection: sa.Connection, name: str, reason: str) -> None:
        was = ("scheduled", "running")
        if set_status(connection, self._database, name, was=was, to="pausing", reason=reason):
            self._tell(connection, name, "campaign.paused")

    def _tell(self, connection: sa.Connection, name: str, kind: NoticeKind) -> None:
        one = campaign_of(connection, name)
        add_notice(connection, kind, f"campaign {name}", told_of(one), self._wall())

    async def stopped(self) -> dict[str, Any] | None:
        """Who stopped all dialling, when and why; None while it goes on."""
        async with self._database.read() as connection:
            row = (await connection.execute(sa.select(dialing).where(dialing.c.stopped))).first()
        return {"author": row.author, "reason": row.reason, "at": row.at} if row else None

    # -- inside a transaction of somebody's own ------------------------------------------------------------

    async def set_stopped(self, connection: Connection, *, stopped: bool, author: str, reason: str) -> None:
        """Throw the kill switch, or lift it: nothing is claimed after this is committed."""
        await connection.run_sync(lock_dialing, self._database)
        values = {"stopped": stopped, "author": author, "reason": reason, "at": self._wall()}
        await connection.execute(sa.update(dialing).values(values))

    async def suppress(self, connection: Connection, number: str, *, reason: str, author: str) -> None:
        """Put a number on the list of those who must not be called."""
        at = self._wall()
        await connection.run_sync(suppress, self._database, number, reason=reason, author=author, at=at)

    async def release(self, connection: Connection, number: str) -> bool:
        """Take a number off that list; False when it was not there."""
        return await connection.run_sync(release, number)

    # ------------------------------------------------------------------------------------------------------

    def _turn(self, connection: sa.Connection) -> tuple[Dialing, int]:
        """Wait for one's turn to claim; returns what stands over all claims, and the time, read only then."""
        return lock_dialing(connection, self._database), self._wall()

    def _batch(self, connection: sa.Connection) -> Batch:
        return Batch(connection, self._statements, self._rules, self._wall())

    async def _transact(self, work: Callable[[sa.Connection], T]) -> T:
        try:
            return await self._database.transact(work)
        except BAD_ROW:
            raise  # a fault of ours, which must not look like a database that is away
        except DOWN as error:
            raise _away() from error

    async def _read(self, query: Any) -> list[Attempt]:
        async with self._database.read() as connection:
            return [Attempt(*row) for row in await connection.execute(query)]


def _is_over(connection: sa.Connection, name: str | None) -> bool:
    closed = sa.exists().where(experiment.c.id == name, experiment.c.closed_at.is_not(None))
    found: bool = connection.execute(sa.select(closed)).scalar_one()
    return found


def _away() -> Unavailable:
    return Unavailable("the database does not answer; nothing is dialled without it")
