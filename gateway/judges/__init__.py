"""Judges of finished calls: each reads a transcript and gives a verdict on its criteria. Nothing here knows SQL."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from gateway.judges.llm import LlmJudge
from gateway.judges.local import LocalJudge
from gateway.judges.verdict import Judge, Judgement, Transcript, Verdict
from gateway.settings import Analysis

__all__ = ["Judge", "Judgement", "Transcript", "Verdict", "describe", "open_judge"]


def describe(judge: Judge) -> dict[str, Any]:
    """Who judges, for the record: the id, which stands for all that could change a verdict, model and questions."""
    questions = {one.told_as: one.question for one in judge.criteria}
    return {"id": judge.id, "model": judge.model, "questions": questions}


@asynccontextmanager
async def open_judge(settings: Analysis, *, wall: Callable[[], int]) -> AsyncIterator[Judge | None]:
    """The judge that the settings name, or None when nobody judges. ``wall`` is in Unix milliseconds."""
    if settings.judge == "local":
        yield LocalJudge()
    elif settings.judge == "llm" and settings.llm is not None:
        async with aiohttp.ClientSession() as http:
            yield LlmJudge(settings.llm, settings.criteria, http, wall=wall)
    else:
        yield None
