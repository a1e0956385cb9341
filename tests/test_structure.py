"""The house stands as drawn: imports run downward, SQL and Twilio stay in their rooms."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "gateway"

# The longest matching prefix gives a module its floor.
FLOORS = {
    "gateway": 1,
    "gateway.stats": 1,
    "gateway.errors": 1,
    "gateway.log": 1,
    "gateway.courtesy": 1,
    "gateway.model": 2,
    "gateway.metrics": 2,
    "gateway.settings": 2,
    "gateway.phone": 2,
    "gateway.numberplan": 2,
    "gateway.numbering": 2,
    "gateway.mentions": 2,
    "gateway.csvfile": 3,
    "gateway.suppressions": 3,
    "gateway.decide": 3,
    "gateway.calls": 3,
    "gateway.targets": 3,
    "gateway.storage": 3,
    "gateway.carrier": 3,
    "gateway.callee": 3,
    "gateway.contacts": 3,
    "gateway.terms": 3,
    "gateway.judges": 3,
    "gateway.strata": 3,
    "gateway.switchboard": 4,
    "gateway.ladder": 4,
    "gateway.placing": 4,
    "gateway.machines": 4,
    "gateway.results": 4,
    "gateway.routefile": 4,
    "gateway.registration": 4,
    "gateway.drafts": 4,
    "gateway.consequences": 4,
    "gateway.experiments": 5,
    "gateway.publishing": 5,
    "gateway.dialer": 5,
    "gateway.notifier": 5,
    "gateway.campaigns": 5,
    "gateway.analysis": 5,
    "gateway.datacare": 5,
    "gateway.livestate": 5,
    "gateway.folders": 5,
    "gateway.traffic": 5,
    "gateway.judging": 5,
    "gateway.selftest": 5,
    "gateway.handshake": 5,
    "gateway.feed": 5,
    "gateway.wiring": 6,
    "gateway.http": 7,
    "gateway.client": 7,
    "gateway.simulator": 7,
    "gateway.demo": 7,
    "gateway.cli": 8,
    "gateway.__main__": 9,
}


def modules() -> dict[str, ast.Module]:
    """Every module of the gateway by name; migrations are history, not structure."""
    found = {}
    for path in ROOT.rglob("*.py"):
        if "migrations" in path.parts:
            continue
        name = ".".join(path.relative_to(ROOT.parent).with_suffix("").parts)
        found[name.removesuffix(".__init__")] = ast.parse(path.read_text(encoding="utf-8"))
    return found


MODULES = modules()


def imports(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield whole if whole in MODULES else node.module


def floor(name: str) -> int:
    while name not in FLOORS:
        name = name.rpartition(".")[0]
    return FLOORS[name]


def own(name: str) -> list[str]:
    return sorted({one for one in imports(MODULES[name]) if one in MODULES and one != name})


@pytest.mark.parametrize("name", sorted(MODULES))
def test_imports_run_downward(name: str) -> None:
    assert [one for one in own(name) if floor(one) > floor(name)] == []


def test_there_is_no_circle() -> None:
    done: set[str] = set()

    def visit(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, " -> ".join([*way, name])
        if name not in done:
            for one in own(name):
                visit(one, (*way, name))
            done.add(name)

    for name in MODULES:
        visit(name, ())


@pytest.mark.parametrize("name", sorted(name for name in MODULES if not name.startswith("gateway.storage")))
def test_sql_stays_in_storage(name: str) -> None:
    assert [one for one in imports(MODULES[name]) if one.split(".")[0] == "sqlalchemy"] == []
    texts = [node.value for node in ast.walk(MODULES[name]) if isinstance(node, ast.Constant)]
    spoken = re.compile(r"\b(SELECT .* FROM|INSERT INTO|UPDATE \w+ SET|DELETE FROM|PRAGMA )\b")
    assert [text for text in texts if isinstance(text, str) and spoken.search(text)] == []


def test_only_three_rooms_know_twilio() -> None:
    knowing = {name for name, tree in MODULES.items() if any(one.split(".")[0] == "twilio" for one in imports(tree))}
    assert {name.split(".")[1] for name in knowing} == {"targets", "carrier", "simulator"}


def test_only_the_statistics_know_scipy_and_of_it_the_special_functions() -> None:
    used = {name: {one for one in imports(tree) if one.split(".")[0] == "scipy"} for name, tree in MODULES.items()}
    assert {name.split(".")[1] for name, found in used.items() if found} == {"stats"}
    assert set().union(*used.values()) == {"scipy.special"}


@pytest.mark.parametrize("module", ["gateway.http.app", "gateway.wiring", "gateway.stats.moments"])
def test_the_way_of_a_call_does_not_load_scipy(module: str) -> None:
    said = subprocess.run(
        [sys.executable, "-c", f"import sys, {module}; print('scipy' in sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT.parent,
    )
    assert said.stdout.strip() == "False"


def test_pure_floors_do_no_io_and_read_no_clock() -> None:
    pure = (
        "gateway.model",
        "gateway.metrics",
        "gateway.phone",
        "gateway.decide",
        "gateway.calls",
        "gateway.routefile",
    )
    names = [name for name in MODULES if name.startswith((*pure, "gateway.targets", "gateway.stats"))]
    acting = {"asyncio", "time", "os", "random", "secrets", "socket", "pathlib", "aiohttp", "datetime"}
    assert {
        name: sorted(acting & set(imports(MODULES[name]))) for name in names if acting & set(imports(MODULES[name]))
    } == {}
