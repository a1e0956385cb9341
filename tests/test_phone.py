"""Which texts are phone numbers, and which hide who rings."""

import pytest

from gateway.phone import WITHHELD, is_e164, is_withheld


@pytest.mark.parametrize("text", ["+14155550100", "+442071838750", "+6421123456", "+1234567", "+123456789012345"])
def test_a_number_in_full_identifies_a_caller(text: str) -> None:
    assert is_e164(text)
    assert not is_withheld(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "anonymous",
        "Restricted",
        "unknown",
        "client:alice",
        "sip:alice@example.com",
        "14155550100",
        "+04155550100",
        "+123456",
        "+1234567890123456",
        "+1415555010x",
        "+14155550100\n",
        " +14155550100",
        "+1٤١٥٥٥٥٠١٠٠",
    ],
)
def test_anything_else_identifies_nobody(text: str) -> None:
    assert not is_e164(text)
    assert is_withheld(text)


def test_the_keypad_codes_of_hidden_callers_are_not_numbers_although_they_look_like_it() -> None:
    codes = {"+266696687", "+7378742833", "+2562533", "+8656696", "+86282452253"}
    assert codes == WITHHELD
    assert all(is_withheld(code) and not is_e164(code) for code in codes)
    # One digit more is somebody's number again.
    assert all(is_e164(code + "0") for code in codes)
