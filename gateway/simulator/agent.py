"""Plays the agents behind the targets: how each version does, and the outcomes it reports."""

import asyncio
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp


@dataclass(frozen=True, kw_only=True, slots=True)
class Behaviour:
    """How a version does: chances from 0 to 1, the mean length of a call in seconds, the mean sentiment.

    ``refuses`` is the chance that the agent does not take the call, ``hangs`` that it takes it and says nothing.
    """

    success: float = 0.6
    seconds: float = 120.0
    transfers: float = 0.1
    sentiment: float = 0.2
    refuses: float = 0.0
    hangs: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Conversation:
    """How one conversation goes."""

    taken: bool
    seconds: int
    outcome: Mapping[str, Any] | None
    wants_person: bool = False


def converse(dice: random.Random, behaviour: Behaviour) -> Conversation:
    """Draw a conversation with a version that behaves so."""
    if dice.random() < behaviour.refuses:
        return Conversation(taken=False, seconds=0, outcome=None)
    if dice.random() < behaviour.hangs:
        return Conversation(taken=True, seconds=15, outcome=None)
    seconds = max(3, round(dice.lognormvariate(0, 0.6) * behaviour.seconds * 0.84))
    success = dice.random() < behaviour.success
    person = dice.random() < behaviour.transfers
    mood = max(-1.0, min(1.0, dice.gauss(behaviour.sentiment + (0.2 if success else -0.2), 0.3)))
    outcome = {
        "success": success,
        "sentiment": round(mood, 2),
        "transfer_requested": person,
        "transferred": person,
        "fields": {
            "intent": dice.choice(("billing", "order", "other")),
            "csat": dice.randint(3 if success else 1, 5),
        },
        "transcript": [
            {"role": "agent", "text": "Thank you for calling. How can I help?", "at": 0.5},
            {"role": "caller", "text": "That is all, thank you." if success else "This did not help.", "at": 4.0},
        ],
        "final": True,
    }
    return Conversation(taken=True, seconds=seconds, outcome=outcome, wants_person=person)


async def report(
    http: aiohttp.ClientSession, gateway: str, token: str, call: str, outcome: Mapping[str, Any]
) -> bool:
    """Post an outcome to the gateway as an agent does, trying again while it is unavailable; True when taken."""
    url = f"{gateway}/api/v1/calls/{call}/outcome"
    for pause in (0.2, 1.0, 3.0, 0.0):
        try:
            async with http.post(url, json=outcome, headers={"Authorization": f"Bearer {token}"}) as answer:
                if answer.status < 500:
                    return answer.status == 200
        except (aiohttp.ClientError, TimeoutError):
            pass
        await asyncio.sleep(pause)
    return False
