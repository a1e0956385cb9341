"""A good route and a good agent, ways to read and change them, and trees of everything that TOML can say."""

import copy
import tomllib
from typing import Any

from hypothesis import strategies as st

from gateway.errors import Problem
from gateway.routefile import read_agent, read_route

Tree = dict[str, Any]

ROUTE: Tree = {
    "direction": "inbound",
    "numbers": ["+14155550100"],
    "fallback": {"kind": "number", "to": "+14155550199"},
    "versions": {
        "a": "support@3",
        "b": {"version": "support@4", "parameters": {"persona": {"name": "Aria"}}},
    },
    "ab_test": {
        "enabled": True,
        "name": "shorter greeting",
        "unit": "caller",
        "split": {"a": 80, "b": 20},
        "coverage": 0.5,
        "test_numbers": {"+14155550123": "b"},
        "plan": {
            "hypothesis": "A shorter greeting keeps more callers",
            "primary": {"metric": "success", "better": "higher", "min_effect": 0.05},
            "guardrails": [{"metric": "hung_up_early", "margin": 0.02}],
            "secondary": ["fields.csat"],
            "strata": ["country", "var:tier"],
            "alpha": 0.05,
            "power": 0.8,
            "n_max": 5000,
            "start": "2026-06-01T09:00:00Z",
            "end": "2026-07-01T09:00:00+02:00",
        },
    },
}
AGENT: Tree = {
    "versions": {
        "3": {
            "status": "published",
            "notes": "In production",
            "target": {"kind": "stream", "url": "wss://agents.example.com/3", "parameters": {"prompt": "v3"}},
        },
        "10": {
            "status": "draft",
            "target": {"kind": "sip", "uri": "sip:ten@agents.example.com", "requires": ["first_name"]},
        },
    }
}


def changed(tree: Tree, path: str, value: Any = ...) -> Tree:
    """A copy with another value at a path, steps parted by ``/``; without a value, with nothing there."""
    tree = copy.deepcopy(tree)
    *steps, last = path.split("/")
    place = tree
    for step in steps:
        place = place.setdefault(step, {})
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return tree


def told(problems: list[Problem]) -> dict[str, str]:
    """The sentences by path."""
    return {problem.path: problem.text for problem in problems}


def wrong_with_route(tree: Tree) -> dict[str, str]:
    """The sentences about a route that should be refused."""
    body, problems = read_route("routes/sales.toml", "sales", tree)
    assert body is None
    assert problems
    assert all(problem.place == "routes/sales.toml" for problem in problems)
    return told(problems)


def wrong_with_agent(tree: Tree) -> dict[str, str]:
    """The sentences about an agent that should be refused."""
    body, problems = read_agent("agents/support.toml", "support", tree)
    assert body is None
    assert problems
    return told(problems)


def route(tree: Tree | str) -> Tree:
    """The body of a route that should be taken."""
    body, problems = read_route("routes/sales.toml", "sales", tomllib.loads(tree) if isinstance(tree, str) else tree)
    assert problems == []
    assert body is not None
    return body


def agent(tree: Tree | str) -> Tree:
    """The body of an agent that should be taken."""
    body, problems = read_agent("agents/x.toml", "x", tomllib.loads(tree) if isinstance(tree, str) else tree)
    assert problems == []
    assert body is not None
    return body


# -- strategies --------------------------------------------------------------------------------------------

texts = st.text(max_size=12)
words = st.text("abcxyz_-.09 é\"\\\n\t'#", min_size=1, max_size=8)
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), texts, st.datetimes(), st.dates(), st.times()
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=12,
)
trees = st.dictionaries(
    st.sampled_from(["direction", "numbers", "versions", "ab_test", "fallback"]) | texts, values, max_size=5
)


@st.composite
def damaged(draw: st.DrawFn, tree: Tree) -> Tree:
    """A good tree with one to three of its values replaced by something else, or with something added."""
    tree = copy.deepcopy(tree)
    for _ in range(draw(st.integers(1, 3))):
        place: Any = tree
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            if not isinstance(place[key], dict | list) or draw(st.booleans()):
                place[key] = draw(values)
                break
            place = place[key]
        if isinstance(place, dict) and draw(st.booleans()):
            place[draw(texts)] = draw(values)
    return tree


leaves = st.one_of(st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False, allow_infinity=False))
storable = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)
names = st.from_regex(r"[a-f]{1,4}", fullmatch=True)
parameters = st.dictionaries(
    names, leaves | storable | st.dictionaries(names, leaves | storable, max_size=2), max_size=3
)
numbers = st.from_regex(r"\+1[2-9][0-9]{9}", fullmatch=True)
version_names = st.from_regex(r"[a-z]{1,5}@[1-9][0-9]?", fullmatch=True)
weights = st.integers(0, 1000) | st.floats(0, 1e9, allow_nan=False)


def _some(**keys: st.SearchStrategy[Any]) -> st.SearchStrategy[Tree]:
    return st.fixed_dictionaries({}, optional=keys)


plans = _some(
    hypothesis=storable,
    primary=st.fixed_dictionaries(
        {"metric": st.sampled_from(["success", "cost"]), "min_effect": st.floats(0.001, 1)},
        optional={"better": st.sampled_from(["higher", "lower"])},
    ),
    guardrails=st.lists(
        st.fixed_dictionaries({"metric": st.just("hung_up_early"), "margin": st.floats(0, 1)}), max_size=2
    ),
    strata=st.lists(st.sampled_from(["country", "hours", "var:x"]), max_size=2),
    alpha=st.floats(0.001, 0.5),
    n_max=st.integers(1, 10**6),
    start=st.datetimes().map(lambda moment: moment.isoformat() + "Z"),
)


@st.composite
def routes(draw: st.DrawFn) -> Tree:
    """A good route as somebody may write it."""
    arms = "abcd"[: draw(st.integers(1, 4))]
    arm = version_names | st.fixed_dictionaries({"version": version_names}, optional={"parameters": parameters})
    test = _some(
        enabled=st.booleans(),
        name=storable,
        unit=st.sampled_from(["call", "caller"]),
        winner=st.sampled_from(arms),
        coverage=st.floats(0.01, 1),
        test_numbers=st.dictionaries(numbers, st.sampled_from(arms), max_size=2),
        plan=plans,
    )
    tree: Tree = {
        "direction": "inbound",
        "numbers": draw(st.lists(numbers, min_size=1, max_size=3, unique=True)),
        "versions": {name: draw(arm) for name in arms},
    }
    if draw(st.booleans()):
        split = {name: draw(weights) for name in arms}
        tree["ab_test"] = {**draw(test), "split": {**split, "a": split["a"] + 1}}
    if draw(st.booleans()):
        tree["fallback"] = {"kind": "stream", "url": "wss://example.com/x", "parameters": draw(parameters)}
    return tree
