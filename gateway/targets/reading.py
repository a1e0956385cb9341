"""Reads the parts of a written target, and says what is wrong with each in words for the person who wrote it."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from gateway.model import Parameters
from gateway.targets.kind import Complaint, Kind
from gateway.targets.parameters import TargetProblems, flatten

_COMMON = ("kind", "parameters", "requires")
_SENTENCES = {
    "missing": "is missing",
    "string_type": "must be text in quotes",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "list_type": "must be a list",
    "model_type": "must be a table",
}


def read_fields(written: Mapping[str, Any], name: str, kind: type[Kind]) -> tuple[Kind | None, list[Complaint]]:
    """The kind's own fields, or None and everything that is wrong with them."""
    try:
        return kind.model_validate({key: written[key] for key in written if key not in _COMMON}), []
    except ValidationError as error:
        taken = [*kind.model_fields, *(_COMMON[1:] if kind.hands_over else ())]
        unknown = f"is not known; a {name} target takes {', '.join(taken)}"
        return None, [(".".join(map(str, found["loc"])), _sentence(found, unknown)) for found in error.errors()]


def read_parameters(written: Mapping[str, Any], name: str, kind: type[Kind]) -> tuple[Parameters, list[Complaint]]:
    """The parameters, flattened, and what is wrong with them."""
    table = written.get("parameters", {})
    if not isinstance(table, Mapping):
        return (), [("parameters", "must be a table")]
    if table and not kind.hands_over:
        return (), [("parameters", f"a {name} target cannot be given anything: drop its parameters")]
    try:
        return flatten(table), []
    except TargetProblems as error:
        return (), [(f"parameters.{path}", text) for path, text in error.problems]


def read_requires(written: Mapping[str, Any], name: str, kind: type[Kind]) -> tuple[tuple[str, ...], list[Complaint]]:
    """The names of variables that a contact must bring, and what is wrong with them."""
    names = written.get("requires", [])
    if not isinstance(names, list | tuple) or not all(isinstance(each, str) and each for each in names):
        return (), [("requires", 'must be a list of names, as in ["first_name"]')]
    if names and not kind.hands_over:
        return (), [("requires", f"a {name} target cannot be given anything: drop requires")]
    return tuple(str(each) for each in names), []


def _sentence(found: Any, unknown: str) -> str:
    # Pydantic's own words would do for rare types of error, but never its "input", which may be a secret.
    if found["type"] == "extra_forbidden":
        return unknown if len(found["loc"]) == 1 else "is not known"
    if found["type"] == "value_error":
        return str(found["ctx"]["error"])
    return _SENTENCES.get(found["type"], str(found["msg"]))
