"""The group commit: what waits is written as one transaction, and nobody is answered before it is committed.

A call cannot wait for a database that does not answer: after the budget its row goes to the local journal and is
written later. What was decided in the last quarter of an hour is held in memory and asked first, so that a
retry meets the same arm whatever has become of the database.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

from gateway import log
from gateway.decide import Remembered
from gateway.errors import Unavailable
from gateway.model import Event
from gateway.storage.batch import Batch, Statements
from gateway.storage.engine import BAD_ROW, DOWN, REFUSED, Database
from gateway.storage.journal import Journal, read_entries
from gateway.storage.rows import CallRow
from gateway.storage.works import (
    BATCH_LIMIT,
    AppendEvent,
    MatureCalls,
    PutOutcome,
    RecordCall,
    Remember,
    Rules,
    Work,
)

_log = log.get("ledger")

BUDGET_SECONDS = 0.3
PATIENCE_SECONDS = 5.0
BREAK_SECONDS = 1.0
RECALL_SECONDS = 15 * 60
_STOP_SECONDS = 5.0
# How long each work waits for the database: somebody is on the line for a call or its events, an outcome can wait.
PATIENCE: dict[type[Work], float] = {
    RecordCall: BUDGET_SECONDS,
    Remember: BUDGET_SECONDS,
    AppendEvent: BUDGET_SECONDS,
    PutOutcome: PATIENCE_SECONDS,
    MatureCalls: PATIENCE_SECONDS,
}


@dataclass(slots=True)
class Counters:
    """What has happened since the start, for /metrics and /readyz."""

    batches: int = 0
    written: int = 0
    journalled: int = 0
    replayed: int = 0
    unlogged: int = 0
    waiting: int = 0


class _Waiting(NamedTuple):
    """A work in the queue, the future of whoever waits for it, and until when they wait."""

    work: Work
    answer: "asyncio.Future[Any]"
    until: float


class Ledger:
    """Writes calls, events and outcomes. ``open`` starts it, ``close`` flushes what waits."""

    def __init__(
        self,
        database: Database,
        journal: Journal,
        *,
        rules: Rules,
        wall: Callable[[], int],
    ) -> None:
        self._database = database
        self._journal = journal
        self._rules = rules
        self._wall = wall
        self._statements = Statements(database)
        self._queue: deque[_Waiting] = deque()
        self._flying: list[_Waiting] = []
        self._wake = asyncio.Event()
        self._watch: asyncio.TimerHandle | None = None
        self._broken_until = 0.0
        self._recent: dict[str, tuple[float, CallRow]] = {}
        self._pending: dict[str, asyncio.Future[Any]] = {}
        self._to_journal: deque[tuple[dict[str, Any], asyncio.Future[Any], Any]] = deque()
        self._journalling: asyncio.Task[None] | None = None
        self._unreplayed = True
        self._replaying = asyncio.Lock()
        self._closing = False
        self._tasks: list[asyncio.Task[None]] = []
        self.counters = Counters()

    def open(self) -> None:
        """Start writing; entries that an earlier process left in the journal are replayed first."""
        self._tasks = [
            asyncio.create_task(self._write_forever()),
            asyncio.create_task(self._replay_forever()),
        ]

    async def close(self) -> None:
        """Write what waits (to the journal, if the database does not answer in time) and stop."""
        self._closing = True
        self._wake.set()
        writer, replayer = self._tasks
        replayer.cancel()
        with suppress(asyncio.TimeoutError, asyncio.CancelledError):
            await asyncio.wait_for(writer, _STOP_SECONDS)
        self._give_up([*self._flying, *self._queue])
        if self._journalling is not None:
            await self._journalling
        if self._watch is not None:
            self._watch.cancel()
        with suppress(asyncio.CancelledError):
            await replayer
        self._journal.close()

    @property
    def down(self) -> bool:
        """Whether the database failed to answer within the last second."""
        return time.monotonic() < self._broken_until

    # -- what callers ask ----------------------------------------------------------------------------------

    def recall(self, call_id: str) -> CallRow | None:
        """The row of a call decided here in the last quarter of an hour."""
        known = self._recent.get(call_id)
        return known[1] if known else None

    async def record(self, row: CallRow, drawn: Remember | None = None) -> CallRow:
        """Write a call's row; returns the row that stands, which is another's if that came first.

        ``drawn`` is the memory of a sticky caller who was assigned without it: when the memory turns out to
        hold another arm, the call is not analysed.
        """
        pending = self._pending.get(row.id)
        if pending is None:
            pending = self._submit(RecordCall(row, drawn))
            if not pending.done():
                self._pending[row.id] = pending
        standing: CallRow = await pending
        return standing

    async def remember(self, wanted: Remember) -> tuple[Remembered, bool]:
        """The arm that a sticky caller has, and whether it was given just now.

        Raises Unavailable when the database does not answer: the caller's hash then decides alone.
        """
        standing: tuple[Remembered, bool] = await self._submit(wanted)
        return standing

    async def append(self, event: Event) -> Event:
        """Append an event; returns the one that stands under its key, the very object when it is the first."""
        standing: Event = await self._submit(AppendEvent(event=event))
        return standing

    async def put_outcome(self, wanted: PutOutcome) -> dict[str, Any] | None:
        """Merge an outcome; None for an unknown call. Raises Unavailable without a database."""
        standing: dict[str, Any] | None = await self._submit(wanted)
        return standing

    async def mature(self) -> int:
        """Count what has become mature; returns how many calls, so that one asks again while it is a full batch."""
        count: int = await self._submit(MatureCalls(now=self._wall()))
        return count

    # -- the queue -----------------------------------------------------------------------------------------

    def _submit(self, work: Work) -> "asyncio.Future[Any]":
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Any] = loop.create_future()
        waiting = _Waiting(work, answer, loop.time() + PATIENCE[type(work)])
        if self._broken_until and self.down:
            self._give_up([waiting])
            return answer
        self._queue.append(waiting)
        if not self._wake.is_set():
            self._wake.set()
        if self._watch is None:
            self._watch = loop.call_later(BUDGET_SECONDS, self._overdue)
        return answer

    def _overdue(self) -> None:
        """Send to the journal whatever has waited longer than a caller should."""
        loop = asyncio.get_running_loop()
        open_ = [w for w in (*self._flying, *self._queue) if not w.answer.done()]
        late = [waiting for waiting in open_ if waiting.until <= loop.time()]
        if late:
            _log.warning("database_slow", waiting=len(late))
            self._broken_until = time.monotonic() + BREAK_SECONDS
            self._give_up(late)
            given_up = {id(waiting) for waiting in late}
            open_ = [waiting for waiting in open_ if id(waiting) not in given_up]
            self._queue = deque(waiting for waiting in self._queue if id(waiting) not in given_up)
        until = min((waiting.until for waiting in open_), default=None)
        self._watch = None if until is None else loop.call_at(until, self._overdue)

    def _give_up(self, late: list[_Waiting]) -> None:
        """Answer without the database: by the journal where an entry can be replayed, else by an error."""
        for waiting in late:
            if waiting.answer.done():
                continue
            match waiting.work:
                case RecordCall(row=row, drawn=drawn):
                    row = row._replace(journalled=True)
                    entry = {"call": row._asdict()} | ({"drawn": _plain_memory(drawn)} if drawn else {})
                    self._write_journal(entry, waiting.answer, row)
                case AppendEvent(event=event):
                    self._write_journal({"event": _plain(event)}, waiting.answer, event)
                case _:
                    waiting.answer.set_exception(Unavailable("the database does not answer; try again shortly"))

    # -- the database --------------------------------------------------------------------------------------

    async def _write_forever(self) -> None:
        while True:
            if not self._queue:
                if self._closing:
                    return
                self._wake.clear()
                await self._wake.wait()
                continue
            batch = [self._queue.popleft() for _ in range(min(BATCH_LIMIT, len(self._queue)))]
            self._flying = batch
            await self._write(batch)
            self._flying = []

    async def _write(self, batch: list[_Waiting]) -> None:
        try:
            answers = await self._commit([waiting.work for waiting in batch])
        except Exception as error:
            if isinstance(error, DOWN) and not isinstance(error, BAD_ROW):
                self._fail(batch, error)
            elif len(batch) > 1:
                # One bad row must not fail its neighbours, so each is tried alone.
                for waiting in batch:
                    await self._write([waiting])
            else:
                _log.exception("work_failed", work=type(batch[0].work).__name__)
                if not batch[0].answer.done():
                    batch[0].answer.set_exception(error)
            return
        now = time.monotonic()
        for (work, waiter, _), answer in zip(batch, answers, strict=True):
            if type(work) is RecordCall:
                self._pending.pop(work.row.id, None)
                self._recent.setdefault(answer.id, (now, answer))
            if not waiter.done():
                waiter.set_result(answer)
        self._forget(now - RECALL_SECONDS)

    async def _commit(self, works: list[Work]) -> list[Any]:
        now = self._wall()
        answers = await self._database.transact(
            lambda connection: Batch(connection, self._statements, self._rules, now).write(works)
        )
        self.counters.batches += 1
        self.counters.written += len(works)
        return answers

    def _fail(self, batch: list[_Waiting], error: BaseException) -> None:
        if not self.down:
            _log.warning("database_down", error=log.reason(error))
        self._broken_until = time.monotonic() + BREAK_SECONDS
        self._give_up(batch)

    def _forget(self, before: float) -> None:
        """Let go of what was decided too long ago; the dictionary is in order of arrival."""
        while self._recent:
            first = next(iter(self._recent))
            if self._recent[first][0] > before:
                break
            del self._recent[first]

    # -- the journal ---------------------------------------------------------------------------------------

    def _write_journal(self, entry: dict[str, Any], answer: "asyncio.Future[Any]", value: Any) -> None:
        self._to_journal.append((entry, answer, value))
        if self._journalling is None or self._journalling.done():
            self._journalling = asyncio.create_task(self._journal_all())

    async def _journal_all(self) -> None:
        while self._to_journal:
            batch = list(self._to_journal)
            self._to_journal.clear()
            try:
                await asyncio.to_thread(self._journal.append, [entry for entry, _, _ in batch])
                self.counters.journalled += len(batch)
                self._unreplayed = True
            except OSError as error:
                # The caller is on the line: they are answered, and the loss is counted and shown.
                self.counters.unlogged += len(batch)
                _log.error("journal_failed", lost=len(batch), error=str(error))
            for entry, answer, value in batch:
                if "call" in entry:
                    self._pending.pop(value.id, None)
                    self._recent.setdefault(value.id, (time.monotonic(), value))
                if not answer.done():
                    answer.set_result(value)

    async def _replay_forever(self) -> None:
        while True:
            if self._unreplayed and not self.down:
                await self.replay()
            await asyncio.sleep(BREAK_SECONDS)

    async def replay(self) -> None:
        """Bring over to the database what waits in the journal, and delete those files."""
        async with self._replaying:
            await self._replay()

    async def _replay(self) -> None:
        self._unreplayed = False
        for path in await asyncio.to_thread(self._journal.take):
            entries = list(read_entries(path))
            try:
                for start in range(0, len(entries), BATCH_LIMIT):
                    await self._replay_some(entries[start : start + BATCH_LIMIT])
            except DOWN:
                self._unreplayed = True
                return
            path.unlink(missing_ok=True)
            self.counters.replayed += len(entries)
            if entries:
                _log.info("journal_replayed", file=path.name, entries=len(entries))

    async def _replay_some(self, entries: list[dict[str, Any]]) -> None:
        """Write entries; one that the database refuses is set aside, so that it holds up none of the others."""
        try:
            await self._commit([_work_of(entry) for entry in entries])
        except Exception as error:
            if isinstance(error, DOWN) and not isinstance(error, REFUSED):
                raise
            if len(entries) == 1:
                await asyncio.to_thread(self._journal.set_aside, entries)
                _log.error("journal_entry_refused", kept=str(self._journal.aside), error=log.reason(error))
                return
            for entry in entries:
                await self._replay_some([entry])


def _work_of(entry: Mapping[str, Any]) -> Work:
    if "call" not in entry:
        return AppendEvent(event=Event(**entry["event"]))
    drawn = entry.get("drawn")
    memory = Remember(**drawn | {"unit": bytes.fromhex(drawn["unit"])}) if drawn else None
    return RecordCall(row=CallRow(**entry["call"]), drawn=memory)


def _plain_memory(memory: Remember) -> dict[str, Any]:
    return {name: getattr(memory, name) for name in Remember.__slots__} | {"unit": memory.unit.hex()}


def _plain(event: Event) -> dict[str, Any]:
    return {
        "call": event.call,
        "key": event.key,
        "kind": event.kind,
        "at": event.at,
        "data": dict(event.data),
    }
