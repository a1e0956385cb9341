"""A gateway's folder as years of use leave it: 10,000 routes, a million calls, a campaign of 100,000 contacts.

Routes are published as ever, and the counts of the busiest experiment are made by a recount of fewer calls and
multiplied: results read the same cells however many calls stand in them. Everything else is written straight into the
tables.
"""

import asyncio
import json
import random
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from gateway.drafts import read_files
from gateway.storage.engine import Database
from gateway.storage.migrate import migrate
from gateway.storage.recounting import recount
from gateway.storage.rows import CallRow
from gateway.wiring import wall_clock

from . import calls, results
from .lists import AREAS, OUTBOUND
from .routes import AUTHOR, opened
from .servers import AGENT

ROUTE = "support"
EXPERIMENT = "support-1"
BIG_CAMPAIGN = "cmp_big"
BUSY_SHARE = 0.4  # of the calls come to one route
_DAY = 86_400_000
_DAYS = 28
_REVISIONS = 60
_COUNTED = 10_000  # calls that are really counted
_STATUSES = ("no-answer", "busy", "failed", "canceled")
_JUDGED = json.dumps(
    {
        "verdict": {"state": "collecting", "text": "It is collecting calls: 100 of 3,000."},
        "arms": [{"arm": arm, "version": f"support@{place}", "calls": 50} for place, arm in enumerate("ab", 1)],
    }
)
Progress = Callable[[str], None]


def route_file(number: int) -> str:
    """One of many routes: half of them test, one in ten has a test written that is off."""
    text = f'direction = "inbound"\nnumbers = ["+1415{number:07d}"]\n[versions]\na = "support@1"\nb = "support@2"\n'
    if number % 2 == 0:
        return text + "[ab_test]\nenabled = true\nsplit = { a = 50, b = 50 }\n"
    return text + ("[ab_test]\nenabled = false\nsplit = { a = 50, b = 50 }\n" if number % 10 == 1 else "")


def busy_route(weight: int = 50) -> str:
    """The route that most calls come to."""
    return (
        f'direction = "inbound"\nnumbers = ["{calls.NUMBER}"]\n[versions]\na = "support@1"\nb = "support@2"\n'
        f'[ab_test]\nenabled = true\nname = "benchmark"\nsplit = {{ a = {weight}, b = 50 }}\n'
    )


async def _publish(folder: Path, routes: int) -> None:
    files = {"agents/support.toml": AGENT, "routes/support.toml": busy_route(), "routes/reminders.toml": OUTBOUND}
    files |= {f"agents/agent-{n}.toml": AGENT for n in range(200)}
    files |= {f"routes/r{n}.toml": route_file(n) for n in range(routes - 2)}
    async with opened(folder) as (state, publishing):
        await state.load()
        await publishing.publish(await asyncio.to_thread(read_files, files), AUTHOR)
        for turn in range(_REVISIONS):
            await publishing.publish(read_files({"routes/support.toml": busy_route(50 + turn % 2)}), AUTHOR)


async def _count(folder: Path) -> Path:
    """A small database whose experiment of the same name is counted."""
    small = folder / "counted.db"
    database = Database(f"sqlite:///{small}")
    await migrate(database)
    await results.fill(database, _COUNTED, unit="call")
    await recount(database, repair=True)
    await database.close()
    return small


def fill(folder: Path, *, total: int, routes: int, progress: Progress) -> Path:
    """Fill ``folder/gateway.db``; returns where it lies."""
    path = folder / "gateway.db"
    progress(f"publishing {routes:,} routes")
    asyncio.run(_publish(folder, routes))
    progress("counting")
    small = asyncio.run(_count(folder))
    now = wall_clock()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous=OFF")
        connection.execute("PRAGMA cache_size=-500000")
        connection.execute("BEGIN")
        # As if everything had begun before the first call.
        connection.execute("UPDATE experiment SET opened_at = ?", (now - (_DAYS + 1) * _DAY,))
        connection.execute("UPDATE epoch SET began_at = ? + number", (now - (_DAYS + 1) * _DAY,))
        _copy_counts(connection, small, total, now)
        for what, table, columns, rows in _tables(total, routes, now):
            progress(f"writing {what}")
            marks = ", ".join("?" * len(columns))
            connection.executemany(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})", rows)
        connection.execute("COMMIT")
        progress("closing the file")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    small.unlink()
    return path


def _copy_counts(connection: sqlite3.Connection, small: Path, total: int, now: int) -> None:
    # The epochs of the experiment here are the busy route's revisions; the calls all belong to the first.
    times = max(1, round(total * BUSY_SHARE / _COUNTED))
    shift = now // _DAY - _DAYS - results.START // _DAY
    with closing(sqlite3.connect(small)) as other:
        for table in ("tally", "cluster_sum", "category"):
            cursor = other.execute(f"SELECT * FROM {table}")
            names = [column[0] for column in cursor.description]
            grown = [_grown(dict(zip(names, row, strict=True)), times, shift) for row in cursor]
            marks = ", ".join("?" * len(names))
            connection.executemany(f"INSERT INTO {table} ({', '.join(names)}) VALUES ({marks})", grown)


def _grown(row: dict[str, Any], times: int, shift: int) -> list[Any]:
    for name in ("n", "m2", "k", "sn", "sy", "snn", "syy", "sny"):
        if name in row:
            row[name] *= times
    if row.get("day"):
        row["day"] += shift
    return list(row.values())


Rows = Iterable[tuple[Any, ...]]


def _tables(total: int, routes: int, now: int) -> Iterator[tuple[str, str, tuple[str, ...], Rows]]:
    """What is written, the table, its columns, and its rows."""
    columns = CallRow._fields[: CallRow._fields.index("seq")]
    yield f"{total:,} calls", "call", columns, _calls(total, routes, now)
    yield "their events", "call_event", ("call", "key", "kind", "at", "data"), _events(total, now)
    outcome = ("call", "body", "received_at", "updated_at", "counted")
    yield "their outcomes", "outcome", outcome, _outcomes(total, now)
    campaign = "id name route status reason settings author contacts skipped created_at started_at ended_at next_at"
    yield "campaigns", "campaign", tuple(campaign.split()), _campaigns(now)
    contact = "campaign line place to_number timezone consent variables state result text not_before attempts arm"
    contact += " version revision why analysed"
    yield "contacts", "contact", tuple(contact.split()), _contacts(now)
    attempt = "id campaign route to_number from_number variables state planned_at not_before intent_at looks contact"
    yield "attempts", "attempt", tuple(attempt.split()), _attempts(total, now)
    yield (
        "suppressions",
        "suppression",
        ("number", "reason", "author", "at"),
        (
            (f"+1{AREAS[n % 20]}{3_000_000 + n}", "asked not to be called", "benchmark", now - n)
            for n in range(100_000)
        ),
    )
    yield (
        "tokens",
        "token",
        ("id", "name", "role", "digest", "author", "created_at"),
        ((f"tok_{n}", f"token {n}", "viewer", n.to_bytes(32, "big"), "admin", now - n) for n in range(1_000)),
    )
    yield (
        "audit log",
        "audit",
        ("at", "author", "action", "subject", "detail"),
        (
            (
                now - (200_000 - n) * 1000,
                f"author {n % 50}",
                f"action {n % 40}",
                f"route r{n % routes}",
                '{"to": "a"}',
            )
            for n in range(200_000)
        ),
    )
    yield (
        "holds",
        "hold",
        ('"to"', "route", "author", "reason", "set_at"),
        (("b", f"r{n * 50 + 3}", "benchmark", "benchmark", now) for n in range(100)),
    )
    # As they were judged last; without them the gateway would judge each in the background while pages are timed.
    yield (
        "evaluations",
        "evaluation",
        ("experiment", "at", "mark", "body"),
        ((f"r{n}-1", now, "running/1/0/0/0", _JUDGED) for n in range(0, routes - 2, 2)),
    )
    yield (
        "sessions",
        "session",
        ("digest", "token", "family", "began_at", "issued_at", "expires_at"),
        ((n.to_bytes(32, "big"), b"t", "f", now, now, now + _DAY) for n in range(1_000)),
    )


def call_id(n: int) -> str:
    """The id of one of the calls: spread as CallSids are."""
    return calls.call_sid(10_000_000 + n)


def _calls(total: int, routes: int, now: int) -> Iterator[tuple[Any, ...]]:
    dice = random.Random(1)
    counted = [json.dumps(dict(row["counted"])) for row in results.calls(0, 500, total, unit="call")]
    strata = [json.dumps([f"country={c}", f"new_caller={x}"]) for c in ("US", "GB") for x in ("yes", "no")]
    for n in range(total):
        at = now - _DAYS * _DAY + n * _DAYS * _DAY // total
        roll, arm = dice.random(), dice.choice("ab")
        status = "completed" if dice.random() < 0.97 else dice.choice(_STATUSES[: 1 + (n % 1000 == 0) * 3])
        outbound = roll < 0.05
        far = f"+1212{dice.randrange(total * 9 // 10):07d}"
        if outbound:
            route, ours, direction = "reminders", "+14155550190", "outbound"
        elif roll < 0.05 + BUSY_SHARE:
            route, ours, direction = ROUTE, calls.NUMBER, "inbound"
        else:
            # Most routes are rung seldom, some often.
            place = int((routes - 2) * dice.random() ** 3)
            route, ours, direction = f"r{place}", f"+1415{place:07d}", "inbound"
        name, version = call_id(n), f"support@{'ab'.index(arm) + 1}"
        yield (
            f"out_{name[2:]}" if outbound else name,
            name,
            calls.ACCOUNT_SID,
            direction,
            ours if outbound else far,
            far if outbound else ours,
            "US",
            at,
            route,
            1,
            EXPERIMENT if route == ROUTE else f"{route}-1",
            1,
            arm,
            version,
            "split",
            "call",
            500_000,
            0.5,
            True,
            False,
            "version",
            arm,
            version,
            "assigned",
            status,
            at + 1_000,
            at + 61_000,
            60,
            True,
            None,
            counted[n % 500] if route == ROUTE else None,
            strata[n % 4] if route == ROUTE else None,
        )


def _events(total: int, now: int) -> Iterator[tuple[Any, ...]]:
    for n in range(total):
        at, name = now - _DAYS * _DAY + n * _DAYS * _DAY // total, call_id(n)
        yield name, "status:in-progress", "status", at + 1_000, '{"status": "in-progress"}'
        yield name, "status:completed", "status", at + 61_000, '{"status": "completed", "duration_seconds": 60}'


def _outcomes(total: int, now: int) -> Iterator[tuple[Any, ...]]:
    """Of half of the calls; most with a transcript."""
    said = [
        {"role": ("agent", "caller")[n % 2], "text": "What somebody says in some forty letters.", "at": n}
        for n in range(16)
    ]
    whole = json.dumps({"success": True, "sentiment": 0.4, "fields": {"csat": 4}, "transcript": said, "final": True})
    brief = json.dumps({"success": False, "final": True})
    for n in range(0, total, 2):
        at = now - _DAYS * _DAY + n * _DAYS * _DAY // total + 62_000
        yield call_id(n), brief if n % 10 == 0 else whole, at, at, True


def _campaigns(now: int) -> Iterator[tuple[Any, ...]]:
    for n in range(500):
        status = "cancelled" if n % 3 else "completed"
        at = now - (500 - n) * _DAY // 4
        yield f"cmp_{n}", f"campaign {n}", "reminders", status, "", "{}", "admin", 100, 0, at, at, at + 1000, 0
    at = now - 1000
    settings = json.dumps({"retry": {"busy": "30m"}})
    yield BIG_CAMPAIGN, "big", "reminders", "paused", "", settings, "admin", 80_000, 20_000, at, at, None, 0


def _contacts(now: int) -> Iterator[tuple[Any, ...]]:
    def one(campaign: str, n: int, state: str, result: str | None, text: str | None, why: str | None) -> Any:
        number, arm = f"+1{AREAS[n % 20]}{2_000_000 + n}", "ab"[n % 2] if state == "done" else None
        version = f"support@{n % 2 + 1}" if arm else None
        return (
            *(campaign, n + 2, None if state == "skipped" else n, number, "America/New_York", "yes"),
            *('{"first_name": "Ada", "due": "Monday"}', state, result, text, 0, int(state == "done")),
            *(arm, version, 1 if arm else None, why, True if arm else None),
        )

    for n in range(500):
        for place in range(100):
            yield one(f"cmp_{n}", place, "done", "answered", None, "split")
    for n in range(100_000):
        if n % 5 == 0:
            yield one(BIG_CAMPAIGN, n, "skipped", "number", "the number is of a country that may not be called", None)
        elif n < 50_000:
            yield one(BIG_CAMPAIGN, n, "done", ("answered", "busy", "machine")[n % 3], None, "split")
        else:
            yield one(BIG_CAMPAIGN, n, "waiting", "busy" if n % 7 == 0 else None, None, None)


def _attempts(total: int, now: int) -> Iterator[tuple[Any, ...]]:
    for n in range(50_000):
        at = now - _DAYS * _DAY + n * _DAYS * _DAY // 50_000
        number = f"+1{AREAS[n % 20]}{2_000_000 + n}"
        yield (
            *(f"out_attempt{n}", BIG_CAMPAIGN, "reminders", number, "+14155550190", "{}", "closed"),
            *(at, at, at, 0, n + 2),
        )


def filled(folder: Path, *, total: int, routes: int, progress: Progress) -> Path:
    """The database in ``folder``, filled unless it was before."""
    mark = folder / f"filled-{total}-{routes}"
    if not mark.exists():
        for old in folder.glob("gateway.db*"):
            old.unlink()
        began = time.perf_counter()
        fill(folder, total=total, routes=routes, progress=progress)
        mark.touch()
        progress(f"filled in {time.perf_counter() - began:.0f} s")
    return folder / "gateway.db"
