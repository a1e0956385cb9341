"""Route and agent files: TOML text on one side, checked bodies and the gateway's values on the other.

A *body* is the JSON-able content of one file; it is what revisions store and what the API takes and gives.
Everything that is wrong is told at once, each with its place and its cure. Nothing here reads a disk.
"""

import difflib
import json
import re
import tomllib
from collections.abc import Collection, Iterable, Mapping
from fractions import Fraction
from typing import Annotated, Any, Literal

import tomlkit
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from gateway.errors import Invalid, Problem
from gateway.model import Arm, Parameters, Route, Target, Version
from gateway.targets import TargetProblems, check_limits, flatten, read_target

BUCKETS = 1_000_000

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?")
_VERSION = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?@[1-9][0-9]{0,5}")
_E164 = re.compile(r"\+[1-9][0-9]{6,14}")


def _number(value: Any) -> Any:
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise ValueError('quote the number, as in "+14155550100"')
    if not isinstance(value, str) or not _E164.fullmatch(value):
        raise ValueError('should be an E.164 number in quotes, as in "+14155550100"')
    return value


def _version_name(name: Any) -> Any:
    if not isinstance(name, str) or not _VERSION.fullmatch(name):
        raise ValueError('should name one version, as in "support@3"; there is no "latest"')
    return name


def _weight(value: float) -> float:
    if isinstance(value, bool) or not 0 <= value < float("inf"):
        raise ValueError("should be a number from 0 up")
    return value


Number = Annotated[str, BeforeValidator(_number)]
VersionName = Annotated[str, BeforeValidator(_version_name)]
ArmName = Annotated[str, Field(pattern="^[a-z]$")]
Weight = Annotated[int | float, AfterValidator(_weight)]
Better = Literal["higher", "lower"]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class _ArmTable(_Table):
    version: VersionName
    parameters: dict[str, Any] = Field(default_factory=dict)


class _Primary(_Table):
    metric: str
    better: Better = "higher"
    min_effect: float = Field(gt=0)


class _Guardrail(_Table):
    metric: str
    margin: float
    better: Better | None = None


class _Plan(_Table):
    hypothesis: str = ""
    primary: _Primary | None = None
    guardrails: list[_Guardrail] = Field(default_factory=list)
    secondary: list[str] = Field(default_factory=list)
    strata: list[str] = Field(default_factory=list)
    alpha: float = Field(0.05, gt=0, lt=1)
    power: float = Field(0.8, gt=0, lt=1)


class _Test(_Table):
    enabled: bool = False
    name: str = Field("", max_length=200)
    unit: Literal["call", "caller"] = "call"
    split: dict[ArmName, Weight] = Field(default_factory=dict)
    winner: ArmName | None = None
    coverage: float = Field(1.0, gt=0, le=1)
    test_numbers: dict[Number, ArmName] = Field(default_factory=dict)
    plan: _Plan | None = None


class _Route(_Table):
    direction: Literal["inbound", "outbound"]
    numbers: list[Number]
    fallback: dict[str, Any] | None = None
    versions: dict[ArmName, VersionName | _ArmTable]
    ab_test: _Test = Field(default_factory=_Test)


class _Version(_Table):
    status: Literal["draft", "published", "retired"]
    notes: str = ""
    target: dict[str, Any]


class _Agent(_Table):
    versions: dict[Annotated[str, Field(pattern="^[1-9][0-9]{0,5}$")], _Version]


_WORDS = {
    "missing": "is missing",
    "string_type": "should be text in quotes",
    "bool_type": "should be true or false",
    "dict_type": "should be a table",
    "model_type": "should be a table",
    "model_attributes_type": "should be a table",
    "list_type": "should be a list",
    "int_type": "should be a number",
    "float_type": "should be a number",
}


# -- text to body ------------------------------------------------------------------------------------------


def read_toml(place: str, text: str) -> dict[str, Any]:
    """The content of a TOML file; raises Invalid, with the line, for what is not TOML."""
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        problem = Problem(place=place, path="", text=f"is not TOML: {error}")
        raise Invalid(str(problem), [problem]) from error


def read_route(place: str, name: str, written: Mapping[str, Any]) -> tuple[dict[str, Any] | None, list[Problem]]:
    """The body of a route as somebody wrote it, or None; and everything that is wrong with it."""
    problems = _misnamed(place, name, "route")
    try:
        route = _Route.model_validate(written)
    except (ValidationError, RecursionError) as error:
        return None, problems + _told(place, error, _Route)
    problems += [Problem(place=place, path=path, text=text) for path, text in _route_faults(route)]
    return (None if problems else _plain(written)), problems


def read_agent(place: str, name: str, written: Mapping[str, Any]) -> tuple[dict[str, Any] | None, list[Problem]]:
    """The body of an agent as somebody wrote it, or None; and everything that is wrong with it."""
    problems = _misnamed(place, name, "agent")
    try:
        agent = _Agent.model_validate(written)
    except (ValidationError, RecursionError) as error:
        return None, problems + _told(place, error, _Agent)
    for number, version in agent.versions.items():
        where = f"versions.{number}.target"
        problems += [
            Problem(place=place, path=path, text=text) for path, text in _target_faults(where, version.target)
        ]
    return (None if problems else _plain(written)), problems


def _plain(written: Mapping[str, Any]) -> dict[str, Any]:
    """Through JSON, as the database will keep it, so that equal bodies compare equal."""
    plain: dict[str, Any] = json.loads(json.dumps(written))
    return plain


def _misnamed(place: str, name: str, what: str) -> list[Problem]:
    if _NAME.fullmatch(name):
        return []
    text = f'"{name}" is no name for a {what}: use small letters, digits and dashes'
    return [Problem(place=place, path="", text=text)]


def _told(place: str, error: Exception, shape: type[BaseModel]) -> list[Problem]:
    if not isinstance(error, ValidationError):
        return [Problem(place=place, path="", text="is nested too deeply")]
    problems = {}
    for found in error.errors(include_url=False):
        # Pydantic names the members of a union and the key of a table in the path; people do not.
        steps = [str(step) for step in found["loc"] if "[" not in str(step) and step != "_ArmTable"]
        path = ".".join(steps)
        problems[path, found["type"]] = Problem(place=place, path=path, text=_sentence(found, shape, steps))
    return list(problems.values())


def _sentence(found: Any, shape: type[BaseModel], steps: list[str]) -> str:
    kind = found["type"]
    if kind == "extra_forbidden":
        return _unknown_key(steps[-1], shape)
    if kind == "value_error":
        return str(found["ctx"]["error"])
    if kind == "string_pattern_mismatch":
        return f'"{found["input"]}" will not do: an arm is one small letter (a, b, …), a version a number'
    return _WORDS.get(kind, str(found["msg"]).lower())


def _unknown_key(key: str, shape: type[BaseModel]) -> str:
    known = {
        name
        for model in (shape, _Test, _Plan, _Primary, _Guardrail, _ArmTable, _Version)
        for name in model.model_fields
    }
    near = difflib.get_close_matches(key, known, n=1)
    return "is not known" + (f'; did you mean "{near[0]}"?' if near else "; remove it")


def _route_faults(route: _Route) -> Iterable[tuple[str, str]]:
    if "a" not in route.versions:
        yield "versions.a", "is missing: arm a is the control, which answers when the test is off"
    if not route.numbers:
        yield "numbers", "names no number; write at least one"
    for number in {number for number in route.numbers if route.numbers.count(number) > 1}:
        yield "numbers", f"names {number} twice"
    if route.fallback is not None:
        yield from _target_faults("fallback", route.fallback)
    for name, arm in route.versions.items():
        if isinstance(arm, _ArmTable):
            try:
                flatten(arm.parameters)
            except TargetProblems as error:
                yield from ((f"versions.{name}.parameters.{path}", text) for path, text in error.problems)
    yield from _test_faults(route.ab_test, route.versions)


def _test_faults(test: _Test, arms: Collection[str]) -> Iterable[tuple[str, str]]:
    named = [(f"ab_test.split.{name}", name) for name in test.split]
    named += [(f"ab_test.test_numbers.{number}", name) for number, name in test.test_numbers.items()]
    named += [("ab_test.winner", test.winner)] if test.winner is not None else []
    for path, name in named:
        if name not in arms:
            yield path, f"there is no arm {name} in versions"
    for name in arms:
        if test.enabled and name not in test.split:
            yield "ab_test.split", f"says nothing of arm {name}; give it a weight (0 parks it)"
    if test.split and not any(test.split.values()):
        yield "ab_test.split", "gives every arm a weight of 0; one must be above it"


def _target_faults(where: str, written: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    try:
        read_target(written)
    except TargetProblems as error:
        yield from ((f"{where}.{path}" if path else where, text) for path, text in error.problems)


# -- body to values ----------------------------------------------------------------------------------------


def build_route(name: str, body: Mapping[str, Any]) -> Route:
    """The route of a body that was checked before; equal bodies give equal routes."""
    test = body.get("ab_test", {})
    fallback = body.get("fallback")
    winner = test.get("winner")
    return Route(
        name=name,
        direction=body["direction"],
        numbers=tuple(body["numbers"]),
        arms=_arms(body["versions"], test.get("split", {})),
        fallback=read_target(fallback) if fallback is not None else None,
        enabled=test.get("enabled", False),
        test_name=test.get("name", ""),
        unit=test.get("unit", "call"),
        coverage=test.get("coverage", 1.0),
        winner=winner,
        test_numbers=test.get("test_numbers", {}),
        plan=test.get("plan", {}),
    )


def _arms(versions: Mapping[str, Any], split: Mapping[str, float]) -> tuple[Arm, ...]:
    # Without a split everything is a's, which is also who serves when the test is off.
    weights = [Fraction(str((split or {"a": 1}).get(name, 0))) for name in sorted(versions)]
    total = sum(weights)
    arms, upto = [], Fraction(0)
    for name, weight in zip(sorted(versions), weights, strict=True):
        written = versions[name]
        upto += weight
        version, parameters = (written, ()) if isinstance(written, str) else _arm_table(written)
        arms.append(
            Arm(
                name=name,
                version=version,
                weight=float(weight),
                share=float(weight / total),
                upper=round(BUCKETS * upto / total),
                parameters=parameters,
            )
        )
    return tuple(arms)


def _arm_table(written: Mapping[str, Any]) -> tuple[str, Parameters]:
    return written["version"], flatten(written.get("parameters", {}))


def build_versions(agent: str, body: Mapping[str, Any]) -> tuple[Version, ...]:
    """The versions of an agent's body that was checked before."""
    return tuple(
        Version(
            agent=agent,
            number=int(number),
            status=version["status"],
            target=read_target(version["target"]),
            notes=version.get("notes", ""),
        )
        for number, version in body.get("versions", {}).items()
    )


# -- one beside the others ---------------------------------------------------------------------------------


def check_together(
    routes: Mapping[str, Route],
    versions: Mapping[str, Version],
    places: Mapping[str, str],
    *,
    changed: Collection[str],
    numbers: Mapping[str, str],
) -> list[Problem]:
    """What is wrong with the ``changed`` routes beside everything else.

    ``numbers`` says which inbound route every number has that is not in question; ``places`` names files.
    """
    problems: list[Problem] = []
    taken = dict(numbers)
    for name in sorted(changed):
        route, place = routes[name], places[name]
        for arm in route.arms:
            problems += _arm_problems(route, arm, versions, place)
        if route.direction != "inbound":
            continue
        for number in route.numbers:
            owner = taken.setdefault(number, name)
            if owner != name:
                text = f'{number} is on route "{owner}" too; a number can be on one inbound route only'
                problems.append(Problem(place=place, path="numbers", text=text))
    return problems


def _arm_problems(route: Route, arm: Arm, versions: Mapping[str, Version], place: str) -> list[Problem]:
    path = f"versions.{arm.name}"
    version = versions.get(arm.version)
    says = f'route "{route.name}" splits to {arm.version}'
    if version is None:
        near = difflib.get_close_matches(arm.version, versions, n=1) if len(versions) < 5000 else []
        hint = f"; did you mean {near[0]}?" if near else ""
        return [Problem(place=place, path=path, text=f"{says}, which does not exist{hint}")]
    if version.status != "published":
        word = "a draft; publish it first" if version.status == "draft" else "retired; name a published version"
        return [Problem(place=place, path=path, text=f"{says}, which is {word}")]
    return [Problem(place=place, path=path, text=text) for text in _limits(version.target, arm.parameters)]


def _limits(target: Target, parameters: Parameters) -> list[str]:
    return check_limits(target, parameters) if parameters else []


def immutable_problems(
    agent: str, live: Mapping[str, Any], new: Mapping[str, Any], in_use: Collection[str]
) -> list[Problem]:
    """What the new body of an agent would change that cannot change; ``in_use`` are the versions that routes name."""
    place, problems = f"agents/{agent}.toml", []
    versions = new.get("versions", {})
    numbers = [int(number) for number in (*live["versions"], *versions)]
    for number, old in live["versions"].items():
        name, path = f"{agent}@{number}", f"versions.{number}"
        now = versions.get(number)
        if old["status"] == "draft":
            continue
        if now is None:
            if versions or name in in_use:
                text = f"{name} was published and cannot be removed; retire it instead"
                problems.append(Problem(place=place, path=path, text=text))
        elif now["target"] != old["target"]:
            text = f"{name} is {old['status']} and cannot change; add version {max(numbers) + 1}"
            problems.append(Problem(place=place, path=path, text=text))
        elif now["status"] == "draft":
            text = f"{name} is {old['status']} and cannot be a draft again"
            problems.append(Problem(place=place, path=path, text=text))
        elif now["status"] == "retired" and name in in_use:
            text = f"{name} cannot be retired while a route splits to it"
            problems.append(Problem(place=place, path=path, text=text))
    return problems


def same_epoch(old: Route, new: Route) -> bool:
    """Whether calls before and after the change may be pooled: same arms, versions, parameters, shares, coverage."""
    return same_memory(old, new) and old.coverage == new.coverage and _shares(old) == _shares(new)


def same_memory(old: Route, new: Route) -> bool:
    """Whether sticky callers keep what they were given: same arms, versions and parameters, whatever the weights."""
    return _contents(old) == _contents(new)


def _shares(route: Route) -> list[float]:
    return [arm.share for arm in route.arms]


def _contents(route: Route) -> list[tuple[str, str, Parameters]]:
    return [(arm.name, arm.version, arm.parameters) for arm in route.arms]


# -- body to text ------------------------------------------------------------------------------------------


def differences(old: Mapping[str, Any] | None, new: Mapping[str, Any] | None) -> list[str]:
    """What changes, a short line each: ``ab_test.split.b: 20 -> 50``."""
    before, after = dict(_leaves(old or {}, "")), dict(_leaves(new or {}, ""))
    lines = []
    for path in sorted(before.keys() | after.keys()):
        if path not in after:
            lines.append(f"{path}: {before[path]} removed")
        elif path not in before:
            lines.append(f"{path}: {after[path]} added")
        elif before[path] != after[path]:
            lines.append(f"{path}: {before[path]} -> {after[path]}")
    return lines


def _leaves(table: Mapping[str, Any], prefix: str) -> Iterable[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def write_toml(body: Mapping[str, Any], previous: str | None) -> str:
    """The body as TOML; with the ``previous`` text its comments and order are kept, and only what differs changes."""
    if previous is not None:
        try:
            document = tomlkit.parse(previous)
            _update(document, body)
            return tomlkit.dumps(document)
        except (ValueError, TypeError):
            pass  # what cannot be amended is written anew
    return tomlkit.dumps(_tables(body))


def _update(table: Any, body: Mapping[str, Any]) -> None:
    for key in [key for key in table if key not in body]:
        del table[key]
    for key, value in body.items():
        if key in table and isinstance(value, Mapping) and isinstance(table[key], Mapping):
            _update(table[key], value)
        elif key not in table or table[key] != value:
            table[key] = _inline(value) if isinstance(value, Mapping) else value


def _tables(body: Mapping[str, Any]) -> Any:
    """A fresh document: what an operator edits as tables stands as tables, targets and small tables on one line."""
    document = tomlkit.document()
    for key, value in body.items():
        if isinstance(value, Mapping) and key in ("versions", "ab_test"):
            document[key] = _table(value, tables=("plan",) if key == "ab_test" else tuple(value))
        else:
            document[key] = _inline(value)
    return document


def _table(body: Mapping[str, Any], tables: tuple[str, ...]) -> Any:
    table = tomlkit.table()
    for key, value in body.items():
        own = isinstance(value, Mapping) and key in tables and "version" not in value
        table[key] = _table(value, tables=()) if own else _inline(value)
    return table


def _inline(value: Any) -> Any:
    if isinstance(value, Mapping):
        table = tomlkit.inline_table()
        for key, inner in value.items():
            table[key] = _inline(inner)
        return table
    return [_inline(inner) for inner in value] if isinstance(value, list) else value
