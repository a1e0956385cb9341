"""What a change is called, and what it means for a running experiment."""

from typing import Any

import pytest
from hypothesis import given

from gateway.routefile import build_route, differences, same_epoch, same_memory
from tests.routefile.examples import ROUTE, Tree, changed, route, routes

BODY = route(ROUTE)


@pytest.mark.parametrize(
    ("path", "value", "lines"),
    [
        ("ab_test/split/b", 50, ["ab_test.split.b: 20 -> 50"]),
        ("ab_test/winner", "b", ["ab_test.winner: nothing -> b"]),
        ("ab_test/coverage", ..., ["ab_test.coverage: 0.5 -> nothing"]),
        ("ab_test/enabled", False, ["ab_test.enabled: true -> false"]),
        ("versions/a", "support@4", ["versions.a: support@3 -> support@4"]),
        ("numbers", [], ['numbers: ["+14155550100"] -> []']),
        (
            "fallback",
            {"kind": "twiml", "xml": "<Response>\n  <Hangup/>\n</Response>"},
            [
                "fallback.kind: number -> twiml",
                "fallback.xml: nothing -> <Response> <Hangup/> </Response>",
                "fallback.to: +14155550199 -> nothing",
            ],
        ),
        ("ab_test/plan/hypothesis", "é" * 100, [f"ab_test.plan.hypothesis: {{}} -> {'é' * 79}…"]),
    ],
)
def test_a_change_is_a_short_line(path: str, value: Any, lines: list[str]) -> None:
    new = route(changed(ROUTE, path, value))
    assert differences(BODY, new) == [line.format(ROUTE["ab_test"]["plan"]["hypothesis"]) for line in lines]


def test_everything_of_a_new_route_is_new_and_of_a_removed_one_gone() -> None:
    assert "direction: nothing -> inbound" in differences(None, BODY)
    assert "direction: inbound -> nothing" in differences(BODY, None)
    assert len(differences(None, BODY)) == len(differences(BODY, None))


@given(routes(), routes())
def test_there_are_lines_exactly_when_something_changes(one: Tree, other: Tree) -> None:
    old, new = route(one), route(other)
    assert bool(differences(old, new)) == (old != new)
    assert differences(old, old) == []


@pytest.mark.parametrize(
    ("path", "value", "epoch", "memory"),
    [
        ("ab_test/name", "other", True, True),
        ("numbers", ["+14155550101"], True, True),
        ("fallback", ..., True, True),
        ("ab_test/test_numbers", ..., True, True),
        ("ab_test/split", {"a": 4, "b": 1}, True, True),  # the same shares
        ("ab_test/split", {"a": 50, "b": 50}, False, True),
        ("ab_test/coverage", 0.6, False, True),
        ("versions/a", "support@4", False, False),
        ("versions/b/parameters", {"persona": {"name": "Max"}}, False, False),
        ("versions/b", "support@4", False, False),
    ],
)
def test_which_changes_begin_an_epoch_and_clear_the_memory(path: str, value: Any, epoch: bool, memory: bool) -> None:
    old, new = build_route("x", BODY), build_route("x", route(changed(ROUTE, path, value)))
    assert same_epoch(old, new) is epoch
    assert same_memory(old, new) is memory


def test_a_new_arm_begins_an_epoch_even_when_it_is_parked() -> None:
    more = changed(changed(ROUTE, "versions/c", "support@5"), "ab_test/split/c", 0)
    old, new = build_route("x", BODY), build_route("x", route(more))
    assert not same_epoch(old, new)
    assert not same_memory(old, new)
