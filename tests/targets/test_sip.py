"""The kind ``sip``."""

from typing import Any

import pytest

from gateway.targets import TargetProblems, check_limits, read_target

from .examples import HANDOFF, WRITTEN, shown, template


def problems(**written: Any) -> list[tuple[str, str]]:
    with pytest.raises(TargetProblems) as caught:
        read_target({"kind": "sip", "uri": "sip:agents.example.com", **written})
    return list(caught.value.problems)


def test_its_twiml() -> None:
    assert shown(template(WRITTEN["sip"]).render(HANDOFF)) == (
        """\
<Response>
  <Dial action="https://gateway.example/twilio/next/CA1?hop=0#rc=2&amp;rp=ct,rt,5xx" answerOnBridge="true" \
method="POST" timeout="20">
    <Sip password="s3" statusCallback="https://gateway.example/twilio/status?call=CA1#rc=5&amp;rp=all" \
statusCallbackEvent="initiated ringing answered completed" statusCallbackMethod="POST" username="gateway">\
sip:support-4@agents.example.com;transport=tls?X-Tenant=one&amp;X-Gateway-Call=CA1\
&amp;X-Gateway-Version=support%403&amp;X-Gateway-Route=support&amp;X-Gateway-Direction=inbound\
&amp;X-Gateway-From=%2B14155550100&amp;X-Gateway-To=%2B14155550101&amp;X-Persona-First-Name=%C3%85sa</Sip>
  </Dial>
</Response>"""
    )


@pytest.mark.parametrize(
    "uri",
    [
        "sip:agents.example.com",
        "sip:support@agents.example.com:5061;transport=tls;region=us1",
        "sips:+14155550100@203.0.113.9",
        "sip:call_1@[2001:db8::1]:5060",
        "sip:a@agents.example.com?X-Tenant=1&User-to-User=2",
    ],
)
def test_a_sip_uri_is_taken(uri: str) -> None:
    assert read_target({"kind": "sip", "uri": uri}).fields == {"uri": uri}


@pytest.mark.parametrize(
    "uri", ["", "support@agents.example.com", "http://agents.example.com", "sip:", "sip:a@", "sip:a b@c", "sip:a@b\n"]
)
def test_what_is_no_sip_uri_is_refused(uri: str) -> None:
    assert problems(uri=uri) == [
        ("uri", 'must be a SIP URI, as in "sip:support@agents.example.com;transport=tls"'),
    ]


def test_a_password_in_the_uri_is_refused() -> None:
    assert problems(uri="sip:u:p@agents.example.com") == [
        ("uri", "must not carry a password: secrets never stand in files")
    ]


@pytest.mark.parametrize("password", ["hunter2", "env:", "env:A B", "$SIP_PASSWORD"])
def test_a_password_in_a_file_is_refused(password: str) -> None:
    assert problems(username="u", password=password) == [
        ("password", 'secrets never stand in files: name an environment variable, as in "env:SIP_PASSWORD"')
    ]


@pytest.mark.parametrize("written", [{"username": "u"}, {"password": "env:SIP_PASSWORD"}])
def test_half_of_a_login_is_refused(written: dict[str, str]) -> None:
    assert problems(**written) == [("", "username and password go together: write both or neither")]


def test_the_uri_stays_under_255_characters() -> None:
    fits = "sip:" + "a" * (254 - len("sip:@agents.example.com")) + "@agents.example.com"
    assert read_target({"kind": "sip", "uri": f"{fits}?X-A=1"}).fields["uri"] == f"{fits}?X-A=1"
    assert problems(uri=fits + "m") == [("uri", "has 255 characters; Twilio takes fewer than 255")]


def test_only_headers_that_twilio_carries_are_taken() -> None:
    assert problems(uri="sip:agents.example.com?X-A=1&Subject=2") == [
        ("uri", "Twilio does not carry the SIP header Subject: begin its name with X-")
    ]


def test_headers_stay_under_1024_characters_together() -> None:
    target = read_target({"kind": "sip", "uri": "sip:agents.example.com", "parameters": {"prompt": "x" * 600}})
    assert check_limits(target, (("prompt", "short"), ("tone", "x" * 600))) == []
    [told] = check_limits(target, (("tone", "x" * 600),))
    assert told.startswith("the SIP headers come to 1")
    assert told.endswith(" characters; Twilio takes fewer than 1024")


def test_a_header_is_measured_as_it_travels() -> None:
    target = read_target({"kind": "sip", "uri": "sip:agents.example.com"})
    assert check_limits(target, (("prompt", "a" * 300),)) == []
    assert len(check_limits(target, (("prompt", "å" * 300),))) == 1


def test_names_that_make_no_header_or_the_same_one_are_refused() -> None:
    assert problems(parameters={"имя": "x", "persona": {"name": "a"}, "persona_name": "b"}) == [
        ("parameters.имя", "parameter имя has no letter to make a SIP header of"),
        (
            "parameters.persona_name",
            "parameters persona.name and persona_name both become the SIP header X-Persona-Name",
        ),
    ]
