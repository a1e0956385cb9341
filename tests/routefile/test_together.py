"""What one file alone cannot show, and what may not change once it is published."""

from collections.abc import Mapping
from typing import Any

import pytest

from gateway.model import Route, Version
from gateway.routefile import build_route, build_versions, check_together, immutable_problems
from tests.routefile.examples import Tree, agent, route, told

STREAM = {"kind": "stream", "url": "wss://agents.example.com/x"}


def live(**agents: Mapping[str, str]) -> dict[str, Version]:
    """Versions by name, given the status of each number: ``live(support={"3": "published"})``."""
    found: dict[str, Version] = {}
    for name, statuses in agents.items():
        versions = {number: {"status": status, "target": STREAM} for number, status in statuses.items()}
        found |= {version.name: version for version in build_versions(name, agent({"versions": versions}))}
    return found


def made(name: str, *numbers: str, direction: str = "inbound", **arms: Any) -> Route:
    """A route of these numbers and arms."""
    versions = arms or {"a": "support@3"}
    return build_route(name, route({"direction": direction, "numbers": list(numbers), "versions": versions}))


def wrong(*routes: Route, versions: Mapping[str, Version] | None = None, **more: Any) -> dict[tuple[str, str], str]:
    """The sentences about routes by file and path."""
    problems = check_together(
        {one.name: one for one in routes},
        live(support={"3": "published", "4": "published"}) if versions is None else versions,
        {one.name: f"routes/{one.name}.toml" for one in routes},
        **more,
    )
    return {(problem.place, problem.path): problem.text for problem in problems}


ONE, TWO, THREE = "+14155550101", "+14155550102", "+14155550103"


def test_routes_that_go_together_have_no_problem() -> None:
    assert wrong(made("sales", ONE), made("support", TWO, a="support@3", b="support@4")) == {}


@pytest.mark.parametrize(
    ("version", "text"),
    [
        ("support@5", 'route "sales" splits to support@5, which is a draft: publish it first'),
        ("support@2", 'route "sales" splits to support@2, which is retired: name a published version'),
        ("support@40", 'route "sales" splits to support@40, which does not exist; did you mean support@5?'),
        ("suport@3", 'route "sales" splits to suport@3, which does not exist; did you mean support@3?'),
        ("renewals@1", 'route "sales" splits to renewals@1, which does not exist'),
    ],
)
def test_an_arm_needs_a_published_version(version: str, text: str) -> None:
    versions = live(support={"2": "retired", "3": "published", "5": "draft"})
    found = wrong(made("sales", ONE, a="support@3", b=version), versions=versions)
    assert found == {("routes/sales.toml", "versions.b"): text}


def test_a_number_on_two_inbound_routes_is_told_with_both() -> None:
    assert wrong(made("sales", ONE, TWO), made("support", TWO)) == {
        ("routes/support.toml", "numbers"): (
            f'{TWO} is on route "sales" and on route "support": only one inbound route can take it'
        )
    }


def test_a_number_may_be_called_from_and_called() -> None:
    assert wrong(made("sales", ONE), made("renewals", ONE, direction="outbound")) == {}


def test_only_changed_routes_are_held_against_the_rest() -> None:
    sales, support = made("sales", ONE), made("support", ONE, a="gone@1")
    assert wrong(sales, support, changed={"sales"}, numbers={ONE: "support"}) == {
        ("routes/sales.toml", "numbers"): (
            f'{ONE} is on route "support" and on route "sales": only one inbound route can take it'
        )
    }
    assert wrong(sales, support, changed=set(), numbers={ONE: "support"}) == {}


def test_a_number_may_move_in_one_change() -> None:
    before = {ONE: "sales", TWO: "support", THREE: "removed"}
    sales, support = made("sales", TWO, THREE), made("support", ONE)
    assert wrong(sales, support, changed={"sales", "support"}, numbers=before) == {}


def test_an_arms_parameters_must_fit_its_versions_target() -> None:
    found = wrong(made("sales", ONE, a={"version": "support@3", "parameters": {"prompt": "x" * 494}}))
    assert list(found) == [("routes/sales.toml", "versions.a.parameters")]
    assert "parameter prompt comes to 500 characters" in found["routes/sales.toml", "versions.a.parameters"]
    assert wrong(made("sales", ONE, a={"version": "support@3", "parameters": {"prompt": "x" * 493}})) == {}


def test_a_number_cannot_be_given_parameters() -> None:
    person = {"status": "published", "target": {"kind": "number", "to": THREE}}
    (version,) = build_versions("person", agent({"versions": {"1": person}}))
    arm = {"version": "person@1", "parameters": {"persona": "Aria"}}
    assert wrong(made("sales", ONE, a=arm), versions={version.name: version}) == {
        ("routes/sales.toml", "versions.a.parameters"): (
            "person@1 is a number target, which cannot be given anything: drop them"
        )
    }


# -- what is published -------------------------------------------------------------------------------------


def body(**versions: tuple[str, str]) -> Tree:
    """An agent's body, given status and URL of ``v3``, ``v4``, …"""
    return agent(
        {
            "versions": {
                name[1:]: {"status": status, "target": {"kind": "webhook", "url": f"https://example.com/{url}"}}
                for name, (status, url) in versions.items()
            }
        }
    )


LIVE = body(v3=("published", "x"), v4=("draft", "x"))


@pytest.mark.parametrize(
    ("new", "in_use", "text"),
    [
        (
            body(v3=("published", "other"), v4=("draft", "x")),
            (),
            "support@3 is published and cannot change; add version 5",
        ),
        (body(v4=("draft", "x")), (), "support@3 is published and cannot be removed: retire it instead"),
        (
            body(v4=("draft", "x")),
            ("support@3",),
            "support@3 is published and cannot be removed: a route splits to it",
        ),
        ({}, ("support@3",), "support@3 is published and cannot be removed: a route splits to it"),
        (
            body(v3=("draft", "x"), v4=("draft", "x")),
            (),
            "support@3 is published and cannot be a draft again; add version 5",
        ),
        (
            body(v3=("retired", "x"), v4=("draft", "x")),
            ("support@3",),
            "support@3 cannot be retired while a route splits to it: point the route to another version first",
        ),
    ],
)
def test_a_published_version_stays_what_it_is(new: Tree, in_use: tuple[str, ...], text: str) -> None:
    (problem,) = immutable_problems("support", LIVE, new, in_use)
    assert (problem.place, problem.path, problem.text) == ("agents/support.toml", "versions.3", text)


@pytest.mark.parametrize(
    "new",
    [
        LIVE,
        body(v3=("retired", "x"), v4=("draft", "x")),
        body(v3=("published", "x"), v4=("draft", "other")),
        body(v3=("published", "x"), v4=("published", "x")),
        body(v3=("published", "x")),
        body(v3=("published", "x"), v5=("published", "y")),
        {},
    ],
)
def test_a_draft_may_change_and_what_no_route_uses_may_go(new: Tree) -> None:
    assert told(immutable_problems("support", LIVE, new, ["sales@1"])) == {}


def test_notes_may_be_mended() -> None:
    mended = agent({"versions": {"3": {**LIVE["versions"]["3"], "notes": "mended"}}})
    assert immutable_problems("support", body(v3=("published", "x")), mended, ["support@3"]) == []


def test_a_retired_version_cannot_change_either() -> None:
    (problem,) = immutable_problems("x", body(v9=("retired", "x")), body(v9=("retired", "y")), ())
    assert problem.text == "x@9 is retired and cannot change; add version 10"
