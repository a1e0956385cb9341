"""What an evaluation says of sums that are known: the numbers of gateway.stats, in the right places."""

import math

import numpy as np
import pytest
from scipy.stats import chi2_contingency

from gateway.stats.clusters import Clusters
from gateway.stats.effect import difference
from gateway.stats.moments import Rate
from gateway.stats.sequential import confidence_sequence, tuning
from tests.results.drawn import FIRST_DAY, Tallies, found, outcomes, study

EVEN = {"a": 0.5, "b": 0.5}


def compared(successes_a: int, n_a: int, successes_b: int, n_b: int) -> Tallies:
    tallies = Tallies()
    tallies.calls("a", outcomes(successes_a, n_a))
    tallies.calls("b", outcomes(successes_b, n_b))
    return tallies


def test_the_interval_is_that_of_the_confidence_sequence() -> None:
    one = compared(200, 400, 250, 410).evaluate(study()).evidence.primary["b"]
    effect = difference([(Rate(n=400, successes=200), Rate(n=410, successes=250))])
    assert effect is not None
    assert one.effect == effect
    assert one.interval == confidence_sequence(effect, r2=tuning(3130))


def test_a_winner_is_told_in_one_plain_sentence() -> None:
    evaluation = compared(1000, 2000, 1200, 2000).evaluate(study())
    assert evaluation.verdict.state == "better"
    assert evaluation.verdict.text == (
        "B completes 10.0 points more calls (95 % always-valid interval +5.2 to +14.8); safe to read at any time."
    )
    assert (evaluation.blocked, evaluation.harm, evaluation.failing_guardrails) == (False, False, ())
    assert dict(evaluation.mature) == {"a": 2000, "b": 2000}


def test_no_sentence_says_how_sure_anybody_is() -> None:
    for successes in (20, 800, 1000, 1200):
        told = compared(1000, 2000, successes, 2000).evaluate(study())
        words = " ".join([told.verdict.text, *(one.text for one in told.findings)])
        assert "sure" not in words
        assert "significan" not in words


def test_fewer_than_ten_failures_say_nothing_yet() -> None:
    evaluation = compared(50, 60, 55, 60).evaluate(study())
    one = evaluation.evidence.primary["b"]
    assert (one.gate.have, one.p, one.interval) == (5, 1.0, None)
    assert evaluation.verdict.state == "collecting"
    assert found(evaluation)[2] == ("INFO", "B is collecting: 5 of 10 successes and failures in the poorer arm")


def test_without_any_call_nothing_is_said_and_nothing_breaks() -> None:
    evaluation = Tallies().evaluate(study())
    assert evaluation.verdict.state == "collecting"
    assert dict(evaluation.mature) == {"a": 0, "b": 0}


def test_the_p_value_never_rises_and_the_first_crossing_stays() -> None:
    sure = compared(1000, 2000, 1200, 2000).evaluate(study())
    first = sure.running["b", "success"]
    assert (first.crossed_n, first.crossed_up) == (4000, True)
    later = compared(1500, 3000, 1600, 3000).evaluate(study(), days=16, running=sure.running)
    second = later.running["b", "success"]
    assert second.p == first.p
    assert (second.crossed_at, second.crossed_n) == (first.crossed_at, 4000)
    assert (second.low, second.high) == (first.low, later.evidence.primary["b"].interval.high)  # type: ignore[union-attr]


def test_a_crossing_on_the_other_side_is_no_winner() -> None:
    sure = compared(1000, 2000, 1200, 2000).evaluate(study())
    turned = compared(2000, 4000, 1960, 4000).evaluate(study(), running=sure.running)
    assert turned.verdict.state not in ("better", "worse")
    assert found(turned)[27][0] == "WARN"


def test_of_three_arms_the_p_values_are_those_of_holm() -> None:
    split = dict.fromkeys("abc", 1 / 3)
    tallies = compared(1000, 2000, 1100, 2000)
    tallies.calls("c", outcomes(1120, 2000))
    arms = tallies.evaluate(study(split)).evidence.primary
    assert arms["c"].adjusted_p == pytest.approx(2 * arms["c"].p)
    assert arms["c"].level == 0.025
    assert arms["b"].adjusted_p == pytest.approx(max(arms["b"].p, 2 * arms["c"].p))


def test_weights_that_changed_do_not_mix_good_days_with_bad_ones() -> None:
    # The rate falls from 60 to 50% as B's share rises from 10 to 50%: pooled, B looks worse by points.
    tallies = Tallies()
    for epoch, day, rate, n_a, n_b in ((1, 0, 0.6, 9000, 1000), (2, 1, 0.5, 5000, 5000)):
        for arm, n in (("a", n_a), ("b", n_b)):
            tallies.calls(arm, outcomes(round(rate * n), n), epoch=epoch, day=FIRST_DAY + day)
    evaluation = tallies.evaluate(study({"a": 0.9, "b": 0.1}, EVEN))
    one = evaluation.evidence.primary["b"]
    assert one.effect is not None
    assert one.effect.value == pytest.approx(0, abs=1e-12)
    assert one.p == 1.0
    assert evaluation.evidence.pooled["b"].value == pytest.approx(0.516667 - 0.564286, abs=1e-5)
    assert found(evaluation)[6][0] == "INFO"
    assert found(evaluation)[7] == (
        "WARN",
        "Simpson: pooled B stands at −4.8, stratified by epoch at +0.0; read the second",
    )


def test_callers_that_stick_are_counted_by_caller() -> None:
    rng = np.random.default_rng(5)
    tallies = Tallies()
    for arm in "ab":
        own = rng.beta(0.5, 0.5, 300)
        successes = rng.binomial(10, own)
        tallies.calls(arm, outcomes(int(successes.sum()), 3000))
        for metric, sums in (
            ("success", successes),
            ("served", np.full(300, 10)),
            ("outcome_known", np.full(300, 10)),
        ):
            tallies.clusters[1, arm, metric] = Clusters.of([(10.0, float(one)) for one in sums])
    evaluation = tallies.evaluate(study(unit="caller"))
    one = evaluation.evidence.primary["b"]
    assert one.effect is not None
    assert one.effect.n == 600
    by_call = difference([(Rate(n=3000, successes=1500), Rate(n=3000, successes=1500))])
    assert by_call is not None
    assert one.effect.variance > 4 * by_call.variance
    assert evaluation.evidence.splits[0].counts == {"a": 300, "b": 300}
    assert found(evaluation)[22][0] == "INFO"


def test_callers_that_stick_but_were_not_counted_say_nothing() -> None:
    tallies = compared(1000, 2000, 1400, 2000)
    evaluation = tallies.evaluate(study(unit="caller"))
    assert evaluation.evidence.primary["b"].effect is None
    assert evaluation.verdict.state == "collecting"


def test_guardrails_pass_fail_and_stay_open() -> None:
    def state(successes_b: int, n: int) -> str:
        tallies = compared(n // 2, n, n // 2, n)
        tallies.rate("a", "hung_up_early", n // 10, n)
        tallies.rate("b", "hung_up_early", successes_b, n)
        guarded = study(guardrails=[{"metric": "hung_up_early", "margin": 0.02}])
        return tallies.evaluate(guarded).evidence.guardrails["hung_up_early", "b"]

    assert state(1000, 10_000) == "pass"
    assert state(1800, 10_000) == "fail"
    assert state(1250, 10_000) == "harm"
    assert state(22, 200) == "inconclusive"


def test_a_better_arm_whose_guardrail_fails_is_guarded() -> None:
    tallies = compared(5000, 10_000, 6000, 10_000)
    tallies.rate("a", "hung_up_early", 1000, 10_000)
    tallies.rate("b", "hung_up_early", 1400, 10_000)
    evaluation = tallies.evaluate(study(guardrails=[{"metric": "hung_up_early", "margin": 0.02}]))
    assert evaluation.failing_guardrails == ("hung_up_early",)
    # The hang-ups are so many that the exact alarm rings as well, and that is told first.
    assert evaluation.harm
    assert evaluation.verdict.state == "harm"
    assert evaluation.arms["b"].state == "guarded"


def test_one_look_at_the_end_and_none_before() -> None:
    tallies = compared(200, 400, 250, 410)
    assert tallies.evaluate(study()).evidence.fixed == {}
    test = tallies.evaluate(study(status="stopped")).evidence.fixed["success", "b"]
    assert test.test == "z"
    assert test.p == pytest.approx(chi2_contingency([[200, 200], [250, 160]], correction=False).pvalue)


def test_a_mean_is_read_with_its_spread() -> None:
    tallies = compared(50, 100, 50, 100)
    tallies.add("a", "duration_seconds", [30.0, 60.0, 120.0])
    reading = tallies.evaluate(study()).evidence.arms["a"].readings["duration_seconds"]
    assert (reading.n, reading.mean) == (3, 70)
    assert reading.sd == pytest.approx(math.sqrt(2100))


def test_a_field_with_words_is_a_distribution() -> None:
    tallies = compared(50, 100, 50, 100)
    for arm, billing in (("a", 30), ("b", 60)):
        tallies.add(arm, "fields.intent", np.ones(100))
        tallies.add(arm, "fields.intent=billing", np.ones(billing), day=0)
        tallies.add(arm, "fields.intent=other", np.ones(100 - billing), day=0)
    evidence = tallies.evaluate(study(status="stopped")).evidence
    assert evidence.arms["b"].distributions == {"fields.intent": {"billing": 60, "other": 40}}
    assert "fields.intent" not in evidence.comparisons
    assert evidence.fixed["fields.intent", ""].p == pytest.approx(
        chi2_contingency([[30, 70], [60, 40]], correction=False).pvalue
    )


def test_days_tell_each_day_and_all_days_so_far() -> None:
    tallies = Tallies()
    for day in range(3):
        tallies.calls("a", outcomes(100, 200), day=FIRST_DAY + day)
        tallies.calls("b", outcomes(100 + 10 * day, 200), day=FIRST_DAY + day)
    days = tallies.evaluate(study()).evidence.days["b"]
    assert [one.n for one in days] == [400, 400, 400]
    assert [round(one.effect.value, 3) for one in days if one.effect] == [0.0, 0.05, 0.1]
    assert [round(one.so_far.value, 3) for one in days if one.so_far] == [0.0, 0.025, 0.05]
