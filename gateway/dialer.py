"""Places outbound calls: paces them, claims each one, sends it once, and settles by evidence what nobody could tell.

An attempt is sent at most once, ever. Whoever claims it has committed the intent before the first byte leaves, and
when the answer is missing only proof moves it on: a webhook that carries its id, or the call in Twilio's list.
"""

import asyncio
import fcntl
import os
import secrets
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple, Protocol

from gateway import log
from gateway.callee import Window, next_opening, open_at
from gateway.calls import ABSENT, PLACED, REJECTED
from gateway.carrier.client import Listed, Order, Placement
from gateway.errors import GatewayError, Invalid, Unavailable
from gateway.machines import with_detection
from gateway.model import Event
from gateway.placing import Contacts
from gateway.storage.attempts import Attempt, Held, Limits
from gateway.storage.campaigns import Campaign
from gateway.storage.outbox import Outbox, Then

_log = log.get("dialer")

STEP_SECONDS = 0.2
RECONCILE_SECONDS = 20.0
# Twilio's list is trusted to be empty only after this long, and this many looks a minute apart.
SETTLE_MS = 60_000
ABSENT_MS = 10 * 60_000
ABSENT_LOOKS = 3
# Our clock and Twilio's need not agree to the second.
_SKEW_MS = 5_000
# How long the calls that wait are taken as they were read.
_FRESH_MS = 200
# How long to leave alone an attempt that a rule holds back just now.
_BACK_OFF_MS = 5_000
# How long until Twilio is asked again for a call that it was too busy to take, or that never reached it.
_AGAIN_MS = 30_000
# A dialer whose lock is not in our folder ran on another machine, or its folder is gone. A request takes seconds, so
# after this long nobody is there to say what became of it.
_UNSEEN_MS = 60 * 60_000
_LAST_SECONDS = 5.0
_INSIST_SECONDS = 1.0
_FOR_ALL = frozenset({"stopped", "concurrency", "cap"})
_FOR_THE_LINE = frozenset(
    {"route", "obstacle", "not running", "campaign's pace", "campaign's concurrency", "campaign's cap"}
)
# What makes one single call wait, and not those behind it.
_IN_THE_WAY = {"busy": "another call to the number is open", "route": "the route has all the calls it may have"}
_BAD_NUMBER = frozenset({21211, 21214, 21217})
_BAD_ACCOUNT = frozenset(
    {401, 403, 404, 10001, 20003, 20404, 21205, 21210, 21212, 21213, 21215, 21216, 21218, 21219, 21234}
)
_NOT_NOW = frozenset({429, 20429, 10004, 22005})


class _Line(NamedTuple):
    """Calls that wait behind each other, and their hours: those asked for singly, or those of one campaign."""

    name: str
    next: Callable[[], Awaitable[Attempt | Held | None]]
    hours: Callable[[], Window | None]


class Placer(Protocol):
    """What the dialer asks of Twilio."""

    async def create_call(self, order: Order) -> Placement: ...
    async def cancel_call(self, sid: str) -> bool: ...
    async def find_calls(self, *, to: str, since: int) -> list[Listed]: ...


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

    def seen(self, owner: str) -> bool:
        """Whether that process has a lock in our folder, held or not."""
        return (self._folder / owner).exists()

    def close(self) -> None:
        """Let go of the lock; the file stays, so that others can see that its owner is gone."""
        os.close(self._file)


class Dialer:
    """One process's share in the dialling."""

    def __init__(
        self,
        *,
        outbox: Outbox,
        contacts: Contacts,
        placer: Placer,
        owner: Owner,
        limits: Limits,
        public_url: str,
        wall: Callable[[], int],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._outbox = outbox
        self._contacts = contacts
        self._placer = placer
        self._owner = owner
        self._limits = limits
        self._public_url = public_url
        self._wall = wall
        self._sleep = sleep
        self._sending: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Dial and reconcile, for ever; what is being sent when this is cancelled is still seen to its end."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(_for_ever(STEP_SECONDS, self.dial))
                tasks.create_task(_for_ever(RECONCILE_SECONDS, self.reconcile))
        finally:
            if self._sending:
                _, late = await asyncio.wait(self._sending, timeout=_LAST_SECONDS)
                for task in late:
                    task.cancel()  # the next dialer finds the intent, and its owner gone

    async def step(self) -> int:
        """Send what is due and allowed, and wait until it is sent; returns how many were."""
        sent = await self.dial()
        while self._sending:
            await asyncio.wait(self._sending)
        return sent

    async def dial(self) -> int:
        """Start to send what is due and allowed, at the pace that is set; returns how many were started.

        Single calls and campaigns take turns, each with one call, until nothing is due or nothing is allowed.
        """
        sent = 0
        while lines := await self._lines():
            # A long line at a slow pace must not hide who has come to wait meanwhile, or may be called again.
            fresh = self._wall() + _FRESH_MS
            while lines and self._wall() < fresh:
                for line in tuple(lines):
                    try:
                        claimed = await self._claimed(line)
                    except GatewayError:
                        raise
                    except Exception:
                        # What is wrong with one campaign must not keep all others from being dialled.
                        _log.exception("line_failed", campaign=line.name)
                        lines.remove(line)
                        continue
                    if isinstance(claimed, Attempt):
                        self._start(claimed, line.hours())
                        sent += 1
                    elif claimed is None or claimed.why in _FOR_THE_LINE:
                        lines.remove(line)
                    elif claimed.why in _FOR_ALL:
                        return sent
            if not lines:
                break
        return sent

    async def _lines(self) -> list[_Line]:
        campaigns = await self._outbox.running()
        single = _Line("", self._next_single, lambda: self._contacts.allowed.window)
        return [single, *(self._line(one) for one in campaigns)]

    def _line(self, one: Campaign) -> _Line:
        return _Line(one.id, partial(self._next_contact, one), lambda: self._contacts.hours(one.terms))

    async def _claimed(self, line: _Line) -> Attempt | Held | None:
        """The next call of a line, once the pace of all calls allows one."""
        claimed = await line.next()
        while isinstance(claimed, Held) and claimed.why == "pace":
            await self._sleep(max(0, (claimed.until or 0) - self._wall()) / 1000)
            claimed = await line.next()
        return claimed

    # -- whose turn it is ----------------------------------------------------------------------------------

    async def _next_single(self) -> Attempt | Held | None:
        """The next call that somebody asked for singly."""
        due = await self._outbox.due(limit=1)
        if not due:
            return None
        wanted = due[0]
        window = self._contacts.allowed.window
        now = self._wall()
        closed = self._contacts.closed(wanted.route)
        if closed is not None:
            await self._put_off(wanted, now + _BACK_OFF_MS, closed)
            return Held("more")
        try:
            self._contacts.allowed.check(wanted.to_number, wanted.timezone)
        except Invalid as error:
            await self._reject(wanted.id, was="planned", reason=error.message)
            return Held("more")
        opening = next_opening(now, zone=wanted.timezone, number=wanted.to_number, window=window)
        if opening is None:
            await self._reject(
                wanted.id, was="planned", reason="it is never within the hours in which it may be called"
            )
        elif opening > now:
            await self._put_off(wanted, opening, "outside the hours in which it may be called")
        else:
            claimed = await self._outbox.claim(wanted, owner=self._owner.name, limits=self._limits)
            if isinstance(claimed, Held) and claimed.why in _IN_THE_WAY:
                await self._put_off(wanted, now + _BACK_OFF_MS, _IN_THE_WAY[claimed.why])
            elif isinstance(claimed, Held) and claimed.why == "suppressed":
                await self._reject(wanted.id, was="planned", reason="the number must not be called")
            elif claimed is not None:
                return claimed
        return Held("more")

    async def _next_contact(self, one: Campaign) -> Attempt | Held | None:
        """The next contact of a campaign."""
        obstacle = self._contacts.obstacle(one)
        if obstacle is not None:
            return Held("obstacle")
        draw = self._contacts.drawer(one)
        return await self._outbox.claim_contact(one, owner=self._owner.name, limits=self._limits, draw=draw)

    async def _put_off(self, wanted: Attempt, until: int, reason: str) -> None:
        await self._outbox.move(wanted.id, was="planned", state="planned", reason=reason, not_before=until)

    # -- sending -------------------------------------------------------------------------------------------

    def _start(self, claimed: Attempt, hours: Window | None) -> None:
        # Twilio takes its time to answer; the next call's turn comes all the same.
        task = asyncio.create_task(self._send(claimed, hours))
        self._sending.add(task)
        task.add_done_callback(self._sent)

    def _sent(self, task: asyncio.Task[None]) -> None:
        self._sending.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("sending_failed", reason=repr(error))  # what became of the attempt is reconciled

    async def _send(self, claimed: Attempt, hours: Window | None) -> None:
        now = self._wall()
        if not _allowed(claimed, hours, at=now):
            reason = "the hours in which it may be called ended before it was sent"
            then = Then(result="failed", text=reason, not_before=_opening(claimed, hours, at=now))
            await self._insist(lambda: self._reject(claimed.id, was="intent", reason=reason, then=then))
            return
        order = Order(
            to=claimed.to_number,
            from_=claimed.from_number,
            url=f"{self._public_url}/twilio/voice?call={claimed.id}",
            fallback_url=f"{self._public_url}/twilio/voice?call={claimed.id}",
            status_callback=f"{self._public_url}/twilio/status?call={claimed.id}",
        )
        callback = f"{self._public_url}/twilio/amd?call={claimed.id}"
        told = await self._placer.create_call(with_detection(order, claimed.machine, callback=callback))
        _log.info("dialled", call_id=claimed.id, made=told.made, sid=told.sid, code=told.code, text=told.text)
        if told.made:
            placed = self._placed(claimed.id, told.sid)
            await self._insist(lambda: self._outbox.settle(placed, was="intent"))
            await self._out_of_queue(claimed, told, hours)
        elif told.made is None:
            await self._insist(lambda: self._outbox.move(claimed.id, was="intent", state="unknown", reason=told.text))
        else:
            reason = f"Twilio did not take it ({told.code}): {told.text}"
            then = _after(told, reason, self._wall())
            await self._insist(lambda: self._reject(claimed.id, was="intent", reason=reason, then=then))

    async def _out_of_queue(self, claimed: Attempt, made: Placement, hours: Window | None) -> None:
        """Cancel a call that would leave Twilio's queue when its hours are over, and let the contact wait.

        Twilio tells nobody of a call that is cancelled in its queue, so that is recorded here.
        """
        rings_at = self._wall() + made.queue_ms
        if _allowed(claimed, hours, at=rings_at):
            return
        cancelled = False

        async def cancel() -> None:
            nonlocal cancelled
            cancelled = await self._placer.cancel_call(made.sid)

        await self._insist(cancel)
        _log.warning("out_of_queue", call_id=claimed.id, queue_ms=made.queue_ms, cancelled=cancelled)
        if cancelled:  # else it rings or is over by now, and its callbacks tell
            wait = round(made.queue_ms / 1000)
            reason = f"it would have waited {wait} s in Twilio's queue, past the hours in which it may be called"
            then = Then(result="failed", text=reason, not_before=_opening(claimed, hours, at=rings_at))
            await self._insist(
                lambda: self._reject(claimed.id, was="placed", reason=reason, then=then, status="canceled")
            )

    async def _insist(self, write: Callable[[], Awaitable[object]]) -> None:
        """Write what Twilio said until the database takes it: nobody else may say what became of our intent."""
        while True:
            try:
                await write()
            except GatewayError:
                await self._sleep(_INSIST_SECONDS)
            else:
                return

    async def _reject(
        self, name: str, *, was: str, reason: str, then: Then | None = None, status: str = "failed"
    ) -> None:
        data = {"status": status, "reason": reason}
        event = Event(call=name, key="rejected", kind=REJECTED, at=self._wall(), data=data)
        await self._outbox.settle(event, was=was, state="rejected", reason=reason, then=then)

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
            elif self._unseen(one):
                reason = "nothing is known of its dialer"
                await self._outbox.move(one.id, was="intent", state="unknown", reason=reason)
        for one in await self._outbox.unsettled("unknown"):
            try:
                settled += await self._look_for(one)
            except Unavailable:
                raise
            except Exception:
                _log.exception("not_reconciled", call_id=one.id)  # the others must not wait for it
        return settled

    def _unseen(self, one: Attempt) -> bool:
        since = one.intent_at or one.planned_at
        return one.owner is not None and not self._owner.seen(one.owner) and since < self._wall() - _UNSEEN_MS

    async def _look_for(self, one: Attempt) -> bool:
        since = one.intent_at or one.planned_at
        now = self._wall()
        if now < since + SETTLE_MS * (one.looks + 1):
            return False
        listed = await self._placer.find_calls(to=one.to_number, since=since - _SKEW_MS)
        # The call of an attempt just before is no evidence of this one.
        others = await self._outbox.bound([call.sid for call in listed])
        found = [call for call in listed if call.from_ == one.from_number and call.sid not in others]
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
            then = Then(result="unknown", text=reason)
            await self._outbox.settle(event, was="unknown", state="absent", reason=reason, then=then)
            return True
        await self._outbox.move(one.id, was="unknown", state="unknown", reason=one.reason, looks=looks)
        return False


def _allowed(wanted: Attempt, hours: Window | None, *, at: int) -> bool:
    return open_at(at, zone=wanted.timezone, number=wanted.to_number, window=hours)


def _opening(wanted: Attempt, hours: Window | None, *, at: int) -> int:
    return next_opening(at, zone=wanted.timezone, number=wanted.to_number, window=hours) or at


def _after(told: Placement, reason: str, now: int) -> Then:
    """What follows for a campaign's contact whose call Twilio refused, by the number of its error.

    Which refusals are the number's and which the account's: twilio.com/docs/api/errors.
    """
    if told.code in _BAD_NUMBER:
        return Then(result="refused", text=reason)
    if told.code in _BAD_ACCOUNT:
        return Then(result="failed", text=reason, not_before=now, pauses=True)
    if told.code in _NOT_NOW or not told.code:
        return Then(result="failed", text=reason, not_before=now + _AGAIN_MS + secrets.randbelow(_AGAIN_MS))
    return Then(result="failed", text=reason)


async def _for_ever(seconds: float, work: Callable[[], Awaitable[object]]) -> None:
    while True:
        try:
            await work()
        except GatewayError:
            pass  # the database or Twilio is away: nothing is dialled, and it is tried again
        except Exception:
            _log.exception("dialling_failed")
        await asyncio.sleep(seconds)
