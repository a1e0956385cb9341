"""What is published elsewhere comes back into the operator's files, and their own work is never overwritten."""

from pathlib import Path

import pytest

from gateway.folders import write_back
from tests.conftest import ROUTES, Running

KEY = ("route", "support")


async def publish(served: Running, share: int, base: int) -> None:
    body = (await served.api("GET", "/routes/support")).body["route"]["body"]
    body["ab_test"]["split"] = {"a": share, "b": 100 - share}
    assert (await served.api("PUT", "/routes/support", body, If_Match=f'"{base}"')).status == 200


async def back(served: Running) -> bool:
    paths = served.gateway.settings.paths
    return await write_back(served.gateway.publishing, {"route": paths.routes, "agent": paths.agents}, KEY)


def file_of(served: Running) -> Path:
    return served.gateway.settings.paths.routes / "support.toml"


async def test_a_file_is_rewritten_and_its_comments_stay(served: Running) -> None:
    file_of(served).write_text("# ours\n" + ROUTES["routes/support.toml"])
    file_of(served).chmod(0o640)
    await publish(served, 70, 1)
    assert await back(served)
    text = file_of(served).read_text()
    assert text.startswith("# ours\n")
    assert "split = { a = 70, b = 30 }" in text
    assert file_of(served).stat().st_mode & 0o777 == 0o640
    assert list(file_of(served).parent.glob(".*")) == []
    # The folder may publish over it: it knows what is live.
    assert (await served.api("POST", "/routes/publish", {})).body["changes"] == []


async def test_a_new_route_gets_a_file(served: Running) -> None:
    body = {"direction": "inbound", "numbers": ["+14155550177"], "versions": {"a": "support@3"}}
    await served.api("PUT", "/routes/night", body, If_None_Match="*")
    folders = {"route": served.gateway.settings.paths.routes, "agent": served.gateway.settings.paths.agents}
    assert await write_back(served.gateway.publishing, folders, ("route", "night"))
    assert "+14155550177" in (folders["route"] / "night.toml").read_text()


@pytest.mark.parametrize("own", ["# not TOML [", ROUTES["routes/support.toml"].replace("50, b = 50", "10, b = 90")])
async def test_a_file_that_somebody_works_on_is_left_alone(served: Running, own: str) -> None:
    file_of(served).write_text(own)
    await publish(served, 70, 1)
    assert not await back(served)
    assert file_of(served).read_text() == own


async def test_a_folder_that_is_not_there_is_no_fault(served: Running) -> None:
    await publish(served, 70, 1)
    folders = {"route": Path("/proc/nowhere"), "agent": Path("/proc/nowhere")}
    assert not await write_back(served.gateway.publishing, folders, KEY)
