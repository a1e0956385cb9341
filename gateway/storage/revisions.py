"""What is published: numbered, immutable revisions of routes and agents, experiments with their epochs, holds."""

from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.model import Experiment, Hold
from gateway.storage.engine import Database
from gateway.storage.schema import epoch, experiment, head, hold, live, publication, revision

Key = tuple[str, str]
"""What a revision is of: its kind (``route`` or ``agent``) and its name."""

# SQLite takes some 32,000 parameters in one statement; this stays far below, also with two a key.
_CHUNK = 1000


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
    return [Revision(*row) async for row in _streamed(connection, query)]


async def _write_all(connection: AsyncConnection, statement: Any, rows: Sequence[dict[str, Any]]) -> None:
    """Execute a statement for every row, some hundreds at a time: between these the event loop answers calls."""
    for start in range(0, len(rows), _CHUNK):
        await connection.execute(statement, rows[start : start + _CHUNK])


async def _streamed(connection: AsyncConnection, query: Any) -> AsyncIterator[Any]:
    """The rows of a query some hundreds at a time: between these the event loop answers calls."""
    async for part in (await connection.stream(query)).partitions(_CHUNK):
        for row in part:
            yield row


async def live_of(connection: AsyncConnection, keys: Iterable[Key]) -> dict[Key, Revision]:
    """The live revisions of some things, with who published them and why."""
    found: dict[Key, Revision] = {}
    wanted = list(keys)
    for start in range(0, len(wanted), _CHUNK):
        rows = await connection.execute(
            _with_author()
            .join(
                live,
                (live.c.kind == revision.c.kind)
                & (live.c.name == revision.c.name)
                & (live.c.number == revision.c.number),
            )
            .where(sa.tuple_(live.c.kind, live.c.name).in_(wanted[start : start + _CHUNK]))
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
    await _write_all(connection, sa.insert(revision), rows)
    put = database.insert(live)
    put = put.on_conflict_do_update(
        index_elements=list(live.primary_key),
        set_={"number": put.excluded.number, "publication": put.excluded.publication},
    )
    keys = ("kind", "name", "number", "publication")
    await _write_all(connection, put, [{name: row[name] for name in keys} for row in rows])


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


async def open_experiments(connection: AsyncConnection, routes: Sequence[str] | None = None) -> dict[str, Experiment]:
    """The open experiment of each route (of all by default), at its newest epoch, by route."""
    other = epoch.alias()
    newest = sa.select(sa.func.max(other.c.number)).where(other.c.experiment == experiment.c.id).correlate(experiment)
    query = (
        sa.select(experiment, epoch.c.number.label("epoch_number"), epoch.c.memory)
        .select_from(experiment)
        .join(epoch, (epoch.c.experiment == experiment.c.id) & (epoch.c.number == newest.scalar_subquery()))
        .where(experiment.c.closed_at.is_(None))
    )
    if routes is None:
        return {row.route: _experiment(row) async for row in _streamed(connection, query)}
    found: dict[str, Experiment] = {}
    for start in range(0, len(routes), _CHUNK):
        chunk = query.where(experiment.c.route.in_(routes[start : start + _CHUNK]))
        found |= {row.route: _experiment(row) for row in await connection.execute(chunk)}
    return found


def _experiment(row: Any) -> Experiment:
    return Experiment(
        id=row.id,
        route=row.route,
        number=row.number,
        name=row.name,
        unit=row.unit,
        status=row.status,
        salt=row.salt,
        coverage_salt=row.coverage_salt,
        epoch=row.epoch_number,
        memory=row.memory,
        opened_at=row.opened_at,
        closed_at=row.closed_at,
    )


async def experiment_numbers(connection: AsyncConnection, routes: Sequence[str]) -> dict[str, int]:
    """The number of the last experiment of each route that ever had one."""
    numbers: dict[str, int] = {}
    for start in range(0, len(routes), _CHUNK):
        rows = await connection.execute(
            sa.select(experiment.c.route, sa.func.max(experiment.c.number).label("number"))
            .where(experiment.c.route.in_(routes[start : start + _CHUNK]))
            .group_by(experiment.c.route)
        )
        numbers |= {row.route: row.number for row in rows}
    return numbers


async def add_experiments(
    connection: AsyncConnection,
    opened: Sequence[Experiment],
    *,
    revisions: dict[str, int],
    plans: dict[str, Any],
) -> None:
    """Write newly opened experiments; ``revisions`` and ``plans`` are by route."""
    columns = ("id", "route", "number", "name", "unit", "status", "salt", "coverage_salt", "opened_at")
    rows = [
        {name: getattr(one, name) for name in columns}
        | {"opened_revision": revisions[one.route], "plan": plans[one.route] or None}
        for one in opened
    ]
    await _write_all(connection, sa.insert(experiment), rows)


async def add_epochs(connection: AsyncConnection, rows: Sequence[dict[str, Any]]) -> None:
    """Write epochs: rows of ``experiment, number, memory, began_at, revision, arms``."""
    await _write_all(connection, sa.insert(epoch), rows)


async def close_experiments(
    connection: AsyncConnection, ids: Sequence[str], *, at: int, revisions: dict[str, int], winners: dict[str, str]
) -> None:
    """End assignment in experiments; their outcomes still count until the last window has closed."""
    for one in ids:
        await connection.execute(
            sa.update(experiment)
            .where(experiment.c.id == one)
            .values(status="maturing", closed_at=at, closed_revision=revisions[one], winner=winners.get(one))
        )


async def lock_matured(connection: AsyncConnection, *, closed_before: int, now: int) -> list[str]:
    """Lock the results of experiments whose last outcome window has closed; returns their ids."""
    rows = await connection.execute(
        sa.update(experiment)
        .where(experiment.c.status == "maturing", experiment.c.closed_at <= closed_before)
        .values(status="stopped", locked_at=now)
        .returning(experiment.c.id)
    )
    return list(rows.scalars())


async def list_experiments(connection: AsyncConnection, name: str | None = None) -> list[dict[str, Any]]:
    """Experiments, newest first, each with its epochs; one of them when ``name`` is its id."""
    query = sa.select(experiment).order_by(experiment.c.opened_at.desc(), experiment.c.id.desc())
    if name is not None:
        query = query.where(experiment.c.id == name)
    found = [dict(row._mapping) for row in await connection.execute(query)]
    epochs: dict[str, list[dict[str, Any]]] = {}
    for row in await connection.execute(sa.select(epoch).order_by(epoch.c.experiment, epoch.c.number)):
        epochs.setdefault(row.experiment, []).append(dict(row._mapping))
    return [one | {"epochs": epochs.get(one["id"], [])} for one in found]


async def epoch_of(connection: AsyncConnection, name: str, number: int) -> dict[str, Any] | None:
    """One epoch of an experiment with its experiment's salts, or None; for recomputing an assignment."""
    row = (
        await connection.execute(
            sa.select(epoch, experiment.c.salt, experiment.c.coverage_salt)
            .join(experiment, experiment.c.id == epoch.c.experiment)
            .where(epoch.c.experiment == name, epoch.c.number == number)
        )
    ).first()
    return dict(row._mapping) if row else None


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
