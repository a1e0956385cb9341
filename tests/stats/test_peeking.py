"""Experiments without any difference, looked at after every call: how often each rule finds a winner.

The draws are seeded, so the counts are exact; the naive test's counts prove that the measurement can fail.
"""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from gateway.stats.effect import variance_of_rates
from gateway.stats.harm import log_exact_e_value
from gateway.stats.sequential import NEEDED_OF_A_RATE, log_e_value, tuning

CASES = json.loads((Path(__file__).parent.parent / "data" / "stats_cases.json").read_text(encoding="utf-8"))["cases"]
PEEKING = {case["name"]: case for case in CASES if case["name"].startswith("peeking_ci_deterministic")}

Counts = npt.NDArray[np.float64]


def counted(given: dict[str, Any]) -> tuple[dict[str, Any], Counts, Counts, Counts, Counts]:
    """Cumulative calls and successes of A and B, (runs, calls) each, and the sums that show the dice are the same."""
    rng = np.random.default_rng(given["seed"])
    to_b = rng.random((given["R"], given["N_total"])) < given["w_B"]
    won = rng.random((given["R"], given["N_total"])) < given["p"]
    n_b, x_b = np.cumsum(to_b, axis=1, dtype=float), np.cumsum(won & to_b, axis=1, dtype=float)
    n_a = np.arange(1.0, given["N_total"] + 1) - n_b
    x_a = np.cumsum(won, axis=1, dtype=float) - x_b
    return {"sum_T": int(to_b.sum()), "sum_Y": int(won.sum())}, n_a, x_a, n_b, x_b


def false_winners(given: dict[str, Any]) -> dict[str, Any]:
    """How many runs each rule ended with a winner."""
    sums, n_a, x_a, n_b, x_b = counted(given)
    with np.errstate(divide="ignore", invalid="ignore"):
        p = (x_a + x_b) / (n_a + n_b)
        gap = x_b / n_b - x_a / n_a
        naive = np.abs(gap) / np.sqrt(p * (1 - p) * (1 / n_a + 1 / n_b)) >= given["naive_z"]
        z = gap / np.sqrt(variance_of_rates(x_a, n_a, x_b, n_b))
        log_e = log_e_value(z, (n_a + n_b) * tuning(given["N_star"], alpha=given["alpha"]))
    needed = -math.log(given["alpha"])
    smallest = np.minimum.reduce([x_a, n_a - x_a, x_b, n_b - x_b])
    weights = [1 - given["w_B"], given["w_B"]]
    exact = log_exact_e_value(np.stack([x_a, x_b], axis=-1), np.stack([n_a - x_a, n_b - x_b], axis=-1), weights)
    return {
        **sums,
        "naive_hits_30": ever(naive & (np.minimum(n_a, n_b) >= 30)),
        "naive_hits_100": ever(naive & (np.minimum(n_a, n_b) >= 100)),
        "fixed_end_hits": int(naive[:, -1].sum()),
        "always_valid_hits": ever((log_e >= needed) & (smallest >= NEEDED_OF_A_RATE)),
        "exact_hits": ever(exact >= needed),
    }


def ever(hits: npt.NDArray[np.bool_]) -> int:
    return int(hits.any(axis=1).sum())


@pytest.mark.parametrize("name", sorted(PEEKING))
def test_looking_after_every_call_finds_no_more_false_winners_than_promised(name: str) -> None:
    case = PEEKING[name]
    found = false_winners(case["inputs"])
    assert found == case["expected"]
    assert found["always_valid_hits"] <= 0.05 * case["inputs"]["R"]
    assert found["exact_hits"] <= 0.05 * case["inputs"]["R"]
    assert found["naive_hits_30"] >= 0.30 * case["inputs"]["R"]
