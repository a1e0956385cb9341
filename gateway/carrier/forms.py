"""Reads what Twilio posts: a form body becomes fields, and fields become a call or the key of an event.

Pure text in, values out. Field names and their traps are those of Twilio's voice webhook and status callback pages.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from urllib.parse import unquote_to_bytes

from gateway.errors import Malformed
from gateway.model import Call

FIELD_LIMIT = 300  # Twilio sends about 30; a caller's SIP headers can add some.
TEXT_LIMIT = 256  # characters of From and To, which may be any text at all

_SID = re.compile(r"[A-Za-z0-9:_.-]{1,128}")
_COUNTRY = re.compile(r"[A-Z]{2}")
_PLAIN = re.compile(r"[A-Za-z0-9_.-]{0,64}")


def parse_form(body: bytes) -> list[tuple[str, str]]:
    """The fields of an ``application/x-www-form-urlencoded`` body, in order, with blanks, repeats and spaces.

    Nothing is tidied, because the signature covers every character. A ``%`` that begins no escape stays
    as it is. Raises Malformed for text that is not UTF-8 and for more than 300 fields; the caller bounds
    the size of the body.
    """
    try:
        # The escaped plus sign begins every phone number. Neither replacement can make or break an
        # escape or a separator, so they are done once for the whole body instead of field by field.
        text = body.decode().replace("+", " ").replace("%2B", "+")
        halves = [piece.split("=", 1) if "=" in piece else (piece, "") for piece in text.split("&") if piece]
        pairs = [(name, value) for name, value in halves]
        if "%" in text:
            pairs = [
                (_unquoted(name) if "%" in name else name, _unquoted(value) if "%" in value else value)
                for name, value in pairs
            ]
    except UnicodeDecodeError as error:
        raise Malformed("the form is not UTF-8 text: send percent-encoded UTF-8") from error
    if len(pairs) > FIELD_LIMIT:
        raise Malformed(f"the form has {len(pairs)} fields; at most {FIELD_LIMIT} are read")
    return pairs


def unique(pairs: Sequence[tuple[str, str]]) -> dict[str, str]:
    """The fields by name. Raises Malformed naming every repeated field.

    A signature joins names and values without a mark between them and counts equal repeats once, so a
    signed request with a repeated field can be forged from one without.
    """
    fields = dict(pairs)
    if len(fields) != len(pairs):
        counts = Counter(name for name, _ in pairs)
        repeated = ", ".join(name for name, count in counts.items() if count > 1)
        raise Malformed(f"repeated in the form: {repeated[:TEXT_LIMIT]}; send each field once")
    return fields


def read_call(fields: Mapping[str, str], *, id: str | None, at: int) -> Call:
    """The call that a voice webhook announces, at ``at`` (Unix milliseconds).

    Only CallSid is required: an anonymous caller or a bare SIP call lacks most of the rest. Without ``id``
    the call goes by its CallSid. ``country`` is the ISO code of the other party, as far as Twilio knows it.
    Raises Malformed when CallSid is missing or no Sid.
    """
    sid = fields.get("CallSid", "")
    if not is_id(sid):
        raise Malformed(_sid_fault(sid))
    outbound = fields.get("Direction", "").startswith("outbound")
    if outbound:
        country = fields.get("ToCountry") or fields.get("CalledCountry", "")
    else:
        country = fields.get("FromCountry") or fields.get("CallerCountry", "")
    return Call(
        id or sid,
        sid,
        _text(fields.get("AccountSid", "")),
        "outbound" if outbound else "inbound",
        _text(fields.get("From") or fields.get("Caller", "")),
        _text(fields.get("To") or fields.get("Called", "")),
        at,
        _text(fields.get("CallStatus") or "ringing"),
        country if _COUNTRY.fullmatch(country) else "",
        fields.get("AnsweredBy", "")[:64],
    )


def is_id(text: str) -> bool:
    """Whether a text can be the id of a call: one of Twilio's Sids, or one of ours."""
    return _SID.fullmatch(text) is not None


def event_key(fields: Mapping[str, str]) -> str:
    """What tells a callback apart from the others of its call; a repeat of the callback has the same key.

    SequenceNumber counts the callbacks of one leg and one source, so it decides where it is present
    (``status:call-progress-events:3``); without it the status does (``status:completed``). Streams
    (``stream:MZ…:stream-started``), child legs (``child:CA…:…``) and answering-machine detection (``amd``)
    belong to the call that started them, and have keys that its own callbacks never have. At most 200 characters.
    """
    if fields.get("StreamSid"):
        return _key("stream", fields["StreamSid"], fields.get("StreamEvent", ""))
    if "AnsweredBy" in fields and "CallStatus" not in fields:
        return "amd"
    leg = ("child", fields.get("CallSid", "")) if fields.get("ParentCallSid") else ("status",)
    if fields.get("SequenceNumber"):
        return _key(*leg, fields.get("CallbackSource", ""), fields["SequenceNumber"])
    return _key(*leg, fields.get("CallStatus", ""))


def seconds(fields: Mapping[str, str]) -> int | None:
    """How long the call lasted; None where Twilio did not say. ``Duration`` is billed minutes, and is not read."""
    text = fields.get("CallDuration", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 9 else None


def _unquoted(text: str) -> str:
    return unquote_to_bytes(text).decode()


def _sid_fault(sid: str) -> str:
    if not sid:
        return "CallSid missing"
    if len(sid) > 128:
        return f"CallSid has {len(sid)} characters; at most 128 are allowed"
    return f"CallSid has characters other than letters, digits and : _ . - : {sid!r}"


def _text(text: str) -> str:
    # PostgreSQL stores no NUL in text, and a phone must not stay silent because a caller's name has one.
    return text.replace("\0", "")[:TEXT_LIMIT]


def _key(*parts: str) -> str:
    return ":".join(part if _PLAIN.fullmatch(part) else _digest(part) for part in parts)


def _digest(part: str) -> str:
    # The tilde is in no plain part, so an overlong or odd part cannot pose as a plain one.
    return "~" + blake2b(part.encode(), digest_size=16).hexdigest()
