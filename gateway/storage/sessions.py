"""Keeps the sessions of the console, known only by the digests of their secrets."""

from dataclasses import asdict, dataclass

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.storage.schema import session


@dataclass(frozen=True, kw_only=True, slots=True)
class Session:
    """One secret of one sign-in. ``token`` is the digest of the token that was shown; times are Unix milliseconds."""

    digest: bytes
    token: bytes
    family: str
    began_at: int
    issued_at: int
    expires_at: int


async def session_of(connection: AsyncConnection, digest: bytes) -> Session | None:
    """The session whose secret has this SHA-256 digest, expired or not, or None."""
    row = (await connection.execute(sa.select(session).where(session.c.digest == digest))).first()
    return Session(**row._mapping) if row else None


async def add_session(connection: AsyncConnection, opened: Session) -> None:
    """Write a session, and forget those that have expired since."""
    await connection.execute(sa.delete(session).where(session.c.expires_at <= opened.issued_at))
    await connection.execute(sa.insert(session), asdict(opened))


async def shorten_session(connection: AsyncConnection, digest: bytes, *, to: int) -> bool:
    """Let a secret that was renewed expire at ``to``; False when somebody renewed it first."""
    done = await connection.execute(
        sa.update(session).where(session.c.digest == digest, session.c.expires_at > to).values(expires_at=to)
    )
    return done.rowcount > 0


async def end_family(connection: AsyncConnection, family: str) -> None:
    """Sign one browser out."""
    await connection.execute(sa.delete(session).where(session.c.family == family))


async def end_sessions(connection: AsyncConnection, token: bytes) -> int:
    """Sign out every browser that was signed in with a token; returns how many sessions that ended."""
    return (await connection.execute(sa.delete(session).where(session.c.token == token))).rowcount
