"""What is read of a call for the comparison: each metric is one entry, a name and how to read it.

A reading is a number (a rate reads 0 or 1), or None when the call says nothing about the metric; a missing
reading is never counted as a failure.

Beside the metrics stand auxiliary counts, which are read together and never as metrics of their own:
``fields.intent=billing`` counts the calls whose field ``intent`` said so, ``duration_seconds#07`` those in a bin of
lengths, ``duration_seconds.log`` has the mean of the logarithms, ``calls_per_caller#3`` and ``callers_had#success``
count callers, and ``judged:success@llm-0a1b2c3d`` the calls whose success that judge told. A call with a text in a
field adds 1 to ``fields.intent`` and 1 to one of its values, so a value's share in an arm is the quotient of two
exact counts, however often the field is corrected.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

EARLY_SECONDS = 30
CAP_SECONDS = 1800
"""What a call's length counts for at most, where the plan of an experiment has no ``cap_seconds``."""

REPEAT_MS = 24 * 60 * 60 * 1000
"""For how long a caller who rings the same route again makes the earlier call a repeated one."""

BINS = 60
LONGEST_SECONDS = 4 * 60 * 60
"""Twilio ends a call after four hours unless told otherwise; the last bin holds all that is longer."""

CATEGORIES = 30
CATEGORY_LENGTH = 40
OTHER = "other"
"""How many values of a text field are told apart in an experiment, how long each may be, and what the rest is."""

ANSWERERS = ("human", "machine", "fax", "unknown")
"""Who can have answered a call that was placed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """What is known of one call, from the carrier and from the agent's outcome; None is what nobody has told.

    ``answered_by`` is Twilio's AnsweredBy; ``taken_by_policy`` when a machine answered and the call was taken from
    the agent for it; ``judged`` names the judge of each metric of which the last word was a judge's.
    """

    ended: bool = False
    answered: bool | None = None
    served_as_assigned: bool = True
    agent_failed: bool = False
    duration_seconds: int | None = None
    cap_seconds: int = CAP_SECONDS
    rang_again: bool | None = None
    transfer_requested: bool | None = None
    answered_by: str | None = None
    taken_by_policy: bool = False
    outcome: Mapping[str, Any] = field(default_factory=dict)
    judged: Mapping[str, str] = field(default_factory=dict)


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


def _repeat_call(facts: Facts) -> float | None:
    return None if facts.rang_again is None else float(facts.rang_again)


def _winsorised(facts: Facts) -> float | None:
    return None if facts.duration_seconds is None else min(facts.duration_seconds, facts.cap_seconds)


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
            read=_answered(_winsorised),
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
        Metric(name="repeat_call", kind="rate", better="lower", told_by="carrier", read=_repeat_call),
        Metric(name="success", kind="rate", better="higher", told_by="agent", read=_success),
        Metric(
            name="outcome_known",
            kind="rate",
            better="higher",
            told_by="agent",
            read=_answered(lambda facts: _success(facts) is not None),
        ),
        Metric(name="transfer_requested", kind="rate", better="lower", told_by="agent", read=_transfer_requested),
        Metric(name="transferred", kind="rate", better="lower", told_by="agent", read=_told("transferred")),
        Metric(name="sentiment", kind="mean", better="higher", told_by="agent", read=_told("sentiment")),
        Metric(name="opt_out", kind="rate", better="lower", told_by="agent", read=_told("opt_out")),
        Metric(name="cost", kind="mean", better="lower", told_by="agent", read=_told("cost")),
    )
}

FIELD_PREFIX = "fields."
LENGTH_LOG = "duration_seconds.log"
_LENGTH_BIN = "duration_seconds#"
_CALLERS = "calls_per_caller#"
JUDGED_PREFIX = "judged:"

Kind = Literal["rate", "mean", "distribution"]


def kind_of(name: str) -> Literal["rate", "mean"]:
    """The kind of a metric by name; an agent's own fields are read as means."""
    metric = METRICS.get(name)
    return metric.kind if metric else "mean"


def kind_told(name: str, names: Iterable[str], *, n: int, mean: float, m2: float) -> Kind:
    """The kind of a metric by what was counted of it: ``n``, ``mean`` and the sum of squared deviations of all calls,
    and the ``names`` of everything that was counted.

    A field with values of text is a distribution. One that only ever said yes or no is a rate: only then is the sum
    of squares as large as its mean allows.
    """
    if name in METRICS:
        return METRICS[name].kind
    if any(other.startswith(f"{name}=") for other in names):
        return "distribution"
    return "rate" if n and 0 <= mean <= 1 and math.isclose(m2, n * mean * (1 - mean), abs_tol=1e-9 * n) else "mean"


def is_auxiliary(name: str) -> bool:
    """Whether it is one of the counts that are not metrics of their own."""
    if name in METRICS:
        return False
    return "=" in name if name.startswith(FIELD_PREFIX) else True


def read_measures(facts: Facts, *, mature: bool) -> dict[str, float]:
    """The measures of a call that count by now: the carrier's at once, the agent's once it is mature."""
    measures: dict[str, float] = {}
    for metric in METRICS.values():
        if metric.told_by == "agent" and not mature:
            continue
        value = metric.read(facts)
        if value is not None:
            measures[metric.name] = value
    if "duration_seconds" in measures and facts.duration_seconds is not None:
        measures[LENGTH_LOG] = math.log(max(facts.duration_seconds, 1))
        measures[length_bin(facts.duration_seconds)] = 1.0
    if mature:
        for name, value in (facts.outcome.get("fields") or {}).items():
            _read_field(measures, FIELD_PREFIX + name, value)
        for name, judge in facts.judged.items():
            if name in measures:
                measures[judged_by(name, judge)] = 1.0
    return measures


def _read_field(measures: dict[str, float], name: str, value: Any) -> None:
    # With "=" in its name a field could pass for a value of another.
    if "=" in name:
        return
    if isinstance(value, (bool, int, float)):
        measures[name] = float(value)
    # A longer text is no category: what people said, say.
    elif isinstance(value, str) and 0 < len(value) <= CATEGORY_LENGTH:
        measures[name] = 1.0
        measures[f"{name}={value}"] = 1.0


# --- whose word it is -------------------------------------------------------------------------------------


def judged_by(metric: str, judge: str) -> str:
    """The auxiliary count of calls of which a judge has told a metric."""
    return f"{JUDGED_PREFIX}{metric}@{judge}"


def judges_of(counts: Mapping[str, int]) -> dict[str, dict[str, int]]:
    """How many calls each judge has told of, by metric, from the counts of ``judged_by`` by name, others ignored."""
    found: dict[str, dict[str, int]] = {}
    for name, n in counts.items():
        if name.startswith(JUDGED_PREFIX) and n:
            metric, _, judge = name.removeprefix(JUDGED_PREFIX).rpartition("@")
            found.setdefault(metric, {})[judge] = n
    return found


# --- the length of calls in bins ---------------------------------------------------------------------------


def length_bin(seconds: float) -> str:
    """The auxiliary count of calls about as long: one of 60 bins, evenly spread over the logarithm of 1 s to 4 h."""
    place = math.floor(BINS * math.log(max(seconds, 1)) / math.log(LONGEST_SECONDS))
    return f"{_LENGTH_BIN}{min(place, BINS - 1):02d}"


def median_length(counts: Mapping[str, int]) -> float | None:
    """The median length in seconds from the counts of ``length_bin`` by name, others ignored; None without any.

    Inside its bin it is interpolated over the logarithm; it is off by at most the width of a bin, 17 percent.
    """
    bins = sorted((int(name.removeprefix(_LENGTH_BIN)), n) for name, n in counts.items() if name[:-2] == _LENGTH_BIN)
    half, passed = sum(n for _, n in bins) / 2, 0
    for place, n in bins:
        if n and passed + n >= half:
            return float(LONGEST_SECONDS ** ((place + (half - passed) / n) / BINS))
        passed += n
    return None


# --- how often the same people call -----------------------------------------------------------------------


def callers_with(calls: int) -> str:
    """The auxiliary count of callers who rang exactly so often in an arm."""
    return f"{_CALLERS}{calls}"


def callers_had(metric: str) -> str:
    """The auxiliary count of callers of whom some call was a success in a rate, or a yes in a field."""
    return f"callers_had#{metric}"


def callers_lacked(metric: str) -> str:
    """The auxiliary count of callers of whom some call was no success; a caller may stand in both counts."""
    return f"callers_lacked#{metric}"


def had_and_lacked(metric: str, n: int, y: float) -> list[str]:
    """The counts of the two above in which a caller stands, by the number and the sum of the calls' values."""
    if metric == "served" or not (kind_of(metric) == "rate" or metric.startswith(FIELD_PREFIX)):
        return []
    return [callers_had(metric)] * (n > 0 and y > 0.5) + [callers_lacked(metric)] * (n > 0 and n - y > 0.5)


@dataclass(frozen=True, kw_only=True, slots=True)
class Callers:
    """How the calls of an arm spread over its callers.

    ``repeating`` is the share of its calls that come from callers with two or more, ``largest`` the share of the one
    who called most, ``top`` that of the one caller in a hundred who called most (of at least one).
    """

    callers: int
    calls: int
    repeating: float
    largest: float
    top: float


def spread_of_callers(counts: Mapping[str, int]) -> Callers | None:
    """What the counts of ``callers_with`` tell, by name, others ignored; None without any."""
    told = {int(name.removeprefix(_CALLERS)): n for name, n in counts.items() if name.startswith(_CALLERS) and n}
    callers, calls = sum(told.values()), sum(each * n for each, n in told.items())
    if not calls:
        return None
    left, top = max(1, callers // 100), 0
    for each, n in sorted(told.items(), reverse=True):
        top += each * min(n, left)
        left -= min(n, left)
    repeating = calls - told.get(1, 0)
    return Callers(
        callers=callers, calls=calls, repeating=repeating / calls, largest=max(told) / calls, top=top / calls
    )
