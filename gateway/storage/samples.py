"""Reads the calls of one experiment: a random sample with what was said, and all of them for an export."""

import heapq
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from functools import partial
from hashlib import blake2b
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.storage.analyses import Labelled
from gateway.storage.callbook import newest_seq, seq_before
from gateway.storage.rows import CallRow, row_in
from gateway.storage.schema import call, outcome

PORTION = 500
LISTED = 10_000  # calls of a route that are looked through one by one; of more than that, places are drawn
_FEWEST_DRAWS = 2_000  # by then an arm that takes part has been met
_MOST_DRAWS = 20_000
_MINUTE = 60_000
_DAY = 24 * 60 * _MINUTE


class Spoken(NamedTuple):
    """A call and what was reported of it; ``body`` is empty when nothing was."""

    call: CallRow
    body: dict[str, Any]


class Sample(NamedTuple):
    """Calls drawn from an arm, and from how many; None when there are too many to count."""

    of: int | None
    calls: list[Spoken]


_Drawn = tuple[Mapping[str, list[str]], Mapping[str, int] | None]
"""The ids of the calls drawn from each arm, and from how many."""


async def sample_calls(
    connection: AsyncConnection, experiment: Mapping[str, Any], arms: Sequence[str], *, n: int, seed: int
) -> dict[str, Sample]:
    """Mature, analysed calls that have a transcript, drawn from each arm of an experiment's row."""
    drawn, counts = await _draw(connection, experiment, n=n, key=str(seed).encode())
    found = {one.call.id: one for one in await _spoken(connection, [name for arm in arms for name in drawn[arm][:n]])}
    return {
        arm: Sample(
            None if counts is None else counts[arm], [found[name] for name in drawn[arm][:n] if name in found]
        )
        for arm in arms
    }


class Draw(NamedTuple):
    """What one person may label next; ``left`` counts what they passed over."""

    next: Spoken | None
    left: int


async def draw_to_label(
    connection: AsyncConnection,
    experiment: Mapping[str, Any],
    *,
    author: str,
    labels: Sequence[Labelled],
    wanted: int,
    after: str,
) -> Draw:
    """A call for a person to label: random within its arm, and from the arms as they still lack labels.

    It is mature, analysed, has a transcript, and nobody has labelled it; when there are no more such, the person has
    not. Everybody has an order of their own, so that people who work side by side hear different calls. It is the
    first behind the call ``after``, of which the person wanted to hear no more.
    """
    of_anybody = {one.call: one.arm for one in labels}
    of_author = {one.call for one in labels if one.author == author}
    drawn, _ = await _draw(connection, experiment, n=wanted + len(of_anybody), key=_luck(author, ""))
    again = dict.fromkeys(drawn, wanted)
    have = Counter(of_anybody.values())
    lacking = {arm: max(0, wanted - have[arm]) for arm in drawn}
    for known, count in ((of_anybody.keys(), lacking if any(lacking.values()) else again), (of_author, again)):
        fresh = {arm: [name for name in names if name not in known] for arm, names in drawn.items()}
        order = sorted((name for arm in fresh for name in fresh[arm][: count[arm]]), key=partial(_luck, author))
        behind = [name for name in order if not after or _luck(author, name) > _luck(author, after)]
        if order:
            spoken = await _spoken(connection, behind[:1])
            return Draw(spoken[0] if spoken else None, len(order) - len(behind))
    return Draw(None, 0)


def _luck(author: str, name: str) -> bytes:
    """A person's place for a call, which mixes the arms."""
    return blake2b(f"{author}\n{name}".encode(errors="replace"), digest_size=16, person=b"label").digest()


async def _draw(connection: AsyncConnection, experiment: Mapping[str, Any], *, n: int, key: bytes) -> _Drawn:
    """``n`` mature, analysed calls with a transcript of each arm, or all of them, in the order of a keyed hash.

    The hash is that of the call or of its place, so that a draw is repeatable and every call is as likely. Of many
    calls places are drawn until enough are hit, so that it takes no longer when there are more.
    """
    began, ended = experiment["opened_at"], experiment["closed_at"]
    after = await seq_before(connection, began - _MINUTE)
    # What the journal kept for longer than a day after the end is not drawn.
    upto = await (newest_seq(connection) if ended is None else seq_before(connection, ended + _DAY))
    within = sa.and_(call.c.route == experiment["route"], call.c.seq > after, call.c.seq <= upto)
    some = sa.select(call.c.seq).where(within).limit(LISTED + 1).subquery()
    many = (await connection.scalar(sa.select(sa.func.count()).select_from(some)) or 0) > LISTED
    spoken = outcome.c.body["transcript"].as_string().is_not(None)
    eligible = (
        sa.select(call.c.seq, call.c.id, call.c.arm)
        .join(outcome, outcome.c.call == call.c.id)
        .where(within, call.c.experiment == experiment["id"], call.c.analysed, call.c.mature, spoken)
    )
    if many:
        return await _hit(connection, eligible, after, upto, n, key)
    return await _listed(connection, eligible, n, key)


async def _listed(connection: AsyncConnection, eligible: Any, n: int, key: bytes) -> _Drawn:
    """Of all calls the ones with the smallest hash."""
    names: defaultdict[str, list[str]] = defaultdict(list)
    for row in await connection.execute(eligible):
        names[row.arm].append(row.id)

    def luck(name: str) -> bytes:
        return blake2b(name.encode(), key=key, digest_size=8, person=b"sample").digest()

    drawn = {arm: heapq.nsmallest(n, all_, key=luck) for arm, all_ in names.items()}
    return defaultdict(list, drawn), Counter({arm: len(all_) for arm, all_ in names.items()})


async def _hit(connection: AsyncConnection, eligible: Any, after: int, upto: int, n: int, key: bytes) -> _Drawn:
    """Calls at places drawn from a range of row numbers; those of other experiments are misses."""
    # A power of two, so that the same places are drawn while some more calls come in.
    size = 1 << (upto - after).bit_length()
    drawn: defaultdict[str, list[str]] = defaultdict(list)
    for start in range(0, _MOST_DRAWS, PORTION):
        places: dict[int, None] = {}
        for number in range(start, start + PORTION):
            hashed = blake2b(number.to_bytes(8, "big"), key=key, digest_size=8, person=b"sample").digest()
            places[after + 1 + int.from_bytes(hashed, "big") % size] = None
        rows = await connection.execute(eligible.where(call.c.seq.in_([place for place in places if place <= upto])))
        hits = {row.seq: row for row in rows}
        for place in places:
            if place in hits and hits[place].id not in drawn[hits[place].arm]:
                drawn[hits[place].arm].append(hits[place].id)
        if drawn and min(len(names) for names in drawn.values()) >= n and start >= _FEWEST_DRAWS:
            break
    return drawn, None


async def calls_of_experiment(
    connection: AsyncConnection, experiment: Mapping[str, Any], *, after: int
) -> list[Spoken]:
    """The next portion of the calls that were assigned in an experiment, the oldest first, after a row number."""
    ours = sa.and_(call.c.route == experiment["route"], call.c.experiment == experiment["id"])
    query = sa.select(call.c.id).where(ours, call.c.seq > after)
    return await _spoken(connection, list(await connection.scalars(query.order_by(call.c.seq).limit(PORTION))))


async def calls_per_day(connection: AsyncConnection, route: str, *, since: int, days: float) -> float:
    """How many calls a route had a day, of those that came in from about ``since`` (Unix milliseconds) on."""
    after = await seq_before(connection, since)
    query = sa.select(sa.func.count()).where(call.c.route == route, call.c.seq > after)
    return (await connection.scalar(query) or 0) / days


async def _spoken(connection: AsyncConnection, names: Sequence[str]) -> list[Spoken]:
    bodies: dict[str, dict[str, Any]] = {}
    rows: list[CallRow] = []
    for start in range(0, len(names), PORTION):
        part = names[start : start + PORTION]
        for told in await connection.execute(sa.select(outcome).where(outcome.c.call.in_(part))):
            bodies[told.call] = told.body
        found = await connection.execute(sa.select(call).where(call.c.id.in_(part)).order_by(call.c.seq))
        rows += [row_in(row) for row in found]
    return [Spoken(row, bodies.get(row.id, {})) for row in rows]
