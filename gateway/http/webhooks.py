"""Twilio's door: signed form posts. A person is on the line, so everything but a forgery or nonsense gets TwiML."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from email.utils import parsedate_to_datetime
from typing import Any

from aiohttp import web
from multidict import CIMultiDict, istr

from gateway import log
from gateway.calls import MACHINE, RANK, STATUS, STREAM, Handoff
from gateway.carrier.forms import event_key, is_id, parse_form, read_call, seconds, unique
from gateway.errors import Malformed
from gateway.http.keys import GATEWAY
from gateway.machines import detection
from gateway.model import Event

_log = log.get("webhooks")

BODY_BYTES = 64 * 1024
BODY_SECONDS = 5.0
_TWIML = CIMultiDict({"Content-Type": "text/xml; charset=utf-8", "Cache-Control": "no-store"})
_SIGNATURE = istr("X-Twilio-Signature")
_SETTINGS = istr("X-Twilio-Webhooks-Signature-Settings")
_ENCODING = istr("Content-Encoding")

Fields = dict[str, str]


async def voice(request: web.Request) -> web.Response:
    """Answer a ringing call, or one that Twilio could not hand over (with ErrorCode)."""
    gateway = request.app[GATEWAY]
    fields = await _signed_form(request)
    if isinstance(fields, web.Response):
        return fields
    try:
        call = read_call(fields, id=_attempt(request), at=gateway.wall())
    except Malformed as error:
        return _malformed(error)
    try:
        if "ErrorCode" in fields:
            error_url = fields.get("ErrorUrl", "")
            _log.warning("voice_fallback", call_id=call.id, code=fields["ErrorCode"], url=error_url)
            twiml = await gateway.switchboard.answer_failed(call, error_url)
        elif call.id != call.sid:
            twiml = await gateway.switchboard.answered(call)
        else:
            twiml = await gateway.switchboard.answer(call)
    except Exception:
        _log.exception("voice_failed", call_id=call.id)
        twiml = gateway.switchboard.emergency(call.to)
    gateway.answered += 1
    return _twiml(request, twiml)


async def following(request: web.Request) -> web.Response:
    """Say what follows when a handoff comes back."""
    gateway = request.app[GATEWAY]
    fields = await _signed_form(request)
    if isinstance(fields, web.Response):
        return fields
    call_id = request.match_info["call"]
    try:
        hop = _whole(request.query.get("hop"))
        twiml = await gateway.switchboard.next(call_id, hop, _handoff(fields))
    except Exception:
        _log.exception("next_failed", call_id=call_id)
        twiml = gateway.switchboard.emergency(fields.get("To", ""))
    return _twiml(request, twiml)


async def status(request: web.Request) -> web.Response:
    """Keep a callback: progress of the call, of a child leg, or of a stream."""
    return await _keep(request, _progress)


async def amd(request: web.Request) -> web.Response:
    """Keep the verdict of an answering-machine detection; what follows from it comes after the answer."""
    return await _keep(request, _machine)


async def _keep(request: web.Request, read: Callable[[Fields, str, int, int], Event]) -> web.Response:
    gateway = request.app[GATEWAY]
    fields = await _signed_form(request)
    if isinstance(fields, web.Response):
        return fields
    call_id = _attempt(request) or fields.get("ParentCallSid") or fields.get("CallSid") or ""
    if not is_id(call_id):
        return _malformed(Malformed("CallSid is missing, or has characters that no Sid has"))
    event = read(fields, call_id, _whole(request.query.get("hop")), gateway.wall())
    sid = fields.get("CallSid", "")
    try:
        if (
            event.kind in (STATUS, MACHINE)
            and sid != call_id
            and is_id(sid)
            and not await gateway.switchboard.prove(call_id, sid)
        ):
            # What becomes of a stray says nothing of the call it strayed from.
            event = replace(event, kind="leg", key=f"stray:{sid}:{event.key}"[:200])
        if event.kind == MACHINE:
            await gateway.machines.detected(event, sid)
        else:
            await gateway.switchboard.settle(event)
    except Exception:
        # Twilio retries a 5xx by our overrides; the sweeper asks for what is lost all the same.
        _log.exception("callback_failed", call_id=call_id)
        return web.Response(status=503, headers={"Retry-After": "1"})
    return web.Response(status=204)


async def _signed_form(request: web.Request) -> Fields | web.Response:
    """The fields of a genuine request, or the answer that refuses it."""
    gateway = request.app[GATEWAY]
    headers = request.headers
    if _ENCODING in headers:
        return _malformed(Malformed("a compressed body is not taken"))
    try:
        # The body of a small form has nearly always come with its header; only a slow one needs a deadline.
        if request.content.is_eof():
            body = await request.read()
        else:
            async with asyncio.timeout(BODY_SECONDS):
                body = await request.read()
    except TimeoutError:
        return _plain(408, "the body took too long")
    except web.HTTPRequestEntityTooLarge:
        return _plain(413, f"the body is over {BODY_BYTES} bytes")
    except (web.HTTPException, ValueError, OSError) as error:
        return _malformed(Malformed(f"the body cannot be read: {type(error).__name__}"))
    try:
        pairs = parse_form(body)
    except Malformed as error:
        return _malformed(error)
    verifier = gateway.verifier
    if verifier is not None:
        account = next((value for name, value in pairs if name == "AccountSid"), None)
        signature, settings = headers.get(_SIGNATURE), headers.get(_SETTINGS)
        if not verifier.verify(request.raw_path, pairs, signature, settings, account):
            gateway.refused += 1
            untold = gateway.refusals.passes(gateway.wall())
            if untold is not None:
                host = headers.get("Host")
                reason = verifier.diagnose(request.raw_path, pairs, signature, settings, account, host=host)
                _log.warning("signature_refused", path=request.path, reason=reason, untold=untold)
            return _plain(403, "the signature does not match")
    try:
        fields = unique(pairs)
    except Malformed as error:
        return _malformed(error)
    if b"%00" in body or b"\x00" in body:
        # PostgreSQL cannot store a NUL, and nobody's name or number has one.
        fields = {name: value.replace("\x00", "") for name, value in fields.items()}
    return fields


def _attempt(request: web.Request) -> str | None:
    """The id that a URL of ours names, as ``?call=``; one that nobody could have been given is passed over."""
    if "?" not in request.raw_path:
        return None
    named = request.query.get("call")
    return named if named is not None and is_id(named) else None


def _handoff(fields: Mapping[str, str]) -> Handoff:
    return Handoff(
        call_status=fields.get("CallStatus", ""),
        dial_status=fields.get("DialCallStatus"),
        dial_bridged=fields.get("DialBridged", "true").lower() != "false",
        session_status=fields.get("SessionStatus"),
        handoff_data=fields.get("HandoffData", ""),
    )


def _progress(fields: Fields, call_id: str, hop: int, now: int) -> Event:
    if "StreamEvent" in fields:
        data: dict[str, Any] = {"event": fields["StreamEvent"], "hop": hop}
        data |= _told(fields, error="StreamError", stream="StreamSid")
        return Event(call=call_id, key=event_key(fields), kind=STREAM, at=now, data=data)
    data = {"status": fields.get("CallStatus", "")[:64]}
    data |= _told(fields, sip="SipResponseCode", child="CallSid" if "ParentCallSid" in fields else "")
    duration = seconds(fields)
    if duration is not None:
        data["duration"] = duration
    sequence = fields.get("SequenceNumber", "")
    if sequence.isascii() and sequence.isdigit() and len(sequence) < 9:
        data["sequence"] = int(sequence)
    # A child leg, and a status that Twilio has not got, are kept for the timeline and decide nothing.
    own = "ParentCallSid" not in fields and data["status"] in RANK
    return Event(
        call=call_id, key=event_key(fields), kind=STATUS if own else "leg", at=_fired(fields, now), data=data
    )


def _machine(fields: Fields, call_id: str, hop: int, now: int) -> Event:
    return detection(call_id, fields.get("AnsweredBy", "")[:64], at=now)


def _told(fields: Fields, **names: str) -> dict[str, str]:
    return {key: fields[name][:256] for key, name in names.items() if fields.get(name)}


def _fired(fields: Fields, now: int) -> int:
    """When Twilio says that it happened, so that the order of arrival tells nothing; else now."""
    try:
        return int(parsedate_to_datetime(fields["Timestamp"]).timestamp() * 1000)
    except (KeyError, ValueError, TypeError, OverflowError):
        return now


def _whole(text: str | None) -> int:
    return int(text) if text is not None and text.isascii() and text.isdigit() and len(text) < 4 else 0


def _twiml(request: web.Request, twiml: bytes) -> web.Response:
    response = web.Response(body=twiml, headers=_TWIML)
    if request.app[GATEWAY].draining:
        response.force_close()
    return response


def _malformed(error: Malformed) -> web.Response:
    _log.warning("webhook_malformed", reason=error.message)
    return _plain(400, error.message)


def _plain(status: int, text: str) -> web.Response:
    return web.Response(status=status, text=text + "\n")


Handler = Callable[[web.Request], Awaitable[web.Response]]
WEBHOOKS: Mapping[str, Handler] = {
    "/twilio/voice": voice,
    "/twilio/next/{call}": following,
    "/twilio/status": status,
    "/twilio/amd": amd,
}
