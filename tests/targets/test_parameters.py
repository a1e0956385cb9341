"""What an agent is given, and how it reaches each channel."""

import datetime
from typing import Any
from urllib.parse import parse_qsl, unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.targets import TargetProblems, flatten
from gateway.targets.parameters import clean, header_name, headers, merged, query, reserved

NAMES = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1)
TEXTS = st.text(st.characters())


def carried(text: str) -> str:
    """What XML 1.0's production Char leaves of a text."""
    return "".join(
        c for c in text if c in "\t\n\r" or " " <= c <= "\ud7ff" or "\ue000" <= c <= "\ufffd" or c >= "\U00010000"
    )


def test_tables_are_dotted_and_values_become_text() -> None:
    written = {"persona": {"name": "Aria", "voice": {"speed": 1.5}}, "tries": 3, "formal": True, "loud": False}
    assert flatten(written) == (
        ("persona.name", "Aria"),
        ("persona.voice.speed", "1.5"),
        ("tries", "3"),
        ("formal", "true"),
        ("loud", "false"),
    )


@pytest.mark.parametrize("value", [None, [], ["a"], datetime.date(2026, 1, 1), b"x"])
def test_other_values_are_refused(value: Any) -> None:
    with pytest.raises(TargetProblems) as caught:
        flatten({"persona": {"x": value}})
    assert caught.value.problems == (("persona.x", "must be text, a number, true or false, or a table of these"),)


@pytest.mark.parametrize("table", [{"": 1}, {"a": {"": 1}}, {".a": 1}, {"a.": 1}])
def test_a_parameter_without_a_name_is_refused(table: dict[str, Any]) -> None:
    with pytest.raises(TargetProblems, match="a parameter needs a name"):
        flatten(table)


def test_a_name_in_two_spellings_is_refused() -> None:
    with pytest.raises(TargetProblems, match=r"persona\.name is given twice"):
        flatten({"persona": {"name": "a"}, "persona.name": "b"})


@pytest.mark.parametrize("name", ["gateway_call", "gateway.call", "Gateway-Call", "_gateway_x", "GATEWAY from"])
def test_no_spelling_of_the_gateways_own_names_is_taken(name: str) -> None:
    assert reserved(name)
    with pytest.raises(TargetProblems, match="names beginning with gateway_ are the gateway's own"):
        flatten({name: "x"})


@pytest.mark.parametrize("name", ["gateway", "gateways_x", "my_gateway_x", "call"])
def test_other_names_are_free(name: str) -> None:
    assert flatten({name: "x"}) == ((name, "x"),)


def test_a_later_layer_wins_and_the_first_place_stays() -> None:
    assert merged((("a", "1"), ("b", "1")), (("b", "2"),), (("c", "3"), ("a", "3"))) == (
        ("a", "3"),
        ("b", "2"),
        ("c", "3"),
    )


@pytest.mark.parametrize(
    ("name", "header"),
    [
        ("gateway_call", "X-Gateway-Call"),
        ("persona.name", "X-Persona-Name"),
        ("first name", "X-First-Name"),
        ("a1", "X-A1"),
        ("имя", ""),
    ],
)
def test_the_header_of_a_name(name: str, header: str) -> None:
    assert header_name(name) == header


def test_headers_leave_out_what_has_no_name_and_keep_the_later_of_two() -> None:
    assert headers((("a.b", "1"), ("имя", "2"), ("a_b", "3"))) == "X-A-B=3"


@given(TEXTS)
def test_only_what_xml_forbids_is_dropped(text: str) -> None:
    assert clean(text) == carried(text)


@given(st.dictionaries(NAMES, TEXTS, max_size=4))
def test_a_query_gives_back_what_was_put_in(table: dict[str, str]) -> None:
    wanted = [(carried(name), carried(value)) for name, value in table.items()]
    assert parse_qsl(query(tuple(table.items())), keep_blank_values=True) == [pair for pair in wanted if pair[0]]


@settings(max_examples=50)
@given(TEXTS)
def test_a_header_gives_back_what_was_put_in(text: str) -> None:
    written = headers((("persona.name", text),))
    assert unquote(written.removeprefix("X-Persona-Name=")) == carried(text)
    assert all(c.isalnum() or c in "-_.~%" for c in written.removeprefix("X-Persona-Name="))
