"""The judge that asks a language model, at any endpoint that speaks OpenAI's chat completions."""

import asyncio
import json
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp

from gateway.errors import Invalid, Unavailable
from gateway.judges.prompt import PROMPT, messages, read_verdict
from gateway.judges.verdict import Judgement, Transcript, Verdict, short_digest
from gateway.settings import Criterion, Llm

ATTEMPTS = 4
_BACK_OFF_SECONDS = 30.0
# Who is asked to wait longer lets the call go, and comes back to it later.
_PATIENCE_SECONDS = 120.0
_LONGEST_PAUSE = 60 * 60.0
_ANSWER_BYTES = 256 * 1024
# The endpoint is busy or broken; what else it says against a request is about this transcript, or about the settings.
_AGAIN = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
_ABOUT_THE_REQUEST = frozenset({400, 413, 422})


class LlmJudge:
    """Asks every criterion in a request of its own, no faster than the settings allow."""

    def __init__(
        self,
        settings: Llm,
        criteria: tuple[Criterion, ...],
        http: aiohttp.ClientSession,
        *,
        wall: Callable[[], int],
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        dice: Callable[[], float] = random.random,
    ) -> None:
        self.criteria = criteria
        self.model = settings.model
        asked = [one.model_dump(by_alias=True, mode="json") for one in criteria]
        self.id = "llm-" + short_digest(PROMPT, settings.base_url, settings.model, settings.options, asked)
        self._settings = settings
        self._http = http
        self._wall = wall
        self._clock = clock
        self._sleep = sleep
        self._dice = dice
        self._next = 0.0
        self._shut_until = 0.0

    async def judge(self, transcript: Transcript, known: Mapping[str, Verdict]) -> Judgement:
        """One verdict for each criterion that is not known; stops at the first that the endpoint cannot give now."""
        verdicts: dict[str, Verdict] = {}
        sent = received = 0
        missing = None
        for criterion in self.criteria:
            if criterion.name in known:
                continue
            try:
                answer, tokens_in, tokens_out = await self._ask(messages(criterion, transcript))
            except Unavailable as error:
                missing = error.message
                break
            except Invalid as error:
                verdicts[criterion.name] = Verdict(reason=error.message)
                continue
            sent, received = sent + tokens_in, received + tokens_out
            verdicts[criterion.name] = read_verdict(answer, criterion)
        cost = (sent * self._settings.price_in + received * self._settings.price_out) / 1000
        return Judgement(verdicts=verdicts, tokens_in=sent, tokens_out=received, cost=cost, missing=missing)

    async def _ask(self, told: list[dict[str, str]]) -> tuple[str, int, int]:
        """The model's answer with the tokens sent and received.

        Raises Invalid when the endpoint refuses this very request, Unavailable when it gives no answer now.
        """
        body = {**self._settings.options, "model": self._settings.model, "messages": told}
        why = ""
        for attempt in range(ATTEMPTS):
            if attempt:
                # Anywhere up to the whole step, so that those who failed together do not return together.
                await self._sleep(self._dice() * min(_BACK_OFF_SECONDS, 2.0**attempt))
            await self._turn()
            try:
                status, pause, raw = await self._post(body)
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                why = f"the judge does not answer: {type(error).__name__}"
                continue
            if status in _ABOUT_THE_REQUEST:
                raise Invalid(f"the judge refused the request with {status}")
            if status == 200:
                answer = _answer_in(raw)
                if answer is not None:
                    return answer
                why = "the judge's answer is no chat completion"
                continue
            why = f"the judge answered {status}"
            if status not in _AGAIN:
                break
            self._shut_until = max(self._shut_until, self._clock() + min(pause, _LONGEST_PAUSE))
        raise Unavailable(why)

    async def _turn(self) -> None:
        """Wait until the pace and the endpoint's own wish allow a request."""
        while (pause := max(self._next, self._shut_until) - self._clock()) > 0:
            if self._shut_until - self._clock() > _PATIENCE_SECONDS:
                raise Unavailable("the judge asked to be left alone for a while")
            await self._sleep(pause)
        self._next = self._clock() + 60 / self._settings.requests_per_minute

    async def _post(self, body: Mapping[str, Any]) -> tuple[int, float, bytes]:
        """Status, the seconds that the answer asks to wait, and its body; Invalid when that is too long to be one."""
        key = self._settings.api_key
        async with self._http.post(
            f"{self._settings.base_url}/chat/completions",
            json=body,
            headers={"Authorization": f"Bearer {key.get_secret_value()}"} if key else {},
            timeout=aiohttp.ClientTimeout(total=self._settings.timeout),
            allow_redirects=False,
        ) as answer:
            raw = b""
            async for chunk in answer.content.iter_any():
                raw += chunk
                if len(raw) > _ANSWER_BYTES:
                    raise Invalid("the judge's answer is too long")
            return answer.status, self._pause_in(answer.headers.get("Retry-After", "")), raw

    def _pause_in(self, text: str) -> float:
        """Seconds that a Retry-After asks for, be it a number or a date (RFC 9110, 10.2.3); 0 for anything else."""
        if text.strip().isascii() and text.strip().isdigit():
            return float(text)
        try:
            return max(0.0, parsedate_to_datetime(text).timestamp() - self._wall() / 1000)
        except (ValueError, OverflowError):
            return 0.0


def _answer_in(raw: bytes) -> tuple[str, int, int] | None:
    """The text of a chat completion and its tokens; a refusal is an empty text. None when it is no completion."""
    try:
        told = json.loads(raw)
        message = told["choices"][0]["message"]
        content = message.get("content")
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError):
        return None
    usage = told.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    return (
        content if isinstance(content, str) else "",
        _count(usage.get("prompt_tokens")),
        _count(usage.get("completion_tokens")),
    )


def _count(told: Any) -> int:
    return told if type(told) is int and 0 <= told < 2**40 else 0
