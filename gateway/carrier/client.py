"""Twilio's REST API, by Twilio's own client over an HTTP client that bounds every request and sends it once."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Literal

import aiohttp
from twilio.base.exceptions import TwilioException, TwilioRestException
from twilio.http.async_http_client import AsyncTwilioHttpClient
from twilio.http.response import Response
from twilio.rest import Client

from gateway.carrier.forms import is_id
from gateway.errors import Invalid, NotFound, Unavailable

REQUEST_SECONDS = 10.0

VOICE_OVERRIDES = "#rc=2&rp=ct,rt,5xx&ct=2000&rt=4000&tt=12000"
STATUS_OVERRIDES = "#rc=5&rp=all"
"""How Twilio is to retry our webhooks: by default it retries a failed connection only."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FetchedCall:
    """What Twilio knows of a call; ``duration`` is in seconds, None while it is not over."""

    sid: str
    status: str
    duration: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """A call to be made. The URLs carry the attempt id, which is how Twilio's webhooks prove that it was.

    ``detection`` is Twilio's MachineDetection, None for none; with ``detection_callback`` the agent gets the call
    meanwhile and who answered is told there, without it the answer webhook waits for it.
    """

    to: str
    from_: str
    url: str
    fallback_url: str
    status_callback: str
    detection: Literal["Enable", "DetectMessageEnd"] | None = None
    detection_callback: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Placement:
    """What became of an order.

    ``made`` is True with a ``sid``, False when the call was provably not made, None when nobody can know: it was
    sent, and the answer is missing or unreadable. ``code`` is Twilio's error number, 0 for none, and ``queue_ms``
    for how long Twilio expects to keep it in its queue, in milliseconds.
    """

    made: bool | None
    sid: str = ""
    code: int = 0
    text: str = ""
    queue_ms: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Listed:
    """A call in Twilio's list; ``created_at`` is in Unix milliseconds."""

    sid: str
    from_: str
    created_at: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Number:
    """An incoming number of the account and where its webhooks go."""

    sid: str
    number: str
    voice_url: str
    status_callback: str
    voice_fallback_url: str
    application_sid: str = ""
    trunk_sid: str = ""


class _BoundedHttp(AsyncTwilioHttpClient):  # type: ignore[misc, unused-ignore]
    """One request, one answer: no retry, no redirect, and never longer than the limit.

    The library's own client ignores its timeout, and with ``max_retries`` it repeats even a request that places
    a call.
    """

    async def request(
        self,
        method: str,
        url: str,
        params: Mapping[str, object] | None = None,
        data: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
        auth: tuple[str, str] | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - the signature is Twilio's
        allow_redirects: bool = False,
    ) -> Response:
        sent = dict(headers or {})
        if auth is not None:
            sent["Authorization"] = aiohttp.encode_basic_auth(*auth)
        async with self.session.request(
            method.upper(),
            url,
            params=params,
            data=data,
            headers=sent,
            timeout=aiohttp.ClientTimeout(total=timeout or REQUEST_SECONDS),
            allow_redirects=False,
        ) as answer:
            return Response(answer.status, await answer.text(), answer.headers)


class Carrier:
    """The requests that the gateway makes of Twilio; all raise Unavailable when Twilio does not answer."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def fetch_call(self, sid: str) -> FetchedCall | None:
        """A call as Twilio has it, or None when Twilio does not know it."""
        try:
            found = await _asked(self._client.calls(sid).fetch_async())
        except NotFound:
            return None
        duration = int(found.duration) if found.duration not in (None, "") else None
        return FetchedCall(sid=sid, status=str(found.status), duration=duration)

    async def create_call(self, order: Order) -> Placement:
        """Send an order, once. Never raises: whatever happens is told as a placement."""
        try:
            made = await self._client.calls.create_async(
                to=order.to,
                from_=order.from_,
                url=order.url + VOICE_OVERRIDES,
                method="POST",
                fallback_url=order.fallback_url,
                fallback_method="POST",
                status_callback=order.status_callback + STATUS_OVERRIDES,
                status_callback_method="POST",
                status_callback_event=["initiated", "ringing", "answered", "completed"],
                **_detection(order),
            )
            if not is_id(str(made.sid)):
                return Placement(made=None, text="Twilio's answer names no call")
            queued = str(made.queue_time)
            queue_ms = int(queued) if queued.isascii() and queued.isdigit() and len(queued) < 16 else 0
            return Placement(made=True, sid=str(made.sid), text=str(made.status), queue_ms=queue_ms)
        except TwilioRestException as error:
            code = int(error.code or 0)
            if error.status == 429:
                # Documented as never processed.
                return Placement(made=False, code=code, text="Twilio takes no more requests just now")
            if 400 <= error.status < 500 and error.status != 408:
                return Placement(made=False, code=code, text=str(error.msg))
            return Placement(made=None, code=code, text=f"Twilio answered {error.status}")
        except (aiohttp.ClientConnectorError, aiohttp.ClientProxyConnectionError) as error:
            # No name, no connection or no TLS: not a byte of the order was sent.
            return Placement(made=False, text=f"Twilio cannot be reached: {type(error).__name__}")
        except Exception as error:
            return Placement(made=None, text=f"no readable answer: {type(error).__name__}")

    async def cancel_call(self, sid: str) -> bool:
        """End a call, whether it is queued, rings or was answered; nothing happens to one that is over.

        True when it ended before anybody answered.
        """
        cancelled = False
        for status in ("canceled", "completed"):
            with suppress(Invalid, NotFound):
                ended = await _asked(self._client.calls(sid).update_async(status=status))
                cancelled = cancelled or str(ended.status) == "canceled"
        return cancelled

    async def end_call(self, sid: str) -> None:
        """Hang up on a call that was answered; raises Invalid when it is over already."""
        await _asked(self._client.calls(sid).update_async(status="completed"))

    async def redirect_call(self, sid: str, twiml: bytes) -> None:
        """Let an answered call go on with this TwiML, of up to 4000 characters; raises Invalid when it is over."""
        await _asked(self._client.calls(sid).update_async(twiml=twiml.decode()))

    async def find_calls(self, *, to: str, since: int) -> list[Listed]:
        """The outbound calls to a number that were created at or after ``since`` (Unix milliseconds)."""
        found = await _asked(self._client.calls.list_async(to=to, limit=50))
        listed = [
            Listed(
                sid=one.sid,
                from_=one._from,
                created_at=int(one.date_created.timestamp() * 1000) if one.date_created else since,
            )
            for one in found
            if str(one.direction).startswith("outbound-api")
        ]
        return [one for one in listed if one.created_at >= since]

    async def list_numbers(self) -> list[Number]:
        """Every incoming number of the account."""
        return [_number(found) for found in await _asked(self._client.incoming_phone_numbers.list_async())]

    async def connect_number(
        self, number: str, *, voice_url: str, status_callback: str, fallback_url: str | None
    ) -> Number:
        """Point a number's webhooks at the gateway; NotFound when the account does not own it."""
        owned = await _asked(self._client.incoming_phone_numbers.list_async(phone_number=number, limit=1))
        if not owned:
            raise NotFound(f"the Twilio account does not own {number}; see `gateway numbers list`")
        changes: dict[str, Any] = {
            "voice_url": voice_url + VOICE_OVERRIDES,
            "voice_method": "POST",
            "status_callback": status_callback + STATUS_OVERRIDES,
            "status_callback_method": "POST",
            # An application or a trunk on the number would take precedence over its own URLs.
            "voice_application_sid": "",
            "trunk_sid": "",
        }
        if fallback_url is not None:
            changes |= {"voice_fallback_url": fallback_url, "voice_fallback_method": "POST"}
        return _number(await _asked(owned[0].update_async(**changes)))


@asynccontextmanager
async def open_carrier(*, account: str, user: str, password: str, base_url: str | None) -> AsyncIterator[Carrier]:
    """Twilio's client for one account; ``user`` and ``password`` are the account and its token, or an API key.

    ``base_url`` is another place that speaks Twilio's API, for tests and compatible carriers.
    """
    async with _BoundedHttp() as http:
        client = Client(user, password, account, http_client=http)
        if base_url is not None:
            client.api.base_url = base_url
        yield Carrier(client)


def _detection(order: Order) -> dict[str, str]:
    """The parameters of answering-machine detection: twilio.com/docs/voice/answering-machine-detection."""
    if order.detection is None:
        return {}
    if order.detection_callback is None:
        return {"machine_detection": order.detection}
    return {
        "machine_detection": order.detection,
        "async_amd": "true",
        "async_amd_status_callback": order.detection_callback + STATUS_OVERRIDES,
        "async_amd_status_callback_method": "POST",
    }


async def _asked(request: Any) -> Any:
    try:
        return await request
    except TwilioException as error:
        # Of a list that cannot be had the library only raises its base error, with the answer as an argument.
        answer = error if isinstance(error, TwilioRestException) else error.args[-1]
        status = int(getattr(answer, "status", 0) or getattr(answer, "status_code", 0))
        said = getattr(answer, "msg", None) or "see the account's debugger"
        if status == 404:
            raise NotFound(f"Twilio does not know it: {said}") from error
        if 400 <= status < 500 and status != 429:
            raise Invalid(
                f"Twilio refused with {status}, code {getattr(answer, 'code', 'unknown')}: {said}"
            ) from error
        raise Unavailable(f"Twilio answered {status}; try again shortly") from error
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise Unavailable("Twilio's API does not answer; try again shortly") from error


def _number(found: Any) -> Number:
    return Number(
        sid=found.sid,
        number=found.phone_number,
        voice_url=found.voice_url or "",
        status_callback=found.status_callback or "",
        voice_fallback_url=found.voice_fallback_url or "",
        application_sid=found.voice_application_sid or "",
        trunk_sid=found.trunk_sid or "",
    )
