"""Places outbound calls: paces them, claims each one, sends it once, and settles by evidence what nobody could tell.

An attempt is sent at most once, ever. Whoever claims it has committed the intent before the first byte leaves, and
when the answer is missing only proof moves it on: a webhook that carries its id, or the call in Twilio's list.
"""

import asyncio
import fcntl
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from gateway import log
from gateway.callee import Window, next_opening, open_at
from gateway.calls import ABSENT, PLACED, REJECTED
from gateway.carrier.client import Listed, Order, Placement
from gateway.errors import GatewayError
from gateway.model import Event
from gateway.storage.attempts import Attempt
from gateway.storage.outbox import Outbox

_log = log.get("dialer")

STEP_SECONDS = 0.2
RECONCILE_SECONDS = 20.0
_DAY = 24 * 60 * 60 * 1000
# Twilio's list is trusted to be empty only after this long, and this many looks a minute apart.
SETTLE_MS = 60_000
ABSENT_MS = 10 * 60_000
ABSENT_LOOKS = 3
# Our clock and Twilio's need not agree to the second.
_SKEW_MS = 5_000
# How long to leave alone an attempt that a rule holds back just now.
_BACK_OFF_MS = 5_000


class Placer(Protocol):
    """What the dialer asks of Twilio."""

    async def create_call(self, order: Order) -> Placement: ...
    async def cancel_call(self, sid: str) -> None: ...
    async def find_calls(self, *, to: str, since: int) -> list[Listed]: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Pace:
    """How fast and how much may be dialled: calls a second, calls at a time, calls on one UTC day."""

    per_second: float
    at_once: int
    per_day: int
    window: Window | None


class Owner:
    """Proof that this process lives: a lock on a file of its own, which it cannot keep after its death."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self.name = f"dialer-{os.getpid()}-{os.urandom(3).hex()}"
        self._file = os.open(folder / self.name, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def dead(self, owner: str) -> bool:
        """Whether that process is provably gone; False for one whose lock is not in our folder."""
        if owner == self.name:
            return False
        path = self._folder / owner
        try:
            with path.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (FileNotFoundError, BlockingIOError):
            return False
        return True

    def close(self) -> None:
        """Let go of the lock; the file stays, so that others can see that its owner is gone."""
        os.close(self._file)


class Bucket:
    """Lets so many calls a second through, evenly: none is saved up."""

    def __init__(self, per_second: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._gap = 1 / per_second
        self._clock = clock
        self._next = 0.0

    def wait(self) -> float:
        """Seconds until the next call may be sent; 0 takes the turn."""
        now = self._clock()
        if now < self._next:
            return self._next - now
        self._next = now + self._gap
        return 0.0


class Dialer:
    """One process's share in the dialling."""

    def __init__(
        self,
        *,
        outbox: Outbox,
        placer: Placer,
        owner: Owner,
        pace: Pace,
        public_url: str,
        wall: Callable[[], int],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._outbox = outbox
        self._placer = placer
        self._owner = owner
        self._pace = pace
        self._public_url = public_url
        self._wall = wall
        self._bucket = Bucket(pace.per_second, clock)

    async def run(self) -> None:
        """Dial and reconcile, for ever."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_for_ever(STEP_SECONDS, self.step))
            tasks.create_task(_for_ever(RECONCILE_SECONDS, self.reconcile))

    async def step(self) -> int:
        """Send what is due and allowed, at the pace that is set; returns how many were sent."""
        sent = 0
        for wanted in await self._outbox.due(limit=20):
            if not self._open(wanted):
                await self._wait_for_opening(wanted)
                continue
            while (pause := self._bucket.wait()) > 0:
                await asyncio.sleep(pause)
            if not self._open(wanted):
                continue  # its hours ended while it waited for its turn
            now = self._wall()
            claimed = await self._outbox.claim(
                wanted.id,
                owner=self._owner.name,
                since=now - now % _DAY,
                most=self._pace.at_once,
                cap=self._pace.per_day,
            )
            if isinstance(claimed, Attempt):
                await self._send(claimed)
                sent += 1
            elif claimed is not None and not await self._held_back(wanted, claimed):
                break
        return sent

    def _open(self, wanted: Attempt) -> bool:
        return open_at(self._wall(), zone=wanted.timezone, number=wanted.to_number, window=self._pace.window)

    async def _send(self, claimed: Attempt) -> None:
        order = Order(
            to=claimed.to_number,
            from_=claimed.from_number,
            url=f"{self._public_url}/twilio/voice?call={claimed.id}",
            fallback_url=f"{self._public_url}/twilio/voice?call={claimed.id}",
            status_callback=f"{self._public_url}/twilio/status?call={claimed.id}",
        )
        told = await self._placer.create_call(order)
        _log.info("dialled", call_id=claimed.id, made=told.made, sid=told.sid, code=told.code, text=told.text)
        if told.made:
            await self._outbox.settle(self._placed(claimed.id, told.sid), was="intent")
        elif told.made is None:
            await self._outbox.move(claimed.id, was="intent", state="unknown", reason=told.text)
        else:
            # Whoever tries again does so with another attempt: this one has had its turn.
            reason = f"Twilio did not take it ({told.code}): {told.text}"
            await self._reject(claimed.id, was="intent", reason=reason)

    async def _wait_for_opening(self, wanted: Attempt) -> None:
        now = self._wall()
        opening = next_opening(now, zone=wanted.timezone, number=wanted.to_number, window=self._pace.window)
        if opening is None:
            await self._reject(
                wanted.id, was="planned", reason="it is never within the hours in which it may be called"
            )
        else:
            reason = "outside the hours in which it may be called"
            await self._outbox.move(wanted.id, was="planned", state="planned", reason=reason, not_before=opening)

    async def _held_back(self, wanted: Attempt, why: str) -> bool:
        """What a rule that stands against an attempt means for it; False when it stands against all."""
        if why == "suppressed":
            await self._reject(wanted.id, was="planned", reason="the number must not be called")
            return True
        if why == "busy":
            later = self._wall() + _BACK_OFF_MS
            reason = "another call to the number is open"
            await self._outbox.move(wanted.id, was="planned", state="planned", reason=reason, not_before=later)
            return True
        return False

    async def _reject(self, name: str, *, was: str, reason: str) -> None:
        data = {"status": "failed", "reason": reason}
        event = Event(call=name, key="rejected", kind=REJECTED, at=self._wall(), data=data)
        await self._outbox.settle(event, was=was, state="rejected", reason=reason)

    def _placed(self, name: str, sid: str) -> Event:
        data = {"sid": sid, "status": "queued"}
        return Event(call=name, key=f"placed:{sid}", kind=PLACED, at=self._wall(), data=data)

    # -- what nobody could tell ----------------------------------------------------------------------------

    async def reconcile(self) -> int:
        """Look for evidence of the attempts that may or may not be calls; returns how many were settled."""
        settled = 0
        for one in await self._outbox.unsettled("intent"):
            # Silence of a living owner proves nothing: its answer may still come.
            if one.owner is not None and self._owner.dead(one.owner):
                await self._outbox.move(one.id, was="intent", state="unknown", reason="its dialer ended")
        for one in await self._outbox.unsettled("unknown"):
            settled += await self._look_for(one)
        return settled

    async def _look_for(self, one: Attempt) -> bool:
        since = one.intent_at or one.planned_at
        now = self._wall()
        if now < since + SETTLE_MS * (one.looks + 1):
            return False
        found = [
            call
            for call in await self._placer.find_calls(to=one.to_number, since=since - _SKEW_MS)
            if call.from_ == one.from_number
        ]
        if found:
            # One open attempt at a number makes the match: a second call there would be a stray.
            for stray in found[1:]:
                _log.error("stray_call", call_id=one.id, sid=stray.sid)
                await self._placer.cancel_call(stray.sid)
            await self._outbox.settle(self._placed(one.id, found[0].sid), was="unknown")
            return True
        looks = one.looks + 1
        if looks >= ABSENT_LOOKS and now >= since + ABSENT_MS:
            event = Event(call=one.id, key="absent", kind=ABSENT, at=now, data={"status": "unknown"})
            reason = "Twilio's list does not have it; it is not dialled again by itself"
            await self._outbox.settle(event, was="unknown", state="absent", reason=reason)
            return True
        await self._outbox.move(one.id, was="unknown", state="unknown", reason=one.reason, looks=looks)
        return False


async def _for_ever(seconds: float, work: Callable[[], Awaitable[object]]) -> None:
    while True:
        try:
            await work()
        except GatewayError:
            pass  # the database or Twilio is away: nothing is dialled, and it is tried again
        except Exception:
            _log.exception("dialling_failed")
        await asyncio.sleep(seconds)
