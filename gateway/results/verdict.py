"""The verdict: one state of a closed set and one plain sentence, for each arm and for the whole experiment."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from gateway.results.comparing import Comparison
from gateway.results.evidence import Evidence
from gateway.results.finding import Finding
from gateway.results.rules import is_equivalent, is_spent, misleading
from gateway.results.wording import amount, listed, noun, said, signed

State = Literal[
    "collecting", "running", "better", "guarded", "worse", "equivalent", "inconclusive", "harm", "blocked"
]
"""What can be said of an arm, or of all of them.

``blocked``: the numbers cannot be trusted. ``harm``: the alarm rings. ``collecting``: too few calls for any word.
``running``: nothing is certain yet, or a planned stratum turns the effect round. ``better``: surely better, and every
guardrail passes. ``guarded``: surely better, but a guardrail does not pass (yet). ``worse``: surely worse.
``equivalent``: no difference that matters.
``inconclusive``: all planned calls are in, and nothing is certain.
"""

# Of several arms the first of these states is told.
_ORDER: tuple[State, ...] = ("better", "guarded", "collecting", "running", "equivalent", "inconclusive", "worse")
_SAFE = "safe to read at any time"


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """``arm`` is whom the state is about, None where it is about all; ``exploratory`` says that the plan was absent
    or did not hold.
    """

    state: State
    text: str
    arm: str | None = None
    exploratory: bool = False


def verdict(evidence: Evidence, findings: Sequence[Finding]) -> Verdict:
    """The word on the whole experiment: a block or harm first, then the most useful word on an arm."""
    exploratory = evidence.study.exploratory
    blocks = [one.text for one in findings if one.level == "BLOCK"]
    if blocks:
        text = f"No verdict: {'; '.join(blocks)}."
        return Verdict(state="blocked", text=text, exploratory=exploratory)
    harms = [one.text for one in findings if one.level == "ALARM"]
    if harms:
        return Verdict(state="harm", text=f"{'; '.join(harms)}.", arm=evidence.harms[0][0], exploratory=exploratory)
    arms = [arm_verdict(evidence, one) for one in evidence.primary.values()]
    if not arms:
        return Verdict(state="collecting", text="There is only one arm: nothing to compare.", exploratory=exploratory)
    state = next(one for one in _ORDER if any(arm.state == one for arm in arms))
    told = [one for one in arms if one.state == state]
    best = (
        max(told, key=lambda one: evidence.primary[one.arm or ""].gain) if state in ("better", "guarded") else told[0]
    )
    text = best.text if state in ("better", "guarded") else " ".join(one.text for one in told)
    about = best.arm if state in ("better", "guarded") or len(told) == 1 else None
    return Verdict(state=state, text=text, arm=about, exploratory=exploratory)


def arm_verdict(evidence: Evidence, one: Comparison) -> Verdict:
    """The word on one arm, blocks and alarms aside."""
    name = one.arm.upper()
    if one.effect is None or not one.gate.open:
        counted = f"{one.gate.have} of {one.gate.need}" if not one.gate.open else "nothing varies yet"
        return Verdict(state="collecting", text=f"{name} is collecting calls: {counted}.", arm=one.arm)
    turned = _turned(evidence, one)
    if one.certain and turned is not None:
        return Verdict(state="running", text=f"{said(one)}, but {turned}: nothing is certain.", arm=one.arm)
    if one.certain and one.gain > 0:
        return _better(evidence, one)
    if one.certain:
        return Verdict(state="worse", text=f"{said(one)}; {_SAFE}.", arm=one.arm)
    if is_equivalent(evidence, one):
        limit = amount(evidence.study.plan.min_effect, one.kind)
        return Verdict(
            state="equivalent", text=f"{said(one)}: no difference that matters (±{limit}); {_SAFE}.", arm=one.arm
        )
    if is_spent(evidence, one):
        return Verdict(
            state="inconclusive", text=f"{said(one)}: all planned calls are in, nothing is certain.", arm=one.arm
        )
    return Verdict(state="running", text=f"{said(one)}: nothing is certain yet; {_SAFE}.", arm=one.arm)


def _turned(evidence: Evidence, one: Comparison) -> str | None:
    """In which planned stratum the effect has the other sign, in words; None when it keeps its sign in all."""
    for name, held in misleading(evidence, one):
        if one.effect is not None and held.value * one.effect.value < 0:
            return f"{signed(held.value, one.kind)} with {name} held fixed"
    return None


def _better(evidence: Evidence, one: Comparison) -> Verdict:
    states = evidence.states(one.arm)
    open_ = [f"{noun(metric)} ({state})" for metric, state in states.items() if state != "pass"]
    if open_:
        text = f"{said(one)}, but not every guardrail passes: {listed(open_)}; {_SAFE}."
        return Verdict(state="guarded", text=text, arm=one.arm)
    return Verdict(state="better", text=f"{said(one)}; {_SAFE}.", arm=one.arm)
