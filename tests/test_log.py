"""What an operator finds in the log: every fact, no phone number, no secret."""

import json
import logging
import re
from collections.abc import Callable, Iterator
from typing import Any

import phonenumbers
import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from gateway import log

CANARY = "canary-5f2e91d07c"
SID = "CA0123456789012345678901234567890123"[:34]
FORMATS = (
    phonenumbers.PhoneNumberFormat.E164,
    phonenumbers.PhoneNumberFormat.INTERNATIONAL,
    phonenumbers.PhoneNumberFormat.NATIONAL,
    phonenumbers.PhoneNumberFormat.RFC3966,
)

Lines = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def lines(capsys: pytest.CaptureFixture[str]) -> Iterator[Lines]:
    """Configure the log as JSON, let the test write, and give back the lines as an operator would read them."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level

    def _lines(write: Callable[[], None], **options: Any) -> list[dict[str, Any]]:
        log.configure(form="json", **options)
        write()
        return [json.loads(line) for line in capsys.readouterr().err.splitlines()]

    yield _lines
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


@pytest.mark.parametrize(
    "number",
    [
        "+14155550142",
        "14155550142",
        "4155550142",
        "(415) 555-0142",
        "+1 (415) 555-0142",
        "415-555-0142",
        "415.555.0142",
        "415 555 0142",
        "+44 (0)20 7946 0142",
        "020 7946 0142",
        "+49 30 901820",
        "030/1234567",
        "01 42 68 53 00",
        "5550142",
        "%2B14155550142",
        "%28415%29%20555-0142",
        "+1+415+555+0142",
        "tel:+1-415-555-0142",
        "sip:+14155550142@agents.example.com",
        "+1\u00a0415\u00a0555\u20110142",
    ],
)
def test_a_number_is_masked_in_every_common_format(number: str) -> None:
    masked = log.mask(f"call from {number} refused")
    assert not re.search(r"\d{3}", masked)
    assert masked.startswith("call from ")
    assert masked.endswith(" refused")


def test_the_last_two_digits_stay_so_that_two_callers_can_be_told_apart() -> None:
    assert log.mask("+14155550142 rang +14155550199") == "…42 rang …99"


@pytest.mark.parametrize("region", sorted(phonenumbers.SUPPORTED_REGIONS))
def test_the_example_number_of_every_country_is_masked(region: str) -> None:
    number = phonenumbers.example_number_for_type(region, phonenumbers.PhoneNumberType.MOBILE)
    if number is None or len(str(number.national_number)) < 7:
        number = phonenumbers.parse("+14155550142")
    for form in FORMATS:
        written = phonenumbers.format_number(number, form)
        assert not re.search(r"\d{3}", log.mask(f"to={written};")), written


@given(
    st.integers(min_value=1_000_000, max_value=999_999_999_999_999),
    st.text(alphabet="abz =:,;'\"<>[]{}", max_size=12),
    st.text(alphabet="abz =:,;'\"<>[]{}", max_size=12),
)
def test_a_number_is_masked_whatever_stands_around_it(number: int, before: str, after: str) -> None:
    masked = log.mask(f"{before}+{number}{after}")
    assert str(number) not in masked
    assert masked.endswith(f"{number % 100:02d}{after}")


@pytest.mark.parametrize(
    "text",
    [
        SID,
        "AC" + "9" * 32,
        "RE" + "1" * 32,
        "out_" + "1234567890abcdef" * 2,
        "call out_0190163d89ab70aa8b1e5d3c2f4a6b7c failed",
        "12345678-1234-4123-8123-123456789012",
        "support@3 on sales-12, epoch 4, share 0.25, 127.0.0.1:8080",
        "2026-05-01",
        "2026-05-01T12:00:00Z",
        "until 2026-05-01T12:00:00.123456+00:00 or later",
        "2026-05-01 12:00:00,123",
        "at 12:34 took 3021 ms, 500 of 1000 rows",
    ],
)
def test_ids_and_times_stay_readable(text: str) -> None:
    assert log.mask(text) == text


@pytest.mark.parametrize("number", ["+2026-05-0142", "2026-05-01423", "from_14155550142", "OUT_14155550142"])
def test_what_only_looks_like_an_id_or_a_date_is_masked(number: str) -> None:
    assert not re.search(r"\d{5}|0142", log.mask(number))


@pytest.mark.parametrize(
    "text",
    [
        f"postgresql://gateway:{CANARY}@db.example.com/gateway",
        f"postgresql://gateway:{CANARY}@x@db.example.com/gateway",
        f"Authorization: Bearer {CANARY}",
        f"{{'Authorization': 'Basic {CANARY}'}}",
        f"GET /calls?token={CANARY}&limit=1",
        f"auth_token={CANARY}",
        f'{{"password": "{CANARY}"}}',
    ],
)
def test_credentials_inside_text_are_left_out(text: str) -> None:
    assert CANARY not in log.mask(text)


def test_what_is_said_about_a_credential_stays_readable() -> None:
    text = "twilio.auth_token: is not set; http://127.0.0.1:8080/agents/support@3 has api_key_sid=SK1"
    assert log.mask(text) == text


def test_a_line_carries_its_facts(lines: Lines) -> None:
    def write() -> None:
        log.get("t1").bind(call_id=SID, route="sales").info("call.assigned", version="support@3", share=0.25, to=None)

    (line,) = lines(write)
    assert line["timestamp"].endswith("Z")
    del line["timestamp"]
    assert line == {
        "event": "call.assigned",
        "level": "info",
        "call_id": SID,
        "route": "sales",
        "version": "support@3",
        "share": 0.25,
        "to": None,
    }


def test_a_number_is_masked_wherever_it_stands_in_a_line(lines: Lines) -> None:
    def write() -> None:
        structlog.contextvars.bind_contextvars(caller="+14155550142")
        log.get("t2").info("call from %s", "(415) 555-0142", to=["+14155550142"], form={"+14155550142": "4155550142"})
        logging.getLogger("library").warning("dialling %s", "415.555.0142")

    first, second = lines(write)
    assert first["event"] == "call from (…42"
    assert (first["caller"], first["to"], first["form"]) == ("…42", ["…42"], {"…42": "…42"})
    assert second["event"] == "dialling …42"
    assert second["timestamp"][:2] == "20"


@pytest.mark.parametrize("form", ["json", "console"])
def test_an_exceptions_text_is_masked(form: log.Format, lines: Lines, capsys: pytest.CaptureFixture[str]) -> None:
    def write() -> None:
        log.configure(form=form)
        for logger in (log.get(f"t3{form}"), logging.getLogger("aiohttp.server")):
            try:
                raise ValueError(f"cannot dial +1 415 555 0142 of {SID} with token={CANARY}")
            except ValueError:
                logger.exception("call.failed")
        text = capsys.readouterr().err
        assert text.count("ValueError: cannot dial …42") == 2
        assert text.count(SID) == 2
        assert CANARY not in text

    lines(write)


@pytest.mark.parametrize(
    "key", ["auth_token", "api_key_secret", "Authorization", "X-Twilio-Signature", "cookie", "database_password"]
)
def test_a_value_with_the_name_of_a_secret_is_left_out(key: str, lines: Lines) -> None:
    (line,) = lines(lambda: log.get(f"t4{key}").info("request", **{key: CANARY}, headers={key: [CANARY]}))
    assert line[key] == "***"
    assert line["headers"] == {key: "***"}


def test_a_known_secret_is_left_out_wherever_it_stands(lines: Lines) -> None:
    def write() -> None:
        try:
            raise RuntimeError(f"refused: {CANARY}")
        except RuntimeError:
            log.get("t5").exception(f"tried {CANARY}", body=f"x{CANARY}y", nested=[{"a": CANARY}])

    assert CANARY in json.dumps(lines(write))
    assert CANARY not in json.dumps(lines(write, secrets=(CANARY,)))


def test_a_secret_too_short_to_be_one_does_not_blot_out_the_log(lines: Lines) -> None:
    (line,) = lines(lambda: log.get("t6").info("call.assigned", arm="a"), secrets=("a", ""))
    assert line["event"] == "call.assigned"


def test_lines_below_the_level_are_not_written(lines: Lines) -> None:
    def write() -> None:
        for logger in (log.get("t7"), logging.getLogger("library")):
            logger.info("quiet")
            logger.warning("loud")

    assert [line["event"] for line in lines(write, level="warning")] == ["loud", "loud"]


def test_libraries_that_print_whole_requests_are_silenced(lines: Lines) -> None:
    def write() -> None:
        logging.getLogger("twilio.http_client").info("POST +14155550142")
        logging.getLogger("library").debug("heard")

    assert [line["event"] for line in lines(write, level="debug")] == ["heard"]


def test_a_flood_is_told_a_few_times_a_second_and_counted() -> None:
    throttle = log.Throttle(2)
    assert [throttle.passes(at) for at in (1000, 1001, 1002, 1999)] == [0, 0, None, None]
    assert [throttle.passes(at) for at in (2000, 2500, 2600, 9000)] == [2, 0, None, 1]
