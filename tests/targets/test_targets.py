"""Reading, writing and measuring targets of every kind."""

import copy
from typing import Any

import pytest

from gateway.model import Target
from gateway.targets import (
    EMPTY,
    HANGUP,
    KINDS,
    TargetProblems,
    check_limits,
    compile_target,
    ends_by,
    handoff_url,
    read_target,
    say,
    written_target,
)

from .examples import HANDOFF, WRITTEN, parsed

STREAM = WRITTEN["stream"]["url"]


def problems(written: Any) -> list[tuple[str, str]]:
    with pytest.raises(TargetProblems) as caught:
        read_target(written)
    return list(caught.value.problems)


def test_every_kind_has_an_example() -> None:
    assert set(WRITTEN) == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_a_target_survives_being_written_and_read(kind: str) -> None:
    target = read_target(WRITTEN[kind])
    assert target.kind == kind
    assert read_target(written_target(target)) == target


@pytest.mark.parametrize("kind", KINDS)
def test_reading_changes_nothing_that_was_written(kind: str) -> None:
    written = copy.deepcopy(WRITTEN[kind])
    read_target(written)
    assert written == WRITTEN[kind]


def test_a_target_holds_the_reference_to_a_secret_and_never_the_secret() -> None:
    assert read_target(WRITTEN["sip"]).fields["password"] == "env:SIP_PASSWORD"


def test_nested_parameters_and_requires_are_read() -> None:
    target = read_target(WRITTEN["stream"])
    assert target.parameters == (("prompt", 'a "b" & <c>'), ("persona.name", "Åsa {0} %s"))
    assert target.requires == ("first_name",)


REFUSED: list[tuple[Any, str, str]] = [
    ("wss://agents.example.com", "kind", "a target needs a kind: write one of stream, "),
    ({"url": STREAM}, "kind", "a target needs a kind: write one of stream, "),
    ({"kind": "steam"}, "kind", "steam is no kind of target: write one of stream, conversation_relay, sip, "),
    ({"kind": "stream"}, "url", "is missing"),
    ({"kind": "stream", "url": 3}, "url", "must be text in quotes"),
    (
        {"kind": "stream", "url": STREAM, "nmae": "x"},
        "nmae",
        "is not known; a stream target takes url, name, parameters, requires",
    ),
    ({"kind": "stream", "url": STREAM, "name": " "}, "name", "must not be empty"),
    ({"kind": "stream", "url": STREAM, "name": "a\x00"}, "name", "holds a character that XML cannot carry"),
    ({"kind": "stream", "url": STREAM, "parameters": 1}, "parameters", "must be a table"),
    (
        {"kind": "stream", "url": STREAM, "parameters": {"persona": {"tags": ["a"]}}},
        "parameters.persona.tags",
        "must be text, a number, true or false, or a table of these",
    ),
    (
        {"kind": "stream", "url": STREAM, "parameters": {"gateway_call": "x"}},
        "parameters.gateway_call",
        "names beginning with gateway_ are the gateway's own: rename gateway_call",
    ),
    ({"kind": "stream", "url": STREAM, "requires": "first_name"}, "requires", "must be a list of names"),
    (
        {"kind": "stream", "url": STREAM, "parameters": {"prompt": "x" * 494}},
        "parameters.prompt",
        "parameter prompt comes to 500 characters with its name; Twilio takes fewer than 500",
    ),
    (
        {"kind": "conversation_relay", "url": STREAM, "parameters": {"prompt": "x" * 494}},
        "parameters.prompt",
        "parameter prompt comes to 500 characters",
    ),
    (
        {"kind": "application", "sid": "AP" + "0" * 32, "parameters": {"prompt": "x" * 494}},
        "parameters.prompt",
        "parameter prompt comes to 500 characters",
    ),
    (
        {"kind": "number", "to": "+14155550199", "parameters": {"a": "b"}},
        "parameters",
        "a number target cannot be given anything: drop its parameters",
    ),
    (
        {"kind": "twiml", "xml": "<Response/>", "requires": ["a"]},
        "requires",
        "a twiml target cannot be given anything: drop requires",
    ),
    ({"kind": "number", "to": 14155550199}, "to", 'quote the number, as in "+14155550100"'),
    ({"kind": "number", "to": "4155550199"}, "to", 'must be an E.164 number, as in "+14155550100"'),
    ({"kind": "number", "to": "+14155550199", "timeout": 0}, "timeout", "must be 1 to 600 seconds"),
    ({"kind": "number", "to": "+14155550199", "timeout": "20"}, "timeout", "must be a whole number"),
    ({"kind": "application", "sid": "AP1"}, "sid", "must be an application's Sid: AP and 32 hexadecimal digits"),
]


@pytest.mark.parametrize(("written", "path", "sentence"), REFUSED)
def test_a_wrong_target_is_refused_in_words(written: Any, path: str, sentence: str) -> None:
    [(found, text)] = problems(written)
    assert found == path
    assert text.startswith(sentence)


@pytest.mark.parametrize(
    "written",
    [
        {"kind": "stream", "url": STREAM, "parameters": {"prompt": "x" * 493}},
        {"kind": "conversation_relay", "url": STREAM, "parameters": {"prompt": "x" * 493}},
        {"kind": "application", "sid": "AP" + "0" * 32, "parameters": {"prompt": "x" * 493}},
        {"kind": "number", "to": "+14155550199", "timeout": 600},
    ],
)
def test_the_last_value_within_a_limit_is_taken(written: dict[str, Any]) -> None:
    assert check_limits(read_target(written), ()) == []


def test_every_problem_is_told_at_once() -> None:
    found = problems(
        {
            "kind": "stream",
            "url": "ws://agents.example.com",
            "nmae": "x",
            "parameters": {"gateway_x": 1, "": 2, "none": None},
            "requires": [""],
        }
    )
    assert [path for path, _ in found] == [
        "url",
        "nmae",
        "parameters.gateway_x",
        "parameters.",
        "parameters.none",
        "requires",
    ]


def test_a_secret_written_by_mistake_is_not_repeated_to_anybody() -> None:
    canary = "hunter2-canary"
    written = [
        {"kind": "sip", "uri": f"sip:a:{canary}@agents.example.com", "username": "u", "password": canary},
        {"kind": "webhook", "url": f"https://a:{canary}@agents.example.com"},
        {"kind": "stream", "url": f"wss://{canary}@agents.example.com"},
    ]
    for each in written:
        with pytest.raises(TargetProblems) as caught:
            read_target(each)
        assert canary not in f"{caught.value!r} {caught.value.problems}"
        assert caught.value.__cause__ is None


def test_limits_are_measured_with_what_an_arm_adds() -> None:
    target = read_target({"kind": "stream", "url": STREAM, "parameters": {"prompt": "short"}})
    assert check_limits(target, (("prompt", "x" * 493), ("tone", "warm"))) == []
    assert check_limits(target, (("prompt", "x" * 494), ("tone", "x" * 496))) == [
        "parameter prompt comes to 500 characters with its name; Twilio takes fewer than 500",
        "parameter tone comes to 500 characters with its name; Twilio takes fewer than 500",
    ]


@pytest.mark.parametrize(
    ("kind", "end"),
    [
        ("stream", "stream"),
        ("conversation_relay", "relay"),
        ("sip", "dial"),
        ("number", "dial"),
        ("application", "dial"),
        ("webhook", "none"),
        ("twiml", "none"),
    ],
)
def test_how_a_handoff_comes_back_is_what_its_twiml_asks_for(kind: str, end: str) -> None:
    assert ends_by(kind) == end
    template = compile_target(read_target(WRITTEN[kind]), (), public_url="https://gateway.example", secret=str)
    asks = [element.tag for element in parsed(template.render(HANDOFF)).iter() if "action" in element.attrib]
    assert asks == {"dial": ["Dial"], "relay": ["Connect"], "stream": ["Connect"], "none": []}[end]


def test_the_url_of_a_webhook_is_what_its_twiml_says_without_connection_overrides() -> None:
    target = read_target(WRITTEN["webhook"])
    template = compile_target(target, (("tone", "warm"),), public_url="https://gateway.example")
    redirect = parsed(template.render(HANDOFF)).findtext("Redirect") or ""
    assert redirect.endswith("&tone=warm#rc=2")
    assert handoff_url(target, (("tone", "warm"),), HANDOFF) == redirect.removesuffix("#rc=2")


def test_other_kinds_have_no_such_url() -> None:
    assert handoff_url(read_target(WRITTEN["stream"]), (), HANDOFF) is None


def test_a_secret_that_is_not_at_hand_is_named() -> None:
    with pytest.raises(LookupError, match="SIP_PASSWORD"):
        compile_target(read_target(WRITTEN["sip"]), (), public_url="https://gateway.example")


def test_an_apology_is_spoken_and_the_call_ended() -> None:
    answer = parsed(say("Sorry, <nobody> & nothing\x00."))
    assert [(verb.tag, verb.text) for verb in answer] == [("Say", "Sorry, <nobody> & nothing."), ("Hangup", None)]


def test_the_fixed_answers() -> None:
    assert [verb.tag for verb in parsed(HANGUP)] == ["Hangup"]
    assert parsed(EMPTY).tag == "Response"
    assert list(parsed(EMPTY)) == []


def test_a_target_made_in_code_compiles_like_one_that_was_read() -> None:
    made = Target(kind="number", fields={"to": "+14155550199"})
    assert made == read_target({"kind": "number", "to": "+14155550199"})
