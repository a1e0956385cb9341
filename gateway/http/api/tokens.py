"""Tokens: who may use the API. A token is shown once, when it is made."""

import secrets
from typing import Any, Literal

from pydantic import Field, field_validator

from gateway.errors import NotFound
from gateway.http.api.endpoint import Answer, Ask, Body, endpoint
from gateway.http.auth import digest_of, new_token
from gateway.storage.access import add_token, list_tokens, revoke_token

_DAY = 86_400_000
_JUDGE = "judge:"


class NewToken(Body):
    """Whose token it is, what it may do, and for how many days (for ever unless given)."""

    name: str = Field(min_length=1, max_length=100)
    role: Literal["viewer", "editor", "admin", "agent"]
    days: int | None = Field(None, ge=1, le=3650)

    @field_validator("name")
    @classmethod
    def _is_no_judge(cls, name: str) -> str:
        if name.strip().lower().startswith(_JUDGE):
            raise ValueError(f"must not begin with {_JUDGE}: so judges sign what they report")
        return name


class Wanted(Body):
    """Which tokens to list: from the one after the first ``cursor`` on, ``limit`` of them."""

    cursor: int = Field(0, ge=0, le=2**31)
    limit: int = Field(1000, ge=1, le=1000)


@endpoint("GET", "/tokens", role="admin", query=Wanted)
async def list_all(ask: Ask) -> dict[str, Any]:
    """Tokens without their secrets, the newest first."""
    wanted: Wanted = ask.query
    async with ask.gateway.database.read() as connection:
        found = await list_tokens(connection, skip=wanted.cursor, limit=wanted.limit + 1)
    more = len(found) > wanted.limit
    return {"tokens": found[: wanted.limit], "next": wanted.cursor + wanted.limit if more else None}


@endpoint("POST", "/tokens", role="admin", body=NewToken)
async def make_token(ask: Ask) -> Answer:
    """Make a token; its secret is in this answer and nowhere else."""
    wanted, now, secret = ask.body, ask.gateway.wall(), new_token()
    row = {
        "id": "tok_" + secrets.token_hex(8),
        "name": wanted.name,
        "role": wanted.role,
        "digest": digest_of(secret),
        "author": ask.caller.name,
        "created_at": now,
        "expires_at": now + wanted.days * _DAY if wanted.days else None,
        "revoked_at": None,
    }
    async with ask.gateway.database.write() as connection:
        await add_token(connection, row)
        await ask.audit(connection, "make token", f"token {row['id']}", name=wanted.name, role=wanted.role)
    shown = {name: value for name, value in row.items() if name != "digest"}
    return Answer(body={"token": shown | {"secret": secret}}, status=201)


@endpoint("DELETE", "/tokens/{token}", role="admin")
async def revoke(ask: Ask) -> dict[str, Any]:
    """Revoke a token by its id."""
    name, now = ask.path["token"], ask.gateway.wall()
    async with ask.gateway.database.write() as connection:
        if not await revoke_token(connection, name, at=now):
            raise NotFound(f"there is no live token {name}")
        await ask.audit(connection, "revoke token", f"token {name}")
    ask.forget_tokens()
    return {"token": {"id": name, "revoked_at": now}}


ENDPOINTS = (list_all, make_token, revoke)
