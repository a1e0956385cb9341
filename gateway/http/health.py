"""How the gateway is: what ``/readyz`` tells, and the console shows."""

import asyncio
from typing import Any

from gateway import __version__
from gateway.storage.engine import AWAY
from gateway.wiring import Gateway


async def health_of(gateway: Gateway) -> dict[str, Any]:
    """Whether calls are answered as they should be, and what an operator should know beside it."""
    state, counters = gateway.state, gateway.ledger.counters
    notes: list[str] = []
    pragmas: dict[str, str] = {}
    try:
        pragmas = await asyncio.wait_for(gateway.database.pragmas(), 2)
        failing = await asyncio.wait_for(gateway.notifier.failing(), 2)
        notes += [f"the receiver {name} did not take the last notice: {text}" for name, text in failing.items()]
    except AWAY:
        notes.append("the database does not answer; calls go to the journal")
    if state.from_disk:
        notes.append("the live state comes from the disk, not from the database")
    if not state.snapshot.routes:
        notes.append("no route is published")
    if gateway.drift:
        files = "one file differs" if len(gateway.drift) == 1 else f"{len(gateway.drift)} files differ"
        notes.append(f"{files} from the live state")
    if counters.unlogged:
        notes.append(f"{counters.unlogged} entries could be written nowhere")
    return {
        "ok": not gateway.draining,
        "version": __version__,
        "schema": gateway.schema,
        "publication": state.snapshot.publication,
        "routes": len(state.snapshot.routes),
        "looked_seconds_ago": round((gateway.wall() - state.looked_at) / 1000, 1) if state.looked_at else None,
        "database": pragmas,
        "journal": {"written": counters.journalled, "replayed": counters.replayed, "lost": counters.unlogged},
        "signatures_refused": gateway.refused,
        "drift": gateway.drift[:50],
        "notes": notes,
    }
