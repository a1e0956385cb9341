"""The kind ``conversation_relay``."""

from typing import Any

import pytest

from gateway.targets import TargetProblems, read_target

from .examples import HANDOFF, WRITTEN, shown, template

RELAY: dict[str, Any] = {"kind": "conversation_relay", "url": "wss://agents.example.com"}


def test_its_twiml() -> None:
    assert shown(template(WRITTEN["conversation_relay"]).render(HANDOFF)) == (
        """\
<Response>
  <Connect action="https://gateway.example/twilio/next/CA1?hop=0#rc=2&amp;rp=ct,rt,5xx" method="POST">
    <ConversationRelay deepgramSmartFormat="false" dtmfDetection="true" eagerEotThreshold="0.5" \
interruptible="speech" speechTimeout="auto" url="wss://agents.example.com/relay?region=us" \
welcomeGreeting="Hello">
      <Language code="sv-SE" ttsProvider="Google" />
      <Parameter name="gateway_call" value="CA1" />
      <Parameter name="gateway_version" value="support@3" />
      <Parameter name="gateway_route" value="support" />
      <Parameter name="gateway_direction" value="inbound" />
      <Parameter name="gateway_from" value="+14155550100" />
      <Parameter name="gateway_to" value="+14155550101" />
    </ConversationRelay>
  </Connect>
</Response>"""
    )


@pytest.mark.parametrize("value", [True, False, "speech", "none"])
def test_a_switch_is_a_boolean_or_a_word(value: Any) -> None:
    assert read_target({**RELAY, "interruptible": value}).fields["interruptible"] == value


@pytest.mark.parametrize(
    ("written", "path", "sentence"),
    [
        ({"interruptible": 1}, "interruptible", 'must be true, false, or a word such as "speech"'),
        ({"interruptible": ""}, "interruptible", 'must be true, false, or a word such as "speech"'),
        ({"interruptible": "a\x00"}, "interruptible", "holds a character that XML cannot carry"),
        ({"dtmf_detection": "yes"}, "dtmf_detection", "must be true or false"),
        ({"eager_eot_threshold": "0.5"}, "eager_eot_threshold", "must be a number"),
        ({"welcomeGreeting": "Hi"}, "welcomeGreeting", "is not known; a conversation_relay target takes url, "),
        ({"languages": "sv-SE"}, "languages", "must be a list"),
        ({"languages": ["sv-SE"]}, "languages.0", "must be a table"),
        ({"languages": [{}]}, "languages.0.code", "is missing"),
        ({"languages": [{"code": "sv-SE", "tts": "x"}]}, "languages.0.tts", "is not known"),
        ({"url": "wss://agents.example.com/#x"}, "url", "a websocket has no fragment"),
    ],
)
def test_what_is_refused(written: dict[str, Any], path: str, sentence: str) -> None:
    with pytest.raises(TargetProblems) as caught:
        read_target({**RELAY, **written})
    [(found, text)] = caught.value.problems
    assert found == path
    assert text.startswith(sentence)
