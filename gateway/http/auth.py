"""Who is asking: bearer tokens with a role, known only by their digest. Nothing is open unless a role allows it."""

import hashlib
import hmac
import secrets
import time
from dataclasses import dataclass
from typing import Literal

from aiohttp import web

from gateway.errors import Unauthenticated
from gateway.storage.access import token_of
from gateway.wiring import Gateway

Role = Literal["viewer", "editor", "admin", "agent"]
Need = Literal["viewer", "editor", "admin", "outcome"]

_RANK = {"viewer": 1, "editor": 2, "admin": 3}
# How long a token found good is believed without asking the database again.
_BELIEVED_SECONDS = 2.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Caller:
    """Whoever holds the token: its name, for the audit log, and its role."""

    name: str
    role: Role

    def may(self, need: Need) -> bool:
        """Whether the role is enough. An agent may post outcomes and nothing else; a viewer may not."""
        if need == "outcome":
            return self.role in ("agent", "editor", "admin")
        return _RANK.get(self.role, 0) >= _RANK[need]


class Doorkeeper:
    """Tells callers by their tokens."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        admin = gateway.settings.auth.admin_token
        self._admin = digest_of(admin.get_secret_value()) if admin is not None else None
        self._believed: dict[bytes, tuple[float, Caller]] = {}

    async def caller(self, request: web.Request) -> Caller:
        """The caller of a request; raises Unauthenticated without a good token."""
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise Unauthenticated("send a token: Authorization: Bearer …")
        return await self.holder(digest_of(token.strip()))

    async def holder(self, digest: bytes) -> Caller:
        """Whoever holds the token of this digest; raises Unauthenticated when it is not good, or no longer."""
        if self._admin is not None and hmac.compare_digest(digest, self._admin):
            return Caller(name="admin", role="admin")
        now = time.monotonic()
        believed = self._believed.get(digest)
        if believed is not None and believed[0] > now:
            return believed[1]
        async with self._gateway.database.read() as connection:
            row = await token_of(connection, digest)
        if row is None or row["revoked_at"] is not None:
            raise Unauthenticated("the token is not known, or was revoked")
        if row["expires_at"] is not None and row["expires_at"] <= self._gateway.wall():
            raise Unauthenticated("the token has expired")
        caller = Caller(name=row["name"], role=row["role"])
        if len(self._believed) > 1000:
            self._believed.clear()
        self._believed[digest] = (now + _BELIEVED_SECONDS, caller)
        return caller

    def forget(self) -> None:
        """Ask the database again for every token; after one was revoked."""
        self._believed.clear()


def digest_of(token: str) -> bytes:
    """What is stored of a token. It is 256 random bits, so a plain digest cannot be guessed back."""
    return hashlib.sha256(token.encode()).digest()


def new_token() -> str:
    """A fresh token, shown once."""
    return "gw_" + secrets.token_urlsafe(32)


DOORKEEPER: web.AppKey[Doorkeeper] = web.AppKey("doorkeeper", Doorkeeper)


async def caller_of(request: web.Request) -> Caller:
    """The caller of a request to the API."""
    return await request.app[DOORKEEPER].caller(request)
