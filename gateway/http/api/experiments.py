"""Experiments: what was and is being tested, and how the arms stand."""

from typing import Any

from gateway.errors import NotFound
from gateway.http.api.endpoint import Ask, endpoint
from gateway.results import as_json, compare
from gateway.storage.revisions import list_experiments
from gateway.storage.tallies import read_tallies


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


@endpoint("GET", "/experiments/{experiment}/results", role="viewer")
async def show_results(ask: Ask) -> dict[str, Any]:
    """How the arms stand: calls, served, and what was measured."""
    async with ask.gateway.database.read() as connection:
        found = await _found(connection, ask)
        tallies = await read_tallies(connection, found["id"])
    versions = {arm["arm"]: arm["version"] for epoch in found["epochs"] for arm in epoch["arms"]}
    primary = ((found["plan"] or {}).get("primary") or {}).get("metric", "success")
    return {"experiment": _shown(found), **as_json(compare(tallies, versions), primary=primary)}


async def _found(connection: Any, ask: Ask) -> dict[str, Any]:
    found = await list_experiments(connection, ask.path["experiment"])
    if not found:
        raise NotFound(f"there is no experiment {ask.path['experiment']}")
    return found[0]


def _shown(one: dict[str, Any]) -> dict[str, Any]:
    names = ("id", "route", "name", "unit", "status", "opened_at", "closed_at", "winner")
    return {name: one[name] for name in names}


ENDPOINTS = (list_all, show_experiment, show_results)
