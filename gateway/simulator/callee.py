"""People who are rung, and the life of one outbound call: from its turn in Twilio's queue to its last callback.

The callee's own luck is drawn by pure functions; the talk after the answer is the same ``Line`` that callers have.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any, Protocol

from gateway.simulator.agent import Behaviour
from gateway.simulator.call import Faults, Line
from gateway.simulator.caller import Caller, call_fields
from gateway.simulator.ledger import Entry
from gateway.simulator.webhook import Twilio, WebhookFailed

FINAL = frozenset({"completed", "busy", "no-answer", "failed", "canceled"})
_EVENTS = {"initiated": "initiated", "ringing": "ringing", "in-progress": "answered"}
_SIP = {"completed": "200", "busy": "486", "no-answer": "487", "canceled": "487", "failed": "503"}


class Clock(Protocol):
    """The time of a simulation, which need not pass as ours does."""

    def now(self) -> float:
        """What is written on things: Unix seconds."""

    def passed(self) -> float:
        """Simulated seconds since some beginning."""

    async def pause(self, seconds: float) -> None:
        """Wait for so many simulated seconds."""


class Hurried:
    """A clock by which ``speed`` seconds of a call pass in one of ours; what it writes on things is our time."""

    def __init__(self, speed: float = 1.0) -> None:
        self._speed = speed

    def now(self) -> float:
        """Unix seconds."""
        return time.time()

    def passed(self) -> float:
        """Simulated seconds since some beginning."""
        return time.monotonic() * self._speed

    async def pause(self, seconds: float) -> None:
        """Wait for so many simulated seconds."""
        await asyncio.sleep(seconds / self._speed)


@dataclass(frozen=True, kw_only=True, slots=True)
class Callee:
    """How people take a call: chances from 0 to 1 that exclude each other; what is left is a person who answers.

    ``rings`` is how many seconds it rings on average before somebody, or a machine, answers.
    """

    busy: float = 0.0
    no_answer: float = 0.0
    failed: float = 0.0
    machine: float = 0.0
    rings: float = 8.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Reaction:
    """How one call is taken: ``status`` after ``seconds`` of ringing, and who is found to have answered.

    ``detection`` is how many seconds Twilio listens before it knows; ``found`` is its AnsweredBy.
    """

    status: str
    seconds: float
    found: str = ""
    detection: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """What somebody asked Twilio for; ``timeout`` is in seconds, ``detection`` is MachineDetection or nothing.

    ``detection_url`` is set when the detection is asynchronous. ``events`` are StatusCallbackEvent names.
    """

    to: str
    from_: str
    url: str
    fallback_url: str | None = None
    status_url: str | None = None
    events: frozenset[str] = frozenset({"completed"})
    timeout: float = 60.0
    detection: str = ""
    detection_url: str | None = None


@dataclass(kw_only=True, slots=True)
class Placed(Entry):
    """A call that was created over REST, whether or not its creator was told.

    ``attempt`` is the id in the ``?call=`` of its ``url``. ``created_at``, ``rang_at`` and ``ended_at`` are Unix
    seconds, ``created``, ``rang`` and ``answered`` simulated ones; None is what has not happened. ``queue_ms`` is how
    long it was expected to wait in the queue, in simulated milliseconds.
    """

    url: str
    attempt: str
    created_at: float
    created: float
    queue_ms: int = 0
    rang_at: float | None = None
    rang: float | None = None
    answered: float | None = None
    ended_at: float | None = None
    answered_by: str = ""


def react(dice: random.Random, callee: Callee, wanted: Wanted) -> Reaction:
    """Draw how such a callee takes a call."""
    # Everything is drawn always, so that one call's luck does not hang on what was asked for.
    luck, rings, listening = dice.random(), callee.rings * dice.uniform(0.5, 1.5), dice.uniform(2.0, 5.0)
    for status, chance, after in (
        ("busy", callee.busy, 2.0),
        ("no-answer", callee.no_answer, wanted.timeout),
        ("failed", callee.failed, 1.0),
    ):
        if luck < chance:
            return Reaction(status=status, seconds=after)
        luck -= chance
    if rings >= wanted.timeout:
        return Reaction(status="no-answer", seconds=wanted.timeout)
    if luck >= callee.machine:
        return Reaction(status="in-progress", seconds=rings, found="human", detection=listening)
    if wanted.detection == "DetectMessageEnd":
        # The greeting has to be heard to its end.
        return Reaction(status="in-progress", seconds=rings, found="machine_end_beep", detection=4 * listening)
    return Reaction(status="in-progress", seconds=rings, found="machine_start", detection=listening)


def outbound_fields(sid: str, account: str, wanted: Wanted) -> dict[str, str]:
    """The standard fields of Twilio's requests about an outbound call, blank ones included."""
    own = Caller(number=wanted.from_, city="SAN FRANCISCO", state="CA", zip="94105")
    fields = call_fields(sid, account, own, wanted.to) | {"CallStatus": "queued", "Direction": "outbound-api"}
    if not wanted.to.startswith("+1"):
        fields |= dict.fromkeys(("ToState", "ToCountry", "CalledState", "CalledCountry"), "")
    for inbound_only in ("CallToken", "StirVerstat"):
        del fields[inbound_only]
    return fields


@dataclass(kw_only=True)
class OutboundCall:
    """One call that Twilio places. ``callback_lost`` is the chance, from 0 to 1, that a callback never arrives."""

    wanted: Wanted
    entry: Placed
    fields: dict[str, str]
    callee: Callee
    twilio: Twilio
    clock: Clock
    dice: random.Random
    behaviours: Mapping[str, Behaviour]
    faults: Faults
    callback_lost: float
    report: Callable[[str, Mapping[str, Any]], Awaitable[bool]]
    over: asyncio.Event = field(default_factory=asyncio.Event)
    _outgoing: asyncio.Queue[tuple[str, dict[str, str]] | None] = field(default_factory=asyncio.Queue)
    _sequence: int = 0
    _taking: asyncio.Task[None] | None = None
    _cut_off: bool = False
    _talking: asyncio.Task[None] | None = None
    _instead: str | None = None

    def dial(self) -> None:
        """Let it ring: its turn in the queue has come."""
        self._tell("initiated")
        self.entry.rang_at, self.entry.rang = self.clock.now(), self.clock.passed()
        self.entry.status = "ringing"
        self._tell("ringing", StirStatus="A")

    async def live(self) -> None:
        """Follow a call that rings to its end, and to the delivery of its last callback."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._deliver())
                if self.entry.status == "ringing":
                    self._taking = tasks.create_task(self._take())
                    await asyncio.wait([self._taking])
                self._end()
                self._outgoing.put_nowait(None)
        finally:
            self.over.set()

    def hang_up(self, status: str) -> bool:
        """End the call as its creator asks, with ``canceled`` or ``completed``; False when its state forbids it.

        A call that nobody answered ends as canceled either way. One that still waits in the queue ends without a
        callback (twilio.com/docs/voice/twiml).
        """
        if self.entry.status in FINAL or (self.entry.status == "in-progress" and status == "canceled"):
            return False
        if self.entry.status == "queued":
            self.entry.status, self.entry.ended_at = "canceled", self.clock.now()
            self.over.set()
            return True
        self.entry.status = "completed" if self.entry.status == "in-progress" else "canceled"
        self._cut_off = True
        if self._taking is not None:
            self._taking.cancel()
        return True

    def redirect(self, twiml: str) -> bool:
        """Let the call go on with other TwiML at once; False when nobody has answered it, or it is over."""
        if self.entry.status != "in-progress" or self._talking is None:
            return False
        self._instead, self._cut_off = twiml, True
        self._talking.cancel()
        return True

    async def _take(self) -> None:
        reaction = react(self.dice, self.callee, self.wanted)
        await self.clock.pause(reaction.seconds)
        self.entry.status = reaction.status
        if reaction.status != "in-progress":
            return
        self.entry.answered = self.clock.passed()
        self._tell("in-progress", StirStatus="A")
        if not self.wanted.detection:
            await self._talk({})
        elif self.wanted.detection_url is None:
            # The callee hears nothing while Twilio listens.
            await self._talk(await self._detect(reaction))
            self.entry.seconds += round(reaction.detection)
        else:
            async with asyncio.TaskGroup() as both:
                detecting = both.create_task(self._detect_beside(reaction, self.wanted.detection_url))
                await self._talk({})
                detecting.cancel()

    async def _talk(self, found: Mapping[str, str]) -> None:
        line = Line(
            twilio=self.twilio,
            dice=self.dice,
            fields={**self.fields, **found},
            entry=self.entry,
            behaviours=self.behaviours,
            faults=self.faults,
            pause=self.clock.pause,
            report=self.report,
            now=self.clock.now,
        )
        # The callbacks of an outbound call are told here: the line itself knows an inbound call's only.
        twiml: str | None = None
        while True:
            self._talking = asyncio.create_task(line.live(self.wanted.url, self.wanted.fallback_url, None, twiml))
            try:
                await asyncio.wait([self._talking])
            finally:
                self._talking.cancel()
                await asyncio.wait([self._talking])
            if self._instead is None:
                return await self._talking
            twiml, self._instead = self._instead, None
            self.entry.status = "in-progress"

    async def _detect(self, reaction: Reaction) -> dict[str, str]:
        await self.clock.pause(reaction.detection)
        self.entry.answered_by = reaction.found
        return {
            "AnsweredBy": reaction.found,
            "MachineDetectionDuration": str(round(reaction.detection * 1000)),
        }

    async def _detect_beside(self, reaction: Reaction, url: str) -> None:
        found = await self._detect(reaction)
        named = {name: self.fields[name] for name in ("AccountSid", "CallSid")}
        self._send(url, named | found)

    def _end(self) -> None:
        entry = self.entry
        entry.ended_at = self.clock.now()
        told = {"SipResponseCode": _SIP[entry.status]}
        if entry.status == "completed":
            if self._cut_off and entry.answered is not None:
                entry.seconds = round(self.clock.passed() - entry.answered)
            told["Duration"] = str(-(-entry.seconds // 60))  # begun minutes, as Twilio bills them
        self._tell(entry.status, CallDuration=str(entry.seconds), **told)

    def _tell(self, status: str, **more: str) -> None:
        self.fields["CallStatus"] = status
        if self.wanted.status_url is None or _EVENTS.get(status, "completed") not in self.wanted.events:
            return
        told = {
            **self.fields,
            **more,
            "CallbackSource": "call-progress-events",
            "SequenceNumber": str(self._sequence),
            "Timestamp": format_datetime(datetime.fromtimestamp(self.clock.now(), UTC)),
        }
        self._sequence += 1
        self._send(self.wanted.status_url, told)

    def _send(self, url: str, told: dict[str, str]) -> None:
        if self.dice.random() >= self.callback_lost:
            self._outgoing.put_nowait((url, told))

    async def _deliver(self) -> None:
        """Post what is told, one after the other, while the call goes on."""
        while (one := await self._outgoing.get()) is not None:
            try:
                answer = await self.twilio.post(*one)
            except WebhookFailed as error:
                self.entry.errors.append(error.code)
            else:
                if answer.status >= 400:
                    self.entry.errors.append(15003)
