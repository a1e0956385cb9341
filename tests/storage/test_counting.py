"""Tallies, strata and clusters are what the calls themselves give, in whatever order these were heard of."""

import asyncio
import itertools
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from gateway.calls import MACHINE, NEXT, STATUS, derive, facts
from gateway.decide import memory_key
from gateway.metrics import CATEGORIES, METRICS, REPEAT_MS, is_auxiliary, read_measures
from gateway.model import Assignment, Call, Event, Served
from gateway.storage.attempts import Attempt, add_attempt
from gateway.storage.batch import Batch, Statements
from gateway.storage.clusters import Key, SumKey, read_sums
from gateway.storage.engine import Database
from gateway.storage.migrate import migrate
from gateway.storage.recounting import recount
from gateway.storage.rows import CallRow, event_in, row_in, row_of
from gateway.storage.schema import call, call_event, category, cluster, experiment, outcome
from gateway.storage.tallies import MILLISECONDS_PER_DAY, Cell, read_tallies
from gateway.storage.works import AppendEvent, MatureCalls, PutOutcome, RecordCall, Rules, Supersede, Work

WINDOW = 3_600_000
START = 1_795_000_000_000
HOUR = 3_600_000
CAP = 100
STRATA = ("country", "new_caller", "hours", "var:plan")
_numbers = itertools.count(1)


class World:
    """One experiment on a database, and a clock; ``given`` are the calls in the order in which they were recorded."""

    def __init__(self, database: Database, *, unit: str, strata: tuple[str, ...], direction: str = "inbound") -> None:
        self.database = database
        self.statements = Statements(database)
        self.name = f"x-{next(_numbers)}"
        self.unit, self.strata, self.direction = unit, strata, direction
        self.now = START
        self.rows: list[CallRow] = []
        self.heard: set[str] = set()  # the calls of which something was told, recorded or not

    async def open(self) -> None:
        row = {"id": self.name, "route": self.name, "number": 1, "name": "", "unit": self.unit, "status": "running"}
        row |= {"salt": b"salt", "coverage_salt": b"c", "opened_at": START - HOUR, "opened_revision": 1}
        async with self.database.write() as connection:
            await connection.execute(
                sa.insert(experiment), row | {"plan": {"strata": list(self.strata), "cap_seconds": CAP}}
            )

    async def do(self, *works: Work) -> list[Any]:
        rules = Rules(window=WINDOW)
        return await self.database.transact(lambda c: Batch(c, self.statements, rules, self.now).write(works))

    def number(self, person: int) -> str:
        """The same person has another number in every experiment; person 0 withholds it."""
        return "anonymous" if person == 0 else f"+12122{self.name[2:]:0>3}{person:03d}"

    def row(self, person: int, arm: str, *, lag: int = 0) -> CallRow:
        name = f"{self.name}-{len(self.rows)}"
        version, unit = f"support@{'ab'.index(arm) + 3}", "contact" if self.direction == "outbound" else self.unit
        given = Assignment(arm, version, "split", 1, unit, True, self.name, 1 + person % 2, 1, 0.5)  # type: ignore[arg-type]
        ends = (self.number(person), "+14155550100")
        ends = ends if self.direction == "inbound" else ends[::-1]
        country = ("US", "GB", "")[person % 3]
        one = Call(name, name, "AC1", self.direction, *ends, self.now - lag, "ringing", country)  # type: ignore[arg-type]
        row = row_of(one, self.name, given, Served("version", arm, version))._replace(
            journalled=lag > 0 or name in self.heard
        )
        self.rows.append(row)
        return row

    async def place(self, row: CallRow, person: int) -> None:
        """The attempt of a contact, which is there before its call is recorded."""
        attempt = Attempt(
            id=row.id,
            campaign=self.name,
            route=self.name,
            to_number=row.to_number,
            from_number=row.from_number,
            timezone=None,
            variables={"plan": "gold"} if person % 2 else {},
            state="closed",
            reason=None,
            owner=None,
            planned_at=row.received_at,
            not_before=row.received_at,
            contact=person,
        )
        await self.database.transact(lambda connection: add_attempt(connection, attempt))


# --- what the rows themselves give -------------------------------------------------------------------------------


async def told(world: World) -> list[tuple[CallRow, dict[str, float]]]:
    """Every analysed call, with what it measures by all that is known of it."""
    async with world.database.read() as connection:
        found = await connection.execute(sa.select(call).where(call.c.experiment == world.name))
        rows = {row.id: row_in(row) for row in found}
        events: dict[str, list[Event]] = defaultdict(list)
        for one in await connection.execute(sa.select(call_event).where(call_event.c.call.in_(rows))):
            events[one.call].append(event_in(one))
        bodies = {one.call: one.body for one in await connection.execute(sa.select(outcome))}
    measured = []
    for row in rows.values():
        if not row.analysed:
            assert (row.counted, row.strata) == (None, None)
            continue
        state = derive("planned" if row.direction == "outbound" else "ringing", events[row.id])
        settled = row.mature and row.mature_at is None and row.direction == "inbound" and row.from_number[0] == "+"
        again = any(
            other.from_number == row.from_number and 0 < other.received_at - row.received_at <= REPEAT_MS
            for other in rows.values()
        )
        known = facts(
            state,
            bodies.get(row.id, {}),
            assigned_arm=row.arm,
            served_arm=row.served_arm,
            cap_seconds=CAP,
            rang_again=again if settled else None,
        )
        heard_of = bool(events[row.id]) or row.id in bodies or row.counted is not None
        measures = read_measures(known, mature=row.mature) if heard_of else {"served": 1.0}
        assert (row.counted or {"served": 1.0}) == measures
        measured.append((row, measures))
    return measured


def strata_of(world: World, row: CallRow) -> Iterator[str]:
    other = row.from_number if row.direction == "inbound" else row.to_number
    mine = [one for one in world.rows if other in (one.from_number, one.to_number)]
    drawn_at = min(one.received_at for one in mine) if row.direction == "outbound" else row.received_at
    for name in world.strata:
        if name == "country":
            yield f"country={row.country or 'US' if other[0] == '+' else row.country or 'unknown'}"
        elif name == "hours":
            # New York and San Francisco are five and eight hours behind in November; no number is in UTC.
            behind = 8 if row.direction == "inbound" else 5 if other[0] == "+" else 0
            yield f"hours={'in' if 9 <= (drawn_at // HOUR - behind) % 24 < 17 else 'out'}"
        elif name == "new_caller":
            before = START - HOUR if world.unit == "caller" else drawn_at
            new = all(one.received_at >= before for one in mine)
            yield f"new_caller={'unknown' if other[0] != '+' else 'yes' if new else 'no'}"
        else:
            gold = row.direction == "outbound" and other[-1] in "13"
            yield f"var:plan={'gold' if gold else 'unknown'}"


Cells = dict[Cell, list[float]]
Clusters = dict[Key, list[float]]


def counted_anew(world: World, measured: list[tuple[CallRow, dict[str, float]]]) -> tuple[Cells, Clusters]:
    cells: dict[Cell, list[float]] = defaultdict(list)
    clusters: dict[Key, list[float]] = defaultdict(list)
    # A call that came late from the journal may have rung before one that was called new already.
    late = {row.from_number for row, _ in measured if row.journalled}
    for row, measures in measured:
        if row.strata is not None and row.from_number not in late:
            assert list(row.strata) == list(strata_of(world, row))
        other = row.from_number if row.direction == "inbound" else row.to_number
        unit = memory_key(b"salt", other if other[0] == "+" else row.id)
        for metric, value in measures.items():
            day = 0 if is_auxiliary(metric) else row.received_at // MILLISECONDS_PER_DAY
            cell = Cell(world.name, row.epoch or 0, day, "", row.arm or "", metric)
            cells[cell].append(value)
            if row.strata is None:
                continue
            if metric == "served":
                hour = row.received_at // HOUR % 24
                cells[cell._replace(day=0, stratum=f"hour={hour:02d}")].append(value)
            if not is_auxiliary(metric):
                for name in row.strata:
                    cells[cell._replace(day=0, stratum=name)].append(value)
            if metric == "served" or (world.unit == "caller" and not is_auxiliary(metric)):
                clusters[Key(world.name, unit, row.epoch or 0, metric, row.arm or "")].append(value)
    return cells, clusters


async def assert_counted_as_the_calls_say(world: World) -> None:
    cells, clusters = counted_anew(world, await told(world))
    sums: dict[SumKey, np.ndarray[Any, Any]] = defaultdict(lambda: np.zeros(6))
    for key, values in clusters.items():
        n, y = len(values), sum(values)
        sums[SumKey(world.name, key.epoch, key.arm, key.metric)] += (1, n, y, n * n, y * y, n * y)
        if key.metric == "served":
            cells[Cell(world.name, key.epoch, 0, "", key.arm, f"calls_per_caller#{n}")].append(1.0)
        elif key.metric.startswith("fields.") or METRICS[key.metric].kind == "rate":
            counted = {"had": any(one > 0 for one in values), "lacked": any(one < 1 for one in values)}
            for name in (name for name, so in counted.items() if so):
                cells[Cell(world.name, key.epoch, 0, "", key.arm, f"callers_{name}#{key.metric}")].append(1.0)
    async with world.database.read() as connection:
        kept = {cell: count for cell, count in await read_tallies(connection, world.name) if count.n}
        kept_sums = {key: one for key, one in await read_sums(connection, world.name) if one.k}
        rows = await connection.execute(
            sa.select(cluster).where(cluster.c.experiment == world.name, cluster.c.n != 0)
        )
        kept_clusters = {Key(*row[:5]): (row.n, row.y) for row in rows}
    assert kept.keys() == cells.keys()
    for cell, values in cells.items():
        assert kept[cell].n == len(values)
        assert kept[cell].mean == pytest.approx(np.mean(values), abs=1e-9)
        assert kept[cell].m2 == pytest.approx(np.var(values) * len(values), abs=1e-6)
    assert kept_clusters == {
        key: (len(values), pytest.approx(sum(values), abs=1e-9)) for key, values in clusters.items()
    }
    assert kept_sums.keys() == sums.keys()
    for where, one in sums.items():
        assert tuple(kept_sums[where]) == pytest.approx(tuple(one), abs=1e-6)
    assert (await recount(world.database, name=world.name, repair=False)).examples == []


# --- any order ---------------------------------------------------------------------------------------------------

bodies = st.fixed_dictionaries(
    {},
    optional={
        "success": st.sampled_from((True, False, None)),
        "sentiment": st.floats(-1, 1),
        "transferred": st.booleans(),
        "cost": st.sampled_from((0.1, 0.25, 3.0)),
        "final": st.booleans(),
        "fields": st.fixed_dictionaries(
            {},
            optional={
                "csat": st.sampled_from((1, 5, 2.5, None)),
                "vip": st.booleans(),
                "intent": st.sampled_from(("billing", "moving", "other", None, 7, "x" * 41)),
            },
        ),
    },
)
steps = st.one_of(
    st.tuples(st.just("call"), st.integers(0, 3), st.sampled_from("ab"), st.sampled_from((0, 0, 1, 3 * HOUR))),
    st.tuples(st.just("end"), st.integers(0, 7), st.integers(0, 300), st.sampled_from(("completed", "busy"))),
    st.tuples(st.just("failover"), st.integers(0, 7), st.just(0), st.just("")),
    st.tuples(st.just("machine"), st.integers(0, 7), st.just(0), st.just("")),
    st.tuples(st.just("outcome"), st.integers(0, 7), st.just(0), bodies),
    st.tuples(st.just("retry"), st.integers(0, 7), st.just(0), st.just("")),
    st.tuples(st.just("wait"), st.integers(0, 26), st.just(0), st.just("")),
)


async def step(world: World, kind: str, which: int, more: Any, last: Any) -> list[Work]:
    """What one step writes; a call is addressed by its number, whether it has been recorded or not."""
    if kind == "call":
        row = world.row(which, more, lag=last if world.direction == "inbound" else 0)
        if world.direction == "outbound":
            await world.place(row, which)
        return [RecordCall(row)]
    if kind == "wait":
        world.now += which * HOUR
        return [MatureCalls(now=world.now)]
    name, at = f"{world.name}-{which}", world.now
    if kind != "retry":
        world.heard.add(name)
    if kind == "end":
        data: dict[str, Any] = {"status": last, "duration": more, "sequence": more % 3}
        return [AppendEvent(event=Event(call=name, key=f"status:{more % 3}", kind=STATUS, at=at, data=data))]
    if kind == "failover":
        served = {"by": "version", "arm": "a", "version": "support@3", "reason": "failover"}
        data = {"hop": 0, "ending": "failed", "rule": "the relay failed", "served": served}
        return [AppendEvent(event=Event(call=name, key="next:0", kind=NEXT, at=at, data=data))]
    if kind == "machine":
        data = {"answered_by": "machine_start"}
        return [AppendEvent(event=Event(call=name, key="amd", kind=MACHINE, at=at, data=data))]
    if kind == "outcome":
        return [PutOutcome(call=name, body=last, at=at, author="agent")]
    if world.direction == "inbound" or which >= len(world.rows):
        return []
    old = world.rows[which]
    person = int(old.to_number[-3:]) if old.to_number[0] == "+" else 0
    row = world.row(person, old.arm or "a")
    await world.place(row, person)
    return [Supersede(call=old.id, by=row.id, at=at), RecordCall(row)]


async def hurried(url: str) -> Database:
    """A migrated database that does not wait for the disk: many small transactions, and no power cut, are to come."""
    database = Database(url)
    await migrate(database)
    if database.embedded:
        async with database._writer.connect() as connection:
            driver: Any = (await connection.get_raw_connection()).driver_connection
            await driver.execute("PRAGMA synchronous=OFF")
        return database
    async with database.write() as connection:
        name = await connection.scalar(sa.text("SELECT current_database()"))
        await connection.execute(sa.text(f"ALTER DATABASE {name} SET synchronous_commit = off"))
    await database.close()
    return Database(url)


@pytest.mark.parametrize(("unit", "direction"), [("call", "inbound"), ("caller", "inbound"), ("call", "outbound")])
def test_whatever_came_in_which_order(database_url: str, unit: str, direction: str) -> None:
    with asyncio.Runner() as runner:
        database = runner.run(hurried(database_url))

        # What fails is short enough to be read as it is; making it shorter takes minutes.
        @settings(max_examples=60, phases=[Phase.explicit, Phase.generate])
        @given(st.sets(st.sampled_from(STRATA)), st.lists(st.lists(steps, min_size=1, max_size=5), max_size=10))
        def any_order(strata: set[str], batches: list[list[tuple[str, int, Any, Any]]]) -> None:
            async def play() -> None:
                world = World(database, unit=unit, strata=tuple(sorted(strata)), direction=direction)
                await world.open()
                for batch in batches:
                    works = [work for one in batch for work in await step(world, *one)]
                    await world.do(*works)
                await assert_counted_as_the_calls_say(world)

            runner.run(play())

        any_order()
        runner.run(database.close())


# --- one thing at a time -----------------------------------------------------------------------------------------


async def opened(database: Database, *, unit: str = "call", strata: tuple[str, ...] = ()) -> World:
    world = World(database, unit=unit, strata=strata)
    await world.open()
    return world


def ended(row: CallRow, seconds: int, *, at: int) -> AppendEvent:
    data = {"status": "completed", "duration": seconds, "sequence": 1}
    return AppendEvent(event=Event(call=row.id, key="status:1", kind=STATUS, at=at, data=data))


async def counts(world: World) -> Counter[str]:
    """How many calls were counted of each metric as a whole, over all days, arms and epochs."""
    async with world.database.read() as connection:
        cells = await read_tallies(connection, world.name)
    found: Counter[str] = Counter()
    for cell, count in cells:
        if not cell.stratum and count.n:
            found[cell.metric] += count.n
    return found


async def test_whether_a_caller_rings_again_counts_a_day_later(database: Database) -> None:
    world = await opened(database)
    first, withheld = world.row(1, "a"), world.row(0, "a")
    await world.do(RecordCall(first), RecordCall(withheld))
    await world.do(ended(first, 60, at=world.now), ended(withheld, 60, at=world.now))
    world.now += 5 * HOUR
    second = world.row(1, "b")
    await world.do(RecordCall(second), ended(second, 60, at=world.now))
    await world.do(MatureCalls(now=world.now))
    assert "repeat_call" not in await counts(world)
    world.now += 20 * HOUR
    await world.do(MatureCalls(now=world.now))
    rows = {row.id: row.counted for row, _ in await told(world)}
    assert (rows[first.id] or {})["repeat_call"] == 1.0
    assert "repeat_call" not in (rows[second.id] or {})
    assert "repeat_call" not in (rows[withheld.id] or {})
    world.now += 5 * HOUR
    await world.do(MatureCalls(now=world.now))
    rows = {row.id: row.counted for row, _ in await told(world)}
    assert (rows[second.id] or {})["repeat_call"] == 0.0
    assert await world.do(MatureCalls(now=world.now + 100 * HOUR)) == [0]
    await assert_counted_as_the_calls_say(world)


async def test_a_call_that_comes_late_from_the_journal_sets_the_earlier_ones_measure(database: Database) -> None:
    world = await opened(database)
    first = world.row(1, "a")
    await world.do(RecordCall(first), ended(first, 60, at=world.now))
    world.now += 30 * HOUR
    await world.do(MatureCalls(now=world.now))
    assert ((await told(world))[0][0].counted or {})["repeat_call"] == 0.0
    await world.do(RecordCall(world.row(1, "a", lag=25 * HOUR)))
    assert {row.id: row.counted for row, _ in await told(world)}[first.id]["repeat_call"] == 1.0  # type: ignore[index]
    await assert_counted_as_the_calls_say(world)


async def test_of_a_text_field_the_first_values_are_told_apart(database: Database) -> None:
    world = await opened(database)
    rows = [world.row(1, "a") for _ in range(CATEGORIES + 3)]
    for n, row in enumerate(rows):
        body = {"final": True, "fields": {"intent": f"value {n}"}}
        await world.do(RecordCall(row), PutOutcome(call=row.id, body=body, at=world.now, author="agent"))
    found = await counts(world)
    values = {name: n for name, n in found.items() if name.startswith("fields.intent=")}
    assert len(values) == CATEGORIES + 1
    assert (values["fields.intent=other"], values["fields.intent=value 0"], found["fields.intent"]) == (
        3,
        1,
        len(rows),
    )
    # Who is in stays in, and a correction moves the call from one value to the other.
    body = {"fields": {"intent": "value 1"}}
    await world.do(PutOutcome(call=rows[0].id, body=body, at=world.now, author="agent"))
    found = await counts(world)
    assert (found["fields.intent=value 0"], found["fields.intent=value 1"]) == (0, 2)
    async with database.read() as connection:
        kept = await connection.scalar(sa.select(sa.func.count()).where(category.c.experiment == world.name))
    assert kept == CATEGORIES


async def test_without_strata_a_call_adds_only_its_hour_to_the_whole(database: Database) -> None:
    world = await opened(database)
    row = world.row(1, "a")
    await world.do(RecordCall(row))
    async with database.read() as connection:
        assert [(cell.metric, cell.stratum) for cell, _ in await read_tallies(connection, world.name)] == [
            ("served", "")
        ]
    await world.do(ended(row, 60, at=world.now))
    async with database.read() as connection:
        cells = await read_tallies(connection, world.name)
    assert {cell.stratum for cell, _ in cells} == {"", "hour=11"}
    assert {cell.metric for cell, _ in cells if cell.stratum} == {"served"}


async def test_a_locked_experiment_is_counted_no_more(database: Database) -> None:
    world = await opened(database, unit="caller", strata=("country",))
    row = world.row(1, "a")
    await world.do(RecordCall(row), ended(row, 60, at=world.now))
    before = await counts(world)
    async with database.write() as connection:
        await connection.execute(sa.update(experiment).where(experiment.c.id == world.name).values(locked_at=1))
    await world.do(PutOutcome(call=row.id, body={"success": True, "final": True}, at=world.now, author="agent"))
    assert await counts(world) == before


def test_every_metric_that_is_not_auxiliary_is_in_the_table() -> None:
    assert not any(map(is_auxiliary, METRICS))
