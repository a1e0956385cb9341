"""Reads the contacts of a campaign, from CSV as it streams in or from JSON; every bad row is told, none is guessed.

Pure: bytes or parsed JSON come in, contacts and bad rows go out. A row becomes a contact exactly as it is written,
or a sentence that says how to write it; what the sentence suggests is never used in its place.
"""

import csv
import math
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, NamedTuple
from zoneinfo import available_timezones

import phonenumbers
from phonenumbers import NumberParseException, PhoneNumberFormat, ValidationResult

from gateway.errors import Invalid, Problem
from gateway.phone import WITHHELD, is_e164
from gateway.targets.parameters import clean, reserved

FIELD_LIMIT = 10_000
"""The most characters a cell, or a name, may have."""
RECORD_LIMIT = 1 << 20
"""The most bytes a row may have, its line breaks within quotes included."""

_SLICE = 1 << 16
_OWN = ("to", "timezone", "consent")
_EXAMPLE = "+14155550142"
_NAMING = "the first line names the columns, as in to,timezone,first_name"
# More than this is told of no single row: it would say the same again.
_TOLD = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Contact:
    """One person of a campaign; ``line`` is where the row begins, counted from 1, ``to`` is E.164 and valid.

    ``timezone`` is an IANA name; it and ``consent`` are None when nothing is written. Variables are as written,
    empty ones included.
    """

    line: int
    to: str
    timezone: str | None
    consent: str | None
    variables: Mapping[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class BadRow:
    """A row that nobody is called for: the line it begins on, and all that is wrong with it, with the cure.

    The text quotes what was written, so it may hold a phone number.
    """

    line: int
    text: str


def read_csv(chunks: Iterable[bytes]) -> Iterator[Contact | BadRow]:
    """The contacts and bad rows of a CSV file in their order; raises Invalid as CsvReader does."""
    reader = CsvReader()
    for chunk in chunks:
        # A file handed over in one piece must not become one list of contacts.
        for start in range(0, len(chunk), _SLICE):
            yield from reader.feed(chunk[start : start + _SLICE])
    yield from reader.finish()


def read_json(contacts: Sequence[Mapping[str, Any]]) -> Iterator[Contact | BadRow]:
    """The contacts and bad rows of ``{"to", "timezone"?, "consent"?, "variables"?}``; line 1 is the first of them."""
    seen: dict[int, int] = {}
    for line, written in enumerate(contacts, 1):
        yield _read_object(line, written, seen)


def missing_variables(contact: Contact, required: Collection[str]) -> list[str]:
    """Which of the variables an agent requires the contact does not bring, sorted; a blank one is not brought."""
    return sorted(name for name in set(required) if not contact.variables.get(name, "").strip())


# -- CSV -----------------------------------------------------------------------------------------------------


class CsvReader:
    """Reads CSV piece by piece: ``feed`` what has come, wherever it was cut, and ``finish`` at the end.

    Holds one row, and the number and line of every contact so far to tell repeats. Raises Invalid for what spoils
    the whole file: no rows to read, a wrong encoding, a wrong header, a row of more than 1 MiB. Contacts that came
    before that are then not to be kept. A row takes about a tenth of a millisecond, most of it to check the number,
    so an event loop feeds pieces of a few KiB or feeds in a thread.
    """

    def __init__(self) -> None:
        self._opening: bytes | None = b""
        self._records = _Records()
        self._columns: tuple[str, ...] | None = None
        self._seen: dict[int, int] = {}

    def feed(self, chunk: bytes) -> list[Contact | BadRow]:
        """What the bytes so far complete; a row is complete at its line's end."""
        if self._opening is not None:
            self._opening += chunk
            # Four bytes tell UTF-8 from UTF-16 and from a spreadsheet's own format.
            if len(self._opening) < 4:
                return []
            chunk, self._opening = _without_mark(self._opening), None
        return self._read(self._records.feed(chunk))

    def finish(self) -> list[Contact | BadRow]:
        """What the end of the file completes: a last row without a line's end."""
        rest = []
        if self._opening:
            rest = self._read(self._records.feed(_without_mark(self._opening)))
        self._opening = None
        rest += self._read(self._records.finish())
        if self._columns is None:
            raise _refused(1, [("", f"the file is empty: {_NAMING}")])
        return rest

    def _read(self, records: "Iterable[_Record]") -> list[Contact | BadRow]:
        rows = []
        for record in records:
            if self._columns is None:
                self._columns = _read_header(record)
            elif record.text:
                rows.append(self._read_row(record, self._columns))
        return rows

    def _read_row(self, record: "_Record", columns: tuple[str, ...]) -> Contact | BadRow:
        try:
            cells = _cells(record)
            if len(cells) != len(columns):
                raise ValueError(
                    f"the row has {_counted(len(cells), 'cell')}, the header {_counted(len(columns), 'column')}: "
                    "write one cell for each column, and quote a cell that holds a comma"
                )
        except ValueError as error:
            runs = f" (the row runs to line {record.last})" if record.last > record.line else ""
            return BadRow(line=record.line, text=f"{error}{runs}")
        variables = dict(zip(columns, cells, strict=True))
        to, timezone, consent = variables.pop("to"), variables.pop("timezone", ""), variables.pop("consent", "")
        return _judged(record.line, to, timezone, consent, variables, self._seen, [])


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


def _read_header(record: _Record) -> tuple[str, ...]:
    try:
        names = tuple(name.strip() for name in _cells(record))
    except ValueError as error:
        raise _refused(record.line, [("", str(error))]) from None
    if not names:
        raise _refused(record.line, [("", f"the line is empty: {_NAMING}")])
    problems = [(name, fault) for place, name in enumerate(names, 1) if (fault := _wrong_column(place, name))]
    problems += [(name, f"column {name} is there twice: rename one") for name in _repeated(names) if name]
    if "to" not in names:
        problems.append(("to", _no_number_column(names)))
    if problems:
        raise _refused(record.line, problems)
    return names


def _wrong_column(place: int, name: str) -> str:
    if not name:
        return f"column {place} has no name: name it, or remove it"
    if name not in _OWN and name.lower() in _OWN:
        return f"column {_shown(name)} must be written {name.lower()}"
    return _wrong_name(name)


def _repeated(names: Sequence[str]) -> list[str]:
    return [name for name, count in Counter(names).items() if count > 1]


def _no_number_column(names: Sequence[str]) -> str:
    text = ",".join(names)
    for separator, word in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars")):
        if separator in text:
            return f"there is no column named to, and the cells seem separated by {word}: separate them with commas"
    return 'there is no column named to: give the column of phone numbers the name "to"'


def _refused(line: int, problems: Sequence[tuple[str, str]]) -> Invalid:
    place, problems = f"line {line}", problems[:_TOLD]
    message = f"{place}: {'; '.join(text for _, text in problems)}"
    return Invalid(message, [Problem(place=place, path=name, text=text) for name, text in problems])


# -- JSON ----------------------------------------------------------------------------------------------------


def _read_object(line: int, written: object, seen: dict[int, int]) -> Contact | BadRow:
    if not isinstance(written, Mapping):
        return BadRow(line=line, text=f'a contact must be an object, as in {{"to": "{_EXAMPLE}"}}')
    problems = [
        f"{_shown(str(key))} is not known: put it under variables"
        for key in written
        if key not in _OWN and key != "variables"
    ]
    own = {name: "" if written.get(name) is None else written[name] for name in _OWN}
    for name, value in own.items():
        if not isinstance(value, str):
            problems.append(f"{name} must be text{': quote the number' if name == 'to' else ''}")
            own[name] = None
    variables: dict[str, str] = {}
    given = written.get("variables")
    if isinstance(given, Mapping):
        for name, value in given.items():
            text = _text(value)
            if text is None:
                problems.append(f"variable {_shown(str(name))} must be text, a number, true or false")
            elif fault := _wrong_json_name(str(name)):
                problems.append(fault)
            else:
                variables[str(name)] = text
    elif given is not None:
        problems.append('variables must be an object, as in {"first_name": "Ada"}')
    return _judged(line, own["to"], own["timezone"] or "", own["consent"] or "", variables, seen, problems)


def _wrong_json_name(name: str) -> str:
    if not name.strip():
        return "a variable has no name: name it, or remove it"
    if name != name.strip():
        return f"variable {_shown(name)} must be written without the blanks around it"
    return _wrong_name(name)


def _text(value: object) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and not math.isfinite(value):
        return None
    # Python refuses to write integers of more than some thousand digits.
    if isinstance(value, int) and value.bit_length() > FIELD_LIMIT:
        return None
    return str(value) if isinstance(value, str | int | float) else None


# -- the rules of a row, whatever it was written in ------------------------------------------------------------


def _judged(
    line: int,
    to: str | None,
    timezone: str,
    consent: str,
    variables: dict[str, str],
    seen: dict[int, int],
    problems: list[str],
) -> Contact | BadRow:
    """The contact if nothing is wrong with it, and then its number is ``seen``; else all that is wrong.

    ``problems`` are those already found; a ``to`` that is no text is one of them, and is None here.
    """
    cells = (("to", to or ""), ("timezone", timezone), ("consent", consent), *variables.items())
    found = [*problems, *(fault for name, text in cells if (fault := _wrong_cell(name, text)))]
    if to is not None:
        if fault := _wrong_number(to):
            found.append(fault)
        elif first := seen.get(int(to)):
            found.append(f"repeats line {first}'s number {to}: remove one of the two")
    if fault := _wrong_timezone(timezone):
        found.append(fault)
    if found or to is None:
        return BadRow(line=line, text="; ".join(found[:_TOLD]))
    seen[int(to)] = line
    # A cell of blanks is no consent.
    return Contact(
        line=line,
        to=to,
        timezone=timezone or None,
        consent=consent if consent.strip() else None,
        variables=variables,
    )


def _wrong_cell(name: str, text: str) -> str:
    if len(text) > FIELD_LIMIT:
        return f"{_shown(name)} has {len(text):,} characters: at most {FIELD_LIMIT:,} are taken"
    if clean(text) != text:
        code = next(ord(character) for character in text if not clean(character))
        cure = ": save the file as CSV UTF-8" if code == 0 else ": remove it"
        return f"{_shown(name)} holds the character U+{code:04X}, which no call can carry{cure}"
    return ""


def _wrong_name(name: str) -> str:
    if reserved(name):
        return f"names beginning with gateway_ are the gateway's own: rename {_shown(name)}"
    return _wrong_cell(name, name)


def _wrong_timezone(timezone: str) -> str:
    if not timezone:
        return ""
    likely = _timezones().get(timezone.strip().replace(" ", "_").lower())
    if timezone == likely:
        return ""
    how = f"write {likely}" if likely else "write an IANA name such as America/New_York"
    return f"timezone {_shown(timezone)} is not known: {how}"


@cache
def _timezones() -> Mapping[str, str]:
    # "localtime" is wherever this machine happens to stand, and "Factory" nowhere.
    return {name.lower(): name for name in available_timezones() - {"localtime", "Factory"}}


_SPREADSHEET = re.compile(r"[=@'#].*|[+-]?[0-9]+(?:[.,][0-9]+)?[eE][+-]?[0-9]+|\+?[0-9]+[.,]0+", re.DOTALL)
_REASONS = {
    ValidationResult.TOO_SHORT: "it is too short",
    ValidationResult.TOO_LONG: "it is too long",
    ValidationResult.INVALID_COUNTRY_CODE: "no country has this code",
}


def _wrong_number(to: str) -> str:
    if not to.strip():
        return f"to is empty: write the number with + and its country code, such as {_EXAMPLE}"
    if to in WITHHELD:
        return f"to {_shown(to)} is what carriers send for a hidden number, and rings nobody"
    likely = _likely(to)
    if likely == to and is_e164(to):
        return ""
    if _SPREADSHEET.fullmatch(to.strip()):
        how = f"if {likely} is meant, write that" if likely else f"write the number in full, such as {_EXAMPLE}"
        return f"to {_shown(to)} was changed by a spreadsheet: format the column as text, then {how}"
    if likely and likely != to:
        return f"to {_shown(to)} is not written in E.164: if {likely} is meant, write that"
    if is_e164(to):
        return f"to {_shown(to)} is not a valid number: {_reason(to)}"
    return f"to {_shown(to)} is not written in E.164: write +, the country code and digits only, such as {_EXAMPLE}"


def _likely(to: str) -> str | None:
    """The E.164 form of the valid number that the text seems to mean; only for a text that names the country."""
    text = to.strip()
    digits = re.sub(r"[ ()./-]", "", text)
    if digits.startswith("00"):
        text = "+" + digits[2:]
    elif re.fullmatch("1[0-9]{10}", digits):
        text = "+" + digits
    try:
        number = phonenumbers.parse(text)
    except NumberParseException:
        return None
    # To leave an extension out would ring somebody else.
    if number.extension or not phonenumbers.is_valid_number(number):
        return None
    return str(phonenumbers.format_number(number, PhoneNumberFormat.E164))


def _reason(to: str) -> str:
    try:
        possible = phonenumbers.is_possible_number_with_reason(phonenumbers.parse(to))
    except NumberParseException:
        possible = ValidationResult.INVALID_COUNTRY_CODE
    return _REASONS.get(possible, "no number of its country looks like this")


def _shown(text: str) -> str:
    """The text in quotes, cut short, without what would break a line or a terminal."""
    cut = text if len(text) <= 40 else f"{text[:40]}…"
    return '"' + "".join(character if character.isprintable() else "�" for character in cut) + '"'


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
