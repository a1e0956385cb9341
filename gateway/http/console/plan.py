"""The plan in the A/B form of a route: from its body to the fields, and back, and how long the test will take."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.errors import GatewayError
from gateway.http.api.results import plan_experiment
from gateway.http.console.page import View
from gateway.metrics import kind_of
from gateway.registration import better_of

_GUARDS = 3  # at least so many guardrails can be filled in
_MOST_GUARDS = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class PlanForm:
    """What stands in the fields, as text; ``guards`` are metric, margin and better direction."""

    hypothesis: str = ""
    metric: str = ""
    effect: str = ""
    better: str = ""
    guards: Sequence[tuple[str, str, str]] = ()

    @property
    def rows(self) -> Sequence[tuple[str, str, str]]:
        """The guardrails, and empty ones for more."""
        empty = max(1, _GUARDS - len(self.guards))
        return [*self.guards, *([("", "", "")] * empty)][:_MOST_GUARDS]


def plan_of(body: Mapping[str, Any]) -> PlanForm:
    """The fields of a route's plan."""
    plan = (body.get("ab_test") or {}).get("plan") or {}
    primary = plan.get("primary") or {}
    return PlanForm(
        hypothesis=plan.get("hypothesis") or "",
        metric=primary.get("metric", ""),
        effect=_text(primary.get("min_effect")),
        better=primary.get("better") or "",
        guards=[
            (one["metric"], _text(one.get("margin")), one.get("better") or "") for one in plan.get("guardrails") or ()
        ],
    )


def typed_plan(form: Mapping[str, str]) -> PlanForm:
    """The fields as somebody filled them in."""
    fields = ("metric", "margin", "better")
    rows = [[form.get(f"guard.{name}.{place}", "") for name in fields] for place in range(_MOST_GUARDS)]
    return PlanForm(
        hypothesis=form.get("plan.hypothesis", ""),
        metric=form.get("plan.metric", ""),
        effect=form.get("plan.effect", ""),
        better=form.get("plan.better", ""),
        guards=[(metric, margin, better) for metric, margin, better in rows if metric or margin],
    )


def written_plan(old: Mapping[str, Any], typed: PlanForm) -> dict[str, Any]:
    """The plan that the fields ask for; what they do not speak of is taken over from ``old``."""
    plan = {key: value for key, value in old.items() if key not in ("hypothesis", "primary", "guardrails")}
    if typed.hypothesis:
        plan["hypothesis"] = typed.hypothesis
    if typed.metric or typed.effect:
        plan["primary"] = _judged(typed.metric, typed.better, "min_effect", typed.effect)
    if typed.guards:
        plan["guardrails"] = [_judged(metric, better, "margin", margin) for metric, margin, better in typed.guards]
    return plan


def _judged(metric: str, better: str, key: str, text: str) -> dict[str, Any]:
    written: dict[str, Any] = {"metric": metric}
    if better:
        written["better"] = better
    if text:
        written[key] = number(text)
    return written


def number(text: str) -> Any:
    """The number that was typed, with a point or a comma; the text itself when it is none."""
    try:
        value = float(text.replace(",", "."))
    except ValueError:
        return text
    return int(value) if value.is_integer() else value


def _text(value: Any) -> str:
    return "" if value is None else f"{value:g}"


async def how_long(
    view: View, route: str, plan: Mapping[str, Any], split: Mapping[str, float]
) -> dict[str, Any] | None:
    """What the API's planner says of such a test on the route, at its volume; None when there is nothing to plan.

    ``{"plan": {…}, "metric": name}``, or ``{"problem": sentence, "metric": name}`` when it cannot be planned so.
    """
    split = {arm: weight for arm, weight in split.items() if weight > 0}
    if len(split) < 2 or "a" not in split:
        return None
    primary = plan.get("primary") or {"metric": "success", "min_effect": 0.05}
    metric = primary["metric"]
    asked = {
        "kind": kind_of(metric),
        "effect": primary["min_effect"] * (1 if better_of(primary) == "higher" else -1),
        "split": split,
        "guardrails": len(plan.get("guardrails") or ()),
        "route": route,
        **{key: plan[key] for key in ("alpha", "power", "baseline", "sd") if plan.get(key) is not None},
    }
    if asked["kind"] == "mean":
        asked.pop("baseline", None)
    try:
        return {"plan": (await view.ask(plan_experiment, path={}, body=asked))["plan"], "metric": metric}
    except GatewayError as error:
        return {"problem": error.message, "metric": metric}
