"""What is settled before a test starts: its record, frozen and hashed, and the steps by which it ramps up.

Pure: routes and plans come in, plain values go out. The sizes are computed by gateway.stats, which is loaded only
when a test is opened.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from gateway.metrics import FIELD_PREFIX, METRICS, kind_of
from gateway.model import Arm, Route
from gateway.settings import parse_duration

ALPHA, POWER, MIN_EFFECT = 0.05, 0.8, 0.05
"""Of a test without a plan; its primary metric is then ``success``, and its verdict is exploratory."""
MIN_DAYS = 14
CAP_SECONDS = 1800
_BASELINE = 0.5  # the rate that needs the most calls


def record_of(
    route: Route, *, cap_seconds: int | None, outcome_window: int, judge: str | None = None
) -> dict[str, Any]:
    """The pre-registration record of a test that opens on a route.

    ``outcome_window`` is in seconds; ``cap_seconds`` is where durations are cut, None for the default. Sizes are
    calls of the control and one other arm together; None where the plan lacks the ``sd`` that a mean needs.
    """
    plan = route.plan
    primary = dict(plan.get("primary") or {"metric": "success", "min_effect": MIN_EFFECT})
    primary["better"] = better_of(primary)
    alpha, power = plan.get("alpha") or ALPHA, plan.get("power") or POWER
    guardrails = [dict(one) | {"better": better_of(one)} for one in plan.get("guardrails") or ()]
    sizes = _sizes(route, plan, primary, alpha=alpha, power=power, guardrails=len(guardrails))
    return {
        "hypothesis": plan.get("hypothesis"),
        "planned": bool(plan.get("primary")),
        "primary": primary,
        "alpha": alpha,
        "power": power,
        **sizes,
        "n_max": plan.get("n_max") or sizes["n_max"],
        "per_arm": plan.get("per_arm"),
        "min_days": MIN_DAYS,
        "guardrails": guardrails,
        "secondary": list(plan.get("secondary") or ()),
        "strata": list(plan.get("strata") or ()),
        "unit": route.unit,
        "coverage": route.coverage,
        "weights": {arm.name: arm.weight for arm in route.arms},
        "versions": {arm.name: arm.version for arm in route.arms},
        "exclusions": sorted(f"…{number[-2:]}" for number in route.test_numbers),
        "cap_seconds": cap_seconds or CAP_SECONDS,
        "outcome_window_seconds": outcome_window,
        "judge": judge,
        "ramp": plan.get("ramp"),
        "start": plan.get("start"),
        "end": plan.get("end"),
        "on_harm": plan.get("on_harm") or "alarm",
    }


def digest_of(record: Mapping[str, Any]) -> str:
    """SHA-256 of a record, written as JSON with sorted keys and no spaces, so that anybody can check it."""
    text = json.dumps(record, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def better_of(judged: Mapping[str, Any]) -> str:
    """The direction in which a metric of a plan is better: as written, else as the gateway knows it."""
    metric = METRICS.get(judged["metric"])
    told: str | None = judged.get("better")
    return told or (metric.better if metric else "higher")


def _sizes(
    route: Route, plan: Mapping[str, Any], primary: Mapping[str, Any], *, alpha: float, power: float, guardrails: int
) -> dict[str, Any]:
    from gateway.stats import planning

    effect = primary["min_effect"] * (1 if primary["better"] == "higher" else -1)
    shares = [arm.share for arm in route.arms if arm.name != "a" and arm.share]
    control = route.arm("a").share
    power = planning.power_beside_guardrails(power, guardrails)
    try:
        if kind_of(primary["metric"]) == "rate" and not primary["metric"].startswith(FIELD_PREFIX):
            p1: float = plan.get("baseline", _BASELINE)
            per_arm = planning.per_arm_of_rates(p1, p1 + effect, alpha=alpha, power=power)
        else:
            per_arm = planning.per_arm_of_means(abs(effect), plan.get("sd") or math.nan, alpha=alpha, power=power)
        planned = planning.plan(per_arm, share_b=min(shares) / (control + min(shares)))
    except (ValueError, ZeroDivisionError):
        return {"n_fixed": None, "n_planned": None, "n_max": None}
    return {"n_fixed": planned.fixed, "n_planned": planned.planned, "n_max": planned.most}


# -- ramps ---------------------------------------------------------------------------------------------------


def ramp_step(ramp: Mapping[str, Any], *, began_at: int, now: int) -> int:
    """Which step of a ramp it is time for, from 0; the last one lasts. Times are Unix milliseconds."""
    held = parse_duration(ramp["hold"]) * 1000
    return min(max(0, now - began_at) // held, len(ramp["percent"]) - 1)


def ramp_shares(arms: Sequence[Arm], ramp: Mapping[str, Any], step: int) -> dict[str, float]:
    """The arms' shares at a step: the ramped arm has its percentage, the others divide the rest by their weights."""
    share = ramp["percent"][step] / 100
    rest = sum(arm.weight for arm in arms if arm.name != ramp["arm"])
    if not rest:
        return {arm.name: 1.0 if arm.name == ramp["arm"] else 0.0 for arm in arms}
    return {arm.name: share if arm.name == ramp["arm"] else (1 - share) * arm.weight / rest for arm in arms}
