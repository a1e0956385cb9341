"""The health checks that ask whether a judge can be trusted: a part of the table in rules.py."""

from collections.abc import Mapping

from gateway.judges.labels import SUGGESTED
from gateway.results.auditing import Audit
from gateway.results.evidence import Evidence
from gateway.results.finding import Found, Level, winners
from gateway.results.kinship import family_of, versions_named
from gateway.results.study import Better
from gateway.results.wording import listed, noun, signed
from gateway.stats.effect import Interval, wald_interval

APART_CALLS, APART_SHARE = 50, 0.10  # judged calls of each arm, and what a judge of one of them told alone


def judge_family(e: Evidence) -> Found:
    """Whether the judge may favour whom it judges: its own kin, a version it is told of, an arm that is its alone."""
    for epoch in e.study.epochs[-1:]:
        judge = epoch.judge
        if judge is None:
            continue
        for arm, model in epoch.models.items():
            if judge.model is not None and family_of(model) == family_of(judge.model):
                kin = f"the judge {judge.model} is of the family of {model}, which {arm.upper()} runs"
                yield f"{kin}: models favour their kin"
        for name, question in judge.questions.items():
            named = versions_named(question, epoch.served)
            if named:
                yield f"the question on {name} names {listed(named)}: a judge should not know whom it judges"
    for one in e.judges:
        if _judged_apart(one.counts):
            arms = listed([arm.upper() for arm in one.counts])
            yield f"in epoch {one.epoch} {noun(one.metric)} was told of {arms} by different judges"


def _judged_apart(counts: Mapping[str, Mapping[str, int]]) -> bool:
    """Whether a judge told much of one arm and nothing of another."""
    told = [judges for judges in counts.values() if sum(judges.values()) >= APART_CALLS]
    everybody = {judge for judges in told for judge in judges}
    return len(told) > 1 and any(
        any(judges.get(judge, 0) > APART_SHARE * sum(judges.values()) for judges in told)
        and any(judge not in judges for judges in told)
        for judge in everybody
    )


def unaudited(e: Evidence) -> Found:
    """The judged metrics that people have not checked."""
    for one in e.audits.values():
        if one.state == "unaudited":
            yield one.lacking


def judge_disagrees(e: Evidence) -> Found:
    """The judged metrics on which people find something else, and winners that their labels do not confirm."""
    for one in e.audits.values():
        role = e.study.plan.role(one.metric)
        if one.state == "distrusted":
            why = [f"agree too little ({one.measure} {one.agreement:.2f})"] if one.disagrees else []
            apart = [(arm.upper(), f"{one.leans[arm]:+.1f}".replace("-", "−")) for arm in one.leaning]
            why += [f"differ in {name} as they do not in A (z {z})" for name, z in apart]
            # A metric that takes no part in the verdict is blocked alone.
            level: Level = "BLOCK" if role in ("primary", "guardrail") else "WARN"
            yield level, f"on {noun(one.metric)} people and judge {listed(why)}{_corrected(e, one)}"
        elif one.metric == e.study.plan.primary:
            for winner in winners(e):
                corrected = one.corrected.get(winner.arm)
                if corrected is not None and not _confirms(wald_interval(corrected), winner.better):
                    yield "WARN", f"{winner.arm.upper()} is better by the judge's word alone{_corrected(e, one)}"


def _confirms(interval: Interval, better: Better) -> bool:
    return interval.low > 0 if better == "higher" else interval.high < 0


def _corrected(e: Evidence, audit: Audit) -> str:
    told = []
    for arm, effect in audit.corrected.items():
        kind, interval = e.comparisons[audit.metric][arm].kind, wald_interval(effect)
        bounds = f"{signed(interval.low, kind)} to {signed(interval.high, kind)}"
        value = signed(effect.value, kind) + (" points" if kind == "rate" else "")
        told.append(f"{arm.upper()} {value} ({bounds}, for one look)")
    return f"; corrected by their labels: {listed(told)}" if told else ""


def labels(e: Evidence) -> Found:
    """How far the labelling has come."""
    asked = {arm: e.labelled[arm] for arm in e.study.arms if e.arms[arm].mature}
    if e.audits and asked and min(asked.values()) < SUGGESTED:
        told = listed([f"{count} of {arm.upper()}" for arm, count in asked.items()])
        yield f"people have labelled {told}; {SUGGESTED} of each arm are suggested, drawn at random and blinded"
