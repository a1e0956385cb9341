"""What a judge is, and what it finds in a transcript."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, Protocol, TypeGuard

from gateway.settings import Criterion

Transcript = Sequence[Mapping[str, Any]]
"""What was said in a call, line by line: ``role``, ``text`` and perhaps ``at`` (seconds), as an outcome has it."""

# What is read of a transcript: enough for an hour of talk, and no more than a model can hold.
_MOST_LETTERS = 48_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """The answer to one criterion: True or False, a number, or one of its choices; None when it is unknown.

    ``score`` is how sure the judge says it is; ``reason`` is its own words, which may quote the transcript.
    """

    value: bool | float | str | None = None
    score: float | None = None
    reason: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Judgement:
    """The verdicts by criterion's name, and what they took: tokens, and money in the unit of the settings' prices.

    ``missing`` says why some criterion has no verdict yet; trying again later is the cure.
    """

    verdicts: Mapping[str, Verdict] = field(default_factory=dict)
    tokens_in: int = 0
    tokens_out: int = 0
    cost: float = 0.0
    missing: str | None = None


class Judge(Protocol):
    """Finds verdicts in a transcript. ``id`` changes with everything that could change a verdict.

    ``model`` names the language model that judges, if one does.
    """

    @property
    def id(self) -> str: ...

    @property
    def model(self) -> str | None: ...

    @property
    def criteria(self) -> Sequence[Criterion]: ...

    async def judge(self, transcript: Transcript, known: Mapping[str, Verdict]) -> Judgement:
        """The verdicts on the criteria that are not ``known`` from an earlier try; no transcript makes it raise."""
        ...


def form_of(criterion: Criterion) -> str:
    """What a value of the criterion may be, in words."""
    if criterion.kind == "choice":
        return "one of " + ", ".join(json.dumps(choice, ensure_ascii=False) for choice in criterion.choices)
    if criterion.as_ == "sentiment":
        return "a number from -1 (very negative) to 1 (very positive)"
    return "a number" if criterion.kind == "number" else "true or false"


def fits(value: object, criterion: Criterion) -> bool:
    """Whether a value is of the criterion's kind and within its bounds."""
    if criterion.kind == "boolean":
        return isinstance(value, bool)
    if criterion.kind == "choice":
        return isinstance(value, str) and value in criterion.choices
    return is_number(value) and (criterion.as_ != "sentiment" or -1 <= value <= 1)


def is_number(value: object) -> TypeGuard[int | float]:
    """Whether ``value`` is a number that somebody may have measured: no truth value, nothing infinite."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300


def short_digest(*told: Any) -> str:
    """Eight hex digits that change with everything in ``told`` (JSON values)."""
    return blake2b(json.dumps(told, sort_keys=True).encode(), digest_size=4).hexdigest()


def readable(transcript: Transcript) -> list[tuple[str, str]]:
    """Role and text of each line that says something; of a very long call the beginning and the end.

    A cut is shown by a line without a role.
    """
    lines = [(str(one.get("role", "")).strip(), str(one.get("text", "")).strip()) for one in transcript]
    lines = [(role, text[: _MOST_LETTERS // 4]) for role, text in lines if text]
    if sum(len(text) for _, text in lines) <= _MOST_LETTERS:
        return lines
    first = _within(lines, _MOST_LETTERS // 2)
    last = _within(lines[len(first) :][::-1], _MOST_LETTERS // 2)[::-1]
    return [*first, ("", f"{len(lines) - len(first) - len(last)} lines left out"), *last]


def _within(lines: Sequence[tuple[str, str]], letters: int) -> list[tuple[str, str]]:
    taken = []
    for role, text in lines:
        letters -= len(text)
        if letters < 0:
            break
        taken.append((role, text))
    return taken
