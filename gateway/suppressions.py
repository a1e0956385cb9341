"""Reads and writes the list of those who must not be called as a CSV file; pure, bytes and rows only."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from gateway.csvfile import BadRow, Columns, CsvRows, Row, csv_line, wrong_cell
from gateway.numbering import shown, wrong_number
from gateway.phone import is_e164

REASON_LIMIT = 500
"""The most characters a reason may have."""
UNSAID = "asked not to be called"
"""The reason when none is given."""


class Suppression(NamedTuple):
    """Somebody who must not be called, by a number in E.164, and why."""

    number: str
    reason: str


class SuppressionReader:
    """Reads the list piece by piece, as CsvRows does; raises Invalid for what spoils the whole file.

    A number is taken if it is E.164, valid or not: to keep one off the list would be no kindness.
    """

    def __init__(self) -> None:
        self._rows = CsvRows(_COLUMNS)

    def feed(self, chunk: bytes) -> list[Suppression | BadRow]:
        """What the bytes so far complete; a row is complete at its line's end."""
        return [_judged(row) for row in self._rows.feed(chunk)]

    def finish(self) -> list[Suppression | BadRow]:
        """What the end of the file completes: a last row without a line's end."""
        return [_judged(row) for row in self._rows.finish()]


def written(suppressions: Iterable[Mapping[str, Any]]) -> str:
    """The list as a CSV file that ``SuppressionReader`` reads again; each has a ``number`` and a ``reason``."""
    rows = [[one["number"], one["reason"]] for one in suppressions]
    return "".join(map(csv_line, [list(_COLUMNS.own), *rows]))


def _judged(row: Row | BadRow) -> Suppression | BadRow:
    if isinstance(row, BadRow):
        return row
    number, reason = row.cells["number"], row.cells.get("reason", "").strip()
    faults = (
        "" if is_e164(number) else wrong_number(number, "number"),
        wrong_cell("reason", reason, limit=REASON_LIMIT),
    )
    if any(faults):
        return BadRow(line=row.line, text="; ".join(filter(None, faults)))
    return Suppression(number, reason or UNSAID)


def _unknown(name: str) -> str:
    return f"column {shown(name)} is not known: remove it"


_COLUMNS = Columns(number="number", own=("number", "reason"), example="number,reason", fault=_unknown)
