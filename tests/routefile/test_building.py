"""Bodies become values; the bounds of a split are honest to the last bucket."""

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given

from gateway.routefile import BUCKETS, build_route, build_versions
from tests.routefile.examples import AGENT, ROUTE, Tree, agent, changed, route, routes


def ends(split: dict[str, float] | None, arms: str) -> list[int]:
    """The upper ends of a route's arms."""
    test: Tree = {} if split is None else {"ab_test": {"split": split}}
    versions = dict.fromkeys(arms, "support@3")
    body = route({"direction": "inbound", "numbers": [], "versions": versions, **test})
    return [arm.upper for arm in build_route("x", body).arms]


@pytest.mark.parametrize(
    ("split", "uppers"),
    [
        ({"a": 80, "b": 20}, [800_000, 1_000_000]),
        ({"a": 34, "b": 33, "c": 33}, [340_000, 670_000, 1_000_000]),
        ({"a": 1, "b": 1, "c": 1}, [333_333, 666_667, 1_000_000]),
        ({"a": 0.1, "b": 0.2}, [333_333, 1_000_000]),
        # In binary fractions 0.1 + 0.2 + 0.7 is not 1, and 0.1 of it not 100,000.
        ({"a": 0.1, "b": 0.2, "c": 0.7}, [100_000, 300_000, 1_000_000]),
        ({"a": 0, "b": 5, "c": 0}, [0, 1_000_000, 1_000_000]),
        ({"b": 1, "a": 3}, [750_000, 1_000_000]),
        ({"a": 1, "b": 1_999_999}, [0, 1_000_000]),  # half a bucket goes to the even end
        ({"a": 3, "b": 1_999_997}, [2, 1_000_000]),
        ({"a": 1e-300, "b": 1e300}, [0, 1_000_000]),
    ],
)
def test_the_ends_of_the_arms_are_those_of_exact_shares(split: dict[str, float], uppers: list[int]) -> None:
    assert ends(split, "".join(sorted(split))) == uppers


def test_without_a_split_everything_is_the_controls() -> None:
    assert ends(None, "ab") == [1_000_000, 1_000_000]


@given(routes())
def test_arms_share_a_million_buckets_by_their_weights(tree: Tree) -> None:
    body = route(tree)
    arms = build_route("x", body).arms
    split = body.get("ab_test", {}).get("split", {"a": 1})
    total = sum(Fraction(str(weight)) for weight in split.values())
    assert [arm.name for arm in arms] == sorted(body["versions"])
    assert sum(arm.share for arm in arms) == pytest.approx(1)
    assert max(arm.upper for arm in arms if arm.weight) == BUCKETS
    before = 0
    for arm in arms:
        share = Fraction(str(split.get(arm.name, 0))) / total
        assert abs((arm.upper - before) - BUCKETS * share) <= 1
        assert arm.share == pytest.approx(float(share))
        if not arm.weight:
            assert arm.upper == before
        before = arm.upper


def test_a_route_holds_all_that_its_file_says() -> None:
    built = build_route("support", route(ROUTE))
    assert (built.name, built.direction, built.numbers) == ("support", "inbound", ("+14155550100",))
    assert built.fallback is not None
    assert (built.fallback.kind, built.fallback.fields) == ("number", {"to": "+14155550199"})
    assert (built.enabled, built.test_name, built.unit, built.coverage) == (True, "shorter greeting", "caller", 0.5)
    assert built.test_numbers == {"+14155550123": "b"}
    assert built.plan["primary"]["metric"] == "success"
    assert (built.arm("a").version, built.arm("a").parameters) == ("support@3", ())
    assert (built.arm("b").version, built.arm("b").parameters) == ("support@4", (("persona.name", "Aria"),))


@pytest.mark.parametrize("winner", ["b", None])
def test_a_route_without_a_test_has_the_defaults(winner: str | None) -> None:
    tree: Any = {"direction": "outbound", "numbers": ["+14155550100"], "versions": {"a": "x@1", "b": "x@2"}}
    built = build_route("x", route({**tree, "ab_test": {"winner": winner}} if winner else tree))
    assert (built.enabled, built.unit, built.coverage, built.winner) == (False, "call", 1.0, winner)
    assert (built.fallback, built.test_numbers, built.plan) == (None, {}, {})


def test_versions_hold_all_that_their_file_says() -> None:
    three, ten = build_versions("support", agent(AGENT))
    assert (three.name, three.status, three.notes) == ("support@3", "published", "In production")
    assert three.target.parameters == (("prompt", "v3"),)
    assert (ten.name, ten.status, ten.notes) == ("support@10", "draft", "")
    assert ten.target.requires == ("first_name",)


def test_an_agent_that_was_removed_has_no_versions() -> None:
    assert build_versions("support", {}) == ()


def test_values_are_the_same_in_whatever_order_parameters_are_written() -> None:
    one = changed(ROUTE, "versions/b/parameters", {"x": 1, "persona": {"tone": "warm", "name": "Aria"}})
    other = changed(ROUTE, "versions/b/parameters", {"persona": {"name": "Aria", "tone": "warm"}, "x": "1"})
    assert build_route("x", route(one)) == build_route("x", route(other))
