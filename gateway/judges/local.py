"""The judge that stays on this machine: how the caller feels, by a word list of English."""

import asyncio
import re
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import version
from statistics import fmean
from typing import Any

from gateway.judges.verdict import Judgement, Transcript, Verdict, readable, short_digest
from gateway.settings import Criterion

# Whoever is none of these is the caller: agents name that side in many ways.
_OUR_SIDE = frozenset({"agent", "assistant", "bot", "ai", "system", "tool", "function", "operator", ""})
# The word list's own rules take time that grows with the square of a sentence, and long ones saturate.
_SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+")
_MOST_WORDS = 40

SENTIMENT = Criterion.model_validate(
    {"name": "sentiment", "question": "How does the caller feel?", "kind": "number", "as": "sentiment"}
)


class LocalJudge:
    """Reads the caller's sentiment with VADER (Hutto and Gilbert, ICWSM 2014), which brings its own lexicon."""

    criteria = (SENTIMENT,)
    model = None

    def __init__(self) -> None:
        self.id = "local-" + short_digest("VADER", version("vaderSentiment"), _MOST_WORDS, sorted(_OUR_SIDE))

    async def judge(self, transcript: Transcript, known: Mapping[str, Verdict]) -> Judgement:
        """The sentiment from -1 to 1; unknown when the caller says nothing that the list knows."""
        if SENTIMENT.name in known:
            return Judgement()
        # In a thread: calls are answered by this one.
        verdict = await asyncio.to_thread(_sentiment, transcript)
        return Judgement(verdicts={SENTIMENT.name: verdict})


def _sentiment(transcript: Transcript) -> Verdict:
    scores = [_vader().polarity_scores(sentence) for sentence in _sentences(transcript)]
    # What holds no feeling ("my name is …") would only tell how long the call was.
    told = [score["compound"] for score in scores if score["pos"] or score["neg"]]
    if not told:
        return Verdict(reason="the caller says nothing that the word list knows")
    return Verdict(value=round(fmean(told), 4), reason=f"{len(told)} of the caller's {len(scores)} sentences tell")


def _sentences(transcript: Transcript) -> Iterator[str]:
    for role, text in readable(transcript):
        if role.lower() in _OUR_SIDE:
            continue
        for sentence in _SENTENCE.split(text):
            words = sentence.split()
            for start in range(0, len(words), _MOST_WORDS):
                yield " ".join(words[start : start + _MOST_WORDS])[:1000]


@cache
def _vader() -> Any:
    # Here, so that a gateway that judges nothing never loads the word list.
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

    return SentimentIntensityAnalyzer()
