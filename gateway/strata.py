"""In which strata a call falls, of those that the plan of its experiment names: facts known before the draw.

A stratum is written as it is stored: ``country=US``, ``new_caller=yes``, ``hours=in``, ``var:plan=gold``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import phonenumbers

from gateway.callee import zones_of

VALUES = 20
"""How many values of a variable are told apart in an experiment; the rest is ``other``."""

VALUE_LENGTH = 40
VARIABLE = "var:"
HOUR = "hour="
UNKNOWN = "unknown"
_OPENS, _CLOSES = 9, 17


@dataclass(frozen=True, kw_only=True, slots=True)
class Known:
    """What was known of a call before its draw, which was at ``at`` (Unix milliseconds).

    ``country`` is what the carrier said, ``number`` the one called, ``other`` that of the person; ``new_caller`` is
    None where that cannot be told.
    """

    at: int
    country: str
    number: str
    other: str
    new_caller: bool | None = None
    variables: Mapping[str, str] = field(default_factory=dict)


def stratum_of(name: str, known: Known) -> str:
    """The value of the stratum ``name``; ``unknown`` where nobody can tell."""
    if name == "country":
        return known.country or country_of(known.other) or UNKNOWN
    if name == "hours":
        return hours_of(known.number, known.at)
    if name == "new_caller":
        return UNKNOWN if known.new_caller is None else "yes" if known.new_caller else "no"
    return known.variables.get(name.removeprefix(VARIABLE), UNKNOWN)[:VALUE_LENGTH]


def country_of(number: str) -> str | None:
    """The country of a number as an ISO 3166 code, or None."""
    try:
        return phonenumbers.region_code_for_number(phonenumbers.parse(number))
    except phonenumbers.NumberParseException:
        return None


def hours_of(number: str, at: int) -> str:
    """Whether it is from 09:00 to 17:00 where the called number is: ``in`` or ``out``.

    A number that tells no zone is read in UTC, one that may be in several in the first of them: what matters is that
    all calls to a number are read alike. Weekdays make no difference.
    """
    return "in" if _OPENS <= datetime.fromtimestamp(at // 1000, _clock(number)).hour < _CLOSES else "out"


@lru_cache(maxsize=4096)
def _clock(number: str) -> ZoneInfo:
    try:
        return ZoneInfo(next(iter(zones_of(number)), "UTC"))
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return ZoneInfo("UTC")


def hour_of(at: int) -> str:
    """The hour of the day in UTC, as a stratum: ``hour=13``."""
    return f"{HOUR}{at // 3_600_000 % 24:02d}"
