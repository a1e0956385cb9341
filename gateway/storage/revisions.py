"""What is published: numbered, immutable revisions of routes and agents, and holds."""

from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.model import Hold
from gateway.storage.engine import Database
from gateway.storage.schema import head, hold, live, publication, revision

Key = tuple[str, str]
"""What a revision is of: its kind (``route`` or ``agent``) and its name."""

# SQLite takes some 32,000 parameters in one statement; this stays far below, also with two a key.
CHUNK = 1000


class Revision(NamedTuple):
    """One published state. ``body`` is None when this revision removed the thing.

    ``in_folder`` says whether the operator's folder is known to have held it. A tuple, because a start makes one for
    each of a hundred thousand routes.
    """

    kind: str
    name: str
    number: int
    publication: int
    body: dict[str, Any] | None
    in_folder: bool
    author: str = ""
    door: str = ""
    message: str = ""
    at: int = 0


async def newest_publication(connection: AsyncConnection) -> tuple[int, int]:
    """The number of the newest publication, and a number that moves with every change of a hold."""
    row = (await connection.execute(sa.select(head.c.publication, head.c.holds))).first()
    return (row.publication, row.holds) if row else (0, 0)


async def live_revisions(connection: AsyncConnection, since: int = 0) -> list[Revision]:
    """The live revisions that were published after ``since``; all of them by default."""
    query = (
        sa.select(revision)
        .join(
            live,
            (live.c.kind == revision.c.kind)
            & (live.c.name == revision.c.name)
            & (live.c.number == revision.c.number),
        )
        .where(live.c.publication > since)
    )
    return [Revision(*row) async for row in streamed(connection, query)]


async def write_all(connection: AsyncConnection, statement: Any, rows: Sequence[dict[str, Any]]) -> None:
    """Execute a statement for every row, some hundreds at a time: between these the event loop answers calls."""
    for start in range(0, len(rows), CHUNK):
        await connection.execute(statement, rows[start : start + CHUNK])


async def streamed(connection: AsyncConnection, query: Any) -> AsyncIterator[Any]:
    """The rows of a query some hundreds at a time: between these the event loop answers calls."""
    async for part in (await connection.stream(query)).partitions(CHUNK):
        for row in part:
            yield row


async def live_of(connection: AsyncConnection, keys: Iterable[Key]) -> dict[Key, Revision]:
    """The live revisions of some things, with who published them and why."""
    found: dict[Key, Revision] = {}
    wanted = list(keys)
    for start in range(0, len(wanted), CHUNK):
        rows = await connection.execute(
            _with_author()
            .join(
                live,
                (live.c.kind == revision.c.kind)
                & (live.c.name == revision.c.name)
                & (live.c.number == revision.c.number),
            )
            .where(sa.tuple_(live.c.kind, live.c.name).in_(wanted[start : start + CHUNK]))
        )
        found |= {(row.kind, row.name): Revision(**row._mapping) for row in rows}
    return found


async def history(connection: AsyncConnection, kind: str, name: str) -> list[Revision]:
    """Every revision of one thing, newest first."""
    rows = await connection.execute(
        _with_author().where(revision.c.kind == kind, revision.c.name == name).order_by(revision.c.number.desc())
    )
    return [Revision(**row._mapping) for row in rows]


async def revision_of(connection: AsyncConnection, kind: str, name: str, number: int) -> Revision | None:
    """One revision, or None."""
    rows = await connection.execute(
        _with_author().where(revision.c.kind == kind, revision.c.name == name, revision.c.number == number)
    )
    row = rows.first()
    return Revision(**row._mapping) if row else None


def _with_author() -> sa.Select[Any]:
    told = (publication.c.author, publication.c.door, publication.c.message, publication.c.at)
    return sa.select(revision, *told).join(publication, publication.c.id == revision.c.publication)


async def lock_head(connection: AsyncConnection, database: Database) -> int:
    """Take the lock that puts publications in one order; returns the number of the newest."""
    first = database.insert(head).values(id=1, publication=0, holds=0).on_conflict_do_nothing()
    await connection.execute(first)
    locked = sa.select(head.c.publication).where(head.c.id == 1).with_for_update()
    number: int = (await connection.execute(locked)).scalar_one()
    return number


async def add_publication(
    connection: AsyncConnection, *, number: int, at: int, author: str, door: str, message: str
) -> None:
    """Write a publication and make it the newest; the caller holds the lock of ``lock_head``."""
    await connection.execute(
        sa.insert(publication), {"id": number, "at": at, "author": author, "door": door, "message": message}
    )
    await connection.execute(sa.update(head).values(publication=number))


async def add_revisions(connection: AsyncConnection, database: Database, added: Sequence[Revision]) -> None:
    """Write revisions and make them live."""
    columns = ("kind", "name", "number", "publication", "body", "in_folder")
    rows = [{name: getattr(one, name) for name in columns} for one in added]
    await write_all(connection, sa.insert(revision), rows)
    put = database.insert(live)
    put = put.on_conflict_do_update(
        index_elements=list(live.primary_key),
        set_={"number": put.excluded.number, "publication": put.excluded.publication},
    )
    keys = ("kind", "name", "number", "publication")
    await write_all(connection, put, [{name: row[name] for name in keys} for row in rows])


async def mark_in_folder(connection: AsyncConnection, keys: Iterable[tuple[str, str, int]]) -> None:
    """Remember that the folder holds these revisions."""
    rows = [{"k": kind, "n": name, "r": number} for kind, name, number in keys]
    if rows:
        await connection.execute(
            sa.update(revision)
            .where(
                revision.c.kind == sa.bindparam("k"),
                revision.c.name == sa.bindparam("n"),
                revision.c.number == sa.bindparam("r"),
            )
            .values(in_folder=True),
            rows,
        )


async def list_holds(connection: AsyncConnection) -> dict[str, Hold]:
    """Every hold, ended ones included, by route."""
    rows = await connection.execute(sa.select(hold))
    return {row.route: Hold(**row._mapping) for row in rows}


async def put_hold(connection: AsyncConnection, database: Database, wanted: Hold) -> None:
    """Set the hold of a route in place of any earlier one."""
    await lock_head(connection, database)
    values = {name: getattr(wanted, name) for name in Hold.__slots__}
    await connection.execute(
        database.insert(hold).values(values).on_conflict_do_update(index_elements=["route"], set_=values)
    )
    await connection.execute(sa.update(head).values(holds=head.c.holds + 1))


async def end_hold(connection: AsyncConnection, database: Database, route: str) -> bool:
    """Take a route's hold away; False when it had none."""
    await lock_head(connection, database)
    gone = await connection.execute(sa.delete(hold).where(hold.c.route == route))
    await connection.execute(sa.update(head).values(holds=head.c.holds + 1))
    return gone.rowcount > 0
