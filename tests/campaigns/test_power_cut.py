"""Cuts the power under load: an answered call was synced to the disk, whatever the kernel still held in memory.

A kill alone cannot tell ``synchronous=FULL`` from ``NORMAL``, because the kernel outlives the process; here a disk
that forgets what was never synced can, and NORMAL must be caught. The long form is ``make kill-test``.
"""

import asyncio
import os
import random
from pathlib import Path

import pytest

from tests.campaigns.platter import cut_power
from tests.campaigns.server import Server, kill_under_load

CUTS = int(os.environ.get("GATEWAY_KILLS", "3"))
LOST = ("gateway.db*", "data/**/*")

NORMAL = """
from gateway.storage import engine
engine.DURABLE = tuple(pragma.replace("FULL", "NORMAL") for pragma in engine.DURABLE)
"""


def server_on_a_forgetful_disk(folder: Path, *, patch: str = "") -> tuple[Server, Path]:
    files, platter = folder / "files", folder / "platter"
    files.mkdir()
    platter.mkdir()
    install = f"from tests.campaigns import platter\nplatter.install({str(files)!r}, {str(platter)!r})\n"
    return Server(files, patch=install + patch), platter


async def lost_calls(server: Server, platter: Path, cuts: int) -> tuple[set[str], int]:
    """The answered calls that no cut left in the database, and how many were answered."""
    answered, dice = set[str](), random.Random(2)
    for seed in range(cuts):
        fresh = await kill_under_load(server, seed, dice.uniform(0.2, 0.8))
        assert fresh
        answered |= fresh
        cut_power(server.folder, platter, LOST)
    await server.start()
    await asyncio.sleep(1.5)  # what stands in the journal is replayed at the start
    assert server.stop() == 0
    return answered - server.stored(), len(answered)


@pytest.mark.timeout(60 + 20 * CUTS)
async def test_every_answered_call_survives_a_power_cut(tmp_path: Path) -> None:
    lost, answered = await lost_calls(*server_on_a_forgetful_disk(tmp_path), CUTS)
    assert answered > 50
    assert lost == set()


@pytest.mark.timeout(120)
async def test_the_control_that_syncs_less_is_caught(tmp_path: Path) -> None:
    lost, _ = await lost_calls(*server_on_a_forgetful_disk(tmp_path, patch=NORMAL), 2)
    assert lost != set()
