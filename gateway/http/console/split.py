"""The A/B form of a route: from its body to the fields, and back. What they may say is the publisher's to judge."""

import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.http.console.plan import number, typed_plan, written_plan

_ROWS = 3  # at least so many arms can be filled in without a script


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One arm of the form; ``percent`` is text as it is typed."""

    arm: str
    version: str
    percent: str


def rows_of(body: Mapping[str, Any]) -> list[Row]:
    """The rows of a route, in the order of its arms."""
    weights = _weights(body)
    total = sum(weights.values()) or 1
    return [
        Row(arm=arm, version=_version(written), percent=_text(weights.get(arm, 0) / total * 100))
        for arm, written in body["versions"].items()
    ]


def typed_rows(form: Mapping[str, str]) -> list[Row]:
    """The rows as somebody filled them in, without those that name no version."""
    return [
        Row(arm=arm, version=form[f"version.{arm}"], percent=form.get(f"percent.{arm}", "0"))
        for arm in string.ascii_lowercase
        if form.get(f"version.{arm}")
    ]


def with_room(rows: Sequence[Row]) -> list[Row]:
    """The rows, and empty ones for arms that may be added."""
    used = {row.arm for row in rows}
    free = [arm for arm in string.ascii_lowercase if arm not in used]
    empty = max(1, _ROWS - len(rows))
    return sorted([*rows, *(Row(arm=arm, version="", percent="0") for arm in free[:empty])], key=lambda row: row.arm)


def body_of(base: Mapping[str, Any], form: Mapping[str, str]) -> dict[str, Any]:
    """The route that the form asks for; what the form does not speak of is taken over from ``base``."""
    rows = typed_rows(form)
    old = base["versions"]
    versions = {row.arm: _kept(old.get(row.arm), row.version) for row in rows}
    test = {key: value for key, value in (base.get("ab_test") or {}).items() if key != "winner"}
    test["enabled"] = form.get("enabled") == "on"
    if form.get("unit", "call") != test.get("unit", "call"):
        test["unit"] = form["unit"]
    if form.get("name"):
        test["name"] = form["name"]
    else:
        test.pop("name", None)
    if not test["enabled"] and form.get("winner"):
        test["winner"] = form["winner"]
    if rows != rows_of(base) or "split" not in test:
        test["split"] = {row.arm: number(row.percent) for row in rows}
    if "planned" in form:
        plan = written_plan(test.get("plan") or {}, typed_plan(form))
        test = {key: value for key, value in test.items() if key != "plan"} | ({"plan": plan} if plan else {})
    return {**base, "versions": versions, "ab_test": test}


def _kept(old: Any, version: str) -> Any:
    """An arm with another version keeps the parameters that it adds."""
    return {**old, "version": version} if isinstance(old, Mapping) else version


def _version(written: Any) -> str:
    return written["version"] if isinstance(written, Mapping) else str(written)


def _weights(body: Mapping[str, Any]) -> dict[str, float]:
    split = (body.get("ab_test") or {}).get("split")
    return dict(split) if split else dict.fromkeys(body["versions"], 1)


def _text(number: float) -> str:
    return f"{number:.2f}".rstrip("0").rstrip(".")
