"""Transcripts that wait for a judge, as rows: asked for by an outcome, claimed by one process, finished once.

Each function speaks in a transaction that somebody else has open. The states: waiting → claimed → done, or failed
when it was given up; a claim that lapses is as good as waiting, and another transcript of the call starts anew.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.judges import Transcript, Verdict
from gateway.storage.engine import Database
from gateway.storage.schema import analysis, call, label, outcome

_STATED = sa.text("state IN ('waiting', 'claimed')")  # as the index has it


@dataclass(frozen=True, kw_only=True, slots=True)
class Claimed:
    """A transcript that this process alone may judge until its claim lapses.

    ``known`` are verdicts of an earlier try, ``tries`` counts this one. ``closes_at`` is when the outcome window
    closes, in Unix milliseconds, counted from the call's end or from the transcript's arrival, whichever was later.
    """

    call: str
    digest: bytes
    owner: str
    transcript: Transcript
    known: Mapping[str, Verdict]
    tries: int
    closes_at: int


def ask_judge(
    connection: sa.Connection, database: Database, name: str, transcript: list[dict[str, Any]], *, now: int
) -> None:
    """Have a call's transcript judged; nothing happens when this very one is judged already, or waits for it."""
    text = json.dumps(transcript, sort_keys=True)
    row = {
        "call": name,
        "digest": blake2b(text.encode(errors="replace"), digest_size=16).digest(),
        "state": "waiting",
        "asked_at": now,
        "due_at": now,
        "tries": 0,
        "tokens_in": 0,
        "tokens_out": 0,
    }
    anew = ("owner", "judge", "verdicts", "reason", "finished_at")
    put = database.insert(analysis).values(row | dict.fromkeys(anew))
    changed = {key: put.excluded[key] for key in (*row, *anew) if key not in ("call", "tokens_in", "tokens_out")}
    other = sa.or_(analysis.c.digest != put.excluded.digest, analysis.c.state == "failed")
    connection.execute(put.on_conflict_do_update(index_elements=[analysis.c.call], set_=changed, where=other))


def forget_analysis(connection: sa.Connection, name: str) -> None:
    """Drop what a judge said of a call, or was to say."""
    connection.execute(sa.delete(analysis).where(analysis.c.call == name))


def claim_analysis(
    connection: sa.Connection, *, owner: str, judge: str, now: int, until: int, window: int
) -> Claimed | None:
    """Claim the transcript that is due longest, of a call that is over, until ``until``; None when none is.

    What another judge than ``judge`` found in it is not known to this one.
    """
    row = connection.execute(_due(now).limit(1).with_for_update(of=analysis, skip_locked=True)).first()
    if row is None:
        return None
    connection.execute(
        sa.update(analysis)
        .where(analysis.c.call == row.call)
        .values(state="claimed", owner=owner, due_at=until, tries=row.tries + 1)
    )
    body = connection.execute(sa.select(outcome.c.body).where(outcome.c.call == row.call)).scalar_one()
    known = (row.verdicts or {}) if row.judge == judge else {}
    return Claimed(
        call=row.call,
        digest=row.digest,
        owner=owner,
        transcript=body.get("transcript") or (),
        known={name: Verdict(**told) for name, told in known.items()},
        tries=row.tries + 1,
        closes_at=max(row.asked_at, row.ended_at or 0) + window,
    )


def close_claim(connection: sa.Connection, claimed: Claimed, values: Mapping[str, Any]) -> bool:
    """Write what became of a claim; False, and nothing is written, when it has lapsed or the transcript changed."""
    tokens = {name: analysis.c[name] + values[name] for name in ("tokens_in", "tokens_out") if name in values}
    closed = connection.execute(
        sa.update(analysis)
        .where(
            analysis.c.call == claimed.call,
            analysis.c.digest == claimed.digest,
            analysis.c.owner == claimed.owner,
            analysis.c.state == "claimed",
        )
        .values({**values, **tokens, "owner": None})
    )
    return closed.rowcount > 0


def renew_claim(connection: sa.Connection, name: str, *, owner: str, until: int) -> None:
    """Keep the claim of a process that is still at work on it."""
    connection.execute(
        sa.update(analysis)
        .where(analysis.c.call == name, analysis.c.owner == owner, analysis.c.state == "claimed")
        .values(due_at=until)
    )


async def any_due(connection: AsyncConnection, *, now: int) -> bool:
    """Whether anything is there to be claimed."""
    return (await connection.execute(_due(now).limit(1))).first() is not None


async def count_waiting(connection: AsyncConnection) -> int:
    """How many transcripts wait for their verdicts."""
    query = sa.select(sa.func.count()).select_from(analysis).where(_STATED)
    return (await connection.execute(query)).scalar_one()


async def analysis_of(connection: AsyncConnection, name: str) -> dict[str, Any] | None:
    """What a judge said of a call, or None."""
    columns = (analysis.c.state, analysis.c.judge, analysis.c.verdicts, analysis.c.reason, analysis.c.finished_at)
    row = (await connection.execute(sa.select(*columns).where(analysis.c.call == name))).first()
    return dict(row._mapping) if row else None


class Labelled(NamedTuple):
    """What a person said of an analysed call, and what counts of that call: metric -> value."""

    call: str
    criterion: str
    author: str
    value: Any
    epoch: int
    arm: str
    counted: Mapping[str, float]


async def read_labels(connection: AsyncConnection, name: str) -> list[Labelled]:
    """The labels of an experiment's analysed calls, the oldest first: one search in an index for each label."""
    query = (
        sa.select(*(label.c[one] for one in Labelled._fields[:4]), call.c.epoch, call.c.arm, call.c.counted)
        .join(call, call.c.id == label.c.call)
        .where(label.c.experiment == name, call.c.analysed)
        .order_by(label.c.at, label.c.call, label.c.criterion, label.c.author)
    )
    return [Labelled._make((*row[:-1], row.counted or {})) for row in await connection.execute(query)]


async def put_label(connection: AsyncConnection, database: Database, row: Mapping[str, Any]) -> None:
    """Write a person's label: ``call, criterion, author, value, at`` and the call's ``experiment``.

    The last one of each author stands.
    """
    put = database.insert(label).values(row)
    changed = {name: put.excluded[name] for name in ("value", "at")}
    key = [label.c.call, label.c.criterion, label.c.author]
    await connection.execute(put.on_conflict_do_update(index_elements=key, set_=changed))


def _due(now: int) -> Any:
    return (
        sa.select(analysis, call.c.ended_at)
        .join(call, call.c.id == analysis.c.call)
        .where(_STATED, analysis.c.due_at <= now)
        .where(sa.or_(call.c.ended_at.is_not(None), call.c.mature))
        .order_by(analysis.c.due_at)
    )
