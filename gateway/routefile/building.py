"""Builds the gateway's values from bodies that were checked before, fast: at start every route goes through here."""

from collections.abc import Mapping
from fractions import Fraction
from functools import lru_cache
from typing import Any

from gateway.model import Arm, Parameters, Route, Version
from gateway.targets import flatten, read_target

BUCKETS = 1_000_000


def build_route(name: str, body: Mapping[str, Any]) -> Route:
    """The route of a body in normal form.

    With the test off the arms keep the shares of their split; without a split everything is a's.
    """
    test = body.get("ab_test", {})
    fallback = body.get("fallback")
    return Route(
        name=name,
        direction=body["direction"],
        numbers=tuple(body["numbers"]),
        arms=_arms(body["versions"], test.get("split") or {"a": 1}),
        fallback=read_target(fallback) if fallback is not None else None,
        enabled=test.get("enabled", False),
        test_name=test.get("name", ""),
        unit=test.get("unit", "call"),
        coverage=test.get("coverage", 1.0),
        winner=test.get("winner"),
        test_numbers=test.get("test_numbers", {}),
        plan=test.get("plan", {}),
    )


def build_versions(agent: str, body: Mapping[str, Any]) -> tuple[Version, ...]:
    """The versions of an agent's body in normal form; none of an empty one, an agent that was removed."""
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


def _arms(versions: Mapping[str, Any], split: Mapping[str, float]) -> tuple[Arm, ...]:
    names = sorted(versions)
    weights = tuple([split.get(name, 0) for name in names])
    arms = []
    for name, weight, (share, upper) in zip(names, weights, bounds(weights), strict=True):
        version, parameters = _arm(versions[name])
        arms.append(Arm(name=name, version=version, weight=weight, share=share, upper=upper, parameters=parameters))
    return tuple(arms)


def _arm(written: Any) -> tuple[str, Parameters]:
    return (written, ()) if isinstance(written, str) else (written["version"], flatten(written.get("parameters", {})))


# Most routes are split like many others.
@lru_cache(maxsize=10_000)
def bounds(weights: tuple[float, ...]) -> tuple[tuple[float, int], ...]:
    """Share and upper end of each arm: ``round(1,000,000 x cumulative share)``, half to even.

    Reckoned in fractions of what is written, so that 0.1 and 0.2 are a third and two thirds exactly, and the last
    arm with a weight ends at 1,000,000.
    """
    exact = [weight if isinstance(weight, int) else Fraction(str(weight)) for weight in weights]
    total, upto, ends = sum(exact), Fraction(0), []
    for weight in exact:
        upto += weight
        ends.append((float(Fraction(weight, total)), round(BUCKETS * upto / total)))
    return tuple(ends)
