"""What an agent is given: names and texts, flattened, merged, and brought into the shape of each channel."""

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

from gateway.model import Parameters

PARAMETER_LIMIT = 500
"""Name and value of a TwiML ``<Parameter>`` stay under this many characters together (twilio.com, Media Streams)."""

_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class TargetProblems(ValueError):
    """A written target, or its parameters, cannot be taken; ``problems`` holds every (path, sentence)."""

    def __init__(self, problems: list[tuple[str, str]]) -> None:
        super().__init__("; ".join(f"{path}: {text}" if path else text for path, text in problems))
        self.problems = tuple(problems)


def flatten(parameters: Mapping[str, Any]) -> Parameters:
    """Written parameters as names and texts, in written order; nested tables become dotted names.

    Numbers become text, and booleans ``true`` or ``false``. Raises TargetProblems for every name that is empty,
    reserved or there twice, and every value that is not text, a number or a boolean.
    """
    flat: dict[str, str] = {}
    problems = []
    for name, value in _leaves(parameters, ""):
        text = _text(value)
        if not all(name.split(".")):
            problems.append((name, "a parameter needs a name"))
        elif reserved(name):
            problems.append((name, f"names beginning with gateway_ are the gateway's own: rename {name}"))
        elif name in flat:
            problems.append((name, f"{name} is given twice"))
        elif text is None:
            problems.append((name, "must be text, a number, true or false, or a table of these"))
        else:
            flat[name] = text
    if problems:
        raise TargetProblems(problems)
    return tuple(flat.items())


def _leaves(table: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _text(value: Any) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, str | int | float) else None


def reserved(name: str) -> bool:
    """Whether an agent could take the name for one of the gateway's own, in any channel."""
    return header_name(name).lower().startswith("x-gateway-")


def merged(*layers: Parameters) -> Parameters:
    """All layers as one: a later layer wins by name, a name keeps its first place."""
    names: dict[str, str] = {}
    for layer in layers:
        names.update(layer)
    return tuple(names.items())


def clean(text: str) -> str:
    """The text without the characters that XML 1.0 forbids: one of them makes a whole document unreadable."""
    return _FORBIDDEN.sub("", text)


def encoded(text: str) -> str:
    """The text percent-encoded down to unreserved characters, right in a URL's path and query and in a SIP header."""
    return quote(clean(text), safe="")


def query(parameters: Parameters) -> str:
    """The parameters as a URL's query, without a question mark."""
    return "&".join(f"{encoded(name)}={encoded(value)}" for name, value in parameters)


def headers(parameters: Parameters) -> str:
    """The parameters as SIP headers in the form a SIP URI carries them: ``X-Gateway-Call=…&X-Persona-Name=…``.

    When two names become one header the later wins; a name without an ASCII letter or digit has no header.
    """
    named = {header_name(name): encoded(value) for name, value in parameters}
    named.pop("", None)
    return "&".join(f"{name}={value}" for name, value in named.items())


def header_name(name: str) -> str:
    """The SIP header of a parameter: ``persona.name`` goes as ``X-Persona-Name``; empty when nothing is left."""
    words = re.findall("[A-Za-z0-9]+", name)
    return "-".join(["X", *(word[0].upper() + word[1:] for word in words)]) if words else ""


def too_long(parameters: Parameters) -> list[tuple[str, str]]:
    """A complaint for each parameter that does not fit into a ``<Parameter>``."""
    return [
        (
            f"parameters.{name}",
            f"parameter {name} comes to {len(name) + len(value)} characters with its name; "
            f"Twilio takes fewer than {PARAMETER_LIMIT}",
        )
        for name, value in parameters
        if len(name) + len(value) >= PARAMETER_LIMIT
    ]
