"""Whole experiments of drawn calls: what stays quiet, what is found, and how soon. The seeds are fixed."""

from collections.abc import Callable
from typing import Any

import numpy as np

from gateway.results.evaluating import Evaluation
from gateway.results.study import Study
from gateway.stats.harm import is_harmful
from gateway.stats.moments import Rate
from gateway.stats.proportions import two_proportion_z
from tests.results.drawn import FIRST_DAY, Tallies, found, study

EVEN = {"a": 0.5, "b": 0.5}
Drawn = np.ndarray[Any, Any]


def looks(
    of: Study, arms: Drawn, successes: Drawn, every: int, *, epoch: Callable[[int], int] = lambda place: 1
) -> list[Evaluation]:
    """Evaluate after every so many calls, remembering as the gateway does; twenty days in all."""
    tallies, evaluations = Tallies(), []
    running: Any = {}
    for start in range(0, len(arms), every):
        stop, day = start + every, 20 * start // len(arms)
        for name, place in (("a", 0), ("b", 1)):
            chosen = arms[start:stop] == place
            tallies.calls(name, successes[start:stop][chosen], epoch=epoch(start), day=FIRST_DAY + day)
        evaluations.append(tallies.evaluate(of, days=day + 1, running=running))
        running = evaluations[-1].running
    return evaluations


def naive(evaluation: Evaluation) -> bool:
    """Whether the plain z test at 5%, looked at now, would call a winner."""
    a, b = (evaluation.evidence.arms[name].readings.get("success") for name in "ab")
    if a is None or b is None or min(a.n, b.n) < 30:
        return False
    sums = [Rate(n=one.n, successes=round(one.n * (one.mean or 0))) for one in (a, b)]
    test = two_proportion_z(*sums)
    return test is not None and test.p < 0.05


def called(evaluations: list[Evaluation]) -> bool:
    return any(one.verdict.state in ("better", "worse", "guarded") for one in evaluations)


def test_two_equal_versions_stay_quiet_however_often_anybody_looks() -> None:
    rng = np.random.default_rng(11)
    ours = theirs = alarms = 0
    for _ in range(100):
        evaluations = looks(study(), rng.integers(0, 2, 4000), rng.random(4000) < 0.5, 200)
        ours += called(evaluations)
        theirs += any(map(naive, evaluations))
        alarms += any(one.harm or one.blocked for one in evaluations)
    assert ours <= 5
    assert theirs >= 15
    assert alarms <= 2


def test_a_real_difference_is_found_near_the_planned_size() -> None:
    rng = np.random.default_rng(12)
    ends = []
    for _ in range(60):
        arms = rng.integers(0, 2, 5165)
        evaluations = looks(study(), arms, rng.random(5165) < np.where(arms == 1, 0.55, 0.5), 400)
        assert all(one.verdict.state != "worse" for one in evaluations)
        won = [place for place, one in enumerate(evaluations, 1) if one.verdict.state == "better"]
        ends.append(won[0] * 400 if won else 10**6)
    # 80% by N_max is the promise; 60 draws of it have a standard error of 5 points.
    assert sum(end < 10**6 for end in ends) >= 40
    assert 1500 < float(np.median(ends)) < 4400


def test_a_broken_version_is_told_after_some_forty_of_its_calls() -> None:
    rng = np.random.default_rng(13)
    counts = []
    for _ in range(40):
        arms = rng.integers(0, 2, 300)
        evaluations = looks(study(), arms, rng.random(300) < np.where(arms == 1, 0.1, 0.7), 10)
        first = next(one for one in evaluations if one.harm)
        assert first.verdict.arm == "b"
        counts.append(first.mature["b"])
    assert float(np.median(counts)) <= 50
    assert max(counts) < 150


def test_a_change_of_weights_while_the_rate_drifts_fools_nobody() -> None:
    rng = np.random.default_rng(14)
    ours = theirs = 0
    for _ in range(60):
        late = np.arange(8000) >= 4000
        arms = (rng.random(8000) < np.where(late, 0.5, 0.1)).astype(int)
        successes = rng.random(8000) < np.where(late, 0.45, 0.55)
        of = study({"a": 0.9, "b": 0.1}, EVEN, n_max=None)
        evaluations = looks(of, arms, successes, 800, epoch=lambda place: 1 + (place >= 4000))
        ours += called(evaluations)
        theirs += naive(evaluations[-1])
    assert ours <= 4
    assert theirs >= 40


def test_a_logger_that_loses_calls_of_one_arm_is_found() -> None:
    rng = np.random.default_rng(15)
    arms = rng.integers(0, 2, 20_000)
    kept = (arms == 0) | (rng.random(20_000) < 0.9)
    evaluations = looks(study(), arms[kept], rng.random(int(kept.sum())) < 0.5, 2000)
    assert evaluations[-1].verdict.state == "blocked"
    assert found(evaluations[-1])[1][0] == "BLOCK"


def test_a_judge_that_forgets_the_bad_calls_of_one_arm_is_found() -> None:
    rng = np.random.default_rng(16)
    tallies = Tallies()
    for arm in "ab":
        success = rng.random(3000) < 0.5
        # Of B's failures four in ten are never told: it looks better by 12 points.
        told = success | (rng.random(3000) < (0.6 if arm == "b" else 1.0))
        tallies.add(arm, "served", np.ones(3000))
        tallies.add(arm, "outcome_known", told)
        tallies.add(arm, "success", success[told])
    evaluation = tallies.evaluate(study())
    assert evaluation.arms["b"].state == "better"
    assert evaluation.verdict.state == "blocked"
    assert found(evaluation)[4][0] == "BLOCK"


def people(rates: tuple[float, float], calls: int, rng: np.random.Generator) -> bool:
    """Whether it is ever found, looking after every 500 placed calls, that people were reached in other shares."""
    tallies = Tallies()
    for _ in range(0, calls, 500):
        arms = rng.integers(0, 2, 500)
        for name, place in (("a", 0), ("b", 1)):
            count = int((arms == place).sum())
            tallies.add(name, "served", np.ones(count))
            tallies.add(name, "answered_by=human", rng.random(count) < rates[place])
        findings = found(tallies.evaluate(study()))
        assert 1 not in findings
        if 29 in findings:
            return True
    return False


def test_people_who_are_reached_less_by_one_arm_are_noticed_and_equal_shares_raise_nothing() -> None:
    rng = np.random.default_rng(17)
    assert sum(people((0.4, 0.4), 10_000, rng) for _ in range(60)) == 0
    assert all(people((0.45, 0.36), 10_000, rng) for _ in range(10))


def rung_for_callers(rng: np.random.Generator, harm: float) -> tuple[int | None, int | None]:
    """After how many calls the alarm rings: with callers as coins, and (which is wrong) with calls.

    300 callers who ring three times on average and are very different from each other (ICC 0.5); with B each call
    succeeds less often by the factor ``harm``.
    """
    arms, likely = rng.integers(0, 2, 300), rng.beta(0.5, 0.5, 300)
    callers = rng.permutation(np.repeat(np.arange(300), rng.geometric(1 / 3, 300)))
    successes = rng.random(len(callers)) < (likely * np.where(arms == 1, 1 - harm, 1.0))[callers]
    known: set[tuple[int, bool]] = set()
    once, each = np.zeros((2, 2), dtype=int), np.zeros((2, 2), dtype=int)
    rung: list[int | None] = [None, None]
    for calls, (caller, success) in enumerate(zip(callers, successes, strict=True), 1):
        place = arms[caller], int(success)
        each[place] += 1
        if (caller, success) not in known:
            known.add((caller, success))
            once[place] += 1
        for way, counts in enumerate((once, each)):
            if calls % 10 == 0 and rung[way] is None:
                a, b = (Rate(n=int(row.sum()), successes=int(row[1])) for row in counts)
                rung[way] = calls if is_harmful([(a, b, 0.5)], better="higher") else None
    return rung[0], rung[1]


def test_the_alarm_of_callers_who_stick_is_quiet_without_harm_and_rings_soon_with_it() -> None:
    rng = np.random.default_rng(18)
    quiet = [rung_for_callers(rng, 0.0) for _ in range(100)]
    assert sum(ours is not None for ours, _ in quiet) <= 1
    assert sum(calls is not None for _, calls in quiet) >= 4  # one caller's calls are no coins of their own
    harmed = [ours for ours, _ in (rung_for_callers(rng, 0.9) for _ in range(20))]
    assert all(ours is not None and ours <= 400 for ours in harmed)
