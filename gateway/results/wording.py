"""How effects are said: in points for rates, in the metric's own unit for means, always with their interval."""

import math
from typing import TYPE_CHECKING

from gateway.results.study import Kind

if TYPE_CHECKING:
    from gateway.results.comparing import Comparison
    from gateway.stats.effect import Interval

# What a version does more or fewer of, for the rates that have a verb of their own.
_VERBS = {
    "success": "completes",
    "answered": "has answered",
    "transferred": "transfers",
    "transfer_requested": "is asked for a transfer in",
    "hung_up_early": "loses in the first 30 seconds",
    "agent_failed": "fails to take",
    "opt_out": "is told not to call again in",
}
_NOUNS = {
    "success": "completion",
    "answered": "answered calls",
    "transferred": "transfers",
    "transfer_requested": "requests for a transfer",
    "hung_up_early": "hang-ups under 30 seconds",
    "agent_failed": "failures of the agent",
    "opt_out": "opt-outs",
    "duration_seconds": "mean duration (seconds)",
    "sentiment": "mean sentiment",
    "repeat_call": "repeated calls",
    "cost": "mean cost",
}


def noun(metric: str) -> str:
    """The metric in words."""
    return _NOUNS.get(metric, metric.removeprefix("fields."))


def percent(share: float) -> str:
    """A share as a percentage: "58.3 %"."""
    return f"{share * 100:.1f} %"


def amount(value: float, kind: Kind) -> str:
    """A size without its sign: "6.4 points" or "3.2"."""
    return f"{abs(value) * 100:.1f} points" if kind == "rate" else f"{abs(value):.3g}"


def signed(value: float, kind: Kind) -> str:
    """A number with its sign, in the unit that `amount` has."""
    if math.isinf(value):
        return "+∞" if value > 0 else "−∞"
    # A nought has no sign of its own, whichever side it was rounded from.
    text = f"{round(value * 100, 1) + 0.0:+.1f}" if kind == "rate" else f"{value + 0.0:+.3g}"
    return text.replace("-", "−")


def between(interval: "Interval", kind: Kind, level: float) -> str:
    """An interval that may be read at any time: "95 % always-valid interval +1.2 to +11.6"."""
    share = f"{(1 - level) * 100:.3g}"
    return f"{share} % always-valid interval {signed(interval.low, kind)} to {signed(interval.high, kind)}"


def said(one: "Comparison") -> str:
    """The effect in a sentence without its full stop: "B completes 6.4 points more calls (…)"."""
    if one.effect is None:
        return f"{one.arm.upper()} cannot be compared yet"
    value, name = one.effect.value, one.arm.upper()
    if one.kind == "rate" and one.metric in _VERBS:
        text = f"{name} {_VERBS[one.metric]} {amount(value, 'rate')} {'more' if value > 0 else 'fewer'} calls"
    else:
        text = f"{name}'s {noun(one.metric)} is {amount(value, one.kind)} {'higher' if value > 0 else 'lower'}"
    return text if one.interval is None else f"{text} ({between(one.interval, one.kind, one.level)})"


def listed(words: list[str]) -> str:
    """Words in a row: "a, b and c"."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
