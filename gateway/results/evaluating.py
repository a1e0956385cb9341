"""The evaluation of an experiment: from its sums and what is remembered, to readings, findings and a verdict."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from gateway.results.cells import Cells
from gateway.results.comparing import ClusterSums, Running
from gateway.results.evidence import Evidence
from gateway.results.finding import Finding
from gateway.results.gathering import gather
from gateway.results.rules import examine, harm_text
from gateway.results.study import Study
from gateway.results.verdict import Verdict, arm_verdict, verdict
from gateway.storage.analyses import Labelled
from gateway.storage.tallies import Cell, Count


@dataclass(frozen=True, kw_only=True, slots=True)
class Alarm:
    """What somebody should be told of at once: a check that blocks, or the harm that an arm does in a metric."""

    check: str
    number: int
    level: str
    text: str
    arm: str | None = None
    metric: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """All that is known of an experiment at one moment.

    ``running`` is what to remember of each (arm, metric) for the next time.
    """

    evidence: Evidence
    findings: tuple[Finding, ...]
    verdict: Verdict
    arms: Mapping[str, Verdict]

    @property
    def blocked(self) -> bool:
        """Whether the numbers cannot be trusted, so that no winner may be applied."""
        return any(one.level == "BLOCK" for one in self.findings)

    @property
    def caveat(self) -> str | None:
        """Why a winner may be applied only by whoever insists on it; None where nothing speaks against it."""
        if self.verdict.state == "blocked":
            return self.verdict.text
        audit = self.evidence.audits.get(self.evidence.study.plan.primary)
        return f"{audit.lacking}." if audit is not None and audit.state == "unaudited" else None

    @property
    def harm(self) -> bool:
        """Whether a version does certain harm."""
        return bool(self.evidence.harms)

    @property
    def alarms(self) -> tuple[Alarm, ...]:
        """What blocks the verdict, and what does harm."""
        blocks = [
            Alarm(check=one.check, number=one.number, level="block", text=one.text)
            for one in self.findings
            if one.level == "BLOCK"
        ]
        harms = [
            Alarm(check="harm", number=3, level="alarm", text=text, arm=arm, metric=metric)
            for arm, metric in self.evidence.harms
            if (text := harm_text(self.evidence, arm, metric)) is not None
        ]
        return (*blocks, *harms)

    @property
    def failing_guardrails(self) -> tuple[str, ...]:
        """The guardrails that fail, or are harmed, in any arm."""
        bad = (metric for (metric, _), state in self.evidence.guardrails.items() if state in ("fail", "harm"))
        return tuple(dict.fromkeys(bad))

    @property
    def mature(self) -> Mapping[str, int]:
        """The mature calls of each arm."""
        return {name: arm.mature for name, arm in self.evidence.arms.items()}

    @property
    def running(self) -> Mapping[tuple[str, str], Running]:
        """What to remember, by (arm, metric)."""
        return {
            (arm, metric): one.running
            for metric, arms in self.evidence.comparisons.items()
            for arm, one in arms.items()
        }


def evaluate(
    study: Study,
    tallies: Iterable[tuple[Cell, Count]],
    *,
    now: int,
    clusters: ClusterSums | None = None,
    running: Mapping[tuple[str, str], Running] | None = None,
    labels: Sequence[Labelled] = (),
) -> Evaluation:
    """Evaluate an experiment at ``now`` (Unix milliseconds)."""
    evidence = gather(study, Cells(tallies), clusters or {}, running or {}, labels, now=now)
    findings = examine(evidence)
    return Evaluation(
        evidence=evidence,
        findings=tuple(findings),
        verdict=verdict(evidence, findings),
        arms={arm: arm_verdict(evidence, one) for arm, one in evidence.primary.items()},
    )
