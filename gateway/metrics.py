"""What is read of a call for the comparison: each metric is one entry, a name and how to read it.

A reading is a number (a rate reads 0 or 1), or None when the call says nothing about the metric; a missing
reading is never counted as a failure.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

EARLY_SECONDS = 30

ANSWERERS = ("human", "machine", "fax", "unknown")
"""Who can have answered a call that was placed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """What is known of one call, from the carrier and from the agent's outcome; None is what nobody has told.

    ``answered_by`` is Twilio's AnsweredBy; ``taken_by_policy`` when a machine answered and the call was taken from
    the agent for it.
    """

    ended: bool = False
    answered: bool | None = None
    served_as_assigned: bool = True
    agent_failed: bool = False
    duration_seconds: int | None = None
    transfer_requested: bool | None = None
    answered_by: str | None = None
    taken_by_policy: bool = False
    outcome: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Metric:
    """``told_by`` says whose word it is: the carrier's counts at once, the agent's when the call is mature."""

    name: str
    kind: Literal["rate", "mean"]
    better: Literal["higher", "lower"]
    told_by: Literal["carrier", "agent"]
    read: Callable[[Facts], float | None]


def _answered(read: Callable[[Facts], float | bool | None]) -> Callable[[Facts], float | None]:
    def of_answered(facts: Facts) -> float | None:
        if not facts.answered:
            return None
        value = read(facts)
        return None if value is None else float(value)

    return of_answered


def _success(facts: Facts) -> float | None:
    if facts.answered is False:
        return None
    said = facts.outcome.get("success")
    if said is not None:
        return float(said)
    # An agent that never took the call has failed it, whatever else is unknown; unless it was not meant to have it.
    return 0.0 if facts.agent_failed and not facts.taken_by_policy else None


def _told(key: str) -> Callable[[Facts], float | None]:
    def read(facts: Facts) -> float | None:
        said = facts.outcome.get(key)
        return None if said is None else float(said)

    return read


def _transfer_requested(facts: Facts) -> float | None:
    words = [facts.transfer_requested, facts.outcome.get("transfer_requested")]
    told = [word for word in words if word is not None]
    return float(any(told)) if told else None


def _early(facts: Facts) -> bool | None:
    # Where the gateway itself hung up on a machine, nobody lost patience.
    if facts.duration_seconds is None or facts.taken_by_policy:
        return None
    return facts.duration_seconds < EARLY_SECONDS


def answerer(answered_by: str) -> str:
    """Twilio's AnsweredBy as one of ANSWERERS: ``machine_start``, ``machine_end_beep`` and the like are machines."""
    word = "machine" if answered_by.startswith("machine") else answered_by
    return word if word in ANSWERERS else "unknown"


def _by(who: str) -> Callable[[Facts], float | None]:
    """One share of the distribution ``answered_by``; all of them have the same calls in their denominator."""

    def read(facts: Facts) -> bool | None:
        return answerer(facts.answered_by) == who if facts.ended and facts.answered_by else None

    return _answered(read)


METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(
            name="served",
            kind="rate",
            better="higher",
            told_by="carrier",
            read=lambda facts: float(facts.served_as_assigned),
        ),
        Metric(
            name="answered",
            kind="rate",
            better="higher",
            told_by="carrier",
            read=lambda facts: float(facts.answered) if facts.ended and facts.answered is not None else None,
        ),
        Metric(
            name="duration_seconds",
            kind="mean",
            better="higher",
            told_by="carrier",
            read=_answered(lambda facts: facts.duration_seconds),
        ),
        *(
            Metric(
                name=f"answered_by={who}",
                kind="rate",
                better="higher" if who == "human" else "lower",
                told_by="carrier",
                read=_by(who),
            )
            for who in ANSWERERS
        ),
        Metric(name="hung_up_early", kind="rate", better="lower", told_by="carrier", read=_answered(_early)),
        Metric(
            name="agent_failed",
            kind="rate",
            better="lower",
            told_by="carrier",
            read=lambda facts: float(facts.agent_failed) if facts.ended else None,
        ),
        Metric(name="success", kind="rate", better="higher", told_by="agent", read=_success),
        Metric(name="transfer_requested", kind="rate", better="lower", told_by="agent", read=_transfer_requested),
        Metric(name="transferred", kind="rate", better="lower", told_by="agent", read=_told("transferred")),
        Metric(name="sentiment", kind="mean", better="higher", told_by="agent", read=_told("sentiment")),
        Metric(name="opt_out", kind="rate", better="lower", told_by="agent", read=_told("opt_out")),
        Metric(name="cost", kind="mean", better="lower", told_by="agent", read=_told("cost")),
    )
}

FIELD_PREFIX = "fields."


def kind_of(name: str) -> Literal["rate", "mean"]:
    """The kind of a metric by name; an agent's own fields are read as means."""
    metric = METRICS.get(name)
    return metric.kind if metric else "mean"


def read_measures(facts: Facts, *, mature: bool) -> dict[str, float]:
    """The measures of a call that count by now: the carrier's at once, the agent's once it is mature."""
    measures: dict[str, float] = {}
    for metric in METRICS.values():
        if metric.told_by == "agent" and not mature:
            continue
        value = metric.read(facts)
        if value is not None:
            measures[metric.name] = value
    if mature:
        for name, value in (facts.outcome.get("fields") or {}).items():
            if isinstance(value, (bool, int, float)):
                measures[FIELD_PREFIX + name] = float(value)
    return measures
