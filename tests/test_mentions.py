"""A number is found however it is spelled, and nothing else is taken for it."""

from typing import Any

import pytest

from gateway.mentions import Mention

MENTION = Mention("+14155551234")


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("+14155551234", "erased"),
        ("14155551234", "erased"),
        ("From=%2B14155551234&To=%2b14155551234", "From=erased&To=erased"),
        ("x%2B14155551234", "xerased"),
        ("dial 0014155551234 or 01114155551234", "dial erased or erased"),
        ("tel:+14155551234;ext=5", "tel:erased;ext=5"),
        ("sip:14155551234@carrier.example.com", "sip:erased@carrier.example.com"),
    ],
)
def test_every_spelling_is_found(text: str, left: str) -> None:
    assert MENTION.among(text)
    assert MENTION.without(text) == left


@pytest.mark.parametrize("text", ["+141555512345", "+4414155551234", "CA14155551234f", "+14155551235", "", "…34"])
def test_other_numbers_and_ids_are_left_alone(text: str) -> None:
    assert not MENTION.among(text)
    assert MENTION.without(text) == text


@pytest.mark.parametrize(
    ("value", "left"),
    [
        (
            {"+14155551234": "b", "n": [14155551234, 1.5, None, True]},
            {"erased": "b", "n": ["erased", 1.5, None, True]},
        ),
        ({"at": 1415555123}, {"at": 1415555123}),
        (None, None),
    ],
)
def test_it_is_taken_out_of_json(value: Any, left: Any) -> None:
    assert MENTION.without(value) == left
