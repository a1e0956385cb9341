"""All that an evaluation has found out, before anybody judges it: what rules and verdict read."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from gateway.metrics import Callers
from gateway.results.auditing import Audit
from gateway.results.comparing import Comparison
from gateway.results.study import CONTROL, MILLISECONDS_PER_DAY, Study
from gateway.stats.effect import Effect, Interval
from gateway.stats.guardrail import GuardrailState


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """A metric in one arm; ``median`` is known where the calls were counted in bins."""

    n: int
    mean: float | None
    sd: float | None
    median: float | None = None
    geometric_mean: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ArmReading:
    """An arm: ``calls`` were assigned to it and are analysed, ``served`` of those it took itself.

    ``mature`` were answered and their outcome window has closed, and of ``known`` of these somebody told what became
    of them; ``open`` may still change. Both are None where they were not counted.
    """

    arm: str
    version: str
    calls: int
    served: int
    mature: int
    known: int | None
    open: int | None
    callers: int | None = None
    readings: Mapping[str, Reading] = field(default_factory=dict)
    distributions: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    @property
    def coverage(self) -> float | None:
        """The share of the mature calls whose outcome is known; None without any."""
        return self.known / self.mature if self.known is not None and self.mature else None

    @property
    def pending(self) -> float | None:
        """The share of the calls that may still change; None where it is not counted."""
        return self.open / self.calls if self.open is not None and self.calls else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Split:
    """How an epoch's units fell to the arms, against the plan; ``log_e`` is the evidence that they fell otherwise."""

    epoch: int
    counts: Mapping[str, int]
    shares: Mapping[str, float]
    log_e: float
    p: float | None = None  # chi-squared, for one look at the end


@dataclass(frozen=True, kw_only=True, slots=True)
class Day:
    """The effect of one day alone, and the confidence sequence by its end; ``day`` counts from 1970-01-01."""

    day: int
    n: int
    effect: Effect | None
    interval: Interval | None
    so_far: Effect | None
    so_far_interval: Interval | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Segment:
    """One value of a stratum: calls and means of both arms and the effect in it, at the 95% level of one look."""

    value: str
    n_a: int
    mean_a: float | None
    n_b: int
    mean_b: float | None
    effect: Effect | None
    interval: Interval | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Stratum:
    """The primary metric of an arm within each value of a fact known before the draw.

    ``p`` asks whether the effect is the same everywhere, ``reversal_p`` whether it turns round; ``together`` is the
    effect with the strata held fixed. One that the plan does not name is exploratory: ``discoveries`` then tells in
    which values there is something (Benjamini-Hochberg, 10%).
    """

    name: str
    arm: str
    planned: bool
    segments: tuple[Segment, ...]
    together: Effect | None
    p: float | None
    reversal_p: float | None
    discoveries: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class FixedTest:
    """A test that looks once, at the end: its name, two-sided p-value and 95% interval."""

    test: str
    statistic: float
    p: float
    interval: Interval | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Judges:
    """Who told a metric in an epoch: for each arm how many calls each judge did, by its id."""

    epoch: int
    metric: str
    counts: Mapping[str, Mapping[str, int]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    """Everything that was found out about an experiment at ``now`` (Unix milliseconds).

    ``comparisons`` are by metric and arm; ``counts`` are the analysed calls by day (from 1970-01-01) and arm;
    ``harms`` names (arm, metric) whose exact evidence reached the alarm; ``splits`` are of what was drawn,
    ``reached`` of the calls that a human answered; ``missing_log_e``, ``hours_log_e`` and ``split_log_e`` are None
    where they were not counted. ``audits`` are by judged metric; ``labelled`` counts the calls of each arm that
    people have labelled.
    """

    study: Study
    now: int
    arms: Mapping[str, ArmReading]
    comparisons: Mapping[str, Mapping[str, Comparison]]
    guardrails: Mapping[tuple[str, str], GuardrailState]
    discoveries: tuple[tuple[str, str], ...]
    harms: tuple[tuple[str, str], ...]
    splits: tuple[Split, ...]
    split_log_e: float | None
    reached: tuple[Split, ...]
    missing_log_e: float | None
    hours_log_e: float | None
    hours_p: float | None
    pooled: Mapping[str, Effect]
    strata: tuple[Stratum, ...]
    days: Mapping[str, tuple[Day, ...]]
    counts: Mapping[int, Mapping[str, int]]
    fading: Mapping[str, float]
    slopes: Mapping[str, float]
    design_effects: Mapping[str, float]
    callers: Mapping[str, Callers]
    fixed: Mapping[tuple[str, str], FixedTest]
    audits: Mapping[str, Audit]
    labelled: Mapping[str, int]
    judges: tuple[Judges, ...]

    @property
    def primary(self) -> Mapping[str, Comparison]:
        """The primary metric, by arm."""
        return self.comparisons.get(self.study.plan.primary, {})

    @property
    def control(self) -> ArmReading:
        """The control."""
        return self.arms[CONTROL]

    @property
    def age_days(self) -> float:
        """How long calls have been (or were) assigned, in days."""
        end = self.study.closed_at if self.study.closed_at is not None else self.now
        return (end - self.study.opened_at) / MILLISECONDS_PER_DAY

    def states(self, arm: str) -> dict[str, GuardrailState]:
        """The guardrails of an arm."""
        return {metric: state for (metric, one), state in self.guardrails.items() if one == arm}
