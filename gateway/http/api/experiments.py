"""Experiments: what was and is being tested."""

from typing import Any

from gateway.errors import NotFound
from gateway.http.api.endpoint import Ask, endpoint
from gateway.storage.revisions import list_experiments


@endpoint("GET", "/experiments", role="viewer")
async def list_all(ask: Ask) -> dict[str, Any]:
    """Every experiment, newest first."""
    async with ask.gateway.database.read() as connection:
        found = await list_experiments(connection)
    return {"experiments": [_shown(one) for one in found], "next": None}


@endpoint("GET", "/experiments/{experiment}", role="viewer")
async def show_experiment(ask: Ask) -> dict[str, Any]:
    """One experiment with its epochs."""
    async with ask.gateway.database.read() as connection:
        found = await _found(connection, ask)
    epochs = [
        {name: epoch[name] for name in ("number", "began_at", "revision", "memory", "arms")}
        for epoch in found["epochs"]
    ]
    return {"experiment": _shown(found) | {"plan": found["plan"], "epochs": epochs}}


async def _found(connection: Any, ask: Ask) -> dict[str, Any]:
    found = await list_experiments(connection, ask.path["experiment"])
    if not found:
        raise NotFound(f"there is no experiment {ask.path['experiment']}")
    return found[0]


def _shown(one: dict[str, Any]) -> dict[str, Any]:
    names = ("id", "route", "name", "unit", "status", "opened_at", "closed_at", "winner")
    return {name: one[name] for name in names}


ENDPOINTS = (list_all, show_experiment)
