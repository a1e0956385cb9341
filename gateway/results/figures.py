"""An experiment's results as people read them: every number a text in its unit, every interval a place in a chart.

Pure: what the HTTP API answers comes in. The console, the report and the terminal show what comes out; none of them
says a number in its own way.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.results.plots import Columns, Curve, Moment, Span, columns, curve, span
from gateway.results.study import Kind
from gateway.results.wording import percent, signed

ROLES = ("primary", "guardrail", "secondary", "monitor")
LEVELS = ("block", "alarm", "warn", "info")

_NONE = "–"
_GAP = "\N{NARROW NO-BREAK SPACE}"
# Facts known before the draw, and their values, in words.
_FACTS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "hours": ("hour of the call", {"in": "9:00 to 17:00", "out": "other hours"}),
    "new_caller": ("caller", {"yes": "first call", "no": "called before", "unknown": "not known"}),
}
_GUARDED: Mapping[str, tuple[str, str]] = {
    "pass": ("stays in its margin", "good"),
    "fail": ("beyond its margin", "bad"),
    "harm": ("does harm", "bad"),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """A metric in one arm."""

    arm: str
    n: int
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Compared:
    """An arm against the control: the difference and its interval in words, what they mean, and their places.

    ``tone`` is good, bad or nothing; ``said`` says the same in words. ``label`` is the chart in a sentence.
    """

    arm: str
    difference: str
    interval: str
    said: str
    tone: str
    span: Span
    label: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """A metric: its readings by arm, and each arm against the control; ``audit`` is what labels say of its judge."""

    name: str
    title: str
    role: str
    better: str | None
    readings: tuple[Reading, ...]
    effects: tuple[Compared, ...]
    audit: str = ""

    def reading(self, arm: str) -> Reading | None:
        """The reading of an arm, None where there is none."""
        return next((one for one in self.readings if one.arm == arm), None)


@dataclass(frozen=True, kw_only=True, slots=True)
class Portion:
    """One value of a distribution: its share in each arm, by name."""

    value: str
    shares: Mapping[str, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Distribution:
    """How often each value was told, the commonest first; ``audit`` as a line has it."""

    name: str
    title: str
    counts: Mapping[str, int]
    portions: tuple[Portion, ...]
    audit: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class DayLine:
    """One day of an arm against the control, in words."""

    day: str
    n: int
    alone: str
    so_far: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Course:
    """The primary metric of an arm over the days; ``unit`` is what its axis counts in."""

    arm: str
    unit: str
    curve: Curve | None
    days: tuple[DayLine, ...]
    label: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """One segment: calls and readings of both arms, and their difference."""

    value: str
    control: Reading
    rival: Reading
    effect: Compared


@dataclass(frozen=True, kw_only=True, slots=True)
class Cut:
    """The segments of one fact known before the draw, for one arm."""

    name: str
    title: str
    arm: str
    planned: bool
    parts: tuple[Part, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """A health check that found something; ``level`` is block, alarm, warn or info."""

    number: int
    check: str
    level: str
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Figures:
    """All there is to show of an experiment's results; ``quiet`` counts the checks that found nothing.

    ``not_shown`` says what is left out and why, empty where nothing is.
    """

    lines: tuple[Line, ...]
    distributions: tuple[Distribution, ...]
    courses: tuple[Course, ...]
    cuts: tuple[Cut, ...]
    found: tuple[Found, ...]
    quiet: int
    daily: Columns | None
    not_shown: str

    @property
    def audits(self) -> tuple[tuple[str, str], ...]:
        """Of each judged metric its title and what the labels of people say."""
        told = [(one.title, one.audit) for one in self.lines]
        told += [(one.title, one.audit) for one in self.distributions]
        return tuple((title, audit) for title, audit in told if audit)

    @property
    def primary(self) -> Line | None:
        """The metric that the verdict is about."""
        return next((one for one in self.lines if one.role == "primary"), None)


def figures(results: Mapping[str, Any], record: Mapping[str, Any] | None = None) -> Figures:
    """What to show of an answer of ``/experiments/{experiment}/results``; ``record`` has the margins of the plan."""
    shown = [one for one in results["metrics"] if one["kind"] != "distribution" and one["arms"]]
    shown.sort(key=lambda one: ROLES.index(one["role"]) if one["role"] in ROLES else len(ROLES))
    margins = {one["metric"]: one["margin"] for one in (record or {}).get("guardrails") or ()}
    primary = results["plan"]["primary"]
    kind = _kind_of(next((one for one in shown if one["name"] == primary["metric"]), {"kind": "rate"}))
    return Figures(
        lines=tuple(_line(one, primary, margins.get(one["name"])) for one in shown),
        distributions=tuple(_distribution(one) for one in results["metrics"] if one["kind"] == "distribution"),
        courses=tuple(_course(arm, days, kind, primary) for arm, days in sorted(results["days"].items()) if days),
        cuts=tuple(_cut(one, kind) for one in results["strata"]),
        found=tuple(_found(results["health"])),
        quiet=sum(one["status"] == "ok" for one in results["health"]),
        daily=columns([(one["day"], one["arms"]) for one in results["calls_by_day"]]),
        not_shown=results["not_shown"] or "",
    )


def reading(value: float | None, kind: Kind, places: int | None = None) -> str:
    """A reading in its unit: "58.3 %" or "146", with so many decimal places; a dash for what cannot be computed."""
    if value is None:
        return _NONE
    if kind == "rate":
        return percent(value)
    return f"{value:,.{places_of([value]) if places is None else places}f}".replace(",", _GAP)


def difference(value: float | None, kind: Kind, places: int | None = None) -> str:
    """A difference in its unit: "+14.0 points" or "−23.3"; a dash for what cannot be computed."""
    if value is None:
        return _NONE
    return _signed(value, kind, places) + (" points" if kind == "rate" else "")


def places_of(values: Iterable[float | None]) -> int:
    """How many decimal places tell such means apart: none from 100 on, two below 10, and more where all are tiny."""
    largest = max((abs(value) for value in values if value is not None and math.isfinite(value)), default=0.0)
    if largest >= 10 or not largest:
        return 0 if largest >= 100 or not largest else 1
    return 2 if largest >= 0.1 else min(6, 1 - math.floor(math.log10(largest)))


def _signed(value: float, kind: Kind, places: int | None) -> str:
    if kind == "rate" or places is None or not math.isfinite(value):
        return signed(value, kind)
    # A nought has no sign of its own, whichever side it was rounded from.
    return f"{round(value, places) + 0.0:+,.{places}f}".replace("-", "−").replace(",", _GAP)


def _kind_of(metric: Mapping[str, Any]) -> Kind:
    return "rate" if metric["kind"] == "rate" else "mean"


def _line(metric: Mapping[str, Any], primary: Mapping[str, Any], margin: float | None) -> Line:
    kind = _kind_of(metric)
    limits: tuple[float, ...] = ()
    if metric["role"] == "primary":
        limits = (-primary["min_effect"], primary["min_effect"])
    elif margin is not None:
        limits = (margin if metric["better"] == "lower" else -margin,)
    places = places_of(one["mean"] for one in metric["arms"].values())
    return Line(
        name=metric["name"],
        title=metric["title"],
        role=metric["role"],
        better=metric["better"],
        readings=tuple(
            Reading(arm=arm, n=one["n"], text=reading(one["mean"], kind, places))
            for arm, one in metric["arms"].items()
        ),
        effects=tuple(_compared(metric, arm, one, kind, limits, places) for arm, one in metric["effects"].items()),
        audit=_audit(metric["audit"], kind, places),
    )


_TRUST = {"unaudited": "a judge's word, unaudited", "distrusted": "a judge not to be trusted", "trusted": "audited"}


def _audit(audit: Mapping[str, Any] | None, kind: Kind, places: int) -> str:
    """What the labels say of a judged metric; nothing of one that no judge told."""
    if audit is None:
        return ""
    counts = ", ".join(f"{arm.upper()} {one['labels']}" for arm, one in audit["arms"].items())
    agreement = "" if audit["agreement"] is None else f", {audit['measure']} {audit['agreement']:.2f}"
    corrected = [
        f"{arm.upper()} {difference(one['difference'], kind, places)}"
        f" ({_interval(one['low'], one['high'], kind, places)}, one look)"
        for arm, one in audit["effects"].items()
        if one["difference"] is not None
    ]
    told = f"; corrected by the labels: {'; '.join(corrected)}" if corrected else ""
    return f"{_TRUST[audit['state']]}: labels {counts}{agreement}{told}"


def _compared(
    metric: Mapping[str, Any],
    arm: str,
    effect: Mapping[str, Any],
    kind: Kind,
    limits: tuple[float, ...],
    places: int,
) -> Compared:
    said, tone = _meaning(metric, effect)
    return _drawn(metric["title"], arm, effect, kind, limits=limits, said=said, tone=tone, places=places)


def _drawn(
    title: str,
    arm: str,
    effect: Mapping[str, Any],
    kind: Kind,
    *,
    places: int,
    limits: tuple[float, ...] = (),
    said: str = "",
    tone: str = "",
) -> Compared:
    value, low, high = effect["difference"], effect["low"], effect["high"]
    interval = _interval(low, high, kind, places)
    told = [f"{title}, {arm.upper()} against A: {difference(value, kind, places)}"]
    told += [f"interval {interval}"] if interval else ["no interval yet"]
    told += ["the line in the middle is no difference"]
    told += [f"limits at {' and '.join(difference(one, kind, places) for one in limits)}"] if limits else []
    told += [said] if said else []
    return Compared(
        arm=arm,
        difference=difference(value, kind, places),
        interval=interval,
        said=said,
        tone=tone,
        span=span(value, low, high, margins=limits),
        label="; ".join(told),
    )


def _interval(low: float | None, high: float | None, kind: Kind, places: int) -> str:
    if low is None and high is None:
        return ""
    if kind == "rate":
        # Of few calls an interval is computed that goes beyond what rates can differ by.
        low, high = (None if one is None else min(1.0, max(-1.0, one)) for one in (low, high))
    ends = (
        "−∞" if low is None else _signed(low, kind, places),
        "+∞" if high is None else _signed(high, kind, places),
    )
    return f"{ends[0]} to {ends[1]}"


def _meaning(metric: Mapping[str, Any], effect: Mapping[str, Any]) -> tuple[str, str]:
    """(in words, tone) of an effect: what the interval says, and of a guardrail how it stands."""
    low, high, role = effect["low"], effect["high"], metric["role"]
    guardrail, audit = effect["guardrail"], metric["audit"]
    if audit is not None and audit["state"] == "distrusted":
        return "the judge is not trusted", "bad"
    if role == "guardrail" and guardrail:
        return _GUARDED.get(guardrail, ("not known yet", ""))
    if low is None or high is None:
        gate = effect["gate"]
        return (f"collecting: {gate['have']} of {gate['need']}" if gate["have"] < gate["need"] else ""), ""
    if low <= 0 <= high:
        return "not certain", ""
    if role == "monitor" or metric["better"] not in ("higher", "lower"):
        return ("higher" if low > 0 else "lower"), ""
    good = (low > 0) == (metric["better"] == "higher")
    return ("better", "good") if good else ("worse", "bad")


def _distribution(metric: Mapping[str, Any]) -> Distribution:
    shares: dict[str, dict[str, float]] = {}
    for arm, one in metric["arms"].items():
        for value, share in one["values"].items():
            shares.setdefault(value, {})[arm] = share
    portions = [Portion(value=value, shares=told) for value, told in shares.items()]
    portions.sort(key=lambda one: (-max(one.shares.values()), one.value))
    counts = {arm: one["n"] for arm, one in metric["arms"].items()}
    return Distribution(
        name=metric["name"],
        title=metric["title"],
        counts=counts,
        portions=tuple(portions),
        audit=_audit(metric["audit"], "mean", 2),
    )


def _course(arm: str, days: Sequence[Mapping[str, Any]], kind: Kind, primary: Mapping[str, Any]) -> Course:
    moments = [
        Moment(
            day=one["day"],
            n=one["n"],
            alone=one["difference"],
            alone_low=one["low"],
            alone_high=one["high"],
            so_far=one["so_far"]["difference"],
            low=one["so_far"]["low"],
            high=one["so_far"]["high"],
        )
        for one in days
    ]
    places = places_of(value for one in moments for value in (one.alone, one.so_far))
    lines = tuple(
        DayLine(
            day=one.day,
            n=one.n,
            alone=_with_interval(one.alone, one.alone_low, one.alone_high, kind, places),
            so_far=_with_interval(one.so_far, one.low, one.high, kind, places),
        )
        for one in moments
    )
    # Whoever gave the number of a smallest effect wants to see it, above and below.
    limits = (-primary["min_effect"], primary["min_effect"])
    label = f"Effect of {arm.upper()} over {len(lines)} days; by the last day {lines[-1].so_far}"
    unit = "percentage points" if kind == "rate" else ""
    return Course(arm=arm, unit=unit, curve=curve(moments, kind=kind, margins=limits), days=lines, label=label)


def _with_interval(value: float | None, low: float | None, high: float | None, kind: Kind, places: int) -> str:
    interval = _interval(low, high, kind, places)
    return difference(value, kind, places) + (f" ({interval})" if interval else "")


def _cut(stratum: Mapping[str, Any], kind: Kind) -> Cut:
    arm, name = stratum["arm"], stratum["name"]
    title, words = _FACTS.get(name, (name.removeprefix("var:").replace("_", " "), {}))
    return Cut(
        name=name,
        title=title,
        arm=arm,
        planned=stratum["planned"],
        parts=tuple(_part(one, arm, kind, words) for one in stratum["segments"]),
    )


def _part(segment: Mapping[str, Any], arm: str, kind: Kind, words: Mapping[str, str]) -> Part:
    value = words.get(segment["value"], segment["value"])
    told = {name: segment["arms"][name] for name in ("a", arm)}
    places = places_of(one["mean"] for one in told.values())
    a, b = (Reading(arm=name, n=one["n"], text=reading(one["mean"], kind, places)) for name, one in told.items())
    return Part(value=value, control=a, rival=b, effect=_drawn(value, arm, segment, kind, places=places))


def _found(health: Sequence[Mapping[str, Any]]) -> Iterator[Found]:
    """What the checks found, the gravest first."""
    for level in LEVELS:
        for one in health:
            if one["status"] == level:
                yield Found(number=one["number"], check=one["check"], level=level, text=one["text"])
