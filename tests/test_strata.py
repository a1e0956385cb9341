"""Strata are read of what was known before the draw, and what cannot be told is called unknown."""

from datetime import UTC, datetime
from typing import Any

import pytest

from gateway.strata import Known, country_of, hour_of, hours_of, stratum_of


def at(hour: int, minute: int = 0) -> int:
    return int(datetime(2026, 6, 1, hour, minute, tzinfo=UTC).timestamp()) * 1000


@pytest.mark.parametrize(
    ("number", "moment", "hours"),
    [
        ("+442071838750", at(7, 59), "out"),  # London is an hour ahead in June
        ("+442071838750", at(8), "in"),
        ("+442071838750", at(15, 59), "in"),
        ("+442071838750", at(16), "out"),
        ("+12125550100", at(13), "in"),  # New York, four hours behind
        ("+12125550100", at(12, 59), "out"),
        ("sip:somebody", at(9), "in"),  # no zone: UTC
        ("sip:somebody", at(17), "out"),
    ],
)
def test_hours_are_those_where_the_called_number_is(number: str, moment: int, hours: str) -> None:
    assert hours_of(number, moment) == hours


def test_the_hour_of_the_day_is_in_utc() -> None:
    assert [hour_of(at(0)), hour_of(at(13, 59))] == ["hour=00", "hour=13"]


@pytest.mark.parametrize(
    ("number", "country"), [("+442071838750", "GB"), ("+14155550100", "US"), ("anonymous", None)]
)
def test_the_country_of_a_number(number: str, country: str | None) -> None:
    assert country_of(number) == country


@pytest.mark.parametrize(
    ("name", "known", "value"),
    [
        ("country", {"country": "FR"}, "FR"),
        ("country", {}, "US"),
        ("country", {"other": "anonymous"}, "unknown"),
        ("new_caller", {}, "unknown"),
        ("new_caller", {"new_caller": True}, "yes"),
        ("new_caller", {"new_caller": False}, "no"),
        ("hours", {}, "in"),
        ("var:plan", {"variables": {"plan": "gold"}}, "gold"),
        ("var:plan", {"variables": {"plan": "x" * 99}}, "x" * 40),
        ("var:plan", {"variables": {"tier": "1"}}, "unknown"),
    ],
)
def test_the_value_of_a_stratum(name: str, known: dict[str, Any], value: str) -> None:
    standing = {"at": at(18), "country": "", "number": "+14155550100", "other": "+12125550100", **known}
    assert stratum_of(name, Known(**standing)) == value
