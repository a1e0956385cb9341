"""CSV as people and spreadsheets write it: rows from bytes as they stream in, and rows that no spreadsheet runs.

Pure: bytes come in, rows and bad rows go out. A row is read exactly as it is written, or told in a sentence.
"""

import csv
import io
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from gateway.errors import Invalid, Problem
from gateway.numbering import shown
from gateway.phone import is_e164
from gateway.targets.parameters import clean

FIELD_LIMIT = 10_000
"""The most characters a cell, or a name, may have."""
RECORD_LIMIT = 1 << 20
"""The most bytes a row may have, its line breaks within quotes included."""
TOLD = 20
"""The most faults told of a single row: more would say the same again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Columns:
    """What the first line of a file may name.

    ``number`` is the column of phone numbers, which must be there; ``own`` are the columns the file gives a meaning
    to, ``example`` is a good first line, and ``fault`` says what is wrong with any other name, or "".
    """

    number: str
    own: tuple[str, ...]
    example: str
    fault: Callable[[str], str]


class Row(NamedTuple):
    """A row's cells by the names of their columns, as written, and the line it begins on, counted from 1."""

    line: int
    cells: dict[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class BadRow:
    """A row that is left out: the line it begins on, and all that is wrong with it, with the cure.

    The text quotes what was written, so it may hold a phone number.
    """

    line: int
    text: str


class CsvRows:
    """Reads CSV piece by piece: ``feed`` what has come, wherever it was cut, and ``finish`` at the end.

    Holds one row. Raises Invalid for what spoils the whole file: no rows to read, a wrong encoding, a wrong header,
    a row of more than 1 MiB. Rows that came before that are then not to be kept.
    """

    def __init__(self, columns: Columns) -> None:
        self._columns = columns
        self._opening: bytes | None = b""
        self._records = _Records()
        self._names: tuple[str, ...] | None = None

    def feed(self, chunk: bytes) -> list[Row | BadRow]:
        """What the bytes so far complete; a row is complete at its line's end."""
        if self._opening is not None:
            self._opening += chunk
            # Four bytes tell UTF-8 from UTF-16 and from a spreadsheet's own format.
            if len(self._opening) < 4:
                return []
            chunk, self._opening = _without_mark(self._opening), None
        return self._read(self._records.feed(chunk))

    def finish(self) -> list[Row | BadRow]:
        """What the end of the file completes: a last row without a line's end."""
        rest = []
        if self._opening:
            rest = self._read(self._records.feed(_without_mark(self._opening)))
        self._opening = None
        rest += self._read(self._records.finish())
        if self._names is None:
            raise _refused(1, [("", f"the file is empty: {_naming(self._columns)}")])
        return rest

    def _read(self, records: "Iterable[_Record]") -> list[Row | BadRow]:
        rows = []
        for record in records:
            if self._names is None:
                self._names = _read_header(record, self._columns)
            elif record.text:
                rows.append(_read_row(record, self._names))
        return rows


def wrong_cell(name: str, text: str, *, limit: int = FIELD_LIMIT) -> str:
    """What is wrong with a cell of the column ``name``, whatever it means: too long, or not to be stored; or ""."""
    if len(text) > limit:
        return f"{shown(name)} has {len(text):,} characters: at most {limit:,} are taken"
    if clean(text) != text:
        code = next(ord(character) for character in text if not clean(character))
        cure = ": save the file as CSV UTF-8" if code == 0 else ": remove it"
        return f"{shown(name)} holds the character U+{code:04X}, which no call can carry{cure}"
    return ""


def csv_line(cells: Sequence[str]) -> str:
    """A row as CSV with its line's end; a cell that a spreadsheet would run as a formula gets an apostrophe first."""
    written = io.StringIO()
    csv.writer(written).writerow([_neutral(cell) for cell in cells])
    return written.getvalue()


def _neutral(cell: str) -> str:
    # A phone number begins with a plus, and is no formula.
    return f"'{cell}" if cell.startswith(_FORMULA) and not is_e164(cell) else cell


_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


# -- rows ------------------------------------------------------------------------------------------------------


def _read_row(record: "_Record", names: tuple[str, ...]) -> Row | BadRow:
    try:
        cells = _cells(record)
        if len(cells) != len(names):
            raise ValueError(
                f"the row has {_counted(len(cells), 'cell')}, the header {_counted(len(names), 'column')}: "
                "write one cell for each column, and quote a cell that holds a comma"
            )
    except ValueError as error:
        runs = f" (the row runs to line {record.last})" if record.last > record.line else ""
        return BadRow(line=record.line, text=f"{error}{runs}")
    return Row(record.line, dict(zip(names, cells, strict=True)))


def _read_header(record: "_Record", columns: Columns) -> tuple[str, ...]:
    try:
        names = tuple(name.strip() for name in _cells(record))
    except ValueError as error:
        raise _refused(record.line, [("", str(error))]) from None
    if not names:
        raise _refused(record.line, [("", f"the line is empty: {_naming(columns)}")])
    problems = [
        (name, fault) for place, name in enumerate(names, 1) if (fault := _wrong_column(place, name, columns))
    ]
    problems += [(name, f"column {name} is there twice: rename one") for name in _repeated(names) if name]
    if columns.number not in names:
        problems.append((columns.number, _no_number_column(names, columns.number)))
    if problems:
        raise _refused(record.line, problems)
    return names


def _naming(columns: Columns) -> str:
    return f"the first line names the columns, as in {columns.example}"


def _wrong_column(place: int, name: str, columns: Columns) -> str:
    if not name:
        return f"column {place} has no name: name it, or remove it"
    if name in columns.own:
        return ""
    if name.lower() in columns.own:
        return f"column {shown(name)} must be written {name.lower()}"
    return columns.fault(name)


def _repeated(names: Sequence[str]) -> list[str]:
    return [name for name, count in Counter(names).items() if count > 1]


def _no_number_column(names: Sequence[str], wanted: str) -> str:
    text = ",".join(names)
    for separator, word in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars")):
        if separator in text:
            seems = f"the cells seem separated by {word}: separate them with commas"
            return f"there is no column named {wanted}, and {seems}"
    return f'there is no column named {wanted}: give the column of phone numbers the name "{wanted}"'


def _refused(line: int, problems: Sequence[tuple[str, str]]) -> Invalid:
    place, problems = f"line {line}", problems[:TOLD]
    message = f"{place}: {'; '.join(text for _, text in problems)}"
    return Invalid(message, [Problem(place=place, path=name, text=text) for name, text in problems])


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


# -- records ---------------------------------------------------------------------------------------------------


class _Record(NamedTuple):
    """The bytes of one row without its line's end, its first and last line, and what its quotes do wrong."""

    line: int
    last: int
    text: bytes
    fault: str


_MARK = re.compile(rb'["\r\n]')
_STRAY = "a quote stands inside a cell: put the whole cell in quotes and double every quote within it"


class _Records:
    """Cuts a stream of bytes at the line ends that stand outside quotes, by the rules of Python's csv module.

    The bytes need no decoding first: in UTF-8 no part of another character looks like a quote, comma or line end.
    """

    def __init__(self) -> None:
        self._held = bytearray()
        self._where: Literal["plain", "quoted", "closed"] = "plain"
        self._line = 1
        self._began = 1
        self._fault = ""
        self._after_return = False

    def feed(self, chunk: bytes) -> Iterator[_Record]:
        at = 0
        while at < len(chunk):
            at = self._resume(chunk, at)
            mark = _MARK.search(chunk, at)
            end = mark.start() if mark else len(chunk)
            if end > at:
                self._leave_quote(chunk[at : at + 1])
                self._hold(chunk[at:end])
            if mark is None:
                return
            at = end + 1
            if mark[0] == b'"':
                self._meet_quote()
            elif record := self._meet_line_end(mark[0]):
                yield record

    def finish(self) -> Iterator[_Record]:
        if self._where == "quoted":
            self._fault = (
                "a quote that opens in this row is never closed, so nothing from here to the end was read: "
                "close it, or double it if it is part of the text"
            )
            # The line end that was read last is the file's own.
            self._line -= self._held.endswith((b"\n", b"\r"))
        if self._held:
            yield self._take()

    def _resume(self, chunk: bytes, at: int) -> int:
        # The second half of a CRLF ends no line; it may come with the next chunk.
        if self._after_return and chunk[at : at + 1] == b"\n":
            if self._where == "quoted":
                self._hold(b"\n")
            at += 1
        self._after_return = False
        return at

    def _leave_quote(self, following: bytes) -> None:
        if self._where == "closed":
            self._where = "plain"
            if following != b",":
                self._fault = _STRAY

    def _meet_quote(self) -> None:
        if self._where == "quoted":
            self._where = "closed"
        elif self._where == "closed" or not self._held or self._held.endswith(b","):
            # A second quote right after the first is a character, and the cell goes on.
            self._where = "quoted"
        else:
            self._fault = _STRAY
        self._hold(b'"')

    def _meet_line_end(self, end: bytes) -> _Record | None:
        self._after_return = end == b"\r"
        if self._where == "quoted":
            self._hold(end)
            self._line += 1
            return None
        record = self._take()
        self._line += 1
        self._began = self._line
        return record

    def _hold(self, text: bytes) -> None:
        self._held += text
        if len(self._held) > RECORD_LIMIT:
            why = "a quote in it is not closed" if self._where == "quoted" else "lines end with CRLF, LF or CR"
            raise _refused(self._began, [("", f"the row that begins here is longer than 1 MiB: {why}")])

    def _take(self) -> _Record:
        record = _Record(self._began, self._line, bytes(self._held), self._fault)
        self._held.clear()
        self._where, self._fault = "plain", ""
        return record


def _without_mark(opening: bytes) -> bytes:
    if opening.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise _refused(1, [("", "the file is UTF-16: save it as CSV UTF-8")])
    if opening.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")):
        raise _refused(1, [("", "this is a spreadsheet, not CSV: save it as CSV UTF-8")])
    return opening.removeprefix(b"\xef\xbb\xbf")


def _cells(record: _Record) -> list[str]:
    """The cells of a row; ValueError says in a sentence why they cannot be read."""
    if record.fault:
        raise ValueError(record.fault)
    try:
        text = record.text.decode()
    except UnicodeDecodeError as error:
        byte = record.text[error.start]
        raise ValueError(f"byte 0x{byte:02X} is not UTF-8 text: save the file as CSV UTF-8") from None
    try:
        return next(csv.reader((text,), strict=True), [])
    except csv.Error:
        # The quotes are known to be right, so this is the module's own limit on a cell, which is far above ours.
        raise ValueError(f"a cell is longer than {FIELD_LIMIT:,} characters: shorten it") from None
