"""Whether a new version leaves a guardrail standing: non-inferiority against a margin, at any time."""

from typing import Literal

from gateway.stats.effect import Effect
from gateway.stats.sequential import one_sided_bounds

GuardrailState = Literal["pass", "fail", "harm", "inconclusive"]


def guardrail(
    effect: Effect, *, margin: float, better: Literal["higher", "lower"], r2: float, alpha: float = 0.05
) -> GuardrailState:
    """The state of a guardrail; ``margin`` > 0 is the loss that is still borne, in the metric's unit.

    "pass": the one-sided bound lies inside the margin. "fail": the whole interval lies beyond it. "harm": the loss is
    certain, its size is not. Each bound holds at alpha, with ``r2`` tuned at twice alpha; guardrails are not
    corrected for their number (Schultzberg, Ankargren and Frånberg, arXiv 2402.11609). Raises ValueError unless
    margin > 0.
    """
    if not margin > 0:
        raise ValueError(f"a margin must be above 0, not {margin}")
    bounds = one_sided_bounds(effect, r2=r2, alpha=alpha)
    worst, best = (bounds.low, bounds.high) if better == "higher" else (-bounds.high, -bounds.low)
    if worst > -margin:
        return "pass"
    if best < -margin:
        return "fail"
    return "harm" if best < 0 else "inconclusive"
