"""The notices from the shell: a test of the receivers, and the list."""

import json
from pathlib import Path

from tests.cli.shell import gateway
from tests.conftest import NOBODY, WEBHOOK_SECRET, running, settings_for
from tests.receiving import receiving


async def test_receivers_are_tested_and_what_was_sent_is_listed(tmp_path: Path) -> None:
    async with receiving() as double:
        receivers = {
            name: {"url": url, "secret": WEBHOOK_SECRET} for name, url in (("ops", double.url), ("no", NOBODY))
        }
        settings = settings_for(
            tmp_path,
            f"sqlite:///{tmp_path}/gateway.db",
            GATEWAY_NOTIFICATIONS__RECEIVERS=json.dumps(receivers),
        )
        async with running(settings) as served:
            code, said = await gateway(served, "notifications", "test")
            assert (code, "answered 204" in said, "cannot be reached" in said) == (1, True, True), said
            code, said = await gateway(served, "notifications", "list")
            assert (code, double.ids[0] in said, "failed" in said) == (0, True, True), said
            code, said = await gateway(served, "notifications", "list", "--json")
            assert [one["receiver"] for one in json.loads(said)["notifications"][0]["deliveries"]] == ["no", "ops"]
