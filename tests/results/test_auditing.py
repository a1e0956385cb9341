"""Labels of people beside a judge's word: what is counted, what blocks, and what the labels make of the numbers."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from gateway.metrics import judged_by
from gateway.results.evaluating import Evaluation
from gateway.results.figures import figures
from gateway.results.kinship import family_of, versions_named
from gateway.results.shown import as_json
from gateway.results.study import Epoch, JudgeTold, Study, study_of
from gateway.stats.clusters import Clusters
from gateway.storage.analyses import Labelled
from tests.results.drawn import FIRST_DAY, Tallies, found, outcomes, study

JUDGE = "llm-0a1b2c3d"
Drawn = np.ndarray[Any, Any]


def told(tallies: Tallies, arm: str, judged: Sequence[float] | Drawn, metric: str = "success", **where: Any) -> None:
    """Calls of which a judge told a metric."""
    tallies.calls(arm, judged, **where) if metric == "success" else tallies.add(arm, metric, judged, **where)
    tallies.add(arm, judged_by(metric, JUDGE), np.ones(len(judged)), day=0, epoch=where.get("epoch", 1))


def labels(
    arm: str, judged: Sequence[Any] | Drawn, people: Sequence[Any] | Drawn, criterion: str = "success", epoch: int = 1
) -> list[Labelled]:
    """A label for each of some calls of an arm."""
    metric = criterion if criterion in ("success", "sentiment") else f"fields.{criterion}"
    found = []
    for place, (word, said) in enumerate(zip(judged, people, strict=True)):
        counted = {metric: 1.0, f"{metric}={word}": 1.0} if isinstance(word, str) else {metric: float(word)}
        found.append(Labelled(f"CA{arm}{place}", criterion, "kim", said, epoch, arm, counted))
    return found


def agreeing(arm: str, n: int, *, wrong: int = 0, **more: Any) -> list[Labelled]:
    """Labels of ``n`` calls, half of them good, of which the judge takes ``wrong`` bad ones for good."""
    judged = outcomes(n // 2 + wrong, n)
    return labels(arm, judged, [bool(one) for one in outcomes(n // 2, n)], **more)


def judged(n: int = 1000, good_a: int = 500, good_b: int = 500) -> Tallies:
    tallies = Tallies()
    told(tallies, "a", outcomes(good_a, n))
    told(tallies, "b", outcomes(good_b, n))
    return tallies


def of_success(evaluation: Evaluation) -> dict[str, Any]:
    metric: dict[str, Any] = next(one for one in as_json(evaluation)["metrics"] if one["name"] == "success")
    return metric


def test_a_metric_that_no_judge_told_needs_no_audit() -> None:
    tallies = Tallies()
    tallies.calls("a", outcomes(500, 1000))
    tallies.calls("b", outcomes(500, 1000))
    evaluation = tallies.evaluate(study(n_max=None), labels=agreeing("a", 60))
    assert evaluation.evidence.audits == {}
    assert not {16, 17, 18, 19} & found(evaluation).keys()
    assert (evaluation.caveat, of_success(evaluation)["audit"]) == (None, None)


@pytest.mark.parametrize(("of_a", "of_b", "level"), [(0, 0, "INFO"), (60, 49, "INFO"), (50, 50, None)])
def test_17_a_judged_metric_needs_fifty_labels_of_each_arm(of_a: int, of_b: int, level: str | None) -> None:
    evaluation = judged().evaluate(study(), labels=[*agreeing("a", of_a), *agreeing("b", of_b)])
    told = found(evaluation).get(17)
    assert (told[0] if told else None) == level
    if told:
        assert f"people have labelled {of_a} of A and {of_b} of B, and each arm needs 50" in told[1]
        # It is no block: the verdict is told, and only applying it needs to be insisted on.
        assert evaluation.verdict.state != "blocked"
        assert evaluation.caveat == f"{told[1]}."
    else:
        assert evaluation.caveat is None
    assert (of_success(evaluation)["audit"]["effects"]["b"]["difference"] is None) == bool(told)


def test_17_a_secondary_metric_that_is_unaudited_holds_up_nothing() -> None:
    tallies = Tallies()
    for arm in "ab":
        tallies.calls(arm, outcomes(500, 1000))
        told(tallies, arm, np.tile([-0.5, 0.5], 500), "sentiment")
    evaluation = tallies.evaluate(study(secondary=["sentiment"]))
    assert "mean sentiment is a judge's word and unaudited" in found(evaluation)[17][1]
    assert evaluation.caveat is None


def test_18_a_judge_who_agrees_with_people_is_trusted() -> None:
    evaluation = judged().evaluate(study(), labels=[*agreeing("a", 100, wrong=5), *agreeing("b", 100, wrong=5)])
    audit = evaluation.evidence.audits["success"]
    assert audit.state == "trusted"
    assert audit.agreement == pytest.approx(0.9)
    assert audit.gaps == {"a": pytest.approx(-0.05), "b": pytest.approx(-0.05)}
    assert audit.leans["b"] == pytest.approx(0)
    assert 18 not in found(evaluation)
    assert evaluation.caveat is None


def test_18_too_little_agreement_blocks_the_verdict_and_offers_the_correction() -> None:
    people = [place % 2 == 0 for place in range(100)]
    words = [place % 10 < 5 for place in range(100)]  # right in every second call, as a coin would be
    both = [*labels("a", words, people), *labels("b", words, people)]
    evaluation = judged(good_b=700).evaluate(study(), labels=both)
    level, text = found(evaluation)[18]
    assert (level, evaluation.blocked, evaluation.verdict.state) == ("BLOCK", True, "blocked")
    assert "on completion people and judge agree too little (kappa 0." in text
    assert "corrected by their labels: B +" in text
    assert evaluation.caveat == evaluation.verdict.text
    assert figures(as_json(evaluation)).primary is not None
    (effect,) = figures(as_json(evaluation)).lines[0].effects
    assert (effect.said, effect.tone) == ("the judge is not trusted", "bad")


def test_18_a_judge_who_is_kinder_to_one_arm_blocks() -> None:
    """B is no better; the judge takes fifteen of a hundred of its bad calls for good ones, and of A's none."""
    kind = [*agreeing("a", 100), *agreeing("b", 100, wrong=15)]
    evaluation = judged(good_a=500, good_b=650).evaluate(study(), labels=kind)
    audit = evaluation.evidence.audits["success"]
    assert (audit.agreement > 0.6, audit.leaning) == (True, ("b",))
    assert audit.leans["b"] < -1.96
    assert evaluation.arms["b"].state == "better"
    assert evaluation.verdict.state == "blocked"
    assert "differ in B as they do not in A (z −4." in found(evaluation)[18][1]
    # The labels take the fifteen points away again.
    assert audit.corrected["b"].value == pytest.approx(0, abs=0.01)
    assert audit.means["b"] == pytest.approx(0.5, abs=0.01)


def test_18_of_a_metric_without_a_part_only_that_metric_is_blocked() -> None:
    tallies = Tallies()
    for arm, shift in (("a", 0.0), ("b", 0.4)):
        tallies.calls(arm, outcomes(500, 1000))
        told(tallies, arm, np.tile([-0.5, 0.5], 500) + shift, "sentiment")
    people = [-0.5, 0.5] * 30
    flattered = [one + 0.4 for one in people]
    both = [*labels("a", people, people, "sentiment"), *labels("b", flattered, people, "sentiment")]
    evaluation = tallies.evaluate(study(secondary=["sentiment"]), labels=both)
    assert found(evaluation)[18][0] == "WARN"
    assert not evaluation.blocked
    assert evaluation.evidence.audits["sentiment"].measure == "concordance"
    # What is certain by the judge's word is no discovery when the judge is not trusted.
    assert evaluation.evidence.comparisons["sentiment"]["b"].certain
    assert evaluation.evidence.discoveries == ()


def test_18_a_guardrail_is_not_passed_by_a_judge_who_is_not_trusted() -> None:
    guard = [{"metric": "sentiment", "margin": 0.3, "better": "higher"}]
    tallies = Tallies()
    for arm in "ab":
        tallies.calls(arm, outcomes(500, 1000))
        told(tallies, arm, np.tile([-0.5, 0.5], 500), "sentiment")
    assert tallies.evaluate(study(guardrails=guard)).evidence.guardrails["sentiment", "b"] == "pass"
    people, words = [-0.5, 0.5] * 30, [0.5, -0.5] * 30
    both = [*labels("a", words, people, "sentiment"), *labels("b", words, people, "sentiment")]
    evaluation = tallies.evaluate(study(guardrails=guard), labels=both)
    assert evaluation.evidence.guardrails["sentiment", "b"] == "inconclusive"
    assert evaluation.verdict.state == "blocked"


def test_18_a_choice_has_its_kappa_and_no_correction() -> None:
    tallies = judged()
    for arm in "ab":
        told(tallies, arm, np.ones(1000), "fields.topic")
        tallies.add(arm, "fields.topic=billing", np.ones(600), day=0)
        tallies.add(arm, "fields.topic=sales", np.ones(400), day=0)
    words = ["billing", "sales"] * 30
    wrong = ["billing"] * 60
    both = [*labels("a", words, words, "topic"), *labels("b", words, wrong, "topic")]
    audit = tallies.evaluate(study(), labels=both).evidence.audits["fields.topic"]
    assert audit.measure == "kappa"
    assert audit.agreement == pytest.approx(0.5)
    assert audit.gaps == {"a": 0.0, "b": 0.5}
    assert (audit.state, audit.corrected) == ("distrusted", {})


def test_18_a_winner_by_the_judges_word_alone_is_told() -> None:
    """A judge who errs as often in both arms is trusted; still the labels cannot confirm so small a difference."""
    both = [*agreeing("a", 60, wrong=5), *agreeing("b", 60, wrong=5)]
    evaluation = judged(4000, 2000, 2200).evaluate(study(), labels=both)
    assert evaluation.arms["b"].state == "better"
    level, text = found(evaluation)[18]
    assert (level, evaluation.blocked) == ("WARN", False)
    assert text.startswith("B is better by the judge's word alone; corrected by their labels: B +5.1 points (−")


def test_18_a_winner_whom_the_labels_confirm_or_turn_round() -> None:
    both = [*agreeing("a", 200), *agreeing("b", 200)]
    assert 18 not in found(judged(4000, 2000, 2600).evaluate(study(), labels=both))
    # Of a metric of which less is better the labels must say less: here they say more, and for sure.
    fewer = {"metric": "success", "better": "lower", "min_effect": 0.05}
    of_b = labels("b", outcomes(96, 200), [bool(one) for one in outcomes(100, 200)])
    of_a = labels("a", outcomes(100, 200), [bool(one) for one in outcomes(101, 200)])
    evaluation = judged(40_000, 20_000, 19_300).evaluate(study(primary=fewer), labels=[*of_a, *of_b])
    assert evaluation.arms["b"].state == "better"
    assert evaluation.evidence.audits["success"].state == "trusted"
    assert "B is better by the judge's word alone" in found(evaluation)[18][1]


def test_of_several_labels_of_a_call_the_newest_counts() -> None:
    first, later = agreeing("a", 50, wrong=20), agreeing("a", 50)
    later = [one._replace(author="lee") for one in later]
    evaluation = judged().evaluate(study(), labels=[*first, *later])
    audit = evaluation.evidence.audits["success"]
    assert (audit.labels["a"], audit.gaps["a"]) == (50, 0.0)
    assert evaluation.evidence.labelled == {"a": 50, "b": 0}


def test_a_label_of_a_call_without_a_verdict_is_no_pair() -> None:
    unknown = [one._replace(counted={}) for one in agreeing("a", 50)]
    evaluation = judged().evaluate(study(), labels=unknown)
    assert evaluation.evidence.audits["success"].labels == {"a": 0, "b": 0}
    assert evaluation.evidence.labelled["a"] == 50


def test_labels_of_a_question_that_changed_its_kind_are_no_pairs() -> None:
    tallies = judged()
    for arm in "ab":
        told(tallies, arm, np.ones(1000), "fields.topic")
        tallies.add(arm, "fields.topic=billing", np.ones(500), day=0)
    mixed = [*labels("a", ["billing"], ["sales"], "topic"), *labels("b", [1.0, 0.0], [True, "sales"], "topic")]
    audit = tallies.evaluate(study(), labels=mixed).evidence.audits["fields.topic"]
    assert audit.labels == {"a": 1, "b": 0}
    of_numbers = labels("a", ["billing", 1.0], ["billing", "yes"])
    assert judged().evaluate(study(), labels=of_numbers).evidence.audits["success"].labels == {"a": 0, "b": 0}


def test_19_the_progress_of_the_labelling_is_told_until_two_hundred() -> None:
    some = judged().evaluate(study(), labels=[*agreeing("a", 120), *agreeing("b", 80)])
    assert found(some)[19] == (
        "INFO",
        "people have labelled 120 of A and 80 of B; 200 of each arm are suggested, drawn at random and blinded",
    )
    assert 19 not in found(judged().evaluate(study(), labels=[*agreeing("a", 200), *agreeing("b", 200)]))


def test_the_corrected_estimate_is_that_of_the_reference() -> None:
    """mean(judge, unlabelled) + mean(person - judge, labelled) in each arm, worked out by hand."""
    both = [*agreeing("a", 100, wrong=10), *agreeing("b", 100, wrong=5)]
    audit = judged(1000, 500, 560).evaluate(study(), labels=both).evidence.audits["success"]
    assert audit.means["a"] == pytest.approx((500 - 60) / 900 - 0.10)
    assert audit.means["b"] == pytest.approx((560 - 55) / 900 - 0.05)
    effect = audit.corrected["b"]
    assert effect.value == pytest.approx(audit.means["b"] - audit.means["a"])
    p_a, p_b = 440 / 900, 505 / 900
    by_hand = p_a * (1 - p_a) / 900 + p_b * (1 - p_b) / 900 + (0.1 * 0.9 + 0.05 * 0.95) / 99
    assert effect.variance == pytest.approx(by_hand, rel=0.01)


def test_a_correction_stays_within_its_epoch() -> None:
    """The split moves from 90/10 to 10/90 while calls become harder: pooled, B would look ten points worse."""
    tallies, both = Tallies(), []
    for epoch, (n_a, n_b), share in ((1, (1800, 200), 0.6), (2, (200, 1800), 0.4)):
        for arm, n in (("a", n_a), ("b", n_b)):
            told(tallies, arm, outcomes(round(n * share), n), epoch=epoch)
            words = outcomes(round(50 * share), 50)
            mine = labels(arm, words, [bool(one) for one in words], epoch=epoch)
            both += [one._replace(call=f"{one.call}-{epoch}") for one in mine]
    of = study({"a": 0.9, "b": 0.1}, {"a": 0.1, "b": 0.9})
    audit = tallies.evaluate(of, labels=both).evidence.audits["success"]
    assert audit.corrected["b"].value == pytest.approx(0, abs=0.02)
    assert audit.means["b"] - audit.means["a"] < -0.1


def test_where_callers_stick_the_correction_has_their_variance() -> None:
    tallies = judged()
    for arm in "ab":
        callers = [(4.0, 4.0), (4.0, 0.0)] * 125
        tallies.clusters[1, arm, "success"] = Clusters.of(callers)
        tallies.clusters[1, arm, "served"] = Clusters.of(callers)
    both = [*agreeing("a", 100, wrong=5), *agreeing("b", 100, wrong=5)]
    by_caller = tallies.evaluate(study(unit="caller"), labels=both).evidence.audits["success"].corrected["b"]
    by_call = tallies.evaluate(study(), labels=both).evidence.audits["success"].corrected["b"]
    assert by_caller.value == pytest.approx(by_call.value, abs=0.01)
    assert by_caller.variance > 1.5 * by_call.variance


# -- rule 16 -----------------------------------------------------------------------------------------------------


def with_judge(model: str | None = "judge-large", question: str = "Was it solved?", **models: str) -> Study:
    (epoch,) = (of := study()).epochs
    judge = JudgeTold(id=JUDGE, model=model, questions={"success": question})
    told = Epoch(
        number=1, began_at=epoch.began_at, shares=epoch.shares, served=epoch.served, judge=judge, models=models
    )
    return Study(id=of.id, unit="call", status="running", opened_at=of.opened_at, plan=of.plan, epochs=(told,))


@pytest.mark.parametrize(
    ("model", "family"),
    [
        ("gpt-4o-mini", "gpt"),
        ("openai/o3-mini", "gpt"),
        ("ChatGPT-4o-latest", "gpt"),
        ("claude-3-5-sonnet", "claude"),
        ("anthropic.claude-v2", "claude"),
        ("meta-llama/Meta-Llama-3.1-70B", "llama"),
        ("Mixtral-8x7B", "mistral"),
        ("qwen2.5:7b", "qwen"),
        ("house-model-7", "house"),
        ("", ""),
    ],
)
def test_16_a_model_has_its_family(model: str, family: str) -> None:
    assert family_of(model) == family


def test_16_a_judge_of_the_agents_own_family_is_told() -> None:
    kin = judged().evaluate(with_judge("gpt-4o", b="openai/gpt-4.1", a="claude-3-haiku"))
    assert found(kin)[16] == (
        "WARN",
        "the judge gpt-4o is of the family of openai/gpt-4.1, which B runs: models favour their kin",
    )
    assert 16 not in found(judged().evaluate(with_judge("mistral-large", b="gpt-4.1")))
    assert 16 not in found(judged().evaluate(with_judge(None, b="gpt-4.1")))


@pytest.mark.parametrize(
    ("question", "named"),
    [
        ("Did Support@4 solve it?", ["support@4"]),
        ("Is Version B polite?", ["Version B"]),
        ("Did the agent offer a version a customer can use?", []),
        ("Was it solved by support@41?", []),
    ],
)
def test_16_a_question_that_names_a_version_is_told(question: str, named: list[str]) -> None:
    of = with_judge(question=question)
    assert versions_named(question, of.epochs[0].served) == named
    told = found(judged().evaluate(of)).get(16)
    assert (told[1] if told else None) == (
        f"the question on success names {named[0]}: a judge should not know whom it judges" if named else None
    )


def test_16_arms_that_were_told_by_different_judges() -> None:
    tallies = Tallies()
    for arm, judge in (("a", "llm-1"), ("b", "llm-2")):
        tallies.calls(arm, outcomes(50, 100))
        tallies.add(arm, judged_by("success", judge), np.ones(100), day=0)
    assert found(tallies.evaluate(study()))[16] == (
        "WARN",
        "in epoch 1 completion was told of A and B by different judges",
    )
    # A judge that was changed on the way told of both.
    for arm, judge in (("a", "llm-2"), ("b", "llm-1")):
        tallies.calls(arm, outcomes(10, 20))
        tallies.add(arm, judged_by("success", judge), np.ones(20), day=0)
    assert 16 not in found(tallies.evaluate(study()))


def test_16_what_a_version_is_given_says_its_model() -> None:
    arms = [
        {"arm": "a", "version": "support@3", "share": 0.5, "parameters": {}},
        {"arm": "b", "version": "support@3", "share": 0.5, "parameters": {"llm.model": "gpt-4.1"}},
    ]
    epochs = [{"number": 1, "began_at": 0, "memory": 1, "arms": arms, "judge": None}]
    row = {"id": "support-1", "unit": "call", "status": "running", "opened_at": 0, "epochs": epochs}
    (epoch,) = study_of(row, {"support@3": {"model": "claude-3", "voice": "ada"}}).epochs
    assert epoch.models["a"] == "claude-3"
    assert study_of(row).epochs[0].models == {"b": "gpt-4.1"}


# -- rule 5 ------------------------------------------------------------------------------------------------------


def test_5_another_judge_makes_the_verdict_exploratory() -> None:
    first, second = study({"a": 0.5, "b": 0.5}, {"a": 0.5, "b": 0.5}).epochs
    told = [
        Epoch(
            number=one.number,
            began_at=one.began_at,
            shares=one.shares,
            served=one.served,
            judge=JudgeTold(id=f"llm-{one.number}"),
        )
        for one in (first, second)
    ]
    plan = study().plan
    day = FIRST_DAY * 86_400_000
    of = Study(id="support-1", unit="call", status="running", opened_at=day, plan=plan, epochs=tuple(told))
    evaluation = judged().evaluate(of)
    assert evaluation.verdict.exploratory
    assert found(evaluation)[5] == (
        "WARN",
        "the judge was changed while calls came in: a new epoch began and the verdict is exploratory",
    )


# -- the reference's claim -------------------------------------------------------------------------------------


def test_two_equal_versions_and_a_judge_three_points_kinder_to_one() -> None:
    """No difference, and 87% of such tests have a winner in one look: with 200 labels of each arm 5% have.

    The judge's word alone makes the gateway call winners too; the corrected estimate does not, and where it holds 0
    a winner is not told without that.
    """
    rng = np.random.default_rng(18)
    runs, fooled, mended, silent = 120, 0, 0, 0
    for _ in range(runs):
        tallies, both = Tallies(), []
        for arm, sensitivity, specificity in (("a", 0.90, 0.85), ("b", 0.93, 0.82)):
            good = rng.random(5000) < 0.6
            words = np.where(good, rng.random(5000) < sensitivity, rng.random(5000) >= specificity)
            told(tallies, arm, words.astype(float))
            both += labels(arm, words[:200], [bool(one) for one in good[:200]])
        blind, seen = tallies.evaluate(study()), tallies.evaluate(study(), labels=both)
        corrected = seen.evidence.audits["success"].corrected["b"]
        fooled += blind.arms["b"].state == "better"
        mended += abs(corrected.z) > 1.96
        silent += seen.arms["b"].state == "better" and 18 not in found(seen) and abs(corrected.z) <= 1.96
    assert fooled >= runs * 0.35  # even always-valid intervals believe a judge
    assert mended <= runs * 0.1
    assert silent == 0


def test_the_audit_stands_in_the_answer() -> None:
    both = [*agreeing("a", 100, wrong=5), *agreeing("b", 100, wrong=5)]
    shown = as_json(judged().evaluate(study(), labels=both))
    audit = next(one for one in shown["metrics"] if one["name"] == "success")["audit"]
    assert (audit["state"], audit["measure"], round(audit["agreement"], 2)) == ("trusted", "kappa", 0.9)
    assert audit["arms"]["b"]["labels"] == 100
    assert audit["arms"]["b"]["gap"] == pytest.approx(-0.05)
    effect = audit["effects"]["b"]
    assert effect["low"] < effect["difference"] < effect["high"]
    assert effect["z"] == pytest.approx(0)
    assert math.isclose(effect["high"] - effect["difference"], effect["difference"] - effect["low"])
    ((title, text),) = figures(shown).audits
    assert title == "completion"
    assert text.startswith("audited: labels A 100, B 100, kappa 0.90; corrected by the labels: B +")
    assert text.endswith(", one look)")
