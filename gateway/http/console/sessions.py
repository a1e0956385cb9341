"""Who is signed in: a token is shown once, and a cookie stands for it until it expires or the token is revoked."""

import hmac
import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace

from gateway.errors import Refused, Unauthenticated
from gateway.http.auth import Caller, Doorkeeper, digest_of
from gateway.storage.access import add_audit
from gateway.storage.engine import Connection
from gateway.storage.sessions import Session, add_session, end_family, end_sessions, session_of, shorten_session
from gateway.wiring import Gateway

_MINUTE = 60_000
LASTS = 12 * 60 * _MINUTE  # since the sign-in
IDLE = 2 * 60 * _MINUTE  # since the secret was last renewed
RENEWED_AFTER = 15 * _MINUTE
_GRACE = _MINUTE  # the old secret still opens the pages that were asked for at the same time
_INVITATION_LASTS = 10 * _MINUTE
FAILURES, LOCKED = 5, 15 * _MINUTE
_REMEMBERED = 10_000
_BEGINNING = len("gw_") + 5  # 30 random bits; the other 226 cannot be guessed either


@dataclass(frozen=True, kw_only=True, slots=True)
class SignedIn:
    """Somebody with a session; ``csrf`` is what their forms must carry."""

    caller: Caller
    session: Session
    csrf: str


class LockedOut(Refused):
    """Too many failures with tokens that begin alike, from one address."""

    code = "locked_out"


class Lockout:
    """Counts failed sign-ins; after five in a quarter of an hour such a sign-in has to wait for another quarter.

    They are counted by address and the first letters of what was tried: behind a proxy everybody has one address, and
    whoever guesses there locks out himself and nobody whose token begins otherwise.
    """

    def __init__(self, wall: Callable[[], int]) -> None:
        self._wall = wall
        self._failures: OrderedDict[bytes, list[int]] = OrderedDict()

    def check(self, address: str, token: str) -> None:
        """Raise LockedOut when such a token has to wait at this address."""
        if len(self._recent(_counted(address, token))) >= FAILURES:
            raise LockedOut("too many failed sign-ins with such a token from your address; wait a quarter of an hour")

    def failed(self, address: str, token: str) -> None:
        """Count a failure."""
        name = _counted(address, token)
        self._failures[name] = [*self._recent(name), self._wall()][-FAILURES:]
        self._failures.move_to_end(name)
        while len(self._failures) > _REMEMBERED:
            self._failures.popitem(last=False)

    def passed(self, address: str, token: str) -> None:
        """Forget the failures of such a token."""
        self._failures.pop(_counted(address, token), None)

    def _recent(self, name: bytes) -> list[int]:
        since = self._wall() - LOCKED
        return [at for at in self._failures.get(name, []) if at > since]


def _counted(address: str, token: str) -> bytes:
    """What failures are counted by, as a digest: nothing of a token stays in the memory."""
    return digest_of(f"{address} {token[:_BEGINNING]}")


class Sessions:
    """Opens, finds, renews and ends sessions; in the database stand digests only."""

    def __init__(self, gateway: Gateway, doorkeeper: Doorkeeper) -> None:
        self._gateway = gateway
        self._doorkeeper = doorkeeper
        self._invitations: dict[bytes, tuple[int, bytes]] = {}
        self.lockout = Lockout(lambda: gateway.wall())

    async def sign_in(self, token: str, address: str) -> str:
        """The secret of a new session for whoever holds the token; Unauthenticated, Refused or LockedOut."""
        token = token.strip()
        self.lockout.check(address, token)
        digest = digest_of(token)
        try:
            secret = await self._open(digest)
        except (Unauthenticated, Refused):
            self.lockout.failed(address, token)
            raise
        self.lockout.passed(address, token)
        return secret

    def invite(self, token: str) -> str:
        """A code that signs in once, within ten minutes, whoever follows its link first."""
        code = secrets.token_urlsafe(32)
        self._invitations[digest_of(code)] = (self._gateway.wall() + _INVITATION_LASTS, digest_of(token))
        return code

    async def accept(self, code: str, address: str) -> str:
        """The secret of a new session for an invitation, which is used up by this."""
        self.lockout.check(address, code)
        until, token = self._invitations.pop(digest_of(code), (0, b""))
        if until <= self._gateway.wall():
            self.lockout.failed(address, code)
            raise Unauthenticated("this link was used before, or is too old")
        return await self._open(token)

    async def _open(self, token: bytes) -> str:
        caller = await self._doorkeeper.holder(token)
        if caller.role == "agent":
            raise Refused("an agent's token reports outcomes; it opens no page")
        secret, now = secrets.token_urlsafe(32), self._gateway.wall()
        opened = Session(
            digest=digest_of(secret),
            token=token,
            family=secrets.token_hex(16),
            began_at=now,
            issued_at=now,
            expires_at=now + IDLE,
        )
        async with self._gateway.database.write() as connection:
            await add_session(connection, opened)
            await add_audit(connection, at=now, author=caller.name, action="sign in", subject="console", detail={})
        return secret

    async def find(self, secret: str | None) -> SignedIn | None:
        """Who comes with this secret, or None; the token behind it must still be good."""
        if not secret:
            return None
        async with self._gateway.database.read() as connection:
            found = await session_of(connection, digest_of(secret))
        now = self._gateway.wall()
        if found is None or now >= min(found.expires_at, found.began_at + LASTS):
            return None
        try:
            caller = await self._doorkeeper.holder(found.token)
        except Unauthenticated:
            return None
        return SignedIn(caller=caller, session=found, csrf=_csrf(found))

    async def renew(self, signed_in: SignedIn) -> str | None:
        """A fresh secret for the same session, when the one in use has served long enough; else None."""
        old, now = signed_in.session, self._gateway.wall()
        if now - old.issued_at < RENEWED_AFTER or old.expires_at - now <= _GRACE:
            return None
        secret = secrets.token_urlsafe(32)
        fresh = replace(old, digest=digest_of(secret), issued_at=now, expires_at=now + IDLE)
        async with self._gateway.database.write() as connection:
            if not await shorten_session(connection, old.digest, to=now + _GRACE):
                return None
            await add_session(connection, fresh)
        return secret

    async def sign_out(self, signed_in: SignedIn) -> None:
        """End this browser's session."""
        async with self._gateway.database.write() as connection:
            await end_family(connection, signed_in.session.family)
            await self._tell(connection, signed_in, "sign out")

    async def sign_out_everywhere(self, signed_in: SignedIn) -> None:
        """End every session that was opened with the same token."""
        async with self._gateway.database.write() as connection:
            await end_sessions(connection, signed_in.session.token)
            await self._tell(connection, signed_in, "sign out everywhere")

    async def _tell(self, connection: Connection, signed_in: SignedIn, action: str) -> None:
        now, author = self._gateway.wall(), signed_in.caller.name
        await add_audit(connection, at=now, author=author, action=action, subject="console", detail={})


def _csrf(session: Session) -> str:
    """What the session's forms carry; it stays when the secret is renewed, so that an open form can still be sent."""
    return hmac.digest(session.family.encode(), b"csrf" + session.token, "sha256").hex()


def same_text(one: str, other: str) -> bool:
    """Whether two texts are equal, in a time that does not tell where they differ."""
    return hmac.compare_digest(one.encode(errors="replace"), other.encode(errors="replace"))
