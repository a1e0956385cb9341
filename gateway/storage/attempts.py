"""Outbound attempts as rows: planned, claimed once, bound to Twilio's call, closed; and who must not be called.

Each function speaks in a transaction that somebody else has open. The states, and what leads from one to the next:
planned → intent (committed before anything is sent) → placed → closed; from intent also to rejected (proved not
made) and unknown (sent, and nobody knows), which evidence turns into placed or absent.
"""

import math
import secrets
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

import sqlalchemy as sa

from gateway.model import Event
from gateway.phone import is_e164
from gateway.storage.engine import Database
from gateway.storage.schema import attempt, call, dialing, erasure, secret, suppression

_DAY = 24 * 60 * 60 * 1000

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
    connection: sa.Connection, standing: Dialing, limits: Limits, *, now: int, route: str
) -> Held | None:
    """Which rule keeps every call of the route from being sent at ``now``."""
    if standing.stopped:
        return Held("stopped")
    if standing.next_at > now:
        return Held("pace", standing.next_at)
    is_open = attempt.c.state.in_(OPEN)
    if count_attempts(connection, is_open) >= limits.at_once:
        return Held("concurrency")
    if count_attempts(connection, is_open, attempt.c.route == route) >= limits.at_once_on_route:
        return Held("route")
    if count_attempts(connection, attempt.c.intent_at >= now - now % _DAY) >= limits.per_day:
        return Held("cap")
    return None


def stands_against(connection: sa.Connection, number: str) -> str | None:
    """Why a number cannot be rung now: it is suppressed, or busy with another attempt."""
    if suppressed_among(connection, [number]):
        return "suppressed"
    if _any(connection, attempt.c.to_number == number, attempt.c.state.in_(OPEN)):
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


def claim(
    connection: sa.Connection, wanted: Attempt, standing: Dialing, *, owner: str, now: int, limits: Limits
) -> Attempt | Held | None:
    """Turn a planned attempt into an intent, under the lock: only whoever gets it back may send it.

    Returns which rule stands against it now, and None when it is no longer planned.
    """
    held = stands_against_all(connection, standing, limits, now=now, route=wanted.route)
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
    taken = sa.exists().where(
        other.c.to_number == attempt.c.to_number, other.c.id != attempt.c.id, other.c.state.in_(OPEN)
    )
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


def count_attempts(connection: sa.Connection, *conditions: Any) -> int:
    """How many attempts meet all conditions."""
    count: int = connection.execute(sa.select(sa.func.count()).select_from(attempt).where(*conditions)).scalar_one()
    return count
