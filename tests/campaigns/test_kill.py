"""Kills the server under load: every call that was answered must be in its database afterwards.

The long form is ``make kill-test``; a control that answers before it commits must fail the same check.
"""

import asyncio
import os
import random
from pathlib import Path

import pytest

from tests.campaigns.server import Server, kill_under_load

KILLS = int(os.environ.get("GATEWAY_KILLS", "3"))

# Answers at once, and writes a second later: what a gateway without a group commit might be tempted to do.
HASTY = """
import asyncio
from gateway.storage.ledger import Ledger
record = Ledger.record
async def hasty(self, row, drawn=None):
    async def later():
        await asyncio.sleep(1)
        await record(self, row, drawn)
    self.tasks = getattr(self, "tasks", set())
    self.tasks.add(asyncio.ensure_future(later()))
    return row
Ledger.record = hasty
"""


@pytest.mark.timeout(60 + 20 * KILLS)
async def test_every_answered_call_survives_a_kill(tmp_path: Path) -> None:
    server, answered, dice = Server(tmp_path), set[str](), random.Random(1)
    for seed in range(KILLS):
        fresh = await kill_under_load(server, seed, dice.uniform(0.1, 0.8))
        answered |= fresh
        assert fresh
    await server.start()  # what stands in the journal is replayed at the start
    await asyncio.sleep(1.5)
    assert server.stop() == 0
    assert answered - server.stored() == set()


async def test_the_control_that_answers_before_it_commits_is_caught(tmp_path: Path) -> None:
    server = Server(tmp_path, patch=HASTY)
    answered = await kill_under_load(server, 1, 0.8)
    server.patch = ""
    await server.start()
    assert server.stop() == 0
    assert answered - server.stored() != set()
