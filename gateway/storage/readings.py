"""What is remembered of comparisons: running p-values, first crossings, and the last evaluation of each experiment.

Written by the one task that judges; everybody else reads.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.storage.engine import Database
from gateway.storage.schema import epoch, evaluation, experiment, label, reading, tally


class Remembered(NamedTuple):
    """A comparison's memory; ``low`` and ``high`` are None while it has had no interval. Times: Unix ms."""

    p: float
    crossed_at: int | None
    crossed_n: int | None
    crossed_up: bool | None
    low: float | None
    high: float | None


async def read_readings(connection: AsyncConnection, name: str) -> dict[tuple[str, str], Remembered]:
    """What is remembered of an experiment, by (arm, metric)."""
    rows = await connection.execute(sa.select(reading).where(reading.c.experiment == name))
    return {(row.arm, row.metric): Remembered(*(getattr(row, one) for one in Remembered._fields)) for row in rows}


async def put_readings(
    connection: AsyncConnection, database: Database, name: str, told: Mapping[tuple[str, str], Remembered]
) -> None:
    """Remember comparisons by (arm, metric): a p-value never rises and a first crossing stays."""
    if not told:
        return
    put = database.insert(reading)
    new = put.excluded
    first = reading.c.crossed_at.is_not(None)
    crossings = ("crossed_at", "crossed_n", "crossed_up")
    put = put.on_conflict_do_update(
        index_elements=list(reading.primary_key),
        set_={
            "p": sa.case((reading.c.p < new.p, reading.c.p), else_=new.p),
            **{column: sa.case((first, reading.c[column]), else_=new[column]) for column in crossings},
            "low": new.low,
            "high": new.high,
        },
    )
    rows = [
        {"experiment": name, "arm": arm, "metric": metric, **one._asdict()} for (arm, metric), one in told.items()
    ]
    await connection.execute(put, rows)


async def put_evaluation(
    connection: AsyncConnection, database: Database, name: str, *, at: int, mark: str, body: Mapping[str, Any]
) -> None:
    """Keep the last evaluation of an experiment, and the mark of the tallies that it was made of."""
    values = {"at": at, "mark": mark, "body": dict(body)}
    put = database.insert(evaluation).values(experiment=name, **values)
    await connection.execute(put.on_conflict_do_update(index_elements=["experiment"], set_=values))


async def last_evaluation(connection: AsyncConnection, name: str) -> dict[str, Any] | None:
    """The last evaluation of an experiment with its ``at`` and ``mark``, or None."""
    row = (await connection.execute(sa.select(evaluation).where(evaluation.c.experiment == name))).first()
    return dict(row._mapping) if row else None


async def claim_evaluation(connection: AsyncConnection, name: str, *, base: Mapping[str, Any] | None) -> bool:
    """Whether the last evaluation is still the one that was seen; until the end of the transaction it stays so."""
    # The experiment is there before any evaluation, so that two who judge it for the first time meet here too.
    lock = sa.select(experiment.c.id).where(experiment.c.id == name).with_for_update(key_share=True)
    await connection.execute(lock)
    stands = await last_evaluation(connection, name)
    return (stands and (stands["at"], stands["mark"])) == (base and (base["at"], base["mark"]))


async def mark_of(connection: AsyncConnection, name: str) -> str:
    """The mark of an experiment as it is now."""
    # Its own cells are named too, or the cells of all experiments would be added up.
    found = await _marks(connection, experiment.c.id == name, tally.c.experiment == name)
    return next((mark for _, mark, _ in found), "")


async def changed(connection: AsyncConnection) -> list[str]:
    """The experiments whose tallies, epochs or status have changed since they were last evaluated.

    One that was evaluated after it was locked is not looked at again.
    """
    final = sa.and_(experiment.c.locked_at.is_not(None), evaluation.c.at >= experiment.c.locked_at)
    found = await _marks(connection, sa.or_(evaluation.c.at.is_(None), sa.not_(sa.func.coalesce(final, sa.false()))))
    return [name for name, mark, judged in found if mark != judged]


async def _marks(
    connection: AsyncConnection, which: sa.ColumnElement[bool], cells: sa.ColumnElement[bool] | None = None
) -> list[tuple[str, str, str | None]]:
    """(experiment, mark, mark when it was last evaluated): a mark moves whenever a value is counted or corrected, or
    a call is labelled."""
    sums = (
        sa.select(
            tally.c.experiment,
            sa.func.sum(tally.c.n).label("n"),
            sa.func.sum(tally.c.n * tally.c.mean).label("total"),
            sa.func.sum(tally.c.m2).label("m2"),
        )
        .where(sa.true() if cells is None else cells)
        .group_by(tally.c.experiment)
        .subquery()
    )
    newest = sa.select(sa.func.max(epoch.c.number)).where(epoch.c.experiment == experiment.c.id).scalar_subquery()
    ours = label.c.experiment == experiment.c.id
    labels, labelled_at = (
        sa.select(told).where(ours).scalar_subquery() for told in (sa.func.count(), sa.func.max(label.c.at))
    )
    query = (
        sa.select(
            experiment.c.id,
            experiment.c.status,
            newest.label("epoch"),
            sums.c.n,
            sums.c.total,
            sums.c.m2,
            labels.label("labels"),
            labelled_at.label("labelled_at"),
            evaluation.c.mark,
        )
        .select_from(experiment)
        .outerjoin(sums, sums.c.experiment == experiment.c.id)
        .outerjoin(evaluation, evaluation.c.experiment == experiment.c.id)
        .where(which)
    )
    return [
        (
            row.id,
            f"{row.status}/{row.epoch}/{row.n or 0}/{row.total or 0:.12g}/{row.m2 or 0:.12g}"
            f"/{row.labels}/{row.labelled_at}",
            row.mark,
        )
        for row in await connection.execute(query)
    ]


async def unsettled(connection: AsyncConnection) -> list[str]:
    """The experiments that were closed, and not judged since their results were locked."""
    settled = sa.and_(experiment.c.locked_at.is_not(None), evaluation.c.at >= experiment.c.locked_at)
    query = sa.select(experiment.c.id).outerjoin(evaluation, evaluation.c.experiment == experiment.c.id)
    query = query.where(experiment.c.closed_at.is_not(None), experiment.c.deleted_at.is_(None))
    return list(await connection.scalars(query.where(sa.not_(sa.func.coalesce(settled, sa.false())))))


async def last_verdicts(connection: AsyncConnection, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The last ``verdict`` and ``arms`` of experiments, by their ids; one that was never judged is left out."""
    told = [evaluation.c.body[name].label(name) for name in ("verdict", "arms")]
    query = sa.select(evaluation.c.experiment, *told).where(evaluation.c.experiment.in_(names))
    return {row.experiment: {"verdict": row.verdict, "arms": row.arms} for row in await connection.execute(query)}


async def judged_since(connection: AsyncConnection, at: int) -> dict[str, int]:
    """The experiments that were judged after a moment (Unix milliseconds), and when."""
    query = sa.select(evaluation.c.experiment, evaluation.c.at).where(evaluation.c.at > at)
    return {row.experiment: row.at for row in await connection.execute(query)}
