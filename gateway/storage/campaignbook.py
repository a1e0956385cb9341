"""Loads campaigns with their contacts, some hundred rows at a time, and reads how they stand."""

from collections.abc import AsyncIterator, Sequence
from itertools import count
from typing import Any

import sqlalchemy as sa

from gateway.storage.attempts import lock_dialing
from gateway.storage.bulk import Many
from gateway.storage.campaigns import Campaign, ContactRow, of_the_day
from gateway.storage.engine import Connection, Database
from gateway.storage.schema import attempt, campaign, contact

_WRITTEN = ContactRow._fields[: ContactRow._fields.index("call")]
_PORTION = 250

UNENDED = ("loading", "draft", "ready", "scheduled", "running", "pausing", "paused")
"""The statuses of a campaign that can still change."""


class Loader:
    """Writes the contacts of a campaign in transactions of their own, so that no call waits for a long list."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._insert = Many(database, sa.insert(contact), _WRITTEN)

    async def open(self, one: Campaign) -> Campaign:
        """Write the campaign itself; it can be started once it is closed.

        Returns it as it is written: at the first millisecond from its own on that no campaign has, because pages of
        the list go on from there.
        """

        def write(connection: sa.Connection) -> Campaign:
            lock_dialing(connection, self._database)
            later = sa.select(campaign.c.created_at).where(campaign.c.created_at >= one.created_at)
            taken = set(connection.scalars(later))
            written = one._replace(created_at=next(at for at in count(one.created_at) if at not in taken))
            connection.execute(sa.insert(campaign), written._asdict())
            return written

        return await self._database.transact(write)

    async def add(self, people: Sequence[ContactRow]) -> None:
        """Write some contacts."""
        rows = [tuple(person)[: len(_WRITTEN)] for person in people]
        await self._database.transact(lambda connection: self._insert(connection, rows))

    async def close(self, name: str, *, contacts: int, skipped: int) -> None:
        """Everything is written: the campaign is a draft."""
        whole = sa.update(campaign).where(campaign.c.id == name)
        values = {"status": "draft", "contacts": contacts, "skipped": skipped}
        await self._database.transact(lambda connection: connection.execute(whole.values(values)))

    async def drop(self, name: str) -> None:
        """Take a campaign away that could not be loaded."""
        some = sa.select(contact.c.line).where(contact.c.campaign == name).limit(_PORTION)
        gone = sa.delete(contact).where(contact.c.campaign == name, contact.c.line.in_(some.scalar_subquery()))
        while await self._database.transact(lambda connection: connection.execute(gone).rowcount):
            pass
        last = sa.delete(campaign).where(campaign.c.id == name)
        await self._database.transact(lambda connection: connection.execute(last))


async def unfinished(connection: Connection, *, before: int) -> list[str]:
    """Campaigns whose loading began before then and never ended."""
    stale = sa.select(campaign.c.id).where(campaign.c.status == "loading", campaign.c.created_at < before)
    return list(await connection.scalars(stale))


async def campaign_named(connection: Connection, name: str) -> Campaign | None:
    """One campaign, or None."""
    row = (await connection.execute(sa.select(campaign).where(campaign.c.id == name))).first()
    return Campaign(*row) if row else None


async def list_campaigns(
    connection: Connection, *, before: int | None, limit: int, name: str | None = None, status: str | None = None
) -> list[Campaign]:
    """Campaigns, the newest first, from those made before ``before`` (Unix milliseconds) on."""
    query = sa.select(campaign).order_by(campaign.c.created_at.desc(), campaign.c.id).limit(limit)
    if before is not None:
        query = query.where(campaign.c.created_at < before)
    if name is not None:
        query = query.where(campaign.c.name == name)
    if status is not None:
        query = query.where(campaign.c.status == status)
    return [Campaign(*row) for row in await connection.execute(query)]


async def count_contacts(connection: Connection, name: str) -> list[tuple[str, str | None, str | None, int]]:
    """How many contacts of a campaign there are of each state, result and arm."""
    columns = (contact.c.state, contact.c.result, contact.c.arm)
    query = sa.select(*columns, sa.func.count()).where(contact.c.campaign == name).group_by(*columns)
    return [(row[0], row[1], row[2], row[3]) for row in await connection.execute(query)]


async def count_states(connection: Connection, names: Sequence[str]) -> dict[str, dict[str, int]]:
    """How many contacts of each of these campaigns there are in each state."""
    columns = (contact.c.campaign, contact.c.state)
    query = sa.select(*columns, sa.func.count()).where(contact.c.campaign.in_(names)).group_by(*columns)
    counted: dict[str, dict[str, int]] = {}
    for name, state, many in await connection.execute(query):
        counted.setdefault(name, {})[state] = many
    return counted


async def waiting_again(connection: Connection, name: str) -> list[tuple[str, int, int]]:
    """Who waits to be called again: after which result, how many, and from when on the first of them."""
    waits = sa.and_(contact.c.campaign == name, contact.c.state == "waiting", contact.c.result.is_not(None))
    columns = (contact.c.result, sa.func.count(), sa.func.min(contact.c.not_before))
    query = sa.select(*columns).where(waits).group_by(contact.c.result).order_by(contact.c.result)
    return [(row[0], row[1], row[2]) for row in await connection.execute(query)]


async def next_due(connection: Connection, name: str) -> int | None:
    """From when on the next contact of a campaign may be called; None when nobody waits."""
    query = sa.select(sa.func.min(contact.c.not_before))
    found: int | None = await connection.scalar(query.where(contact.c.campaign == name, contact.c.state == "waiting"))
    return found


async def contacts_page(
    connection: Connection, name: str, *, after: int, limit: int, state: str | None = None, result: str | None = None
) -> list[ContactRow]:
    """The contacts of a campaign behind the line ``after``, in the order of its list."""
    query = sa.select(contact).where(contact.c.campaign == name, contact.c.line > after)
    if state is not None:
        query = query.where(contact.c.state == state)
    if result is not None:
        query = query.where(contact.c.result == result)
    return [ContactRow(*row) for row in await connection.execute(query.order_by(contact.c.line).limit(limit))]


async def all_contacts(database: Database, name: str, **which: Any) -> AsyncIterator[list[ContactRow]]:
    """The contacts of a campaign, portion by portion; no connection is held in between."""
    after = 0
    while True:
        async with database.read() as connection:
            people = await contacts_page(connection, name, after=after, limit=_PORTION, **which)
        if not people:
            return
        yield people
        after = people[-1].line


async def called_among(connection: Connection, numbers: Sequence[str], *, now: int) -> dict[str, list[int]]:
    """When each of these numbers was called within the day before ``now``, the latest call first."""
    query = sa.select(attempt.c.to_number, attempt.c.intent_at).where(of_the_day(now))
    query = query.where(attempt.c.to_number.in_(numbers)).order_by(attempt.c.intent_at.desc())
    calls: dict[str, list[int]] = {}
    for number, at in await connection.execute(query):
        calls.setdefault(number, []).append(at)
    return calls
