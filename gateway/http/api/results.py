"""Results: how the versions compare, what was said in their calls, every call as a row, and what a test will cost."""

import asyncio
import json
import math
from collections.abc import AsyncIterator, Mapping
from hashlib import blake2b
from typing import Any, Literal

from pydantic import Field

from gateway.csvfile import csv_line
from gateway.errors import Invalid, NotFound
from gateway.http.api.endpoint import Ask, Body, Streamed, endpoint
from gateway.http.api.experiments import describe
from gateway.http.report import write_report
from gateway.judges.labels import SUGGESTED, questions
from gateway.judging import look
from gateway.phone import is_withheld
from gateway.storage.analyses import read_labels
from gateway.storage.engine import Database
from gateway.storage.experiments import list_experiments
from gateway.storage.samples import Spoken, calls_of_experiment, calls_per_day, draw_to_label, sample_calls

_TRAFFIC_DAYS = 28
_MILLISECONDS_PER_DAY = 86_400_000


class Sampled(Body):
    """Which calls to read: how many of each arm, by which seed."""

    n: int = Field(10, ge=1, le=100)
    seed: int = Field(1, ge=0, le=2**53)
    arm: str | None = None


class Passed(Body):
    """Behind which call to go on: one that was drawn before, and passed over."""

    after: str = Field("", max_length=128)


class Exported(Body):
    """In which form."""

    format: Literal["csv", "jsonl", "json", "html"] = "csv"


class Planned(Body):
    """What a test is to find. Shares and rates are 0 to 1; ``calls_per_day`` is taken from ``route`` unless given.

    ``effect`` is signed, in the metric's unit; ``calls_per_caller_squared`` the sum of squared calls over the calls.
    """

    kind: Literal["rate", "mean"] = "rate"
    effect: float = Field(0.05, allow_inf_nan=False, ge=-1e9, le=1e9)
    baseline: float = Field(0.5, gt=0, lt=1)
    sd: float | None = Field(None, gt=0, le=1e9)
    alpha: float = Field(0.05, ge=0.0001, le=0.5)
    power: float = Field(0.8, ge=0.1, le=0.999)
    split: dict[str, float] = Field(default_factory=lambda: {"a": 50.0, "b": 50.0}, min_length=2, max_length=26)
    guardrails: int = Field(0, ge=0, le=20)
    route: str | None = None
    calls_per_day: float | None = Field(None, gt=0, le=1e9)
    icc: float = Field(0.0, ge=0, le=1)
    calls_per_caller_squared: float = Field(1.0, ge=1, le=1e6)
    sensitivity: float = Field(1.0, ge=0, le=1)
    specificity: float = Field(1.0, ge=0, le=1)


@endpoint("GET", "/experiments/{experiment}/results", role="viewer")
async def show_results(ask: Ask) -> dict[str, Any]:
    """How the versions compare: readings, effects with always-valid intervals, health checks and the verdict."""
    async with ask.gateway.database.read() as connection:
        found = await _found(connection, ask)
        _, shown = await look(connection, found["id"], ask.gateway.wall())
    return {"experiment": _shown(found), **shown}


@endpoint("GET", "/experiments/{experiment}/samples", role="viewer", query=Sampled)
async def show_samples(ask: Ask) -> dict[str, Any]:
    """Transcripts drawn at random from each arm, side by side; the same seed draws the same calls."""
    asked: Sampled = ask.query
    async with ask.gateway.database.read() as connection:
        found = await _found(connection, ask)
        arms = sorted({arm["arm"] for epoch in found["epochs"] for arm in epoch["arms"]})
        if asked.arm is not None and asked.arm not in arms:
            raise NotFound(f"experiment {found['id']} has no arm {asked.arm}")
        wanted = [asked.arm] if asked.arm is not None else arms
        drawn = await sample_calls(connection, found, wanted, n=asked.n, seed=asked.seed)
    samples = {}
    for arm, (of, calls) in drawn.items():
        mature = "mature calls" if of is None else f"{of:,} mature calls"
        why = f"drawn by seed {asked.seed} from the {mature} of arm {arm} that have a transcript"
        samples[arm] = {"of": of, "calls": [_sample(one, f"{why}, all equally likely") for one in calls]}
    return {"experiment": _shown(found), "seed": asked.seed, "samples": samples}


@endpoint("GET", "/experiments/{experiment}/labels", role="editor", query=Passed)
async def draw_label(ask: Ask) -> dict[str, Any]:
    """A call to label, drawn at random within its arm, without a word on the arm; and how many are labelled by now.

    Nobody is given a call twice, and people who label side by side are given different ones.
    """
    wanted: Passed = ask.query
    author = ask.caller.name
    async with ask.gateway.database.read() as connection:
        found = await _found(connection, ask)
        labels = await read_labels(connection, found["id"])
        drawn = await draw_to_label(
            connection, found, author=author, labels=labels, wanted=SUGGESTED, after=wanted.after
        )
    arms = {arm["arm"] for epoch in found["epochs"] for arm in epoch["arms"]}
    asked = questions(ask.gateway.settings.analysis.criteria)
    return {
        "experiment": _shown(found),
        "to_label": drawn.next and {"call": drawn.next.call.id, "transcript": drawn.next.body["transcript"]},
        "passed": drawn.left,
        "labelled": {
            "calls": len({one.call for one in labels}),
            "by_you": len({one.call for one in labels if one.author == author}),
            "suggested": SUGGESTED * len(arms),
        },
        "criteria": [
            {"criterion": name, "question": one.question, "kind": one.kind, "choices": list(one.choices)}
            for name, one in asked.items()
        ],
    }


@endpoint("GET", "/experiments/{experiment}/export", role="viewer", query=Exported)
async def export_calls(ask: Ask) -> Streamed:
    """Every call that was assigned, one row each: CSV, JSON lines, or JSON with the registered plan and results.

    As HTML the report instead: the results with their charts, in a file that needs no other.
    """
    asked: Exported = ask.query
    if asked.format == "html":
        return await _report(ask)
    async with ask.gateway.database.read() as connection:
        found = await _found(connection, ask)
        shown = (await look(connection, found["id"], ask.gateway.wall()))[1] if asked.format == "json" else {}
    rows = _rows(ask.gateway.database, found)
    name = f"{found['id']}.{asked.format}"
    if asked.format == "csv":
        return Streamed(content_type="text/csv", name=name, pieces=_as_csv(rows))
    if asked.format == "jsonl":
        return Streamed(content_type="application/x-ndjson", name=name, pieces=_as_lines(rows))
    told = {"experiment": _shown(found), "registered": _registered(found), "results": shown}
    return Streamed(content_type="application/json", name=name, pieces=_as_json(told, rows))


async def _report(ask: Ask) -> Streamed:
    async with ask.gateway.database.read() as connection:
        found = await _found(connection, ask)
        _, shown = await look(connection, found["id"], ask.gateway.wall())
    one = describe(await ask.gateway.experiments.find(found["id"]))["experiment"]
    text = await asyncio.to_thread(write_report, one, shown)
    return Streamed(content_type="text/html", name=f"{found['id']}.html", pieces=_whole(text))


async def _whole(text: str) -> AsyncIterator[bytes]:
    yield text.encode()


@endpoint("POST", "/experiments/plan", role="viewer", body=Planned)
async def plan_experiment(ask: Ask) -> dict[str, Any]:
    """How many calls and days a test needs, what it can see, and what an uneven split, callers or a judge cost."""
    asked: Planned = ask.body
    if not all(0 < weight < math.inf for weight in asked.split.values()) or "a" not in asked.split:
        raise Invalid("split: give a and every other arm a weight above 0")
    rival = min(weight for arm, weight in asked.split.items() if arm != "a")
    both = (asked.split["a"] + rival) / sum(asked.split.values())
    traffic = asked.calls_per_day
    if traffic is None and asked.route is not None:
        traffic = await _traffic(ask, asked.route)
    return {"plan": await asyncio.to_thread(_size, asked, rival / (asked.split["a"] + rival), both, traffic)}


async def _traffic(ask: Ask, route: str) -> float | None:
    if route not in ask.gateway.state.snapshot.routes:
        raise NotFound(f"there is no route {route}")
    since = ask.gateway.wall() - _TRAFFIC_DAYS * _MILLISECONDS_PER_DAY
    async with ask.gateway.database.read() as connection:
        return await calls_per_day(connection, route, since=since, days=_TRAFFIC_DAYS) or None


def _size(asked: Planned, share_b: float, both: float, traffic: float | None) -> dict[str, Any]:
    from gateway.results.planning import Question, size

    question = Question(
        kind=asked.kind,
        effect=asked.effect,
        baseline=asked.baseline,
        sd=asked.sd,
        alpha=asked.alpha,
        power=asked.power,
        share_b=share_b,
        guardrails=asked.guardrails,
        calls_per_day=traffic * both if traffic is not None else None,
        icc=asked.icc,
        squares=asked.calls_per_caller_squared,
        sensitivity=asked.sensitivity,
        specificity=asked.specificity,
    )
    try:
        found = size(question)
    except (ValueError, ZeroDivisionError, OverflowError) as error:
        raise Invalid(f"this cannot be planned: {error}") from error
    return {
        "per_arm": found.per_arm,
        "n_fixed": found.sizes.fixed,
        "n_planned": found.sizes.planned,
        "n_max": found.sizes.most,
        "days": found.sizes.days,
        "calls_per_day": traffic,
        "power_of_each_test": found.power,
        "detectable_in_four_weeks": found.detectable,
        "costs": {"split": found.split_cost, "sticky": found.sticky_cost, "judge": found.judge_cost},
        "warnings": list(found.warnings),
    }


# -- rows ------------------------------------------------------------------------------------------------------

_OUTCOME = ("success", "sentiment", "transfer_requested", "transferred", "opt_out", "cost", "final")
_CALL = (
    "id",
    "sid",
    "direction",
    "country",
    "received_at",
    "epoch",
    "arm",
    "version",
    "reason",
    "bucket",
    "share",
    "analysed",
    "served_by",
    "served_arm",
    "served_version",
    "served_reason",
    "status",
    "answered_at",
    "ended_at",
    "duration_seconds",
    "mature",
)
_COLUMNS = (*_CALL, "caller", *_OUTCOME, "fields", "counted")


async def _rows(database: Database, found: Mapping[str, Any]) -> AsyncIterator[list[dict[str, Any]]]:
    last = 0
    while True:
        # A connection for each portion: who reads slowly must not keep one from others.
        async with database.read() as connection:
            portion = await calls_of_experiment(connection, found, after=last)
        if not portion:
            return
        last = portion[-1].call.seq or last
        yield [_row(one, found["salt"]) for one in portion]


def _row(one: Spoken, salt: bytes) -> dict[str, Any]:
    row = one.call
    other = row.from_number if row.direction == "inbound" else row.to_number
    told = {name: getattr(row, name) for name in _CALL}
    # A pseudonym: who called twice can be seen, whose number it is cannot.
    pseudonym = blake2b(other.encode(), key=salt, digest_size=8, person=b"export").hexdigest()
    told["caller"] = None if is_withheld(other) else pseudonym
    told |= {name: one.body.get(name) for name in _OUTCOME}
    return told | {"fields": one.body.get("fields") or {}, "counted": row.counted or {}}


async def _as_csv(rows: AsyncIterator[list[dict[str, Any]]]) -> AsyncIterator[bytes]:
    yield csv_line(_COLUMNS).encode()
    async for portion in rows:
        yield "".join(csv_line([_cell(row[name]) for name in _COLUMNS]) for row in portion).encode()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


async def _as_lines(rows: AsyncIterator[list[dict[str, Any]]]) -> AsyncIterator[bytes]:
    async for portion in rows:
        yield "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in portion).encode()


async def _as_json(told: Mapping[str, Any], rows: AsyncIterator[list[dict[str, Any]]]) -> AsyncIterator[bytes]:
    head = json.dumps({"ok": True, **told}, ensure_ascii=False)
    yield f'{head[:-1]}, "calls": ['.encode()
    comma = ""
    async for portion in rows:
        yield (comma + ",\n".join(json.dumps(row, ensure_ascii=False) for row in portion)).encode()
        comma = ",\n"
    yield b"]}\n"


def _registered(found: Mapping[str, Any]) -> dict[str, Any]:
    """What was settled before the first call, and its digest; the plan alone where nothing was registered."""
    return {"record": found.get("record") or found["plan"], "digest": found.get("digest")}


def _sample(one: Spoken, why: str) -> dict[str, Any]:
    row, body = one.call, one.body
    outcome = {name: value for name, value in body.items() if name != "transcript"}
    return {
        "call": row.id,
        "arm": row.arm,
        "version": row.version,
        "served": {"by": row.served_by, "version": row.served_version},
        "received_at": row.received_at,
        "duration_seconds": row.duration_seconds,
        "outcome": outcome,
        "transcript": body["transcript"],
        "why": why,
    }


async def _found(connection: Any, ask: Ask) -> dict[str, Any]:
    found = await list_experiments(connection, ask.path["experiment"])
    if not found:
        raise NotFound(f"there is no experiment {ask.path['experiment']}")
    return found[0]


def _shown(one: Mapping[str, Any]) -> dict[str, Any]:
    names = ("id", "route", "name", "unit", "status", "opened_at", "closed_at", "winner")
    return {name: one[name] for name in names}


ENDPOINTS = (show_results, show_samples, draw_label, export_calls, plan_experiment)
