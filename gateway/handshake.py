"""Tests a target without a call: is there somebody at its address who speaks its language?

Only what is stored is tried, no redirect is followed, and nothing that an answer says is passed on but its status.
"""

import asyncio
import base64
import hashlib
import os
import secrets
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from time import perf_counter
from urllib.parse import urlsplit

import aiohttp

from gateway.model import Target

SECONDS = 5.0
_PORTS = {"tls": 5061, "tcp": 5060, "udp": 5060}


@dataclass(frozen=True, kw_only=True, slots=True)
class Tried:
    """What came of a test; ``ok`` is None where there is nothing to test, ``milliseconds`` then too."""

    ok: bool | None
    milliseconds: float | None
    text: str


async def shake_hands(target: Target, *, seconds: float = SECONDS) -> Tried:
    """Try a target's address as its kind would be reached, for so many seconds at most."""
    attempt = _ATTEMPTS.get(target.kind)
    if attempt is None:
        return Tried(ok=None, milliseconds=None, text=_NOTHING.get(target.kind, "There is nothing to test."))
    began = perf_counter()
    try:
        async with asyncio.timeout(seconds):
            ok, text = await attempt(str(target.fields.get("url") or target.fields.get("uri")))
    except TimeoutError:
        ok, text = False, f"Nobody answered within {seconds:g} seconds."
    except ssl.SSLCertVerificationError as error:
        # aiohttp's own error is of this kind too, and holds the one that tells why.
        cause = getattr(error, "certificate_error", error)
        reason = str(getattr(cause, "verify_message", "") or "it is not trusted").rstrip(".")
        ok, text = False, f"The certificate is not good: {reason}."
    except (OSError, aiohttp.ClientError, ValueError) as error:
        ok, text = False, f"No connection: {_reason(error)}."
    return Tried(ok=ok, milliseconds=round((perf_counter() - began) * 1000, 1), text=text)


def _reason(error: Exception) -> str:
    cause = getattr(error, "os_error", error)
    if isinstance(cause, ValueError):
        return str(cause)
    if isinstance(cause, OSError) and cause.errno and cause.errno > 0 and not isinstance(cause, ssl.SSLError):
        return os.strerror(cause.errno)
    return str(getattr(cause, "strerror", None) or type(cause).__name__).rstrip(".")


async def _websocket(url: str) -> tuple[bool, str]:
    # aiohttp's own ws_connect follows redirects, which might lead anywhere.
    key = base64.b64encode(secrets.token_bytes(16))
    headers = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": key.decode(),
    }
    async with aiohttp.ClientSession() as http, http.get(url, headers=headers, allow_redirects=False) as answer:
        status, accepted = answer.status, answer.headers.get("Sec-WebSocket-Accept", "")
        answer.close()
    if status != 101:
        return False, f"The WebSocket handshake was answered with {status}."
    # RFC 6455, 4.2.2: the key and this text, hashed.
    wanted = hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11", usedforsecurity=False).digest()
    if accepted != base64.b64encode(wanted).decode():
        return False, "It answered as if it took WebSockets, with a wrong Sec-WebSocket-Accept."
    return True, "The WebSocket handshake was accepted."


async def _options(url: str) -> tuple[bool, str]:
    # A webhook acts on GET and POST; OPTIONS asks only what it would take.
    async with (
        aiohttp.ClientSession() as http,
        http.options(url.partition("#")[0], allow_redirects=False) as answer,
    ):
        status = answer.status
    if status >= 500:
        return False, f"It is there, and answered OPTIONS with {status}: a fault of its own."
    if status in (404, 405, 501):
        return True, f"It is there (it answered OPTIONS with {status}; whether it takes a call, only a call shows)."
    return True, f"It is there (it answered OPTIONS with {status})."


async def _sip(uri: str) -> tuple[bool, str]:
    scheme, _, rest = uri.partition(":")
    place, *options = rest.partition("?")[0].split(";")
    written = dict(option.lower().partition("=")[::2] for option in options)
    transport = written.get("transport") or ("tls" if scheme == "sips" else "udp")
    if transport not in _PORTS:
        return False, f"The transport {transport} cannot be tested."
    host = urlsplit("//" + place.rpartition("@")[2])
    name, port = host.hostname or "", host.port or _PORTS[transport]
    request = _sip_options(uri.partition("?")[0], transport)
    if transport == "udp":
        status = await _ask_by_datagram(name, port, request)
        return True, f"It answered OPTIONS with {status}."
    reader, writer = await asyncio.open_connection(name, port, ssl=transport == "tls")
    try:
        writer.write(request)
        await writer.drain()
        try:
            async with asyncio.timeout(SECONDS / 2):
                status = _sip_status(await reader.readline())
        except TimeoutError:
            known = "many answer only those they know"
            return True, f"It took the {transport.upper()} connection, and answered no OPTIONS: {known}."
    finally:
        writer.close()
    return True, f"It answered OPTIONS with {status}."


def _sip_options(uri: str, transport: str) -> bytes:
    mark = secrets.token_hex(8)
    lines = (
        f"OPTIONS {uri} SIP/2.0",
        f"Via: SIP/2.0/{transport.upper()} gateway.invalid;branch=z9hG4bK{mark};rport",
        "Max-Forwards: 70",
        f"From: <sip:gateway@gateway.invalid>;tag={mark}",
        f"To: <{uri}>",
        f"Call-ID: {mark}@gateway.invalid",
        "CSeq: 1 OPTIONS",
        "Contact: <sip:gateway@gateway.invalid>",
        "Accept: application/sdp",
        "Content-Length: 0",
    )
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def _sip_status(line: bytes) -> int:
    words = line.split(b" ", 2)
    if len(words) < 2 or words[0] != b"SIP/2.0" or not words[1].isdigit():
        raise ValueError("what answers there does not speak SIP")
    return int(words[1])


async def _ask_by_datagram(host: str, port: int, request: bytes) -> int:
    loop = asyncio.get_running_loop()
    answered: asyncio.Future[bytes] = loop.create_future()
    transport, _ = await loop.create_datagram_endpoint(lambda: _Listener(answered), remote_addr=(host, port))
    try:
        transport.sendto(request)
        return _sip_status((await answered).partition(b"\r\n")[0])
    finally:
        transport.close()


class _Listener(asyncio.DatagramProtocol):
    def __init__(self, answered: asyncio.Future[bytes]) -> None:
        self._answered = answered

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if not self._answered.done():
            self._answered.set_result(data)

    def error_received(self, exc: Exception) -> None:
        if not self._answered.done():
            self._answered.set_exception(exc)


_ATTEMPTS: Mapping[str, Callable[[str], Awaitable[tuple[bool, str]]]] = {
    "stream": _websocket,
    "conversation_relay": _websocket,
    "webhook": _options,
    "sip": _sip,
}
_NOTHING = {
    "number": "There is nothing to test: only a call shows who answers a telephone number.",
    "application": "There is nothing to test: the application is Twilio's.",
    "twiml": "There is nothing to test: Twilio is given the TwiML itself.",
}
