"""Each kind of target is tried as it would be reached, and none is called."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import trustme
from aiohttp import web

from gateway.handshake import shake_hands
from gateway.targets import read_target
from tests.conftest import free_port, listening


class Agent:
    """An agent's server: takes WebSockets at ``/ok``, nobody at ``/shut``; counts what would run a call."""

    def __init__(self) -> None:
        self.ran = 0
        self.app = web.Application()
        self.app.router.add_get("/ok", self._open)
        self.app.router.add_get("/shut", self._refuse)
        self.app.router.add_get("/away", self._away)
        self.app.router.add_post("/hook", self._run)
        self.app.router.add_route("OPTIONS", "/broken", self._break)
        self.app.router.add_route("OPTIONS", "/away", self._away)

    async def _open(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for _ in socket:
            self.ran += 1
        return socket

    async def _refuse(self, request: web.Request) -> web.Response:
        return web.Response(status=403)

    async def _away(self, request: web.Request) -> web.Response:
        raise web.HTTPFound("http://example.com/elsewhere")

    async def _run(self, request: web.Request) -> web.Response:
        self.ran += 1
        return web.Response()

    async def _break(self, request: web.Request) -> web.Response:
        return web.Response(status=500)


def target(kind: str, url: str) -> Any:
    return read_target({"kind": kind, "uri" if kind == "sip" else "url": url})


def raw(kind: str, url: str) -> Any:
    """A target whose address is plain, as only a test has it: what is published needs TLS."""
    from gateway.model import Target

    return Target(kind=kind, fields={"url": url})


@pytest.mark.parametrize(
    ("kind", "path", "ok", "said"),
    [
        ("stream", "/ok", True, "accepted"),
        ("conversation_relay", "/ok", True, "accepted"),
        ("stream", "/shut", False, "answered with 403"),
        ("stream", "/away", False, "answered with 302"),
        ("webhook", "/hook", True, "answered OPTIONS with 405"),
        ("webhook", "/broken", False, "500"),
        ("webhook", "/away", True, "302"),
    ],
)
async def test_an_agents_server_is_asked_and_runs_nothing(kind: str, path: str, ok: bool, said: str) -> None:
    agent = Agent()
    async with listening(agent.app) as url:
        scheme = "ws" if kind != "webhook" else "http"
        tried = await shake_hands(raw(kind, url.replace("http", scheme, 1) + path))
    assert (tried.ok, said in tried.text, agent.ran) == (ok, True, 0), tried.text
    assert tried.milliseconds is not None


@pytest.mark.parametrize("kind", ["stream", "webhook", "sip"])
async def test_where_nobody_listens_it_says_so(kind: str) -> None:
    port = free_port()
    urls = {"stream": f"wss://127.0.0.1:{port}/x", "webhook": f"https://127.0.0.1:{port}/x"}
    tried = await shake_hands(target(kind, urls.get(kind, f"sip:a@127.0.0.1:{port};transport=tcp")))
    assert (tried.ok, "No connection" in tried.text) == (False, True)


async def test_who_never_answers_is_given_up() -> None:
    async with _tcp(lambda line: None) as port:
        tried = await shake_hands(raw("stream", f"ws://127.0.0.1:{port}/"), seconds=0.2)
    assert (tried.ok, "0.2 seconds" in tried.text) == (False, True)


@asynccontextmanager
async def _tcp(
    reply: Callable[[bytes], bytes | None], *, tls: ssl.SSLContext | None = None, greeting: bytes = b""
) -> AsyncIterator[int]:
    """The port of a server that answers each request's head as ``reply`` says, until the other side has gone."""
    talks: set[asyncio.Task[Any]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talk = asyncio.current_task()
        assert talk is not None
        talks.add(talk)
        with suppress(OSError, asyncio.IncompleteReadError):
            writer.write(greeting)
            answer = reply(await reader.readuntil(b"\r\n\r\n"))
            if answer is not None:
                writer.write(answer)
            await reader.read()
        with suppress(OSError):
            writer.close()
            await writer.wait_closed()

    port = free_port()
    async with await asyncio.start_server(serve, "127.0.0.1", port, ssl=tls):
        yield port
        await asyncio.gather(*talks)


@pytest.mark.parametrize(
    ("answer", "ok", "said"),
    [
        (b"SIP/2.0 200 OK\r\n\r\n", True, "answered OPTIONS with 200"),
        (b"SIP/2.0 403 Forbidden\r\n\r\n", True, "answered OPTIONS with 403"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", False, "does not speak SIP"),
    ],
)
async def test_sip_over_tcp_is_asked_by_options(answer: bytes, ok: bool, said: str) -> None:
    asked: list[bytes] = []

    def reply(request: bytes) -> bytes:
        asked.append(request)
        return answer

    async with _tcp(reply) as port:
        tried = await shake_hands(target("sip", f"sip:a@127.0.0.1:{port};transport=tcp?X-Team=a"))
    assert (tried.ok, said in tried.text) == (ok, True), tried.text
    assert asked[0].startswith(f"OPTIONS sip:a@127.0.0.1:{port};transport=tcp SIP/2.0\r\n".encode())


async def test_sip_over_udp_is_asked_too() -> None:
    class Server(asyncio.DatagramProtocol):
        def connection_made(self, transport: Any) -> None:
            self.transport = transport

        def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
            self.transport.sendto(b"SIP/2.0 200 OK\r\n\r\n", addr)

    port, loop = free_port(), asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(Server, local_addr=("127.0.0.1", port))
    tried = await shake_hands(target("sip", f"sip:a@127.0.0.1:{port}"))
    transport.close()
    assert (tried.ok, "200" in tried.text) == (True, True)


def _tls(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    certificate.configure_cert(context)
    return context


def _well(request: bytes) -> bytes:
    return b"SIP/2.0 200 OK\r\n\r\n" if b"SIP/2.0" in request else b"HTTP/1.1 204 No Content\r\n\r\n"


@pytest.mark.parametrize("kind", ["stream", "conversation_relay", "webhook", "sip"])
async def test_a_certificate_that_nobody_vouches_for_is_told(kind: str) -> None:
    async with _tcp(_well, tls=_tls(trustme.CA().issue_cert("127.0.0.1"))) as port:
        schemes = {"webhook": "https://127.0.0.1:{}/x", "sip": "sip:a@127.0.0.1:{};transport=tls"}
        tried = await shake_hands(target(kind, schemes.get(kind, "wss://127.0.0.1:{}/x").format(port)))
    assert tried.ok is False
    assert tried.text == "The certificate is not good: unable to get local issuer certificate."


@pytest.mark.parametrize(
    ("issued", "ok", "said"),
    [
        ({"identities": ["127.0.0.1"]}, True, "It answered OPTIONS with 200."),
        ({"identities": ["elsewhere.example"]}, False, "The certificate is not good: IP address mismatch"),
        (
            {"identities": ["127.0.0.1"], "not_after": datetime(2020, 1, 1, tzinfo=UTC)},
            False,
            "The certificate is not good: certificate has expired.",
        ),
    ],
)
async def test_a_certificate_is_held_against_the_address_and_the_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, issued: dict[str, Any], ok: bool, said: str
) -> None:
    authority, file = trustme.CA(), tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(str(file))
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    until = {name: value for name, value in issued.items() if name == "not_after"}
    async with _tcp(_well, tls=_tls(authority.issue_cert(*issued["identities"], **until))) as port:
        tried = await shake_hands(target("sip", f"sip:a@127.0.0.1:{port};transport=tls"))
    assert (tried.ok, tried.text.startswith(said)) == (ok, True), tried.text


async def test_a_port_without_tls_is_told() -> None:
    async with _tcp(lambda line: None, greeting=b"220 mail.example.com\r\n") as port:
        tried = await shake_hands(target("sip", f"sip:a@127.0.0.1:{port};transport=tls"))
    assert (tried.ok, tried.text.startswith("No connection")) == (False, True), tried.text


async def test_a_number_has_nothing_to_test() -> None:
    tried = await shake_hands(read_target({"kind": "number", "to": "+14155550199"}))
    assert (tried.ok, tried.milliseconds, "nothing to test" in tried.text) == (None, None, True)
