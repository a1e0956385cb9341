"""What keeps people from being called: the suppression list, and the switch that stops all dialling."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from pydantic import Field

from gateway.csvfile import BadRow
from gateway.errors import Invalid, NotFound, Problem, Refused
from gateway.http.api.endpoint import Answer, Ask, Body, endpoint
from gateway.http.api.files import csv_of, read_pieces
from gateway.http.api.paging import Page, next_cursor
from gateway.phone import is_e164, masked
from gateway.storage.suppressions import import_suppressions, list_suppressions
from gateway.suppressions import REASON_LIMIT, UNSAID, Suppression, SuppressionReader

_TRANSACTION_ROWS = 1000
_PAUSE_SECONDS = 0.002
_MOST_ROWS = 1_000_000
# So many bad rows are told; all are counted.
_TOLD_ROWS = 1000


class Suppressing(Body):
    """Somebody who must not be called, and why."""

    number: str
    reason: str = Field(UNSAID, min_length=1, max_length=REASON_LIMIT)


class Stop(Body):
    """Why all dialling is to stop."""

    reason: str = Field(min_length=1, max_length=500)


class Listed(Page):
    """Which of the list: all, or the numbers that hold some digits."""

    number: str | None = Field(None, max_length=20)


@endpoint("GET", "/suppressions", role="viewer", query=Listed)
async def list_all(ask: Ask) -> dict[str, Any]:
    """Everybody who must not be called, in the order of their numbers."""
    wanted: Listed = ask.query
    if wanted.number is not None and not ask.caller.may("editor"):
        raise Refused("the role viewer is shown masked numbers, and cannot search them")
    after = None if wanted.cursor is None else f"+{wanted.cursor}"
    async with ask.gateway.database.read() as connection:
        rows = await list_suppressions(connection, after=after, limit=wanted.limit, part=wanted.number)
    cursor = next_cursor([int(row["number"]) for row in rows], wanted.limit)
    if not ask.caller.may("editor"):
        # A cursor would tell the number that it stands for: whoever only reads is shown one page.
        rows, cursor = [row | {"number": masked(row["number"])} for row in rows], None
    return {"suppressions": rows, "next": cursor}


@endpoint("POST", "/suppressions", role="editor", body=Suppressing)
async def suppress(ask: Ask) -> Answer:
    """Never call a number again; no call to it is sent once this has answered."""
    number, reason = ask.body.number, ask.body.reason
    if not is_e164(number):
        text = f"{number} is no E.164 number: write it as +14155550123"
        raise Invalid(text, [Problem(place="body", path="number", text=text)])
    async with ask.gateway.database.write() as connection:
        await ask.gateway.outbox.suppress(connection, number, reason=reason, author=ask.caller.name)
        await ask.audit(connection, "suppress", f"number …{number[-2:]}", reason=reason)
    return Answer(body={"suppression": {"number": number, "reason": reason}}, status=201)


@endpoint("POST", "/suppressions/import", role="editor", takes_csv=True)
async def import_all(ask: Ask) -> dict[str, Any]:
    """Never call the numbers of a CSV file again (columns number, reason); bad rows are told and skipped.

    The file is read to its end before anything is written, and then written a thousand rows at a time. Each
    transaction has its row in the audit log. To repeat an import adds nothing.
    """
    good, skipped, bad = await _read(csv_of(ask))
    if not good:
        problems = [Problem(place=f"line {row.line}", path="", text=row.text) for row in bad]
        raise Invalid("no row of the file can be taken" if bad else "the file has no row", problems)
    gateway, added = ask.gateway, 0
    for start in range(0, len(good), _TRANSACTION_ROWS):
        batch = good[start : start + _TRANSACTION_ROWS]
        added += await import_suppressions(gateway.database, batch, author=ask.caller.name, at=gateway.wall())
        await asyncio.sleep(_PAUSE_SECONDS)
    told = [{"line": row.line, "text": row.text} for row in bad]
    counts = {"added": added, "known": len(good) - added, "skipped": skipped}
    return {"suppression_import": {**counts, "problems": told}}


@endpoint("DELETE", "/suppressions/{number}", role="editor")
async def release(ask: Ask) -> dict[str, Any]:
    """Allow calls to a number again."""
    number = ask.path["number"]
    async with ask.gateway.database.write() as connection:
        if not await ask.gateway.outbox.release(connection, number):
            raise NotFound(f"{number} is not on the suppression list")
        await ask.audit(connection, "release", f"number …{number[-2:]}")
    return {"suppression": None}


@endpoint("GET", "/dialing", role="viewer")
async def show_dialing(ask: Ask) -> dict[str, Any]:
    """Whether calls are dialled at all, and who stopped it if not."""
    return {"dialing": {"stopped": await ask.gateway.outbox.stopped()}}


@endpoint("POST", "/dialing/stop", role="editor", body=Stop)
async def stop_dialing(ask: Ask) -> dict[str, Any]:
    """The kill switch: no call is sent once this has answered; calls under way go on."""
    await _switch(ask, stopped=True, reason=ask.body.reason)
    return {"dialing": {"stopped": await ask.gateway.outbox.stopped()}}


@endpoint("POST", "/dialing/start", role="editor")
async def start_dialing(ask: Ask) -> dict[str, Any]:
    """Dial again what is planned."""
    await _switch(ask, stopped=False, reason="")
    return {"dialing": {"stopped": None}}


async def _read(file: AsyncIterator[bytes]) -> tuple[list[Suppression], int, list[BadRow]]:
    """The good rows of a file, how many are bad, and the first of those."""
    reader = SuppressionReader()
    good: list[Suppression] = []
    bad: list[BadRow] = []
    skipped = 0
    async for rows in read_pieces(file, reader):
        for row in rows:
            if not isinstance(row, BadRow):
                good.append(row)
                continue
            skipped += 1
            if skipped <= _TOLD_ROWS:
                bad.append(row)
        if len(good) > _MOST_ROWS:
            raise Invalid(f"the file has more than {_MOST_ROWS:,} rows: send it in parts")
    return good, skipped, bad


async def _switch(ask: Ask, *, stopped: bool, reason: str) -> None:
    async with ask.gateway.database.write() as connection:
        await ask.gateway.outbox.set_stopped(connection, stopped=stopped, author=ask.caller.name, reason=reason)
        await ask.audit(connection, "stop dialling" if stopped else "start dialling", "dialling", reason=reason)


ENDPOINTS = (list_all, suppress, import_all, release, show_dialing, stop_dialing, start_dialing)
