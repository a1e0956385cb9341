"""Erases a person from the database by their number: their own rows, and every other place that mentions it.

Each row is a transaction of its own, so that no call waits. Tallies stay as they are, and of a call what tells nobody
who it was: when, which arm, who served, how it ended.
"""

import secrets
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from typing import Any

import sqlalchemy as sa

from gateway.calls import REJECTED
from gateway.decide import memory_key
from gateway.errors import Conflict
from gateway.mentions import ERASED, Mention
from gateway.model import Event
from gateway.storage.attempts import OPEN, keep_erased, lock_dialing, mark
from gateway.storage.batch import Batch, Statements
from gateway.storage.engine import Connection, Database
from gateway.storage.schema import (
    analysis,
    attempt,
    audit,
    call,
    call_event,
    cluster,
    contact,
    experiment,
    idempotency,
    label,
    live,
    metadata,
    outcome,
    revision,
    sticky,
)
from gateway.storage.works import AppendEvent, PutOutcome, Rules

_PORTION = 5_000  # rows that one search looks at

Key = tuple[Any, ...]


async def live_mention(connection: Connection, mention: Mention) -> tuple[str, str] | None:
    """Kind and name of something live that has the number in it, or None."""
    here = sa.and_(*(live.c[name] == revision.c[name] for name in ("kind", "name", "number")))
    query = sa.select(revision).join(live, here).where(_holds(revision.c.body, mention))
    for row in await connection.execute(query):
        if mention.without(row.body) != row.body:
            return row.kind, row.name
    return None


class Eraser:
    """Erases one number; ``begin``, then ``sweep``. Both may be done again, and find less to do."""

    def __init__(self, database: Database, number: str, *, rules: Rules, wall: Callable[[], int]) -> None:
        self._database = database
        self._number = number
        self._mention = Mention(number)
        self._rules = rules
        self._wall = wall
        self._statements = Statements(database)
        self._clean: dict[str, Callable[[sa.Connection, Any], bool]] = {
            "call": self._clean_call,
            "attempt": self._clean_attempt,
            "contact": self._clean_contact,
            "idempotency": self._clean_answer,
        }
        self.changed: Counter[str] = Counter()
        """Rows deleted or changed, by table."""
        self.busy: set[str] = set()
        """Calls that came in meanwhile, and were left alone."""

    async def begin(self, *, author: str) -> None:
        """Keep the person from being called, for ever, and say in the audit log who erased them.

        Raises Conflict, and changes nothing, while one of their calls may be under way.
        """
        await self._database.transact(partial(self._begin, author=author))

    def _begin(self, connection: sa.Connection, *, author: str) -> None:
        lock_dialing(connection, self._database)
        if open_ := self._open_calls(connection):
            raise Conflict(f"a call of this number has not ended: {', '.join(open_)}; erase it again when it has")
        keep_erased(connection, self._database, self._number, at=self._wall())
        planned = sa.select(attempt.c.id).where(attempt.c.to_number == self._number, attempt.c.state == "planned")
        for name in connection.scalars(planned).all():
            reason = "the number was erased"
            mark(connection, name, was="planned", state="rejected", reason=reason)
            data = {"status": "failed", "reason": reason}
            event = Event(call=name, key="rejected", kind=REJECTED, at=self._wall(), data=data)
            self._batch(connection).write([AppendEvent(event=event)])
        entry = {"at": self._wall(), "author": author, "action": "erase", "subject": f"number …{self._number[-2:]}"}
        connection.execute(sa.insert(audit), entry | {"detail": {}})

    def _open_calls(self, connection: sa.Connection) -> Sequence[str]:
        from_them = sa.select(call.c.id).where(
            call.c.from_number == self._number, call.c.ended_at.is_(None), call.c.direction == "inbound"
        )
        to_them = (
            sa.select(call.c.id)
            .join(attempt, attempt.c.id == call.c.id)
            .where(attempt.c.to_number == self._number, attempt.c.state != "planned", call.c.ended_at.is_(None))
        )
        return connection.scalars(from_them.union(to_them)).all()

    async def sweep(self) -> None:
        """Erase what tells of the person, and take the number out of every other row."""
        for table in metadata.sorted_tables:
            async for found in self._found(table):
                for key in found:
                    # One lock at a time: who holds one and waits for none is in nobody's way.
                    await self._database.transact(partial(self._clean_row, table=table, key=key))
        await self._database.transact(self._forget_memory)

    # -- where it stands -----------------------------------------------------------------------------------

    async def _found(self, table: sa.Table) -> AsyncIterator[list[Key]]:
        """The keys of the rows that hold the digits anywhere, portion by portion."""
        keys = list(table.primary_key)
        texts = _texts(table)
        if not texts:
            return
        last: Key | None = None
        while True:
            rest = sa.select(*{*keys, *texts}).order_by(*keys)
            if last is not None:
                ends = sa.tuple_(*(sa.literal(value, key.type) for value, key in zip(last, keys, strict=True)))
                rest = rest.where(sa.tuple_(*keys) > ends)
            portion = rest.limit(_PORTION).subquery()
            hits = sa.select(*(portion.c[key.name] for key in keys)).where(
                sa.or_(*(_holds(portion.c[text.name], self._mention) for text in texts))
            )
            async with self._database.read() as connection:
                found = [tuple(row) for row in await connection.execute(hits)]
                end = (await connection.execute(rest.with_only_columns(*keys).offset(_PORTION - 1).limit(1))).first()
            if found:
                yield found
            if end is None:
                return
            last = tuple(end)

    # -- what becomes of it --------------------------------------------------------------------------------

    def _clean_row(self, connection: sa.Connection, *, table: sa.Table, key: Key) -> None:
        which = sa.and_(*(column == value for column, value in zip(table.primary_key, key, strict=True)))
        row = connection.execute(sa.select(table).where(which).with_for_update()).first()
        clean = self._clean.get(table.name)
        # One that is the person's own goes as a whole, from another the number alone.
        if row is not None and not (clean is not None and clean(connection, row)):
            self._redact(connection, table, which, row)

    def _redact(self, connection: sa.Connection, table: sa.Table, which: Any, row: Any) -> None:
        new = {text.name: self._mention.without(row._mapping[text.name]) for text in _texts(table)}
        new = {name: value for name, value in new.items() if value != row._mapping[name]}
        if new:
            connection.execute(sa.update(table).where(which).values(new))
            self.changed[table.name] += 1

    def _clean_call(self, connection: sa.Connection, row: Any) -> bool:
        if not self._mention.among(row.from_number if row.direction == "inbound" else row.to_number):
            return False
        if row.ended_at is None:
            self.busy.add(row.id)
            return True
        if not row.mature and row.sealed_at is None:
            # Its books are closed first, with what is known: nothing that is counted will be taken back.
            close = PutOutcome(call=row.id, body={"final": True}, at=self._wall(), author="gateway")
            self._batch(connection).write([close])
        for table in (call_event, outcome, analysis, label):
            self.changed[table.name] += connection.execute(sa.delete(table).where(table.c.call == row.id)).rowcount
        kept = {
            "from_number": self._mention.without(row.from_number),
            "to_number": self._mention.without(row.to_number),
            # The bucket of a caller is drawn from the number, and could be compared with one.
            "bucket": None if row.unit == "caller" else row.bucket,
            "mature_at": None,
            "sealed_at": self._wall(),
        }
        connection.execute(sa.update(call).where(call.c.id == row.id).values(kept))
        self.changed["call"] += 1
        return True

    def _clean_attempt(self, connection: sa.Connection, row: Any) -> bool:
        if row.to_number != self._number:
            return False
        if row.state in (*OPEN, "planned"):
            self.busy.add(row.id)
            return True
        kept = {"to_number": ERASED, "variables": {}, "timezone": None, "reason": self._mention.without(row.reason)}
        connection.execute(sa.update(attempt).where(attempt.c.id == row.id).values(kept))
        self.changed["attempt"] += 1
        return True

    def _clean_contact(self, connection: sa.Connection, row: Any) -> bool:
        if not self._mention.among(row.to_number):
            return False
        if row.state == "dialling":
            self.busy.add(row.call or f"{row.campaign}, line {row.line}")
            return True
        kept: dict[str, Any] = {"to_number": ERASED, "variables": {}, "timezone": None, "consent": None}
        kept["text"] = "the person was erased"
        if row.state == "waiting":
            kept |= {"state": "skipped", "result": "suppressed"}
        which = sa.and_(contact.c.campaign == row.campaign, contact.c.line == row.line)
        connection.execute(sa.update(contact).where(which).values(kept))
        self.changed["contact"] += 1
        return True

    def _clean_answer(self, connection: sa.Connection, row: Any) -> bool:
        which = sa.and_(idempotency.c.author == row.author, idempotency.c.key == row.key)
        self.changed["idempotency"] += connection.execute(sa.delete(idempotency).where(which)).rowcount
        return True

    def _forget_memory(self, connection: sa.Connection) -> None:
        for one in connection.execute(sa.select(experiment.c.id, experiment.c.salt)).all():
            unit = memory_key(one.salt, self._number)
            gone = sa.delete(sticky).where(sticky.c.experiment == one.id, sticky.c.unit == unit)
            self.changed["sticky"] += connection.execute(gone).rowcount
            # What the person's calls came to stays in the comparison, under a name that nothing leads to.
            theirs = sa.update(cluster).where(cluster.c.experiment == one.id, cluster.c.unit == unit)
            self.changed["cluster"] += connection.execute(theirs.values(unit=secrets.token_bytes(16))).rowcount

    def _batch(self, connection: sa.Connection) -> Batch:
        return Batch(connection, self._statements, self._rules, self._wall())


def _texts(table: sa.Table) -> list[sa.Column[Any]]:
    """Where a number may stand in a table. What a row is found by is never changed: only a whole row goes for it."""
    keys = table is idempotency
    return [
        column
        for column in table.c
        if isinstance(column.type, sa.String | sa.JSON) and (keys or not column.primary_key)
    ]


def _holds(column: Any, mention: Mention) -> Any:
    return sa.cast(column, sa.Text).like(f"%{mention.digits}%")
