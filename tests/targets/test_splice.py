"""One call's TwiML: filled in or built anew, it is the same, always parses, and carries what the call brought."""

from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.targets import KINDS, Handoff, Template
from gateway.targets.schema import twiml_problems

from .examples import HANDOFF, WRITTEN, parsed, template
from .test_parameters import carried

TEMPLATES = {kind: template(WRITTEN[kind]) for kind in KINDS}
OWN = 6
VERBS = {
    "stream": ["Response", "Connect", "Stream", *["Parameter"] * (OWN + 2)],
    "conversation_relay": ["Response", "Connect", "ConversationRelay", "Language", *["Parameter"] * OWN],
    "sip": ["Response", "Dial", "Sip"],
    "webhook": ["Response", "Redirect"],
    "number": ["Response", "Dial", "Number"],
    "application": ["Response", "Dial", "Application", "ApplicationSid", *["Parameter"] * (OWN + 1)],
    "twiml": ["Response", "Say", "Hangup"],
}

# Plain texts, texts that markup or a URL would trip over, and anything at all, lone surrogates included.
TEXTS = (
    st.from_regex(r"\A[A-Za-z0-9_+.:@-]{0,20}\Z")
    | st.text(st.sampled_from("+&<>\"'%?#=;{}\n\r\t \x00\x0b\ufffe\ud800\ufdd0015AßÅ😀"))
    | st.text(st.characters())
)
VARIABLES = st.lists(st.tuples(st.sampled_from(["first_name", "prompt", "gateway_to"]), TEXTS), max_size=3)
HANDOFFS = st.builds(
    Handoff,
    call=TEXTS,
    version=TEXTS,
    route=TEXTS,
    direction=TEXTS,
    from_=TEXTS,
    to=TEXTS,
    hop=st.integers(0, 3),
    variables=st.just(()) | VARIABLES.map(tuple),
)


def own_values(handoff: Handoff) -> dict[str, str]:
    return {
        "gateway_call": handoff.call,
        "gateway_version": handoff.version,
        "gateway_route": handoff.route,
        "gateway_direction": handoff.direction,
        "gateway_from": handoff.from_,
        "gateway_to": handoff.to,
    }


def received(kind: str, twiml: bytes) -> dict[str, str]:
    """What the agent finds, read as each channel's receiver reads it."""
    root = parsed(twiml)
    if kind == "webhook":
        return dict(parse_qsl(urlsplit(root.findtext("Redirect") or "").query, keep_blank_values=True))
    if kind == "sip":
        sent = (root.findtext("Dial/Sip") or "").partition("?")[2].split("&")
        named = [
            (name.removeprefix("X-").lower().replace("-", "_"), value)
            for name, _, value in (h.partition("=") for h in sent)
        ]
        return {name: unquote(value) for name, value in named}
    return {each.attrib["name"]: each.attrib["value"] for each in root.iter("Parameter")}


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=60)
@given(handoff=HANDOFFS)
def test_filled_in_or_built_anew_it_is_the_same(kind: str, handoff: Handoff) -> None:
    assert TEMPLATES[kind].render(handoff) == TEMPLATES[kind].build(handoff)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=60)
@given(handoff=HANDOFFS)
def test_it_always_is_twiml_with_exactly_the_expected_verbs(kind: str, handoff: Handoff) -> None:
    twiml = TEMPLATES[kind].render(handoff)
    assert twiml_problems(twiml.decode()) == []
    named = {name for name, _ in handoff.variables if name in ("first_name", "prompt")}
    new = named - {name for name, _ in TEMPLATES[kind].parameters}
    extra = len(new) if "Parameter" in VERBS[kind] else 0
    assert [element.tag for element in parsed(twiml).iter()] == [*VERBS[kind], *["Parameter"] * extra]


@pytest.mark.parametrize("kind", ["stream", "conversation_relay", "sip", "webhook", "application"])
@settings(max_examples=60)
@given(handoff=HANDOFFS)
def test_the_agent_finds_what_the_call_brought(kind: str, handoff: Handoff) -> None:
    found = received(kind, TEMPLATES[kind].render(handoff))
    for name, value in own_values(handoff).items():
        assert found[name] == carried(value)
    for name, value in dict(handoff.variables).items():
        if name != "gateway_to":
            assert found[name] == carried(value)


@pytest.mark.parametrize("kind", ["stream", "conversation_relay", "sip", "number", "application"])
@settings(max_examples=60)
@given(handoff=HANDOFFS)
def test_the_call_comes_back_under_its_own_name(kind: str, handoff: Handoff) -> None:
    root = parsed(TEMPLATES[kind].render(handoff))
    action = urlsplit(root[0].attrib["action"])
    assert unquote(action.path) == f"/twilio/next/{carried(handoff.call)}"
    assert (action.query, action.fragment) == (f"hop={handoff.hop}", "rc=2&rp=ct,rt,5xx")
    if kind != "conversation_relay":
        status = urlsplit(root[0][0].attrib["statusCallback"])
        assert (status.path, status.fragment) == ("/twilio/status", "rc=5&rp=all")
        hop = [("hop", str(handoff.hop))] if handoff.hop else []
        assert parse_qsl(status.query, keep_blank_values=True) == [("call", carried(handoff.call)), *hop]


@pytest.mark.parametrize("kind", ["sip", "webhook"])
def test_a_plus_arrives_as_a_plus_where_it_could_be_read_as_a_space(kind: str) -> None:
    assert received(kind, TEMPLATES[kind].render(HANDOFF))["gateway_from"] == "+14155550100"


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "twiml"])
def test_only_a_plain_first_handoff_is_filled_in(kind: str) -> None:
    # The pieces stay those of the kind, while whatever is built anew comes from a recognisable other target.
    crossed = replace(TEMPLATES[kind], target=TEMPLATES["twiml"].target)
    anew = TEMPLATES["twiml"].render(HANDOFF)
    assert crossed.render(HANDOFF) == TEMPLATES[kind].render(HANDOFF) != anew
    odd: list[dict[str, Any]] = [
        {"hop": 1},
        {"variables": (("first_name", "Kim"),)},
        *({"from_": text} for text in ("anonymous caller", "a&b", "a\nb", "ß", "\ud800", "a%2Bb", "a?b")),
    ]
    for change in odd:
        assert crossed.render(HANDOFF._replace(**change)) == anew


@pytest.mark.parametrize("mark", ["\ufdd00\ufdd0", "\ufdd0", "%EF%B7%900%EF%B7%90", "%EF%B7%90", "\0", "{0}", "%s"])
def test_words_that_look_like_our_marks_stay_the_operators_own(mark: str) -> None:
    parameters = {"prompt": mark}
    for kind, url in (
        ("stream", "wss://agents.example.com"),
        ("webhook", "https://agents.example.com/?a=%EF%B7%901%EF%B7%90"),
    ):
        made = template({"kind": kind, "url": url, "parameters": parameters})
        assert made.render(HANDOFF) == made.build(HANDOFF)
        assert received(kind, made.render(HANDOFF))["prompt"] == carried(mark)


class TestWhatWins:
    @pytest.fixture
    def made(self) -> Template:
        written = {
            "kind": "stream",
            "url": "wss://agents.example.com",
            "parameters": {"tone": "version", "prompt": "version", "city": "version"},
        }
        return template(written, ("tone", "arm"), ("prompt", "arm"))

    def test_a_later_layer(self, made: Template) -> None:
        found = received("stream", made.render(HANDOFF._replace(variables=(("tone", "contact"), ("new", "contact")))))
        assert list(found.items())[OWN:] == [
            ("tone", "contact"),
            ("prompt", "arm"),
            ("city", "version"),
            ("new", "contact"),
        ]

    @pytest.mark.parametrize("name", ["gateway_call", "Gateway-Call", "gateway.call", "gate\x00way_call"])
    def test_but_never_over_the_gateways_own_names(self, made: Template, name: str) -> None:
        for kind, each in {"stream": made, "sip": TEMPLATES["sip"], "webhook": TEMPLATES["webhook"]}.items():
            found = received(kind, each.render(HANDOFF._replace(variables=((name, "forged"),))))
            assert found["gateway_call"] == "CA1"
            assert "forged" not in found.values()
