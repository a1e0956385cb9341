"""Judges experiments: reads their sums and what is remembered of them, evaluates, remembers, and tells what is new.

One task of one process judges and writes. Pages evaluate too, of the newest sums and what is remembered, but write
nothing: what is known does not depend on who looks, or how often.
"""

import asyncio
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from gateway.courtesy import aside
from gateway.errors import NotFound
from gateway.model import NoticeKind
from gateway.results.study import Study, study_of
from gateway.routefile import build_versions
from gateway.storage.analyses import Labelled, read_labels
from gateway.storage.clusters import SumKey, Sums, read_sums
from gateway.storage.engine import Connection, Database
from gateway.storage.experiments import list_experiments
from gateway.storage.notices import add_notice
from gateway.storage.readings import (
    Remembered,
    changed,
    claim_evaluation,
    last_evaluation,
    mark_of,
    put_evaluation,
    put_readings,
    read_readings,
)
from gateway.storage.revisions import live_of
from gateway.storage.tallies import Cell, Count, read_tallies

if TYPE_CHECKING:
    from gateway.results.evaluating import Alarm, Evaluation

UNDECIDED = {"collecting", "running"}
"""The states of a verdict that say nothing yet; all others are decisions."""


async def judge(database: Database, experiment: str, now: int) -> "Evaluation":
    """Evaluate an experiment at ``now`` (Unix milliseconds) and remember what it came to.

    An alarm that was never raised before, and a verdict that has changed, become notices in the same transaction. For
    the one task that leads; raises NotFound for an experiment that is not there.
    """
    async with database.read() as connection:
        mark = await mark_of(connection, experiment)
        base = await last_evaluation(connection, experiment)
        told = await _told(connection, experiment)
    evaluation, shown = await aside(_evaluate, *told, now)
    memory = {key: Remembered(*_memory(one)) for key, one in evaluation.running.items()}
    before = base["body"] if base is not None else {}
    async with database.write() as connection:
        await put_readings(connection, database, experiment, memory)
        # Whoever else has judged it meanwhile has told what is new.
        if await claim_evaluation(connection, experiment, base=base):
            for kind, body in _news(before, evaluation, shown):
                await connection.run_sync(add_notice, kind, f"experiment {experiment}", body, now)
            shown |= {"rung": sorted({*_rung(before), *map(_bell, evaluation.alarms)})}
            await put_evaluation(connection, database, experiment, at=now, mark=mark, body=shown)
    return evaluation


def _news(
    before: Mapping[str, Any], evaluation: "Evaluation", shown: Mapping[str, Any]
) -> Iterator[tuple[NoticeKind, dict[str, Any]]]:
    """What the outside is to be told; ``before`` is the body of the last evaluation, empty at the first."""
    for one in evaluation.alarms:
        if _bell(one) not in _rung(before):
            yield "experiment.alarm", asdict(one)
    was, now = before.get("verdict") or {"state": "collecting", "arm": None}, shown["verdict"]
    if (was["state"], was.get("arm")) != (now["state"], now["arm"]) and not {was["state"], now["state"]} <= UNDECIDED:
        yield "experiment.verdict", {"before": was["state"], **now}


def _bell(alarm: "Alarm") -> str:
    """What tells an alarm from others: each rings once, however often its evidence comes and goes."""
    return " ".join(filter(None, (alarm.check, alarm.arm, alarm.metric)))


def _rung(before: Mapping[str, Any]) -> Sequence[str]:
    rung: Sequence[str] = before.get("rung", ())
    return rung


class Changed:
    """Judges, in one pass over many experiments, those whose sums, labels, epochs or status have changed since."""

    def __init__(self, database: Database, wall: Callable[[], int]) -> None:
        self._database = database
        self._wall = wall
        self._names: set[str] | None = None

    async def __call__(self, experiment: str) -> "Evaluation | None":
        """The evaluation of an experiment that has changed; None for another."""
        if self._names is None:
            # One question for all: thousands of tests may be open, and few of them have had a call.
            async with self._database.read() as connection:
                self._names = set(await changed(connection))
        return await judge(self._database, experiment, self._wall()) if experiment in self._names else None


async def caveat(database: Database, experiment: str, now: int) -> str | None:
    """Why an experiment's winner should not be applied, as it stands now: its labels may be newer than its calls."""
    try:
        async with database.read() as connection:
            return (await look(connection, experiment, now))[0].caveat
    except NotFound:
        return None  # a draft has nothing to say yet


async def look(connection: Connection, experiment: str, now: int) -> "tuple[Evaluation, dict[str, Any]]":
    """An experiment as it stands, and the same as the API shows it; nothing is written."""
    return await asyncio.to_thread(_evaluate, *await _told(connection, experiment), now)


Tallies = list[tuple[Cell, Count]]
ClusterSums = list[tuple[SumKey, Sums]]
Labels = list[Labelled]
Memory = Mapping[tuple[str, str], Remembered]


async def _told(connection: Connection, experiment: str) -> tuple[Study, Tallies, ClusterSums, Memory, Labels]:
    found = await list_experiments(connection, experiment)
    if not found:
        raise NotFound(f"there is no experiment {experiment}")
    tallies = await read_tallies(connection, experiment)
    clusters = await read_sums(connection, experiment)
    study = study_of(found[0], await _given(connection, found[0]["epochs"]))
    memory = await read_readings(connection, experiment)
    return study, tallies, clusters, memory, await read_labels(connection, experiment)


async def _given(connection: Connection, epochs: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, str]]:
    """What each version gives its agent, by the version's name; a judge's model is held against it."""
    if not any(epoch["judge"] for epoch in epochs):
        return {}
    agents = {arm["version"].rpartition("@")[0] for epoch in epochs for arm in epoch["arms"]}
    live = await live_of(connection, [("agent", name) for name in sorted(agents)])
    versions = [one for (_, name), found in live.items() for one in build_versions(name, found.body or {})]
    return {one.name: dict(one.target.parameters) for one in versions}


def _evaluate(
    study: Study, tallies: Tallies, clusters: ClusterSums, memory: Memory, labels: Labels, now: int
) -> "tuple[Evaluation, dict[str, Any]]":
    # numpy and scipy take half a second to load, which no call need wait for: this runs in a thread of its own.
    from gateway.results.comparing import Running
    from gateway.results.evaluating import evaluate
    from gateway.results.shown import as_json
    from gateway.stats.clusters import Clusters

    running = {
        key: Running(
            p=one.p,
            crossed_at=one.crossed_at,
            crossed_n=one.crossed_n,
            crossed_up=one.crossed_up,
            low=-math.inf if one.low is None else one.low,
            high=math.inf if one.high is None else one.high,
        )
        for key, one in memory.items()
    }
    sums = {
        (key.epoch, key.arm, key.metric): Clusters(
            callers=one.k, n=one.sn, y=one.sy, nn=one.snn, yy=one.syy, ny=one.sny
        )
        for key, one in clusters
    }
    evaluation = evaluate(study, tallies, now=now, clusters=sums, running=running, labels=labels)
    return evaluation, as_json(evaluation)


def _memory(one: Any) -> tuple[Any, ...]:
    low, high = (None if math.isinf(bound) else bound for bound in (one.low, one.high))
    return (one.p, one.crossed_at, one.crossed_n, one.crossed_up, low, high)
