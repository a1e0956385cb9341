"""A language model as a double at the wire: it speaks chat completions, and fails as it is told."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from gateway.settings import Criterion
from tests.conftest import listening

Reply = web.Response | str | Callable[[dict[str, Any]], str]

HANG = "hang"


def completion(content: Any, *, usage: Any = None, **message: Any) -> web.Response:
    """An answer as OpenAI's API has it."""
    told = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "model": "judge-large",
        "choices": [
            {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": content, **message}}
        ],
        "usage": {"prompt_tokens": 200, "completion_tokens": 20, "total_tokens": 220} if usage is None else usage,
    }
    return web.json_response(told)


def verdict(value: Any, **more: Any) -> str:
    """What a good model writes."""
    return json.dumps({"verdict": value, "score": 0.9, "reason": "it was said", **more})


class Model:
    """Gives the replies it was handed, in turn, the last one for ever; keeps what it was asked."""

    def __init__(self, *replies: Reply) -> None:
        self.replies: list[Reply] = list(replies)
        self.asked: list[dict[str, Any]] = []
        self.keys: list[str] = []
        self.url = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        assert request.path == "/v1/chat/completions"
        body = await request.json()
        assert {"model", "messages"} <= body.keys()
        self.asked.append(body)
        self.keys.append(request.headers.get("Authorization", ""))
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        if callable(reply):
            return completion(reply(body))
        if reply == HANG:
            await asyncio.sleep(30)
        if isinstance(reply, str):
            return completion(reply)
        # A response can be sent once.
        return web.Response(status=reply.status, body=reply.body, headers=reply.headers)


@asynccontextmanager
async def serving(*replies: Reply) -> AsyncIterator[Model]:
    """A model on a port of loopback while the block runs."""
    model, app = Model(*replies), web.Application()
    app.router.add_post("/{tail:.*}", model.handle)
    async with listening(app) as url:
        model.url = f"{url}/v1"
        yield model


def criterion(name: str = "resolved", **changes: Any) -> Criterion:
    """A question of the kind that is asked for, yes or no by default."""
    return Criterion.model_validate({"name": name, "question": "Was the problem solved?", **changes})


CHOICE = criterion("reason", kind="choice", choices=("billing", "sales"), question="Why do they call?")
NUMBER = criterion("quality", kind="number", question="How good was the agent, from 1 to 5?")
FEELING = criterion("mood", kind="number", question="How does the caller feel?", **{"as": "sentiment"})

SAID: list[dict[str, Any]] = [
    {"role": "agent", "text": "Support, how can I help?", "at": 0.0},
    {"role": "caller", "text": "My invoice was wrong, and now it is right. Thank you!", "at": 2.5},
]
