"""What is written reads as what was meant, and an operator's own file stays theirs."""

import difflib
import tomllib
from typing import Any

import pytest
from hypothesis import given

from gateway.routefile import write_toml
from tests.routefile.examples import AGENT, ROUTE, Tree, agent, changed, route, routes

FILE = """\
# The support line.
direction = "inbound"   # or outbound
numbers   = [
  "+14155550100",  # main
  "+14155550101",  # second
]

# Who answers.
[versions]
a = "support@3"     # the control
b = { version = "support@4", parameters = { persona = { name = "Max" }, level = 3 } }  # new

[ab_test]
enabled = true      # on
split   = { a = 80.0, b = 20 }  # careful
# coverage = 0.1

# Settled beforehand.
[ab_test.plan]
start = 2026-06-01T09:00:00Z  # a Monday
"""


def edited(body: Tree) -> list[str]:
    """The lines that differ between FILE and what is written of the body over it."""
    text = write_toml(body, FILE)
    assert route(text) == body
    lines = difflib.unified_diff(FILE.splitlines(), text.splitlines(), lineterm="", n=0)
    return [line for line in lines if not line.startswith(("---", "+++", "@@"))]


def test_a_new_file_looks_like_one_that_a_person_wrote() -> None:
    assert write_toml(route(changed(ROUTE, "ab_test/plan", {"alpha": 0.1})), None) == (
        'direction = "inbound"\n'
        'numbers = ["+14155550100"]\n'
        'fallback = {kind = "number", to = "+14155550199"}\n'
        "\n"
        "[versions]\n"
        'a = "support@3"\n'
        'b = {version = "support@4", parameters = {persona = {name = "Aria"}}}\n'
        "\n"
        "[ab_test]\n"
        "enabled = true\n"
        'name = "shorter greeting"\n'
        'unit = "caller"\n'
        "split = {a = 80, b = 20}\n"
        "coverage = 0.5\n"
        'test_numbers = {"+14155550123" = "b"}\n'
        "\n"
        "[ab_test.plan]\n"
        "alpha = 0.1\n"
    )
    assert write_toml(agent(AGENT), None) == (
        "[versions.3]\n"
        'status = "published"\n'
        'notes = "In production"\n'
        'target = {kind = "stream", url = "wss://agents.example.com/3", parameters = {prompt = "v3"}}\n'
        "\n"
        "[versions.10]\n"
        'status = "draft"\n'
        'target = {kind = "sip", uri = "sip:ten@agents.example.com", requires = ["first_name"]}\n'
    )


def test_a_file_that_says_the_same_is_left_as_it_is() -> None:
    assert edited(route(FILE)) == []


@pytest.mark.parametrize(
    ("path", "value", "lines"),
    [
        (
            "ab_test/split",
            {"a": 50, "b": 50},
            ["-split   = { a = 80.0, b = 20 }  # careful", "+split   = { a = 50, b = 50 }  # careful"],
        ),
        ("ab_test/enabled", False, ["-enabled = true      # on", "+enabled = false      # on"]),
        ("ab_test/enabled", ..., ["-enabled = true      # on"]),
        ("ab_test/winner", "b", ['+winner = "b"']),
        ("numbers", ["+14155550101"], ['-  "+14155550100",  # main']),
        ("numbers", ["+14155550100"], ['-  "+14155550101",  # second']),
        ("numbers", ["+14155550100", "+14155550101", "+14155550102"], ['+  "+14155550102",']),
        (
            "fallback",
            {"kind": "number", "to": "+14155550199"},
            ['+fallback = {kind = "number", to = "+14155550199"}'],
        ),
        ("versions/a", "support@5", ['-a = "support@3"     # the control', '+a = "support@5"     # the control']),
        (
            "versions/b/parameters/level",
            "4",
            [
                '-b = { version = "support@4", parameters = { persona = { name = "Max" }, level = 3 } }  # new',
                '+b = { version = "support@4", parameters = { persona = { name = "Max" }, level = "4" } }  # new',
            ],
        ),
        ("ab_test/plan/alpha", 0.1, ["+alpha = 0.1"]),
        ("ab_test/plan", ..., ["-[ab_test.plan]", "-start = 2026-06-01T09:00:00Z  # a Monday"]),
    ],
)
def test_only_what_differs_is_written_and_comments_stay(path: str, value: Any, lines: list[str]) -> None:
    assert edited(route(changed(route(FILE), path, value))) == lines


def test_a_new_key_stands_above_the_comment_of_the_next_table() -> None:
    text = write_toml(changed(route(FILE), "fallback", {"kind": "number", "to": "+14155550199"}), FILE)
    assert text.index("fallback") < text.index("# Who answers.") < text.index("[versions]")


def test_numbers_in_another_order_are_written_in_that_order() -> None:
    body = changed(route(FILE), "numbers", ["+14155550101", "+14155550100"])
    assert route(write_toml(body, FILE))["numbers"] == ["+14155550101", "+14155550100"]


ODD_FILES = [
    "this is not TOML",
    "",
    "direction = 5",
    "\ufeffdirection = 'inbound'",
    # dotted keys
    'ab_test.enabled = true\ndirection = "inbound"\nnumbers = []\nversions.a = "x@1"\nab_test.split.a = 1',
    # a table in two pieces
    'direction = "inbound"\nnumbers = []\n[ab_test]\nname = "x"\n[versions]\na = "x@1"\n[ab_test.plan]\nalpha = 0.2',
    # everything on one line
    'versions = { a = "x@1" }\ndirection = "inbound"\nnumbers = []\nab_test = { enabled = false }',
    # arms and guardrails as tables
    'direction = "inbound"\nnumbers = []\n[versions.a]\nversion = "x@1"\n'
    '[[ab_test.plan.guardrails]]\nmetric = "cost"\nmargin = 1',
    "[versions.3]\nstatus = 'draft'\ntarget = { kind = 'webhook', url = 'https://x.example' }",
]


@pytest.mark.parametrize("previous", ODD_FILES)
def test_whatever_was_there_before_what_is_meant_is_written(previous: str) -> None:
    assert route(write_toml(route(ROUTE), previous)) == route(ROUTE)
    assert agent(write_toml(agent(AGENT), previous)) == agent(AGENT)


def test_what_a_database_returns_in_its_own_order_is_written_in_ours() -> None:
    body = route(ROUTE)
    assert write_toml(dict(reversed(body.items())), None) == write_toml(body, None)


@given(routes())
def test_what_is_written_reads_the_same(tree: Tree) -> None:
    body = route(tree)
    assert route(write_toml(body, None)) == body


@given(routes(), routes())
def test_any_route_can_be_written_over_any_other(one: Tree, other: Tree) -> None:
    text = write_toml(route(one), None)
    assert route(write_toml(route(other), text)) == route(other)
    assert write_toml(route(one), text) == text


@given(routes())
def test_what_is_written_is_toml_to_others_too(tree: Tree) -> None:
    assert tomllib.loads(write_toml(route(tree), FILE))["numbers"] == tree["numbers"]
