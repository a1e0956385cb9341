"""The kind ``twiml``."""

import pytest

from gateway.targets import TargetProblems, read_target

from .examples import HANDOFF, WRITTEN, parsed, template


def test_it_is_sent_as_written() -> None:
    assert template(WRITTEN["twiml"]).render(HANDOFF).decode() == (
        '<?xml version="1.0" encoding="UTF-8"?>'
        '<Response><Say language="de-DE">Grüße {0} %s</Say><Hangup /></Response>'
    )


def test_it_is_utf8_whatever_it_declares() -> None:
    written = '<?xml version="1.0" encoding="iso-8859-1"?><Response><Say>Grüße</Say></Response>'
    assert parsed(template({"kind": "twiml", "xml": written}).render(HANDOFF)).findtext("Say") == "Grüße"


def test_every_verb_that_does_not_exist_is_told() -> None:
    with pytest.raises(TargetProblems) as caught:
        read_target({"kind": "twiml", "xml": '<Response><Speak/><Hangup now="1"/></Response>'})
    assert [path for path, _ in caught.value.problems] == ["xml", "xml"]
    assert [text.partition(";")[0] for _, text in caught.value.problems] == [
        "<Response> takes no <Speak>",
        "<Hangup> has no attribute now",
    ]
