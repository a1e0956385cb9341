"""The health checks: what makes a comparison untrue, too early or unclear, as one table.

A rule reads the evidence and tells what it found; it finds nothing where its numbers were not counted. Numbers and
thresholds are those of docs/reference/results.md, which tells of every rule.
"""

from collections.abc import Iterator, Sequence

from gateway.results import judgerules
from gateway.results.comparing import Comparison
from gateway.results.evidence import Evidence, Split
from gateway.results.finding import Finding, Found, Level, Rule, winners
from gateway.results.study import CONTROL, told_by_agent
from gateway.results.wording import amount, between, listed, noun, percent, said, signed
from gateway.stats.effect import Effect, Interval
from gateway.stats.novelty import FROM_DAY, THRESHOLD
from gateway.stats.srm import ALARM
from gateway.stats.strata import simpson

MISSING_SHARE = 0.10
PENDING_SHARE, PENDING_GAP = 0.20, 0.05
PENDING_CALLS = 100  # in each arm, before their pending shares are compared
LARGE_LIFT = 0.50
IDENTICAL_CALLS = 500
MOVED_P = 0.20
DIFFERENT, REVERSED = 0.01, 0.05
SLOPE_P = 0.05
REPEAT_SHARE = 0.05
DESIGN_EFFECT = 1.2
ONE_CALLER, TOP_CALLERS = 0.05, 0.20
CALLERS_FROM = 100  # calls of an arm, before its callers are told apart
HOURS_P = 0.001
WEEKS_AHEAD_DAYS = 28
TRAFFIC_DAYS = 3  # of calls, before the traffic is projected
_WATCHED = ("duration_seconds", "transfer_requested", "transferred", "hung_up_early")


# -- can the numbers be trusted at all ---------------------------------------------------------------------------


def _srm(e: Evidence) -> Found:
    if e.split_log_e is None or e.split_log_e < ALARM:
        return
    yield f"the split differs from the plan: {_worst(e.splits, 'callers' if e.study.sticky else 'calls')}"


def _reached(e: Evidence) -> Found:
    if sum(one.log_e for one in e.reached) >= ALARM:
        fell = _worst(e.reached, "calls that a human answered")
        sound = "the draw may be sound all the same, but compare hours, lists and detection before the outcomes"
        yield f"people were reached in other shares than calls were drawn: {fell}; {sound}"


def _worst(splits: Sequence[Split], units: str) -> str:
    """The epoch that differs most, in numbers."""
    worst = max(splits, key=lambda one: one.log_e)
    total = sum(worst.counts.values())
    told = [
        f"{arm.upper()} has {count:,} ({percent(count / total)} for {percent(worst.shares[arm])})"
        for arm, count in worst.counts.items()
    ]
    return f"in epoch {worst.epoch}, of {total:,} {units} {listed(told)}"


def _collecting(e: Evidence) -> Found:
    for one in e.primary.values():
        if not one.gate.open:
            what = "successes and failures" if one.kind == "rate" else "callers" if e.study.sticky else "calls"
            yield f"{one.arm.upper()} is collecting: {one.gate.have} of {one.gate.need} {what} in the poorer arm"


def _harm(e: Evidence) -> Found:
    yield from filter(None, (harm_text(e, arm, metric) for arm, metric in e.harms))


def harm_text(e: Evidence, arm: str, metric: str) -> str | None:
    """The alarm of an arm in a metric, in a sentence; None while one side has no calls."""
    one = e.comparisons[metric][arm]
    a, b = (e.arms[name].readings.get(metric) for name in (CONTROL, arm))
    if a is None or b is None or a.mean is None or b.mean is None:
        return None
    shown = percent if one.kind == "rate" else "{:.3g}".format
    means = f"{shown(b.mean)} against {shown(a.mean)}"
    return f"{arm.upper()} does harm: {noun(metric)} {means} after {a.n + b.n:,} calls; pausing is advised"


def _missing(e: Evidence) -> Found:
    shares = {name: arm.coverage for name, arm in e.arms.items()}
    told = listed(
        [f"{name.upper()} {percent(1 - share)}" for name, share in shares.items() if share is not None] or ["–"]
    )
    if e.missing_log_e is not None and e.missing_log_e >= ALARM:
        level: Level = "BLOCK" if told_by_agent(e.study.plan.primary) else "WARN"
        yield level, f"outcomes are missing more often in one arm than in another: {told} of the mature calls"
    elif any(share is not None and 1 - share > MISSING_SHARE for share in shares.values()):
        yield "WARN", f"many mature calls have no outcome: {told}"


def _changed(e: Evidence) -> Found:
    if e.study.changed_arms:
        names = listed([arm.upper() for arm in e.study.changed_arms])
        yield f"what {names} runs was changed while calls came in: a new epoch began and the verdict is exploratory"
    if e.study.judge_changed:
        yield "the judge was changed while calls came in: a new epoch began and the verdict is exploratory"
    elif e.study.amended:
        yield "the plan was edited after the first call: the verdict is exploratory"


def _reweighted(e: Evidence) -> Found:
    if len({tuple(sorted(epoch.shares.items())) for epoch in e.study.epochs}) > 1:
        yield "weights were changed: numbers are stratified by epoch; pooled ones are not shown, they would mislead"


def _simpson(e: Evidence) -> Found:
    for arm, one in e.primary.items():
        if one.effect is None or not one.gate.open:
            continue
        pooled = e.pooled.get(arm)
        if pooled is not None and simpson(pooled, one.effect):
            yield _misled(arm, signed(pooled.value, one.kind), signed(one.effect.value, one.kind), "epoch")
        for name, held in misleading(e, one):
            yield _misled(arm, signed(one.effect.value, one.kind), signed(held.value, one.kind), name)


def misleading(e: Evidence, one: Comparison) -> Iterator[tuple[str, Effect]]:
    """The planned strata that an arm's effect must not be pooled over, each with the effect within it."""
    for stratum in e.strata:
        held = stratum.together
        if not stratum.planned or stratum.arm != one.arm or held is None or one.effect is None:
            continue
        if simpson(one.effect, held):
            yield stratum.name, held


def _misled(arm: str, pooled: str, stratified: str, by: str) -> str:
    return f"Simpson: pooled {arm.upper()} stands at {pooled}, stratified by {by} at {stratified}; read the second"


def _heterogeneous(e: Evidence) -> Found:
    for one in e.strata:
        if not one.planned:
            continue
        if one.reversal_p is not None and one.reversal_p < REVERSED:
            main = e.primary[one.arm].effect
            against = [
                part.value
                for part in one.segments
                if part.effect is not None and main is not None and part.effect.value * main.value < 0
            ]
            yield f"the effect of {one.arm.upper()} reverses in {one.name} {listed(against or ['some segment'])}"
        elif one.p is not None and one.p < DIFFERENT:
            yield f"the effect of {one.arm.upper()} depends on {one.name} (p {one.p:.2g})"


def _exploratory(e: Evidence) -> Found:
    for one in e.strata:
        if not one.planned and one.discoveries:
            where = f"{one.name} {listed(list(one.discoveries))}"
            yield f"{one.arm.upper()} differs in {where}, which the plan does not name: exploratory, no verdict"


def _novelty(e: Evidence) -> Found:
    for arm in e.study.rivals:
        z, p = e.fading.get(arm), e.slopes.get(arm)
        early = z is not None and e.age_days >= FROM_DAY and abs(z) > THRESHOLD
        if early or (p is not None and p < SLOPE_P):
            yield f"the effect of {arm.upper()} is changing: the first week differs from later; read it by day"


# -- is the verdict ripe -----------------------------------------------------------------------------------------


def _early(e: Evidence) -> Found:
    if winners(e) and e.age_days < e.study.plan.min_days:
        days = f"{e.age_days:.0f} of {e.study.plan.min_days} days"
        yield f"early: a winner after {days}; not every weekday was seen twice"


def _inflated(e: Evidence) -> Found:
    for one in e.primary.values():
        if one.certain and one.running.crossed_n is not None and one.running.crossed_n < e.study.plan.size:
            yield f"an estimate as early as {one.arm.upper()}'s is too large on average: read the interval first"


def _too_good(e: Evidence) -> Found:
    for one in e.primary.values():
        if one.gate.open and one.lift is not None and abs(one.lift) > LARGE_LIFT:
            change = f"{one.arm.upper()} changes {noun(one.metric)} by {one.lift * 100:+.0f} %"
            yield f"too good to be true: {change}; check the logging"
    for metric, arms in e.comparisons.items():
        if e.study.plan.role(metric) == "monitor":
            continue
        for arm in arms:
            a, b = (e.arms[name].readings.get(metric) for name in (CONTROL, arm))
            if a is None or b is None or a.n + b.n <= IDENTICAL_CALLS:
                continue
            if a.sd == b.sd == 0 and a.mean == b.mean:
                yield f"{noun(metric)} is identical in A and {arm.upper()} for {a.n + b.n:,} calls; check the logging"


def _gaming(e: Evidence) -> Found:
    margins = {one.metric: one.margin for one in e.study.plan.guardrails}
    for winner in winners(e):
        bad = []
        for metric, arms in e.comparisons.items():
            one = arms[winner.arm]
            if metric == winner.metric or one.effect is None or not one.gate.open:
                continue
            half_gone = metric in margins and one.gain < -margins[metric] / 2
            if half_gone or (metric in _WATCHED and one.gain < 0 and one.p < MOVED_P):
                bad.append(noun(metric))
        if bad:
            yield f"{winner.arm.upper()} may game one metric: it is better, but {listed(bad)} moved the bad way"


def _guardrails(e: Evidence) -> Found:
    for (metric, arm), state in e.guardrails.items():
        one = e.comparisons[metric][arm]
        if state in ("fail", "harm"):
            yield "WARN", f"guardrail {state.upper()}: {said(one)}"
        elif state == "inconclusive":
            yield (
                "INFO",
                f"guardrail INCONCLUSIVE: {noun(metric)} of {arm.upper()} is not yet known to stay in its margin",
            )


def _maturing(e: Evidence) -> Found:
    if e.study.status == "maturing":
        yield "no call is assigned any more; outcomes count until the last window closes, then the results are final"


def _pending(e: Evidence) -> Found:
    shares = {name: arm.pending for name, arm in e.arms.items() if arm.pending is not None}
    if not shares or e.study.status == "stopped":
        return
    many = any(share > PENDING_SHARE for share in shares.values())
    compared = [share for name, share in shares.items() if e.arms[name].calls >= PENDING_CALLS]
    apart = len(compared) > 1 and max(compared) - min(compared) > PENDING_GAP
    if many or apart:
        told = listed([f"{name.upper()} {percent(share)}" for name, share in shares.items()])
        yield f"recent calls are excluded until their outcome window closes: {told}"


def _repeats(e: Evidence) -> Found:
    repeating = max((one.repeating for one in e.callers.values()), default=0.0)
    if not e.study.sticky and repeating > REPEAT_SHARE:
        yield (
            f"up to {percent(repeating)} of an arm's calls come from callers with two or more, who may have met "
            'another version; unit = "caller" would keep them apart'
        )
    for arm, factor in e.design_effects.items():
        if factor > DESIGN_EFFECT:
            yield f"calls of one caller of {arm.upper()} are alike: the variance is {factor:.1f} times that of calls"


def _one_caller(e: Evidence) -> Found:
    for arm, one in e.callers.items():
        if one.calls < CALLERS_FROM:
            continue
        if one.largest > ONE_CALLER:
            yield f"one caller makes {percent(one.largest)} of the calls of {arm.upper()}: a test number, or a robot?"
        elif one.top > TOP_CALLERS:
            yield f"one caller in a hundred makes {percent(one.top)} of the calls of {arm.upper()}: robots?"


def _hours(e: Evidence) -> Found:
    live = e.hours_log_e is not None and e.hours_log_e >= ALARM
    if live or (e.hours_p is not None and e.hours_p < HOURS_P):
        yield "the arms served different hours of the day"


# -- what the end is ---------------------------------------------------------------------------------------------


def is_equivalent(e: Evidence, one: Comparison) -> bool:
    """Whether the whole interval lies within the smallest effect that matters."""
    return one.interval is not None and one.interval.within(e.study.plan.min_effect)


def is_spent(e: Evidence, one: Comparison) -> bool:
    """Whether all planned units are in, and the interval still holds 0."""
    most = e.study.plan.most
    return (
        most is not None
        and one.effect is not None
        and one.interval is not None
        and one.effect.n >= most
        and not one.interval.excludes(0.0)
    )


def _equivalent(e: Evidence) -> Found:
    for one in e.primary.values():
        if is_equivalent(e, one) and one.interval is not None:
            bounds = between(one.interval, one.kind, one.level)
            limit = amount(e.study.plan.min_effect, one.kind)
            yield f"{one.arm.upper()} makes no difference that matters: {bounds}, within ±{limit}"


def _inconclusive(e: Evidence) -> Found:
    for one in e.primary.values():
        if is_spent(e, one) and not is_equivalent(e, one) and one.interval is not None:
            largest = max(abs(one.interval.low), abs(one.interval.high))
            yield (
                f"{one.arm.upper()} is inconclusive after all {e.study.plan.most:,} planned units: the effect may "
                f"still be up to {amount(largest, one.kind)}; going on is allowed, as an amendment"
            )


def _drifted(e: Evidence) -> Found:
    for one in e.primary.values():
        if Interval(low=one.running.low, high=one.running.high).empty:
            told = f"the effect of {one.arm.upper()} drifted: no value fits all intervals so far"
            yield told if e.study.sticky else f"{told}; read it by day"


def _traffic(e: Evidence) -> Found:
    most, days = e.study.plan.most, e.age_days
    if e.study.ended or most is None or days < TRAFFIC_DAYS:
        return
    rivals = [e.arms[arm].calls for arm in e.study.rivals if e.arms[arm].calls]
    if not rivals:
        return
    projected = (e.control.calls + min(rivals)) / days * WEEKS_AHEAD_DAYS
    if projected < 0.5 * most:
        effect = e.study.plan.min_effect * (most / projected) ** 0.5 if projected else float("inf")
        kind = next(iter(e.primary.values())).kind
        yield f"too few calls: in four weeks only effects of about {amount(effect, kind)} can be seen; plan for those"


RULES: tuple[Rule, ...] = (
    Rule(number=1, check="sample_ratio", level="BLOCK", find=_srm),
    Rule(number=2, check="collecting", level="INFO", find=_collecting),
    Rule(number=3, check="harm", level="ALARM", find=_harm),
    Rule(number=4, check="missing_outcomes", level="BLOCK", find=_missing),
    Rule(number=5, check="changed_while_running", level="WARN", find=_changed),
    Rule(number=6, check="weights_changed", level="INFO", find=_reweighted),
    Rule(number=7, check="simpson", level="WARN", find=_simpson),
    Rule(number=8, check="depends_on_segment", level="WARN", find=_heterogeneous),
    Rule(number=9, check="exploratory_segment", level="INFO", find=_exploratory),
    Rule(number=10, check="changing_effect", level="WARN", find=_novelty),
    Rule(number=11, check="early_winner", level="WARN", find=_early),
    Rule(number=12, check="early_estimate", level="INFO", find=_inflated),
    Rule(number=13, check="too_good", level="WARN", find=_too_good),
    Rule(number=14, check="gaming", level="WARN", find=_gaming),
    Rule(number=15, check="guardrails", level="WARN", find=_guardrails),
    Rule(number=16, check="judge_family", level="WARN", find=judgerules.judge_family),
    Rule(number=17, check="judge_unaudited", level="INFO", find=judgerules.unaudited),
    Rule(number=18, check="judge_disagrees", level="BLOCK", find=judgerules.judge_disagrees),
    Rule(number=19, check="audit_labels", level="INFO", find=judgerules.labels),
    Rule(number=20, check="maturing", level="INFO", find=_maturing),
    Rule(number=21, check="pending", level="WARN", find=_pending),
    Rule(number=22, check="repeat_callers", level="INFO", find=_repeats),
    Rule(number=23, check="one_caller", level="WARN", find=_one_caller),
    Rule(number=24, check="hours", level="WARN", find=_hours),
    Rule(number=25, check="equivalent", level="INFO", find=_equivalent),
    Rule(number=26, check="inconclusive", level="INFO", find=_inconclusive),
    Rule(number=27, check="drifted", level="WARN", find=_drifted),
    Rule(number=28, check="traffic", level="WARN", find=_traffic),
    Rule(number=29, check="humans_reached", level="WARN", find=_reached),
)


BY_CALL = frozenset({7, 8, 9, 10, 24, 29})
"""The rules that cannot be asked where callers stick: their days, segments and epochs pooled hold single calls."""


def not_shown(evidence: Evidence) -> str | None:
    """What the results leave out, and why; None where they have all."""
    if not evidence.study.sticky:
        return None
    numbers = listed([str(number) for number in sorted(BY_CALL)])
    return (
        "Effects by day and by segment are not shown: callers were drawn, and one caller's calls lie on many days. "
        f"Checks {numbers} need them, or single calls, and are not made."
    )


def examine(evidence: Evidence) -> list[Finding]:
    """What all rules find, in their order."""
    return [finding for rule in RULES for finding in rule.findings(evidence)]
