"""What a health check is, and what it finds."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from gateway.results.comparing import Comparison
from gateway.results.evidence import Evidence

Level = Literal["BLOCK", "WARN", "ALARM", "INFO"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """What a rule found: its number and name, how grave it is, and the sentence."""

    number: int
    check: str
    level: Level
    text: str


Found = Iterator[str | tuple[Level, str]]
Trigger = Callable[[Evidence], Found]


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """``find`` yields a sentence for each thing found, or a level of its own with it."""

    number: int
    check: str
    level: Level
    find: Trigger

    def findings(self, evidence: Evidence) -> list[Finding]:
        """What it finds."""
        told = [one if isinstance(one, tuple) else (self.level, one) for one in self.find(evidence)]
        return [Finding(number=self.number, check=self.check, level=level, text=text) for level, text in told]


def winners(e: Evidence) -> list[Comparison]:
    """The arms that are surely better than the control on the primary metric."""
    return [one for one in e.primary.values() if one.certain and one.gain > 0]
