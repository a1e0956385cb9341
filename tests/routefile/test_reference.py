"""docs/reference/route-files.md names every key and every kind of target, and its examples are good."""

import re
from pathlib import Path

from gateway.routefile.shape import TABLES
from gateway.targets import KINDS
from tests.routefile.examples import agent, route

PAGE = (Path(__file__).parents[2] / "docs/reference/route-files.md").read_text(encoding="utf-8")
NAMED = set(re.findall(r"`([a-z_]+)`", PAGE))


def test_every_key_is_documented() -> None:
    keys = {key for tables in TABLES.values() for table in tables.values() for key in table.model_fields}
    assert keys - NAMED == set()


def test_every_kind_of_target_is_documented() -> None:
    assert set(KINDS) - NAMED == set()


def test_the_examples_are_good() -> None:
    written_route, written_agent = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    assert route(written_route)["ab_test"]["enabled"] is True
    assert list(agent(written_agent)["versions"]) == ["3", "4"]
