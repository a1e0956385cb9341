"""The form of a new campaign: what its fields say, in the shape of the API, and where the API's answer belongs."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from gateway.errors import GatewayError, Invalid, Problem
from gateway.terms import DAYS

# Fields whose text is the setting's, and which are left out when they are empty.
_PLAIN = (
    "calls_per_second",
    "concurrency",
    "daily_cap",
    "max_attempts",
    "max_attempts_per_day",
    "short_seconds",
    "machine",
    "detection",
    "message",
)
RETRIED = ("busy", "no_answer", "failed", "machine", "short")
"""The results after which somebody may be called again."""

_FIELDS = frozenset(
    (*_PLAIN, *(f"retry.{name}" for name in RETRIED), "name", "route", "window", "days", "start_at", "zone")
)


class Row(NamedTuple):
    """A row of the list that is told of: where it stands, and what is wrong with it."""

    place: str
    text: str


def settings_of(form: Mapping[str, str], days: Sequence[str]) -> dict[str, Any]:
    """The settings that the form says; an empty field is no setting. Raises Invalid for a start that is no time."""
    settings: dict[str, Any] = {name: form[name] for name in _PLAIN if form.get(name)}
    retry = {name: form[f"retry.{name}"] for name in RETRIED if form.get(f"retry.{name}")}
    if retry:
        settings["retry"] = retry
    if form.get("from") or form.get("until"):
        settings["window"] = f"{form.get('from', '')}-{form.get('until', '')}"
    if days and set(days) != set(DAYS):
        settings["days"] = list(days)
    if form.get("marketing"):
        settings["marketing"] = True
    if form.get("start_at"):
        settings["start_at"] = _start(form["start_at"], form.get("zone") or "UTC")
    return settings


def _start(text: str, zone: str) -> str:
    """What a ``datetime-local`` field says, in the operator's zone, as ISO 8601 with its zone."""
    try:
        where = ZoneInfo(zone)
    except (ValueError, OSError, LookupError) as error:
        raise _wrong("zone", "write a zone such as Europe/Berlin or UTC") from error
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise _wrong("start_at", "write a time such as 2027-03-01T09:00") from error
    return at.replace(tzinfo=where).isoformat()


def _wrong(path: str, text: str) -> Invalid:
    return Invalid(text, [Problem(place="query", path=path, text=text)])


def placed(error: GatewayError) -> tuple[dict[str, str], list[Row]]:
    """What is wrong, by the field of the form that it stands in, and the rows of the list that are told of.

    A problem of the list has the place of a line, and its path may be the name of any column.
    """
    problems: dict[str, str] = {}
    rows, rest = [], []
    for one in error.problems:
        field = one.path.removeprefix("settings.")
        if one.place not in ("query", "body"):
            rows.append(Row(one.path if one.place == "contacts" else one.place, one.text))
        elif field in _FIELDS:
            problems[field] = _plain(one.text)
        else:
            rest.append(one.text)
    if rows:
        problems["file"] = "Nothing of the list was kept."
    elif not problems and not rest:
        problems["file"] = error.message
    problems[""] = " ".join(["Nothing was kept: look at what is marked below.", *rest])
    return problems, rows


def _plain(text: str) -> str:
    if "at least 1 character" in text:
        return "Fill this in."
    return text.removeprefix("Value error, ").replace("Input should", "Should")
