"""Tells receivers outside what happened: signed webhooks, tried again for a day, as Standard Webhooks describes them.

What is told stands in the outbox (``storage.notices``). A notice may come more than once and in any order; all
repeats have its id. Nothing here is on the way of a call.
"""

import asyncio
import base64
import hashlib
import hmac
import json
import secrets
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp

from gateway import __version__, log
from gateway.errors import Invalid
from gateway.storage.engine import Connection, Database
from gateway.storage.notices import (
    Claimed,
    Notice,
    Tried,
    add_test,
    claim_due,
    forget_notices,
    is_any_due,
    last_ended,
    settle,
)

_log = log.get("notifier")

TRY_SECONDS = 10.0
# Longer than a try can take, so that nobody else tries meanwhile; so long waits what a dead process had claimed.
CLAIM_MS = 60_000
# Twelve tries with waits of 5 s, 12 s, 31 s, … 13 h between them: at most 22 hours, so a day with every delay.
TRIES = 12
_FIRST_WAIT_MS = 5_000
_GROWTH = 2.5
_JITTER = 0.2
_AT_ONCE = 20
_KEPT_MS = 30 * 24 * 60 * 60_000

_draw = secrets.SystemRandom().random


@dataclass(frozen=True, kw_only=True, slots=True)
class Receiver:
    """Where notices of some kinds are sent, and the key they are signed with; neither may show anywhere."""

    url: str = field(repr=False)
    key: bytes = field(repr=False)
    kinds: frozenset[str]


def sign(key: bytes, name: str, timestamp: int, body: bytes) -> str:
    """The ``webhook-signature`` of Standard Webhooks: ``v1,`` and HMAC-SHA256 of id, Unix seconds and body.

    Source: github.com/standard-webhooks/standard-webhooks, spec, "Verifying webhook authenticity".
    """
    signed = b"%s.%d.%s" % (name.encode(), timestamp, body)
    return "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()


def wait_after(tries: int, dice: float) -> int:
    """Milliseconds from one failed try to the next; ``dice`` in [0, 1) shortens them by up to a fifth."""
    return round(_FIRST_WAIT_MS * _GROWTH ** (tries - 1) * (1 - _JITTER * dice))


class Notifier:
    """One process's share in telling the outside."""

    def __init__(
        self,
        database: Database,
        receivers: Mapping[str, Receiver],
        *,
        http: aiohttp.ClientSession,
        wall: Callable[[], int],
        dice: Callable[[], float] = _draw,
    ) -> None:
        self._database = database
        self._receivers = receivers
        self._kinds = {name: receiver.kinds for name, receiver in receivers.items()}
        self._http = http
        self._wall = wall
        self._dice = dice
        self.sent = 0
        self.failed = 0

    async def step(self) -> int:
        """Try what is due, and wait until it is tried; returns how many deliveries that were."""
        now = self._wall()
        async with self._database.read() as connection:
            if not await is_any_due(connection, now):
                return 0
        until = now + CLAIM_MS
        claimed = await self._database.transact(
            lambda connection: claim_due(connection, self._kinds, now=now, until=until, limit=_AT_ONCE)
        )
        if claimed:
            await self.deliver(claimed)
        return len(claimed)

    async def deliver(self, claimed: Sequence[Claimed], *, tries: int = TRIES) -> list[Tried]:
        """Try claimed deliveries once, all at the same time; one that fails at its last of ``tries`` has failed."""
        tried = await asyncio.gather(*(self._try(one, tries) for one in claimed))
        await self._database.transact(lambda connection: settle(connection, tried, now=self._wall()))
        for one in tried:
            told = _log.info if one.state == "sent" else _log.warning
            told(
                "notice_tried",
                notice=one.claimed.notice.id,
                receiver=one.claimed.receiver,
                state=one.state,
                text=one.text,
                tries=one.claimed.tries,
            )
        self.sent += sum(one.state == "sent" for one in tried)
        self.failed += sum(one.state == "failed" for one in tried)
        return tried

    async def failing(self) -> dict[str, str]:
        """The receivers whose latest notice could not be delivered, each with what came of its last try."""
        found = {}
        async with self._database.read() as connection:
            for name in self._receivers:
                last = await last_ended(connection, name)
                if last is not None and last[0] == "failed":
                    found[name] = last[1]
        return found

    async def tidy(self) -> None:
        """Forget what was told a month ago."""
        before = self._wall() - _KEPT_MS
        await self._database.transact(lambda connection: forget_notices(connection, before=before))

    # -- inside a transaction of somebody's own ------------------------------------------------------------

    async def write_test(self, connection: Connection) -> list[Claimed]:
        """Write a test notice to every receiver, which ``deliver`` is to try; raises Invalid when there is none."""
        if not self._receivers:
            raise Invalid("nobody is told of anything: no receiver stands in the settings (notifications.receivers)")
        now = self._wall()
        return await connection.run_sync(add_test, self._receivers, at=now, until=now + CLAIM_MS)

    # ------------------------------------------------------------------------------------------------------

    async def _try(self, one: Claimed, tries: int) -> Tried:
        receiver = self._receivers.get(one.receiver)
        if receiver is None:
            return Tried(one, "failed", "no such receiver stands in the settings any more")
        status, text = await self._post(receiver, one.notice)
        if 200 <= status < 300:
            return Tried(one, "sent", text)
        if status == 410:
            return Tried(one, "failed", text + ": it wants no more of this")
        if one.tries >= tries:
            return Tried(one, "failed", text)
        return Tried(one, "waiting", text, self._wall() + wait_after(one.tries, self._dice()))

    async def _post(self, receiver: Receiver, told: Notice) -> tuple[int, str]:
        """The status that a receiver answered with, 0 for none, and a sentence, which never holds the URL."""
        body = written(told)
        timestamp = self._wall() // 1000
        headers = {
            "Content-Type": "application/json",
            "User-Agent": f"call-gateway/{__version__}",
            "webhook-id": told.id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": sign(receiver.key, told.id, timestamp, body),
        }
        try:
            # A redirect could lead anywhere, and what the answer says beside its status is of no interest.
            async with self._http.post(receiver.url, data=body, headers=headers, allow_redirects=False) as answer:
                return answer.status, f"answered {answer.status}"
        except TimeoutError:
            return 0, f"no answer within {TRY_SECONDS:.0f} seconds"
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return 0, f"cannot be reached: {type(error).__name__}"


def written(told: Notice) -> bytes:
    """The body that a receiver gets."""
    body = {"id": told.id, "type": told.kind, "at": told.at, "subject": told.subject, "data": told.body}
    return json.dumps(body, ensure_ascii=False).encode()


@asynccontextmanager
async def open_notifier(
    database: Database, receivers: Mapping[str, Receiver], *, wall: Callable[[], int]
) -> AsyncIterator[Notifier]:
    """A notifier with its own connections to the outside: no cookie, no proxy, no wait without an end."""
    timeout = aiohttp.ClientTimeout(total=TRY_SECONDS)
    async with aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()) as http:
        yield Notifier(database, receivers, http=http, wall=wall)
