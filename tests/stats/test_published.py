"""Every numeric case of stats_cases.json, most with a published value, through the project's functions."""

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gateway.stats import (
    bins,
    effect,
    heterogeneity,
    looks,
    means,
    multiple,
    planning,
    proportions,
    sequential,
    srm,
    strata,
    t_mixture,
    tables,
)
from gateway.stats.effect import Effect, Interval
from gateway.stats.moments import Moments, Rate, total
from gateway.stats.significance import Significance, one_sided
from tests.stats.known import known

CASES = json.loads((Path(__file__).parent.parent / "data" / "stats_cases.json").read_text(encoding="utf-8"))["cases"]
NUMERIC = {case["name"]: case for case in CASES if case["kind"] == "numeric"}

Inputs = Mapping[str, Any]
COMPUTED: dict[str, Callable[[Inputs], dict[str, Any]]] = {}


def computes(*names: str) -> Callable[[Callable[[Inputs], dict[str, Any]]], Callable[[Inputs], dict[str, Any]]]:
    def note(function: Callable[[Inputs], dict[str, Any]]) -> Callable[[Inputs], dict[str, Any]]:
        COMPUTED.update(dict.fromkeys(names, function))
        return function

    return note


def rate(given: Inputs) -> Rate:
    return Rate(n=given["n"], successes=given["x"])


def moments(given: Inputs) -> Moments:
    """From sum and sum of squares, which only a published example may use."""
    n, mean = given["n"], given["sum"] / given["n"]
    return Moments(n=n, mean=mean, m2=given["sumsq"] - n * mean**2)


def row(successes: int, failures: int) -> Rate:
    return Rate(n=successes + failures, successes=successes)


def pairs(rows: list[list[list[int]]]) -> list[tuple[Rate, Rate]]:
    """2x2 tables, the tested version above its control, as (A, B)."""
    return [(row(*below), row(*above)) for above, below in rows]


def ends(interval: Interval) -> dict[str, float]:
    return {"lo": interval.low, "hi": interval.high}


def chi(test: Significance) -> dict[str, float]:
    return {"chi2": test.statistic, "df": test.df, "p": test.p}


def welch_sides(given: Inputs) -> tuple[Moments, Moments]:
    """R's t.test looks at the first minus the second, so the second is A."""
    first, second = (
        Moments(n=given[f"n{i}"], mean=given[f"m{i}"], m2=given[f"v{i}"] * (given[f"n{i}"] - 1)) for i in (1, 2)
    )
    return second, first


@computes("prop_test_4_versions_full_digits")
def _(given: Inputs) -> dict[str, Any]:
    return chi(known(tables.chi_squared([[x, n - x] for x, n in zip(given["success"], given["n"], strict=True)])))


@computes("z_squared_equals_chi2", "categorical_field_distribution_2x3")
def _(given: Inputs) -> dict[str, Any]:
    return chi(known(tables.chi_squared(given["table"])))


@computes("two_proportion_z_pooled")
def _(given: Inputs) -> dict[str, Any]:
    first, second = Rate(n=given["n1"], successes=given["x1"]), Rate(n=given["n2"], successes=given["x2"])
    test = known(proportions.two_proportion_z(second, first))
    return {"z": test.statistic, "p": test.p}


@computes("yates_2x2")
def _(given: Inputs) -> dict[str, Any]:
    return chi(known(tables.yates_chi_squared(given["table"])))


@computes("fisher_exact_small_arms")
def _(given: Inputs) -> dict[str, Any]:
    return {"p": proportions.fisher_exact(*(row(*one) for one in given["table"]))}


@computes("trend_in_proportions")
def _(given: Inputs) -> dict[str, Any]:
    rates = [Rate(n=n, successes=x) for x, n in zip(given["success"], given["n"], strict=True)]
    return chi(known(tables.trend_test(rates, given["scores"])))


@computes("wilson_interval_R_prop_test_52_100")
def _(given: Inputs) -> dict[str, Any]:
    return ends(known(proportions.wilson_interval(rate(given))))


@computes("wald_diff_interval")
def _(given: Inputs) -> dict[str, Any]:
    first, second = Rate(n=given["n1"], successes=given["x1"]), Rate(n=given["n2"], successes=given["x2"])
    return ends(effect.wald_interval(known(effect.unpooled_difference(second, first))))


@computes("binomial_exact")
def _(given: Inputs) -> dict[str, Any]:
    return {"p": proportions.binomial_test(given["x"], given["n"], given["p0"])}


@computes("welch_t_R_1", "welch_t_R_mtcars")
def _(given: Inputs) -> dict[str, Any]:
    test, interval = known(means.welch(*welch_sides(given))), known(means.welch_interval(*welch_sides(given)))
    return {"t": test.statistic, "df": test.df, "p": test.p, **ends(interval)}


@computes("welch_abs_growthbook")
def _(given: Inputs) -> dict[str, Any]:
    a, b = moments(given["A"]), moments(given["B"])
    gap = known(effect.unpooled_difference(a, b))
    return {
        "diff": gap.value,
        "se": gap.se,
        "p": known(means.welch(a, b)).p,
        **ends(known(means.welch_interval(a, b))),
    }


@computes("relative_lift_delta_growthbook", "relative_lift_binomial_growthbook")
def _(given: Inputs) -> dict[str, Any]:
    a, b = (rate(given[arm]) if "x" in given[arm] else moments(given[arm]) for arm in "AB")
    lift, df = known(effect.relative_lift(a, b)), means.satterthwaite(a, b)
    return {
        "lift": lift.value,
        "se": lift.se,
        "p": means.t_test(lift, df).p,
        **ends(means.t_interval(lift, df)),
    }


@computes("one_sided_welch_growthbook")
def _(given: Inputs) -> dict[str, Any]:
    a, b = moments(given["A"]), moments(given["B"])
    gap = known(effect.unpooled_difference(a, b))
    low = means.t_interval(gap, means.satterthwaite(a, b), alpha=0.1).low
    return {"diff": gap.value, "se": gap.se, "lo": low, "p": one_sided(known(means.welch(a, b)))}


@computes("mann_whitney_ties_from_bins")
def _(given: Inputs) -> dict[str, Any]:
    values = sorted(set(given["x"]) | set(given["y"]))
    test = known(bins.mann_whitney(*([given[arm].count(value) for value in values] for arm in "xy")))
    return {"U": test.statistic, "p": test.p}


@computes("normal_mixture_two_sided_bound")
def _(given: Inputs) -> dict[str, Any]:
    root, a = math.sqrt(given["v"]), given["v"] / given["rho"]
    return {
        "bound": root * float(sequential.critical_value(a, alpha=given["alpha"])),
        "log_mixture": float(sequential.log_e_value(given["s"] / root, a)),
    }


def read_always(gap: Effect, given: Inputs) -> dict[str, Any]:
    r2 = sequential.tuning(given["N_star"], alpha=given["alpha"])
    return {
        "se": gap.se,
        "p": sequential.always_valid_p(sequential.log_evidence(gap, r2=r2)),
        **ends(sequential.confidence_sequence(gap, r2=r2, alpha=given["alpha"])),
    }


@computes("asympcs_relative_growthbook_tuning1000")
def _(given: Inputs) -> dict[str, Any]:
    lift = known(effect.relative_lift(moments(given["A"]), moments(given["B"])))
    return {"lift": lift.value, **read_always(lift, given)}


@computes("asympcs_rate_absolute")
def _(given: Inputs) -> dict[str, Any]:
    """Published with the unpooled variance."""
    gap = known(effect.unpooled_difference(rate(given["A"]), rate(given["B"])))
    return {"diff": gap.value, **read_always(gap, given)}


@computes("asympcs_one_sided_growthbook")
def _(given: Inputs) -> dict[str, Any]:
    gap = known(effect.unpooled_difference(moments(given["A"]), moments(given["B"])))
    r2 = sequential.tuning(given["N_star"], alpha=2 * given["alpha"])
    return {"lo": sequential.one_sided_bounds(gap, r2=r2, alpha=given["alpha"]).low}


@computes("anytime_valid_t_avlm_readme")
def _(given: Inputs) -> dict[str, Any]:
    n, alpha = given["n"], given["alpha"]
    df = n - given["coefficients"]
    g = t_mixture.t_tuning(n, df, alpha=alpha)
    r = g / (g + n)
    half = given["trt"]["se"] * t_mixture.t_radius(df, r, alpha=alpha)
    p = {
        f"p_{name}": sequential.always_valid_p(t_mixture.t_log_e_value(given[name]["t"], df, r))
        for name in ("trt", "X1trt", "X3")
    }
    return {**p, "lo": given["trt"]["est"] - half, "hi": given["trt"]["est"] + half}


@computes("sequential_srm_optimizely_batches")
def _(given: Inputs) -> dict[str, Any]:
    prior, other, null = np.array(given["dirichlet_alpha"], dtype=float), 0.0, 0.0
    for batch in given["batches"]:
        other += float(srm.log_dirichlet_multinomial(batch, prior))
        null += float(srm.log_multinomial(batch, given["planned"]))
        prior = prior + batch
    return {"logML_M1": other, "logML_M0": null, "log_bayes_factor": other - null}


@computes("sequential_srm_optimizely_regression")
def _(given: Inputs) -> dict[str, Any]:
    p, log_e = 1.0, 0.0
    for counts in np.cumsum(given["one_hot_rows"], axis=0):
        log_e = srm.sequential_srm([(counts.tolist(), given["planned"])], concentration=given["k"])
        p = sequential.always_valid_p(log_e, previous=p)
    return {"p": p, "bayes_factor": math.exp(log_e)}


@computes("lan_demets_obf_5_looks")
def _(given: Inputs) -> dict[str, Any]:
    z, spent = looks.obrien_fleming_bounds(given["t"], alpha=given["alpha"])
    return {"z": z, "cumulative_alpha": spent}


@computes("power_prop_test_power", "power_stata_example")
def _(given: Inputs) -> dict[str, Any]:
    return {"power": planning.power_of_rates(given["n"], given["p1"], given["p2"], alpha=given.get("alpha", 0.05))}


@computes("power_prop_test_n", "power_prop_test_tiny_effect")
def _(given: Inputs) -> dict[str, Any]:
    return {"n": planning.per_arm_of_rates(given["p1"], given["p2"], alpha=given["alpha"], power=given["power"])}


@computes("power_prop_test_mde")
def _(given: Inputs) -> dict[str, Any]:
    return {"p2": planning.detectable_rate(given["n"], given["p1"], power=given["power"])}


@computes("power_t_test")
def _(given: Inputs) -> dict[str, Any]:
    delta, sd = given["delta"], given["sd"]
    return {
        "power_n20": planning.power_of_means(20, delta, sd),
        "n_power90": planning.per_arm_of_means(delta, sd, power=0.9),
        "n_power90_one_sided": planning.per_arm_of_means(delta, sd, power=0.9, one_sided=True),
    }


@computes("p_adjust_holm_bh_50", "bh_by_tea_tasting")
def _(given: Inputs) -> dict[str, Any]:
    return {
        "holm": multiple.holm(given["p"]),
        "bh": multiple.benjamini_hochberg(given["p"]),
        "by": multiple.benjamini_yekutieli(given["p"]),
    }


@computes("bh_1995_paper_example")
def _(given: Inputs) -> dict[str, Any]:
    adjusted = {
        "bonferroni": multiple.bonferroni(given["p"]),
        "holm": multiple.holm(given["p"]),
        "bh": multiple.benjamini_hochberg(given["p"]),
    }
    return {name: sum(p <= 0.05 for p in values) for name, values in adjusted.items()}


@computes("e_bh_on_reciprocal_p")
def _(given: Inputs) -> dict[str, Any]:
    logs = [math.log(one) for one in given["e"]]
    return {"rejections": sum(multiple.e_benjamini_hochberg(logs, q=given["alpha"]))}


@computes("cmh_ucb_admissions", "cmh_rabbits_sparse", "cmh_breslow_day_desctools")
def _(given: Inputs) -> dict[str, Any]:
    rows = pairs(given.get("tables") or given["tables_[row=version][col=success,failure]"])
    common = known(strata.mantel_haenszel_odds_ratio(rows))
    same, tarone = heterogeneity.breslow_day(rows), heterogeneity.breslow_day(rows, tarone=True)
    return {
        **chi(known(strata.cochran_mantel_haenszel(rows))),
        "or": common.value,
        **ends(common.interval),
        "bd": known(same).statistic,
        "bd_p": known(same).p,
        "tarone": known(tarone).statistic,
    }


@computes("woolf_heterogeneity_ucb")
def _(given: Inputs) -> dict[str, Any]:
    return {"p": known(heterogeneity.woolf(pairs(given["tables"]))).p}


@computes("mh_risk_difference_tolbutamide")
def _(given: Inputs) -> dict[str, Any]:
    rows = [(Rate(n=n2, successes=x2), Rate(n=n1, successes=x1)) for x1, n1, x2, n2 in given["strata_(x1,n1,x2,n2)"]]
    common, odds = (
        known(strata.mantel_haenszel_difference(rows)),
        known(strata.mantel_haenszel_odds_ratio(rows, alpha=0.1)),
    )
    crude = known(effect.difference([(total(a for a, _ in rows), total(b for _, b in rows))]))
    return {
        "rd": common.value,
        **ends(effect.wald_interval(common, alpha=1 - given["conf"])),
        "crude_rd": crude.value,
        "mh_or": odds.value,
        "or_lo": odds.interval.low,
        "or_hi": odds.interval.high,
    }


def epochs_of(rows: list[list[int]]) -> list[tuple[Rate, Rate]]:
    return [(Rate(n=n_a, successes=x_a), Rate(n=n_b, successes=x_b)) for x_a, n_a, x_b, n_b in rows]


def simpson(rows: list[tuple[Rate, Rate]]) -> tuple[Rate, Rate, float, float]:
    """(A, B, sign of the stratified effect, sign of the pooled), after the warning has been raised."""
    a, b = total(one for one, _ in rows), total(one for _, one in rows)
    stratified, pooled = known(effect.difference(rows)), known(effect.difference([(a, b)]))
    assert strata.simpson(pooled, stratified)
    return a, b, math.copysign(1, stratified.value), math.copysign(1, pooled.value)


@computes("simpson_ramp_up_kohavi")
def _(given: Inputs) -> dict[str, Any]:
    rows = epochs_of(given["epochs_(xC,nC,xT,nT)"])
    a, b, stratified, pooled = simpson(rows)
    each = {f"epoch{place}": [one.mean, other.mean] for place, (one, other) in enumerate(rows, start=1)}
    return {"pooled_C": a.mean, "pooled_T": b.mean, **each, "stratified_sign": stratified, "pooled_sign": pooled}


@computes("simpson_vwo_reallocation")
def _(given: Inputs) -> dict[str, Any]:
    a, b, stratified, pooled = simpson(epochs_of(given["epochs_(xA,nA,xB,nB)"]))
    signs = {"stratified_sign_B_minus_A": stratified, "pooled_sign_B_minus_A": pooled}
    return {"pooled_A": a.mean, "pooled_B": b.mean, **signs}


@computes("post_stratified_mean")
def _(given: Inputs) -> dict[str, Any]:
    rows = given["strata_((nA,meanA,varA),(nB,meanB,varB))"]
    a_and_b = [tuple(Moments(n=n, mean=mean, m2=variance * (n - 1)) for n, mean, variance in one) for one in rows]
    gap = known(strata.post_stratified([(a, b) for a, b in a_and_b]))
    return {"diff": gap.value, "var": gap.variance}


@computes("gail_simon_qualitative_interaction")
def _(given: Inputs) -> dict[str, Any]:
    zipped = zip(given["effects"], given["se"], strict=True)
    test = known(heterogeneity.gail_simon([Effect(value=value, variance=se**2, n=100) for value, se in zipped]))
    return {"Q": test.statistic, "p": test.p}


def streamed(values: list[float]) -> Moments:
    found = Moments()
    for value in values:
        found = found.add(value)
    return found


@computes("welford_nist_NumAcc1", "welford_nist_NumAcc2", "welford_nist_NumAcc4", "welford_nist_Michelson")
def _(given: Inputs) -> dict[str, Any]:
    values = given.get("values")
    if values is None:
        first, second = {1.2: (1.1, 1.3), 10000000.2: (10000000.1, 10000000.3)}[given["first"]]
        values = [given["first"], *[first, second] * 500]
    whole, shards = streamed(values), streamed(values[::3]) + streamed(values[1::3]) + streamed(values[2::3])
    assert math.sqrt(shards.variance) == pytest.approx(math.sqrt(whole.variance), rel=1e-6)
    assert shards.mean == pytest.approx(whole.mean, rel=1e-12)
    return {"mean": whole.mean, "sd": math.sqrt(whole.variance)}


@computes("srm_44000_45000", "srm_600_400", "srm_three_versions_equal", "srm_unequal_weights")
def _(given: Inputs) -> dict[str, Any]:
    return chi(known(srm.chi_squared_srm(given["counts"], given["weights"])))


@computes("bayes_chance_to_win")
def _(given: Inputs) -> dict[str, Any]:
    return {"chance": effect.chance_to_win(known(effect.unpooled_difference(rate(given["A"]), rate(given["B"]))))}


@computes("rate_per_hour_poisson")
def _(given: Inputs) -> dict[str, Any]:
    (first, second), (of_first, of_second) = given["events"], given["exposure"]
    ratio, p = proportions.compare_event_rates(second, of_second, first, of_first)
    return {"rate_ratio": ratio, "p": p}


def test_every_numeric_case_has_a_function() -> None:
    assert sorted(COMPUTED) == sorted(NUMERIC)


@pytest.mark.parametrize("name", sorted(NUMERIC))
def test_a_published_number_is_met(name: str) -> None:
    case = NUMERIC[name]
    computed, tolerance = COMPUTED[name](case["inputs"]), case["tolerance"]
    for key, expected in case["expected"].items():
        absolute, relative = tolerance.get(key, tolerance.get("abs", 0.0)), tolerance.get("rel", 0.0)
        for seen, wanted in zip(np.atleast_1d(computed[key]), np.atleast_1d(expected), strict=True):
            assert abs(seen - wanted) <= absolute + relative * abs(wanted), (key, seen, wanted)
