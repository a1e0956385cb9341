"""What the world's numbering plans say of a number, read once for all who ask.

To read a number takes some 50 µs, and several rules ask for the same one when its list is read, previewed and called.
"""

from functools import lru_cache
from typing import NamedTuple

import phonenumbers
from phonenumbers import NumberParseException, PhoneNumberFormat, PhoneNumberType
from phonenumbers.tzdata import TIMEZONE_DATA

# Some 400 bytes each: enough for several portions of a list, and for the whole of most lists.
_REMEMBERED = 16_384


class Entry(NamedTuple):
    """What is known of a number: ``code`` is its country code, ``country`` is ISO 3166, or ``001`` for no country.

    ``fit`` tells whether it has as many digits as its country's numbers. ``e164`` is what would be dialled, which may
    differ from what was written. A number in no range that was given out has the ``kind`` UNKNOWN, "" as ``e164``
    and no ``zones``, and perhaps no ``country``.
    """

    code: int
    country: str | None
    kind: int
    fit: int
    e164: str
    zones: tuple[str, ...]


@lru_cache(maxsize=_REMEMBERED)
def look_up(number: str) -> Entry | None:
    """The entry of a number in the form of E.164; None where no country uses its first digits."""
    try:
        parsed = phonenumbers.parse(number)
    except NumberParseException:
        return None
    code, kind = parsed.country_code or 0, phonenumbers.number_type(parsed)
    fit = phonenumbers.is_possible_number_with_reason(parsed)
    country = phonenumbers.region_code_for_number(parsed)
    if kind == PhoneNumberType.UNKNOWN:
        return Entry(code, country, kind, fit, "", ())
    plain = str(phonenumbers.format_number(parsed, PhoneNumberFormat.E164))
    # Nearly always they are equal, and one text takes half the room of two.
    plain = number if plain == number else plain
    local = phonenumbers.is_number_type_geographical(kind, code)
    return Entry(code, country, kind, fit, plain, _zones(plain[1:] if local else str(code)))


def _zones(digits: str) -> tuple[str, ...]:
    """The zones of the longest prefix that the table of zones holds."""
    for length in range(len(digits), 0, -1):
        if zones := TIMEZONE_DATA.get(digits[:length]):
            return tuple(zones)
    return ()
