"""What fixed looks cost, against published figures and simulated walks."""

import numpy as np
import pytest

from gateway.stats.looks import obrien_fleming_bounds, repeated_looks_error


@pytest.mark.parametrize(
    ("looks", "error"), [(1, 0.05), (2, 0.083), (3, 0.107), (4, 0.126), (5, 0.142), (10, 0.193), (20, 0.248)]
)
def test_the_error_of_repeated_looks_is_that_of_armitage(looks: int, error: float) -> None:
    """Not 1 - 0.95^K, which is 40% at ten looks: the looks share their calls."""
    assert repeated_looks_error(looks) == pytest.approx(error, abs=0.0005)


def test_spending_bounds_spend_what_they_say() -> None:
    times = [0.1, 0.35, 0.5, 0.9, 1.0]
    bounds, spent = obrien_fleming_bounds(times, alpha=0.10)
    assert spent[-1] == pytest.approx(0.10)
    steps = np.random.default_rng(47).normal(size=(200_000, 5)) * np.sqrt(np.diff([0.0, *times]))
    crossed = np.abs(steps.cumsum(axis=1)) / np.sqrt(times) >= bounds
    by_then = np.logical_or.accumulate(crossed, axis=1).mean(axis=0)
    assert by_then == pytest.approx(spent, abs=0.003)


@pytest.mark.parametrize("times", [[], [0.0, 1.0], [0.5, 0.5], [0.5, 1.5]])
def test_looks_that_do_not_rise_are_refused(times: list[float]) -> None:
    with pytest.raises(ValueError, match="looks must rise"):
        obrien_fleming_bounds(times)
