"""Outbound attempts as rows: planned, claimed once, bound to Twilio's call, closed; and who must not be called.

Each function speaks in a transaction that somebody else has open. The states, and what leads from one to the next:
planned → intent (committed before anything is sent) → placed → closed; from intent also to rejected (proved not
made) and unknown (sent, and nobody knows), which evidence turns into placed or absent.
"""

import math
import secrets
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

import sqlalchemy as sa

from gateway.model import Event
from gateway.phone import is_e164
from gateway.storage.engine import Database
from gateway.storage.schema import attempt, call, dialing, erasure, secret, suppression

_DAY = 24 * 60 * 60 * 1000
# A pace that holds for longer than this beyond its own step was set by a clock that has been put right since.
_ASTRAY_MS = 60_000

_ERASURE = "erasure"  # the name of its key

OPEN = ("intent", "unknown", "placed")
"""While an attempt is in one of these, a call to its number may be under way."""


class Attempt(NamedTuple):
    """One dialling of one person, in the order of the columns of its table. Times are Unix milliseconds."""

    id: str
    campaign: str | None
    route: str
    to_number: str
    from_number: str
    timezone: str | None
    variables: Mapping[str, str]
    state: str
    reason: str | None
    owner: str | None
    planned_at: int
    not_before: int
    intent_at: int | None = None
    looks: int = 0
    contact: int | None = None
    machine: Mapping[str, str] | None = None


class Limits(NamedTuple):
    """How fast and how much may be dialled by all dialers: calls a second, open calls, calls on one UTC day."""

    per_second: float
    at_once: int
    at_once_on_route: int
    per_day: int


class Dialing(NamedTuple):
    """What stands over all claims: the kill switch, and before when no call may be sent (Unix milliseconds)."""

    stopped: bool
    next_at: int


class Held(NamedTuple):
    """A rule that stands against a call now, as a word, and until when, if that is known (Unix milliseconds)."""

    why: str
    until: int | None = None


class Busy(NamedTuple):
    """How many calls are open: altogether, of each route, and of each campaign (None for single calls)."""

    total: int
    routes: Mapping[str, int]
    campaigns: Mapping[str | None, int]


def add_attempt(connection: sa.Connection, one: Attempt) -> None:
    """Write a planned attempt."""
    connection.execute(sa.insert(attempt), one._asdict())


def lock_dialing(connection: sa.Connection, database: Database) -> Dialing:
    """Take the lock that puts claims, stops and opt-outs in one order; returns the row it guards."""
    first = database.insert(dialing).values(id=1, stopped=False, author="", reason="", at=0)
    connection.execute(first.on_conflict_do_nothing())
    locked = sa.select(dialing.c.stopped, dialing.c.next_at).where(dialing.c.id == 1).with_for_update()
    return Dialing(*connection.execute(locked).one())


def stands_against_all(
    connection: sa.Connection, standing: Dialing, limits: Limits, busy: Busy, *, now: int, route: str
) -> Held | None:
    """Which rule keeps every call of the route from being sent at ``now``."""
    if standing.stopped:
        return Held("stopped")
    if waits(standing.next_at, limits.per_second, now):
        return Held("pace", standing.next_at)
    if busy.total >= limits.at_once:
        return Held("concurrency")
    if busy.routes.get(route, 0) >= limits.at_once_on_route:
        return Held("route")
    if sent_today(connection, limits.per_day, now=now):
        return Held("cap")
    return None


def stands_against(connection: sa.Connection, number: str) -> str | None:
    """Why a number cannot be rung now: it is suppressed, or busy with another attempt."""
    if suppressed_among(connection, [number]):
        return "suppressed"
    if _any(connection, attempt.c.to_number == number, is_open(attempt)):
        return "busy"
    return None


def take_turn(connection: sa.Connection, limits: Limits, *, now: int) -> None:
    """Let the next call of all dialers wait its time."""
    connection.execute(sa.update(dialing).values(next_at=next_turn(limits.per_second, now)))


def next_turn(per_second: float, now: int) -> int:
    """When the call after one at ``now`` may be sent, in whole milliseconds: none is saved up.

    More than a thousand a second is no pace at all.
    """
    return now + (math.ceil(1000 / per_second) if per_second <= 1000 else 0)


def waits(next_at: int, per_second: float, now: int) -> bool:
    """Whether the pace keeps a call from being sent at ``now``; the one before allows it from ``next_at`` on."""
    return now < next_at <= next_turn(per_second, now) + _ASTRAY_MS


def is_open(which: Any) -> Any:
    """The condition that an attempt of this table is open.

    It is spelled as its index spells it: SQLite takes a partial index only for the very same words.
    """
    return which.c.state.in_([sa.literal_column(f"'{state}'") for state in OPEN])


def count_open(connection: sa.Connection) -> Busy:
    """Counts the open calls, by reading no others."""
    columns = (attempt.c.route, attempt.c.campaign)
    rows = connection.execute(sa.select(*columns, sa.func.count()).where(is_open(attempt)).group_by(*columns)).all()
    routes, campaigns = Counter[str](), Counter[str | None]()
    for route, name, count in rows:
        routes[route] += count
        campaigns[name] += count
    return Busy(routes.total(), routes, campaigns)


def sent_today(connection: sa.Connection, most: int, *conditions: Any, now: int) -> bool:
    """Whether as many calls as ``most`` have been sent on this UTC day; what Twilio refused is none of them."""
    if most < 1:
        return True
    today = sa.select(attempt.c.intent_at).where(attempt.c.intent_at >= now - now % _DAY, *conditions)
    return connection.execute(today.limit(1).offset(most - 1)).first() is not None


def claim(
    connection: sa.Connection, wanted: Attempt, standing: Dialing, *, owner: str, now: int, limits: Limits
) -> Attempt | Held | None:
    """Turn a planned attempt into an intent, under the lock: only whoever gets it back may send it.

    Returns which rule stands against it now, and None when it is no longer planned.
    """
    held = stands_against_all(connection, standing, limits, count_open(connection), now=now, route=wanted.route)
    if held is not None:
        return held
    planned = sa.select(attempt.c.id).where(attempt.c.id == wanted.id, attempt.c.state == "planned")
    if connection.execute(planned.with_for_update()).first() is None:
        return None
    why = stands_against(connection, wanted.to_number)
    if why is not None:
        return Held(why)
    take_turn(connection, limits, now=now)
    connection.execute(
        sa.update(attempt).where(attempt.c.id == wanted.id).values(state="intent", owner=owner, intent_at=now)
    )
    return wanted._replace(state="intent", owner=owner, intent_at=now)


def bind_sid(connection: sa.Connection, placed: Event) -> None:
    """Give an attempt the CallSid that an event proves; the first one stands.

    Evidence that comes late wins too, unless another attempt at the number is open by now: then it is closed at once.
    """
    connection.execute(
        sa.update(call).where(call.c.id == placed.call, call.c.sid.is_(None)).values(sid=placed.data["sid"])
    )
    other = attempt.alias()
    taken = sa.exists().where(other.c.to_number == attempt.c.to_number, other.c.id != attempt.c.id, is_open(other))
    connection.execute(
        sa.update(attempt)
        .where(attempt.c.id == placed.call, attempt.c.state.in_(("intent", "unknown", "absent")))
        .values(state=sa.case((taken, "closed"), else_="placed"))
    )


def close_attempts(connection: sa.Connection, ids: Iterable[str]) -> list[str]:
    """End the attempts whose calls are over, so that their numbers are free again; returns those just ended."""
    ended = sa.update(attempt).where(attempt.c.id.in_(list(ids)), attempt.c.state.in_(OPEN)).values(state="closed")
    return list(connection.scalars(ended.returning(attempt.c.id)))


def mark(connection: sa.Connection, name: str, *, was: str, state: str, reason: str | None, **more: Any) -> bool:
    """Move an attempt on from the state it ``was`` in; False when it is no longer there."""
    moved = connection.execute(
        sa.update(attempt)
        .where(attempt.c.id == name, attempt.c.state == was)
        .values(state=state, reason=reason, **more)
    )
    return moved.rowcount > 0


def suppress(
    connection: sa.Connection, database: Database, number: str, *, reason: str, author: str, at: int
) -> None:
    """Never call this number again; takes effect on every claim that has not been committed."""
    if not is_e164(number):
        return
    lock_dialing(connection, database)
    if erased_among(connection, [number]):
        return  # they are not called as it is, and their number is not to be written down again
    row = database.insert(suppression).values(number=number, reason=reason, author=author, at=at)
    connection.execute(row.on_conflict_do_nothing())


def release(connection: sa.Connection, number: str) -> bool:
    """Allow calls to a number again; False when nothing kept it from being called."""
    listed = connection.execute(sa.delete(suppression).where(suppression.c.number == number)).rowcount
    key = _erasure_key(connection)
    digest = erasure_digest(key, number) if key is not None else b""
    return listed + connection.execute(sa.delete(erasure).where(erasure.c.digest == digest)).rowcount > 0


def suppressed_among(connection: sa.Connection, numbers: Sequence[str]) -> set[str]:
    """Which of these numbers must not be called: they are on the list, or were erased."""
    listed = sa.select(suppression.c.number).where(suppression.c.number.in_(numbers))
    return set(connection.scalars(listed)) | erased_among(connection, numbers)


def erased_among(connection: sa.Connection, numbers: Sequence[str]) -> set[str]:
    """Which of these numbers belong to people who were erased."""
    key = _erasure_key(connection)
    if key is None:
        return set()
    digests = {erasure_digest(key, number): number for number in numbers}
    found = connection.scalars(sa.select(erasure.c.digest).where(erasure.c.digest.in_(digests)))
    return {digests[digest] for digest in found}


def keep_erased(connection: sa.Connection, database: Database, number: str, *, at: int) -> None:
    """Keep of a number only what keeps it from being called; the list forgets it."""
    lock_dialing(connection, database)
    made = database.insert(secret).values(name=_ERASURE, value=secrets.token_bytes(32))
    connection.execute(made.on_conflict_do_nothing())
    key = _erasure_key(connection) or b""
    row = database.insert(erasure).values(digest=erasure_digest(key, number), at=at)
    connection.execute(row.on_conflict_do_nothing())
    connection.execute(sa.delete(suppression).where(suppression.c.number == number))


def erasure_digest(key: bytes, number: str) -> bytes:
    """What is kept of an erased number: a keyed hash of it."""
    return blake2b(number.encode(), key=key, digest_size=32, person=b"erasure").digest()


def _erasure_key(connection: sa.Connection) -> bytes | None:
    """The key of those hashes, or None while nobody was erased."""
    return connection.execute(sa.select(secret.c.value).where(secret.c.name == _ERASURE)).scalar()


def _any(connection: sa.Connection, *conditions: Any) -> bool:
    found: bool = connection.execute(sa.select(sa.exists().where(*conditions))).scalar_one()
    return found
