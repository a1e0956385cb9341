"""Answers calls and follows them: decides, records durably, and says the TwiML of whoever takes the call."""

from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple, Protocol

from gateway import log
from gateway.calls import NEXT, PLACED, STATUS, STREAM, Handoff, ending_of
from gateway.decide import Remembered, decide, decide_on, memory_key, wants_memory
from gateway.errors import Conflict, GatewayError, Invalid, NotFound, Problem, Unavailable
from gateway.ladder import Script, Step, Voice, failed_hop, ladder_of
from gateway.model import Call, Event, Hold, LiveRoute, Parameters, Served, Snapshot
from gateway.placing import Wanted, unfit_variables
from gateway.storage.attempts import Attempt
from gateway.storage.rows import CallRow, row_of, served_in
from gateway.storage.works import Remember
from gateway.targets import EMPTY, HANGUP

_log = log.get("switchboard")


class Ledger(Protocol):
    """What the switchboard asks of the ledger."""

    def recall(self, call_id: str) -> CallRow | None: ...
    async def record(self, row: CallRow, drawn: Remember | None = None) -> CallRow: ...
    async def remember(self, wanted: Remember) -> tuple[Remembered, bool]: ...
    async def append(self, event: Event) -> Event: ...


class Book(Protocol):
    """What the switchboard reads of calls it no longer holds in memory."""

    async def call(self, name: str) -> CallRow | None: ...
    async def events(self, name: str) -> list[Event]: ...
    async def variables(self, name: str) -> Parameters: ...


class Outbox(Protocol):
    """Where the switchboard leaves the calls that are to be placed, and reads whose campaign they are."""

    async def plan(self, row: CallRow, wanted: Attempt, *, author: str) -> CallRow: ...
    async def attempt(self, name: str) -> Attempt | None: ...
    async def pause(self, name: str, reason: str) -> None: ...


class Told(NamedTuple):
    """One answer to Twilio: when (Unix milliseconds), which rung of the ladder (None: the end), and its TwiML."""

    at: int
    hop: int | None
    served: Served | None
    twiml: bytes


class Switchboard:
    """The way of a call."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        book: Book,
        outbox: Outbox,
        account: str,
        cancel: Callable[[str], Awaitable[object]],
        screen: Callable[[Call], Awaitable[bytes | None]],
        snapshot: Callable[[], Snapshot],
        holds: Callable[[], Mapping[str, Hold]],
        route_at: Callable[[str, int], Awaitable[LiveRoute | None]],
        voice: Voice,
        public_url: str,
        secret: Callable[[str], str],
        wall: Callable[[], int],
    ) -> None:
        """``secret`` gives the text of an environment variable that a target names, or raises LookupError.

        ``account`` is the one that calls are placed for, ``cancel`` ends a call at Twilio, and ``screen`` gives the
        TwiML for a machine that answered, or None when the agent is to have the call.
        """
        self._ledger = ledger
        self._book = book
        self._outbox = outbox
        self._account = account
        self._cancel = cancel
        self._screen = screen
        self._snapshot = snapshot
        self._holds = holds
        self._route_at = route_at
        self._voice = voice
        self._public_url = public_url
        self._wall = wall
        self._script = Script(snapshot=snapshot, voice=voice, public_url=public_url, secret=secret)
        # What a caller hears when the gateway itself fails.
        self.emergency = self._script.emergency

    async def answer(self, call: Call) -> bytes:
        """The TwiML for a ringing call, after its assignment is durable; the same for every repeat."""
        row = self._ledger.recall(call.id) or await self._assign(call)
        version = row.served_version
        if row.served_by == "version" and version is not None:
            # The common case, kept short: the standing version takes the call.
            twiml = self._script.standing(row, version, await self._live(row))
            if twiml is not None:
                return twiml
        elif row.served_by == "unrouted":
            return self._script.unrouted
        ladder = await self._ladder(row)
        return self._script.render(row, ladder, 0)

    async def place(self, wanted: Wanted, *, author: str) -> tuple[CallRow, bool]:
        """Assign a call that is to be placed and store it as planned; the dialer sends it.

        Returns the call that stands under this attempt id, and whether it was planned just now. Raises NotFound for a
        route that is not live, Invalid for whatever stands against the call, and Conflict for another call's id.
        """
        snapshot, holds = self._snapshot(), self._holds()
        live = snapshot.routes.get(wanted.route)
        if live is None:
            raise NotFound(f'there is no route "{wanted.route}"')
        if live.route.direction != "outbound":
            raise _unfit("route", f'route "{wanted.route}" is inbound: place calls on an outbound route')
        from_ = wanted.from_ or live.route.numbers[0]
        if from_ not in live.route.numbers:
            raise _unfit("from", f'{from_} is not among the numbers of route "{wanted.route}"')
        problems = unfit_variables(snapshot, live.route, wanted.variables)
        if problems:
            listed = [Problem(place="body", path="variables", text=text) for text in problems]
            raise Invalid(problems[0], listed)
        now = self._wall()
        call = Call(wanted.id, "", self._account, "outbound", from_, wanted.to, now, "planned")
        remembered, drawn = await self._memory(live, call)
        if drawn is not None:
            raise Unavailable("the database does not answer; nothing is dialled without it")
        decision = decide_on(live, call, holds, remembered=remembered)
        if decision.served.by == "fallback":
            raise _unfit("route", f'route "{wanted.route}" is held to its fallback, so nobody is called on it')
        row = row_of(call, wanted.route, decision.assignment, decision.served)
        attempt = Attempt(
            id=wanted.id,
            campaign=None,
            route=wanted.route,
            to_number=wanted.to,
            from_number=from_,
            timezone=wanted.timezone,
            variables=dict(wanted.variables),
            state="planned",
            reason=None,
            owner=None,
            planned_at=now,
            not_before=now,
            machine=wanted.machine,
        )
        standing = await self._outbox.plan(row, attempt, author=author)
        if (standing.route, standing.to_number) != (row.route, row.to_number):
            raise Conflict(f"this Idempotency-Key placed another call, {standing.id}; take a new key")
        return standing, standing is row

    async def answered(self, call: Call) -> bytes:
        """The TwiML for a placed call that was answered: that of the version it was given when it was planned.

        The webhook proves that the call exists, under this CallSid. Another CallSid on the same attempt is a stray,
        which hears nothing and is ended.
        """
        row = await self._known(call.id)
        if row is None:
            _log.error("answer_of_unknown_attempt", call_id=call.id, sid=call.sid)
            return self._script.apology
        if not await self.prove(row.id, call.sid):
            return HANGUP
        data = {"status": "in-progress"}
        await self._ledger.append(Event(call=row.id, key="voice", kind=STATUS, at=self._wall(), data=data))
        return await self._screen(call) or self._script.render(row, await self._ladder(row), 0)

    async def prove(self, attempt: str, sid: str) -> bool:
        """Keep the proof that an attempt is a call at Twilio: a webhook that carries both ids.

        False when the attempt has another call already: this one is a stray, and is ended at once.
        """
        row = await self._known(attempt)
        if row is not None and row.sid == sid:
            return True
        data = {"sid": sid, "status": "queued"}
        event = Event(call=attempt, key=f"placed:{sid}", kind=PLACED, at=self._wall(), data=data)
        await self._ledger.append(event)
        row = await self._known(attempt)
        if row is None or row.sid in (None, sid):
            return True
        await self._end_stray(attempt, sid, row.sid)
        return False

    async def _end_stray(self, attempt: str, sid: str, first: str) -> None:
        """Somebody may be rung twice: end that call, and let its campaign dial nobody until somebody has looked."""
        _log.error("second_call_of_an_attempt", call_id=attempt, sid=sid, first=first)
        try:
            await self._cancel(sid)
        except GatewayError as error:
            _log.error("stray_not_ended", call_id=attempt, sid=sid, reason=error.message)
        placed = await self._outbox.attempt(attempt)
        if placed is not None and placed.campaign is not None:
            await self._outbox.pause(placed.campaign, f"Twilio made a second call, {sid}, of {attempt}")

    async def answer_failed(self, call: Call, error_url: str) -> bytes:
        """The TwiML when Twilio asks again because ``error_url`` could not be used; the assignment is kept."""
        row = self._ledger.recall(call.id) or await self._placed(call) or await self._assign(call)
        if row.served_by == "unrouted":
            return self._script.unrouted
        ladder = await self._ladder(row)
        ours = not error_url or error_url.startswith(self._public_url + "/")
        events = await self._events(call.id)
        if ours:
            return await self._screen(call) or self._script.render(row, ladder, _current_hop(events))
        failed = failed_hop(row, ladder, error_url)
        hop = _current_hop(events) if failed is None else failed
        return await self._advance(row, ladder, hop, rule="Twilio could not use the agent's webhook", ending="failed")

    async def next(self, call_id: str, hop: int, handoff: Handoff) -> bytes:
        """What follows when the handoff ``hop`` comes back: hang up, the next rung, or nothing."""
        row = self._ledger.recall(call_id) or await self._known(call_id)
        if row is None:
            _log.warning("next_of_unknown_call", call_id=call_id)
            return self._script.apology
        ladder = await self._ladder(row)
        hop = min(max(hop, 0), len(ladder) - 1)
        if ladder[hop].is_stream and handoff.dial_status is None and handoff.session_status is None:
            handoff = await self._with_stream(row, hop, handoff)
        rule = ending_of(handoff)
        return await self._advance(row, ladder, hop, rule=rule.name, ending=rule.ending)

    async def told(self, row: CallRow) -> list[Told]:
        """What this call's handoffs were answered with, made again from its row and events, secrets hidden.

        A row, a revision and a version never change, so it comes out as it was; but not what the policy for answering
        machines said in the agent's place.
        """
        if row.served_by == "unrouted":
            return [Told(row.received_at, None, served_in(row), self._script.unrouted)]
        ladder = await self._ladder(row)
        made = [] if row.status == "planned" or served_in(row).reason == "machine" else [(row.received_at, 0)]
        events = [event for event in await self._events(row.id) if event.kind == NEXT]
        answers = {"over": EMPTY, "hang_up": HANGUP}
        told = [self._told(row, ladder, at, hop) for at, hop in made]
        for event in events:
            plain = answers.get(event.data.get("ending", ""))
            if plain is not None:
                told.append(Told(event.at, None, None, plain))
            else:
                told.append(self._told(row, ladder, event.at, min(int(event.data.get("to", 0)), len(ladder) - 1)))
        return told

    def _told(self, row: CallRow, ladder: list[Step], at: int, hop: int) -> Told:
        return Told(at, hop, ladder[hop].served, self._script.shown(row, ladder[hop], hop))

    async def settle(self, event: Event) -> None:
        """Keep an event of a call; its state and measures follow in the same transaction."""
        await self._ledger.append(event)

    # -- assigning -----------------------------------------------------------------------------------------

    async def _assign(self, call: Call) -> CallRow:
        snapshot, holds = self._snapshot(), self._holds()
        live = snapshot.numbers.get(call.to)
        remembered, drawn = await self._memory(live, call) if live is not None else (None, None)
        decision = decide(snapshot, call, holds, remembered=remembered)
        if decision.live is None:
            _log.warning("call_unrouted", call_id=call.id, to=call.to)
        name = decision.live.route.name if decision.live else None
        row = row_of(call, name, decision.assignment, decision.served)
        return await self._ledger.record(row, drawn)

    async def _memory(self, live: LiveRoute, call: Call) -> tuple[Remembered | None, Remember | None]:
        """What a sticky caller was given before; or, without a database, the memory to compare with later."""
        if not wants_memory(live, call):
            return None, None
        fresh = decide_on(live, call, {}).assignment
        if live.experiment is None or fresh is None or fresh.epoch is None:
            return None, None
        wanted = Remember(
            experiment=live.experiment.id,
            memory=live.experiment.memory,
            unit=memory_key(live.experiment.salt, call.other),
            arm=fresh.arm,
            epoch=fresh.epoch,
        )
        try:
            remembered, first = await self._ledger.remember(wanted)
        except Unavailable:
            return None, wanted
        return (None if first else remembered), None

    # -- the ladder ----------------------------------------------------------------------------------------

    async def _ladder(self, row: CallRow) -> list[Step]:
        """Every handoff this call can have, in order; the first is the one it was answered with."""
        live, variables = await self._live(row), await self._variables(row)
        versions = self._snapshot().versions
        return ladder_of(row, live, versions, fallback=self._voice.fallback, variables=variables)

    async def _advance(self, row: CallRow, ladder: list[Step], hop: int, *, rule: str, ending: str) -> bytes:
        to = min(hop + 1, len(ladder) - 1)
        if ending == "transfer":
            rungs = [place for place, step in enumerate(ladder) if step.served.by == "fallback" and place > hop]
            to = rungs[0] if rungs else len(ladder) - 1
        served = ladder[to].served
        data = {"hop": hop, "rule": rule, "ending": ending, "to": to}
        if ending == "failed":
            data["served"] = {
                "by": served.by,
                "arm": served.arm,
                "version": served.version,
                "reason": served.reason,
            }
        event = Event(call=row.id, key=f"next:{hop}", kind=NEXT, at=self._wall(), data=data)
        standing = (await self._ledger.append(event)).data
        if standing["ending"] == "over":
            return EMPTY
        if standing["ending"] == "hang_up":
            return HANGUP
        _log.info("handed_on", call_id=row.id, route=row.route, hop=hop, rule=standing["rule"])
        return self._script.render(row, ladder, standing["to"])

    async def _with_stream(self, row: CallRow, hop: int, handoff: Handoff) -> Handoff:
        events = await self._events(row.id)
        told = {e.data.get("event") for e in events if e.kind == STREAM and e.data.get("hop", 0) == hop}
        sent = [e.at for e in events if e.kind == NEXT and e.data.get("to") == hop]
        since = sent[0] if sent else row.received_at
        return Handoff(
            call_status=handoff.call_status,
            stream_error="stream-error" in told,
            stream_started="stream-started" in told,
            seconds=(self._wall() - since) / 1000,
        )

    # -- reading -------------------------------------------------------------------------------------------

    async def _live(self, row: CallRow) -> LiveRoute | None:
        """The route as it was when the call was assigned."""
        if row.route is None or row.revision is None:
            return None
        live = self._snapshot().routes.get(row.route)
        if live is not None and live.revision == row.revision:
            return live
        return await self._route_at(row.route, row.revision)

    async def _variables(self, row: CallRow) -> Parameters:
        """What the contact of a placed call brings."""
        try:
            return await self._book.variables(row.id) if row.direction == "outbound" else ()
        except Unavailable:
            return ()

    async def _placed(self, call: Call) -> CallRow | None:
        """The row of a call that we placed ourselves, which a webhook names by our id."""
        return await self._known(call.id) if call.id != call.sid else None

    async def _known(self, call_id: str) -> CallRow | None:
        try:
            return await self._book.call(call_id)
        except Unavailable:
            return None

    async def _events(self, call_id: str) -> list[Event]:
        try:
            return await self._book.events(call_id)
        except Unavailable:
            return []


def _unfit(path: str, text: str) -> Invalid:
    return Invalid(text, [Problem(place="body", path=path, text=text)])


def _current_hop(events: list[Event]) -> int:
    return max((event.data["to"] for event in events if event.kind == NEXT and "to" in event.data), default=0)
