"""Finds a phone number in text and in JSON values, however it is spelled there, and takes it out; pure."""

import re
from typing import Any

ERASED = "erased"
"""What stands where a number was."""


class Mention:
    """A number in E.164, wherever its digits stand alone: with +, without it, with 00 or 011, or as a URL has it.

    ``digits`` are what all these spellings have in common, as something to search for first.
    """

    def __init__(self, number: str) -> None:
        self.digits = number.removeprefix("+")
        before = r"(?:\+|%2[Bb]|(?<![0-9A-Za-z])(?:00|011)?)"
        self._pattern = re.compile(f"{before}{self.digits}(?![0-9])")

    def among(self, text: str) -> bool:
        """Whether the text holds the number."""
        return self._pattern.search(text) is not None

    def without(self, value: Any) -> Any:
        """The text, or JSON value, with ``ERASED`` wherever the number stood: in texts, names and whole numbers."""
        match value:
            case str():
                return self._pattern.sub(ERASED, value)
            case dict():
                return {self.without(key): self.without(told) for key, told in value.items()}
            case list():
                return [self.without(one) for one in value]
            case int() if str(value) == self.digits:
                return ERASED
            case _:
                return value
