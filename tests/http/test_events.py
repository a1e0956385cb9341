"""The stream of what changes: what it tells, to whom, and how it ends."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from gateway.http import following
from tests.conftest import ADMIN, Running, running, settings_for, write_files

PATIENCE = 15.0


class Told:
    """An open stream, read event by event."""

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self._answer = answer
        self.last = ""

    async def next(self) -> tuple[str, Any]:
        """The kind of the next event, and what it tells; ("", None) at the end."""
        fields: dict[str, str] = {}
        async with asyncio.timeout(PATIENCE):
            while line := (await self._answer.content.readline()).decode():
                name, _, value = line.strip().partition(": ")
                if not line.strip() and "event" in fields:
                    self.last = fields["id"]
                    return fields["event"], json.loads(fields["data"])
                fields[name] = value
        return "", None

    async def until(self, kind: str) -> Any:
        """What the next event of a kind tells."""
        while True:
            found, told = await self.next()
            assert found, f"the stream ended before {kind}"
            if found == kind:
                return told


@asynccontextmanager
async def following_events(served: Running, token: str = ADMIN, last: str = "") -> AsyncIterator[Told]:
    headers = {"Authorization": f"Bearer {token}"} | ({"Last-Event-ID": last} if last else {})
    async with served.http.get(served.url + "/api/v1/events", headers=headers) as answer:
        assert (answer.status, answer.content_type) == (200, "text/event-stream")
        yield Told(answer)


async def token_of(served: Running, role: str) -> dict[str, str]:
    made: dict[str, str] = (await served.api("POST", "/tokens", {"name": role, "role": role})).body["token"]
    return made


async def test_a_viewer_is_told_the_whole_and_then_what_changes(served: Running) -> None:
    async with following_events(served, (await token_of(served, "viewer"))["secret"]) as told:
        kind, first = await told.next()
        assert kind == "snapshot"
        assert (first["publication"], first["dialing"], first["holds"]) == (1, {"stopped": None}, [])
        assert [one["id"] for one in first["experiments"]] == ["sales-1", "support-1"]

        await served.ring()
        await served.ring()
        traffic = await told.until("traffic")
        while traffic["under_way"] < 2:
            traffic = await told.until("traffic")
        assert (traffic["today"], traffic["routes"]) == (2, {"support": 2})

        await served.api("POST", "/routes/support/hold", {"to": "a", "reason": "calm"})
        hold = await told.until("hold")
        assert (hold["route"], hold["hold"]["to"], hold["hold"]["reason"]) == ("support", "a", "calm")
        assert (await told.until("experiment"))["status"] == "paused"
        await served.api("DELETE", "/routes/support/hold")
        assert (await told.until("hold")) == {"route": "support", "hold": None}
        assert (await told.until("experiment"))["status"] == "running"

        await served.api("POST", "/experiments/support-1/stop", {"winner": "b", "reason": "clear"})
        published = await told.until("publication")
        assert (published["publication"], published["routes"], published["agents"]) == (2, ["support"], [])
        ended = await told.until("experiment")
        assert (ended["id"], ended["status"], ended["winner"]) == ("support-1", "maturing", "b")

        await served.api("POST", "/dialing/stop", {"reason": "wrong script"})
        assert (await told.until("dialing"))["stopped"]["reason"] == "wrong script"


async def test_a_campaign_is_told_of_with_its_counts(tmp_path: Path, database_url: str) -> None:
    write_files(tmp_path)
    settings = settings_for(tmp_path, database_url, GATEWAY_OUTBOUND__ALLOWED_COUNTRIES='["US"]')
    async with running(settings) as served:
        body = {"direction": "outbound", "numbers": ["+14155550150"], "versions": {"a": "support@3"}}
        assert (await served.api("PUT", "/routes/out", body, If_None_Match="*")).status < 300
        async with following_events(served) as told:
            await told.until("snapshot")
            listed = {"name": "may", "route": "out", "contacts": [{"to": "+12125550142"}]}
            made = await served.api("POST", "/campaigns", listed)
            assert made.status == 201, made.body
            campaign = await told.until("campaign")
            assert (campaign["id"], campaign["status"]) == (made.body["campaign"]["id"], "draft")
            while campaign["counts"] is None:
                campaign = await told.until("campaign")
            assert sum(campaign["counts"].values()) == 1


async def test_who_comes_back_is_told_what_came_meanwhile_and_nothing_twice(served: Running) -> None:
    async with following_events(served) as stays, following_events(served) as goes:
        await stays.until("snapshot")
        await goes.until("snapshot")
        last = goes.last
        await served.api("POST", "/dialing/stop", {"reason": "one"})
        await stays.until("dialing")
        async with following_events(served, last=last) as again:
            kind, told = await again.next()
            assert (kind, told["stopped"]["reason"]) == ("dialing", "one")
            assert again.last == stays.last
        async with following_events(served, last="another-7") as stranger:
            assert (await stranger.next())[0] == "snapshot"


async def test_nothing_is_told_to_whom_it_is_not_for(served: Running) -> None:
    assert (await served.api("GET", "/events", token=None)).status == 401
    assert (await served.api("GET", "/events", token=(await token_of(served, "agent"))["secret"])).status == 403


async def test_a_revoked_token_is_told_nothing_more(served: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "BEAT_SECONDS", 0.1)
    monkeypatch.setattr(following, "CHECKED_SECONDS", 0.0)
    made = await token_of(served, "viewer")
    async with following_events(served, made["secret"]) as told:
        await told.until("snapshot")
        await served.api("DELETE", f"/tokens/{made['id']}")
        assert (await told.next())[0] == ""


async def test_however_many_follow_the_database_is_read_once(
    served: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = 0
    read = served.gateway.outbox.stopped

    async def counted() -> dict[str, Any] | None:
        nonlocal reads
        reads += 1
        return await read()

    monkeypatch.setattr(served.gateway.outbox, "stopped", counted)
    async with (
        following_events(served) as one,
        following_events(served) as two,
        following_events(served) as three,
    ):
        for told in (one, two, three):
            await told.until("snapshot")
        assert served.gateway.feed.following == 3
        assert reads <= 2
        before = reads
        for number in range(3):
            await served.api("POST", "/routes/support/hold", {"to": "a", "reason": str(number)})
            for told in (one, two, three):
                while (await told.until("hold"))["hold"]["reason"] != str(number):
                    pass
        assert 3 <= reads - before <= 8


async def test_a_drained_gateway_ends_the_streams(served: Running) -> None:
    async with following_events(served) as told:
        await told.until("snapshot")
        served.gateway.feed.close()
        assert (await told.next())[0] == ""
    assert (await served.api("GET", "/events")).status == 503


async def test_the_console_listens_to_the_same_stream(served: Running) -> None:
    from tests.http.console.visitor import visitor

    kim = await visitor(served, "viewer")
    cookie = "; ".join(f"{name}={value}" for name, value in kim.cookies.items())
    async with served.http.get(served.url + "/live", headers={"Cookie": cookie}) as answer:
        told = Told(answer)
        await told.until("snapshot")
        await served.api("POST", "/dialing/stop", {"reason": "wrong script"})
        assert (await told.until("dialing"))["stopped"]["reason"] == "wrong script"
        async with following_events(served, last=told.last) as other:
            await served.api("POST", "/dialing/start", {})
            assert (await other.until("dialing"))["stopped"] is None
