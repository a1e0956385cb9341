"""What the outside is told by signed webhooks: the latest notices, and a test of every receiver."""

from collections.abc import Mapping
from typing import Any

from gateway.http.api.endpoint import Ask, endpoint
from gateway.http.api.paging import Page, next_cursor
from gateway.storage.notices import list_notices


@endpoint("GET", "/notifications", role="admin", query=Page)
async def list_all(ask: Ask) -> dict[str, Any]:
    """Notices of the last month, newest first, each with how far it is on its way to each receiver."""
    wanted: Page = ask.query
    async with ask.gateway.database.read() as connection:
        rows = await list_notices(connection, before=wanted.cursor, limit=wanted.limit)
    return {
        "notifications": [_shown(row) for row in rows],
        "next": next_cursor([row["seq"] for row in rows], wanted.limit),
    }


@endpoint("POST", "/notifications/test", role="admin")
async def send_test(ask: Ask) -> dict[str, Any]:
    """Send every receiver a test notice, once, and tell what came of it."""
    notifier = ask.gateway.notifier
    async with ask.gateway.database.write() as connection:
        claimed = await notifier.write_test(connection)
        name = claimed[0].notice.id
        await ask.audit(connection, "test notifications", f"notification {name}")
    tried = await notifier.deliver(claimed, tries=1)
    told = [{"receiver": one.claimed.receiver, "state": one.state, "text": one.text} for one in tried]
    return {"notification": {"id": name, "deliveries": told}}


def _shown(row: Mapping[str, Any]) -> dict[str, Any]:
    names = ("receiver", "state", "tries", "due_at", "ended_at", "text")
    return {
        "id": row["id"],
        "type": row["kind"],
        "at": row["at"],
        "subject": row["subject"],
        "data": row["body"],
        "deliveries": [{name: one[name] for name in names} for one in row["deliveries"]],
    }


ENDPOINTS = (list_all, send_test)
