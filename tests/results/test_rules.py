"""Every rule finds what it is for, and nothing where all is well."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gateway.results.comparing import Running
from gateway.results.rules import RULES
from gateway.results.shown import as_json
from gateway.stats.clusters import Clusters
from gateway.stats.harm import ALARM, exact_evidence
from gateway.stats.moments import Rate
from tests.results.drawn import FIRST_DAY, Tallies, found, outcomes, study

EVEN = {"a": 0.5, "b": 0.5}
GUARDED = [{"metric": "hung_up_early", "margin": 0.02}]


def healthy(successes_b: int = 500, n: int = 1000) -> Tallies:
    tallies = Tallies()
    tallies.calls("a", outcomes(n // 2, n))
    tallies.calls("b", outcomes(successes_b, n))
    return tallies


def test_all_is_well() -> None:
    tallies = Tallies()
    tallies.calls("a", outcomes(5000, 10_000))
    tallies.calls("b", outcomes(5050, 10_000))
    assert set(found(tallies.evaluate(study(n_max=None)))) == {25}
    assert found(healthy(n=1000).evaluate(study(n_max=None))) == {}


def test_the_rules_are_numbered_in_order_and_documented() -> None:
    assert [rule.number for rule in RULES] == list(range(1, 30))
    assert len({rule.check for rule in RULES}) == 29
    text = (Path(__file__).parents[2] / "docs/reference/results.md").read_text()
    for rule in RULES:
        row = next(line for line in text.splitlines() if line.startswith(f"| {rule.number} |"))
        assert f"`{rule.check}`" in row
        assert rule.level in row


def test_1_a_split_that_differs_from_the_plan_blocks() -> None:
    tallies = Tallies()
    tallies.calls("a", outcomes(5500, 11_000))
    tallies.calls("b", outcomes(4900, 9_000))
    evaluation = tallies.evaluate(study())
    level, text = found(evaluation)[1]
    assert (level, evaluation.blocked, evaluation.verdict.state) == ("BLOCK", True, "blocked")
    assert "A has 11,000 (55.0 % for 50.0 %) and B has 9,000" in text
    assert "points" not in evaluation.verdict.text


def test_1_of_callers_that_stick_the_callers_are_counted() -> None:
    tallies = healthy()
    for arm, callers in (("a", 6000), ("b", 5000)):
        tallies.clusters[1, arm, "served"] = Clusters.of([(1.0, 1.0)] * callers)
    assert "11,000 callers" in found(tallies.evaluate(study(unit="caller")))[1][1]


def test_3_a_broken_arm_raises_the_alarm_long_before_the_gate() -> None:
    tallies = Tallies()
    tallies.calls("a", outcomes(35, 50))
    tallies.calls("b", outcomes(5, 50))
    evaluation = tallies.evaluate(study(), days=1)
    assert found(evaluation)[3] == (
        "ALARM",
        "B does harm: completion 10.0 % against 70.0 % after 100 calls; pausing is advised",
    )
    assert (evaluation.harm, evaluation.verdict.state, evaluation.verdict.arm) == (True, "harm", "b")


def test_3_outcomes_of_one_arm_that_are_still_to_come_are_no_harm() -> None:
    tallies = Tallies()
    for arm, successes, known in (("a", 290, 480), ("b", 142, 240)):
        tallies.add(arm, "served", [1] * 480)
        tallies.add(arm, "success", outcomes(successes, known))
    assert exact_evidence([(Rate(n=480, successes=290), Rate(n=240, successes=142), 0.5)]) > ALARM
    assert not tallies.evaluate(study(), days=1).harm


def test_3_an_arm_that_is_much_better_does_no_harm() -> None:
    tallies = Tallies()
    tallies.calls("a", outcomes(5, 50))
    tallies.calls("b", outcomes(35, 50))
    assert not tallies.evaluate(study(), days=1).harm


def test_3_a_guardrail_rings_too_and_in_its_own_direction() -> None:
    def rings(early_b: int) -> bool:
        tallies = healthy(50, 100)
        tallies.rate("a", "hung_up_early", 20, 50)
        tallies.rate("b", "hung_up_early", early_b, 50)
        return tallies.evaluate(study(guardrails=GUARDED), days=1).harm

    assert rings(48)
    assert not rings(0)


def of_callers(*epochs: tuple[tuple[int, int], tuple[int, int]]) -> Tallies:
    """Callers who stick, epoch by epoch: (with a success, with a failure) in each arm."""
    tallies = Tallies()
    for epoch, arms in enumerate(epochs, 1):
        for arm, (had, lacked) in zip("ab", arms, strict=True):
            where: dict[str, Any] = {"epoch": epoch, "day": 0}
            tallies.rate(arm, "success", had, had + lacked, epoch=epoch)
            tallies.add(arm, "callers_had#success", np.ones(had), **where)
            tallies.add(arm, "callers_lacked#success", np.ones(lacked), **where)
    return tallies


def test_3_where_callers_stick_each_is_one_coin_before_the_gate_too() -> None:
    sticky = study(unit="caller")
    evaluation = of_callers(((30, 5), (0, 30))).evaluate(sticky, days=1)
    assert (evaluation.harm, evaluation.evidence.primary["b"].gate.open) == (True, False)
    assert not of_callers(((0, 30), (30, 5))).evaluate(sticky, days=1).harm
    assert not of_callers(((12, 2), (0, 12))).evaluate(sticky, days=1).harm


def test_3_callers_met_again_after_a_change_of_versions_are_no_new_coins() -> None:
    twice = of_callers(((25, 3), (3, 25)), ((25, 3), (3, 25)))
    both = study(EVEN, EVEN, unit="caller")
    again = replace(both, epochs=(both.epochs[0], replace(both.epochs[1], memory=2)))
    assert twice.evaluate(both, days=1).harm
    assert not twice.evaluate(again, days=1).harm


def test_what_is_not_shown_where_callers_stick_is_said() -> None:
    shown = {unit: as_json(healthy().evaluate(study(unit=unit))) for unit in ("call", "caller")}
    assert shown["call"]["not_shown"] is None
    assert (shown["caller"]["days"], shown["caller"]["strata"]) == ({}, [])
    assert "Checks 7, 8, 9, 10, 24 and 29" in shown["caller"]["not_shown"]
    asked = {unit: {one["number"] for one in told["health"]} for unit, told in shown.items()}
    assert asked["call"] - asked["caller"] == {7, 8, 9, 10, 24, 29}


def missing(known_a: int, known_b: int, n: int = 2000) -> Tallies:
    tallies = Tallies()
    for arm, known in (("a", known_a), ("b", known_b)):
        tallies.add(arm, "served", np.ones(n))
        tallies.rate(arm, "outcome_known", known, n)
        tallies.rate(arm, "success", known // 2, known)
    return tallies


def test_4_outcomes_missing_in_one_arm_block_what_agents_tell() -> None:
    assert found(missing(1950, 1700).evaluate(study()))[4][0] == "BLOCK"
    carrier = study(primary={"metric": "hung_up_early", "min_effect": 0.05})
    assert found(missing(1950, 1700).evaluate(carrier))[4][0] == "WARN"
    assert found(missing(1700, 1700).evaluate(study()))[4] == (
        "WARN",
        "many mature calls have no outcome: A 15.0 % and B 15.0 %",
    )
    assert 4 not in found(missing(1950, 1940).evaluate(study()))


def test_5_an_arm_that_was_changed_makes_the_verdict_exploratory() -> None:
    versions = [{"a": "support@3", "b": "support@4"}, {"a": "support@3", "b": "support@5"}]
    evaluation = healthy().evaluate(study(EVEN, EVEN, versions=versions))
    assert "what B runs was changed" in found(evaluation)[5][1]
    assert evaluation.verdict.exploratory
    assert 6 not in found(evaluation)


def test_5_a_plan_that_was_edited_makes_the_verdict_exploratory() -> None:
    evaluation = healthy().evaluate(replace(study(), amended=True))
    assert "the plan was edited" in found(evaluation)[5][1]
    assert evaluation.verdict.exploratory


def test_a_test_without_a_plan_is_exploratory() -> None:
    assert healthy().evaluate(study(planned=False)).verdict.exploratory
    assert not healthy().evaluate(study()).verdict.exploratory


def in_segments(*rates: tuple[str, int, int, int, int], stratum: str = "country") -> Tallies:
    tallies = Tallies()
    for value, good_a, n_a, good_b, n_b in rates:
        for arm, good, n in (("a", good_a, n_a), ("b", good_b, n_b)):
            tallies.calls(arm, outcomes(good, n))
            tallies.rate(arm, "success", good, n, stratum=f"{stratum}={value}", day=0)
    return tallies


# The kidney stones of Charig et al. 1986: the control is better in both segments, and worse pooled.
STONES = (("small", 81, 87, 234, 270), ("large", 192, 263, 55, 80))


def test_7_simpson_warns() -> None:
    split = {"a": 0.5, "b": 0.5}
    evaluation = in_segments(*STONES, stratum="var:stone").evaluate(study(split, strata=["var:stone"]))
    level, text = found(evaluation)[7]
    assert level == "WARN"
    assert text.startswith("Simpson: pooled B stands at +4.6, stratified by var:stone at −")


def test_7_nobody_is_a_winner_who_loses_in_every_segment_of_the_plan() -> None:
    tenfold = [(value, 10 * a, 10 * b, 10 * c, 10 * d) for value, a, b, c, d in STONES]
    tallies = in_segments(*tenfold, stratum="var:stone")
    blind = tallies.evaluate(study())
    assert blind.verdict.state == "better"
    seeing = tallies.evaluate(study(strata=["var:stone"])).verdict
    assert (seeing.state, seeing.arm) == ("running", "b")
    assert seeing.text.startswith("B completes 4.6 points more calls (95 % always-valid interval +")
    assert seeing.text.endswith("), but −5.4 with var:stone held fixed: nothing is certain.")


def test_8_an_effect_that_depends_on_a_planned_segment_warns() -> None:
    strong = in_segments(("US", 500, 1000, 650, 1000), ("DE", 500, 1000, 520, 1000))
    assert "depends on country" in found(strong.evaluate(study(strata=["country"])))[8][1]
    turned = in_segments(("US", 500, 1000, 650, 1000), ("DE", 500, 1000, 400, 1000))
    assert "reverses in country DE" in found(turned.evaluate(study(strata=["country"])))[8][1]
    same = in_segments(("US", 500, 1000, 560, 1000), ("DE", 500, 1000, 560, 1000))
    assert 8 not in found(same.evaluate(study(strata=["country"])))


def test_9_a_segment_that_the_plan_does_not_name_is_exploratory() -> None:
    found_ = found(in_segments(("US", 500, 1000, 650, 1000), ("DE", 500, 1000, 400, 1000)).evaluate(study()))
    assert found_[9] == (
        "INFO",
        "B differs in country DE and US, which the plan does not name: exploratory, no verdict",
    )
    assert 8 not in found_


def daily(effects: list[int], **of: str) -> Tallies:
    tallies = Tallies()
    for day, effect in enumerate(effects):
        tallies.calls("a", outcomes(250, 500), day=FIRST_DAY + day)
        tallies.calls("b", outcomes(250 + effect, 500), day=FIRST_DAY + day)
    return tallies


def test_10_an_effect_that_fades_warns_from_day_ten() -> None:
    fading = daily([75] * 7 + [0] * 7)
    assert 10 in found(fading.evaluate(study(), days=14))
    assert 10 not in found(fading.evaluate(study(), days=9))
    assert 10 not in found(daily([40] * 14).evaluate(study(), days=14))


def test_11_and_12_a_winner_in_the_first_two_weeks_is_early() -> None:
    tallies = healthy(700)
    early = found(tallies.evaluate(study(), days=3))
    assert (early[11][0], early[12][0]) == ("WARN", "INFO")
    assert 11 not in found(tallies.evaluate(study(), days=14))
    assert 12 not in found(healthy(6000, 10_000).evaluate(study(), days=14))


def test_13_too_good_to_be_true() -> None:
    assert "changes completion by +60 %" in found(healthy(800).evaluate(study()))[13][1]
    same = healthy(1000)
    same.calls("a", outcomes(0, 0))
    for arm in "ab":
        same.add(arm, "sentiment", np.full(300, 0.25))
    assert "identical" in found(same.evaluate(study(secondary=["sentiment"])))[13][1]


def test_14_a_winner_whose_callers_hang_up_may_game_the_metric() -> None:
    tallies = healthy(6000, 10_000)
    tallies.rate("a", "hung_up_early", 1000, 10_000)
    tallies.rate("b", "hung_up_early", 1160, 10_000)
    level, text = found(tallies.evaluate(study(guardrails=GUARDED)))[14]
    assert (level, "hang-ups under 30 seconds moved the bad way" in text) == ("WARN", True)


@pytest.mark.parametrize(("early_b", "level", "word"), [(1800, "WARN", "FAIL"), (1010, "INFO", "INCONCLUSIVE")])
def test_15_guardrails_are_told(early_b: int, level: str, word: str) -> None:
    n = 10_000 if word == "FAIL" else 300
    tallies = healthy(n // 2, n)
    tallies.rate("a", "hung_up_early", n // 10, n)
    tallies.rate("b", "hung_up_early", early_b if word == "FAIL" else n // 10, n)
    assert found(tallies.evaluate(study(guardrails=GUARDED)))[15][0] == level
    assert word in found(tallies.evaluate(study(guardrails=GUARDED)))[15][1]


def test_20_what_matures_is_not_final() -> None:
    assert "until the last window closes" in found(healthy().evaluate(study(status="maturing")))[20][1]
    assert 20 not in found(healthy().evaluate(study(status="stopped")))


def test_21_calls_whose_window_is_open_are_told() -> None:
    tallies = healthy()
    assert 21 not in found(tallies.evaluate(study()))
    tallies.add("b", "served", np.ones(80))
    assert "A 0.0 % and B 7.4 %" in found(tallies.evaluate(study()))[21][1]
    assert 21 not in found(tallies.evaluate(study(status="stopped")))


def by_callers(arm: str, **callers: int) -> Tallies:
    """So many callers (``c3=5``: five with three calls each)."""
    tallies = healthy()
    for calls, count in callers.items():
        tallies.add(arm, f"calls_per_caller#{calls[1:]}", np.ones(count), day=0)
    return tallies


def test_22_callers_who_call_again_may_have_met_both_versions() -> None:
    assert "up to 10.0 % of an arm's calls" in found(by_callers("a", c1=900, c2=50).evaluate(study()))[22][1]
    assert 22 not in found(by_callers("a", c1=960, c2=20).evaluate(study()))
    assert 22 not in found(by_callers("a", c1=900, c2=50).evaluate(study(unit="caller")))


def test_23_one_caller_who_calls_all_the_time_may_be_a_robot() -> None:
    assert "one caller makes 9.1 %" in found(by_callers("b", c1=600, c60=1).evaluate(study()))[23][1]
    assert "one caller in a hundred" in found(by_callers("b", c1=990, c30=10).evaluate(study()))[23][1]
    assert 23 not in found(by_callers("b", c1=940, c2=30).evaluate(study()))
    assert 23 not in found(by_callers("b", c1=10, c5=1).evaluate(study()))


def test_24_arms_that_served_different_hours_warn() -> None:
    tallies = healthy(n=4000, successes_b=2000)
    for hour, n_a, n_b in ((9, 3000, 1000), (21, 1000, 3000)):
        tallies.add("a", "served", np.ones(n_a), stratum=f"hour={hour:02d}", day=0)
        tallies.add("b", "served", np.ones(n_b), stratum=f"hour={hour:02d}", day=0)
    evaluation = tallies.evaluate(study())
    assert 24 in found(evaluation)
    assert evaluation.evidence.strata == ()


def test_25_no_difference_that_matters_is_a_verdict() -> None:
    evaluation = healthy(10_000, 20_000).evaluate(study())
    assert evaluation.verdict.state == "equivalent"
    assert "within ±5.0 points" in found(evaluation)[25][1]


def test_26_all_planned_calls_without_an_answer_is_a_verdict() -> None:
    evaluation = healthy(1470, 2800).evaluate(study(n_max=5165))
    assert evaluation.verdict.state == "inconclusive"
    assert "the effect may still be up to" in found(evaluation)[26][1]


def test_27_intervals_without_anything_in_common_tell_of_drift() -> None:
    before = Running(p=0.001, low=0.08, high=0.2, crossed_at=1, crossed_n=900, crossed_up=True)
    evaluation = healthy(10_000, 20_000).evaluate(study(), running={("b", "success"): before})
    assert "drifted" in found(evaluation)[27][1]
    unknown = Running(low=-math.inf, high=math.inf)
    assert 27 not in found(healthy().evaluate(study(), running={("b", "success"): unknown}))


def test_28_too_little_traffic_is_told_after_three_days() -> None:
    tallies = healthy(50, 100)
    assert "in four weeks" in found(tallies.evaluate(study(), days=14))[28][1]
    assert 28 not in found(tallies.evaluate(study(), days=1))
    assert 28 not in found(healthy(2500, 5000).evaluate(study(n_max=5165), days=14))


def reached(human_a: int, human_b: int, *, of: int = 10_000) -> Tallies:
    """As many calls of each arm, of which these were answered by a human."""
    tallies = healthy(of // 2, of)
    for arm, humans in (("a", human_a), ("b", human_b)):
        tallies.rate(arm, "answered_by=human", humans, of)
        tallies.rate(arm, "answered_by=machine", of - humans, of)
    return tallies


def test_29_people_reached_in_other_shares_than_calls_were_drawn_warn_and_do_not_block() -> None:
    evaluation = reached(5500, 4900).evaluate(study())
    level, text = found(evaluation)[29]
    assert (level, evaluation.blocked) == ("WARN", False)
    assert "of 10,400 calls that a human answered A has 5,500 (52.9 % for 50.0 %) and B has 4,900" in text
    assert "the draw may be sound all the same" in text
    assert 1 not in found(evaluation)
    assert 29 not in found(reached(5100, 4950).evaluate(study()))
    assert 29 not in found(reached(5500, 4900).evaluate(study(unit="caller")))
    assert 29 not in found(healthy(5000, 10_000).evaluate(study()))


def test_29_each_epoch_is_held_against_its_own_shares() -> None:
    tallies = Tallies()
    for epoch, humans_b in ((1, 400), (2, 4000)):
        for arm, humans in (("a", 4000), ("b", humans_b)):
            tallies.calls(arm, outcomes(humans, 2 * humans), epoch=epoch)
            tallies.rate(arm, "answered_by=human", humans, 2 * humans, epoch=epoch)
    assert 29 not in found(tallies.evaluate(study({"a": 10 / 11, "b": 1 / 11}, EVEN)))
    assert 29 in found(tallies.evaluate(study(EVEN, EVEN)))
