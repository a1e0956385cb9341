"""Calls: the list, one call with its timeline, why it got its arm, and the outcomes that agents report."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue, StrictBool, StrictFloat, StrictInt

from gateway.decide import bucket
from gateway.errors import Conflict, Invalid, NotFound, Unavailable
from gateway.http.api.endpoint import Answer, Ask, Body, endpoint
from gateway.http.api.paging import Page
from gateway.http.auth import Caller
from gateway.judges.labels import refused_label
from gateway.phone import is_withheld, masked
from gateway.placing import Wanted as Placed
from gateway.placing import attempt_id_of, new_attempt_id
from gateway.storage.analyses import analysis_of, put_label
from gateway.storage.callbook import Filter, call_of, events_of, list_calls, outcome_of
from gateway.storage.engine import Connection
from gateway.storage.experiments import epoch_of
from gateway.storage.rows import CallRow, assignment_in, served_in
from gateway.storage.works import PutOutcome
from gateway.terms import Screening


class Wanted(Page):
    """Which calls to list; ``number`` is either side of the call, times are Unix milliseconds."""

    route: str | None = None
    experiment: str | None = None
    arm: str | None = None
    version: str | None = None
    status: str | None = None
    direction: str | None = None
    number: str | None = None
    since: int | None = Field(None, ge=0, le=2**53)
    until: int | None = Field(None, ge=0, le=2**53)


class Line(Body):
    """One thing said in a call; ``at`` is in seconds from its start."""

    role: str = Field(max_length=64)
    text: str
    at: float | None = None


class Outcome(Body):
    """What an agent reports; a key that is sent replaces what is known, null erases it."""

    success: StrictBool | None = None
    sentiment: float | None = Field(None, ge=-1, le=1, allow_inf_nan=False)
    transfer_requested: StrictBool | None = None
    transferred: StrictBool | None = None
    opt_out: StrictBool | None = None
    cost: float | None = Field(None, ge=0, allow_inf_nan=False)
    fields: dict[str, JsonValue] | None = Field(None, max_length=100)
    transcript: list[Line] | None = Field(None, max_length=10_000)
    final: Literal[True, False] | None = None


class Label(Body):
    """What a person found in a call: ``success``, ``sentiment`` or the name of a criterion, and its right value."""

    criterion: str
    value: StrictBool | StrictInt | StrictFloat | Annotated[str, Field(max_length=100)]


class Placing(Body, Screening):
    """A call to place; ``from`` is one of the route's numbers, the first unless given.

    ``machine`` says what is done when a machine answers; ``message`` is what it is told by ``leave_message``.
    """

    route: str
    to: str
    from_: str | None = Field(None, alias="from")
    variables: dict[str, str] = Field(default_factory=dict, max_length=100)
    timezone: str | None = None


@endpoint("POST", "/calls", role="editor", body=Placing)
async def place_call(ask: Ask) -> Answer:
    """Place one call: it is assigned and stored as planned, and the dialer sends it."""
    gateway, body = ask.gateway, ask.body
    if gateway.carrier is None:
        raise Invalid(
            "calls cannot be placed: Twilio's API needs twilio.account_sid with its auth token, or an API key"
        )
    gateway.contacts.allowed.check(body.to, body.timezone)
    # With a key, a second attempt has no id of its own to be made under, whatever became of the first answer.
    key = ask.headers.get("Idempotency-Key")
    wanted = Placed(
        id=new_attempt_id() if key is None else attempt_id_of(ask.caller.name, key),
        route=body.route,
        to=body.to,
        from_=body.from_,
        variables=body.variables,
        timezone=body.timezone,
        machine=body.screening(),
    )
    row, first = await gateway.switchboard.place(wanted, author=ask.caller.name)
    replayed = {} if first else {"Idempotent-Replayed": "true"}
    return Answer(body={"call": shown(row, ask.caller)}, status=201, headers=replayed)


@endpoint("GET", "/calls", role="viewer", query=Wanted)
async def list_all(ask: Ask) -> dict[str, Any]:
    """Calls, newest first; a page that looked through many may hold few or none, with more behind it."""
    wanted: Wanted = ask.query
    which = Filter(**wanted.model_dump(exclude={"cursor", "limit"}))
    async with ask.gateway.database.read() as connection:
        rows, more = await list_calls(connection, which, before=wanted.cursor, limit=wanted.limit)
    return {"calls": [shown(row, ask.caller) for row in rows], "next": more}


@endpoint("GET", "/calls/{call}", role="viewer")
async def show_call(ask: Ask) -> dict[str, Any]:
    """One call with its timeline and outcome."""
    async with ask.gateway.database.read() as connection:
        row = await _call(connection, ask)
        # First, so that whoever sees it done sees what it wrote.
        analysis = await analysis_of(connection, row.id)
        events = await events_of(connection, row.id)
        outcome = await outcome_of(connection, row.id)
    timeline = [{"kind": event.kind, "key": event.key, "at": event.at, **event.data} for event in events]
    first = {"kind": "assigned" if row.arm else "received", "key": "voice", "at": row.received_at}
    told = {"outcome": _outcome(outcome), "analysis": analysis, "events": [first, *timeline]}
    return {"call": shown(row, ask.caller) | told}


@endpoint("GET", "/calls/{call}/explain", role="viewer")
async def explain_call(ask: Ask) -> dict[str, Any]:
    """Why a call got its arm: the facts of the draw, recomputed and compared with what was recorded."""
    async with ask.gateway.database.read() as connection:
        row = await _call(connection, ask)
        epoch = await epoch_of(connection, row.experiment, row.epoch) if row.experiment and row.epoch else None
    return {"explanation": _explanation(row, epoch)}


@endpoint("GET", "/calls/{call}/twiml", role="viewer")
async def show_twiml(ask: Ask) -> dict[str, Any]:
    """What Twilio was answered for each handoff, made again from what is stored; secrets are hidden."""
    async with ask.gateway.database.read() as connection:
        row = await _call(connection, ask)
    if not ask.caller.may("editor"):
        row = row._replace(from_number=masked(row.from_number), to_number=masked(row.to_number))
    told = await ask.gateway.switchboard.told(row)
    return {
        "twiml": [
            {
                "at": one.at,
                "hop": one.hop,
                "served": one.served._asdict() if one.served else None,
                "twiml": one.twiml.decode(),
            }
            for one in told
        ],
        "next": None,
    }


@endpoint("POST", "/calls/{call}/outcome", role="outcome", body=Outcome)
async def post_outcome(ask: Ask) -> Answer:
    """Report what became of a call; repeated, late and partial reports are welcome."""
    sent = ask.body.model_dump(exclude_unset=True)
    name = ask.path["call"]
    work = PutOutcome(call=name, body=sent, at=ask.gateway.wall(), author=ask.caller.name)
    row = await ask.gateway.ledger.put_outcome(work)
    if row is None:
        async with ask.gateway.database.read() as connection:
            known = await call_of(connection, name)
        if known is not None and known.sealed_at is not None:
            raise Conflict(f"the records of call {name} were deleted, so nothing more is taken of it")
        if known is not None or ask.gateway.ledger.recall(name) is not None:
            raise Unavailable("the call is not in the database yet; try again shortly")
        raise _unknown(ask)
    if sent.get("transcript") and ask.gateway.analysis is not None:
        ask.gateway.analysis.wake()
    return Answer(body={"call": row["call"], "outcome": _outcome(row)})


@endpoint("POST", "/calls/{call}/label", role="editor", body=Label)
async def label_call(ask: Ask) -> dict[str, Any]:
    """Say what a person finds in a call, to hold the judge against it; your last word on a criterion stands."""
    wanted: Label = ask.body
    problem = refused_label(wanted.criterion, wanted.value, ask.gateway.settings.analysis.criteria)
    if problem is not None:
        raise Invalid(problem.text, [problem])
    async with ask.gateway.database.write() as connection:
        row = await _call(connection, ask)
        label = {"call": row.id, "author": ask.caller.name, "at": ask.gateway.wall(), **wanted.model_dump()}
        await put_label(connection, ask.gateway.database, label | {"experiment": row.experiment})
        await ask.audit(connection, "label", f"call {row.id}", criterion=wanted.criterion, value=wanted.value)
    return {"label": label}


def shown(row: CallRow, caller: Caller) -> dict[str, Any]:
    """A call in the shape of the API; whoever only reads is not shown whose number it is."""
    assignment, served = assignment_in(row), served_in(row)
    hidden = (lambda number: number) if caller.may("editor") else masked
    return {
        "id": row.id,
        "sid": row.sid,
        "status": row.status,
        "direction": row.direction,
        "from": hidden(row.from_number),
        "to": hidden(row.to_number),
        "route": row.route,
        "received_at": row.received_at,
        "ended_at": row.ended_at,
        "duration_seconds": row.duration_seconds,
        "journalled": row.journalled,
        "assignment": None
        if assignment is None
        else {
            "arm": assignment.arm,
            "version": assignment.version,
            "reason": assignment.reason,
            "experiment": assignment.experiment,
            "epoch": assignment.epoch,
            "revision": assignment.revision,
            "unit": assignment.unit,
            "bucket": assignment.bucket,
            "share": assignment.share,
            "analysed": assignment.analysed,
        },
        "served": {"by": served.by, "arm": served.arm, "version": served.version, "reason": served.reason},
    }


def _outcome(row: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return None if row is None else {**row["body"], "counted": row["counted"]}


def _unknown(ask: Ask) -> NotFound:
    return NotFound(f"there is no call {ask.path['call']}")


async def _call(connection: Connection, ask: Ask) -> CallRow:
    row = await call_of(connection, ask.path["call"])
    if row is None:
        raise _unknown(ask)
    return row


def _explanation(row: CallRow, epoch: Mapping[str, Any] | None) -> dict[str, Any]:
    told: dict[str, Any] = {
        name: getattr(row, name)
        for name in ("route", "revision", "experiment", "epoch", "unit", "reason", "arm", "version")
    }
    told |= {"call": row.id, "bucket": row.bucket, "share": row.share, "analysed": row.analysed}
    if epoch is None or row.bucket is None:
        return told | {"shares": None, "recomputed": None, "agrees": None}
    other = row.from_number if row.direction == "inbound" else row.to_number
    unit = other if row.unit == "caller" and not is_withheld(other) else row.id
    place = bucket(unit, epoch["salt"])
    arm = next((one["arm"] for one in epoch["arms"] if place < one["upper"]), None)
    sticky = row.reason == "sticky"
    return told | {
        "shares": {one["arm"]: one["share"] for one in epoch["arms"]},
        "recomputed": {"bucket": place, "arm": arm},
        # A remembered caller keeps the first arm, whatever the weights say today.
        "agrees": place == row.bucket and (sticky or arm == row.arm),
    }


ENDPOINTS = (list_all, place_call, show_call, explain_call, show_twiml, post_outcome, label_call)
