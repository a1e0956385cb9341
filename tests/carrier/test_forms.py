"""What Twilio posts is read as it was sent, and what cannot be read is refused by name."""

from urllib.parse import parse_qsl, urlencode

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.carrier.forms import event_key, parse_form, read_call, seconds, unique
from gateway.errors import Malformed

INBOUND = {
    "AccountSid": "AC0123456789abcdef0123456789abcdef",
    "ApiVersion": "2010-04-01",
    "CallSid": "CA0123456789abcdef0123456789abcdef",
    "CallStatus": "ringing",
    "Called": "+14155550100",
    "CalledCountry": "US",
    "Caller": "+442071838750",
    "CallerCity": "",
    "CallerCountry": "GB",
    "Direction": "inbound",
    "From": "+442071838750",
    "FromCity": "",
    "FromCountry": "GB",
    "To": "+14155550100",
    "ToCity": "SAN FRANCISCO",
    "ToCountry": "US",
}

# Pieces from which wrongly encoded bodies are made, beside plain bytes.
FRAGMENTS = [
    b"&",
    b"=",
    b"%",
    b"+",
    b"%2B",
    b"%2b",
    b"%26",
    b"%3D",
    b"%zz",
    b"%C3%A9",
    b"%C3",
    "é".encode(),
    b"\xc3",
    b"a",
]
bodies = st.lists(st.sampled_from(FRAGMENTS) | st.binary(max_size=3), max_size=30).map(b"".join)


def reference(body: bytes) -> list[tuple[str, str]]:
    return parse_qsl(body.decode(), keep_blank_values=True, encoding="utf-8", errors="strict", separator="&")


# --- the body --------------------------------------------------------------------------------------------


@given(bodies)
@example(b"")
@example(b"a")
@example(b"a&b=")
@example(b"=x")
@example(b"=")
@example(b"a=b=c")
@example(b"a=%zz")
@example(b"a=%")
@example(b"a=%2")
@example(b"a=%252B")
@example(b"a=%%2B2B")
@example(b"a=%2%2BB")
@example(b"&&")
@example(b"&a=1&&b=2&")
@example(b"a=+1+&a=+1+")
@example(b"a=1;b=2")
@example(b"a=%00")
@example(b"a=%ED%A0%80")
@example(b"a=\xc3%A9")
@example("a=é%C3%A9é".encode())
def test_a_body_is_read_as_the_standard_library_reads_it(body: bytes) -> None:
    try:
        expected = reference(body)
    except UnicodeDecodeError:
        with pytest.raises(Malformed, match="UTF-8"):
            parse_form(body)
    else:
        assert parse_form(body) == expected


@given(st.lists(st.tuples(st.text(), st.text()), max_size=30))
def test_what_a_carrier_encodes_comes_back_whole(pairs: list[tuple[str, str]]) -> None:
    assert parse_form(urlencode(pairs).encode()) == pairs


def test_blanks_repeats_order_and_spaces_are_kept() -> None:
    assert parse_form(b"To=%2B1415&From=&X=+a+b%20&X=2&To=%2B1415") == [
        ("To", "+1415"),
        ("From", ""),
        ("X", " a b "),
        ("X", "2"),
        ("To", "+1415"),
    ]


@pytest.mark.parametrize("body", [b"a=\xff", b"a=%FF", b"%C3=a", b"a=%C3&b=%A9", b"\xc3\x28=1"])
def test_text_that_is_not_utf8_is_refused(body: bytes) -> None:
    with pytest.raises(Malformed, match="UTF-8"):
        parse_form(body)


def test_three_hundred_fields_are_read_and_one_more_is_refused_with_the_limit() -> None:
    body = "&".join(f"f{n}=%20" for n in range(300)).encode()
    assert len(parse_form(body)) == 300
    assert len(parse_form(body + b"&" * 50)) == 300
    with pytest.raises(Malformed, match="301 fields; at most 300"):
        parse_form(body + b"&one=more")


def test_fields_by_name_and_every_repeated_name_named() -> None:
    assert unique([("a", "1"), ("b", "")]) == {"a": "1", "b": ""}
    with pytest.raises(Malformed) as refused:
        unique([("To", "1"), ("From", "2"), ("To", "1"), ("Digits", "3"), ("Digits", "4")])
    assert "To, Digits" in refused.value.message
    assert "From" not in refused.value.message


# --- the call --------------------------------------------------------------------------------------------


def test_an_inbound_call_is_read() -> None:
    call = read_call(INBOUND, id=None, at=1_700_000_000_000)
    assert call.id == call.sid == INBOUND["CallSid"]
    assert call.account == INBOUND["AccountSid"]
    assert (call.direction, call.status, call.at) == ("inbound", "ringing", 1_700_000_000_000)
    assert (call.from_, call.to, call.other) == ("+442071838750", "+14155550100", "+442071838750")
    assert call.country == "GB"


@pytest.mark.parametrize("direction", ["outbound-api", "outbound-dial"])
def test_an_outbound_call_keeps_our_id_and_counts_by_the_country_that_is_rung(direction: str) -> None:
    fields = {**INBOUND, "Direction": direction, "CallStatus": "in-progress"}
    call = read_call(fields, id="out_1", at=0)
    assert (call.id, call.sid) == ("out_1", INBOUND["CallSid"])
    assert (call.direction, call.status) == ("outbound", "in-progress")
    assert (call.other, call.country) == ("+14155550100", "US")


def test_a_call_that_says_nothing_but_its_sid_is_still_a_call() -> None:
    call = read_call({"CallSid": "v3:abc_D-1.2"}, id=None, at=0)
    assert (call.id, call.from_, call.to, call.account, call.country) == ("v3:abc_D-1.2", "", "", "", "")
    assert (call.direction, call.status) == ("inbound", "ringing")


def test_the_older_names_of_the_parties_are_read_where_the_newer_ones_are_missing_or_blank() -> None:
    fields = {"CallSid": "CA1", "From": "", "Caller": "anonymous", "Called": "sip:a@b", "CallerCountry": "NZ"}
    call = read_call(fields, id=None, at=0)
    assert (call.from_, call.to, call.country) == ("anonymous", "sip:a@b", "NZ")


@pytest.mark.parametrize("country", ["", "us", "USA", "U", "U1", "US\n", "ÄÖ"])
def test_a_country_that_is_no_iso_code_is_unknown(country: str) -> None:
    assert read_call({"CallSid": "CA1", "FromCountry": country}, id=None, at=0).country == ""


def test_overlong_or_unstorable_text_is_cut_not_refused() -> None:
    call = read_call({"CallSid": "CA1", "From": "ü" * 300, "To": "a\0b", "CallStatus": "x" * 300}, id=None, at=0)
    assert call.from_ == "ü" * 256
    assert call.to == "ab"
    assert len(call.status) == 256


@pytest.mark.parametrize("fields", [{}, {"CallSid": ""}, {"CallSi": "dCA1"}])
def test_a_call_without_sid_is_refused(fields: dict[str, str]) -> None:
    with pytest.raises(Malformed, match="CallSid missing"):
        read_call(fields, id=None, at=0)


@pytest.mark.parametrize("sid", ["CA 1", "CA1\n", "CA/../1", "CÄ1", "CA1'--", "<x>", "CA\0", "+1", "C" * 129])
def test_a_sid_of_another_shape_is_refused(sid: str) -> None:
    with pytest.raises(Malformed, match="CallSid has"):
        read_call({"CallSid": sid}, id=None, at=0)
    assert read_call({"CallSid": "C" * 128}, id=None, at=0).sid == "C" * 128


# --- the events ------------------------------------------------------------------------------------------

PROGRESS = {
    "CallSid": "CA1",
    "CallStatus": "completed",
    "CallbackSource": "call-progress-events",
    "SequenceNumber": "3",
}


def test_keys_are_readable() -> None:
    assert event_key(PROGRESS) == "status:call-progress-events:3"
    assert event_key({"CallSid": "CA1", "CallStatus": "completed"}) == "status:completed"
    assert event_key({**PROGRESS, "ParentCallSid": "CA0"}) == "child:CA1:call-progress-events:3"
    assert (
        event_key({"CallSid": "CA1", "StreamSid": "MZ1", "StreamEvent": "stream-error"}) == "stream:MZ1:stream-error"
    )
    assert event_key({"CallSid": "CA1", "AnsweredBy": "human", "MachineDetectionDuration": "2100"}) == "amd"


def test_a_repeat_has_the_same_key_and_another_callback_has_not() -> None:
    assert event_key(PROGRESS) == event_key({**PROGRESS, "Timestamp": "later", "CallDuration": "9"})
    others = [
        {**PROGRESS, "SequenceNumber": "2"},
        {**PROGRESS, "CallbackSource": "other"},
        {k: v for k, v in PROGRESS.items() if k != "CallbackSource"},
        {k: v for k, v in PROGRESS.items() if k != "SequenceNumber"},
        {"CallSid": "CA1", "CallStatus": "busy"},
        {**PROGRESS, "ParentCallSid": "CA0"},
        {**PROGRESS, "ParentCallSid": "CA0", "CallSid": "CA2"},
        {**PROGRESS, "StreamSid": "MZ1", "StreamEvent": "stream-started"},
        {**PROGRESS, "StreamSid": "MZ1", "StreamEvent": "stream-stopped"},
        {**PROGRESS, "StreamSid": "MZ2", "StreamEvent": "stream-started"},
        {"CallSid": "CA1", "AnsweredBy": "human"},
    ]
    assert len({event_key(fields) for fields in [PROGRESS, *others]}) == 1 + len(others)


def test_a_status_that_mentions_who_answered_is_still_a_status() -> None:
    assert event_key({**PROGRESS, "AnsweredBy": "human"}) == event_key(PROGRESS)


part = st.sampled_from(
    ["", "CA1", "a", "b", "a:b", ":", "status", "amd", "3", "~", "x" * 65, "x" * 66, "é"]
) | st.text(max_size=80)
NAMES = (
    *("CallSid", "ParentCallSid", "CallStatus", "CallbackSource", "SequenceNumber"),
    *("StreamSid", "StreamEvent", "AnsweredBy"),
)
callbacks = st.fixed_dictionaries({}, optional=dict.fromkeys(NAMES, part))


def identity(fields: dict[str, str]) -> tuple[str, ...]:
    """What makes a callback another one, without any encoding."""
    if stream := fields.get("StreamSid"):
        return "stream", stream, fields.get("StreamEvent", "")
    if "AnsweredBy" in fields and "CallStatus" not in fields:
        return ("amd",)
    leg = ("child", fields.get("CallSid", "")) if fields.get("ParentCallSid") else ("status",)
    if number := fields.get("SequenceNumber"):
        return *leg, fields.get("CallbackSource", ""), number
    return *leg, fields.get("CallStatus", "")


@given(callbacks, callbacks)
def test_keys_are_equal_exactly_when_the_callbacks_are_the_same_event(
    one: dict[str, str], other: dict[str, str]
) -> None:
    assert (event_key(one) == event_key(other)) == (identity(one) == identity(other))
    assert len(event_key(one)) <= 200
    assert event_key(one).isprintable()


def test_odd_parts_cannot_pose_as_others() -> None:
    def child(sid: str, source: str) -> str:
        fields = {"ParentCallSid": "CA0", "CallSid": sid, "CallbackSource": source, "SequenceNumber": "1"}
        return event_key(fields)

    assert child("v3:a", "b") != child("v3", "a:b")
    assert child("x" * 65, "b") != child("x" * 66, "b")
    assert len(child("x" * 128, "y" * 5000)) <= 200


def test_the_duration_is_in_seconds_and_never_the_billed_minutes() -> None:
    assert seconds({"CallDuration": "61", "Duration": "2"}) == 61
    assert seconds({"CallDuration": "0"}) == 0
    assert seconds({"Duration": "2"}) is None


@pytest.mark.parametrize("text", ["", "abc", "-1", "1.5", " 1", "1_0", "٣", "²", "9" * 10])
def test_a_duration_that_is_no_number_is_unknown(text: str) -> None:
    assert seconds({"CallDuration": text}) is None
