"""Compares an old state with a new one: lines for people, and what it means for a running experiment."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from gateway.model import Route

_LONGEST = 80


def differences(old: Mapping[str, Any] | None, new: Mapping[str, Any] | None) -> list[str]:
    """What changes from one body to the other, a short line each: ``ab_test.split.b: 20 -> 50``."""
    before, after = dict(_leaves(old or {}, "")), dict(_leaves(new or {}, ""))
    paths = [*after, *(path for path in before if path not in after)]
    return [
        f"{path}: {_shown(before, path)} -> {_shown(after, path)}"
        for path in paths
        if path not in before or path not in after or before[path] != after[path]
    ]


def _leaves(table: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _shown(leaves: Mapping[str, Any], path: str) -> str:
    if path not in leaves:
        return "nothing"
    value = leaves[path]
    # Two long texts may differ at their ends only: what is shown then says no more than that they do.
    text = " ".join(value.split()) if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def same_epoch(old: Route, new: Route) -> bool:
    """Whether calls before and after the change may be compared as one: same arms, versions, parameters, shares
    and coverage."""
    return (
        same_memory(old, new)
        and old.coverage == new.coverage
        and [arm.share for arm in old.arms] == [arm.share for arm in new.arms]
    )


def same_memory(old: Route, new: Route) -> bool:
    """Whether sticky callers keep their arm: same arms, versions and parameters, whatever the weights."""
    return _contents(old) == _contents(new)


def _contents(route: Route) -> list[tuple[str, str, dict[str, str]]]:
    return [(arm.name, arm.version, dict(arm.parameters)) for arm in route.arms]
