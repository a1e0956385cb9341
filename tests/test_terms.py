"""The terms of a campaign: hours within hours, who has agreed, and what follows from each attempt."""

from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from gateway.callee import Window, parse_window
from gateway.terms import Terms, consents, result_of

MINUTE = 60_000


@pytest.mark.parametrize(
    ("own", "gateway", "hours"),
    [
        (None, "always", None),
        (None, "09:00-20:00", "09:00-20:00"),
        ("10:00-22:00", "09:00-20:00", "10:00-20:00"),
        ("10:00-12:00", "always", "10:00-12:00"),
        ("always", "09:00-20:00", "09:00-20:00"),
    ],
)
def test_a_campaign_calls_within_its_hours_and_the_gateways(own: str | None, gateway: str, hours: str | None) -> None:
    assert Terms(window=own).hours(parse_window(gateway)) == (parse_window(hours) if hours else None)


def test_days_hold_even_where_every_hour_is_open() -> None:
    assert Terms(days=("mon", "sun")).hours(None) == Window(start=0, end=1440, days=frozenset({0, 6}))


def test_hours_that_never_meet_are_told() -> None:
    with pytest.raises(ValueError, match="no minute in common"):
        Terms(window="06:00-08:00").hours(parse_window("09:00-20:00"))


def test_who_is_called_again_and_when() -> None:
    terms = Terms.model_validate({"retry": {"busy": "30m", "short": "2d"}, "max_attempts": 2})
    assert terms.again_at("busy", attempts=1, now=0) == 30 * MINUTE
    assert terms.again_at("short", attempts=1, now=5) == 2 * 24 * 60 * MINUTE + 5
    assert terms.again_at("busy", attempts=2, now=0) is None
    assert terms.again_at("no_answer", attempts=1, now=0) is None
    assert terms.again_at("refused", attempts=1, now=0) is None


@pytest.mark.parametrize(
    ("status", "seconds", "answered_by", "result"),
    [
        ("completed", 40, None, "answered"),
        ("completed", 40, "human", "answered"),
        ("completed", 40, "unknown", "answered"),
        ("completed", 40, "machine_end_beep", "machine"),
        ("completed", 2, "fax", "machine"),
        ("completed", 9, None, "short"),
        ("completed", 10, "human", "answered"),
        ("completed", None, None, "answered"),
        ("busy", None, None, "busy"),
        ("no-answer", None, None, "no_answer"),
        ("failed", None, None, "failed"),
        ("canceled", None, None, "canceled"),
        ("unknown", None, None, "unknown"),
    ],
)
def test_what_became_of_an_attempt(status: str, seconds: int | None, answered_by: str | None, result: str) -> None:
    assert result_of(status, seconds=seconds, answered_by=answered_by, terms=Terms()) == result


@pytest.mark.parametrize("written", ["yes", "Y", "true", "2026-03-01", "web form 17"])
def test_anything_but_a_no_is_consent(written: str) -> None:
    assert consents(written)


@pytest.mark.parametrize("written", [None, "", "  ", "no", "No", "FALSE", "0", "revoked"])
def test_a_no_or_nothing_is_no_consent(written: str | None) -> None:
    assert not consents(written)


def test_a_start_is_a_moment_with_its_zone() -> None:
    moment = datetime(2027, 3, 1, 14, tzinfo=UTC).timestamp() * 1000
    assert Terms.model_validate({"start_at": "2027-03-01T09:00:00-05:00"}).start_at == moment
    assert Terms.model_validate({"start_at": moment}).start_at == moment


@pytest.mark.parametrize(
    ("settings", "cure"),
    [
        ({"start_at": "2027-03-01T09:00:00"}, "with its zone"),
        ({"start_at": "tomorrow"}, "with its zone"),
        ({"retry": {"busy": "soon"}}, "30m"),
        ({"retry": {"answered": "30m"}}, "busy"),
        ({"window": "20:00-09:00"}, "earlier one first"),
        ({"days": []}, "at least 1"),
        ({"days": ["monday"]}, "mon"),
        ({"max_attempts": 0}, "greater than or equal to 1"),
        ({"calls_per_seconds": 2}, "calls_per_seconds"),
    ],
)
def test_what_cannot_be_set_is_told(settings: dict[str, object], cure: str) -> None:
    with pytest.raises(ValidationError, match=cure):
        Terms.model_validate(settings)
