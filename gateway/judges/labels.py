"""What people may say of a call when they check a judge, and how many calls they should hear. Pure."""

from collections.abc import Sequence

from gateway.errors import Problem
from gateway.judges.local import SENTIMENT
from gateway.judges.verdict import fits, form_of
from gateway.settings import Criterion

SUCCESS = Criterion.model_validate({"name": "success", "question": "Did the call succeed?", "as": "success"})


NEEDED, SUGGESTED = 50, 200
"""Labelled calls of each arm: what the audit of a judge takes at least, and what makes it a good one."""


def questions(criteria: Sequence[Criterion]) -> dict[str, Criterion]:
    """What people are asked, by what it tells: success, sentiment and every criterion, in the judge's own words."""
    return {one.told_as: one for one in (SUCCESS, SENTIMENT, *criteria)}


def refused_label(criterion: str, value: object, criteria: Sequence[Criterion]) -> Problem | None:
    """Why a label cannot be taken, or None: it names a measure or a criterion, and its value is of that kind."""
    known = questions(criteria)
    if criterion not in known:
        return Problem(
            place="body",
            path="criterion",
            text=f"{criterion} is no criterion of this gateway: name one of {', '.join(known)}",
        )
    if not fits(value, known[criterion]):
        return Problem(place="body", path="value", text=f"{criterion} should be {form_of(known[criterion])}")
    return None
