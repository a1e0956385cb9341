"""Who may be called, and when: pure rules about a number and its local clock.

Nothing here reads a clock or does I/O but for the tables of numbering plans and time zones, which are loaded on first
use and never change. Moments are Unix milliseconds, numbers E.164 text, zones names of the tz database.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import phonenumbers
from phonenumbers import PhoneNumberType as _Type
from phonenumbers import ValidationResult

from gateway.numberplan import Entry, look_up
from gateway.phone import is_e164
from gateway.settings import read_hours

_MINUTE = 60_000
_DAY_MINUTES = 24 * 60
_DAY = _DAY_MINUTES * _MINUTE
_HORIZON = 14 * _DAY
_THURSDAY = 3  # the weekday of 1970-01-01

# Australia's and Mexico's mobiles come with eight zones, which still share some hours of every day. Whatever names
# more (+7 with 16, +1 toll-free and Caribbean mobiles with 42) says only that the place is unknown.
_MOST_ZONES = 8

# What phonenumbers gives a country code that belongs to no country: satellites and shared networks.
_NO_COUNTRY = "001"

_CALLABLE = frozenset({_Type.FIXED_LINE, _Type.MOBILE, _Type.FIXED_LINE_OR_MOBILE, _Type.TOLL_FREE, _Type.VOIP})
_KINDS = {
    _Type.PREMIUM_RATE: "a premium-rate number",
    _Type.SHARED_COST: "a shared-cost number",
    _Type.PERSONAL_NUMBER: "a personal number, which may forward anywhere at any price",
    _Type.PAGER: "a pager",
    _Type.VOICEMAIL: "a voicemail access number",
    _Type.UAN: "a company-wide access number",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """The part of a day in which a person may be called, in that person's local time.

    ``start`` is the first minute of the day and ``end`` the first one after it (1440 is midnight at its end);
    ``days`` are the callee's weekdays, 0 for Monday. Raises ValueError where no minute is left, or past midnight.
    """

    start: int
    end: int
    days: frozenset[int] = frozenset(range(7))

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.end <= _DAY_MINUTES:
            raise ValueError(f"a window from minute {self.start} to minute {self.end} is no part of one day")
        if not self.days or not self.days <= frozenset(range(7)):
            raise ValueError("a window should have at least one weekday, from 0 for Monday to 6 for Sunday")


DAYTIME = Window(start=9 * 60, end=20 * 60)
"""The hours for a callee whose zone is only guessed from the number.

US law allows 08:00 to 21:00 where the callee is (47 CFR 64.1200(c)(1)); one hour less at each end covers a guess that
is one zone off.
"""


def parse_window(text: str) -> Window | None:
    """The window that ``09:00-20:00`` writes, on all days, or None for ``always``; else ValueError.

    Takes the very texts that the setting ``outbound.window`` takes.
    """
    if text == "always":
        return None
    start, end = read_hours(text)
    return Window(start=start, end=end)


def refusal(number: str, allowed_countries: Collection[str]) -> str | None:
    """Why ``number`` may never be called, in a sentence for operators, or None if it may.

    Only what is listed may be called: ``allowed_countries`` are ISO 3166 codes, and each country that shares +1 or
    +44 counts for itself. No list opens numbers that cost the caller extra, or that belong to no country.
    """
    if not is_e164(number):
        return f'"{number}" is no phone number; write it in full, with + and country code, such as "+14155550100"'
    entry = look_up(number)
    if entry is None:
        return f"{number} has a country code that no country uses; check its first digits"
    if phonenumbers.region_code_for_country_code(entry.code) == _NO_COUNTRY:
        return (
            f"{number} belongs to a satellite or international network (+{entry.code}), which is never "
            "called; give another number of this person"
        )
    return _unassigned(number, entry) or _costly(number, entry) or _foreign(number, entry, allowed_countries)


def zones_of(number: str) -> tuple[str, ...]:
    """The zones in which ``number`` may be, judged by its leading digits; empty where these tell nothing.

    A guess about a person: mobiles keep their area code when they move, and some area codes are told wrongly.
    """
    entry = look_up(number) if is_e164(number) else None
    return entry.zones if entry else ()


def zone_refusal(number: str, zone: str | None, *, window: Window | None = DAYTIME) -> str | None:
    """Why nobody can tell the callee's local time, in a sentence for operators, or None if it can be told.

    ``zone`` is the contact's own, None to guess it from the number. With a window of None (``always``) no local time
    is needed, so only a given zone that does not exist is refused.
    """
    if zone is not None:
        return None if _clock(zone) else f'timezone "{zone}" is unknown; write one such as "America/New_York"'
    if window is None:
        return None
    if _clocks(number, zone):
        return None
    return f"{number} does not tell where this person is; give the contact a timezone, such as America/New_York"


def open_at(at_ms: int, *, zone: str | None, number: str, window: Window | None) -> bool:
    """Whether the callee may be called at ``at_ms``.

    With a ``zone`` the window alone decides, in that zone. Without one, the window and ``DAYTIME`` must both be open
    in every zone that the number may be in. A window of None (``always``) is always open, with a zone or without: the
    operator said so. Whoever ``zone_refusal`` refuses under that window is never called.
    """
    if window is None:
        return zone_refusal(number, zone, window=None) is None
    clocks, hours = _clocks(number, zone), _hours(zone, window)
    if not clocks or hours is None:
        return False
    return all(_wait(at_ms + _offset(clock, at_ms), hours) == 0 for clock in clocks)


def next_opening(at_ms: int, *, zone: str | None, number: str, window: Window | None) -> int | None:
    """The first moment from ``at_ms`` on at which ``open_at`` holds; None if there is none within 14 days."""
    if window is None:
        return at_ms if zone_refusal(number, zone, window=None) is None else None
    clocks, hours = _clocks(number, zone), _hours(zone, window)
    if not clocks or hours is None:
        return None
    at = at_ms
    while at <= at_ms + _HORIZON:
        # No zone opens before its own next opening, so all of them together do not before the latest of these.
        latest = max(_opening(clock, at, hours) for clock in clocks)
        if latest == at:
            return at
        at = latest
    return None


def _unassigned(number: str, entry: Entry) -> str | None:
    if entry.fit == ValidationResult.TOO_SHORT:
        return f"{number} has too few digits for +{entry.code}; check it"
    if entry.fit == ValidationResult.TOO_LONG:
        return f"{number} has too many digits for +{entry.code}; check it"
    if entry.fit != ValidationResult.IS_POSSIBLE or not entry.e164:
        return f"{number} is in no range that +{entry.code} has given out; check its digits"
    # The reader drops a trunk prefix, as in +44 020…; what it judged must be what would be dialled.
    if entry.e164 != number:
        return f"{number} holds a prefix for calls inside the country; write {entry.e164}"
    return None


def _costly(number: str, entry: Entry) -> str | None:
    if entry.kind in _CALLABLE:
        return None
    named = _KINDS.get(entry.kind, "of an unknown kind")
    return f"{number} is {named}; such numbers are never called: give another number of this person"


def _foreign(number: str, entry: Entry, allowed: Collection[str]) -> str | None:
    if entry.country in allowed:
        return None
    return (
        f"{number} belongs to {entry.country}, which outbound.allowed_countries does not name; "
        f'add "{entry.country}" there if that country may be called'
    )


@lru_cache(maxsize=1024)
def _clock(name: str) -> ZoneInfo | None:
    # Files that systems keep beside the zones, "localtime" and "right/…" among them, begin with a small letter.
    if not name[:1].isupper() or name == "Factory":
        return None
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # OSError: a name that is a folder, such as "America"
        return None


def _clocks(number: str, zone: str | None) -> list[ZoneInfo]:
    """All clocks by which the callee may live; none where that cannot be told."""
    names = zones_of(number) if zone is None else (zone,)
    if len(names) > _MOST_ZONES:
        return []
    clocks = [clock for clock in map(_clock, names) if clock]
    return clocks if len(clocks) == len(names) else []


def _hours(zone: str | None, window: Window) -> Window | None:
    """The hours in force: the window, cut down to ``DAYTIME`` for a guessed zone; None if nothing is left of it."""
    if zone is not None:
        return window
    start, end = max(window.start, DAYTIME.start), min(window.end, DAYTIME.end)
    return replace(window, start=start, end=end) if start < end else None


def _opening(clock: ZoneInfo, at: int, hours: Window) -> int:
    """The first moment from ``at`` on that is inside ``hours`` by ``clock``.

    Leaps ahead as if the clock were never changed. Where it was changed on the way the leap ends at that change, so
    that an hour which a clock skips or repeats counts as the people there read it.
    """
    while True:
        offset = _offset(clock, at)
        wait = _wait(at + offset, hours)
        if wait == 0:
            return at
        landing = at + wait
        at = landing if _offset(clock, landing) == offset else _change(clock, at, landing)


def _wait(local: int, hours: Window) -> int:
    """Milliseconds from a reading of the wall clock to the next that might be inside ``hours``: at most one day."""
    days, since_midnight = divmod(local, _DAY)
    minute = since_midnight // _MINUTE
    if (days + _THURSDAY) % 7 not in hours.days or minute >= hours.end:
        return _DAY - since_midnight
    return max(hours.start * _MINUTE - since_midnight, 0)


def _offset(clock: ZoneInfo, at: int) -> int:
    seconds = at // 1000
    wall = datetime.fromtimestamp(seconds, clock).replace(tzinfo=UTC)
    return (round(wall.timestamp()) - seconds) * 1000


def _change(clock: ZoneInfo, before: int, after: int) -> int:
    """The whole second at which ``clock`` left the offset that it has at ``before`` and no longer at ``after``."""
    offset = _offset(clock, before)
    low, high = before // 1000, after // 1000
    while high - low > 1:
        middle = (low + high) // 2
        if _offset(clock, middle * 1000) == offset:
            low = middle
        else:
            high = middle
    return high * 1000
