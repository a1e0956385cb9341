"""Experiments as rows: opened and closed by publications, their epochs, and what was done to each and why."""

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.decide import weighted
from gateway.model import Experiment, Route
from gateway.storage.engine import Database
from gateway.storage.revisions import CHUNK, add_publication, lock_head, streamed, write_all
from gateway.storage.schema import call, epoch, experiment, experiment_event, lease, live


async def open_experiments(connection: AsyncConnection, routes: Sequence[str] | None = None) -> dict[str, Experiment]:
    """The open experiment of each route (of all by default), at its newest epoch, by route."""
    other = epoch.alias()
    newest = sa.select(sa.func.max(other.c.number)).where(other.c.experiment == experiment.c.id).correlate(experiment)
    query = (
        sa.select(experiment, epoch.c.number.label("epoch_number"), epoch.c.memory, epoch.c.shares)
        .select_from(experiment)
        .join(epoch, (epoch.c.experiment == experiment.c.id) & (epoch.c.number == newest.scalar_subquery()))
        .where(experiment.c.closed_at.is_(None))
    )
    if routes is None:
        return {row.route: _experiment(row) async for row in streamed(connection, query)}
    found: dict[str, Experiment] = {}
    for start in range(0, len(routes), CHUNK):
        chunk = query.where(experiment.c.route.in_(routes[start : start + CHUNK]))
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
        starts_at=row.starts_at,
        shares=row.shares,
    )


async def experiment_numbers(connection: AsyncConnection, routes: Sequence[str]) -> dict[str, int]:
    """The number of the last experiment of each route that ever had one."""
    numbers: dict[str, int] = {}
    for start in range(0, len(routes), CHUNK):
        rows = await connection.execute(
            sa.select(experiment.c.route, sa.func.max(experiment.c.number).label("number"))
            .where(experiment.c.route.in_(routes[start : start + CHUNK]))
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
    records: Mapping[str, tuple[dict[str, Any], str]],
) -> None:
    """Write newly opened experiments; ``revisions``, ``plans`` and ``records`` (with their digests) are by route."""
    columns = ("id", "route", "number", "name", "unit", "status", "salt", "coverage_salt", "opened_at", "starts_at")
    rows = [
        {name: getattr(one, name) for name in columns}
        | {"opened_revision": revisions[one.route], "plan": plans[one.route] or None}
        | dict(zip(("record", "digest"), records[one.route], strict=True))
        for one in opened
    ]
    await write_all(connection, sa.insert(experiment), rows)


def epoch_row(
    route: Route,
    name: str,
    *,
    number: int,
    memory: int,
    revision: int,
    now: int,
    shares: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """An epoch's row: who is in it with which share; ``shares`` are those of a ramp's step."""
    arms = route.arms if shares is None else weighted(route.arms, shares)
    told = ("version", "weight", "share", "upper")
    return {
        "experiment": name,
        "number": number,
        "memory": memory,
        "began_at": now,
        "revision": revision,
        "arms": [
            {"arm": arm.name} | {key: getattr(arm, key) for key in told} | {"parameters": dict(arm.parameters)}
            for arm in arms
        ],
        "shares": dict(shares) if shares is not None else None,
    }


async def add_epochs(connection: AsyncConnection, rows: Sequence[dict[str, Any]]) -> None:
    """Write epochs, as ``epoch_row`` makes them."""
    await write_all(connection, sa.insert(epoch), rows)


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


async def list_experiments(
    connection: AsyncConnection,
    name: str | None = None,
    *,
    open_only: bool = False,
    skip: int = 0,
    limit: int | None = None,
) -> list[dict[str, Any]]:
    """Experiments that were not deleted, newest first, each with its epochs; one when ``name`` is its id.

    ``amended`` says whether its plan was edited while it was open. The first ``skip`` are left out, and all after
    ``limit`` of the others.
    """
    query = sa.select(experiment).where(experiment.c.deleted_at.is_(None))
    if name is not None:
        query = query.where(experiment.c.id == name)
    if open_only:
        query = query.where(experiment.c.closed_at.is_(None))
    query = query.order_by(experiment.c.opened_at.desc(), experiment.c.id.desc()).offset(skip).limit(limit)
    found = [dict(row._mapping) async for row in streamed(connection, query)]
    epochs: dict[str, list[dict[str, Any]]] = {}
    amended = set[str]()
    ids = [one["id"] for one in found]
    for start in range(0, len(ids), CHUNK):
        some = ids[start : start + CHUNK]
        stretch = sa.select(epoch).where(epoch.c.experiment.in_(some))
        for row in await connection.execute(stretch.order_by(epoch.c.experiment, epoch.c.number)):
            epochs.setdefault(row.experiment, []).append(dict(row._mapping))
        edited = sa.select(experiment_event.c.experiment).where(experiment_event.c.kind == "amended")
        amended.update(await connection.scalars(edited.where(experiment_event.c.experiment.in_(some))))
    return [one | {"epochs": epochs.get(one["id"], []), "amended": one["id"] in amended} for one in found]


async def experiment_lines(connection: AsyncConnection, *, after: int, limit: int) -> list[dict[str, Any]]:
    """Experiments that were not deleted, newest first, from the one behind the first ``after`` on: what a list shows.

    Each has the ``arms`` of its newest epoch; of its other epochs, its plan and its record nothing is read.
    """
    names = ("id", "route", "name", "unit", "status", "opened_at", "starts_at", "closed_at", "winner")
    other = epoch.alias()
    newest = sa.select(sa.func.max(other.c.number)).where(other.c.experiment == experiment.c.id).correlate(experiment)
    its = sa.and_(epoch.c.experiment == experiment.c.id, epoch.c.number == newest.scalar_subquery())
    query = sa.select(*(experiment.c[name] for name in names), epoch.c.arms).outerjoin_from(experiment, epoch, its)
    query = query.where(experiment.c.deleted_at.is_(None)).offset(after).limit(limit)
    rows = await connection.execute(query.order_by(experiment.c.opened_at.desc(), experiment.c.id.desc()))
    return [dict(row._mapping) for row in rows]


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


async def delete_experiment(connection: AsyncConnection, name: str, *, at: int) -> bool:
    """Hide a stopped experiment; its calls keep what they were assigned. False when it is not stopped."""
    gone = await connection.execute(
        sa.update(experiment).where(experiment.c.id == name, experiment.c.status == "stopped").values(deleted_at=at)
    )
    return gone.rowcount > 0


async def add_events(connection: AsyncConnection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write what was done: rows of ``experiment, at, author, kind, reason, detail``."""
    await write_all(connection, sa.insert(experiment_event), [dict(row) for row in rows])


async def events_of_experiment(connection: AsyncConnection, name: str) -> list[dict[str, Any]]:
    """What was done to an experiment, the oldest first."""
    rows = await connection.execute(
        sa.select(experiment_event).where(experiment_event.c.experiment == name).order_by(experiment_event.c.seq)
    )
    return [{name: row._mapping[name] for name in ("at", "author", "kind", "reason", "detail")} for row in rows]


async def begin_scheduled(
    connection: AsyncConnection, database: Database, one: Mapping[str, Any], *, at: int
) -> bool:
    """Let calls take part from now on in an experiment whose time has come; False when somebody did so before."""
    begun = await connection.execute(
        sa.update(experiment)
        .where(experiment.c.id == one["id"], experiment.c.status == "scheduled")
        .values(status="running")
    )
    if begun.rowcount == 0:
        return False
    await _announce(connection, database, one["route"], at=at, message=f"{one['id']} starts")
    return True


async def add_next_epoch(
    connection: AsyncConnection, database: Database, row: Mapping[str, Any], *, route: str, at: int, message: str
) -> bool:
    """Write an epoch that no publication begins; False when the epoch before it is no longer the newest."""
    await lock_head(connection, database)
    newest = await connection.scalar(
        sa.select(sa.func.max(epoch.c.number)).where(epoch.c.experiment == row["experiment"])
    )
    if newest != row["number"] - 1:
        return False
    await connection.execute(sa.insert(epoch), dict(row))
    await _announce(connection, database, route, at=at, message=message)
    return True


async def _announce(connection: AsyncConnection, database: Database, route: str, *, at: int, message: str) -> None:
    """Let every process read a route anew whose experiment has moved; its revision stays."""
    number = await lock_head(connection, database) + 1
    await add_publication(connection, number=number, at=at, author="gateway", door="experiment", message=message)
    moved = sa.update(live).where(live.c.kind == "route", live.c.name == route)
    await connection.execute(moved.values(publication=number))


async def duration_cap(connection: AsyncConnection, route: str, *, since: int) -> int | None:
    """The 99.5th percentile of how long the route's calls lasted since then, in seconds; None below 200 calls."""
    ours = sa.and_(call.c.route == route, call.c.received_at >= since, call.c.duration_seconds.is_not(None))
    count = await connection.scalar(sa.select(sa.func.count()).where(ours)) or 0
    if count < 200:
        return None
    longest = sa.select(call.c.duration_seconds).where(ours).order_by(call.c.duration_seconds.desc())
    cap: int | None = await connection.scalar(longest.offset(count // 200).limit(1))
    return cap


async def take_lease(
    connection: AsyncConnection, database: Database, name: str, *, owner: str, now: int, until: int
) -> bool:
    """Take or prolong the right to do what one process does for all; False while another has it."""
    put = database.insert(lease).values(name=name, owner=owner, until=until)
    put = put.on_conflict_do_update(
        index_elements=["name"],
        set_={"owner": owner, "until": until},
        where=sa.or_(lease.c.owner == owner, lease.c.until < now),
    )
    return (await connection.execute(put.returning(lease.c.owner))).first() is not None
