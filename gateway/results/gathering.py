"""Gathers the evidence of an experiment from its sums: one step for each thing that is asked of them."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence

from gateway.metrics import callers_had, callers_lacked, median_length, spread_of_callers
from gateway.results.auditing import audits_of, labelled_calls
from gateway.results.cells import HOUR, HUMAN, KNOWN, SERVED, Cells, Pair, Place
from gateway.results.comparing import ClusterSums, Comparison, Running, cluster_pairs, compare, noted, together
from gateway.results.evidence import ArmReading, Day, Evidence, FixedTest, Judges, Reading, Split
from gateway.results.segments import strata_of
from gateway.results.study import CONTROL, Epoch, Study
from gateway.stats.bins import geometric_mean
from gateway.stats.clusters import Clusters, cluster_difference, design_effect
from gateway.stats.effect import Effect, difference, wald_interval
from gateway.stats.guardrail import GuardrailState, guardrail
from gateway.stats.harm import ALARM as HARM_ALARM
from gateway.stats.harm import is_harmful, uneven_evidence
from gateway.stats.means import welch, welch_interval
from gateway.stats.moments import Moments, Rate
from gateway.stats.multiple import e_benjamini_hochberg
from gateway.stats.novelty import early_against_late, slope
from gateway.stats.proportions import fisher_exact, newcombe_interval, two_proportion_z
from gateway.stats.sequential import confidence_sequence, log_evidence, tuning
from gateway.stats.significance import two_sided_normal
from gateway.stats.srm import chi_squared_srm, sequential_srm
from gateway.stats.tables import SMALL, chi_squared, expected_counts
from gateway.storage.analyses import Labelled


def gather(
    study: Study,
    cells: Cells,
    clusters: ClusterSums,
    running: Mapping[tuple[str, str], Running],
    labels: Sequence[Labelled],
    *,
    now: int,
) -> Evidence:
    """Everything that can be read of the sums and labels; ``running`` is by (arm, metric)."""
    comparisons = _comparisons(study, cells, clusters, running, now=now)
    audits = audits_of(study, cells, comparisons, labels)
    doubtful = {metric for metric, one in audits.items() if one.state == "distrusted"}
    splits = _drawn(study, cells, clusters)
    guarded: dict[tuple[str, str], GuardrailState] = {
        (one.metric, arm): "inconclusive"
        if one.metric in doubtful
        else _guardrail(study, comparisons[one.metric][arm], one.margin)
        for one in study.plan.guardrails
        for arm in study.rivals
    }
    primary = study.plan.primary
    by_day = {arm: cells.by_day(primary, arm) for arm in study.rivals if not study.sticky}
    from_first = {
        arm: [(place.day - days[0][0].day + 1, *cells.as_sums(primary, [pair])[0]) for place, pair in days]
        for arm, days in by_day.items()
        if days
    }
    return Evidence(
        study=study,
        now=now,
        arms={arm: _arm(study, cells, clusters, arm) for arm in sorted({*study.arms, *cells.arms()})},
        comparisons=comparisons,
        guardrails=guarded,
        discoveries=tuple(one for one in _discoveries(study, comparisons) if one[0] not in doubtful),
        harms=_harms(study, cells, comparisons),
        splits=splits,
        split_log_e=sum(one.log_e for one in splits) if splits else None,
        reached=_reached(study, cells),
        missing_log_e=_missing(study, cells, clusters),
        hours_log_e=_hours(study, cells),
        hours_p=_hours_at_the_end(study, cells),
        pooled={arm: effect for arm in study.rivals if (effect := _pooled(study, cells, arm)) is not None},
        strata=() if study.sticky else tuple(one for arm in study.rivals for one in strata_of(study, cells, arm)),
        days={arm: _days(study, cells, days) for arm, days in by_day.items()},
        counts=cells.by_day_and_arm(SERVED),
        fading={arm: early.z for arm, days in from_first.items() if (early := early_against_late(days)) is not None},
        slopes={arm: line[1].p for arm, days in from_first.items() if study.ended and (line := slope(days))},
        design_effects=_design_effects(study, cells, clusters),
        callers={arm: one for arm in study.arms if (one := spread_of_callers(cells.counts(arm))) is not None},
        fixed=_fixed_tests(study, cells, comparisons) if study.ended else {},
        audits=audits,
        labelled=labelled_calls(study, labels),
        judges=tuple(_judges(study, cells)),
    )


# -- arms and their metrics ------------------------------------------------------------------------------------


def _arm(study: Study, cells: Cells, clusters: ClusterSums, arm: str) -> ArmReading:
    served, known = cells.total(SERVED, arm), cells.total(KNOWN, arm)
    callers = sum(clusters[key].callers for key in clusters if key[1:] == (arm, SERVED)) if study.sticky else None
    counted = bool(cells.total(KNOWN, CONTROL).n or known.n)
    return ArmReading(
        arm=arm,
        version=study.version(arm),
        calls=served.n,
        served=cells.count(SERVED, arm),
        mature=known.n if counted else cells.total(study.plan.primary, arm).n,
        open=_open(cells, arm) if counted else None,
        known=cells.count(KNOWN, arm) if counted else None,
        callers=callers,
        readings={metric: one for metric in cells.metrics() if (one := _reading(cells, metric, arm)).n},
        distributions={
            metric: {value: cells.count(f"{metric}={value}", arm) for value in cells.values(metric)}
            for metric in cells.distributions()
        },
    )


def _open(cells: Cells, arm: str) -> int:
    """The calls that have not ended, and those answered whose outcome window has not closed."""
    ended, answered = cells.total("answered", arm).n, cells.count("answered", arm)
    closed = ended - answered + cells.total(KNOWN, arm).n if ended else cells.total(KNOWN, arm).n
    return max(0, cells.total(SERVED, arm).n - closed)


def _reading(cells: Cells, metric: str, arm: str) -> Reading:
    sums, logs = cells.total(metric, arm), cells.total(f"{metric}.log", arm)
    return Reading(
        n=sums.n,
        mean=sums.mean if sums.n else None,
        sd=math.sqrt(sums.variance) if sums.n > 1 else None,
        median=median_length(cells.counts(arm)) if metric == "duration_seconds" else None,
        geometric_mean=geometric_mean(logs) if logs.n else None,
    )


def _comparisons(
    study: Study,
    cells: Cells,
    clusters: ClusterSums,
    running: Mapping[tuple[str, str], Running],
    *,
    now: int,
) -> dict[str, dict[str, Comparison]]:
    plan = study.plan
    planned = [plan.primary, *(one.metric for one in plan.guardrails), *plan.secondary]
    found: dict[str, dict[str, Comparison]] = {}
    for metric in dict.fromkeys([*planned, *cells.metrics()]):
        arms = [
            compare(study, cells, clusters, metric, arm, running=running.get((arm, metric), Running()))
            for arm in study.rivals
        ]
        if metric == plan.primary:
            arms = together(study, arms)
        found[metric] = {one.arm: noted(one, alpha=plan.alpha, now=now) for one in arms}
    return found


def _guardrail(study: Study, comparison: Comparison, margin: float) -> GuardrailState:
    if comparison.effect is None or not comparison.gate.open or not margin > 0:
        return "inconclusive"
    r2 = tuning(study.plan.size, alpha=2 * study.plan.alpha)
    return guardrail(comparison.effect, margin=margin, better=comparison.better, r2=r2, alpha=study.plan.alpha)


def _discoveries(study: Study, comparisons: Mapping[str, Mapping[str, Comparison]]) -> tuple[tuple[str, str], ...]:
    asked = [
        one for metric, arms in comparisons.items() if study.plan.role(metric) == "secondary" for one in arms.values()
    ]
    found = e_benjamini_hochberg([one.log_e for one in asked])
    return tuple((one.metric, one.arm) for one, real in zip(asked, found, strict=True) if real)


# -- harm ------------------------------------------------------------------------------------------------------


def _harms(
    study: Study, cells: Cells, comparisons: Mapping[str, Mapping[str, Comparison]]
) -> tuple[tuple[str, str], ...]:
    metrics = [study.plan.primary, *(one.metric for one in study.plan.guardrails)]
    return tuple(
        (arm, metric)
        for metric in dict.fromkeys(metrics)
        for arm in study.rivals
        if _is_harmed(study, cells, comparisons[metric][arm])
    )


def _is_harmed(study: Study, cells: Cells, comparison: Comparison) -> bool:
    if comparison.kind == "mean":
        # The exact test wants a coin; here the sequence itself speaks, at the alarm's level.
        return comparison.log_e >= HARM_ALARM and comparison.gain < 0
    coins: dict[int, list[tuple[Rate, Rate, float]]] = {}
    for epoch in study.epochs:
        a, b = (_tossed(study, cells, comparison.metric, arm, epoch) for arm in (CONTROL, comparison.arm))
        coins.setdefault(epoch.memory if study.sticky else 0, []).append((a, b, study.share(epoch, comparison.arm)))
    # Callers who are met again under another memory are no new coins: each memory is a test, and all share the alpha.
    threshold = HARM_ALARM + math.log(len(coins) or 1)
    if not study.sticky:
        # What late or lost outcomes of one arm would explain is no harm; the check of what is missing tells of it.
        threshold += uneven_evidence(coins.get(0, ()))
    return any(is_harmful(one, better=comparison.better, threshold=threshold) for one in coins.values())


def _tossed(study: Study, cells: Cells, metric: str, arm: str, epoch: Epoch) -> Rate:
    """Successes and failures, each a toss of the coin that drew the arms: of calls, or the first of each caller."""
    if not study.sticky:
        return cells.total(metric, arm, epoch=epoch.number).as_rate()
    had = cells.count(callers_had(metric), arm, epoch=epoch.number)
    return Rate(n=had + cells.count(callers_lacked(metric), arm, epoch=epoch.number), successes=had)


# -- how the calls fell ----------------------------------------------------------------------------------------


def _splits(study: Study, count: Callable[[str, Epoch], int]) -> tuple[Split, ...]:
    """How units fell to the arms of each epoch; ``count`` tells how many of them an arm has."""
    splits = []
    for epoch in study.epochs:
        arms = [arm for arm in sorted(epoch.shares) if epoch.shares[arm] > 0]
        units = {arm: count(arm, epoch) for arm in arms}
        if len(arms) > 1 and any(units.values()):
            counts, shares = [units[arm] for arm in arms], [epoch.shares[arm] for arm in arms]
            at_the_end = chi_squared_srm(counts, shares) if study.ended else None
            splits.append(
                Split(
                    epoch=epoch.number,
                    counts=units,
                    shares={arm: epoch.shares[arm] for arm in arms},
                    log_e=sequential_srm([(counts, shares)]),
                    p=at_the_end.p if at_the_end else None,
                )
            )
    return tuple(splits)


def _drawn(study: Study, cells: Cells, clusters: ClusterSums) -> tuple[Split, ...]:
    """Of what was drawn: calls, or callers where these stick."""
    if study.sticky:
        return _splits(study, lambda arm, epoch: clusters.get((epoch.number, arm, SERVED), Clusters()).callers)
    return _splits(study, lambda arm, epoch: cells.total(SERVED, arm, epoch=epoch.number).n)


def _reached(study: Study, cells: Cells) -> tuple[Split, ...]:
    """Of the placed calls that a human answered, where Twilio listened; not where callers stick, who have several."""
    if study.sticky:
        return ()
    return _splits(study, lambda arm, epoch: cells.count(HUMAN, arm, epoch=epoch.number))


def _missing(study: Study, cells: Cells, clusters: ClusterSums) -> float | None:
    """The evidence that outcomes are missing more often in one arm than in another."""
    if study.sticky:
        r2 = tuning(study.plan.size, alpha=study.plan.alpha)
        effects = [cluster_difference(cluster_pairs(clusters, study, KNOWN, arm)) for arm in study.rivals]
        return max((log_evidence(one, r2=r2) for one in effects if one is not None), default=None)
    told = [
        epoch for epoch in study.epochs if any(cells.total(KNOWN, arm, epoch=epoch.number).n for arm in study.arms)
    ]
    if not told:
        return None
    return sequential_srm(
        (
            [cells.total(KNOWN, arm, epoch=epoch.number).as_rate().failures for arm in sorted(epoch.shares)],
            [epoch.shares[arm] for arm in sorted(epoch.shares)],
        )
        for epoch in told
    )


def _hours(study: Study, cells: Cells) -> float | None:
    hours = cells.strata().get(HOUR, ())
    if study.sticky or not hours:
        return None
    return sequential_srm(
        (
            [
                cells.total(SERVED, arm, stratum=f"{HOUR}={hour}", epoch=epoch.number).n
                for arm in sorted(epoch.shares)
            ],
            [epoch.shares[arm] for arm in sorted(epoch.shares)],
        )
        for epoch in study.epochs
        for hour in hours
    )


def _hours_at_the_end(study: Study, cells: Cells) -> float | None:
    hours = cells.strata().get(HOUR, ())
    if study.sticky or not study.ended or len(study.epochs) > 1 or not hours:
        return None
    table = [[cells.total(SERVED, arm, stratum=f"{HOUR}={hour}").n for hour in hours] for arm in study.arms]
    if not any(map(any, table)):
        return None
    test = chi_squared(table)
    return test.p if test else None


def _judges(study: Study, cells: Cells) -> Iterator[Judges]:
    for epoch in study.epochs:
        told = {arm: cells.judges(arm, epoch=epoch.number) for arm in study.arms}
        for metric in sorted({metric for metrics in told.values() for metric in metrics}):
            counts = {arm: metrics[metric] for arm, metrics in told.items() if metric in metrics}
            yield Judges(epoch=epoch.number, metric=metric, counts=counts)


# -- the primary metric, looked at from other sides --------------------------------------------------------------


def _pooled(study: Study, cells: Cells, arm: str) -> Effect | None:
    if study.sticky or len(study.epochs) < 2:
        return None
    metric = study.plan.primary
    return difference(cells.as_sums(metric, [(cells.total(metric, CONTROL), cells.total(metric, arm))]))


def _days(study: Study, cells: Cells, by_day: list[tuple[Place, Pair]]) -> tuple[Day, ...]:
    metric, alpha = study.plan.primary, study.plan.alpha
    r2 = tuning(study.plan.size, alpha=alpha)
    so_far: dict[int, tuple[Moments, Moments]] = {}
    days = []
    for day in dict.fromkeys(place.day for place, _ in by_day):
        today = [(place.epoch, pair) for place, pair in by_day if place.day == day]
        for epoch, (a, b) in today:
            before = so_far.get(epoch, (Moments(), Moments()))
            so_far[epoch] = (before[0] + a, before[1] + b)
        effect = difference(cells.as_sums(metric, [pair for _, pair in today]))
        whole = difference(cells.as_sums(metric, so_far.values()))
        days.append(
            Day(
                day=day,
                n=sum(a.n + b.n for _, (a, b) in today),
                effect=effect,
                interval=wald_interval(effect, alpha=alpha) if effect else None,
                so_far=whole,
                so_far_interval=confidence_sequence(whole, r2=r2, alpha=alpha) if whole else None,
            )
        )
    return tuple(days)


def _design_effects(study: Study, cells: Cells, clusters: ClusterSums) -> dict[str, float]:
    if not study.sticky:
        return {}
    metric, found = study.plan.primary, {}
    for arm in study.arms:
        parts = [sums for (_, name, what), sums in clusters.items() if (name, what) == (arm, metric)]
        if parts:
            whole = parts[0]
            for one in parts[1:]:
                whole = whole + one
            effect = design_effect(whole, cells.as_sum(metric, cells.total(metric, arm)))
            if not math.isnan(effect):
                found[arm] = effect
    return found


# -- one look, at the end ----------------------------------------------------------------------------------------


def _fixed_tests(
    study: Study, cells: Cells, comparisons: Mapping[str, Mapping[str, Comparison]]
) -> dict[tuple[str, str], FixedTest]:
    found = {
        (metric, arm): test
        for metric, arms in comparisons.items()
        for arm, one in arms.items()
        if (test := _fixed_test(study, cells, one)) is not None
    }
    for metric in cells.distributions():
        table = [[cells.count(f"{metric}={value}", arm) for value in cells.values(metric)] for arm in study.arms]
        shape = chi_squared(table) if any(map(any, table)) else None
        if shape is not None and not study.sticky:
            found[metric, ""] = FixedTest(test="chi-squared", statistic=shape.statistic, p=shape.p)
    return found


def _fixed_test(study: Study, cells: Cells, one: Comparison) -> FixedTest | None:
    if study.sticky or len(study.epochs) > 1:
        if one.effect is None:
            return None
        whole = two_sided_normal(one.effect.z)
        name = "z by caller" if study.sticky else "z, stratified by epoch"
        return FixedTest(test=name, statistic=whole.statistic, p=whole.p, interval=wald_interval(one.effect))
    a, b = (cells.as_sum(one.metric, cells.total(one.metric, arm)) for arm in (CONTROL, one.arm))
    if isinstance(a, Rate) and isinstance(b, Rate):
        z = two_proportion_z(a, b)
        if z is None:
            return None
        if expected_counts([[a.successes, a.failures], [b.successes, b.failures]]).min() < SMALL:
            exact = fisher_exact(a, b)
            return FixedTest(test="Fisher", statistic=math.nan, p=exact, interval=newcombe_interval(a, b))
        return FixedTest(test="z", statistic=z.statistic, p=z.p, interval=newcombe_interval(a, b))
    t = welch(a, b)
    if t is None:
        return None
    return FixedTest(test="Welch", statistic=t.statistic, p=t.p, interval=welch_interval(a, b))
