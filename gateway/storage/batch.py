"""Writes a batch of works in one transaction.

First writer wins throughout: an insert that meets a standing row changes nothing, and what stands is read back.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from gateway.calls import PLACED, SUPERSEDED, State, derive, merge_outcome, reported
from gateway.decide import Remembered
from gateway.model import Event
from gateway.storage.analyses import ask_judge, forget_analysis
from gateway.storage.attempts import bind_sid, close_attempts, lock_dialing, suppress
from gateway.storage.bulk import Many, Newcomers
from gateway.storage.callbook import named
from gateway.storage.campaigns import end_contacts
from gateway.storage.counting import Counting, CountStatements, Told, repeat_due, rung_before
from gateway.storage.engine import Database
from gateway.storage.rows import CallRow, event_in, row_in
from gateway.storage.schema import call, call_event, outcome, sticky
from gateway.storage.works import AppendEvent, MatureCalls, PutOutcome, RecordCall, Remember, Rules, Supersede, Work

# What a voice webhook writes; the columns behind it are null by default.
_FIRST = slice(CallRow._fields.index("mature") + 1)
# The columns of a call that are derived from what is told of it later.
_LATER = slice(CallRow._fields.index("served_by"), CallRow._fields.index("seq"))
_DERIVED = CallRow._fields[_LATER]


class Statements:
    """The statements of a batch, made once for the database at hand."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.insert_call = Newcomers(database, call, CallRow._fields[_FIRST], ("id",))
        self.insert_event = Newcomers(database, call_event, Event.__slots__, ("call", "key"))
        self.insert_sticky = database.insert(sticky).on_conflict_do_nothing().returning(sticky.c.unit)
        self.counting = CountStatements(database)
        put = database.insert(outcome)
        self.put_outcome = put.on_conflict_do_update(
            index_elements=[outcome.c.call],
            set_={name: put.excluded[name] for name in ("body", "updated_at", "counted")},
        )
        self.update_call = Many(
            database,
            sa.update(call)
            .where(call.c.id == sa.bindparam("call_id"))
            .values({name: sa.bindparam(f"new_{name}") for name in _DERIVED}),
            (*(f"new_{name}" for name in _DERIVED), "call_id"),
        )


class Batch:
    """One transaction's works; ``write`` does them inside the transaction that ``connection`` has open."""

    def __init__(self, connection: sa.Connection, statements: Statements, rules: Rules, now: int) -> None:
        self._connection = connection
        self._statements = statements
        self._rules = rules
        self._now = now
        self._counting = Counting(connection, statements.counting)
        # The calls to derive anew, and the new rows of their outcomes.
        self._touched: dict[str, None] = {}
        self._outcomes: dict[str, dict[str, Any]] = {}

    def write(self, works: Sequence[Work]) -> list[Any]:
        """Do all works; returns their answers in the same order."""
        if any(type(work) is PutOutcome and work.body.get("opt_out") for work in works):
            # Before the row of any call, as every claim takes them: in another order two would wait for each other.
            lock_dialing(self._connection, self._statements.database)
        kinds: dict[type[Work], list[Any]] = {}
        for work in works:
            kinds.setdefault(type(work), []).append(work)
        # What is written first can be read by what comes later: events of a call that is in the same batch, say.
        answered = {kind: iter(write(self, kinds[kind])) for kind, write in _IN_ORDER.items() if kind in kinds}
        if self._touched:
            self._settle()
        self._counting.write()
        return [next(answered[type(work)]) for work in works]

    # -- each kind of work ---------------------------------------------------------------------------------

    def _remember(self, works: Sequence[Remember]) -> list[tuple[Remembered, bool]]:
        return [self._memory(work) for work in works]

    def _memory(self, wanted: Remember) -> tuple[Remembered, bool]:
        row = {name: getattr(wanted, name) for name in Remember.__slots__}
        first = self._connection.execute(self._statements.insert_sticky, row).first() is not None
        standing = self._connection.execute(
            sa.select(sticky.c.arm, sticky.c.epoch).where(
                sticky.c.experiment == wanted.experiment,
                sticky.c.memory == wanted.memory,
                sticky.c.unit == wanted.unit,
            )
        ).one()
        return Remembered(arm=standing.arm, epoch=standing.epoch), first

    def _record_calls(self, works: Sequence[RecordCall]) -> list[CallRow]:
        wanted: dict[str, CallRow] = {}  # of two with one id the first stands
        for work in works:
            row = work.row if work.drawn is None else self._compared(work.row, work.drawn)
            wanted.setdefault(row.id, row)
        rows = [tuple(row)[_FIRST] for row in wanted.values()]
        late = [name for (name,) in self._statements.insert_call(self._connection, rows)]
        fresh = [row for row in wanted.values() if row.id not in late] if late else wanted.values()
        self._counting.record(row for row in fresh if row.analysed)
        for row in fresh:
            # The events of a journalled call may have come before it; calls that it repeats may be counted.
            if row.journalled:
                self._touched.update(dict.fromkeys((row.id, *rung_before(self._connection, row))))
        if late:
            found = self._connection.execute(sa.select(call).where(call.c.id.in_(late)))
            standing = {row.id: row_in(row) for row in found}
            wanted |= {name: standing[name] for name in late}  # KeyError: another call has its CallSid
        return [wanted[work.row.id] for work in works]

    def _compared(self, row: CallRow, drawn: Remember) -> CallRow:
        standing, _ = self._memory(drawn)
        return row if standing.arm == drawn.arm else row._replace(analysed=False)

    def _append_events(self, works: Sequence[AppendEvent]) -> list[Event]:
        standing = self._append(work.event for work in works)
        return [standing[work.event.call, work.event.key] for work in works]

    def _append(self, events: Iterable[Event]) -> dict[tuple[str, str], Event]:
        """Write the events whose keys are new; returns the one that stands under each key."""
        wanted: dict[tuple[str, str], Event] = {}
        for event in events:
            wanted.setdefault((event.call, event.key), event)
        rows = [(event.call, event.key, event.kind, event.at, dict(event.data)) for event in wanted.values()]
        late = self._statements.insert_event(self._connection, rows)
        fresh = wanted.keys() - late
        self._touched.update((name, None) for name, _ in fresh)
        for place in fresh:
            if wanted[place].kind == PLACED:
                bind_sid(self._connection, wanted[place])
        for name, key in late:
            query = sa.select(call_event).where(call_event.c.call == name, call_event.c.key == key)
            wanted[name, key] = event_in(self._connection.execute(query).one())
        return wanted

    def _put_outcomes(self, works: Sequence[PutOutcome]) -> list[dict[str, Any] | None]:
        return [self._put_outcome(work) for work in works]

    def _put_outcome(self, work: PutOutcome) -> dict[str, Any] | None:
        query = sa.select(call).where(named(work.call)).with_for_update()
        known = self._connection.execute(query).first()
        if known is None or known.sealed_at is not None:
            return None
        old = self._outcomes.get(known.id)
        if old is None:
            row = self._connection.execute(sa.select(outcome).where(outcome.c.call == known.id)).first()
            old = dict(row._mapping) if row else {"call": known.id, "body": {}, "received_at": work.at}
        self._outcomes[known.id] = old | {
            "body": merge_outcome(old["body"], work.body),
            "updated_at": self._now,
            "counted": not self._counting.locked(known.experiment),
        }
        self._touched[known.id] = None
        if "transcript" in work.body:
            self._hand_to_judge(known.id, work.body["transcript"])
        if work.body.get("opt_out"):
            number = known.to_number if known.direction == "outbound" else known.from_number
            reason = f"asked not to be called, in {known.id}"
            database = self._statements.database
            suppress(self._connection, database, number, reason=reason, author=work.author, at=work.at)
        self._append([reported(known.id, work.body, work.author, work.at)])
        return self._outcomes[known.id]

    def _hand_to_judge(self, name: str, transcript: list[dict[str, Any]] | None) -> None:
        if not transcript:
            # What a judge says of a transcript may quote it, and goes when it is erased.
            forget_analysis(self._connection, name)
        elif self._rules.judged:
            ask_judge(self._connection, self._statements.database, name, transcript, now=self._now)

    def _mature(self, works: Sequence[MatureCalls]) -> list[int]:
        return [self._due(work) for work in works]

    def _due(self, work: MatureCalls) -> int:
        query = sa.select(call.c.id).where(call.c.mature_at <= work.now).order_by(call.c.mature_at)
        due = list(self._connection.scalars(query.limit(work.limit)))
        self._touched.update(dict.fromkeys(due))
        return len(due)

    def _supersede(self, works: Sequence[Supersede]) -> list[None]:
        for work in works:
            query = sa.select(call).where(call.c.id == work.call, call.c.analysed).with_for_update()
            found = self._connection.execute(query).first()
            if found is not None and not self._counting.locked(found.experiment):
                self._counting.take_back(row_in(found))
                changed = sa.update(call).where(call.c.id == found.id)
                self._connection.execute(changed.values(analysed=False, counted=None, strata=None))
        told = [Event(call=w.call, key="superseded", kind=SUPERSEDED, at=w.at, data={"by": w.by}) for w in works]
        self._append(told)
        return [None] * len(works)

    # -- what follows from it ------------------------------------------------------------------------------

    def _settle(self) -> None:
        """Derive each touched call anew from all that is known of it, and correct the tallies by the difference."""
        ids = list(self._touched)
        query = sa.select(call).where(call.c.id.in_(ids), call.c.sealed_at.is_(None))
        query = query.order_by(call.c.id).with_for_update()
        rows = [row_in(row) for row in self._connection.execute(query)]
        if not rows:
            return
        if self._outcomes:
            self._connection.execute(self._statements.put_outcome, list(self._outcomes.values()))
        events: dict[str, list[Event]] = {}
        for event in self._connection.execute(sa.select(call_event).where(call_event.c.call.in_(ids))):
            events.setdefault(event.call, []).append(event_in(event))
        stored = self._connection.execute(sa.select(outcome).where(outcome.c.call.in_(ids)))
        bodies = {row.call: row.body for row in stored}
        told: list[Told] = []
        for row in rows:
            body = bodies.get(row.id, {})
            state = derive(_announced(row), events.get(row.id, ()))
            told.append(Told(row, self._derived(row, state, body), state, body))
        settled = self._counting.count(told)
        self._statements.update_call(self._connection, [(*tuple(row)[_LATER], row.id) for row in settled])
        over = {
            row.id: (row, one.state.answered_by)
            for row, one in zip(settled, told, strict=True)
            if row.direction == "outbound" and row.ended_at is not None
        }
        if over:
            closed = close_attempts(self._connection, over)
            end_contacts(self._connection, [over[name] for name in closed], self._now)

    def _derived(self, row: CallRow, state: State, body: Mapping[str, Any]) -> CallRow:
        closes = state.ended_at + self._rules.window if state.ended_at is not None else None
        mature = row.mature or bool(body.get("final")) or (closes is not None and closes <= self._now)
        due = repeat_due(row) if mature else closes
        row = row._replace(
            status=state.status,
            answered_at=state.answered_at,
            ended_at=state.ended_at,
            duration_seconds=state.duration_seconds,
            mature=mature,
            mature_at=None if due is not None and mature and due <= self._now else due,
        )
        if state.served is None:
            return row
        return row._replace(**{f"served_{name}": state.served[name] for name in ("by", "arm", "version", "reason")})


_IN_ORDER: Mapping[type[Work], Any] = {
    Remember: Batch._remember,
    Supersede: Batch._supersede,
    RecordCall: Batch._record_calls,
    AppendEvent: Batch._append_events,
    PutOutcome: Batch._put_outcomes,
    MatureCalls: Batch._mature,
}


def _announced(row: CallRow) -> str:
    """What the call was announced with: a final status was derived, and is derived again."""
    return "planned" if row.direction == "outbound" else "ringing"
