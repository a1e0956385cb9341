"""Whoever sends slowly is cut off; everybody else is served meanwhile."""

import asyncio

import pytest

from gateway.http import connection, webhooks
from tests.conftest import Running


async def talk(served: Running, *parts: bytes, pause: float = 0.0) -> bytes:
    """Send parts on a connection of its own and read until the server ends it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(served.url.rpartition(":")[2]))
    for part in parts:
        writer.write(part)
        await writer.drain()
        await asyncio.sleep(pause)
    async with asyncio.timeout(20):
        answer = await reader.read()
    writer.close()
    return answer


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "HEADER_SECONDS", 0.2)
    monkeypatch.setattr(webhooks, "BODY_SECONDS", 0.2)


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize("sent", [b"", b"POST /twilio/voice HTTP/1.1\r\nHost: x\r\nX-Half: "])
async def test_a_header_that_never_ends_is_cut_off(served: Running, sent: bytes) -> None:
    assert await talk(served, sent) == b""
    assert (await served.ring()).status == 200


@pytest.mark.usefixtures("hurried")
async def test_a_second_header_on_the_same_connection_is_cut_off_too(served: Running) -> None:
    whole = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    answer = await talk(served, whole, b"GET /healthz HTT", pause=0.05)
    assert answer.count(b"HTTP/1.1 200") == 1


@pytest.mark.usefixtures("hurried")
async def test_a_body_that_never_ends_is_cut_off(served: Running) -> None:
    head = (
        b"POST /twilio/voice HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 500\r\n\r\n"
    )
    answer = await talk(served, head + b"CallSid=CA1")
    assert answer.startswith(b"HTTP/1.1 408")
    assert (await served.api("GET", "/calls")).body["calls"] == []
