"""Campaigns and their contacts as rows: written as they stream in, claimed one at a time, moved on by what became of
each attempt. Each function speaks in a transaction that somebody else has open.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from gateway.model import Assignment
from gateway.storage.attempts import (
    Attempt,
    Busy,
    Dialing,
    Held,
    Limits,
    add_attempt,
    count_open,
    lock_dialing,
    next_turn,
    sent_today,
    stands_against,
    stands_against_all,
    take_turn,
    waits,
)
from gateway.storage.engine import Database
from gateway.storage.rows import CallRow
from gateway.storage.schema import attempt, campaign, contact
from gateway.terms import Terms, result_of

DAY = 24 * 60 * 60 * 1000
# How long to leave alone somebody whom another call is just ringing.
_BUSY_MS = 5_000
# How many contacts one claim looks at, so that it holds up nobody else for long.
_LOOK = 50
# Spelled as the index of those who wait spells it.
_WAITING = contact.c.state == sa.literal_column("'waiting'")


class Campaign(NamedTuple):
    """One row of ``campaign``, in the order of its columns. Times are Unix milliseconds."""

    id: str
    name: str
    route: str
    status: str
    reason: str
    settings: Mapping[str, Any]
    author: str
    contacts: int
    skipped: int
    created_at: int
    started_at: int | None = None
    ended_at: int | None = None
    next_at: int = 0

    @property
    def terms(self) -> Terms:
        """Its settings, as they were checked when it was made."""
        return Terms.model_validate(self.settings)


class ContactRow(NamedTuple):
    """One row of ``contact``, in the order of its columns."""

    campaign: str
    line: int
    place: int | None
    to_number: str
    timezone: str | None
    consent: str | None
    variables: Mapping[str, str]
    state: str
    result: str | None = None
    text: str | None = None
    not_before: int = 0
    attempts: int = 0
    call: str | None = None
    arm: str | None = None
    version: str | None = None
    revision: int | None = None
    experiment: str | None = None
    epoch: int | None = None
    why: Any = None
    share: float | None = None
    analysed: bool | None = None

    @property
    def assignment(self) -> Assignment | None:
        """The arm it was given at its first attempt, which stands; None before that."""
        if self.arm is None or self.version is None or self.revision is None:
            return None
        drawn = (self.experiment, self.epoch, None, self.share)
        return Assignment(self.arm, self.version, self.why, self.revision, "contact", bool(self.analysed), *drawn)


class Draw(NamedTuple):
    """A contact who may be rung now: the call as it is to be recorded, and the attempt."""

    row: CallRow
    attempt: Attempt


class Later(NamedTuple):
    """A contact who may be rung from ``at`` on."""

    at: int


class Never(NamedTuple):
    """A contact who is not rung at all: the kind of reason, and a sentence."""

    result: str
    text: str


Drawn = Draw | Later | Never


def claim_contact(
    connection: sa.Connection,
    one: Campaign,
    standing: Dialing,
    *,
    owner: str,
    now: int,
    limits: Limits,
    draw: Callable[[ContactRow], Drawn],
) -> tuple[ContactRow, Draw] | Held | None:
    """Claim the next contact of a running campaign as an intent, with every rule checked under the lock.

    ``draw`` is pure: whether, when and with which assignment a contact is rung. Returns None when nobody is due, and
    ``Held("more")`` when the first contacts were put off and others may be due.
    """
    busy = count_open(connection)
    held = stands_against_all(connection, standing, limits, busy, now=now, route=one.route)
    if held is not None:
        return held
    held = _stands_against_campaign(connection, one, busy, now)
    if held is not None:
        return held
    due = (
        sa.select(contact)
        .where(contact.c.campaign == one.id, _WAITING, contact.c.not_before <= now)
        .order_by(contact.c.not_before, contact.c.line)
        .with_for_update(skip_locked=True)
    )
    for many in (1, _LOOK):  # nearly always the very first is called
        found = [ContactRow(*row) for row in connection.execute(due.limit(many))]
        for person in found:
            drawn = _look_at(connection, one, person, now, draw)
            if isinstance(drawn, Draw):
                intent = drawn.attempt._replace(state="intent", owner=owner, intent_at=now)
                _write_intent(connection, one, person, drawn.row, intent)
                take_turn(connection, limits, now=now)
                return person, Draw(drawn.row, intent)
            if isinstance(drawn, Later):
                change_contact(connection, person, not_before=drawn.at)
            else:
                change_contact(connection, person, state="skipped", result=drawn.result, text=drawn.text)
        if len(found) < many:
            return None
    return Held("more")


def _stands_against_campaign(connection: sa.Connection, one: Campaign, busy: Busy, now: int) -> Held | None:
    row = connection.execute(
        sa.select(campaign.c.status, campaign.c.next_at).where(campaign.c.id == one.id).with_for_update()
    ).first()
    if row is None or row.status != "running":
        return Held("not running")
    terms = one.terms
    if terms.calls_per_second is not None and waits(row.next_at, terms.calls_per_second, now):
        return Held("campaign's pace", row.next_at)
    if terms.concurrency is not None and busy.campaigns.get(one.id, 0) >= terms.concurrency:
        return Held("campaign's concurrency")
    ours = attempt.c.campaign == one.id
    if terms.daily_cap is not None and sent_today(connection, terms.daily_cap, ours, now=now):
        return Held("campaign's cap")
    return None


def _look_at(
    connection: sa.Connection, one: Campaign, person: ContactRow, now: int, draw: Callable[[ContactRow], Drawn]
) -> Drawn:
    why = stands_against(connection, person.to_number)
    if why == "suppressed":
        return Never("suppressed", "the number must not be called")
    if why is not None:
        return Later(now + _BUSY_MS)
    lately = connection.scalars(
        sa.select(attempt.c.intent_at)
        .where(attempt.c.to_number == person.to_number, of_the_day(now))
        .order_by(attempt.c.intent_at.desc())
        .limit(one.terms.max_attempts_per_day)
    ).all()
    if len(lately) == one.terms.max_attempts_per_day:
        return Later((lately[-1] or now) + DAY)
    return draw(person)


def of_the_day(now: int) -> sa.ColumnElement[bool]:
    """Whether an attempt is one of the day before ``now``. What Twilio refused rang nobody, so it is none of them."""
    return sa.and_(attempt.c.intent_at > now - DAY, attempt.c.state != "rejected")


def _write_intent(
    connection: sa.Connection, one: Campaign, person: ContactRow, row: CallRow, intent: Attempt
) -> None:
    add_attempt(connection, intent)
    change_contact(
        connection,
        person,
        state="dialling",
        call=row.id,
        attempts=person.attempts + 1,
        arm=row.arm,
        version=row.version,
        revision=row.revision,
        experiment=row.experiment,
        epoch=row.epoch,
        why=row.reason,
        share=row.share,
        analysed=row.analysed,  # whoever was once called during a hold stays out of the comparison
    )
    per_second = one.terms.calls_per_second
    if per_second is not None:
        changed = sa.update(campaign).where(campaign.c.id == one.id)
        connection.execute(changed.values(next_at=next_turn(per_second, intent.intent_at or intent.planned_at)))


def change_contact(connection: sa.Connection, person: ContactRow, **values: Any) -> None:
    """Change columns of one contact."""
    which = sa.and_(contact.c.campaign == person.campaign, contact.c.line == person.line)
    connection.execute(sa.update(contact).where(which).values(values))


# -- what follows from an attempt ----------------------------------------------------------------------------


def end_contacts(connection: sa.Connection, ended: Sequence[tuple[CallRow, str | None]], now: int) -> None:
    """Move on the contacts whose latest call has just ended; each call comes with what Twilio says answered it."""
    if not ended:
        return
    calls = {row.id: (row, answered_by) for row, answered_by in ended}
    query = sa.select(contact).join(
        attempt, sa.and_(attempt.c.campaign == contact.c.campaign, attempt.c.contact == contact.c.line)
    )
    for found in connection.execute(query.where(attempt.c.id.in_(calls), contact.c.call == attempt.c.id)).all():
        person = ContactRow(*found)
        row, answered_by = calls[person.call or ""]
        terms = campaign_of(connection, person.campaign).terms
        result = result_of(row.status, seconds=row.duration_seconds, answered_by=answered_by, terms=terms)
        move_on(connection, person, terms, result, now=now)


def move_on(connection: sa.Connection, person: ContactRow, terms: Terms, result: str, *, now: int) -> None:
    """Let a contact wait for its next attempt, or be done."""
    again = terms.again_at(result, attempts=person.attempts, now=now)
    values = {"state": "done"} if again is None else {"state": "waiting", "not_before": again}
    change_contact(connection, person, result=result, text=person.text, **values)


def give_back(connection: sa.Connection, person: ContactRow, *, not_before: int, text: str) -> None:
    """Let a contact wait again whose attempt was never made, for a reason that is not theirs: it does not count."""
    values = {"state": "waiting", "not_before": not_before, "text": text, "attempts": person.attempts - 1}
    change_contact(connection, person, **values)


def contact_of(connection: sa.Connection, call_id: str) -> ContactRow | None:
    """The contact whose latest attempt this is, or None."""
    query = sa.select(contact).join(
        attempt, sa.and_(attempt.c.campaign == contact.c.campaign, attempt.c.contact == contact.c.line)
    )
    found = connection.execute(query.where(attempt.c.id == call_id, contact.c.call == call_id)).first()
    return ContactRow(*found) if found else None


def campaign_of(connection: sa.Connection, name: str) -> Campaign:
    """One campaign, which is known to exist."""
    return Campaign(*connection.execute(sa.select(campaign).where(campaign.c.id == name)).one())


def told_of(one: Campaign) -> dict[str, Any]:
    """What a notice says of a campaign."""
    names = ("id", "name", "route", "status", "reason", "contacts", "skipped", "started_at", "ended_at")
    return {name: getattr(one, name) for name in names}


# -- its status ----------------------------------------------------------------------------------------------


def set_status(
    connection: sa.Connection,
    database: Database,
    name: str,
    *,
    was: Collection[str],
    to: str,
    reason: str = "",
    **more: Any,
) -> bool:
    """Move a campaign to another status, in order with every claim; False when it was in none of those."""
    lock_dialing(connection, database)
    moved = connection.execute(
        sa.update(campaign)
        .where(campaign.c.id == name, campaign.c.status.in_(was))
        .values(status=to, reason=reason, **more)
    )
    return moved.rowcount > 0


def advance(connection: sa.Connection, database: Database, now: int) -> list[tuple[str, str]]:
    """Do what time and ended calls bring: start what is scheduled, settle what pauses, complete what is done.

    Returns the campaigns that moved, each with its new status.
    """
    moved = []
    live = sa.select(campaign).where(campaign.c.status.in_(("scheduled", "running", "pausing")))
    for row in connection.execute(live).all():
        one = Campaign(*row)
        if one.status == "scheduled":
            if (one.terms.start_at or 0) > now:
                continue
            after: dict[str, Any] = {"to": "running", "started_at": now}
        elif one.status == "pausing":
            if _any_is(connection, one.id, "dialling"):
                continue
            after = {"to": "paused", "reason": one.reason}
        elif _any_is(connection, one.id, "waiting", "dialling"):
            continue
        else:
            after = {"to": "completed", "ended_at": now}
        if set_status(connection, database, one.id, was=(one.status,), **after):
            moved.append((one.id, str(after["to"])))
    return moved


def _any_is(connection: sa.Connection, name: str, *states: str) -> bool:
    # In one statement: between two, a contact could go from one state to the other and be seen in neither.
    there = sa.exists().where(contact.c.campaign == name, contact.c.state.in_(states))
    found: bool = connection.execute(sa.select(there)).scalar_one()
    return found
