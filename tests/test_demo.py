"""The demo from its first call to its end, with callers and a campaign, on loopback alone."""

import io
import re

from rich.console import Console

from gateway import demo
from tests.conftest import free_port


async def test_the_demo_shows_callers_and_a_campaign_to_its_end() -> None:
    shown = io.StringIO()
    console = Console(file=shown, width=80, force_terminal=False)
    ledger = await demo.demo(port=free_port(), calls=20, rate=200, seed=1, console=console)
    assert len(ledger.calls) == 20
    text = shown.getvalue()
    assert 'Campaign "renewals" is completed' in text
    assert re.search(r"\n  a +0 +0 +20 \n  b +0 +0 +20 ", text)
    for word in ("support@3", "waiting", "dialling", "answered", "busy"):
        assert word in text
