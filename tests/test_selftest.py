"""The self-test keeps what it promises, and can find a promise broken."""

from collections.abc import Iterator

import pytest
from typer.testing import CliRunner

from gateway import selftest
from gateway.cli import app
from gateway.selftest import Peeking, peek, repeatable, vectors


@pytest.fixture(scope="module")
def found() -> Peeking:
    *_, last = peek(3, tests=100, calls=1000)
    return last


def test_every_promise_is_kept(found: Peeking) -> None:
    assert [check.name for check in (*vectors(), repeatable(3, calls=300), *found.checks()) if not check.kept] == []
    assert (found.tests, found.calls) == (100, 100_000)
    assert found.ours <= 8
    assert found.naive >= 25


def test_the_same_seed_gives_the_same_numbers() -> None:
    def numbers(seed: int) -> tuple[int, ...]:
        *_, last = peek(seed, tests=5, calls=300)
        return last.to_b, last.ours, last.naive

    assert numbers(1) == numbers(1) != numbers(2)


@pytest.mark.parametrize(
    ("broken", "name"),
    [
        (Peeking(tests=1000, calls=2_000_000, to_b=1_000_000, ours=90, naive=400), "false winners"),
        (Peeking(tests=1000, calls=2_000_000, to_b=1_000_000, ours=20, naive=10), "the naive z test"),
        (Peeking(tests=1000, calls=2_000_000, to_b=1_004_000, ours=20, naive=400), "split"),
        (Peeking(tests=1000, calls=2, to_b=1, ours=20, naive=400, broken_splits=11), "sample-ratio alarms"),
        (Peeking(tests=1000, calls=2, to_b=1, naive=400, disagreeing=[7]), "the same as the results page"),
    ],
)
def test_a_broken_promise_is_told(broken: Peeking, name: str) -> None:
    assert [check.name for check in broken.checks() if not check.kept] == [name]


def test_a_broken_promise_is_the_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    def few(seed: int, *, tests: int, calls: int) -> Iterator[Peeking]:
        yield Peeking(tests=1000, calls=2, to_b=1, ours=20, naive=400)

    monkeypatch.setattr(selftest, "peek", few)
    monkeypatch.setattr(selftest, "repeatable", lambda seed: repeatable(seed, calls=300))
    assert CliRunner().invoke(app, ["selftest"]).exit_code == 0
    monkeypatch.setattr(selftest, "BUCKETS", (("CA1", b"salt", 1),))
    told = CliRunner().invoke(app, ["selftest", "--json"])
    assert told.exit_code == 1
    assert '"kept": false' in told.stdout
