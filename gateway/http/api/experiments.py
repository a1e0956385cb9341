"""Experiments: what was and is being tested, and the verbs of their life."""

from typing import Any

from pydantic import Field

from gateway.errors import Refused
from gateway.experiments import Deed
from gateway.http.api.endpoint import Ask, Body, endpoint
from gateway.http.api.routes import author_of
from gateway.storage.readings import last_verdicts


class Why(Body):
    """Why something is done; it stands in the experiment's history."""

    reason: str = Field("", max_length=500)


class Start(Why):
    """When to start (Unix milliseconds); now by default."""

    at: int | None = Field(None, ge=0, le=2**53)


class Pause(Why):
    """Until when to pause (Unix milliseconds); by default until it is resumed."""

    until: int | None = Field(None, ge=0, le=2**53)


class Stop(Why):
    """The arm that serves from now on; Version A when there is none."""

    winner: str | None = None


class Apply(Stop):
    """The arm that becomes Version A; ``override`` repeats the experiment's id where its verdict has a caveat."""

    override: str | None = None


class Wanted(Body):
    """Which experiments to list: from the one after the first ``cursor`` on, ``limit`` of them."""

    cursor: int = Field(0, ge=0, le=2**31)
    limit: int = Field(1000, ge=1, le=1000)


@endpoint("GET", "/experiments", role="viewer", query=Wanted)
async def list_all(ask: Ask) -> dict[str, Any]:
    """Every experiment with its last verdict, newest first; drafts, written and not started, before them."""
    wanted: Wanted = ask.query
    found = await ask.gateway.experiments.list(after=wanted.cursor, limit=wanted.limit + 1)
    shown = found[: wanted.limit]
    async with ask.gateway.database.read() as connection:
        judged = await last_verdicts(connection, [one["id"] for one in shown])
    lines = [_shown(one) | _found(one, judged.get(one["id"])) for one in shown]
    return {"experiments": lines, "next": wanted.cursor + wanted.limit if len(found) > wanted.limit else None}


@endpoint("GET", "/experiments/{experiment}", role="viewer")
async def show_experiment(ask: Ask) -> dict[str, Any]:
    """One experiment with its record, its epochs, and what was done to it and why."""
    return describe(await ask.gateway.experiments.find(ask.path["experiment"]))


@endpoint("POST", "/experiments/{experiment}/start", role="editor", body=Start)
async def start(ask: Ask) -> dict[str, Any]:
    """Start a draft, or schedule it; 409 while another experiment is open on the route."""
    return describe(await ask.gateway.experiments.start(ask.path["experiment"], _deed(ask), at=ask.body.at))


@endpoint("POST", "/experiments/{experiment}/pause", role="editor", body=Pause)
async def pause(ask: Ask) -> dict[str, Any]:
    """Let Version A serve; what comes meanwhile is drawn and kept, but not analysed."""
    experiments = ask.gateway.experiments
    return describe(await experiments.pause(ask.path["experiment"], _deed(ask), until=ask.body.until))


@endpoint("POST", "/experiments/{experiment}/resume", role="editor", body=Why)
async def resume(ask: Ask) -> dict[str, Any]:
    """Let calls take part again."""
    return describe(await ask.gateway.experiments.resume(ask.path["experiment"], _deed(ask)))


@endpoint("POST", "/experiments/{experiment}/stop", role="editor", body=Stop)
async def stop(ask: Ask) -> dict[str, Any]:
    """End the test. The winner serves; with none, Version A does."""
    return describe(await ask.gateway.experiments.stop(ask.path["experiment"], _deed(ask), winner=ask.body.winner))


@endpoint("POST", "/experiments/{experiment}/apply", role="editor", body=Apply)
async def apply(ask: Ask) -> dict[str, Any]:
    """Make the winner Version A of its route. A blocked verdict, or an unaudited judge's, needs the override."""
    wanted: Apply = ask.body
    one = await ask.gateway.experiments.apply(
        ask.path["experiment"], _deed(ask), winner=wanted.winner, override=wanted.override
    )
    return describe(one)


@endpoint("DELETE", "/experiments/{experiment}", role="editor")
async def delete(ask: Ask) -> dict[str, Any]:
    """Delete a stopped experiment; its calls keep their assignments."""
    _deed(ask)
    name = ask.path["experiment"]
    async with ask.gateway.database.write() as connection:
        await ask.gateway.experiments.delete(connection, name)
        await ask.audit(connection, "delete experiment", f"experiment {name}")
    return {"experiment": None}


def _deed(ask: Ask) -> Deed:
    reason = getattr(ask.body, "reason", "")
    author = author_of(ask, door="experiment", message=reason)
    if not author.may_test:
        role = ask.gateway.settings.auth.experiments_role
        raise Refused(f"your role may not start or stop experiments; it needs {role} (auth.experiments_role)")
    return Deed(author=author, reason=reason)


def describe(one: dict[str, Any]) -> dict[str, Any]:
    """An experiment as the API tells of it, from what ``Experiments.find`` finds."""
    epochs = [
        {name: epoch[name] for name in ("number", "began_at", "revision", "memory", "arms", "judge")}
        for epoch in one["epochs"]
    ]
    told = {name: one[name] for name in ("plan", "record", "digest", "events")}
    return {"experiment": _shown(one) | told | {"epochs": epochs, "serves": _serves(one)}}


def _serves(one: dict[str, Any]) -> str:
    """Who takes the calls now, in a sentence."""
    if one["status"] == "running":
        return "calls are split between the versions"
    if one["status"] == "draft":
        return f"Version {one['serving'].upper()} serves"
    if one["status"] in ("scheduled", "paused") or not one["winner"]:
        return "Version A serves"
    return f"Version {one['winner'].upper()} serves: it was chosen as the winner"


def _found(one: dict[str, Any], judged: dict[str, Any] | None) -> dict[str, Any]:
    """What was last found out: the verdict, and each arm with its calls; without numbers before the first look."""
    if judged is not None:
        return judged
    arms = [{"arm": arm["arm"], "version": arm["version"], "calls": 0} for arm in one["arms"] or ()]
    return {"verdict": None, "arms": arms}


def _shown(one: dict[str, Any]) -> dict[str, Any]:
    names = ("id", "route", "name", "unit", "status", "opened_at", "starts_at", "closed_at", "winner")
    return {name: one[name] for name in names}


ENDPOINTS = (list_all, show_experiment, start, pause, resume, stop, apply, delete)
