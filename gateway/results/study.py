"""What a comparison must know of its experiment: the frozen plan, the epochs with their shares, and its status."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from gateway.metrics import FIELD_PREFIX, METRICS

Better = Literal["higher", "lower"]
Kind = Literal["rate", "mean"]

CONTROL = "a"
MILLISECONDS_PER_DAY = 86_400_000
# Of a test without a plan: 5 points from a rate of one half, at 80% power (docs/explanation/statistics.md).
_PLANNED, _MOST = 3130, 5165
_MIN_DAYS = 14


@dataclass(frozen=True, kw_only=True, slots=True)
class Guardrail:
    """A metric that must not get worse by more than ``margin``, in the metric's unit."""

    metric: str
    margin: float
    better: Better


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What was settled before the first call; sizes count the units of the control and one other arm together.

    ``planned`` is False for a test without a plan: its verdict is exploratory. ``most`` is None where no largest size
    could be computed.
    """

    primary: str
    better: Better
    min_effect: float
    guardrails: tuple[Guardrail, ...] = ()
    secondary: tuple[str, ...] = ()
    strata: tuple[str, ...] = ()
    alpha: float = 0.05
    power: float = 0.8
    size: int = _PLANNED
    most: int | None = _MOST
    min_days: int = _MIN_DAYS
    planned: bool = False

    def role(self, metric: str) -> Literal["primary", "guardrail", "secondary", "monitor"]:
        """The part that a metric plays."""
        if metric == self.primary:
            return "primary"
        if any(one.metric == metric for one in self.guardrails):
            return "guardrail"
        return "secondary" if metric in self.secondary else "monitor"

    def direction(self, metric: str) -> Better:
        """The good direction of a metric."""
        if metric == self.primary:
            return self.better
        told = [one.better for one in self.guardrails if one.metric == metric]
        return told[0] if told else better_of(metric)


@dataclass(frozen=True, kw_only=True, slots=True)
class JudgeTold:
    """Who judged transcripts: an id that changes with everything that could change a verdict, the model if it is one,
    and the questions by what they tell.
    """

    id: str
    model: str | None = None
    questions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Epoch:
    """A stretch with unchanged shares, versions and judge; ``served`` is what each arm names, version and parameters.

    Where callers stick, those of epochs with the same ``memory`` are other people; with another memory the same
    people may be there again. ``models`` has the models that the arms say they run, by arm; most say nothing.
    """

    number: int
    began_at: int
    shares: Mapping[str, float]
    served: Mapping[str, tuple[str, str]]
    memory: int = 1
    judge: JudgeTold | None = None
    models: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Study:
    """An experiment as its comparison sees it; times are Unix milliseconds.

    ``amended`` is True when its plan was edited after the first call.
    """

    id: str
    unit: str
    status: str
    opened_at: int
    plan: Plan
    epochs: tuple[Epoch, ...]
    closed_at: int | None = None
    amended: bool = False

    @property
    def sticky(self) -> bool:
        """Whether callers were randomised, and not calls."""
        return self.unit == "caller"

    @property
    def arms(self) -> tuple[str, ...]:
        """Every arm that ever was in the split, the control too, in order."""
        return tuple(sorted({arm for epoch in self.epochs for arm in epoch.served} | {CONTROL}))

    @property
    def rivals(self) -> tuple[str, ...]:
        """The arms that are compared with the control."""
        return tuple(arm for arm in self.arms if arm != CONTROL)

    @property
    def ended(self) -> bool:
        """Whether no call is assigned any more."""
        return self.status in ("maturing", "stopped")

    def version(self, arm: str) -> str:
        """The version that the arm named last."""
        names = [epoch.served[arm][0] for epoch in self.epochs if arm in epoch.served]
        return names[-1] if names else ""

    @property
    def exploratory(self) -> bool:
        """Whether there was no plan, or it did not hold."""
        return not self.plan.planned or self.amended or bool(self.changed_arms) or self.judge_changed

    @property
    def judge_changed(self) -> bool:
        """Whether the judge, or what it is asked, changed while calls came in."""
        return len({epoch.judge.id if epoch.judge else None for epoch in self.epochs}) > 1

    @property
    def changed_arms(self) -> tuple[str, ...]:
        """Arms whose version or parameters changed while calls came in."""
        served: dict[str, set[tuple[str, str]]] = {}
        for epoch in self.epochs:
            for arm, what in epoch.served.items():
                served.setdefault(arm, set()).add(what)
        return tuple(arm for arm, whats in sorted(served.items()) if len(whats) > 1)

    def share(self, epoch: Epoch, arm: str) -> float:
        """The share that an arm has among the calls of the control and itself; 0 where one of them has none."""
        own, control = epoch.shares.get(arm, 0.0), epoch.shares.get(CONTROL, 0.0)
        return own / (own + control) if own and control else 0.0


def better_of(metric: str) -> Better:
    """The good direction of a metric that the plan does not name: as the gateway knows it, else higher."""
    known = METRICS.get(metric)
    return known.better if known else "higher"


def told_by_agent(metric: str) -> bool:
    """Whether a metric is the agent's or a judge's word, and may be missing."""
    known = METRICS.get(metric)
    return metric.startswith(FIELD_PREFIX) or known is None or known.told_by == "agent"


def read_plan(told: Mapping[str, Any] | None) -> Plan:
    """The plan of a pre-registration record, or of a route file where there is no record yet."""
    told = told or {}
    primary = told.get("primary") or {}
    metric = primary.get("metric", "success")
    guardrails = tuple(
        Guardrail(metric=one["metric"], margin=one["margin"], better=one.get("better") or better_of(one["metric"]))
        for one in told.get("guardrails") or ()
    )
    return Plan(
        primary=metric,
        better=primary.get("better") or better_of(metric),
        min_effect=primary.get("min_effect", 0.05),
        guardrails=guardrails,
        secondary=tuple(told.get("secondary") or ()),
        strata=tuple(told.get("strata") or ()),
        alpha=told.get("alpha") or 0.05,
        power=told.get("power") or 0.8,
        size=told.get("n_planned") or _PLANNED,
        most=told.get("n_max", _MOST),
        min_days=told.get("min_days") or _MIN_DAYS,
        planned=bool(told.get("planned", primary)),
    )


def study_of(row: Mapping[str, Any], given: Mapping[str, Mapping[str, str]] | None = None) -> Study:
    """An experiment's row with its ``epochs``, as storage lists it; ``given`` has what versions give their agents."""
    return Study(
        id=row["id"],
        unit=row["unit"],
        status=row["status"],
        opened_at=row.get("starts_at") or row["opened_at"],
        closed_at=row.get("closed_at"),
        amended=bool(row.get("amended")),
        plan=read_plan(row.get("record") or row.get("plan")),
        epochs=tuple(_epoch(one, given or {}) for one in row["epochs"]),
    )


def _epoch(row: Mapping[str, Any], given: Mapping[str, Mapping[str, str]]) -> Epoch:
    arms: Sequence[Mapping[str, Any]] = row["arms"]
    judge = row.get("judge")
    models = {one["arm"]: _model({**given.get(one["version"], {}), **(one.get("parameters") or {})}) for one in arms}
    return Epoch(
        number=row["number"],
        began_at=row["began_at"],
        memory=row["memory"],
        shares={arm["arm"]: arm["share"] for arm in arms},
        served={arm["arm"]: (arm["version"], repr(sorted((arm.get("parameters") or {}).items()))) for arm in arms},
        judge=JudgeTold(id=judge["id"], model=judge["model"], questions=judge["questions"]) if judge else None,
        models={arm: model for arm, model in models.items() if model},
    )


def _model(parameters: Mapping[str, str]) -> str | None:
    """The model that an agent is told to run: the parameter ``model``, or one that ends so (``llm.model``)."""
    return next((text for name, text in parameters.items() if name.rpartition(".")[2].lower() == "model"), None)
