"""One request as Twilio makes it: signed, within its limits, retried by the URL's own rules."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urljoin

import aiohttp
from twilio.request_validator import RequestValidator

from gateway.simulator.overrides import Overrides

HARD_LIMIT_SECONDS = 15.0
_BODY_BYTES = 64 * 1024
_REDIRECTS = 10
_TWIML = frozenset({"text/xml", "application/xml", "text/html"})


class WebhookFailed(Exception):
    """A webhook that Twilio could not use; ``code`` is Twilio's error number."""

    def __init__(self, code: int, url: str, text: str) -> None:
        super().__init__(f"{code} {url}: {text}")
        self.code = code
        self.url = url


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What came back; ``url`` is where it came from, after redirects."""

    status: int
    kind: str
    text: str
    url: str


class Twilio:
    """Makes Twilio's requests for one account. ``reach`` may differ from the public URL that is signed."""

    def __init__(
        self,
        http: aiohttp.ClientSession,
        *,
        token: str,
        public_url: str,
        reach: str,
        limit: float = HARD_LIMIT_SECONDS,
    ) -> None:
        self._http = http
        self._validator = RequestValidator(token)
        self._public_url = public_url
        self._reach = reach
        self._limit = limit

    async def ask(self, url: str, fields: Mapping[str, str]) -> Answer:
        """Ask for TwiML; raises WebhookFailed with Twilio's number when there is none to be had."""
        answer = await self.post(url, fields)
        if answer.status >= 400:
            raise WebhookFailed(11200, answer.url, f"answered {answer.status}")
        if not answer.kind:
            raise WebhookFailed(12300, answer.url, "no content type")
        if answer.kind not in _TWIML:
            raise WebhookFailed(12300, answer.url, f"{answer.kind} is no TwiML")
        if not answer.text:
            raise WebhookFailed(11770, answer.url, "empty body")
        return answer

    async def post(self, url: str, fields: Mapping[str, str]) -> Answer:
        """Post a form, with retries by the URL's overrides; raises WebhookFailed when nothing answers."""
        address, overrides = Overrides.of(url)
        token = str(uuid.uuid4())
        for attempt in range(overrides.retries + 1):
            last = attempt == overrides.retries
            try:
                answer = await self._once(address, fields, overrides, token)
            except aiohttp.ClientConnectorError as error:
                if last or "ct" not in overrides.policy:
                    raise WebhookFailed(11205, address, "cannot connect") from error
                continue
            except (aiohttp.ClientError, TimeoutError) as error:
                if last or "rt" not in overrides.policy:
                    raise WebhookFailed(11200, address, f"no answer ({type(error).__name__})") from error
                continue
            if last or f"{answer.status // 100}xx" not in overrides.policy:
                return answer
        raise AssertionError("the last attempt returns or raises")

    async def _once(self, address: str, fields: Mapping[str, str], overrides: Overrides, token: str) -> Answer:
        timeout = aiohttp.ClientTimeout(
            total=min(overrides.total, self._limit), sock_connect=overrides.connect, sock_read=overrides.read
        )
        for _ in range(_REDIRECTS + 1):
            headers = {
                "X-Twilio-Signature": self._validator.compute_signature(address, dict(fields)),
                "I-Twilio-Idempotency-Token": token,
                "User-Agent": "TwilioProxy/1.1",
                "Accept": "text/xml, application/xml, text/html",
                "Cache-Control": "max-age=259200",
            }
            reached = address.replace(self._public_url, self._reach, 1)
            async with self._http.post(
                reached, data=dict(fields), headers=headers, timeout=timeout, allow_redirects=False
            ) as response:
                if response.status in (301, 302, 303, 307, 308) and "Location" in response.headers:
                    address = urljoin(address, response.headers["Location"])
                    continue
                body = await response.content.read(_BODY_BYTES + 1)
                if len(body) > _BODY_BYTES:
                    raise WebhookFailed(11750, address, "over 64 kB")
                kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
                return Answer(status=response.status, kind=kind, text=body.decode("utf-8", "replace"), url=address)
        raise WebhookFailed(11215, address, "too many redirects")
