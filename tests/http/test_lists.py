"""Whatever is sent as a campaign's list is taken or refused in words, and what is taken is told row by row."""

import asyncio
import http.client
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.campaigns.server import Server
from tests.conftest import ADMIN
from tests.outbound import ROUTE

NUMBERS = st.sampled_from([f"+1212555{number}".encode() for number in range(1000, 1006)])
ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])
WORDS = (b"Ada", b'"a,b"', b'"a\r\nb"', b"=1+1", b'"x""y"', "\u00e9".encode(), b" ", b"")
FAULTS = (b'a"b', b'"open', b"\0", b"\xff", b"a,b", b"x" * 10_001, b"y" * (1 << 20))
CELLS = st.sampled_from(WORDS) | st.sampled_from(WORDS + FAULTS)
ROWS = st.tuples(NUMBERS | CELLS, st.just(b","), CELLS, ENDS).map(b"".join)
HEADS = st.tuples(st.sampled_from([b"", b"\xef\xbb\xbf"]), st.sampled_from([b"to,name", b'"to","=name"']), ENDS)
LISTS = st.tuples(HEADS.map(b"".join), st.lists(ROWS, max_size=8).map(b"".join)).map(b"".join)
WRONG = st.binary(max_size=200) | LISTS.map(lambda text: text.decode("latin-1").encode("utf-16"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    told = {"GATEWAY_OUTBOUND__ALLOWED_COUNTRIES": '["US"]', "GATEWAY_LOG__LEVEL": "error"}
    one = Server(tmp_path_factory.mktemp("lists"), **told)
    (one.folder / "routes/reminders.toml").write_text(ROUTE)
    asyncio.run(one.start())
    yield one
    assert one.stop() == 0


def ask(server: Server, method: str, path: str, body: bytes = b"") -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", urlsplit(server.url).port or 0, timeout=20)
    try:
        headers = {"Authorization": f"Bearer {ADMIN}", "Content-Type": "text/csv"}
        connection.request(method, f"/api/v1{path}", body=body, headers=headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(LISTS | WRONG)
def test_any_list_is_taken_or_refused_in_words(server: Server, body: bytes) -> None:
    status, told = ask(server, "POST", f"/campaigns?name={quote('a list')}&route=reminders", body)
    if status != 201:
        assert (status, told["error"]["code"]) == (422, "invalid")
        assert 0 < len(told["error"]["message"]) < 50_000
        return
    one = told["campaign"]
    _, listed = ask(server, "GET", f"/campaigns/{one['id']}/contacts?limit=1000")
    waiting = [person for person in listed["contacts"] if person["state"] == "waiting"]
    # Nobody is on the list who is not in the file, nobody twice, and no row is dropped without a word.
    assert len({person["to"] for person in waiting}) == len(waiting) == one["contacts"] > 0
    assert all(person["to"].encode() in body for person in waiting)
    assert len(listed["contacts"]) - len(waiting) == one["skipped"] == len(one["problems"])
    assert ask(server, "POST", f"/campaigns/{one['id']}/preview")[0] == 200
