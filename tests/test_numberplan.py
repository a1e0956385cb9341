"""An entry of the numbering plans says what the library itself says, number by number."""

import phonenumbers
import pytest
from hypothesis import given
from hypothesis import strategies as st
from phonenumbers import timezone

from gateway.numberplan import look_up
from gateway.phone import is_e164


def check(number: str) -> None:
    entry = look_up.__wrapped__(number)
    try:
        parsed = phonenumbers.parse(number)
    except phonenumbers.NumberParseException:
        assert entry is None
        return
    assert entry is not None
    valid = phonenumbers.is_valid_number(parsed)
    zones = timezone.time_zones_for_number(parsed)
    assert (entry.code, entry.country) == (parsed.country_code, phonenumbers.region_code_for_number(parsed))
    assert (entry.kind, bool(entry.e164)) == (phonenumbers.number_type(parsed), valid)
    assert entry.fit == phonenumbers.is_possible_number_with_reason(parsed)
    assert entry.zones == tuple(zone for zone in zones if zone != timezone.UNKNOWN_TIMEZONE)
    if valid:
        assert entry.e164 == phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)


@pytest.mark.parametrize("region", sorted(phonenumbers.SUPPORTED_REGIONS))
def test_every_kind_of_number_of_every_country_has_the_entry_that_the_library_gives(region: str) -> None:
    checked = 0
    for kind in phonenumbers.PhoneNumberType.values():
        example = phonenumbers.example_number_for_type(region, kind)
        if example is not None:
            number = phonenumbers.format_number(example, phonenumbers.PhoneNumberFormat.E164)
            check(number)
            check(number[:-1])
            check(number + "0")
            checked += 1
    assert checked


@given(st.from_regex(r"\+(1|44|7|49|39|52|54|61|800|881)?[1-9][0-9]{5,11}", fullmatch=True).filter(is_e164))
def test_any_number_has_the_entry_that_the_library_gives(number: str) -> None:
    check(number)
