"""What is wrong with a phone number as somebody wrote it, and how to write it; nothing here changes a number."""

import re

import phonenumbers
from phonenumbers import NumberParseException, PhoneNumberFormat, ValidationResult

from gateway.numberplan import look_up
from gateway.phone import WITHHELD, is_e164

EXAMPLE = "+14155550142"
"""A number that sentences show; it belongs to nobody."""

_SPREADSHEET = re.compile(r"[=@'#].*|[+-]?[0-9]+(?:[.,][0-9]+)?[eE][+-]?[0-9]+|\+?[0-9]+[.,]0+", re.DOTALL)
_REASONS = {
    ValidationResult.TOO_SHORT: "it is too short",
    ValidationResult.TOO_LONG: "it is too long",
    ValidationResult.INVALID_COUNTRY_CODE: "no country has this code",
}


def wrong_number(number: str, column: str) -> str:
    """What is wrong with a number that stands in ``column``, and how to write it; "" for a valid one in E.164."""
    in_form = is_e164(number)
    if in_form and (known := look_up(number)) and known.e164 == number:
        return ""
    if not number.strip():
        return f"{column} is empty: write the number with + and its country code, such as {EXAMPLE}"
    if number in WITHHELD:
        return f"{column} {shown(number)} is what carriers send for a hidden number, and rings nobody"
    likely = _likely(number)
    if _SPREADSHEET.fullmatch(number.strip()):
        how = f"if {likely} is meant, write that" if likely else f"write the number in full, such as {EXAMPLE}"
        return f"{column} {shown(number)} was changed by a spreadsheet: format the column as text, then {how}"
    if likely and likely != number:
        return f"{column} {shown(number)} is not written in E.164: if {likely} is meant, write that"
    if in_form:
        return f"{column} {shown(number)} is not a valid number: {_reason(number)}"
    how = f"write +, the country code and digits only, such as {EXAMPLE}"
    return f"{column} {shown(number)} is not written in E.164: {how}"


def _likely(to: str) -> str | None:
    """The E.164 form of the valid number that the text seems to mean; only for a text that names the country."""
    text = to.strip()
    digits = re.sub(r"[ ()./-]", "", text)
    if digits.startswith("00"):
        text = "+" + digits[2:]
    elif re.fullmatch("1[0-9]{10}", digits):
        text = "+" + digits
    try:
        number = phonenumbers.parse(text)
    except NumberParseException:
        return None
    # To leave an extension out would ring somebody else.
    if number.extension or not phonenumbers.is_valid_number(number):
        return None
    return str(phonenumbers.format_number(number, PhoneNumberFormat.E164))


def _reason(to: str) -> str:
    known = look_up(to)
    fit = known.fit if known else ValidationResult.INVALID_COUNTRY_CODE
    return _REASONS.get(fit, "no number of its country looks like this")


def shown(text: str) -> str:
    """The text in quotes, cut short, without what would break a line or a terminal."""
    cut = text if len(text) <= 40 else f"{text[:40]}…"
    return '"' + "".join(character if character.isprintable() else "�" for character in cut) + '"'
