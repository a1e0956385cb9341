"""The docket: which transcripts wait for a judge, who has one before them, and the verdict as an outcome.

A verdict and the mark that it was given are one transaction: a crash before it leaves the claim, which lapses, and
the transcript is judged again; after it nothing is left to do.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import sqlalchemy as sa

from gateway.calls import JUDGE, where_nobody_told
from gateway.judges import Judge, Judgement, Verdict
from gateway.settings import Criterion
from gateway.storage.analyses import Claimed, any_due, claim_analysis, close_claim, count_waiting, renew_claim
from gateway.storage.batch import Batch, Statements
from gateway.storage.engine import Database
from gateway.storage.rows import event_in
from gateway.storage.schema import call, call_event, outcome
from gateway.storage.works import PutOutcome, Rules


class Docket:
    """The transcripts of every process on one database."""

    def __init__(self, database: Database, *, rules: Rules, wall: Callable[[], int]) -> None:
        self._database = database
        self._rules = rules
        self._wall = wall
        self._statements = Statements(database)

    async def claim(self, *, owner: str, judge: str, lease: int) -> Claimed | None:
        """Claim a transcript for ``lease`` milliseconds; None when none is due."""
        now = self._wall()
        async with self._database.read() as connection:
            if not await any_due(connection, now=now):
                return None  # as most of the time: nothing is written to find that out
        window = self._rules.window
        return await self._database.transact(
            lambda connection: claim_analysis(
                connection, owner=owner, judge=judge, now=now, until=now + lease, window=window
            )
        )

    async def renew(self, calls: Sequence[str], *, owner: str, lease: int) -> None:
        """Keep the claims of ``owner`` on these calls for another ``lease`` milliseconds."""
        until = self._wall() + lease
        for name in calls:
            # One row in each transaction: who holds one lock and waits for none is in nobody's way.
            await self._database.transact(partial(renew_claim, name=name, owner=owner, until=until))

    async def finish(self, claimed: Claimed, judge: Judge, judgement: Judgement) -> bool:
        """Write the verdicts there are as an outcome, where nobody else told; it is failed if one is missing.

        False, and nothing is written, when the claim has lapsed or the transcript has changed.
        """
        state = "done" if judgement.missing is None else "failed"
        values = _found(claimed, judge, judgement) | {"state": state, "finished_at": self._wall()}

        def work(connection: sa.Connection) -> bool:
            # The call first, as whoever posts an outcome has it: two locks taken in two orders would wait for ever.
            connection.execute(sa.select(call.c.seq).where(call.c.id == claimed.call).with_for_update())
            closed = close_claim(connection, claimed, values)
            if closed:
                self._tell(connection, claimed.call, judge, {**claimed.known, **judgement.verdicts})
            return closed

        return await self._database.transact(work)

    async def put_back(self, claimed: Claimed, judge: Judge, judgement: Judgement, *, due_at: int) -> bool:
        """Keep the verdicts there are, and have the rest judged at ``due_at``; False when the claim has lapsed."""
        values = _found(claimed, judge, judgement) | {"state": "waiting", "due_at": due_at}
        return await self._database.transact(lambda connection: close_claim(connection, claimed, values))

    async def waiting(self) -> int:
        """How many transcripts wait for their verdicts."""
        async with self._database.read() as connection:
            return await count_waiting(connection)

    def _tell(self, connection: sa.Connection, name: str, judge: Judge, verdicts: Mapping[str, Verdict]) -> None:
        known = connection.execute(sa.select(outcome.c.body).where(outcome.c.call == name)).scalar_one()
        rows = connection.execute(sa.select(call_event).where(call_event.c.call == name).order_by(call_event.c.seq))
        told = _as_outcome(judge.criteria, verdicts)
        body = where_nobody_told(told, known, [event_in(row) for row in rows])
        if body:
            now = self._wall()
            report = PutOutcome(call=name, body=body, at=now, author=JUDGE + judge.id)
            Batch(connection, self._statements, self._rules, now).write([report])


def _found(claimed: Claimed, judge: Judge, judgement: Judgement) -> dict[str, Any]:
    verdicts = {**claimed.known, **judgement.verdicts}
    return {
        "judge": judge.id,
        "verdicts": {name: asdict(verdict) for name, verdict in verdicts.items()},
        "reason": judgement.missing,
        "tokens_in": judgement.tokens_in,
        "tokens_out": judgement.tokens_out,
    }


def _as_outcome(criteria: Sequence[Criterion], verdicts: Mapping[str, Verdict]) -> dict[str, Any]:
    """The verdicts in the shape of an outcome: as a measure where the criterion says so, else as a field."""
    told: dict[str, Any] = {"fields": {}}
    for one in criteria:
        if one.name in verdicts:
            place = told["fields"] if one.as_ == "field" else told
            place[one.told_as] = verdicts[one.name].value
    return told
