"""The walk through twilio's classes, and what it finds wrong with a document."""

import pytest
from twilio.twiml.voice_response import (  # type: ignore[import-untyped, unused-ignore]
    Connect,
    ConversationRelay,
    Dial,
    Say,
    VoiceResponse,
)

from gateway.targets.conversation_relay import ConversationRelay as RelayTarget
from gateway.targets.conversation_relay import Language
from gateway.targets.schema import SIZE_LIMIT, children, twiml_problems


def camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def test_the_walk_finds_elements_and_attributes_under_the_names_that_go_out() -> None:
    assert {"Connect", "Dial", "Redirect", "Say", "Hangup", "Gather"} <= set(children(VoiceResponse))
    assert {"Number", "Sip", "Application", "WhatsApp"} <= set(children(Dial))
    assert "answerOnBridge" in children(VoiceResponse)["Dial"].attributes
    assert "number" not in children(VoiceResponse)["Dial"].attributes
    assert {"interpret-as", "format"} <= children(Say)["say-as"].attributes


def test_one_element_has_other_attributes_in_another_place() -> None:
    assert "reason" in children(VoiceResponse)["Reject"].attributes
    assert "url" in children(Connect)["Stream"].attributes
    assert children(Connect)["Stream"].made_by is not children(Connect)["ConversationRelay"].made_by


@pytest.mark.parametrize(
    "document",
    [
        "<Response/>",
        '<?xml version="1.0" encoding="UTF-8"?><Response><Hangup/></Response>',
        '<Response><Say voice="alice">A <emphasis level="strong">B</emphasis><break time="1s"/></Say></Response>',
        '<Response><Say><lang xml:lang="de-DE">Tag <say-as interpret-as="date">1.1.</say-as></lang></Say></Response>',
        '<Response><!-- a person --><Dial timeout="20"><Number>+14155550199</Number></Dial></Response>',
        '<Response><Gather input="speech" action="/x"><Say><![CDATA[a < b]]></Say></Gather></Response>',
    ],
)
def test_twiml_passes(document: str) -> None:
    assert twiml_problems(document) == []


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        ("", "is not well-formed XML: "),
        ("<Response>", "is not well-formed XML: "),
        ("<Response>\x00</Response>", "is not well-formed XML: "),
        ("<Response>\ud800</Response>", "is not well-formed XML: "),
        ("<Say>hello</Say>", "must begin with <Response>, not <Say>"),
        ("<response/>", "must begin with <Response>, not <response>"),
        ('<Response version="1"/>', "<Response> has no attribute version"),
        ("<Response><say>hello</say></Response>", "<Response> takes no <say>; it takes Connect, Dial, "),
        ("<Response><Number>+14155550199</Number></Response>", "<Response> takes no <Number>; it takes Connect, "),
        ('<Response><Hangup now="1"/></Response>', "<Hangup> has no attribute now"),
        ('<Response><Say Voice="alice">x</Say></Response>', "<Say> has no attribute Voice; it takes language, loop"),
        ('<Response><Connect><Stream src="x"/></Connect></Response>', "<Stream> has no attribute src; it takes "),
        ("<!DOCTYPE x [<!ENTITY a 'a'>]><Response><Say>&a;</Say></Response>", "must not declare a document type"),
        (f"<Response><Say>{'x' * SIZE_LIMIT}</Say></Response>", "has 64032 bytes; Twilio takes up to 64000"),
        (f"<Response><Say>{'ß' * 32_000}</Say></Response>", "has 64032 bytes; Twilio takes up to 64000"),
    ],
)
def test_what_is_not_twiml_is_told(document: str, sentence: str) -> None:
    [found] = twiml_problems(document)
    assert found.startswith(sentence)


def test_every_misfit_is_told() -> None:
    assert len(twiml_problems('<Response><Foo/><Dial a="1" b="2"><Bar/></Dial></Response>')) == 4


def test_each_key_of_a_relay_is_an_attribute_twilio_knows() -> None:
    own = {camel(name) for name in RelayTarget.model_fields if name != "languages"}
    assert own - children(Connect)["ConversationRelay"].attributes == set()
    spoken = {camel(name) for name in Language.model_fields}
    assert spoken - children(ConversationRelay)["Language"].attributes == set()
