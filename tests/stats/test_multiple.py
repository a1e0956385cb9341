"""Several p-values at once, against statsmodels."""

import math

import numpy as np
import pytest
from statsmodels.stats.multitest import multipletests

from gateway.stats import multiple


def drawn(rng: np.random.Generator) -> list[float]:
    """p-values with small ones, ties and a one among them."""
    p = rng.beta(0.4, 1.0, int(rng.integers(1, 20))).tolist()
    return [*p, *p[:2], 1.0] if rng.random() < 0.5 else p


def test_adjusted_p_agree_with_statsmodels(rng: np.random.Generator) -> None:
    # Few, but long: statsmodels collects garbage at every call of Holm.
    for _ in range(8):
        p = [one for _ in range(40) for one in drawn(rng)]
        for mine, name in (
            (multiple.bonferroni, "bonferroni"),
            (multiple.holm, "holm"),
            (multiple.benjamini_hochberg, "fdr_bh"),
            (multiple.benjamini_yekutieli, "fdr_by"),
        ):
            assert mine(p) == pytest.approx(multipletests(p, method=name)[1], rel=1e-9)


def test_levels_and_adjusted_p_agree_about_every_hypothesis(rng: np.random.Generator) -> None:
    for _ in range(1000):
        p = drawn(rng)
        levels, adjusted = multiple.holm_levels(p), multiple.holm(p)
        assert [one <= level for one, level in zip(p, levels, strict=True)] == [one <= 0.05 for one in adjusted]


def test_levels_rise_until_one_stands() -> None:
    assert multiple.holm_levels([0.2, 0.001, 0.9], alpha=0.06) == pytest.approx([0.03, 0.02, 0.03])


def test_e_values_that_are_reciprocal_p_discover_what_benjamini_hochberg_does(rng: np.random.Generator) -> None:
    for _ in range(1000):
        p = drawn(rng)
        by_p = [one <= 0.1 for one in multiple.benjamini_hochberg(p)]
        assert multiple.e_benjamini_hochberg([-math.log(one) for one in p]) == by_p


def test_an_unknown_e_value_is_no_discovery() -> None:
    assert multiple.e_benjamini_hochberg([math.nan, math.log(1000), math.nan], q=0.1) == [False, True, False]
    assert multiple.e_benjamini_hochberg([math.nan]) == [False]
    assert multiple.e_benjamini_hochberg([]) == []


def test_empty_families_are_answered() -> None:
    assert multiple.holm([]) == multiple.benjamini_hochberg([]) == multiple.holm_levels([]) == []


@pytest.mark.parametrize("bad", [[0.1, math.nan], [-0.1], [1.2]])
def test_what_is_no_p_is_refused(bad: list[float]) -> None:
    with pytest.raises(ValueError, match="within 0 and 1"):
        multiple.holm(bad)
