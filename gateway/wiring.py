"""The one place where the parts meet: ``open_gateway`` makes them from the settings and takes them down again."""

import asyncio
import os
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from gateway import log
from gateway.analysis import Analysis
from gateway.callee import parse_window
from gateway.calls import FETCHED, FINAL, GIVEN_UP
from gateway.campaigns import Campaigns
from gateway.carrier.client import Carrier, open_carrier
from gateway.carrier.signature import Keyring, Verifier
from gateway.datacare import DataCare
from gateway.dialer import Dialer, Owner
from gateway.drafts import Author, read_files, read_folders
from gateway.errors import Invalid, Problem, Unavailable
from gateway.experiments import Experiments
from gateway.feed import Feed
from gateway.judges import describe, open_judge
from gateway.judging import Changed, caveat
from gateway.ladder import Voice
from gateway.livestate import LiveState
from gateway.log import Throttle
from gateway.machines import Machines
from gateway.metrics import REPEAT_MS
from gateway.model import Event, Parameters, Target
from gateway.notifier import Notifier, Receiver, open_notifier
from gateway.placing import Allowed, Contacts
from gateway.publishing import Publishing
from gateway.settings import Settings, read_signing_key
from gateway.storage.access import forget_requests
from gateway.storage.attempts import Limits
from gateway.storage.bootfile import BootFile
from gateway.storage.callbook import call_of, events_of, open_calls
from gateway.storage.docket import Docket
from gateway.storage.engine import AWAY, DOWN, Database
from gateway.storage.experiments import lock_matured
from gateway.storage.journal import Journal
from gateway.storage.ledger import Ledger
from gateway.storage.migrate import migrate
from gateway.storage.outbox import Outbox
from gateway.storage.rows import CallRow
from gateway.storage.works import BATCH_LIMIT, Rules
from gateway.switchboard import Switchboard
from gateway.targets import TargetProblems, read_target
from gateway.traffic import Traffic

_log = log.get("wiring")

MATURE_SECONDS = 5.0
SWEEP_SECONDS = 60.0
DRIFT_SECONDS = 60.0
TIDY_SECONDS = 3600.0
LEAD_SECONDS = 5.0
NOTIFY_SECONDS = 1.0
_DAY = 24 * 60 * 60 * 1000
REFUSALS_TOLD = 5  # in a second: to say what is wrong with a forged request costs more than to answer a good one
# A call whose end nobody told is asked about after ten minutes, and given up after a day.
_ASK_AFTER = 10 * 60_000
_GIVE_UP_AFTER = 24 * 60 * 60_000


def wall_clock() -> int:
    """Now, in Unix milliseconds."""
    return time.time_ns() // 1_000_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Book:
    """Reads calls for the switchboard."""

    database: Database
    outbox: Outbox

    async def variables(self, name: str) -> Parameters:
        """What the contact of a placed call brings."""
        found = await self.outbox.attempt(name)
        return tuple(found.variables.items()) if found else ()

    async def call(self, name: str) -> CallRow | None:
        """The row of a call, by our id or Twilio's."""
        async with self.database.read() as connection:
            return await call_of(connection, name)

    async def events(self, name: str) -> list[Event]:
        """The events of a call."""
        async with self.database.read() as connection:
            return await events_of(connection, name)


@dataclass(kw_only=True)
class Gateway:
    """An open gateway: its parts, and what the faces show of its health."""

    settings: Settings
    database: Database
    ledger: Ledger
    state: LiveState
    publishing: Publishing
    experiments: Experiments
    switchboard: Switchboard
    machines: Machines
    verifier: Verifier | None
    carrier: Carrier | None
    outbox: Outbox
    contacts: Contacts
    campaigns: Campaigns
    notifier: Notifier
    traffic: Traffic
    care: DataCare
    feed: Feed
    wall: Callable[[], int]
    analysis: Analysis | None = None
    dialling: asyncio.Task[None] | None = None
    drift: list[str] = field(default_factory=list)
    schema: str = ""
    draining: bool = False
    answered: int = 0
    refused: int = 0
    refusals: Throttle = field(default_factory=lambda: Throttle(REFUSALS_TOLD))


@asynccontextmanager
async def open_gateway(
    settings: Settings,
    *,
    wall: Callable[[], int] = wall_clock,
    luck: Callable[[int], bytes] = secrets.token_bytes,
) -> AsyncIterator[Gateway]:
    """Open every part, and close them in the opposite order.

    The gateway opens without its database too, from the copy of the live state on the disk; it then writes to the
    journal until the database answers. ``luck`` draws so many random bytes, for the salts of experiments. Raises
    Unavailable for a schema newer than this gateway's.
    """
    async with AsyncExitStack() as stack:
        database = Database(settings.database.url.get_secret_value())
        stack.push_async_callback(database.close)
        data = settings.paths.data
        rules = Rules(window=settings.experiments.outcome_window * 1000, judged=settings.analysis.judge != "none")
        ledger = Ledger(
            database,
            Journal(data / "journal"),
            rules=rules,
            wall=wall,
        )
        outbox = Outbox(database, rules=rules, wall=wall)
        state = LiveState(database, BootFile(data / "live.jsonl"), wall=wall)
        traffic = Traffic(database, wall=wall)
        public_url = settings.server.public_url
        carrier = await _carrier(settings, stack)
        notifier = await stack.enter_async_context(open_notifier(database, _receivers(settings), wall=wall))
        contacts = Contacts(
            account=settings.twilio.account_sid or "",
            allowed=Allowed(
                countries=settings.outbound.allowed_countries, window=parse_window(settings.outbound.window)
            ),
            snapshot=lambda: state.snapshot,
            holds=lambda: state.holds,
            wall=wall,
        )
        judge = await stack.enter_async_context(open_judge(settings.analysis, wall=wall))
        judge_told = describe(judge) if judge is not None else None
        publishing = Publishing(
            database,
            state,
            secret=os.environ.__getitem__,
            outcome_window=settings.experiments.outcome_window,
            judge=judge_told,
            luck=luck,
            wall=wall,
        )
        machines = Machines(ledger=ledger, outbox=outbox, carrier=carrier, wall=wall)
        gateway = Gateway(
            settings=settings,
            database=database,
            ledger=ledger,
            state=state,
            publishing=publishing,
            experiments=Experiments(
                database,
                state,
                publishing,
                caveat=lambda name: caveat(database, name, wall()),
                judge=judge_told,
                wall=wall,
            ),
            switchboard=Switchboard(
                ledger=ledger,
                book=Book(database=database, outbox=outbox),
                outbox=outbox,
                account=settings.twilio.account_sid or "",
                cancel=carrier.cancel_call if carrier else _nothing_to_end,
                screen=machines.screen,
                snapshot=lambda: state.snapshot,
                holds=lambda: state.holds,
                route_at=state.route_at,
                voice=_voice(settings),
                public_url=public_url,
                secret=os.environ.__getitem__,
                wall=wall,
            ),
            machines=machines,
            verifier=_verifier(settings),
            carrier=carrier,
            outbox=outbox,
            contacts=contacts,
            campaigns=Campaigns(
                database,
                contacts,
                can_dial=carrier is not None,
                rate=settings.outbound.calls_per_second,
                wall=wall,
            ),
            notifier=notifier,
            care=DataCare(database=database, ledger=ledger, state=state, rules=rules, settings=settings, wall=wall),
            traffic=traffic,
            feed=Feed(database, state, traffic, outbox, drift=lambda: gateway.drift, wall=wall),
            wall=wall,
        )
        migrated = await _migrate(gateway)
        ledger.open()
        stack.push_async_callback(ledger.close)
        stack.push_async_callback(machines.close)
        await state.load()
        stack.push_async_callback(state.save)
        if migrated:
            await _publish_folders_once(gateway)
        tasks = [
            asyncio.create_task(state.watch()),
            asyncio.create_task(_every(MATURE_SECONDS, lambda: _mature(gateway))),
            asyncio.create_task(_every(SWEEP_SECONDS, lambda: sweep(gateway))),
            asyncio.create_task(_every(DRIFT_SECONDS, lambda: look_for_drift(gateway))),
            asyncio.create_task(_every(LEAD_SECONDS, lambda: lead(gateway))),
            asyncio.create_task(_every(NOTIFY_SECONDS, notifier.step)),
            asyncio.create_task(_every(TIDY_SECONDS, notifier.tidy)),
            asyncio.create_task(gateway.feed.run()),
            asyncio.create_task(_every(TIDY_SECONDS, lambda: tidy(gateway))),
            asyncio.create_task(_every(TIDY_SECONDS, gateway.care.retain)),
        ]
        if gateway.carrier is not None:
            owner = Owner(data / "dialer")
            stack.callback(owner.close)
            gateway.dialling = asyncio.create_task(_dialer(gateway, gateway.carrier, owner).run())
            tasks.append(gateway.dialling)
        if judge is not None:
            docket = Docket(database, rules=rules, wall=wall)
            gateway.analysis = Analysis(docket=docket, judge=judge, wall=wall)
            tasks.append(asyncio.create_task(gateway.analysis.run()))
        if not migrated:
            tasks.append(asyncio.create_task(_migrate_later(gateway)))
        stack.push_async_callback(_cancel, tasks)
        yield gateway


async def _nothing_to_end(sid: str) -> None:
    raise Unavailable(f"call {sid} cannot be ended without Twilio's API")


def _dialer(gateway: Gateway, carrier: Carrier, owner: Owner) -> Dialer:
    outbound = gateway.settings.outbound
    at_once = max(1, outbound.max_concurrent - outbound.reserve_inbound)
    limits = Limits(
        per_second=outbound.calls_per_second,
        at_once=at_once,
        at_once_on_route=outbound.max_concurrent_per_route or at_once,
        per_day=outbound.daily_cap,
    )
    public_url = gateway.settings.server.public_url
    return Dialer(
        outbox=gateway.outbox,
        contacts=gateway.contacts,
        placer=carrier,
        owner=owner,
        limits=limits,
        public_url=public_url,
        wall=gateway.wall,
    )


def _voice(settings: Settings) -> Voice:
    fallback: Target | None = None
    if settings.voice.fallback is not None:
        try:
            fallback = read_target(settings.voice.fallback)
        except TargetProblems as error:
            place = "voice.fallback"
            problems = [Problem(place=place, path=path, text=text) for path, text in error.problems]
            raise Invalid("the settings cannot be used", problems) from error
    return Voice(unrouted=settings.voice.unrouted, apology=settings.voice.apology, fallback=fallback)


def _verifier(settings: Settings) -> Verifier | None:
    tokens, any_account, shared = settings.twilio.signing_keys()
    if not (tokens or any_account or shared):
        return None  # only in settings that were loaded as insecure, for loopback
    keyring = Keyring(tokens=tokens, any_account=any_account, shared_keys=shared)
    return Verifier(public_url=settings.server.public_url, keyring=keyring)


async def _carrier(settings: Settings, stack: AsyncExitStack) -> Carrier | None:
    twilio = settings.twilio
    user, password = twilio.api_key_sid, twilio.api_key_secret
    if not (user and password):
        user, password = twilio.account_sid, twilio.auth_token
    if not (user and password and twilio.account_sid):
        return None
    return await stack.enter_async_context(
        open_carrier(
            account=twilio.account_sid,
            user=user,
            password=password.get_secret_value(),
            base_url=twilio.api_base_url,
        )
    )


def _receivers(settings: Settings) -> dict[str, Receiver]:
    return {
        name: Receiver(
            url=one.url.get_secret_value(),
            key=read_signing_key(one.secret.get_secret_value()),
            kinds=frozenset(one.events),
        )
        for name, one in settings.notifications.receivers.items()
    }


async def _migrate(gateway: Gateway) -> bool:
    try:
        before, after = await migrate(gateway.database)
    except DOWN as error:
        _log.error("database_down_at_start", error=log.reason(error))
        return False
    gateway.schema = after
    if before != after:
        _log.info("migrated", before=before or "nothing", after=after)
    return True


async def _migrate_later(gateway: Gateway) -> None:
    while not await _migrate(gateway):
        await asyncio.sleep(5)


async def _publish_folders_once(gateway: Gateway) -> None:
    """An empty database starts with what the folders hold; later a difference is only told."""
    if gateway.state.snapshot.publication:
        await look_for_drift(gateway)
        return
    paths = gateway.settings.paths
    files = await asyncio.to_thread(read_folders, paths.routes, paths.agents)
    if not files:
        _log.warning("nothing_published", routes=str(paths.routes), agents=str(paths.agents))
        return
    draft = await asyncio.to_thread(read_files, files, _told_at(10_000))
    author = Author(name="gateway", door="files", message="the folders at the first start")
    await gateway.publishing.publish(draft, author)


def _told_at(step: int) -> Callable[[int, int], None]:
    """Tells of a long reading in the log, every so many files."""

    def progress(done: int, total: int) -> None:
        if done and done % step == 0:
            _log.info("reading_files", done=done, total=total)

    return progress


async def look_for_drift(gateway: Gateway) -> None:
    """Compare the folders with the live state; a difference is a line in the log and on /readyz."""
    paths = gateway.settings.paths
    files: dict[str, str] = await asyncio.to_thread(read_folders, paths.routes, paths.agents)
    drift = await gateway.publishing.drift(files)
    if drift and drift != gateway.drift:
        _log.warning("folders_differ", files=", ".join(drift[:10]), count=len(drift))
    gateway.drift = drift


async def _mature(gateway: Gateway) -> None:
    while await gateway.ledger.mature() >= BATCH_LIMIT:
        await asyncio.sleep(0)
    now = gateway.wall()
    # The last measure to come is an outcome, or whether the caller has rung again.
    longest = max(gateway.settings.experiments.outcome_window * 1000, REPEAT_MS + 2 * 60_000)
    async with gateway.database.write() as connection:
        for name in await lock_matured(connection, closed_before=now - longest, now=now):
            _log.info("experiment_stopped", experiment=name)


async def lead(gateway: Gateway) -> None:
    """Judge the open experiments and do what is due in them, if it is this process's turn to."""
    await gateway.experiments.lead(Changed(gateway.database, gateway.wall))


async def tidy(gateway: Gateway) -> None:
    """Take away what processes left that ended in the middle of a request, and answers that were kept for a week."""
    await gateway.campaigns.tidy()
    now = gateway.wall()
    async with gateway.database.write() as connection:
        await forget_requests(connection, before=now - 7 * _DAY, unanswered_before=now - _DAY)


async def sweep(gateway: Gateway) -> int:
    """Ask Twilio about calls that never got a final status; returns how many were closed."""
    now, closed = gateway.wall(), 0
    async with gateway.database.read() as connection:
        rows = await open_calls(connection, before=now - _ASK_AFTER, limit=100)
    for row in rows:
        try:
            event = await _asked_about(gateway, row, now)
        except Invalid as error:
            _log.error("call_not_told", call_id=row.id, reason=error.message)
            continue  # what Twilio refuses to tell of one call must not keep the others open
        if event is not None:
            await gateway.switchboard.settle(event)
            closed += 1
    return closed


async def _asked_about(gateway: Gateway, row: CallRow, now: int) -> Event | None:
    found = await gateway.carrier.fetch_call(row.sid) if gateway.carrier and row.sid else None
    if found is not None and found.status in FINAL:
        data = {"status": found.status, "duration": found.duration}
        return Event(call=row.id, key="fetched", kind=FETCHED, at=now, data=data)
    sent = await gateway.outbox.attempt(row.id) if row.direction == "outbound" else None
    # A placed call may have waited for days for its turn: its age counts from when it was sent.
    since = sent.intent_at if sent is not None and sent.intent_at is not None else row.received_at
    if since < now - _GIVE_UP_AFTER:
        return Event(call=row.id, key="given_up", kind=GIVEN_UP, at=now, data={"status": "unknown"})
    return None


async def _every(seconds: float, work: Callable[[], Awaitable[Any]]) -> None:
    while True:
        await asyncio.sleep(seconds)
        try:
            await work()
        except AWAY:
            continue  # it is tried again next time; the ledger and /readyz tell of the database
        except Exception:
            _log.exception("background_task_failed")


async def _cancel(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
