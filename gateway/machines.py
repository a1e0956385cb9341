"""What follows when a machine answers a call that was placed: the policy of its attempt, carried out.

With synchronous detection Twilio asks what to do once it knows who answered, and the policy is the answer. With
asynchronous detection the agent has the call by then, and the policy changes the call at Twilio.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Protocol

from gateway import log
from gateway.calls import MACHINE, TAKEN, is_machine
from gateway.carrier.client import Order
from gateway.errors import GatewayError, Unavailable
from gateway.metrics import answerer
from gateway.model import Call, Event
from gateway.storage.attempts import Attempt
from gateway.targets import HANGUP, say

_log = log.get("machines")

_LAST_SECONDS = 3.0
_SERVED = {"by": "none", "arm": None, "version": None, "reason": "machine"}


class Ledger(Protocol):
    """Keeps events; of one key the first stands, and only its giver gets back the very event that was given."""

    async def append(self, event: Event) -> Event: ...


class Outbox(Protocol):
    """Where the policy of an attempt is read."""

    async def attempt(self, name: str) -> Attempt | None: ...


class Carrier(Protocol):
    """What is asked of Twilio about a call under way."""

    async def end_call(self, sid: str) -> None: ...
    async def redirect_call(self, sid: str, twiml: bytes) -> None: ...


def with_detection(order: Order, policy: Mapping[str, str] | None, *, callback: str) -> Order:
    """The order with the detection that an attempt's policy needs; an asynchronous one tells it to ``callback``."""
    if policy is None:
        return order
    # A message has to wait until the greeting is over.
    ordered = replace(order, detection="DetectMessageEnd" if policy["policy"] == "leave_message" else "Enable")
    return replace(ordered, detection_callback=callback) if policy["detection"] == "async" else ordered


def taking(policy: Mapping[str, str] | None, answered_by: str) -> bytes | None:
    """The TwiML that takes the call from the agent, when ``answered_by`` is a machine; None when the agent has it."""
    if policy is None or policy["policy"] == "continue" or not is_machine(answered_by):
        return None
    if policy["policy"] == "leave_message" and answerer(answered_by) == "machine":
        return say(policy["message"])
    return HANGUP  # and a fax has no use for a message


def detection(call: str, answered_by: str, *, at: int) -> Event:
    """The event that Twilio has found out who answered; a call has one, however it was told."""
    return Event(call=call, key="amd", kind=MACHINE, at=at, data={"answered_by": answered_by})


class Machines:
    """Carries the policies out."""

    def __init__(self, *, ledger: Ledger, outbox: Outbox, carrier: Carrier | None, wall: Callable[[], int]) -> None:
        self._ledger = ledger
        self._outbox = outbox
        self._carrier = carrier
        self._wall = wall
        self._tasks: set[asyncio.Task[None]] = set()

    async def screen(self, call: Call) -> bytes | None:
        """The TwiML for the machine that answered, or None when the agent is to have the call.

        It is durable before it is told, and a repeat of the webhook gets the same. Where the policy cannot be read
        the agent has the call.
        """
        if not call.answered_by:
            return None
        standing = await self._ledger.append(detection(call.id, call.answered_by, at=self._wall()))
        try:
            twiml = await self._twiml(standing)
        except Unavailable:
            _log.warning("policy_unknown", call_id=call.id)
            return None
        if twiml is not None:
            await self._taken(call.id, twiml)
        return twiml

    async def detected(self, event: Event, sid: str) -> None:
        """Keep who answered a call that the agent has, and let the policy follow; a repeat changes nothing.

        What follows is done after this returns. If the process ends before, the agent keeps the call.
        """
        if await self._ledger.append(event) is event:
            task = asyncio.create_task(self._follow(event, sid))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Wait, not for long, until what has begun is done."""
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=_LAST_SECONDS)
            for task in late:
                task.cancel()

    async def _follow(self, event: Event, sid: str) -> None:
        try:
            twiml = await self._twiml(event)
            if twiml is None or self._carrier is None:
                return
            if twiml is HANGUP:
                await self._carrier.end_call(sid)
            else:
                await self._carrier.redirect_call(sid, twiml)
            await self._taken(event.call, twiml)
        except GatewayError as error:
            # The call is over already, most likely: who had it until then has served it.
            _log.warning("policy_not_carried_out", call_id=event.call, sid=sid, reason=error.message)
        except Exception:
            _log.exception("policy_failed", call_id=event.call, sid=sid)

    async def _twiml(self, event: Event) -> bytes | None:
        answered_by = event.data["answered_by"]
        if not is_machine(answered_by):
            return None
        placed = await self._outbox.attempt(event.call)
        return taking(placed.machine if placed else None, answered_by)

    async def _taken(self, call_id: str, twiml: bytes) -> None:
        done = "hang_up" if twiml is HANGUP else "leave_message"
        _log.info("machine_answered", call_id=call_id, done=done)
        data = {"done": done, "served": _SERVED}
        await self._ledger.append(Event(call=call_id, key=TAKEN, kind=TAKEN, at=self._wall(), data=data))
