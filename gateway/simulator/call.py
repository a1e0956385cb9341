"""The life of one inbound call: the webhooks, the TwiML as Twilio reads it, and the callbacks at its end."""

import asyncio
import random
import xml.etree.ElementTree as ET
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any
from urllib.parse import parse_qsl, urljoin, urlsplit

from gateway.simulator.agent import Behaviour, Conversation, converse
from gateway.simulator.caller import draw_sid
from gateway.simulator.ledger import Entry
from gateway.simulator.webhook import Answer, Twilio, WebhookFailed

_DOCUMENTS = 20  # a call that is handed round more often than this is a loop


@dataclass(frozen=True, kw_only=True, slots=True)
class Faults:
    """Chances, from 0 to 1, of what can go wrong between Twilio and a gateway.

    ``twice`` posts the voice webhook ``copies`` times at once.
    """

    twice: float = 0.0
    copies: int = 2
    callback_lost: float = 0.0
    callback_doubled: float = 0.0


@dataclass(kw_only=True)
class Line:
    """One caller's line. ``fields`` are the standard ones; ``pause`` passes the call's own time."""

    twilio: Twilio
    dice: random.Random
    fields: dict[str, str]
    entry: Entry
    behaviours: Mapping[str, Behaviour]
    faults: Faults
    pause: Callable[[float], Awaitable[None]]
    report: Callable[[str, Mapping[str, Any]], Awaitable[bool]]
    now: Callable[[], float]
    spent: int = 0
    callbacks: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    async def live(
        self, voice_url: str, fallback_url: str | None, status_url: str | None, twiml: str | None = None
    ) -> None:
        """Ring, follow what the gateway says until somebody hangs up, and tell how it ended.

        A call under way that is redirected to ``twiml`` begins with that.
        """
        try:
            if twiml is None:
                first = await self._answered(voice_url, fallback_url)
            else:
                first = Answer(status=200, kind="text/xml", text=twiml, url=voice_url)
            await self._follow(first, fallback_url)
        except WebhookFailed as error:
            # What the caller hears now is Twilio's own "an application error has occurred".
            self.entry.errors.append(error.code)
        finally:
            self.entry.status, self.entry.seconds = "completed", self.spent
        if status_url is not None:
            self._callback(status_url, self._ended())
        await self._deliver()

    async def _answered(self, voice_url: str, fallback_url: str | None) -> Answer:
        asked = 1
        if self.dice.random() < self.faults.twice:
            asked = self.faults.copies
        answers = await asyncio.gather(
            *(self.twilio.ask(voice_url, self.fields) for _ in range(asked)), return_exceptions=True
        )
        good = [answer for answer in answers if isinstance(answer, Answer)]
        self.entry.answers |= {answer.text for answer in good}
        if good:
            self.fields["CallStatus"] = self.entry.status = "in-progress"
            return good[0]
        failed = next(answer for answer in answers if isinstance(answer, BaseException))
        if not isinstance(failed, WebhookFailed):
            raise failed
        return await self._asked_instead(failed, fallback_url)

    async def _asked_instead(self, failed: WebhookFailed, fallback_url: str | None) -> Answer:
        self.entry.errors.append(failed.code)
        if fallback_url is None:
            raise failed
        told = {**self.fields, "ErrorCode": str(failed.code), "ErrorUrl": failed.url}
        answer = await self.twilio.ask(fallback_url, told)
        self.fields["CallStatus"] = self.entry.status = "in-progress"
        return answer

    async def _follow(self, answer: Answer | None, fallback_url: str | None) -> None:
        for _ in range(_DOCUMENTS):
            if answer is None:
                return
            try:
                answer = await self._play(answer)
            except WebhookFailed as error:
                answer = await self._asked_instead(error, fallback_url)
        raise WebhookFailed(11215, answer.url if answer else "", "the call is handed round in a circle")

    async def _play(self, answer: Answer) -> Answer | None:
        """Run one document; the answer that goes on with the call, or None when it is over."""
        for verb in _document(answer):
            self.entry.verbs.append(verb.tag)
            if verb.tag in ("Say", "Play", "Pause"):
                if verb.tag == "Say":
                    self.entry.said.append(verb.text or "")
                await self._spend(2)
            elif verb.tag in ("Hangup", "Reject"):
                return None
            elif verb.tag == "Redirect":
                return await self._redirected(urljoin(answer.url, (verb.text or "").strip()))
            elif verb.tag == "Connect":
                return await self._connected(answer.url, verb)
            elif verb.tag == "Dial":
                return await self._dialled(answer.url, verb)
            else:
                raise WebhookFailed(12200, answer.url, f"<{verb.tag}> is not known")
        return None

    async def _redirected(self, url: str) -> Answer | None:
        """Hand the call to an agent's own webhook; the agents here are played, so nothing leaves this machine."""
        given = dict(parse_qsl(urlsplit(url).query, keep_blank_values=True))
        if "gateway_version" not in given:
            return await self.twilio.ask(url, self.fields)
        talk = self._talk(given["gateway_version"])
        if not talk.taken:
            raise WebhookFailed(11205, url.partition("#")[0], "cannot connect")
        await self._talked(given.get("gateway_call", ""), talk)
        return None

    async def _connected(self, base: str, connect: ET.Element) -> Answer | None:
        handoff = connect[0] if len(connect) else None
        if handoff is None or handoff.tag not in ("Stream", "ConversationRelay"):
            raise WebhookFailed(12200, base, "<Connect> holds nothing that is known")
        given = {one.get("name", ""): one.get("value", "") for one in handoff.iter("Parameter")}
        talk = self._talk(given.get("gateway_version", ""))
        told: dict[str, str] = {}
        if handoff.tag == "Stream":
            await self._stream(handoff.get("statusCallback"), talk)
        else:
            told = {"SessionId": draw_sid(self.dice, "VX"), "SessionDuration": str(talk.seconds)}
            told |= _session(talk)
        if talk.taken:
            await self._talked(given.get("gateway_call", ""), talk)
        return await self._came_back(base, connect.get("action"), told)

    async def _stream(self, callback: str | None, talk: Conversation) -> None:
        if callback is None:
            return
        stream = {"StreamSid": draw_sid(self.dice, "MZ"), "Timestamp": datetime.now(UTC).isoformat()}
        event = {"StreamEvent": "stream-started"} if talk.taken else _STREAM_ERROR
        await self._post(callback, {**_standard(self.fields), **stream, **event})

    async def _dialled(self, base: str, dial: ET.Element) -> Answer | None:
        leg = dial[0] if len(dial) else None
        address = (leg.text or "").strip() if leg is not None else (dial.text or "").strip()
        talk = self._talk(_header(address, "X-Gateway-Version"))
        child = draw_sid(self.dice, "CA")
        callback = leg.get("statusCallback") if leg is not None else None
        if callback is not None:
            status = "completed" if talk.taken else "no-answer"
            told = {**_standard(self.fields), "ParentCallSid": self.fields["CallSid"], "CallSid": child}
            await self._post(callback, {**told, "CallStatus": status, "Direction": "outbound-dial"})
        if talk.taken:
            call = _header(address, "X-Gateway-Call")
            if call:
                await self._talked(call, talk)
            else:
                await self._spend(talk.seconds)  # a person: nobody reports an outcome
        told = {
            "DialCallStatus": "completed" if talk.taken else "no-answer",
            "DialCallSid": child,
            "DialCallDuration": str(talk.seconds),
            "DialBridged": "true" if talk.taken else "false",
        }
        return await self._came_back(base, dial.get("action"), told)

    async def _came_back(self, base: str, action: str | None, told: Mapping[str, str]) -> Answer | None:
        if action is None:
            return None
        return await self.twilio.ask(urljoin(base, action), {**self.fields, **told})

    def _talk(self, version: str) -> Conversation:
        if version:
            self.entry.versions.append(version)
        return converse(self.dice, self.behaviours.get(version, Behaviour()))

    async def _talked(self, call: str, talk: Conversation) -> None:
        await self._spend(talk.seconds)
        if call and talk.outcome is not None:
            self.entry.success = talk.outcome["success"]
            self.entry.transferred = talk.wants_person
            await self.report(call, talk.outcome)

    async def _spend(self, seconds: int) -> None:
        self.spent += seconds
        await self.pause(seconds)

    def _ended(self) -> dict[str, str]:
        return {
            **self.fields,
            "CallStatus": "completed",
            "CallDuration": str(self.spent),
            "Duration": str(-(-self.spent // 60)),  # begun minutes, as Twilio bills them
            "CallbackSource": "call-progress-events",
            "SequenceNumber": "0",
            "Timestamp": format_datetime(datetime.fromtimestamp(self.now(), UTC)),
        }

    def _callback(self, url: str, told: dict[str, str]) -> None:
        if self.dice.random() < self.faults.callback_lost:
            return
        copies = 2 if self.dice.random() < self.faults.callback_doubled else 1
        self.callbacks += [(url, told)] * copies

    async def _deliver(self) -> None:
        """Send the callbacks, in no particular order."""
        self.dice.shuffle(self.callbacks)
        for url, told in self.callbacks:
            await self._post(url, told)

    async def _post(self, url: str, told: Mapping[str, str]) -> None:
        try:
            answer = await self.twilio.post(url, told)
        except WebhookFailed as error:
            self.entry.errors.append(error.code)
        else:
            if answer.status >= 400:
                self.entry.errors.append(15003)


_STREAM_ERROR = {"StreamEvent": "stream-error", "StreamError": "31920 - WebSocket - Handshake Error"}


def _document(answer: Answer) -> ET.Element:
    try:
        root = ET.fromstring(answer.text)  # noqa: S314 - the gateway under test made it
    except ET.ParseError as error:
        raise WebhookFailed(12100, answer.url, "not XML") from error
    if root.tag != "Response":
        raise WebhookFailed(12102, answer.url, f"the root is <{root.tag}>")
    return root


def _standard(fields: Mapping[str, str]) -> dict[str, str]:
    return {name: fields[name] for name in ("AccountSid", "ApiVersion", "CallSid", "CallStatus", "From", "To")}


def _session(talk: Conversation) -> dict[str, str]:
    if not talk.taken:
        return {"SessionStatus": "failed", "ErrorCode": "39001", "ErrorMessage": "the socket could not be opened"}
    if talk.wants_person:
        return {"SessionStatus": "ended", "HandoffData": '{"reason":"wants a person"}'}
    return {"SessionStatus": "completed"}


def _header(address: str, name: str) -> str:
    return dict(parse_qsl(urlsplit(address.replace("sip:", "sip://", 1)).query)).get(name, "")
