"""Tokens (only their digests), the audit log, and the answers kept for repeated requests."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.storage.engine import Database
from gateway.storage.schema import audit, idempotency, token


async def token_of(connection: AsyncConnection, digest: bytes) -> dict[str, Any] | None:
    """The token with this SHA-256 digest, whatever its state, or None."""
    row = (await connection.execute(sa.select(token).where(token.c.digest == digest))).first()
    return dict(row._mapping) if row else None


async def list_tokens(connection: AsyncConnection, *, skip: int, limit: int) -> list[dict[str, Any]]:
    """Tokens, newest first, without their digests: ``limit`` of them behind the first ``skip``."""
    columns = [column for column in token.c if column is not token.c.digest]
    query = sa.select(*columns).order_by(token.c.created_at.desc(), token.c.id)
    rows = await connection.execute(query.offset(skip).limit(limit))
    return [dict(row._mapping) for row in rows]


async def add_token(connection: AsyncConnection, row: dict[str, Any]) -> None:
    """Write a new token."""
    await connection.execute(sa.insert(token), row)


async def revoke_token(connection: AsyncConnection, name: str, *, at: int) -> bool:
    """Revoke a token by id; False when there is no such live token."""
    gone = await connection.execute(
        sa.update(token).where(token.c.id == name, token.c.revoked_at.is_(None)).values(revoked_at=at)
    )
    return gone.rowcount > 0


async def add_audit(
    connection: AsyncConnection, *, at: int, author: str, action: str, subject: str, detail: dict[str, Any]
) -> None:
    """Write who did what; in the same transaction as the deed wherever it has one."""
    await connection.execute(
        sa.insert(audit), {"at": at, "author": author, "action": action, "subject": subject, "detail": detail}
    )


async def list_audit(
    connection: AsyncConnection,
    *,
    before: int | None,
    limit: int,
    author: str | None,
    subject: str | None,
    action: str | None = None,
) -> list[dict[str, Any]]:
    """The audit log, newest first, from just before the row number ``before``."""
    query = sa.select(audit).order_by(audit.c.seq.desc()).limit(limit)
    if before is not None:
        query = query.where(audit.c.seq < before)
    for column, value in ((audit.c.author, author), (audit.c.subject, subject), (audit.c.action, action)):
        if value is not None:
            query = query.where(column == value)
    return [dict(row._mapping) for row in await connection.execute(query)]


async def claim_request(
    connection: AsyncConnection, database: Database, *, author: str, key: str, request: bytes, at: int
) -> dict[str, Any] | None:
    """Claim an idempotency key; None when it is now ours, else the row of who has it."""
    row = {"author": author, "key": key, "request": request, "at": at}
    claim = database.insert(idempotency).on_conflict_do_nothing().returning(idempotency.c.key)
    if (await connection.execute(claim, row)).first() is not None:
        return None
    found = await connection.execute(
        sa.select(idempotency).where(idempotency.c.author == author, idempotency.c.key == key)
    )
    return dict(found.one()._mapping)


async def keep_answer(
    connection: AsyncConnection, *, author: str, key: str, request: bytes, status: int, answer: str
) -> None:
    """Keep the answer that a repeat of the request will get."""
    await connection.execute(
        sa.update(idempotency)
        .where(idempotency.c.author == author, idempotency.c.key == key)
        .values(request=request, status=status, answer=answer)
    )


async def drop_request(connection: AsyncConnection, *, author: str, key: str) -> None:
    """Give a key back whose request had no effect."""
    await connection.execute(sa.delete(idempotency).where(idempotency.c.author == author, idempotency.c.key == key))


async def forget_requests(connection: AsyncConnection, *, before: int, unanswered_before: int) -> None:
    """Forget answers that were kept long enough, and requests that were begun so long ago and never answered."""
    given_up = sa.and_(idempotency.c.status.is_(None), idempotency.c.at < unanswered_before)
    await connection.execute(sa.delete(idempotency).where((idempotency.c.at < before) | given_up))
