"""An evaluation in the shape of the HTTP API. Numbers that cannot be computed are null."""

import math
from collections.abc import Mapping
from datetime import date
from typing import Any

from gateway.results.auditing import Audit
from gateway.results.comparing import Comparison
from gateway.results.evaluating import Evaluation
from gateway.results.evidence import ArmReading, Day, Evidence, FixedTest, Split, Stratum
from gateway.results.rules import BY_CALL, RULES, not_shown
from gateway.results.study import CONTROL
from gateway.results.wording import noun
from gateway.stats.effect import Effect, Interval, wald_interval
from gateway.stats.srm import ALARM

_EPOCH_DAY = date(1970, 1, 1).toordinal()


def as_json(evaluation: Evaluation) -> dict[str, Any]:
    """The evaluation as an object that JSON can hold."""
    evidence, verdict = evaluation.evidence, evaluation.verdict
    shown = {
        "at": evidence.now,
        "arms": [_arm(evidence, arm) for arm in evidence.arms.values()],
        "metrics": [
            *(_metric(evidence, metric) for metric in evidence.comparisons),
            *(_distribution(evidence, metric) for metric in _distributions(evidence)),
        ],
        "health": _health(evaluation),
        "split": {
            "epochs": [_split(one) for one in evidence.splits],
            "e_value": _power(evidence.split_log_e),
            "alarm_at": math.exp(ALARM),
        },
        "strata": [_stratum(one) for one in evidence.strata],
        "days": {arm: [_day(one) for one in days] for arm, days in evidence.days.items()},
        "calls_by_day": [{"day": _date(day), "arms": dict(arms)} for day, arms in evidence.counts.items()],
        "not_shown": not_shown(evidence),
        "plan": _plan(evidence),
        "phase": {"maturing": "maturing", "stopped": "final"}.get(evidence.study.status, "running"),
        "verdict": {
            "state": verdict.state,
            "text": verdict.text,
            "arm": verdict.arm,
            "exploratory": verdict.exploratory,
            "caveat": evaluation.caveat,
            "arms": {arm: {"state": one.state, "text": one.text} for arm, one in evaluation.arms.items()},
        },
    }
    finite: dict[str, Any] = _finite(shown)
    return finite


def _arm(evidence: Evidence, arm: ArmReading) -> dict[str, Any]:
    return {
        "arm": arm.arm,
        "version": arm.version,
        "calls": arm.calls,
        "served": arm.served,
        "mature": arm.mature,
        "pending": arm.open,
        "coverage": arm.coverage,
        "callers": arm.callers,
        "design_effect": evidence.design_effects.get(arm.arm),
    }


def _metric(evidence: Evidence, metric: str) -> dict[str, Any]:
    comparisons = evidence.comparisons[metric]
    return {
        "name": metric,
        "title": noun(metric),
        "kind": next((one.kind for one in comparisons.values()), "mean"),
        "better": evidence.study.plan.direction(metric),
        "role": evidence.study.plan.role(metric),
        "arms": {
            name: {
                "n": reading.n,
                "mean": reading.mean,
                "sd": reading.sd,
                "median": reading.median,
                "geometric_mean": reading.geometric_mean,
            }
            for name, arm in evidence.arms.items()
            if (reading := arm.readings.get(metric)) is not None
        },
        "effects": {arm: _effect(evidence, one) for arm, one in comparisons.items()},
        "audit": _audit(evidence.audits.get(metric)),
    }


def _audit(one: Audit | None) -> dict[str, Any] | None:
    if one is None:
        return None
    return {
        "state": one.state,
        "measure": one.measure,
        "agreement": one.agreement,
        "arms": {
            arm: {"labels": n, "gap": one.gaps.get(arm), "corrected_mean": one.means.get(arm)}
            for arm, n in one.labels.items()
        },
        "effects": {
            arm: {"z": one.leans.get(arm), "difference": _value(one.corrected.get(arm)), **_one_look(one, arm)}
            for arm in one.labels
            if arm != CONTROL
        },
    }


def _one_look(audit: Audit, arm: str) -> dict[str, float | None]:
    effect = audit.corrected.get(arm)
    return _bounds(wald_interval(effect) if effect is not None else None)


def _effect(evidence: Evidence, one: Comparison) -> dict[str, Any]:
    test = evidence.fixed.get((one.metric, one.arm))
    return {
        "difference": one.effect.value if one.effect else _plain_difference(evidence, one),
        **_bounds(one.interval),
        "level": 1 - one.level,
        "always_valid_p": one.p,
        "adjusted_p": one.adjusted_p,
        "e_value": _power(one.log_e),
        "n": one.effect.n if one.effect else 0,
        "lift": {"value": one.lift, **_bounds(one.lift_interval)},
        "gate": {"have": one.gate.have, "need": one.gate.need},
        "crossed_at": one.running.crossed_at,
        "crossed_n": one.running.crossed_n,
        "guardrail": evidence.guardrails.get((one.metric, one.arm)),
        "discovery": (one.metric, one.arm) in evidence.discoveries,
        "at_the_end": _test(test),
    }


def _plain_difference(evidence: Evidence, one: Comparison) -> float | None:
    """Of the means, where all calls of an arm are alike and there is nothing to compute an interval from."""
    a, b = (evidence.arms[name].readings.get(one.metric) for name in (CONTROL, one.arm))
    return b.mean - a.mean if a and b and a.mean is not None and b.mean is not None else None


def _distributions(evidence: Evidence) -> list[str]:
    return sorted({metric for arm in evidence.arms.values() for metric in arm.distributions})


def _distribution(evidence: Evidence, metric: str) -> dict[str, Any]:
    arms = {}
    for name, arm in evidence.arms.items():
        counts = arm.distributions.get(metric, {})
        n = sum(counts.values())
        if n:
            arms[name] = {"n": n, "mean": None, "values": {value: count / n for value, count in counts.items()}}
    return {
        "name": metric,
        "title": noun(metric),
        "kind": "distribution",
        "better": None,
        "role": evidence.study.plan.role(metric),
        "arms": arms,
        "effects": {},
        "at_the_end": _test(evidence.fixed.get((metric, ""))),
        "audit": _audit(evidence.audits.get(metric)),
    }


def _health(evaluation: Evaluation) -> list[dict[str, Any]]:
    """Every rule that can be asked: what it found, or that it found nothing."""
    told: list[dict[str, Any]] = []
    silent = BY_CALL if evaluation.evidence.study.sticky else frozenset[int]()
    for rule in RULES:
        found = [one for one in evaluation.findings if one.number == rule.number]
        told += [
            {"check": one.check, "number": one.number, "status": one.level.lower(), "text": one.text} for one in found
        ]
        if not found and rule.number not in silent:
            told.append({"check": rule.check, "number": rule.number, "status": "ok", "text": ""})
    return told


def _split(one: Split) -> dict[str, Any]:
    return {
        "epoch": one.epoch,
        "counts": dict(one.counts),
        "shares": dict(one.shares),
        "e_value": _power(one.log_e),
        "p_at_the_end": one.p,
    }


def _stratum(one: Stratum) -> dict[str, Any]:
    return {
        "name": one.name,
        "arm": one.arm,
        "planned": one.planned,
        "together": _value(one.together),
        "same_everywhere_p": one.p,
        "reversal_p": one.reversal_p,
        "discoveries": list(one.discoveries),
        "segments": [
            {
                "value": part.value,
                "arms": {"a": {"n": part.n_a, "mean": part.mean_a}, one.arm: {"n": part.n_b, "mean": part.mean_b}},
                "difference": _value(part.effect),
                **_bounds(part.interval),
            }
            for part in one.segments
        ],
    }


def _date(day: int) -> str:
    return date.fromordinal(_EPOCH_DAY + day).isoformat()


def _day(one: Day) -> dict[str, Any]:
    return {
        "day": _date(one.day),
        "n": one.n,
        "difference": _value(one.effect),
        **_bounds(one.interval),
        "so_far": {"difference": _value(one.so_far), **_bounds(one.so_far_interval)},
    }


def _plan(evidence: Evidence) -> dict[str, Any]:
    plan = evidence.study.plan
    return {
        "primary": {"metric": plan.primary, "better": plan.better, "min_effect": plan.min_effect},
        "alpha": plan.alpha,
        "power": plan.power,
        "n_planned": plan.size,
        "n_max": plan.most,
        "min_days": plan.min_days,
        "planned": plan.planned,
    }


def _test(one: FixedTest | None) -> dict[str, Any] | None:
    if one is None:
        return None
    return {"test": one.test, "statistic": one.statistic, "p": one.p, **_bounds(one.interval)}


def _value(effect: Effect | None) -> float | None:
    return effect.value if effect else None


def _bounds(interval: Interval | None) -> dict[str, float | None]:
    return {"low": interval.low if interval else None, "high": interval.high if interval else None}


def _power(log: float | None) -> float | None:
    """e to the power of a logarithm, as large as a number may be."""
    return None if log is None else math.exp(min(log, 700.0))


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(one) for key, one in value.items()}
    return [_finite(one) for one in value] if isinstance(value, (list, tuple)) else value
