"""Reads what somebody wrote, TOML or JSON, into the normal form of a body, or says all that is wrong with it."""

import difflib
import math
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from gateway.errors import Invalid, Problem
from gateway.routefile.shape import NAME, TABLES, Agent, Route, is_arm
from gateway.targets import TargetProblems

Fault = tuple[str, str]
"""The path of a key, and a sentence about it."""

# No file has a reason to nest this deep, and what reads it later calls itself once for every level.
_DEEPEST = 12
_LARGEST = 2**63
# PostgreSQL stores no null character, and UTF-8 has no halves of surrogate pairs.
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")

_WORDS = {
    "missing": "is missing",
    "string_type": "must be text in quotes",
    "bool_type": "must be true or false",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "dict_type": "must be a table",
    "model_type": "must be a table",
    "list_type": "must be a list",
    "greater_than": "must be above {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be below {lt}",
    "less_than_equal": "must be at most {le}",
    "string_too_long": "must have at most {max_length} characters",
    "literal_error": "must be {expected}",
}


def read_toml(place: str, text: str) -> dict[str, Any]:
    """The content of a TOML file; raises Invalid, with line and column, for what is not TOML."""
    try:
        return tomllib.loads(text)
    except RecursionError:
        reason = "is nested too deeply"
    except ValueError as error:  # also of a whole number with thousands of digits
        reason = f"is not TOML: {error}"
    problem = Problem(place=place, path="", text=reason)
    raise Invalid(str(problem), [problem])


def read_route(place: str, name: str, written: Mapping[str, Any]) -> tuple[dict[str, Any] | None, list[Problem]]:
    """The body of a route as somebody wrote it, or None; and everything that is wrong with it."""
    tree, faults = _kept(written)
    body, more = route_body(tree)
    return _answer(place, name, "route", body, [*faults, *more])


def read_agent(place: str, name: str, written: Mapping[str, Any]) -> tuple[dict[str, Any] | None, list[Problem]]:
    """The body of an agent as somebody wrote it, or None; and everything that is wrong with it."""
    tree, faults = _kept(written)
    body, more = agent_body(tree)
    return _answer(place, name, "agent", body, [*faults, *more])


def route_body(tree: dict[str, Any]) -> tuple[dict[str, Any], list[Fault]]:
    """A route in normal form, empty when a fault is found."""
    body, faults = _checked(tree, Route)
    faults += _contradictions(tree)
    if faults:
        return {}, faults
    for name, arm in body["versions"].items():
        if isinstance(arm, dict) and not arm.get("parameters"):
            body["versions"][name] = arm["version"]
    return body, []


def agent_body(tree: dict[str, Any]) -> tuple[dict[str, Any], list[Fault]]:
    """An agent in normal form, empty when a fault is found."""
    return _checked(tree, Agent)


def _answer(
    place: str, name: str, what: str, body: dict[str, Any], faults: Sequence[Fault]
) -> tuple[dict[str, Any] | None, list[Problem]]:
    if not NAME.fullmatch(name):
        text = (
            f'"{name}" is no name for {"an" if what == "agent" else "a"} {what}: use small letters, digits and dashes'
        )
        faults = [("", text), *faults]
    # One sentence for each key, the first: a second one speaks of what the first already says.
    told = dict(reversed(faults))
    problems = [
        Problem(place=place, path=path, text=told[path]) for path in dict.fromkeys(path for path, _ in faults)
    ]
    return (None if problems else body), problems


# -- what can be stored at all -----------------------------------------------------------------------------


def _kept(written: Mapping[str, Any]) -> tuple[dict[str, Any], list[Fault]]:
    """A copy in plain dicts and lists, with None in the place of what neither TOML nor a database can hold."""
    faults: list[Fault] = []
    copy: dict[str, Any] = _copy(written, (), faults)
    return copy, faults


def _copy(value: Any, steps: tuple[str, ...], faults: list[Fault]) -> Any:
    fault = _unstorable(value, len(steps))
    if fault:
        faults.append((".".join(steps), fault))
        return None
    if isinstance(value, Mapping):
        unfit = [key for key in value if _UNSTORABLE.search(key)]
        if unfit:
            faults.append((".".join(steps), "has a key with a character that cannot be stored; rename it"))
        return {key: _copy(inner, (*steps, key), faults) for key, inner in value.items() if key not in unfit}
    if isinstance(value, list | tuple):
        return [_copy(inner, (*steps, str(place)), faults) for place, inner in enumerate(value)]
    return value


def _unstorable(value: Any, depth: int) -> str:
    if depth > _DEEPEST:
        return "is nested too deeply"
    if isinstance(value, str) and _UNSTORABLE.search(value):
        return "holds a character that cannot be stored: remove it"
    if isinstance(value, int) and not -_LARGEST <= value < _LARGEST:
        return "is too large a number"
    if isinstance(value, float) and not math.isfinite(value):
        return "must be a finite number"
    return ""


# -- what each key may be ----------------------------------------------------------------------------------


def _checked(tree: dict[str, Any], shape: type[BaseModel]) -> tuple[dict[str, Any], list[Fault]]:
    try:
        found = shape.model_validate(tree)
    except ValidationError as error:
        return {}, list(_faults(error, shape))
    return found.model_dump(mode="json", exclude_unset=True, exclude_none=True), []


def _faults(error: ValidationError, shape: type[BaseModel]) -> Iterator[Fault]:
    details = error.errors(include_url=False)
    misnamed = [found["loc"][:-1] for found in details if found["loc"][-1:] == ("[key]",)]
    for found in details:
        loc = found["loc"]
        # What stands under a key that cannot be is not looked at; the key itself is told.
        if any(loc[: len(key)] == key and loc != (*key, "[key]") for key in misnamed):
            continue
        steps = [str(step) for step in loc if step != "[key]"]
        if shape is Route and steps[0] == "versions" and len(steps) > 2:
            del steps[2]  # pydantic's word for which form of arm it took this to be
        cause = found.get("ctx", {}).get("error")
        if isinstance(cause, TargetProblems):
            yield from ((".".join([*steps, path] if path else steps), text) for path, text in cause.problems)
        else:
            yield ".".join(steps), _sentence(found, shape, steps)


def _sentence(found: Any, shape: type[BaseModel], steps: Sequence[str]) -> str:
    kind, context = found["type"], found.get("ctx", {})
    if kind == "extra_forbidden":
        return _unknown_key(shape, steps)
    if kind == "missing" and shape is Route and steps[-1] == "numbers":
        return 'is missing: write numbers = ["+14155550100"]'
    if kind == "value_error":
        return str(context["error"])
    if kind.startswith("datetime"):
        return "is no time that ever comes, as 2026-06-01T09:00:00Z would be"
    words = _WORDS.get(kind, str(found["msg"]).lower())
    return words.format(**{key: _shown(value) for key, value in context.items()})


def _shown(limit: Any) -> str:
    return f"{limit:g}" if isinstance(limit, float) else str(limit).replace("'", '"')


def _unknown_key(shape: type[BaseModel], steps: Sequence[str]) -> str:
    *parents, key = steps
    tables = TABLES[shape]
    # An arm, a version's number or a place in a list is no table of its own.
    where = ".".join(parents) if ".".join(parents) in tables else ".".join(parents[:-1])
    known = list(tables[where].model_fields)
    elsewhere = [f"{path}.{key}".lstrip(".") for path, table in tables.items() if key in table.model_fields]
    near = difflib.get_close_matches(key, known, n=1) or elsewhere
    return "is not known; " + (f'did you mean "{near[0]}"?' if near else f"here may stand {', '.join(known)}")


# -- what keys say of one another --------------------------------------------------------------------------


def _contradictions(tree: Mapping[str, Any]) -> Iterator[Fault]:
    """Reads the tree as it was written, so that one wrong key does not hide what is wrong with another."""
    arms, test, numbers = _table(tree, "versions"), _table(tree, "ab_test"), tree.get("numbers")
    if isinstance(tree.get("versions"), dict):
        if "a" not in arms:
            yield "versions.a", "is missing: arm a is the control, which answers when the test is off"
        yield from _strangers(test, arms)
    if isinstance(numbers, list):
        twice = {text for text in numbers if isinstance(text, str) and numbers.count(text) > 1}
        if twice:
            yield "numbers", f"names {', '.join(sorted(twice))} twice"
        if not numbers and tree.get("direction") == "outbound":
            yield "numbers", "is empty: an outbound route needs a number to dial from"
        back = _table(tree, "fallback").get("to")
        if back in numbers and tree.get("direction") == "inbound":
            yield "fallback.to", f"{back} is the route's own number: the call would come back here; name another"
    yield from _weights(test, arms)


def _strangers(test: Mapping[str, Any], arms: Mapping[str, Any]) -> Iterator[Fault]:
    named: list[tuple[str, Any]] = [(f"split.{arm}", arm) for arm in _table(test, "split")]
    named += [(f"test_numbers.{number}", arm) for number, arm in _table(test, "test_numbers").items()]
    named.append(("winner", test.get("winner")))
    named.append(("plan.ramp.arm", _table(_table(test, "plan"), "ramp").get("arm")))
    for path, arm in named:
        # That arm a is missing from versions is a sentence of its own.
        if isinstance(arm, str) and arm not in arms and arm != "a":
            yield f"ab_test.{path}", f"arm {arm} has no version: add it under [versions], or drop it here"


def _weights(test: Mapping[str, Any], arms: Mapping[str, Any]) -> Iterator[Fault]:
    split = _table(test, "split")
    if split and not any(split.values()):
        yield "ab_test.split", "gives every arm the weight 0: at least one must be above it"
    if test.get("enabled") is not True:
        return
    if not split and not isinstance(test.get("split"), dict | None):
        return  # what it is instead has been told
    if not split:
        yield "ab_test.split", "is missing: give every arm a weight, as in { a = 80, b = 20 }"
        return
    for arm in arms:
        if arm not in split and is_arm(arm):
            yield f"ab_test.split.{arm}", f"is missing: give arm {arm} a weight; 0 parks it"


def _table(tree: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    table = tree.get(key)
    return table if isinstance(table, dict) else {}
