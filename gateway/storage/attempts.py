"""Outbound attempts as rows: planned, claimed once, bound to Twilio's call, closed; and who must not be called.

Each function speaks in a transaction that somebody else has open. The states, and what leads from one to the next:
planned → intent (committed before anything is sent) → placed → closed; from intent also to rejected (proved not
made) and unknown (sent, and nobody knows), which evidence turns into placed or absent.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import sqlalchemy as sa

from gateway.model import Event
from gateway.phone import is_e164
from gateway.storage.engine import Database
from gateway.storage.schema import attempt, call, dialing, suppression

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


def add_attempt(connection: sa.Connection, one: Attempt) -> None:
    """Write a planned attempt."""
    connection.execute(sa.insert(attempt), one._asdict())


def lock_dialing(connection: sa.Connection, database: Database) -> bool:
    """Take the lock that puts claims, stops and opt-outs in one order; returns whether dialling is stopped."""
    first = database.insert(dialing).values(id=1, stopped=False, author="", reason="", at=0)
    connection.execute(first.on_conflict_do_nothing())
    stopped: bool = connection.execute(
        sa.select(dialing.c.stopped).where(dialing.c.id == 1).with_for_update()
    ).scalar_one()
    return stopped


def claim(
    connection: sa.Connection, database: Database, name: str, *, owner: str, now: int, since: int, most: int, cap: int
) -> Attempt | str | None:
    """Turn a planned attempt into an intent: only whoever gets it back may send it.

    ``most`` open attempts at a time, ``cap`` intents since ``since``. Returns why not, as a word, when a rule
    stands against it now (stopped, busy, concurrency, cap), and None when it is no longer planned.
    """
    if lock_dialing(connection, database):
        return "stopped"
    row = connection.execute(
        sa.select(attempt).where(attempt.c.id == name, attempt.c.state == "planned").with_for_update()
    ).first()
    if row is None:
        return None
    wanted = Attempt(*row)
    if _any(connection, suppression.c.number == wanted.to_number):
        return "suppressed"
    if _any(connection, attempt.c.to_number == wanted.to_number, attempt.c.state.in_(OPEN)):
        return "busy"
    if _count(connection, attempt.c.state.in_(OPEN)) >= most:
        return "concurrency"
    if _count(connection, attempt.c.intent_at >= since) >= cap:
        return "cap"
    connection.execute(
        sa.update(attempt).where(attempt.c.id == name).values(state="intent", owner=owner, intent_at=now)
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


def close_attempts(connection: sa.Connection, ids: Iterable[str]) -> None:
    """End the attempts whose calls are over, so that their numbers are free again."""
    connection.execute(
        sa.update(attempt).where(attempt.c.id.in_(list(ids)), attempt.c.state.in_(OPEN)).values(state="closed")
    )


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
    row = database.insert(suppression).values(number=number, reason=reason, author=author, at=at)
    connection.execute(row.on_conflict_do_nothing())


def _any(connection: sa.Connection, *conditions: Any) -> bool:
    found: bool = connection.execute(sa.select(sa.exists().where(*conditions))).scalar_one()
    return found


def _count(connection: sa.Connection, *conditions: Any) -> int:
    count: int = connection.execute(sa.select(sa.func.count()).select_from(attempt).where(*conditions)).scalar_one()
    return count
