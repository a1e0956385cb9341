"""What counts as a phone number: pure checks of text, no network and no numbering plan."""

import re

WITHHELD: frozenset[str] = frozenset({"+266696687", "+7378742833", "+2562533", "+8656696", "+86282452253"})
"""What carriers send for a caller who hides the number: a word such as "anonymous" typed on a keypad."""

_E164 = re.compile(r"\+[1-9][0-9]{6,14}")


def is_e164(text: str) -> bool:
    """Whether ``text`` is a number that somebody could be rung at: E.164, and no keypad code."""
    return _E164.fullmatch(text) is not None and text not in WITHHELD


def is_withheld(text: str) -> bool:
    """Whether ``text`` identifies no caller: ``anonymous``, a SIP address, nothing at all, or a keypad code."""
    return not is_e164(text)


def masked(text: str) -> str:
    """What is shown of a number to those who may not see it: its last two characters. Words stay as they are."""
    return f"…{text[-2:]}" if any(character.isdigit() for character in text) else text
