"""The audit log: who changed what, when."""

from typing import Any

from gateway.http.api.endpoint import Ask, endpoint
from gateway.http.api.paging import Page, next_cursor
from gateway.storage.access import list_audit


class Wanted(Page):
    """Whose deeds, which (``publish``), or on which subject (``route support``)."""

    author: str | None = None
    subject: str | None = None
    action: str | None = None


@endpoint("GET", "/audit", role="admin", query=Wanted)
async def list_all(ask: Ask) -> dict[str, Any]:
    """The audit log, newest first."""
    wanted: Wanted = ask.query
    async with ask.gateway.database.read() as connection:
        rows = await list_audit(
            connection,
            before=wanted.cursor,
            limit=wanted.limit,
            author=wanted.author,
            subject=wanted.subject,
            action=wanted.action,
        )
    return {"audit": rows, "next": next_cursor([row["seq"] for row in rows], wanted.limit)}


ENDPOINTS = (list_all,)
