"""The life of an experiment: started, scheduled, ramped, paused, stopped, applied, deleted.

What starts and stops a test is a revision of its route, whichever door it came through; a pause is a hold on ``a``; a
step of a ramp is an epoch. One process at a time does what is due by itself.
"""

import asyncio
import copy
import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from gateway import log
from gateway.drafts import Author, Draft
from gateway.errors import Conflict, GatewayError, Invalid, NotFound, Problem
from gateway.livestate import LiveState
from gateway.model import Experiment, Hold
from gateway.publishing import Publishing
from gateway.registration import ramp_shares, ramp_step
from gateway.routefile import build_route
from gateway.storage.access import add_audit
from gateway.storage.engine import DOWN, Connection, Database
from gateway.storage.experiments import (
    add_events,
    add_next_epoch,
    begin_scheduled,
    delete_experiment,
    epoch_row,
    events_of_experiment,
    experiment_lines,
    experiment_numbers,
    list_experiments,
    take_lease,
)
from gateway.storage.notices import add_notice
from gateway.storage.readings import unsettled
from gateway.storage.revisions import end_hold, put_hold

_log = log.get("experiments")

LEASE_MS = 30_000
_AT_ONCE = 50  # experiments that are looked at before calls have their turn
_LEADER = Author(name="gateway", door="experiment")

Row = dict[str, Any]


class Evaluation(Protocol):
    """What the leader asks of a comparison."""

    @property
    def blocked(self) -> bool: ...
    @property
    def harm(self) -> bool: ...
    @property
    def failing_guardrails(self) -> tuple[str, ...]: ...
    @property
    def mature(self) -> Mapping[str, int]: ...


Judging = Callable[[str], Awaitable[Evaluation | None]]
"""Evaluates an experiment anew and keeps the result; None when nothing has changed since."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Deed:
    """Who does something to an experiment, and why."""

    author: Author
    reason: str


class Experiments:
    """The experiments of one gateway."""

    def __init__(
        self,
        database: Database,
        state: LiveState,
        publishing: Publishing,
        *,
        caveat: Callable[[str], Awaitable[str | None]],
        judge: Mapping[str, Any] | None = None,
        wall: Callable[[], int],
    ) -> None:
        """``caveat`` says why an experiment's winner should not be applied, None when nothing speaks against it;
        ``judge`` who judges transcripts: its ``id``, ``model`` and ``questions``.
        """
        self._caveat = caveat
        self._judge = judge
        self._database = database
        self._state = state
        self._publishing = publishing
        self._wall = wall
        self._owner = f"{os.getpid()}-{os.urandom(4).hex()}"

    # -- reading -------------------------------------------------------------------------------------------

    async def list(self, *, after: int, limit: int) -> list[Row]:
        """Experiments, newest first, from the one behind the first ``after`` on, each with the arms that it has now.

        Before them stand the drafts: routes with a test that is written and off.
        """
        routes = self._state.snapshot.routes
        split = sorted(name for name, live in routes.items() if _is_draft(live.route, live.experiment))
        drafted = split[after : after + limit]
        behind, left = max(0, after - len(split)), limit - len(drafted)
        async with self._database.read() as connection:
            numbers = await experiment_numbers(connection, drafted)
            lines = await experiment_lines(connection, after=behind, limit=left)
        drafts = [_draft(routes[name].route, numbers.get(name, 0) + 1) for name in drafted]
        return [one | {"arms": one["epochs"][-1]["arms"]} for one in drafts] + [
            self._with_status(one) for one in lines
        ]

    async def find(self, name: str) -> Row:
        """One experiment with its epochs and what was done to it; raises NotFound."""
        async with self._database.read() as connection:
            found = await list_experiments(connection, name)
            if found:
                return self._with_status(found[0]) | {"events": await events_of_experiment(connection, name)}
            draft = await self._draft_named(connection, name)
        if draft is None:
            raise NotFound(f"there is no experiment {name}")
        return draft | {"events": []}

    async def _draft_named(self, connection: Connection, name: str) -> Row | None:
        route, _, _ = name.rpartition("-")
        live = self._state.snapshot.routes.get(route)
        if live is None or not _is_draft(live.route, live.experiment):
            return None
        draft = _draft(live.route, (await experiment_numbers(connection, [route])).get(route, 0) + 1)
        return draft if draft["id"] == name else None

    def _with_status(self, one: Row) -> Row:
        hold = self._state.holds.get(one["route"])
        held = hold is not None and hold.to == "a" and hold.active(self._wall())
        return one | {"status": "paused" if one["status"] == "running" and held else one["status"]}

    # -- what people do ------------------------------------------------------------------------------------

    async def start(self, name: str, deed: Deed, *, at: int | None = None) -> Row:
        """Switch a draft on, now or ``at`` a moment (Unix milliseconds). Raises Conflict while another is open."""
        route = name.rpartition("-")[0]
        live = self._state.snapshot.routes.get(route)
        if live is not None and live.experiment is not None:
            raise Conflict(f'route "{route}" has an open experiment, {live.experiment.id}: stop it first')
        one = await self.find(name)
        if one["status"] != "draft":
            raise Conflict(f"{name} is {one['status']}: a test that was stopped is started again as a new experiment")
        body = await self._body(route)
        body["ab_test"]["enabled"] = True
        body["ab_test"].pop("winner", None)
        if at is not None:
            moment = datetime.fromtimestamp(at / 1000).astimezone().isoformat(timespec="seconds")
            body["ab_test"].setdefault("plan", {})["start"] = moment
        await self._publish(route, body, deed)
        return await self.find(name)

    async def pause(self, name: str, deed: Deed, *, until: int | None = None) -> Row:
        """Let A serve every call from now on; they are drawn and kept, but not analysed."""
        one = await self._open(name, "paused")
        hold = Hold(
            route=one["route"],
            to="a",
            author=deed.author.name,
            reason=deed.reason or f"{name} is paused",
            set_at=self._wall(),
            until=until,
        )
        async with self._database.write() as connection:
            await put_hold(connection, self._database, hold)
            await self._note(connection, name, "paused", deed, until=until)
        await self._state.refresh()
        return await self.find(name)

    async def resume(self, name: str, deed: Deed) -> Row:
        """Let calls take part again."""
        one = await self._open(name, "resumed")
        if one["status"] != "paused":
            raise Conflict(f"{name} is {one['status']}, not paused")
        async with self._database.write() as connection:
            await end_hold(connection, self._database, one["route"])
            await self._note(connection, name, "resumed", deed)
        await self._state.refresh()
        return await self.find(name)

    async def stop(self, name: str, deed: Deed, *, winner: str | None) -> Row:
        """End assignment; from now on ``winner`` serves, and Version A when that is None. Outcomes still count until
        the last window has closed."""
        one = await self._open(name, "stopped")
        body = await self._body(one["route"])
        _known_arm(body, winner)
        body["ab_test"]["enabled"] = False
        body["ab_test"].pop("winner", None)
        if winner is not None:
            body["ab_test"]["winner"] = winner
        await self._publish(one["route"], body, deed)
        return await self.find(name)

    async def apply(self, name: str, deed: Deed, *, winner: str | None, override: str | None = None) -> Row:
        """Make the winner Version A of its route, and take the test off it; stops the experiment if it is open.

        Raises Conflict where the verdict is blocked, or its metric a judge's word that nobody checked, unless
        ``override`` is the experiment's id.
        """
        one = await self.find(name)
        caveat = await self._caveat(name)
        if caveat is not None and override != name:
            raise Conflict(
                f'{name} is not fit to be applied: {caveat} To apply it all the same, send override = "{name}"'
            )
        winner = winner or one["winner"]
        if winner is None:
            text = f"{name} has no winner: name the arm that is to be Version A"
            raise Invalid(text, [Problem(place="body", path="winner", text=text)])
        live = self._state.snapshot.routes.get(one["route"])
        if live is not None and live.experiment is not None and live.experiment.id != name:
            raise Conflict(f"{live.experiment.id} is open on the route: stop it first")
        body = await self._body(one["route"])
        arms = {arm["arm"]: arm for epoch in one["epochs"][-1:] for arm in epoch["arms"]}
        if winner not in arms:
            raise _no_arm(winner, arms)
        given = arms[winner]
        arm = {"version": given["version"], "parameters": given["parameters"]}
        body["versions"] = {"a": arm if given["parameters"] else given["version"]}
        body.pop("ab_test", None)
        await self._publish(one["route"], body, deed)
        async with self._database.write() as connection:
            await self._note(
                connection, name, "applied", deed, winner=winner, version=given["version"], overridden=caveat
            )
        return await self.find(name)

    async def delete(self, connection: Connection, name: str) -> None:
        """Hide a stopped experiment for good; every call keeps its assignment."""
        one = await self.find(name)
        if not await delete_experiment(connection, name, at=self._wall()):
            raise Conflict(f"{name} is {one['status']}: only a stopped experiment can be deleted")

    # -- what is due by itself -----------------------------------------------------------------------------

    async def lead(self, judging: Judging) -> None:
        """Do what is due in every open experiment, and judge what was closed, if it is this process's turn to."""
        now = self._wall()
        async with self._database.write() as connection:
            ours = await take_lease(
                connection, self._database, "experiments", owner=self._owner, now=now, until=now + LEASE_MS
            )
        if not ours:
            return
        async with self._database.read() as connection:
            found = await list_experiments(connection, open_only=True)
            closed = await unsettled(connection)
        for place, one in enumerate(found):
            if place % _AT_ONCE == 0:
                await asyncio.sleep(0)
            await _whatever_comes(one["id"], self._lead_one(self._with_status(one), judging))
        for name in closed:
            await _whatever_comes(name, judging(name))

    async def _lead_one(self, one: Row, judging: Judging) -> None:
        now = self._wall()
        if one["status"] == "scheduled":
            if (one["starts_at"] or 0) <= now:
                async with self._database.write() as connection:
                    if await begin_scheduled(connection, self._database, one, at=now):
                        await self._note(connection, one["id"], "started", _by_itself("its time has come"))
                        told = {"author": "gateway", "reason": "its time has come", "detail": {}}
                        subject = f"experiment {one['id']}"
                        await connection.run_sync(add_notice, "experiment.started", subject, told, now)
                await self._state.refresh()
            return
        if await self._judge_is_new(one, now):
            return
        evaluation = await judging(one["id"])
        reason = _reason_to_stop(one, evaluation, now)
        if reason is not None:
            await self.stop(one["id"], _by_itself(reason), winner=None)
        elif one["status"] == "running":
            trouble = _reason_to_pause(one, evaluation)
            if trouble is not None:
                await self.pause(one["id"], _by_itself(trouble))
            else:
                await self._ramp(one, now)

    async def _judge_is_new(self, one: Row, now: int) -> bool:
        """Begin a new epoch where another judge is at work, or is asked something else; True when one began."""
        newest = one["epochs"][-1]
        before, after = newest["judge"], self._judge
        if (before or {}).get("id") == (after or {}).get("id"):
            return False
        row = newest | {"number": newest["number"] + 1, "began_at": now, "judge": after}
        async with self._database.write() as connection:
            message = f"{one['id']} has another judge"
            begun = await add_next_epoch(connection, self._database, row, route=one["route"], at=now, message=message)
            if begun:
                deed = _by_itself("who judges, or what is asked, was changed in the settings")
                await self._note(connection, one["id"], "amended", deed, judge=after, judge_before=before)
        await self._state.refresh()
        return begun

    async def _ramp(self, one: Row, now: int) -> None:
        live = self._state.snapshot.routes.get(one["route"])
        ramp = (one["record"] or {}).get("ramp")
        if not ramp or live is None or live.experiment is None or live.experiment.id != one["id"]:
            return
        began = max(one["opened_at"], one["starts_at"] or 0)
        step = ramp_step(ramp, began_at=began, now=now)
        route = build_route(live.route.name, await self._body(live.route.name))
        shares = ramp_shares(route.arms, ramp, step)
        newest = one["epochs"][-1]
        if newest["shares"] == shares:
            return
        number, memory, revision = newest["number"] + 1, newest["memory"], newest["revision"]
        row = epoch_row(route, one["id"], number=number, memory=memory, revision=revision, now=now, shares=shares)
        row["judge"] = newest["judge"]
        async with self._database.write() as connection:
            message = f"{one['id']} ramps on"
            if await add_next_epoch(connection, self._database, row, route=route.name, at=now, message=message):
                percent = ramp["percent"][step]
                deed = _by_itself(f"the ramp goes on to {percent:g} % of {ramp['arm']}")
                await self._note(connection, one["id"], "ramped", deed, shares=shares)
        await self._state.refresh()

    # ------------------------------------------------------------------------------------------------------

    async def _open(self, name: str, verb: str) -> Row:
        one = await self.find(name)
        if one["status"] not in ("scheduled", "running", "paused"):
            raise Conflict(f"{name} is {one['status']}: only an open experiment can be {verb}")
        return one

    async def _body(self, route: str) -> dict[str, Any]:
        return copy.deepcopy((await self._publishing.live("route", route)).body or {})

    async def _publish(self, route: str, body: dict[str, Any], deed: Deed) -> None:
        author = Author(name=deed.author.name, door="experiment", message=deed.reason, may_test=deed.author.may_test)
        await self._publishing.publish(Draft(bodies={("route", route): body}), author)

    async def _note(self, connection: Connection, name: str, kind: str, deed: Deed, **detail: Any) -> None:
        at, author = self._wall(), deed.author.name
        told = {"experiment": name, "at": at, "author": author, "kind": kind, "reason": deed.reason}
        await add_events(connection, [told | {"detail": detail}])
        await add_audit(
            connection,
            at=at,
            author=author,
            action=f"{kind} experiment",
            subject=f"experiment {name}",
            detail=detail | {"reason": deed.reason},
        )


async def _whatever_comes(name: str, work: Awaitable[object]) -> None:
    """Trouble with one experiment holds up no other."""
    try:
        await work
    except GatewayError as error:
        _log.warning("experiment_not_led", experiment=name, reason=error.message)
    except DOWN:
        raise  # it is tried again next time, like every other
    except Exception:
        _log.exception("experiment_not_led", experiment=name)


def _by_itself(reason: str) -> Deed:
    return Deed(author=_LEADER, reason=reason)


def _reason_to_stop(one: Row, evaluation: Evaluation | None, now: int) -> str | None:
    record = one["record"] or {}
    end = record.get("end")
    if end and round(datetime.fromisoformat(end).timestamp() * 1000) <= now:
        return "its end has come"
    mature = evaluation.mature if evaluation is not None else {}
    if record.get("per_arm") and mature and min(mature.values()) >= record["per_arm"]:
        return f"every arm has {record['per_arm']} mature calls"
    if (one["plan"] or {}).get("n_max") and sum(mature.values()) >= record["n_max"]:
        return f"the most calls that were planned, {record['n_max']}, have matured"
    return None


def _reason_to_pause(one: Row, evaluation: Evaluation | None) -> str | None:
    if evaluation is None:
        return None
    record = one["record"] or {}
    if evaluation.harm and record.get("on_harm") == "pause":
        return "the harm alarm: a version does plainly worse"
    if record.get("ramp") and evaluation.failing_guardrails:
        return f"a guardrail fails during the ramp: {', '.join(evaluation.failing_guardrails)}"
    return None


def _is_draft(route: Any, open_: Experiment | None) -> bool:
    return open_ is None and len(route.arms) > 1 and not route.enabled


def _draft(route: Any, number: int) -> Row:
    arms = [{"arm": arm.name, "version": arm.version, "share": arm.share} for arm in route.arms]
    blank = dict.fromkeys(("opened_at", "closed_at", "winner", "starts_at", "record", "digest", "locked_at"))
    return {
        "id": f"{route.name}-{number}",
        "route": route.name,
        "number": number,
        "name": route.test_name,
        "unit": route.unit,
        "status": "draft",
        "serving": route.winner or "a",
        "plan": dict(route.plan) or None,
        "epochs": [
            {
                "number": 0,
                "began_at": None,
                "revision": None,
                "memory": 0,
                "arms": arms,
                "shares": None,
                "judge": None,
            }
        ],
        **blank,
    }


def _known_arm(body: Mapping[str, Any], arm: str | None) -> None:
    if arm is not None and arm not in body["versions"]:
        raise _no_arm(arm, body["versions"])


def _no_arm(arm: str, arms: Mapping[str, Any]) -> Invalid:
    text = f"there is no arm {arm}: write one of {', '.join(sorted(arms))}"
    return Invalid(text, [Problem(place="body", path="winner", text=text)])
