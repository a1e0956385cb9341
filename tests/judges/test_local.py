"""The caller's sentiment by a word list: offline, and only of what the caller says."""

import subprocess
import sys
from typing import Any

import pytest

from gateway.judges.local import SENTIMENT, LocalJudge
from gateway.judges.verdict import Verdict


def said(*texts: str, role: str = "caller") -> list[dict[str, Any]]:
    return [{"role": role, "text": text} for text in texts]


async def sentiment(lines: list[dict[str, Any]]) -> Any:
    found = await LocalJudge().judge(lines, {})
    assert found.missing is None
    assert found.tokens_in == found.cost == 0
    return found.verdicts["sentiment"].value


@pytest.mark.parametrize("role", ["caller", "user", "customer", "Caller"])
async def test_clear_sentences_are_told_apart(role: str) -> None:
    good = await sentiment(said("Thank you so much, that was wonderful help!", role=role))
    bad = await sentiment(said("This is terrible. I am really angry and I hate it.", role=role))
    assert good > 0.5
    assert bad < -0.5


async def test_a_negated_word_is_not_taken_for_the_word() -> None:
    assert await sentiment(said("I am not happy with this.")) < 0 < await sentiment(said("I am happy with this."))


async def test_what_the_agent_says_does_not_count() -> None:
    angry = said("I hate this, it is horrible.")
    cheer = said("Wonderful! I love it! Great, great, great!", role="agent") + said("Lovely!", role="assistant")
    assert await sentiment(cheer + angry) == await sentiment(angry)
    assert await sentiment(cheer) is None


async def test_neither_length_nor_neutral_lines_thin_it_out() -> None:
    line = said("I am so grateful, thank you.")
    assert await sentiment(line + said("It is on the table.") * 50) == await sentiment(line)


@pytest.mark.parametrize("lines", [[], said("It is on the table."), said("Ich nehme den Tisch.")])
async def test_without_a_word_that_the_list_knows_it_is_unknown(lines: list[dict[str, Any]]) -> None:
    assert await sentiment(lines) is None


async def test_what_is_known_is_not_judged_again() -> None:
    assert (await LocalJudge().judge(said("Great!"), {"sentiment": Verdict(value=0.1)})).verdicts == {}


async def test_a_sentence_without_an_end_is_read_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    from gateway.judges import local

    seen: list[str] = []

    class Reader:
        def polarity_scores(self, text: str) -> dict[str, float]:
            seen.append(text)
            return {"pos": 0.0, "neg": 0.0, "neu": 1.0, "compound": 0.0}

    monkeypatch.setattr(local, "_vader", Reader)
    await sentiment(said("but happy " * 5000, "x" * 50_000))
    # The word list takes thirteen seconds for such a line as a whole.
    assert max(len(text) for text in seen) <= 1000
    assert max(len(text.split()) for text in seen) == 40


def test_the_id_is_short_and_stable() -> None:
    assert LocalJudge().id == LocalJudge().id
    assert LocalJudge().id.startswith("local-")
    assert len(LocalJudge().id) == len("local-") + 8
    assert LocalJudge().criteria == (SENTIMENT,)


def test_the_word_list_is_loaded_late_and_without_a_network() -> None:
    script = """
import asyncio, sys
import gateway.wiring
from gateway.judges.local import LocalJudge
assert "vaderSentiment" not in sys.modules
judge = LocalJudge()
assert "vaderSentiment" not in sys.modules
def offline(event, details):
    if event in ("socket.connect", "socket.getaddrinfo"):
        raise SystemExit(f"{event} {details}")
sys.addaudithook(offline)
found = asyncio.run(judge.judge([{"role": "caller", "text": "I love it"}], {}))
assert found.verdicts["sentiment"].value > 0.5
assert "vaderSentiment" in sys.modules
"""
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (told.returncode, told.stderr) == (0, "")
