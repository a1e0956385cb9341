"""What may stand in a route file and in an agent file: the keys, their types, and the sentences for wrong values.

Values leave these models in normal form; what keys say of one another is checked in ``reading``.
"""

import difflib
import math
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    model_validator,
)

from gateway.metrics import FIELD_PREFIX, METRICS
from gateway.targets import flatten, read_target
from gateway.targets.kind import E164

NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?")
"""The name of a route or an agent."""

_NUMBER = re.compile(r"[1-9][0-9]{0,5}")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d:\d\d)")
_STRATA = ("country", "new_caller", "hours")


def _version_name(name: Any) -> Any:
    agent, _, number = name.partition("@") if isinstance(name, str) else ("", "", "")
    if not NAME.fullmatch(agent) or not _NUMBER.fullmatch(number):
        raise ValueError(
            'must name one version by its number, as in "support@3": an arm never points at a moving tag'
        )
    return name


def is_arm(name: str) -> bool:
    """Whether it can be the name of an arm: one small letter."""
    return re.fullmatch("[a-z]", name) is not None


def _arm_name(name: str) -> str:
    if not is_arm(name):
        moved = " (this key belongs above the first [table])" if name in Route.model_fields else ""
        raise ValueError(f"is no arm: an arm is one small letter, as in a, b or c{moved}")
    return name


def _version_number(number: str) -> str:
    if not _NUMBER.fullmatch(number):
        raise ValueError("is no version: a version is a whole number from 1 up, as in [versions.3]")
    return number


def _weight(weight: Any) -> Any:
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight < math.inf:
        raise ValueError("must be a number from 0 up; 0 parks the arm")
    return int(weight) if weight == int(weight) else weight


def _metric(name: str) -> str:
    if name.startswith(FIELD_PREFIX) and "=" in name:
        raise ValueError(
            f"{name} is one value of a distribution, not a metric: let the agent report it as true or false"
        )
    if name in METRICS or (name.startswith(FIELD_PREFIX) and name != FIELD_PREFIX):
        return name
    near = difflib.get_close_matches(name, METRICS, n=1)
    cure = f'did you mean "{near[0]}"?' if near else f"write one of {', '.join(METRICS)}, or {FIELD_PREFIX}<name>"
    raise ValueError(f'there is no metric "{name}"; {cure}')


def _stratum(name: str) -> str:
    if name in _STRATA or (name.startswith("var:") and name != "var:"):
        return name
    raise ValueError(f'there is no stratum "{name}"; write one of {", ".join(_STRATA)}, or var:<name>')


def _moment(value: Any) -> Any:
    text = value if isinstance(value, str) else value.isoformat() if hasattr(value, "isoformat") else ""
    if not _MOMENT.fullmatch(text):
        raise ValueError("must be a time with its offset, as in 2026-06-01T09:00:00Z")
    return text


def _parameters(written: dict[str, Any]) -> dict[str, Any]:
    """Parameters sorted by name, every value the text that the agent is given; nested tables stay nested."""
    return _texts(written, "", dict(flatten(written)))


def _texts(table: Mapping[str, Any], prefix: str, texts: Mapping[str, str]) -> dict[str, Any]:
    sorted_ = {}
    for key, value in sorted(table.items()):
        name = f"{prefix}{key}"
        text = _texts(value, f"{name}.", texts) if isinstance(value, Mapping) else texts[name]
        if not isinstance(value, Mapping) or text:
            sorted_[key] = text
    return sorted_


def _target(written: dict[str, Any]) -> dict[str, Any]:
    target = read_target(written)
    body = {"kind": target.kind, **target.fields}
    if target.parameters:
        body["parameters"] = _parameters(written["parameters"])
    if target.requires:
        body["requires"] = list(target.requires)
    return body


def _sorted(table: dict[str, Any]) -> dict[str, Any]:
    return dict(sorted(table.items()))


def _by_number(table: dict[str, Any]) -> dict[str, Any]:
    return dict(sorted(table.items(), key=lambda item: int(item[0])))


def _form(arm: Any) -> str:
    return "table" if isinstance(arm, Mapping | ArmTable) else "name"


VersionName = Annotated[str, BeforeValidator(_version_name)]
ArmName = Annotated[str, AfterValidator(_arm_name)]
Weight = Annotated[Any, AfterValidator(_weight)]
MetricName = Annotated[str, AfterValidator(_metric)]
Better = Literal["higher", "lower"]
Level = Annotated[float, Field(gt=0, lt=1)]
Moment = Annotated[AwareDatetime, BeforeValidator(_moment), Field(strict=False)]
TargetTable = Annotated[dict[str, Any], AfterValidator(_target)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class ArmTable(_Table):
    """An arm that adds to what its version is given."""

    version: VersionName
    parameters: Annotated[dict[str, Any], AfterValidator(_parameters)] = Field(default_factory=dict)


class _Judged(_Table):
    metric: MetricName
    better: Better | None = None

    @model_validator(mode="after")
    def _direction_is_known(self) -> "_Judged":
        if self.better is None and self.metric not in METRICS:
            raise ValueError(
                f'needs better = "higher" or "lower": {self.metric} is the agent\'s own, not the gateway\'s'
            )
        return self


class Primary(_Judged):
    """The metric that decides, and the smallest difference worth knowing of."""

    min_effect: float = Field(gt=0)


class Guardrail(_Judged):
    """A metric that must not get worse by more than its margin."""

    margin: float = Field(ge=0)


class Plan(_Table):
    """What is settled before a test starts."""

    hypothesis: str | None = None
    primary: Primary | None = None
    guardrails: list[Guardrail] | None = None
    secondary: list[MetricName] | None = None
    strata: list[Annotated[str, AfterValidator(_stratum)]] | None = None
    alpha: Level | None = None
    power: Level | None = None
    n_max: int | None = Field(None, ge=1)
    start: Moment | None = None
    end: Moment | None = None

    @model_validator(mode="after")
    def _ends_after_it_starts(self) -> "Plan":
        if self.start and self.end and self.end <= self.start:
            raise ValueError("ends before it starts: write an end that is later than start")
        return self


class Test(_Table):
    """The A/B test of a route."""

    enabled: bool | None = None
    name: str | None = Field(None, max_length=200)
    unit: Literal["call", "caller"] | None = None
    split: Annotated[dict[ArmName, Weight], AfterValidator(_sorted)] | None = None
    winner: ArmName | None = None
    coverage: float | None = Field(None, gt=0, le=1)
    test_numbers: Annotated[dict[E164, ArmName], AfterValidator(_sorted)] | None = None
    plan: Plan | None = None


Arm = Annotated[Annotated[VersionName, Tag("name")] | Annotated[ArmTable, Tag("table")], Discriminator(_form)]


class Route(_Table):
    """A route file."""

    direction: Literal["inbound", "outbound"]
    numbers: list[E164]
    fallback: TargetTable | None = None
    versions: Annotated[dict[ArmName, Arm], AfterValidator(_sorted)]
    ab_test: Test | None = None


class Version(_Table):
    """One version of an agent."""

    status: Literal["draft", "published", "retired"]
    notes: str | None = None
    target: TargetTable


class Agent(_Table):
    """An agent file."""

    versions: Annotated[dict[Annotated[str, AfterValidator(_version_number)], Version], AfterValidator(_by_number)]


TABLES: Mapping[type[BaseModel], Mapping[str, type[BaseModel]]] = {
    Route: {
        "": Route,
        "versions": ArmTable,
        "ab_test": Test,
        "ab_test.plan": Plan,
        "ab_test.plan.primary": Primary,
        "ab_test.plan.guardrails": Guardrail,
    },
    Agent: {"": Agent, "versions": Version},
}
"""What stands in each table of a file, by the table's path without arms, numbers and places in a list."""
