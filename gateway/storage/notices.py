"""Notices: what happened and is to be told outside, written where it happens and delivered later to each receiver.

Each function speaks in a transaction that somebody else has open. A delivery is claimed for a while, so that one
process tries it at a time; whatever a process that died had claimed is due again when that while is over.
"""

import secrets
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import sqlalchemy as sa

from gateway.model import NoticeKind
from gateway.storage.engine import Connection
from gateway.storage.schema import delivery, notice

TEST = "test"
"""The kind of a notice that only tries out a receiver."""


class Notice(NamedTuple):
    """What a receiver is told. ``at`` is in Unix milliseconds; repeats of a notice have its ``id``."""

    id: str
    kind: str
    subject: str
    body: Mapping[str, Any]
    at: int


class Claimed(NamedTuple):
    """A delivery that may be tried once by whoever claimed it; ``tries`` counts this one too."""

    notice: Notice
    receiver: str
    tries: int


class Tried(NamedTuple):
    """What came of a try; with ``due_at`` (Unix milliseconds) the delivery waits for another one till then."""

    claimed: Claimed
    state: Literal["waiting", "sent", "failed"]
    text: str
    due_at: int | None = None


def add_notice(connection: sa.Connection, kind: NoticeKind, subject: str, body: Mapping[str, Any], at: int) -> str:
    """Write what happened into the outbox, in the transaction in which it happens; returns the id of the notice.

    ``subject`` is what it happened to (``campaign cmp_…``), ``body`` is JSON, ``at`` is in Unix milliseconds. An
    async transaction calls it as ``await connection.run_sync(add_notice, kind, subject, body, at)``.
    """
    return _add(connection, kind, subject, body, at).id


def add_test(connection: sa.Connection, receivers: Iterable[str], *, at: int, until: int) -> list[Claimed]:
    """Write a test notice to these receivers, claimed ``until`` then for the one who asked for it."""
    told = _add(connection, TEST, "notifications", {}, at, addressed_at=at)
    claimed = [Claimed(told, receiver, 1) for receiver in receivers]
    rows = [_row(told.id, one.receiver, due_at=until) | {"tries": 1} for one in claimed]
    connection.execute(sa.insert(delivery), rows)
    return claimed


async def is_any_due(connection: Connection, now: int) -> bool:
    """Whether a notice has no deliveries yet, or a delivery may be tried."""
    new = sa.exists().where(notice.c.addressed_at.is_(None))
    due = sa.exists().where(delivery.c.due_at <= now)
    found: bool = (await connection.execute(sa.select(sa.or_(new, due)))).scalar_one()
    return found


def claim_due(
    connection: sa.Connection, receivers: Mapping[str, Collection[str]], *, now: int, until: int, limit: int
) -> list[Claimed]:
    """Claim deliveries that are due, the longest due first: until ``until`` nobody else gets them.

    New notices are first addressed to those of the ``receivers`` (name and kinds of notice) whom they concern.
    """
    _address(connection, receivers, now=now, limit=limit)
    due = sa.select(delivery.c.notice, delivery.c.receiver).where(delivery.c.due_at <= now)
    due = due.order_by(delivery.c.due_at).limit(limit).with_for_update(skip_locked=True)
    keys = [(one.notice, one.receiver) for one in connection.execute(due)]
    if not keys:
        return []
    mine = sa.tuple_(delivery.c.notice, delivery.c.receiver).in_(keys)
    connection.execute(sa.update(delivery).where(mine).values(tries=delivery.c.tries + 1, due_at=until))
    columns = (notice.c.id, notice.c.kind, notice.c.subject, notice.c.body, notice.c.at)
    query = sa.select(*columns, delivery.c.receiver, delivery.c.tries).join_from(delivery, notice).where(mine)
    return [Claimed(Notice(*row[:5]), row.receiver, row.tries) for row in connection.execute(query)]


def settle(connection: sa.Connection, tried: Sequence[Tried], *, now: int) -> None:
    """Write what came of tries; nothing of one whose delivery another process has claimed since."""
    for one in tried:
        key = (delivery.c.notice == one.claimed.notice.id, delivery.c.receiver == one.claimed.receiver)
        mine = sa.update(delivery).where(*key, delivery.c.tries == one.claimed.tries, delivery.c.due_at.is_not(None))
        ended_at = now if one.due_at is None else None
        connection.execute(mine.values(state=one.state, text=one.text, due_at=one.due_at, ended_at=ended_at))


def forget_notices(connection: sa.Connection, *, before: int) -> int:
    """Delete the notices of things that happened before then, with their deliveries; returns how many."""
    return connection.execute(sa.delete(notice).where(notice.c.at < before)).rowcount


async def last_ended(connection: Connection, receiver: str) -> tuple[str, str] | None:
    """The state and text of a receiver's latest delivery that has come to an end, or None."""
    ended = sa.select(delivery.c.state, delivery.c.text).where(delivery.c.receiver == receiver)
    query = ended.where(delivery.c.ended_at.is_not(None)).order_by(delivery.c.ended_at.desc()).limit(1)
    row = (await connection.execute(query)).first()
    return (row.state, row.text) if row else None


async def list_notices(connection: Connection, *, before: int | None, limit: int) -> list[dict[str, Any]]:
    """Notices, newest first, from just before the row number ``before``, each with its deliveries."""
    query = sa.select(notice).order_by(notice.c.seq.desc()).limit(limit)
    if before is not None:
        query = query.where(notice.c.seq < before)
    found = [dict(row._mapping) | {"deliveries": []} for row in await connection.execute(query)]
    by_id = {one["id"]: one for one in found}
    deliveries = sa.select(delivery).where(delivery.c.notice.in_(by_id)).order_by(delivery.c.receiver)
    for row in await connection.execute(deliveries):
        by_id[row.notice]["deliveries"].append(dict(row._mapping))
    return found


def _add(
    connection: sa.Connection,
    kind: str,
    subject: str,
    body: Mapping[str, Any],
    at: int,
    *,
    addressed_at: int | None = None,
) -> Notice:
    told = Notice("ntc_" + secrets.token_hex(12), kind, subject, body, at)
    connection.execute(sa.insert(notice), told._asdict() | {"addressed_at": addressed_at})
    return told


def _address(connection: sa.Connection, receivers: Mapping[str, Collection[str]], *, now: int, limit: int) -> None:
    new = sa.select(notice.c.seq, notice.c.id, notice.c.kind).where(notice.c.addressed_at.is_(None))
    found = connection.execute(new.order_by(notice.c.seq).limit(limit).with_for_update(skip_locked=True)).all()
    if not found:
        return
    seen = sa.update(notice).where(notice.c.seq.in_([one.seq for one in found]))
    connection.execute(seen.values(addressed_at=now))
    rows = [
        _row(one.id, receiver, due_at=now)
        for one in found
        for receiver, kinds in receivers.items()
        if one.kind in kinds
    ]
    if rows:
        connection.execute(sa.insert(delivery), rows)


def _row(told: str, receiver: str, *, due_at: int) -> dict[str, Any]:
    return {"notice": told, "receiver": receiver, "state": "waiting", "tries": 0, "due_at": due_at}
