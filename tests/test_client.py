"""The Python client: it raises what the gateway answered, and says so when nobody answers."""

import pytest
from aiohttp import web

from gateway.client import GatewayClient
from gateway.errors import Conflict, Invalid, Moved, NotFound, Refused, Unauthenticated, Unavailable
from tests.conftest import ADMIN, NOBODY, Running, listening

BODY = {"direction": "inbound", "numbers": ["+14155550177"], "versions": {"a": "support@3"}}


async def test_things_are_read_made_changed_and_removed(served: Running) -> None:
    async with GatewayClient(served.url + "/", ADMIN) as gateway:
        await gateway.put("/routes/night", BODY, base=None)
        changed = await gateway.put("/routes/night", BODY | {"numbers": ["+14155550178"]}, base=1)
        assert changed["route"]["revision"] == 2
        assert (await gateway.get("/routes/night"))["route"]["body"]["numbers"] == ["+14155550178"]
        await gateway.post("/routes/night/hold", {"to": "a", "reason": "calm"})
        assert (await gateway.delete("/routes/night/hold"))["hold"] is None


async def test_each_mistake_is_an_error_of_its_own_kind(served: Running) -> None:
    async with GatewayClient(served.url, ADMIN) as gateway:
        with pytest.raises(NotFound, match="nowhere"):
            await gateway.get("/routes/nowhere")
        with pytest.raises(Moved):
            await gateway.put("/routes/support", BODY, base=9)
        with pytest.raises(Invalid) as wrong:
            await gateway.put("/routes/night", BODY | {"numbers": [14155550177]}, base=None)
        assert ["quote the number" in problem.text for problem in wrong.value.problems] == [True]
        viewer = (await gateway.post("/tokens", {"name": "kim", "role": "viewer"}))["token"]["secret"]
    async with GatewayClient(served.url, viewer) as gateway:
        with pytest.raises(Refused, match="viewer"):
            await gateway.delete("/routes/support/hold")
    async with GatewayClient(served.url, "gw_wrong") as gateway:
        with pytest.raises(Unauthenticated):
            await gateway.get("/routes")


async def test_the_same_key_is_the_same_request(served: Running) -> None:
    async with GatewayClient(served.url, ADMIN) as gateway:
        first = await gateway.post("/tokens", {"name": "kim", "role": "viewer"}, key="k1")
        assert await gateway.post("/tokens", {"name": "kim", "role": "viewer"}, key="k1") == first
        with pytest.raises(Conflict):
            await gateway.post("/tokens", {"name": "bo", "role": "viewer"}, key="k1")


async def test_a_list_is_read_to_its_end(served: Running) -> None:
    for number in range(5):
        await served.ring(CallSid=f"CA{number:032x}")
    async with GatewayClient(served.url, ADMIN) as gateway:
        seen = [call["id"] async for call in gateway.pages("/calls", "calls", limit=2, route="support")]
    assert seen == [f"CA{number:032x}" for number in reversed(range(5))]


async def test_nobody_there_is_told_in_words() -> None:
    async with GatewayClient(NOBODY, ADMIN) as gateway:
        with pytest.raises(Unavailable, match="no gateway answers"):
            await gateway.get("/routes")


@pytest.mark.parametrize("text", ["<html>a proxy's page</html>", '["a list"]', ""])
async def test_whatever_else_answers_is_no_gateway(text: str) -> None:
    async def proxy(_: web.Request) -> web.Response:
        return web.Response(status=502, text=text)

    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", proxy)
    async with listening(app) as url, GatewayClient(url, ADMIN) as gateway:
        with pytest.raises(Unavailable):
            await gateway.get("/routes")


async def test_it_speaks_only_while_it_is_open() -> None:
    with pytest.raises(RuntimeError, match="async with"):
        await GatewayClient(NOBODY, ADMIN).get("/routes")


async def test_a_campaign_is_followed_through_a_restart_until_its_last_call_ends() -> None:
    waiting = {"status": "running", "counts": {"dialling": 0, "waiting": 1}}
    told = [
        waiting,
        waiting,
        None,
        waiting | {"status": "cancelled", "counts": {"dialling": 1}},
        waiting | {"status": "cancelled"},
    ]

    async def show(request: web.Request) -> web.Response:
        one = told.pop(0)
        if one is None:
            raise web.HTTPServiceUnavailable(text="restarting")
        return web.json_response({"ok": True, "campaign": one})

    app = web.Application()
    app.router.add_get("/api/v1/campaigns/cmp_1", show)
    async with listening(app) as url, GatewayClient(url, ADMIN) as gateway:
        seen = [(one["status"], one["counts"]["dialling"]) async for one in gateway.follow("cmp_1", every=0.01)]
    assert seen == [("running", 0), ("cancelled", 1), ("cancelled", 0)]
    async with GatewayClient(NOBODY, ADMIN) as gateway:
        with pytest.raises(Unavailable):
            [one async for one in gateway.follow("cmp_1", every=0.01, patience=0.05)]
