"""One target of each kind, one handoff, and a way to read TwiML: what the tests of this folder share."""

from typing import Any
from xml.etree import ElementTree

from gateway.targets import Handoff, Template, compile_target, read_target

HANDOFF = Handoff(
    call="CA1", version="support@3", route="support", direction="inbound", from_="+14155550100", to="+14155550101"
)

WRITTEN: dict[str, dict[str, Any]] = {
    "stream": {
        "kind": "stream",
        "url": "wss://agents.example.com/support/3",
        "name": "support",
        "parameters": {"prompt": 'a "b" & <c>', "persona": {"name": "Åsa {0} %s"}},
        "requires": ["first_name"],
    },
    "conversation_relay": {
        "kind": "conversation_relay",
        "url": "wss://agents.example.com/relay?region=us",
        "welcome_greeting": "Hello",
        "interruptible": "speech",
        "dtmf_detection": True,
        "speech_timeout": "auto",
        "deepgram_smart_format": False,
        "eager_eot_threshold": 0.5,
        "languages": [{"code": "sv-SE", "tts_provider": "Google"}],
    },
    "sip": {
        "kind": "sip",
        "uri": "sip:support-4@agents.example.com;transport=tls?X-Tenant=one",
        "username": "gateway",
        "password": "env:SIP_PASSWORD",
        "timeout": 20,
        "parameters": {"persona": {"first_name": "Åsa"}},
    },
    "webhook": {"kind": "webhook", "url": "https://agents.example.com/voice?a=1&b=%20#rc=2"},
    "number": {"kind": "number", "to": "+14155550199", "timeout": 25, "caller_id": "+14155550100"},
    "application": {"kind": "application", "sid": "AP" + "0" * 32, "parameters": {"tone": "warm"}},
    "twiml": {"kind": "twiml", "xml": '<Response><Say language="de-DE">Grüße {0} %s</Say><Hangup/></Response>'},
}


def template(written: dict[str, Any], *parameters: tuple[str, str]) -> Template:
    """The written target made ready for calls, behind https://gateway.example."""
    return compile_target(
        read_target(written),
        parameters,
        public_url="https://gateway.example/",
        secret={"SIP_PASSWORD": "s3"}.__getitem__,
    )


def parsed(twiml: bytes) -> ElementTree.Element:
    """The document's ``<Response>``; fails when it does not parse."""
    return ElementTree.fromstring(twiml)


def shown(twiml: bytes) -> str:
    """The document on indented lines, for people to read."""
    root = parsed(twiml)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode")
