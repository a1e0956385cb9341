"""Which addresses a target may name."""

from typing import Any

import pytest

from gateway.targets import TargetProblems, read_target

KINDS = {"webhook": "https", "stream": "wss", "conversation_relay": "wss"}


def refusal(kind: str, url: str) -> str:
    with pytest.raises(TargetProblems) as caught:
        read_target({"kind": kind, "url": url})
    [(path, text)] = caught.value.problems
    assert path == "url"
    return text


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "rest", ["://agents.example.com", "://agents.example.com:8443/a/b", "://203.0.113.9/x", "://[2001:db8::1]/x"]
)
def test_an_encrypted_address_is_taken(kind: str, rest: str) -> None:
    assert read_target({"kind": kind, "url": KINDS[kind] + rest}).fields["url"] == KINDS[kind] + rest


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("host", ["localhost:8080", "127.0.0.1:8080", "[::1]:8080"])
def test_an_unencrypted_address_is_taken_on_this_machine(kind: str, host: str) -> None:
    url = f"{KINDS[kind][:-1]}://{host}/x"
    assert read_target({"kind": kind, "url": url}).fields["url"] == url


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "host", ["agents.example.com", "10.0.0.1", "169.254.169.254", "localhost.example.com", "0.0.0.0", "2130706433"]
)
def test_an_unencrypted_address_is_refused_elsewhere(kind: str, host: str) -> None:
    scheme = KINDS[kind]
    sentence = f"must begin with {scheme}://, since {scheme[:-1]}:// is taken for loopback hosts only"
    assert refusal(kind, f"{scheme[:-1]}://{host}/x") == sentence


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("user", ["u:p@", "u@", "@", "localhost@", "localhost%2f@"])
def test_user_names_and_passwords_are_refused(kind: str, user: str) -> None:
    sentence = "must not carry a user name or password: secrets never stand in files"
    assert refusal(kind, f"{KINDS[kind]}://{user}agents.example.com/x") == sentence


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("agents.example.com", "must begin with {}://"),
        ("ftp://agents.example.com", "must begin with {}://"),
        ("{}:agents.example.com", "must begin with {}://"),
        ("{}:///x", "must begin with {}://"),
        ("{}://agents.example.com/a b", "must be a URL in printable ASCII, without spaces"),
        ("{}://agents.example.com/\n", "must be a URL in printable ASCII, without spaces"),
        ("{}://agénts.example.com/", "must be a URL in printable ASCII, without spaces"),
        ("{}://agents.example.com:99999/", "is not a URL: its host or port cannot be read"),
        ("{}://[::1/", "is not a URL: its host or port cannot be read"),
        ("{}://[v1.x]/", "is not a URL: its host cannot be read"),
        ("{}://agents.example.com\\.evil.example/", "is not a URL: its host cannot be read"),
        ("{}://my_agents.example.com/", "Twilio refuses a host name with an underscore"),
    ],
)
def test_what_is_no_address_is_refused(kind: str, url: str, sentence: str) -> None:
    assert refusal(kind, url.format(KINDS[kind])) == sentence.format(KINDS[kind])


@pytest.mark.parametrize(
    "written",
    [
        {"kind": "webhook", "url": "https://agents.example.com/?a=1&gateway_call=CA2"},
        {"kind": "webhook", "url": "https://agents.example.com/?gateway%5Fcall=CA2"},
        {"kind": "sip", "uri": "sip:agents.example.com?X-Gateway-Call=CA2"},
        {"kind": "sip", "uri": "sip:agents.example.com?x-a=1&x-gateway%2Dfrom=CA2"},
    ],
)
def test_an_address_cannot_set_the_gateways_own_names(written: dict[str, Any]) -> None:
    with pytest.raises(TargetProblems, match="names beginning with gateway_ are the gateway's own"):
        read_target(written)
