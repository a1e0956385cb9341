"""The demo from its first call to its end, with callers and a campaign, on loopback alone."""

import io
import re

import pytest
from rich.console import Console

from gateway import demo
from gateway.client import GatewayClient
from gateway.errors import Unavailable
from gateway.simulator.table import Progress
from tests.conftest import free_port


async def test_the_demo_shows_callers_and_a_campaign_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    read = demo._campaigns
    failed: list[bool] = []

    async def away_at_first(client: GatewayClient) -> list[Progress]:
        if not failed:
            failed.append(True)
            raise Unavailable("the machine is busy with other work")
        return await read(client)

    monkeypatch.setattr(demo, "_campaigns", away_at_first)
    shown = io.StringIO()
    console = Console(file=shown, width=80, force_terminal=False)
    ledger = await demo.demo(port=free_port(), calls=20, rate=200, seed=1, console=console)
    assert len(ledger.calls) == 20
    text = shown.getvalue()
    assert 'Campaign "renewals" is completed' in text
    assert re.search(r"\n  a +0 +0 +20 \n  b +0 +0 +20 ", text)
    for word in ("support@3", "waiting", "dialling", "answered", "busy"):
        assert word in text
