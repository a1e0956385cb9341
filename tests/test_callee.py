"""Who may be called, and when: numbers that cost money, and clocks that are changed."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import settings as limits
from hypothesis import strategies as st
from phonenumbers.tzdata import TIMEZONE_DATA

from gateway.callee import DAYTIME, Window, next_opening, open_at, parse_window, refusal, zone_refusal, zones_of

HERE = ("US", "GB", "DE")
SAN_FRANCISCO = "+14155550123"
NEW_YORK = "+12125550123"
PHOENIX = "+16022345678"
BERLIN = "+493012345678"
KATHMANDU = "+97714123456"
IDAHO = "+12082234567"  # an area code that lies in Boise's zone and in Los Angeles's
AUSTRALIAN_MOBILE = "+61412345678"
TOLL_FREE = "+18882345678"

MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR


def ms(text: str) -> int:
    """Unix milliseconds of an ISO time with its offset from UTC."""
    moment = datetime.fromisoformat(text)
    assert moment.tzinfo is not None
    return round(moment.timestamp() * 1000)


def wall(at: int, zone: str) -> str:
    return datetime.fromtimestamp(at / 1000, ZoneInfo(zone)).strftime("%a %d %H:%M %z")


def window(text: str, *days: int) -> Window:
    found = parse_window(text)
    assert found is not None
    return Window(start=found.start, end=found.end, days=frozenset(days)) if days else found


# Windows


def test_a_window_is_two_times_of_one_day() -> None:
    assert parse_window("09:00-20:00") == Window(start=540, end=1200, days=frozenset(range(7)))
    assert parse_window("00:00-24:00") == Window(start=0, end=1440)
    assert parse_window("always") is None


@pytest.mark.parametrize("text", ["20:00-09:00", "09:00-09:00", "22:00-06:00", "00:00-00:00"])
def test_a_window_across_midnight_is_refused_with_the_cure(text: str) -> None:
    with pytest.raises(ValueError, match=r'cannot cross midnight: write such as "09:00-20:00", or "always"'):
        parse_window(text)


@pytest.mark.parametrize("text", ["", "9:00-20:00", "09:00", "09:00-25:00", "09:00-24:01", "Always", "09:00-20:00\n"])
def test_other_text_is_no_window(text: str) -> None:
    with pytest.raises(ValueError, match="should be two times of one day"):
        parse_window(text)


@pytest.mark.parametrize("days", [frozenset[int](), frozenset({7}), frozenset({-1, 0})])
def test_a_window_has_real_weekdays(days: frozenset[int]) -> None:
    with pytest.raises(ValueError, match="from 0 for Monday to 6 for Sunday"):
        Window(start=0, end=60, days=days)


# Who


@pytest.mark.parametrize(
    "number", [SAN_FRANCISCO, NEW_YORK, TOLL_FREE, "+442079460958", "+447400123456", BERLIN, "+4915123456789"]
)
def test_people_in_the_listed_countries_may_be_called(number: str) -> None:
    assert refusal(number, HERE) is None


@pytest.mark.parametrize("number", [SAN_FRANCISCO, "+442079460958", BERLIN])
def test_nobody_may_be_called_until_a_country_is_listed(number: str) -> None:
    assert "outbound.allowed_countries does not name" in (refusal(number, ()) or "")


@pytest.mark.parametrize(
    ("number", "region"),
    [
        ("+18765550123", "JM"),
        ("+18095550123", "DO"),
        ("+12462345678", "BB"),
        ("+18682345678", "TT"),
        ("+17872345678", "PR"),
        ("+14165550123", "CA"),
        ("+447911123456", "GG"),
        ("+441534123456", "JE"),
        ("+447624123456", "IM"),
        ("+33612345678", "FR"),
    ],
)
def test_a_country_that_shares_a_country_code_counts_for_itself(number: str, region: str) -> None:
    assert refusal(number, HERE) == (
        f"{number} belongs to {region}, which outbound.allowed_countries does not name; "
        f'add "{region}" there if that country may be called'
    )
    assert refusal(number, (*HERE, region)) is None


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        ("+19002345678", "a premium-rate number"),
        ("+19005550123", "a premium-rate number"),
        ("+449012345678", "a premium-rate number"),
        ("+499001234567", "a premium-rate number"),
        ("+491805123456", "a shared-cost number"),
        ("+447012345678", "a personal number"),
        ("+447040123456", "a personal number"),
        ("+15005550006", "a personal number"),
        ("+447640123456", "a pager"),
        ("+4916412345678", "a pager"),
        ("+443001234567", "a company-wide access number"),
        ("+445512345678", "a company-wide access number"),
    ],
)
@pytest.mark.parametrize("countries", [HERE, ()])
def test_costly_numbers_are_refused_whatever_is_listed(number: str, kind: str, countries: tuple[str, ...]) -> None:
    assert f"{number} is {kind}" in (refusal(number, countries) or "")


@pytest.mark.parametrize(
    "number",
    [
        "+870773111632",
        "+881612345678",
        "+88216123456",
        "+883510012345678",
        "+878101234567890",
        "+888123456789",
        "+979123456789",
        "+80012345678",
    ],
)
def test_satellites_and_networks_of_no_country_are_refused(number: str) -> None:
    reason = refusal(number, (*HERE, "001"))
    assert reason == (
        f"{number} belongs to a satellite or international network ({number[:4]}), which is never called; "
        "give another number of this person"
    )


@pytest.mark.parametrize(
    ("number", "words"),
    [
        ("", "write it in full"),
        ("4155550123", "write it in full"),
        ("sip:alice@example.com", "write it in full"),
        (SAN_FRANCISCO + "\n", "write it in full"),
        ("+8656696", "write it in full"),
        ("+1415555012", "too few digits for +1"),
        ("+141555501234", "too many digits for +1"),
        ("+447700900123", "in no range that +44 has given out"),
        ("+12345678", "check"),
        ("+999123456789", "a country code that no country uses"),
        ("+4402079460958", "write +442079460958"),
        ("+114155550123", "write +14155550123"),
    ],
)
def test_what_rings_nobody_is_refused_with_its_cure(number: str, words: str) -> None:
    assert words in (refusal(number, HERE) or "")


@given(st.text(max_size=20) | st.from_regex(r"\+[0-9]{4,17}", fullmatch=True))
def test_whatever_is_written_is_judged_and_nothing_passes_an_empty_list(text: str) -> None:
    reason = refusal(text, ())
    assert reason is not None
    assert text in reason
    assert isinstance(zones_of(text), tuple)
    assert text in (zone_refusal(text, text) or text)


# Where


@pytest.mark.parametrize(
    ("number", "zones"),
    [
        (NEW_YORK, ("America/New_York",)),
        (PHOENIX, ("America/Phoenix",)),
        (BERLIN, ("Europe/Berlin",)),
        (KATHMANDU, ("Asia/Katmandu",)),
        (IDAHO, ("America/Boise", "America/Los_Angeles")),
        ("+881612345678", ()),
        ("anonymous", ()),
    ],
)
def test_a_number_tells_its_zones(number: str, zones: tuple[str, ...]) -> None:
    assert zones_of(number) == zones
    assert (zone_refusal(number, None) is None) == bool(zones)


@pytest.mark.parametrize("number", [TOLL_FREE, "+15005550006", "+18765550123", "+79123456789", "+881612345678"])
def test_a_number_that_may_be_anywhere_needs_a_zone(number: str) -> None:
    noon = ms("2026-06-17T12:00:00-05:00")
    assert zone_refusal(number, None) == (
        f"{number} does not tell where this person is; give the contact a timezone, such as America/New_York"
    )
    assert not open_at(noon, zone=None, number=number, window=DAYTIME)
    assert next_opening(noon, zone=None, number=number, window=DAYTIME) is None
    assert zone_refusal(number, "America/Chicago") is None
    assert open_at(noon, zone="America/Chicago", number=number, window=DAYTIME)
    # Under "always" nobody asks for the local time.
    assert zone_refusal(number, None, window=None) is None


@pytest.mark.parametrize(
    "zone",
    [
        *("", "Etc/Unknown", "america/new_york", "America", "America/New_York ", "../etc/passwd", "/etc/localtime"),
        *("localtime", "posixrules", "right/America/New_York", "Factory", "A\0b", "A" * 5000, "EDT"),
    ],
)
@pytest.mark.parametrize("hours", [DAYTIME, None])
def test_an_unknown_zone_is_refused_and_never_open(zone: str, hours: Window | None) -> None:
    noon = ms("2026-06-17T12:00:00-04:00")
    assert zone_refusal(NEW_YORK, zone, window=hours) == (
        f'timezone "{zone}" is unknown; write one such as "America/New_York"'
    )
    assert not open_at(noon, zone=zone, number=NEW_YORK, window=hours)
    assert next_opening(noon, zone=zone, number=NEW_YORK, window=hours) is None


def test_every_zone_that_numbers_lead_to_has_a_clock() -> None:
    names = {name for zones in TIMEZONE_DATA.values() for name in zones}
    assert {name for name in names if zone_refusal(NEW_YORK, name) is not None} == set()


# When


@pytest.mark.parametrize("zone", [None, "Europe/Berlin"])
@pytest.mark.parametrize("number", [NEW_YORK, TOLL_FREE])
def test_always_means_always_with_a_zone_or_without(zone: str | None, number: str) -> None:
    for hour in range(24):
        at = ms("2026-06-17T00:00:00+00:00") + hour * HOUR + 1
        assert open_at(at, zone=zone, number=number, window=None)
        assert next_opening(at, zone=zone, number=number, window=None) == at


@pytest.mark.parametrize(
    ("number", "zone", "opens", "closes"),
    [
        (NEW_YORK, None, "2026-01-14T09:00-05:00", "2026-01-14T20:00-05:00"),
        (NEW_YORK, None, "2026-07-15T09:00-04:00", "2026-07-15T20:00-04:00"),
        (BERLIN, None, "2026-01-14T09:00+01:00", "2026-01-14T20:00+01:00"),
        (KATHMANDU, None, "2026-01-14T09:00+05:45", "2026-01-14T20:00+05:45"),
        # Arizona keeps its clock all year.
        (PHOENIX, None, "2026-01-14T09:00-07:00", "2026-01-14T20:00-07:00"),
        (PHOENIX, None, "2026-07-15T09:00-07:00", "2026-07-15T20:00-07:00"),
        # Open when it is nine in Los Angeles, closed when it is eight in Boise.
        (IDAHO, None, "2026-07-15T09:00-07:00", "2026-07-15T20:00-06:00"),
        # From the Cocos Islands to Lord Howe.
        (AUSTRALIAN_MOBILE, None, "2026-07-15T09:00+06:30", "2026-07-15T20:00+10:30"),
        # What is known of the person outweighs the area code.
        (NEW_YORK, "America/Los_Angeles", "2026-07-15T09:00-07:00", "2026-07-15T20:00-07:00"),
    ],
)
def test_the_window_is_read_off_the_clock_of_the_callee(
    number: str, zone: str | None, opens: str, closes: str
) -> None:
    first, end = ms(opens), ms(closes)
    at_times = [first - 1, first, end - 1, end]
    assert [open_at(at, zone=zone, number=number, window=DAYTIME) for at in at_times] == [False, True, True, False]
    assert next_opening(first - 3 * HOUR, zone=zone, number=number, window=DAYTIME) == first
    assert next_opening(first + 1, zone=zone, number=number, window=DAYTIME) == first + 1
    assert next_opening(end, zone=zone, number=number, window=DAYTIME) == first + DAY


def test_a_guessed_zone_narrows_a_wide_window_and_a_given_one_does_not() -> None:
    wide = window("00:00-24:00")
    at = ms("2026-07-15T21:30:00-04:00")
    assert open_at(at, zone="America/New_York", number=NEW_YORK, window=wide)
    assert not open_at(at, zone=None, number=NEW_YORK, window=wide)
    assert next_opening(at, zone=None, number=NEW_YORK, window=wide) == ms("2026-07-16T09:00:00-04:00")
    # A narrower one keeps its own ends.
    assert next_opening(at, zone=None, number=NEW_YORK, window=window("10:15-11:00")) == ms("2026-07-16T10:15-04:00")


def test_what_never_opens_is_none_rather_than_far_away() -> None:
    at = ms("2026-07-15T12:00:00+00:00")
    assert next_opening(at, zone=None, number=NEW_YORK, window=window("20:00-22:00")) is None
    # Eight zones spread over four hours have no single hour in common.
    assert next_opening(at, zone=None, number=AUSTRALIAN_MOBILE, window=window("09:00-10:00")) is None


def test_the_weekday_is_the_callees() -> None:
    mondays = window("00:00-24:00", 0)
    # Sunday evening in London is Monday morning in Kathmandu.
    at = ms("2026-07-12T18:14:59+00:00")
    assert not open_at(at, zone="Asia/Kathmandu", number=KATHMANDU, window=mondays)
    opening = next_opening(at, zone="Asia/Kathmandu", number=KATHMANDU, window=mondays)
    assert opening == ms("2026-07-12T18:15:00+00:00")
    assert wall(opening, "Asia/Kathmandu") == "Mon 13 00:00 +0545"
    saturday = ms("2026-07-18T12:00:00-04:00")
    weekdays = window("09:00-20:00", 0, 1, 2, 3, 4)
    assert next_opening(saturday, zone=None, number=NEW_YORK, window=weekdays) == ms("2026-07-20T09:00:00-04:00")


@pytest.mark.parametrize(
    ("number", "zone", "before", "after"),
    [
        (NEW_YORK, "America/New_York", "2026-03-07T09:00-05:00", "2026-03-08T09:00-04:00"),
        (NEW_YORK, "America/New_York", "2026-10-31T09:00-04:00", "2026-11-01T09:00-05:00"),
        (BERLIN, "Europe/Berlin", "2026-03-28T09:00+01:00", "2026-03-29T09:00+02:00"),
        (BERLIN, "Europe/Berlin", "2026-10-24T09:00+02:00", "2026-10-25T09:00+01:00"),
    ],
)
def test_it_opens_at_nine_on_the_wall_after_the_clock_was_changed(
    number: str, zone: str, before: str, after: str
) -> None:
    closing = ms(before) + 11 * HOUR
    for given_zone in (None, zone):
        assert next_opening(closing, zone=given_zone, number=number, window=DAYTIME) == ms(after)
    assert ms(after) - ms(before) != DAY


@pytest.mark.parametrize(
    ("zone", "hours", "asked", "opens"),
    [
        # 02:30 is skipped: whoever wakes in that window finds it open at 03:00, the next minute on the wall.
        ("America/New_York", "02:30-04:00", "2026-03-08T01:00-05:00", "2026-03-08T03:00-04:00"),
        ("Europe/Berlin", "02:30-04:00", "2026-03-29T01:00+01:00", "2026-03-29T03:00+02:00"),
        # A window that lies in the skipped hour opens a day later.
        ("America/New_York", "02:10-02:50", "2026-03-08T01:00-05:00", "2026-03-09T02:10-04:00"),
        # An hour that comes twice is open twice.
        ("America/New_York", "01:30-01:45", "2026-11-01T01:00-04:00", "2026-11-01T01:30-04:00"),
        ("America/New_York", "01:30-01:45", "2026-11-01T01:45-04:00", "2026-11-01T01:30-05:00"),
        ("America/New_York", "01:30-01:45", "2026-11-01T01:45-05:00", "2026-11-02T01:30-05:00"),
        ("Europe/Berlin", "02:00-02:15", "2026-10-25T02:15+02:00", "2026-10-25T02:00+01:00"),
        # Where midnight itself is skipped the day begins at one.
        ("America/Santiago", "00:00-09:00", "2026-09-05T22:00-04:00", "2026-09-06T01:00-03:00"),
        # Where it comes twice, the old day is closed again: at its end it becomes 23:00.
        ("America/Santiago", "23:15-23:30", "2026-04-04T23:30-03:00", "2026-04-04T23:15-04:00"),
        # Half an hour of summer time.
        ("Australia/Lord_Howe", "02:15-03:00", "2026-10-04T01:00+10:30", "2026-10-04T02:30+11:00"),
    ],
)
def test_hours_that_are_skipped_or_come_twice(zone: str, hours: str, asked: str, opens: str) -> None:
    found = next_opening(ms(asked), zone=zone, number=TOLL_FREE, window=window(hours))
    assert found is not None
    assert wall(found, zone) == wall(ms(opens), zone)
    assert found == ms(opens)
    assert open_at(found, zone=zone, number=TOLL_FREE, window=window(hours))
    assert not open_at(found - 1, zone=zone, number=TOLL_FREE, window=window(hours))


ZONES = (
    *("America/New_York", "Europe/Berlin", "Asia/Kathmandu", "America/Phoenix", "Australia/Lord_Howe"),
    *("America/Santiago", "Asia/Beirut", "Antarctica/Troll", "Africa/Casablanca", "Europe/Dublin", "UTC"),
)
BEGIN, END = ms("2024-01-01T00:00:00+00:00"), ms("2028-01-01T00:00:00+00:00")
CHANGES = [
    *("2026-03-08T07:00+00:00", "2026-11-01T06:00+00:00", "2026-03-29T01:00+00:00", "2026-10-25T01:00+00:00"),
    *("2026-04-05T03:00+00:00", "2026-09-06T04:00+00:00", "2026-10-03T15:30+00:00", "2026-02-15T02:00+00:00"),
]
moments = st.integers(BEGIN, END) | st.builds(
    lambda change, back: ms(change) - back, st.sampled_from(CHANGES), st.integers(-HOUR, 2 * DAY)
)
windows = st.builds(
    lambda start, length, days: Window(start=start, end=min(start + length, 1440), days=frozenset(days)),
    st.integers(0, 1439),
    st.integers(1, 1440),
    st.sets(st.integers(0, 6), min_size=1),
)


def inside(at: int, zones: tuple[str, ...], hours: list[Window]) -> bool:
    """The rule in other words: what stands on the wall of every zone."""
    seconds = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=at)
    for zone in zones:
        local = seconds.astimezone(ZoneInfo(zone))
        minute = local.hour * 60 + local.minute
        if not all(local.weekday() in one.days and one.start <= minute < one.end for one in hours):
            return False
    return True


@given(at=moments, zone=st.sampled_from(ZONES), hours=windows)
@example(at=ms("2026-03-08T06:59:59+00:00"), zone="America/New_York", hours=Window(start=150, end=151))
def test_the_next_opening_is_open_and_no_minute_before_it_is(at: int, zone: str, hours: Window) -> None:
    found = next_opening(at, zone=zone, number=TOLL_FREE, window=hours)
    _check(at, found, (zone,), [hours])
    assert open_at(at, zone=zone, number=TOLL_FREE, window=hours) == (found == at)


@limits(max_examples=40)
@given(at=moments, number=st.sampled_from([IDAHO, AUSTRALIAN_MOBILE, NEW_YORK, KATHMANDU]), hours=windows)
def test_the_next_opening_of_a_guessed_zone_is_open_in_all_of_them(at: int, number: str, hours: Window) -> None:
    found = next_opening(at, zone=None, number=number, window=hours)
    _check(at, found, zones_of(number), [hours, DAYTIME])
    assert open_at(at, zone=None, number=number, window=hours) == (found == at)


def _check(at: int, found: int | None, zones: tuple[str, ...], hours: list[Window]) -> None:
    last = at + 14 * DAY if found is None else found
    assert found is None or (found >= at and inside(found, zones, hours))
    # Openings fall on whole minutes; the very moment asked for is one more.
    minutes = range(at - at % MINUTE + MINUTE, last, MINUTE)
    assert [one for one in (at, *minutes) if one != found and inside(one, zones, hours)] == []
