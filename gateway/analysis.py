"""Has the transcripts of finished calls judged, in the background: no call ever waits for it.

Each transcript is claimed in the database by one process, judged, and its verdicts written as an outcome's report.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

from gateway import log
from gateway.judges import Judge, Judgement
from gateway.storage.analyses import Claimed
from gateway.storage.docket import Docket
from gateway.storage.engine import AWAY

_log = log.get("analysis")

SWEEP_SECONDS = 5.0
AT_ONCE = 4
# A claim is renewed every twenty seconds; one that is not has lost its process.
LEASE_MS = 60_000
_RENEW_SECONDS = 20.0
# A judge that does not answer is asked again, ever more rarely, until the call's outcome window has closed.
_BACK_OFF_MS = 10_000
_LONGEST_BACK_OFF_MS = 10 * 60_000
_LEAST_TRIES = 5


@dataclass(slots=True)
class Counters:
    """What has happened since the start, for /metrics; ``waiting`` is how many wait now, in all processes."""

    judged: int = 0
    unknown: int = 0
    failed: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    cost: float = 0.0
    waiting: int = 0


class Analysis:
    """Takes what waits on the docket before the judge."""

    def __init__(self, *, docket: Docket, judge: Judge, wall: Callable[[], int]) -> None:
        self.judge = judge
        self.counters = Counters()
        self._docket = docket
        self._wall = wall
        self._owner = f"judge-{os.getpid()}-{os.urandom(3).hex()}"
        self._held: set[str] = set()
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """Look now: a transcript came."""
        self._wake.set()

    async def run(self) -> None:
        """Judge what waits, for ever."""
        async with asyncio.TaskGroup() as tasks:
            for _ in range(AT_ONCE):
                tasks.create_task(self._judge_for_ever())
            tasks.create_task(_every(_RENEW_SECONDS, self.renew))
            tasks.create_task(_every(SWEEP_SECONDS, self.count))

    async def step(self) -> bool:
        """Judge one transcript; False when none waits."""
        claimed = await self._docket.claim(owner=self._owner, judge=self.judge.id, lease=LEASE_MS)
        if claimed is None:
            return False
        self._held.add(claimed.call)
        try:
            await self._close(claimed, await self.judge.judge(claimed.transcript, claimed.known))
        finally:
            self._held.discard(claimed.call)
        return True

    async def renew(self) -> None:
        """Keep the claims that are at work; what failed half-way is not renewed, and so waits again."""
        if self._held:
            await self._docket.renew(sorted(self._held), owner=self._owner, lease=LEASE_MS)

    async def count(self) -> None:
        """Count what waits."""
        self.counters.waiting = await self._docket.waiting()

    async def _close(self, claimed: Claimed, found: Judgement) -> None:
        self.counters.tokens_in += found.tokens_in
        self.counters.tokens_out += found.tokens_out
        self.counters.cost += found.cost
        told = _log.bind(call_id=claimed.call, judge=self.judge.id)
        now = self._wall()
        given_up = found.missing is not None and claimed.tries >= _LEAST_TRIES and now >= claimed.closes_at
        if found.missing is not None and not given_up:
            due_at = now + min(_LONGEST_BACK_OFF_MS, _BACK_OFF_MS * 2 ** min(claimed.tries - 1, 10))
            if await self._docket.put_back(claimed, self.judge, found, due_at=due_at):
                told.warning("judging_delayed", reason=found.missing, tries=claimed.tries)
        elif await self._docket.finish(claimed, self.judge, found):
            self.counters.judged += not given_up
            self.counters.failed += given_up
            self.counters.unknown += sum(verdict.value is None for verdict in found.verdicts.values())
            if given_up:
                told.warning("judging_given_up", reason=found.missing, tries=claimed.tries)
            else:
                told.info("judged", criteria=len(found.verdicts))

    async def _judge_for_ever(self) -> None:
        while True:
            self._wake.clear()
            try:
                if await self.step():
                    continue
            except AWAY:
                pass  # the claim lapses, and the transcript is judged when the database is back
            except Exception:
                _log.exception("judging_failed")
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), SWEEP_SECONDS)


async def _every(seconds: float, work: Callable[[], Awaitable[None]]) -> None:
    while True:
        try:
            await work()
        except AWAY:
            pass
        except Exception:
            _log.exception("judging_failed")
        await asyncio.sleep(seconds)
