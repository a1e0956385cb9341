"""What a publication does to the experiments of its routes: it opens, closes or amends one, or begins an epoch."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from gateway.drafts import Author, Change, Draft
from gateway.errors import Conflict
from gateway.model import Experiment, LiveRoute, NoticeKind, Route
from gateway.registration import digest_of, ramp_shares, record_of
from gateway.routefile import build_route, same_epoch, same_memory
from gateway.storage.engine import Connection
from gateway.storage.experiments import (
    add_epochs,
    add_events,
    add_experiments,
    close_experiments,
    duration_cap,
    epoch_row,
    experiment_numbers,
)
from gateway.storage.notices import add_notice

# Where durations are cut is read from the calls of the fourteen days before a test.
_CAP_MS = 14 * 24 * 60 * 60 * 1000
# A publication that opens more tests than these takes the default for the rest: each asks for a search.
_CAPS = 20
_NOTICES: Mapping[str, NoticeKind] = {"started": "experiment.started", "stopped": "experiment.stopped"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Conditions:
    """Under which experiments are opened.

    ``outcome_window`` is how many seconds after its end a call's outcome is waited for; ``judge`` says who judges
    transcripts (its ``id``, ``model`` and ``questions``); ``luck`` draws so many random bytes, for salts.
    """

    outcome_window: int
    judge: Mapping[str, Any] | None
    luck: Callable[[int], bytes]

    def record(self, route: Route, cap_seconds: int | None) -> dict[str, Any]:
        """What is settled of a test that opens on a route, given the seconds where durations are cut."""
        judge = self.judge["id"] if self.judge is not None else None
        return record_of(route, cap_seconds=cap_seconds, outcome_window=self.outcome_window, judge=judge)


@dataclass(slots=True)
class _Found:
    """What a publication does to experiments."""

    opened: list[Experiment] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)
    winners: dict[str, str] = field(default_factory=dict)
    epochs: list[dict[str, Any]] = field(default_factory=list)
    records: dict[str, tuple[dict[str, Any], str]] = field(default_factory=dict)
    events: list[dict[str, Any]] = field(default_factory=list)


def fate(live: LiveRoute | None, name: str, before: dict[str, Any] | None, body: dict[str, Any] | None) -> str:
    """What becomes of a route's experiment when ``body`` is published over ``before``: a word of ``Change.test``.

    Raises Conflict for what cannot change while the experiment is open.
    """
    new = build_route(name, body) if body is not None else None
    open_ = live.experiment if live else None
    if open_ is None or live is None:
        return "opens" if new is not None and new.enabled else ""
    if new is None or not new.enabled:
        return "closes"
    for what, old, wanted in (("unit", open_.unit, new.unit), ("name", open_.name, new.test_name)):
        if old != wanted:
            raise Conflict(
                f'route "{name}": the {what} of experiment {open_.id} cannot change from "{old}" to "{wanted}" '
                "while it is open; switch the test off first, which closes it"
            )
    # The live route may stand on a step of its ramp; what was written is compared.
    if not same_epoch(build_route(name, before) if before else live.route, new):
        return "new epoch"
    return "" if dict(live.route.plan) == dict(new.plan) else "amends"


async def carry_out(
    connection: Connection,
    changed: Sequence[Change],
    draft: Draft,
    author: Author,
    *,
    routes: Mapping[str, LiveRoute],
    conditions: Conditions,
    now: int,
) -> None:
    """Write what the changes do to experiments, in the transaction of their publication at ``now`` (Unix ms)."""
    tested = [change for change in changed if change.test]
    if not tested:
        return
    opening = [change.name for change in tested if change.test == "opens"]
    numbers = await experiment_numbers(connection, opening)
    caps = {name: await duration_cap(connection, name, since=now - _CAP_MS) for name in opening[:_CAPS]}
    found = _Found()
    revisions = {change.name: change.base + 1 for change in tested}
    plans: dict[str, Any] = {}

    def gather() -> None:
        for change in tested:
            body = draft.bodies["route", change.name]
            route = build_route(change.name, body) if body is not None else None
            if route is not None:
                plans[change.name] = dict(route.plan)
            if change.test == "opens" and route is not None:
                settled = conditions.record(route, caps.get(change.name))
                found.records[change.name] = settled, digest_of(settled)
                plans[change.name]["cap_seconds"] = settled["cap_seconds"]
            _find(change, route, routes.get(change.name), numbers.get(change.name, 0), conditions.luck, now, found)
        for event in found.events:
            event |= {"at": now, "author": author.name, "reason": author.message}

    await asyncio.to_thread(gather)
    await add_experiments(connection, found.opened, revisions=revisions, plans=plans, records=found.records)
    await add_epochs(connection, [epoch | {"judge": conditions.judge} for epoch in found.epochs])
    closing = {one: revisions[one.rpartition("-")[0]] for one in found.closed}
    await close_experiments(connection, found.closed, at=now, revisions=closing, winners=found.winners)
    await add_events(connection, found.events)
    for event in found.events:
        kind = _NOTICES.get(event["kind"])
        if kind is not None:
            told = {key: event[key] for key in ("author", "reason", "detail")}
            await connection.run_sync(add_notice, kind, f"experiment {event['experiment']}", told, now)


def _find(
    change: Change,
    route: Route | None,
    live: LiveRoute | None,
    last: int,
    luck: Callable[[int], bytes],
    now: int,
    found: _Found,
) -> None:
    """Add what one change does; ``last`` is the number of the route's last experiment."""
    open_ = live.experiment if live else None
    revision = change.base + 1
    detail: dict[str, Any] = {"revision": revision, "lines": list(change.lines)}
    if change.test == "closes" and open_ is not None:
        found.closed.append(open_.id)
        winner = route.winner if route is not None else None
        if winner:
            found.winners[open_.id] = winner
        found.events.append({"experiment": open_.id, "kind": "stopped", "detail": detail | {"winner": winner}})
        return
    if route is None:
        return
    if change.test == "opens":
        one = _opened(route, last + 1, luck, now)
        found.opened.append(one)
        epoch = epoch_row(route, one.id, number=1, memory=1, revision=revision, now=now, shares=one.shares)
        found.epochs.append(epoch)
        kind = "scheduled" if one.status == "scheduled" else "started"
        _, digest = found.records[route.name]
        found.events.append({"experiment": one.id, "kind": kind, "detail": detail | {"digest": digest}})
    elif open_ is not None and live is not None:
        kind = "changed" if dict(live.route.plan) == dict(route.plan) else "amended"
        found.events.append({"experiment": open_.id, "kind": kind, "detail": detail})
        if change.test == "new epoch":
            number = open_.epoch + 1
            memory = open_.memory if same_memory(live.route, route) else number
            found.epochs.append(epoch_row(route, open_.id, number=number, memory=memory, revision=revision, now=now))


def _opened(route: Route, number: int, luck: Callable[[int], bytes], now: int) -> Experiment:
    start = route.plan.get("start")
    starts_at = round(datetime.fromisoformat(start).timestamp() * 1000) if start else None
    ramp = route.plan.get("ramp")
    return Experiment(
        id=f"{route.name}-{number}",
        route=route.name,
        number=number,
        name=route.test_name,
        unit=route.unit,
        status="scheduled" if starts_at is not None and starts_at > now else "running",
        salt=luck(16),
        coverage_salt=luck(16),
        epoch=1,
        memory=1,
        opened_at=now,
        starts_at=starts_at,
        shares=ramp_shares(route.arms, ramp, 0) if ramp else None,
    )
