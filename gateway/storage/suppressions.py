"""The list of those who must not be called, many at a time; ``attempts`` adds and asks for single numbers."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from gateway.errors import Unavailable
from gateway.storage.attempts import erased_among, lock_dialing
from gateway.storage.bulk import Many
from gateway.storage.engine import DOWN, Connection, Database
from gateway.storage.schema import audit, suppression
from gateway.suppressions import Suppression


async def list_suppressions(
    connection: Connection, *, after: str | None, limit: int, part: str | None = None
) -> list[dict[str, Any]]:
    """The list in the order of its numbers, from just after the number ``after``; those that hold ``part``."""
    query = sa.select(suppression).order_by(suppression.c.number).limit(limit)
    if part is not None:
        query = query.where(suppression.c.number.contains(part, autoescape=True))
    if after is not None:
        query = query.where(suppression.c.number > after)
    return [dict(row._mapping) for row in await connection.execute(query)]


async def import_suppressions(database: Database, rows: Sequence[Suppression], *, author: str, at: int) -> int:
    """Never call these numbers again, and say in the audit log who asked for it, in one transaction.

    Returns how many were not on the list; what is there keeps its reason. Raises Unavailable without the database.
    """
    insert = database.insert(suppression).on_conflict_do_nothing()
    many = Many(database, insert, ("number", "reason", "author", "at"))

    def work(connection: sa.Connection) -> int:
        lock_dialing(connection, database)
        erased = erased_among(connection, [row.number for row in rows])
        told = [(*row, author, at) for row in rows if row.number not in erased]
        if not told:
            return 0
        if database.embedded:
            fresh = many(connection, told)
        else:
            # The driver does not tell how many of many rows it wrote.
            fresh = len(connection.execute(insert.returning(suppression.c.number), many.named(told)).all())
        if fresh:
            entry = {"at": at, "author": author, "action": "import suppressions", "subject": "suppressions"}
            connection.execute(sa.insert(audit), entry | {"detail": {"added": fresh}})
        return fresh

    try:
        return await database.transact(work)
    except DOWN as error:
        raise Unavailable("the database does not answer; what was imported stays, so import it all again") from error
