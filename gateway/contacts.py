"""Reads the contacts of a campaign, from CSV as it streams in or from JSON, and writes them as CSV; every bad row is
told, none is guessed.

Pure: bytes or parsed JSON come in, contacts and bad rows go out. A row becomes a contact exactly as it is written,
or a sentence that says how to write it; what the sentence suggests is never used in its place.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any
from zoneinfo import available_timezones

from gateway.csvfile import FIELD_LIMIT, TOLD, BadRow, Columns, CsvRows, Row, csv_line, wrong_cell
from gateway.numbering import EXAMPLE, shown, wrong_number
from gateway.targets.parameters import reserved

EXPORTED = ("line", "to", "timezone", "state", "result", "reason", "arm", "version", "attempts", "call")
"""The columns of an exported campaign."""

_OWN = ("to", "timezone", "consent")


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


def read_json(contacts: Sequence[Mapping[str, Any]]) -> Iterator[Contact | BadRow]:
    """The contacts and bad rows of ``{"to", "timezone"?, "consent"?, "variables"?}``; line 1 is the first of them."""
    seen: dict[int, int] = {}
    for line, written in enumerate(contacts, 1):
        yield _read_object(line, written, seen)


def exported(person: Mapping[str, Any]) -> str:
    """A contact as the API tells it, as a line of CSV in which no cell is a formula."""
    given = person["assignment"] or {}
    told = {**person, "reason": person["text"], "arm": given.get("arm"), "version": given.get("version")}
    return csv_line(["" if told[column] is None else str(told[column]) for column in EXPORTED])


# -- CSV -----------------------------------------------------------------------------------------------------


class CsvReader:
    """Reads CSV piece by piece: ``feed`` what has come, wherever it was cut, and ``finish`` at the end.

    Holds one row, and the number and line of every contact so far to tell repeats. Raises Invalid as CsvRows does.
    A row takes about a tenth of a millisecond, most of it to check the number, so an event loop feeds pieces of a
    few KiB or feeds in a thread.
    """

    def __init__(self) -> None:
        self._rows = CsvRows(_COLUMNS)
        self._seen: dict[int, int] = {}

    def feed(self, chunk: bytes) -> list[Contact | BadRow]:
        """What the bytes so far complete; a row is complete at its line's end."""
        return [self._read(row) for row in self._rows.feed(chunk)]

    def finish(self) -> list[Contact | BadRow]:
        """What the end of the file completes: a last row without a line's end."""
        return [self._read(row) for row in self._rows.finish()]

    def _read(self, row: Row | BadRow) -> Contact | BadRow:
        if isinstance(row, BadRow):
            return row
        variables = row.cells
        to, timezone, consent = variables.pop("to"), variables.pop("timezone", ""), variables.pop("consent", "")
        return _judged(row.line, to, timezone, consent, variables, self._seen, [])


# -- JSON ----------------------------------------------------------------------------------------------------


def _read_object(line: int, written: object, seen: dict[int, int]) -> Contact | BadRow:
    if not isinstance(written, Mapping):
        return BadRow(line=line, text=f'a contact must be an object, as in {{"to": "{EXAMPLE}"}}')
    problems = [
        f"{shown(str(key))} is not known: put it under variables"
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
                problems.append(f"variable {shown(str(name))} must be text, a number, true or false")
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
        return f"variable {shown(name)} must be written without the blanks around it"
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
    found = [*problems, *(fault for name, text in cells if (fault := wrong_cell(name, text)))]
    if to is not None:
        if fault := wrong_number(to, "to"):
            found.append(fault)
        elif first := seen.get(int(to)):
            found.append(f"repeats line {first}'s number {to}: remove one of the two")
    if fault := _wrong_timezone(timezone):
        found.append(fault)
    if found or to is None:
        return BadRow(line=line, text="; ".join(found[:TOLD]))
    seen[int(to)] = line
    # A cell of blanks is no consent.
    return Contact(
        line=line,
        to=to,
        timezone=timezone or None,
        consent=consent if consent.strip() else None,
        variables=variables,
    )


def _wrong_name(name: str) -> str:
    if reserved(name):
        return f"names beginning with gateway_ are the gateway's own: rename {shown(name)}"
    return wrong_cell(name, name)


_COLUMNS = Columns(number="to", own=_OWN, example="to,timezone,first_name", fault=_wrong_name)


def _wrong_timezone(timezone: str) -> str:
    if not timezone:
        return ""
    likely = _timezones().get(timezone.strip().replace(" ", "_").lower())
    if timezone == likely:
        return ""
    how = f"write {likely}" if likely else "write an IANA name such as America/New_York"
    return f"timezone {shown(timezone)} is not known: {how}"


@cache
def _timezones() -> Mapping[str, str]:
    # "localtime" is wherever this machine happens to stand, and "Factory" nowhere.
    return {name.lower(): name for name in available_timezones() - {"localtime", "Factory"}}
