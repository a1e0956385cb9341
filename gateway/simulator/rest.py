"""Plays the REST side of Twilio for outbound calls: creates, queues, lists and cancels them, and fails on demand.

Every call that was created stands in its books, whether or not the creator was told: they are the oracle for "nobody
was rung twice". What crosses the wall is HTTP as Twilio's own client speaks it.
"""

import asyncio
import random
import socket
import struct
from collections import Counter, defaultdict, deque
from collections.abc import AsyncIterator, Coroutine, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from enum import StrEnum
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import aiohttp
from aiohttp import web
from aiohttp.typedefs import Handler

from gateway.simulator.agent import Behaviour, report
from gateway.simulator.call import Faults
from gateway.simulator.callee import Callee, Clock, Hurried, OutboundCall, Placed, Wanted, outbound_fields
from gateway.simulator.caller import draw_sid
from gateway.simulator.webhook import Twilio

_VERSION = "2010-04-01"
_EVENTS = frozenset({"initiated", "ringing", "answered", "completed"})
_TWIML_CHARACTERS = 4000
_NUMBER_DIGITS = range(7, 16)

# Twilio's error numbers, their HTTP status and words: twilio.com/docs/api/errors.
_ERRORS = {
    20001: (400, "Invalid parameter"),
    20003: (401, "Authenticate"),
    20004: (405, "Method not allowed"),
    20404: (404, "The requested resource was not found"),
    20429: (429, "Too Many Requests"),
    20500: (500, "An internal server error has occurred"),
    20503: (503, "Service unavailable"),
    21201: (400, "No 'To' number is specified"),
    21205: (400, "Url is not a valid URL"),
    21210: (400, "The source phone number provided is not yet verified for your account"),
    21211: (400, "The 'To' number is not a valid phone number"),
    21212: (400, "The 'From' number is not a valid phone number, shortcode, or alphanumeric sender ID"),
    21213: (400, "No 'From' number is specified"),
    21214: (400, "'To' phone number cannot be reached"),
    21215: (400, "Account not authorized to call the number; check its geographic permissions"),
    21216: (400, "Account not allowed to call the number"),
    21217: (400, "Phone number does not appear to be valid"),
    21220: (400, "Invalid call state: the call is not in-progress, or cannot be changed so"),
    32018: (400, "The Twiml parameter is longer than 4000 characters"),
    21262: (400, "AsyncAmd needs an AsyncAmdStatusCallback"),
}

MAGIC = {"+15005550001": 21217, "+15005550002": 21214, "+15005550003": 21215, "+15005550004": 21216}
"""Numbers that cannot be called, as with Twilio's test credentials, and the error that each is refused with."""


class Fault(StrEnum):
    """What can go wrong with one request; "before" means that nothing was done, "after" that all was."""

    HANG_BEFORE = "hang_before"
    ERROR_BEFORE = "error_before"
    TOO_MANY = "too_many"
    HANG_AFTER = "hang_after"
    ERROR_AFTER = "error_after"
    RESET_AFTER = "reset_after"
    GARBAGE_AFTER = "garbage_after"
    CALLBACKS_LOST = "callbacks_lost"


_FAULT: web.RequestKey[Fault | None] = web.RequestKey("fault", Fault)
_BEFORE: Mapping[Fault | None, int] = {Fault.ERROR_BEFORE: 20500, Fault.TOO_MANY: 20429}


@dataclass(frozen=True, kw_only=True, slots=True)
class RestFaults:
    """Chances, from 0 to 1, that the creation of a call goes wrong: at most one fault each.

    ``callbacks_lost`` is the chance of every single callback instead.
    """

    hang_before: float = 0.0
    error_before: float = 0.0
    too_many: float = 0.0
    hang_after: float = 0.0
    error_after: float = 0.0
    reset_after: float = 0.0
    garbage_after: float = 0.0
    callbacks_lost: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class RestPlan:
    """Whose Twilio is played, and how.

    ``keys`` are API keys beside the account's token; ``numbers`` the caller ids that it owns, any when empty.
    ``rate`` is in calls per simulated second; ``lag`` is how many simulated seconds pass before a new call is
    listed; ``speed`` is how many of them pass in one of ours. ``callee`` is how everybody takes a call but those in
    ``callees``, by number; ``refused`` are numbers that cannot be called, with the error. ``reach`` is where the
    gateway listens, when that is not its public URL. Without ``agent_token`` the agents report no outcomes.
    """

    account: str
    token: str
    public_url: str
    reach: str | None = None
    keys: Mapping[str, str] = field(default_factory=dict)
    numbers: frozenset[str] = frozenset()
    agent_token: str | None = None
    rate: float = 1.0
    lag: float = 0.0
    speed: float = 1.0
    seed: int = 1
    callee: Callee = field(default_factory=Callee)
    callees: Mapping[str, Callee] = field(default_factory=dict)
    refused: Mapping[str, int] = field(default_factory=lambda: MAGIC)
    behaviours: Mapping[str, Behaviour] = field(default_factory=dict)
    faults: RestFaults = field(default_factory=RestFaults)
    line_faults: Faults = field(default_factory=Faults)


class _Refused(Exception):
    """A request that is answered with one of Twilio's errors."""

    def __init__(self, code: int) -> None:
        super().__init__(_ERRORS[code][1])
        self.code = code


class RestSide:
    """Twilio's REST side for one account: ``app`` serves it, and the rest of the face is what it saw.

    Not simulated: ``Twiml`` and ApplicationSid on a creation, redirecting a live call to a Url, webhooks by GET, and
    TimeLimit.
    """

    def __init__(self, plan: RestPlan, clock: Clock | None = None) -> None:
        self._plan = plan
        self._clock = Hurried(plan.speed) if clock is None else clock
        self._calls: dict[str, OutboundCall] = {}
        self._creates = 0
        self._free_at = 0.0  # the simulated second at which the next call may be dialled
        self._forced: defaultdict[str, deque[Fault | int]] = defaultdict(deque)
        self._queue: asyncio.Queue[OutboundCall] = asyncio.Queue()
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = asyncio.Event()
        self._http: aiohttp.ClientSession | None = None
        pairs = {plan.account: plan.token, **plan.keys}
        self._accepted = {aiohttp.encode_basic_auth(user, password) for user, password in pairs.items()}
        self.app = self._make_app()

    # -- what it saw ---------------------------------------------------------------------------------------

    @property
    def entries(self) -> list[Placed]:
        """Every call that was created, the oldest first."""
        return [call.entry for call in self._calls.values()]

    @property
    def rung(self) -> Counter[str]:
        """How often each number's phone rang."""
        return Counter(entry.to for entry in self.entries if entry.rang is not None)

    @property
    def creates(self) -> int:
        """How many requests to create a call came, whatever became of them."""
        return self._creates

    async def settled(self) -> None:
        """Wait until every call is over and its callbacks are delivered."""
        while waiting := [call for call in self._calls.values() if not call.over.is_set()]:
            await waiting[0].over.wait()

    def force(self, fault: Fault | int, request: str = "create") -> None:
        """Let the next ``request`` (create, fetch, list or update) fail so: by a fault, or with an error number.

        More than one wait in line. CALLBACKS_LOST takes all the callbacks of the call that is created.
        """
        if not isinstance(fault, Fault) and fault not in _ERRORS:
            raise ValueError(f"{fault} is none of Twilio's errors that are played here: {sorted(_ERRORS)}")
        if request not in ("create", "fetch", "list", "update"):
            raise ValueError(f'"{request}" is no request: create, fetch, list or update')
        self._forced[request].append(fault)

    # -- its life ------------------------------------------------------------------------------------------

    def _make_app(self) -> web.Application:
        app = web.Application(middlewares=[self._guarded, self._faulty])
        calls = f"/{_VERSION}/Accounts/{{account}}/Calls"
        app.router.add_post(f"{calls}.json", self._create, name="create")
        app.router.add_get(f"{calls}.json", self._list, name="list", allow_head=False)
        app.router.add_post(f"{calls}/{{sid}}.json", self._update, name="update")
        app.router.add_get(f"{calls}/{{sid}}.json", self._fetch, name="fetch", allow_head=False)
        app.cleanup_ctx.append(self._open)
        app.on_shutdown.append(self._let_go)
        return app

    async def _open(self, _: web.Application) -> AsyncIterator[None]:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
            self._http = http
            self._start(self._dial())
            yield
            for task in self._tasks:
                task.cancel()
            ended = await asyncio.gather(*self._tasks, return_exceptions=True)
            if broken := [error for error in ended if isinstance(error, Exception)]:
                raise ExceptionGroup("the simulated Twilio itself broke", broken)

    async def _let_go(self, _: web.Application) -> None:
        self._closing.set()

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        # One that broke is kept, to be told when the application ends.
        if task.cancelled() or task.exception() is None:
            self._tasks.discard(task)

    async def _dial(self) -> None:
        """Take calls from the queue, in order and never faster than the rate."""
        while True:
            call = await self._queue.get()
            if call.entry.status != "queued":
                continue  # canceled while it waited: it takes nobody's turn
            call.dial()
            self._start(call.live())
            self._free_at = self._clock.passed() + 1 / self._plan.rate
            await self._clock.pause(1 / self._plan.rate)

    def _queue_ms(self) -> int:
        """How long a call that is created now is likely to wait for its turn."""
        turn = max(0.0, self._free_at - self._clock.passed())
        return round(1000 * (turn + self._queue.qsize() / self._plan.rate))

    # -- around every request ------------------------------------------------------------------------------

    @web.middleware
    async def _guarded(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Check who asks, and tell errors in Twilio's shape."""
        try:
            if request.headers.get("Authorization") not in self._accepted:
                raise _Refused(20003)
            if request.match_info.get("account", self._plan.account) != self._plan.account:
                raise _Refused(20404)
            return await handler(request)
        except _Refused as refused:
            return _refusal(refused.code)
        except web.HTTPNotFound:
            return _refusal(20404)
        except web.HTTPMethodNotAllowed:
            return _refusal(20004)

    @web.middleware
    async def _faulty(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Let a request go wrong, before or after it is done."""
        fault = self._draw_fault(request.match_info.route.name or "")
        if isinstance(fault, int):
            raise _Refused(fault)
        if fault in _BEFORE:
            raise _Refused(_BEFORE[fault])
        if fault is Fault.HANG_BEFORE:
            return await self._hang()
        request[_FAULT] = fault
        answer = await handler(request)
        match fault:
            case Fault.HANG_AFTER:
                return await self._hang()
            case Fault.ERROR_AFTER:
                raise _Refused(20500)
            case Fault.RESET_AFTER:
                _reset(request)
            case Fault.GARBAGE_AFTER:
                return web.Response(status=answer.status, text='{"sid": "CA', content_type="application/json")
        return answer

    def _draw_fault(self, request: str) -> Fault | int | None:
        if request == "create":
            self._creates += 1
        if self._forced[request]:
            return self._forced[request].popleft()
        if request == "create":
            dice = self._dice("create")
            # Every chance has its throw, so that one fault's chance does not move another's luck.
            thrown = [fault for fault in Fault if dice.random() < getattr(self._plan.faults, fault)]
            return next((fault for fault in thrown if fault is not Fault.CALLBACKS_LOST), None)
        return None

    async def _hang(self) -> web.Response:
        await self._closing.wait()
        return _refusal(20503)

    def _dice(self, purpose: str) -> random.Random:
        # Each creation has dice of its own, so that what it draws does not depend on what happens beside it.
        return random.Random(f"{self._plan.seed}/{purpose}/{self._creates}")  # noqa: S311 - must be repeatable

    # -- the requests --------------------------------------------------------------------------------------

    async def _create(self, request: web.Request) -> web.Response:
        # The dice are taken before anything is awaited: they go by the number of the request.
        dice, silent = self._dice("call"), request[_FAULT] is Fault.CALLBACKS_LOST
        form = await request.post()
        wanted = _read_wanted(
            {name: str(value) for name, value in form.items()},
            [str(value) for value in form.getall("StatusCallbackEvent", [])],
        )
        if wanted.to in self._plan.refused:
            raise _Refused(self._plan.refused[wanted.to])
        if self._plan.numbers and wanted.from_ not in self._plan.numbers:
            raise _Refused(21210)
        call = self._make_call(wanted, dice, lost=1.0 if silent else self._plan.faults.callbacks_lost)
        self._calls[call.entry.sid] = call
        self._queue.put_nowait(call)
        return web.json_response(self._shown(call), status=201)

    def _make_call(self, wanted: Wanted, dice: random.Random, *, lost: float) -> OutboundCall:
        http, plan = self._http, self._plan
        if http is None:
            raise RuntimeError("the application has not started")
        reach = plan.reach or plan.public_url
        sid = draw_sid(dice, "CA")

        async def reported(call: str, outcome: Mapping[str, Any]) -> bool:
            return plan.agent_token is not None and await report(http, reach, plan.agent_token, call, outcome)

        return OutboundCall(
            wanted=wanted,
            entry=Placed(
                sid=sid,
                from_=wanted.from_,
                to=wanted.to,
                status="queued",
                url=wanted.url,
                attempt=parse_qs(urlsplit(wanted.url).query).get("call", [""])[0],
                created_at=self._clock.now(),
                created=self._clock.passed(),
                queue_ms=self._queue_ms(),
            ),
            fields=outbound_fields(sid, plan.account, wanted),
            callee=plan.callees.get(wanted.to, plan.callee),
            twilio=Twilio(http, token=plan.token, public_url=plan.public_url, reach=reach),
            clock=self._clock,
            dice=dice,
            behaviours=plan.behaviours,
            faults=plan.line_faults,
            callback_lost=lost,
            report=reported,
        )

    async def _fetch(self, request: web.Request) -> web.Response:
        return web.json_response(self._shown(self._find(request)))

    async def _update(self, request: web.Request) -> web.Response:
        call = self._find(request)
        form = await request.post()
        status, twiml = str(form.get("Status", "")), str(form.get("Twiml", ""))
        if twiml:
            if len(twiml) > _TWIML_CHARACTERS:
                raise _Refused(32018)
            if not call.redirect(twiml):
                raise _Refused(21220)
            return web.json_response(self._shown(call))
        if status not in ("canceled", "completed"):
            raise _Refused(20001)
        if not call.hang_up(status):
            raise _Refused(21220)
        return web.json_response(self._shown(call))

    async def _list(self, request: web.Request) -> web.Response:
        """A page of the calls that are old enough to be listed, the newest first."""
        query = dict(request.query)
        page, size = _whole(query.pop("Page", "0")), min(1000, _whole(query.pop("PageSize", "50")))
        if size == 0:
            raise _Refused(20001)
        listed_until = self._clock.passed() - self._plan.lag
        found = [
            call
            for call in reversed(self._calls.values())
            if call.entry.created <= listed_until and _matches(call.entry, query)
        ]
        begin, end = page * size, (page + 1) * size
        rest = urlencode({**query, "PageSize": size})
        path = f"{request.path}?{rest}"
        return web.json_response(
            {
                "calls": [self._shown(call) for call in found[begin:end]],
                "first_page_uri": f"{path}&Page=0",
                "next_page_uri": f"{path}&Page={page + 1}" if end < len(found) else None,
                "previous_page_uri": f"{path}&Page={page - 1}" if page else None,
                "page": page,
                "page_size": size,
                "start": begin,
                "end": max(begin, min(end, len(found)) - 1),
                "uri": f"{path}&Page={page}",
            }
        )

    def _find(self, request: web.Request) -> OutboundCall:
        call = self._calls.get(request.match_info["sid"])
        if call is None:
            raise _Refused(20404)
        return call

    def _shown(self, call: OutboundCall) -> dict[str, Any]:
        """The call as Twilio's resource has it."""
        entry, wanted = call.entry, call.wanted
        conversed = entry.status == "completed" and entry.ended_at is not None
        return {
            "sid": entry.sid,
            "account_sid": self._plan.account,
            "api_version": _VERSION,
            "uri": f"/{_VERSION}/Accounts/{self._plan.account}/Calls/{entry.sid}.json",
            "to": entry.to,
            "to_formatted": entry.to,
            "from": entry.from_,
            "from_formatted": entry.from_,
            "direction": "outbound-api",
            "status": entry.status,
            "date_created": _rfc2822(entry.created_at),
            "date_updated": _rfc2822(entry.ended_at or entry.rang_at or entry.created_at),
            "start_time": _rfc2822(entry.rang_at),
            "end_time": _rfc2822(entry.ended_at),
            "duration": str(entry.seconds) if conversed else None,
            "answered_by": (entry.answered_by or None) if wanted.detection else None,
            "queue_time": str(entry.queue_ms),
            "parent_call_sid": None,
            "phone_number_sid": None,
            "price": None,
            "price_unit": "USD",
            "subresource_uris": {},
        }


def _read_wanted(form: Mapping[str, str], events: list[str]) -> Wanted:
    """What a form asks for; raises _Refused with the number that Twilio would name."""
    to, from_, url = form.get("To", ""), form.get("From", ""), form.get("Url", "")
    detection = form.get("MachineDetection", "")
    beside = bool(detection) and form.get("AsyncAmd") == "true"
    timeout = form.get("Timeout", "60")
    for wrong, code in (
        (not to, 21201),
        (not from_, 21213),
        (not _is_number(to), 21211),
        (not _is_number(from_), 21212),
        (not _is_url(url), 21205),
        (not timeout.isdecimal() or not 1 <= int(timeout) <= 600, 20001),
        (detection not in ("", "Enable", "DetectMessageEnd"), 20001),
        (beside and not _is_url(form.get("AsyncAmdStatusCallback", "")), 21262),
        (not _EVENTS.issuperset(events), 20001),
    ):
        if wrong:
            raise _Refused(code)
    return Wanted(
        to=to,
        from_=from_,
        url=url,
        fallback_url=form.get("FallbackUrl") or None,
        status_url=form.get("StatusCallback") or None,
        events=frozenset(events) or frozenset({"completed"}),
        timeout=float(timeout),
        detection=detection,
        detection_url=form["AsyncAmdStatusCallback"] if beside else None,
    )


def _is_number(text: str) -> bool:
    digits = text.removeprefix("+")
    return text[:1] == "+" and digits.isascii() and digits.isdecimal() and len(digits) in _NUMBER_DIGITS


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)


def _matches(entry: Placed, query: Mapping[str, str]) -> bool:
    own = {"To": entry.to, "From": entry.from_, "Status": entry.status}
    if any(query[name] != value for name, value in own.items() if name in query):
        return False
    # Twilio compares days, and a call not dialled yet has no start: twilio.com/docs/voice/api/call-resource.
    asked = {name: query[name][:10] for name in ("StartTime", "StartTime>", "StartTime<") if name in query}
    if asked and entry.rang_at is None:
        return False
    day = datetime.fromtimestamp(entry.rang_at or 0, UTC).date().isoformat()
    return (
        asked.get("StartTime", day) == day
        and asked.get("StartTime>", day) <= day
        and day <= asked.get("StartTime<", day)
    )


def _whole(text: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise _Refused(20001)
    return int(text)


def _rfc2822(at: float | None) -> str | None:
    return None if at is None else format_datetime(datetime.fromtimestamp(at, UTC))


def _refusal(code: int) -> web.Response:
    status, text = _ERRORS[code]
    told = {
        "code": code,
        "message": text,
        "more_info": f"https://www.twilio.com/docs/errors/{code}",
        "status": status,
    }
    return web.json_response(told, status=status)


def _reset(request: web.Request) -> None:
    """Break the connection off, as a machine on the way does that dies: by a reset, not by a proper end."""
    if request.transport is not None:
        opened: socket.socket = request.transport.get_extra_info("socket")
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        request.transport.abort()
