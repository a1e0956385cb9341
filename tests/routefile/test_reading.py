"""What is taken, in which normal form, and the sentence for each refusal."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import Invalid
from gateway.routefile import build_route, build_versions, read_agent, read_route, read_toml
from tests.routefile.examples import (
    AGENT,
    ROUTE,
    Tree,
    agent,
    changed,
    damaged,
    route,
    told,
    trees,
    wrong_with_agent,
    wrong_with_route,
)

# -- TOML --------------------------------------------------------------------------------------------------


def test_a_slip_of_syntax_is_told_with_its_line() -> None:
    with pytest.raises(Invalid) as raised:
        read_toml("routes/sales.toml", 'direction = "inbound"\nnumbers = [\n+14155550100"]')
    (problem,) = raised.value.problems
    assert problem.place == "routes/sales.toml"
    assert "line 3" in problem.text


@pytest.mark.parametrize("text", ["a = " + "[" * 5000, "a = " + "9" * 5000, "a = 1\na = 2", "\ufeffa = 1"])
def test_text_that_cannot_be_read_is_a_problem_and_no_crash(text: str) -> None:
    with pytest.raises(Invalid) as raised:
        read_toml("routes/x.toml", text)
    assert len(raised.value.problems) == 1


# -- normal form -------------------------------------------------------------------------------------------


def test_a_body_holds_what_was_written_and_no_defaults() -> None:
    written = {"numbers": ["+14155550100"], "versions": {"a": "support@3"}, "direction": "outbound"}
    assert list(route(written).items()) == [
        ("direction", "outbound"),
        ("numbers", ["+14155550100"]),
        ("versions", {"a": "support@3"}),
    ]


def test_a_whole_route_is_taken_as_it_is() -> None:
    assert route(ROUTE) == ROUTE
    assert agent(AGENT) == AGENT


@pytest.mark.parametrize(
    ("path", "one", "other"),
    [
        ("ab_test/split", {"a": 80, "b": 20}, {"b": 20.0, "a": 80.0}),
        ("versions/b", "support@4", {"version": "support@4"}),
        ("versions/b", "support@4", {"version": "support@4", "parameters": {"persona": {}}}),
        ("versions/b/parameters", {"level": 3, "on": True}, {"on": "true", "level": "3"}),
        ("ab_test/winner", None, ...),
        ("ab_test/plan/start", "2026-06-01 09:00:00Z", "2026-06-01T09:00:00Z"),
        ("fallback", {"to": "+14155550199", "kind": "number"}, {"kind": "number", "to": "+14155550199"}),
    ],
)
def test_equal_meaning_is_an_equal_body(path: str, one: Any, other: Any) -> None:
    first = route(changed(ROUTE, path, one))
    second = route(changed(changed(ROUTE, path, one), path, other))
    assert json.dumps(first) == json.dumps(second)


def test_toml_and_json_give_the_same_body() -> None:
    text = """
        numbers = ["+14155550100"]
        direction = "inbound"
        versions.a = "support@3"
        ab_test.plan = { start = 2026-06-01T09:00:00Z, n_max = 10 }
    """
    plan = {"n_max": 10, "start": "2026-06-01T09:00:00Z"}
    assert route(text)["ab_test"]["plan"] == plan
    assert route(json.loads(json.dumps(route(text)))) == route(text)


def test_versions_stand_in_the_order_of_their_numbers() -> None:
    turned = {"versions": dict(reversed(AGENT["versions"].items()))}
    assert list(agent(turned)["versions"]) == ["3", "10"]


def test_an_inbound_route_may_wait_for_its_number() -> None:
    assert route(changed(ROUTE, "numbers", []))["numbers"] == []


# -- refusals ----------------------------------------------------------------------------------------------

_CONTROL = "is missing: arm a is the control, which answers when the test is off"
_WEIGHT = "must be a number from 0 up; 0 parks the arm"
_TAG = 'must name one version by its number, as in "support@3": an arm never points at a moving tag'
_QUOTE = 'quote the number, as in "+14155550100"'
_E164 = 'must be an E.164 number, as in "+14155550100"'
_MOMENT = "must be a time with its offset, as in 2026-06-01T09:00:00Z"


@pytest.mark.parametrize(
    ("path", "value", "where", "text"),
    [
        ("fallbak", 1, "fallbak", 'is not known; did you mean "fallback"?'),
        ("split", {}, "split", 'is not known; did you mean "ab_test.split"?'),
        ("ab_test/wnner", "a", "ab_test.wnner", 'is not known; did you mean "winner"?'),
        (
            "versions/b",
            {"version": "x@1", "zz": 1},
            "versions.b.zz",
            "is not known; here may stand version, parameters",
        ),
        (
            "ab_test/plan/guardrails",
            [{"metric": "cost", "margin": 1, "margim": 1}],
            "ab_test.plan.guardrails.0.margim",
            'is not known; did you mean "margin"?',
        ),
        ("direction", "inbuond", "direction", 'must be "inbound" or "outbound"'),
        ("direction", ..., "direction", "is missing"),
        ("numbers", ..., "numbers", 'is missing: write numbers = ["+14155550100"]'),
        ("numbers", "+14155550100", "numbers", "must be a list"),
        ("numbers", [14155550100], "numbers.0", _QUOTE),
        ("numbers", ["+14155550100", "0800 123"], "numbers.1", _E164),
        ("numbers", ["+266696687"], "numbers.0", _E164),
        ("numbers", ["+14155550100", "+14155550100"], "numbers", "names +14155550100 twice"),
        (
            "fallback",
            {"kind": "number", "to": "+14155550100"},
            "fallback.to",
            "+14155550100 is the route's own number: the call would come back here; name another",
        ),
        ("fallback/to", 14155550199, "fallback.to", _QUOTE),
        ("fallback", "+14155550199", "fallback", "must be a table"),
        ("versions", {"b": "support@4"}, "versions.a", _CONTROL),
        ("versions", ..., "versions", "is missing"),
        ("versions", ["support@3"], "versions", "must be a table"),
        ("versions/B", "support@3", "versions.B", "is no arm: an arm is one small letter, as in a, b or c"),
        (
            "versions/fallback",
            {"kind": "number"},
            "versions.fallback",
            "is no arm: an arm is one small letter, as in a, b or c (this key belongs above the first [table])",
        ),
        ("versions/a", "support@latest", "versions.a", _TAG),
        ("versions/a", "support", "versions.a", _TAG),
        ("versions/a", "support@0", "versions.a", _TAG),
        ("versions/a", "Support@3", "versions.a", _TAG),
        ("versions/a", {"version": "support"}, "versions.a.version", _TAG),
        ("versions/a", {"parameters": {}}, "versions.a.version", "is missing"),
        ("versions/a", 3, "versions.a", _TAG),
        (
            "versions/b/parameters",
            {"gateway_call": "x"},
            "versions.b.parameters.gateway_call",
            "names beginning with gateway_ are the gateway's own: rename gateway_call",
        ),
        (
            "versions/b/parameters",
            {"day": ["monday"]},
            "versions.b.parameters.day",
            "must be text, a number, true or false, or a table of these",
        ),
        ("versions/b/parameters", {"n": float("inf")}, "versions.b.parameters.n", "must be a finite number"),
        ("versions/b/parameters", {"n": 2**63}, "versions.b.parameters.n", "is too large a number"),
        ("ab_test", True, "ab_test", "must be a table"),
        ("ab_test/enabled", "yes", "ab_test.enabled", "must be true or false"),
        ("ab_test/name", "x" * 201, "ab_test.name", "must have at most 200 characters"),
        ("ab_test/name", "a\0b", "ab_test.name", "holds a character that cannot be stored: remove it"),
        ("ab_test/unit", "person", "ab_test.unit", 'must be "call" or "caller"'),
        ("ab_test/split/b", -1, "ab_test.split.b", _WEIGHT),
        ("ab_test/split/b", "20", "ab_test.split.b", _WEIGHT),
        ("ab_test/split/b", True, "ab_test.split.b", _WEIGHT),
        ("ab_test/split/b", float("nan"), "ab_test.split.b", "must be a finite number"),
        (
            "ab_test/split",
            {"a": 0, "b": 0.0},
            "ab_test.split",
            "gives every arm the weight 0: at least one must be above it",
        ),
        (
            "ab_test/split/c",
            5,
            "ab_test.split.c",
            "arm c has no version: add it under [versions], or drop it here",
        ),
        ("ab_test/split", {"a": 1}, "ab_test.split.b", "is missing: give arm b a weight; 0 parks it"),
        ("ab_test/split", ..., "ab_test.split", "is missing: give every arm a weight, as in { a = 80, b = 20 }"),
        (
            "ab_test/winner",
            "c",
            "ab_test.winner",
            "arm c has no version: add it under [versions], or drop it here",
        ),
        ("ab_test/winner", "AB", "ab_test.winner", "is no arm: an arm is one small letter, as in a, b or c"),
        ("ab_test/coverage", 0, "ab_test.coverage", "must be above 0"),
        ("ab_test/coverage", 1.1, "ab_test.coverage", "must be at most 1"),
        ("ab_test/coverage", "all", "ab_test.coverage", "must be a number"),
        ("ab_test/test_numbers", {"0800": "b"}, "ab_test.test_numbers.0800", _E164),
        (
            "ab_test/test_numbers",
            {"+14155550123": "d"},
            "ab_test.test_numbers.+14155550123",
            "arm d has no version: add it under [versions], or drop it here",
        ),
        ("ab_test/plan/alpha", 1, "ab_test.plan.alpha", "must be below 1"),
        ("ab_test/plan/power", 0, "ab_test.plan.power", "must be above 0"),
        ("ab_test/plan/n_max", 0, "ab_test.plan.n_max", "must be at least 1"),
        ("ab_test/plan/n_max", 1.5, "ab_test.plan.n_max", "must be a whole number"),
        ("ab_test/plan/start", "2026-06-01", "ab_test.plan.start", _MOMENT),
        ("ab_test/plan/start", 20260601, "ab_test.plan.start", _MOMENT),
        (
            "ab_test/plan/start",
            "2026-02-31T09:00:00Z",
            "ab_test.plan.start",
            "is no time that ever comes, as 2026-06-01T09:00:00Z would be",
        ),
        (
            "ab_test/plan/end",
            "2026-06-01T09:00:00Z",
            "ab_test.plan",
            "ends before it starts: write an end that is later than start",
        ),
        (
            "ab_test/plan/primary/metric",
            "sucess",
            "ab_test.plan.primary.metric",
            'there is no metric "sucess"; did you mean "success"?',
        ),
        (
            "ab_test/plan/primary",
            {"metric": "fields.csat", "min_effect": 1},
            "ab_test.plan.primary",
            'needs better = "higher" or "lower": fields.csat is the agent\'s own, not the gateway\'s',
        ),
        ("ab_test/plan/primary/better", "more", "ab_test.plan.primary.better", 'must be "higher" or "lower"'),
        ("ab_test/plan/primary/min_effect", ..., "ab_test.plan.primary.min_effect", "is missing"),
        (
            "ab_test/plan/guardrails",
            [{"metric": "cost", "margin": -1}],
            "ab_test.plan.guardrails.0.margin",
            "must be at least 0",
        ),
        (
            "ab_test/plan/strata",
            ["city"],
            "ab_test.plan.strata.0",
            'there is no stratum "city"; write one of country, new_caller, hours, or var:<name>',
        ),
    ],
)
def test_a_wrong_route_is_refused_with_a_cure(path: str, value: Any, where: str, text: str) -> None:
    assert wrong_with_route(changed(ROUTE, path, value)) == {where: text}


def test_an_outbound_route_needs_a_number() -> None:
    wrong = wrong_with_route(changed(changed(ROUTE, "numbers", []), "direction", "outbound"))
    assert wrong == {"numbers": "is empty: an outbound route needs a number to dial from"}


def test_a_metric_that_is_like_no_other_is_told_all_of_them() -> None:
    wrong = wrong_with_route(changed(ROUTE, "ab_test/plan/secondary", ["zzz"]))
    assert wrong["ab_test.plan.secondary.0"].startswith('there is no metric "zzz"; write one of served, answered, ')


@pytest.mark.parametrize(
    ("path", "value", "where", "text"),
    [
        (
            "versions/03",
            {},
            "versions.03",
            "is no version: a version is a whole number from 1 up, as in [versions.3]",
        ),
        ("versions/3/status", "live", "versions.3.status", 'must be "draft", "published" or "retired"'),
        ("versions/3/status", ..., "versions.3.status", "is missing"),
        ("versions/3/target", ..., "versions.3.target", "is missing"),
        ("versions/3/note", "x", "versions.3.note", 'is not known; did you mean "notes"?'),
        ("versions/3/target/url", "https://x.example", "versions.3.target.url", "must begin with wss://"),
        ("versions/3/target/kind", "strem", "versions.3.target.kind", "strem is no kind of target"),
        ("versions/3/target/parameters", 5, "versions.3.target.parameters", "must be a table"),
        ("version", {}, "version", 'is not known; did you mean "versions"?'),
        ("versions", ..., "versions", "is missing"),
    ],
)
def test_a_wrong_agent_is_refused_with_a_cure(path: str, value: Any, where: str, text: str) -> None:
    wrong = wrong_with_agent(changed(AGENT, path, value))
    assert list(wrong) == [where]
    assert wrong[where].startswith(text)


def test_a_secret_in_a_target_is_refused_and_not_repeated() -> None:
    sip = {"kind": "sip", "uri": "sip:x@example.com", "username": "me", "password": "hunter2"}
    wrong = wrong_with_agent(changed(AGENT, "versions/3/target", sip))
    assert "env:" in wrong["versions.3.target.password"]
    assert "hunter2" not in str(wrong)
    agent(changed(AGENT, "versions/3/target", {**sip, "password": "env:SIP_PASSWORD"}))


@pytest.mark.parametrize("name", ["Sales", "sales line", "-sales", "sales/x", "", "é"])
def test_a_name_is_small_letters_digits_and_dashes(name: str) -> None:
    for reader, good, what in ((read_route, ROUTE, "a route"), (read_agent, AGENT, "an agent")):
        body, problems = reader("x.toml", name, good)
        assert body is None
        assert told(problems) == {"": f'"{name}" is no name for {what}: use small letters, digits and dashes'}
        assert reader("x.toml", "sales-2", good)[0] is not None


def test_every_problem_is_told_at_once_and_each_key_once() -> None:
    tree: Tree = {
        "direction": "inbound",
        "numbers": [14155550100],
        "fallback": {"kind": "stream", "url": 3, "colour": 1},
        "versions": {"b": "support@latest", "c": {"version": "x@1", "parameters": {"gateway_x": 1}, "q": 1}},
        "ab_test": {"enabled": True, "split": {"a": 1, "d": -1}, "winner": "z", "units": 1, "plan": {"alpha": 2}},
    }
    _, problems = read_route("routes/x.toml", "X", tree)
    assert [problem.path for problem in problems] == [
        "",
        "numbers.0",
        "fallback.url",
        "fallback.colour",
        "versions.b",
        "versions.c.parameters.gateway_x",
        "versions.c.q",
        "ab_test.split.d",
        "ab_test.plan.alpha",
        "ab_test.units",
        "versions.a",
        "ab_test.winner",
        "ab_test.split.b",
        "ab_test.split.c",
    ]


def test_a_tree_without_end_is_refused() -> None:
    deep: Any = "x"
    for _ in range(5000):
        deep = {"x": deep}
    wrong = wrong_with_route(changed(ROUTE, "versions/b/parameters", deep))
    assert set(wrong.values()) == {"is nested too deeply"}


def test_half_a_character_is_refused_wherever_it_stands() -> None:
    assert "ab_test.name" in wrong_with_route(changed(ROUTE, "ab_test/name", "\ud800"))
    wrong = wrong_with_route(changed(ROUTE, "versions/b/parameters/\ud800", "x"))
    assert wrong == {"versions.b.parameters": "has a key with a character that cannot be stored; rename it"}


# -- any tree at all ---------------------------------------------------------------------------------------


def _is_sound(body: Tree | None, problems: list[Any], kind: str) -> None:
    assert (body is None) == bool(problems)
    for problem in problems:
        assert problem.text
        str(problem).encode()
    if body is not None:
        kept = json.loads(json.dumps(body, allow_nan=False))
        assert kept == body
        again = (read_route if kind == "route" else read_agent)("x", "x", kept)
        assert again == (body, [])
        built = build_route("x", body) if kind == "route" else build_versions("x", body)
        assert built == (build_route("x", kept) if kind == "route" else build_versions("x", kept))


@given(trees)
def test_no_tree_is_too_odd_to_read(tree: Tree) -> None:
    _is_sound(*read_route("x", "x", tree), "route")
    _is_sound(*read_agent("x", "x", tree), "agent")


@given(damaged(ROUTE))
def test_no_damage_to_a_route_is_too_odd_to_tell(tree: Tree) -> None:
    _is_sound(*read_route("x", "x", tree), "route")


@given(damaged(AGENT))
def test_no_damage_to_an_agent_is_too_odd_to_tell(tree: Tree) -> None:
    _is_sound(*read_agent("x", "x", tree), "agent")


@given(st.text(max_size=60))
def test_no_text_is_too_odd_to_parse(text: str) -> None:
    try:
        tree = read_toml("x", text)
    except Invalid as error:
        problems = error.problems
        assert problems
    else:
        _is_sound(*read_route("x", "x", tree), "route")
