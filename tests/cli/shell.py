"""Runs the ``gateway`` command as an operator's shell does."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

from tests.conftest import ADMIN, Running


async def gateway(
    served: Running | None, *words: str, folder: Path | None = None, token: str = ADMIN, **environment: str
) -> tuple[int, str]:
    """Run one command; its exit code and everything it printed."""
    environ = {"PATH": os.environ["PATH"], "COLUMNS": "200", "NO_COLOR": "1", **environment}
    if served is not None:
        environ |= {"GATEWAY_URL": served.url, "GATEWAY_TOKEN": token}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "gateway",
        *words,
        env=environ,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, said.decode()
