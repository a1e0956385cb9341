"""The benchmark's own parts: its arithmetic, the calls it sends, how it judges answers. Nothing is timed here."""

import asyncio
import math
import sqlite3
import tomllib
from collections.abc import Callable
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twilio.request_validator import RequestValidator  # type: ignore[import-untyped, unused-ignore]

from . import calls, load, report, routes, servers
from .__main__ import mismatch
from .figures import Measurement, Spread, Workload, percentile, ratios, spread

GOOD = b"<Response><Connect><Stream url='wss://a' /></Connect></Response>"


def on_the_wire(body: bytes, status: str = "200 OK", extra: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\ncontent-length: {len(body)}\r\n{extra}\r\n".encode() + body


def measurement(**changed: float) -> Measurement:
    plain = {"throughput": 1.0, "p50": 0.001, "p99": 0.002, "worst": 0.003, "cpu": 0.0001}
    return Measurement(**(plain | changed), generator=0.1, late=0.0, sent=1, refused=(), errors={})


@pytest.mark.parametrize(("share", "expected"), [(0.0, 1), (0.5, 50), (0.99, 99), (1.0, 100)])
def test_a_percentile_is_the_nearest_rank(share: float, expected: int) -> None:
    assert percentile([float(value) for value in reversed(range(1, 101))], share) == expected


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0.01, 1))
def test_a_percentile_covers_its_share_and_no_smaller_value_does(values: list[float], share: float) -> None:
    found = percentile(values, share)
    assert sum(value <= found for value in values) >= share * len(values)
    assert sum(value < found for value in values) < share * len(values)


def test_what_cannot_be_computed_is_nan() -> None:
    assert math.isnan(percentile([], 0.5))
    assert math.isnan(spread([math.nan]).middle)
    assert math.isnan(ratios([1.0], [0.0]).middle)


def test_a_spread_holds_the_median_and_the_extremes() -> None:
    assert spread([3.0, 1.0, math.nan, 2.0]) == Spread(middle=2.0, low=1.0, high=3.0)


def test_ratios_pair_the_rounds() -> None:
    assert ratios([100.0, 50.0, 80.0], [50.0, 50.0, 20.0]) == Spread(middle=2.0, low=1.0, high=4.0)


def test_ratios_refuse_rounds_that_do_not_pair() -> None:
    with pytest.raises(ValueError, match="shorter"):
        ratios([1.0, 2.0], [1.0])


def test_an_aim_is_judged_by_the_median() -> None:
    load_64, steady = Workload(clients=64), Workload(rate=200)
    results = {
        ("ceiling", load_64): [measurement(throughput=10_000)],
        ("gateway", load_64): [measurement(throughput=4_000)],
        ("flask", load_64): [measurement(throughput=900)],
        ("gateway", steady): [measurement(p99=0.011)],
    }
    rows = list(zip(*(column.cells for column in report.comparison(results).columns), strict=True))
    assert rows == [
        ("gateway / ceiling, 64 clients", "0.40", "≥ 0.4", "[green]reached[/]"),
        ("gateway / flask, 64 clients", "4.44", "≥ 5", "[red]missed[/]"),
        ("gateway p99 ms, 200 calls/s", "11.00", "< 10", "[red]missed[/]"),
    ]


def test_a_request_is_one_whole_signed_form() -> None:
    head, _, body = calls.request(7).partition(b"\r\n\r\n")
    line, *rest = head.decode().split("\r\n")
    headers = dict(entry.split(": ", 1) for entry in rest)
    fields = dict(parse_qsl(body.decode(), keep_blank_values=True, strict_parsing=True))
    assert line == "POST /twilio/voice HTTP/1.1"
    assert int(headers["Content-Length"]) == len(body)
    assert fields == calls.form(7)
    assert len(fields) == 20
    validator = RequestValidator(calls.AUTH_TOKEN)
    url = f"https://{headers['Host']}/twilio/voice"
    assert validator.validate(url, fields, headers["X-Twilio-Signature"])
    assert not validator.validate(url, fields | {"From": "+15550000000"}, headers["X-Twilio-Signature"])


def test_every_call_has_its_own_sid() -> None:
    sids = {calls.form(index)["CallSid"] for index in range(1000)}
    assert len(sids) == 1000
    assert all(len(sid) == 34 for sid in sids)


@pytest.mark.parametrize(
    ("received", "problem"),
    [
        (on_the_wire(GOOD), ""),
        (on_the_wire(GOOD, status="503 Service Unavailable"), "status 503"),
        (on_the_wire(b"<Response><Hangup/></Response>"), "not the TwiML expected"),
        (on_the_wire(GOOD[:-3]), "not the TwiML expected"),
        (on_the_wire(GOOD) + b"more", "more than one answer"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "no Content-Length"),
    ],
)
def test_only_whole_expected_twiml_is_a_good_answer(received: bytes, problem: str) -> None:
    answer = load.read_answer(received)
    assert answer is not None
    assert answer.problem == problem


@given(st.integers(0, len(on_the_wire(GOOD)) - 1))
def test_an_answer_is_judged_only_when_it_is_whole(cut: int) -> None:
    assert load.read_answer(on_the_wire(GOOD)[:cut]) is None


def answering(answer: Callable[[int], bytes]) -> Callable[..., object]:
    """A server's talk: ``answer`` to the first, second, … request, hanging up when the answer says so."""
    heard = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal heard
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
                await reader.readexactly(int(length))
                heard += 1
                said = answer(heard)
                writer.write(said)
                if b"connection: close" in said:
                    return
        except asyncio.IncompleteReadError:
            return
        finally:
            writer.close()

    return talk


async def run_closed_loop(answer: Callable[[int], bytes]) -> load.Tally:
    server = await asyncio.start_server(answering(answer), "127.0.0.1", 0)  # type: ignore[arg-type]
    async with server:
        port: int = server.sockets[0].getsockname()[1]
        return await load.closed_loop(port, 4, 60, calls.stock(range(10, 50)))


async def test_a_closed_loop_sends_every_call_once() -> None:
    tally = await run_closed_loop(lambda heard: on_the_wire(GOOD))
    assert (tally.sent, len(tally.latencies), tally.refused) == (40, 40, [])


async def test_a_closed_loop_dials_again_when_the_server_closes() -> None:
    tally = await run_closed_loop(lambda heard: on_the_wire(GOOD, extra="connection: close\r\n"))
    assert (tally.sent, len(tally.latencies), tally.refused) == (40, 40, [])


async def test_bad_answers_are_counted_and_not_timed() -> None:
    tally = await run_closed_loop(lambda heard: on_the_wire(GOOD, status="500 Oops" if heard % 2 else "200 OK"))
    assert tally.errors == {"status 500": 20}
    assert len(tally.latencies) == len(set(tally.refused)) == 20
    assert set(tally.refused) < set(range(10, 50))


async def test_an_open_loop_sends_what_is_due() -> None:
    server = await asyncio.start_server(answering(lambda heard: on_the_wire(GOOD)), "127.0.0.1", 0)  # type: ignore[arg-type]
    due = load.arrivals(400, 0.1)
    async with server:
        port: int = server.sockets[0].getsockname()[1]
        tally = await load.open_loop(port, 400, 0.1, calls.stock(range(1000)))
    assert tally.sent == len(tally.latencies) == len(due) > 0


def test_arrivals_are_random_but_the_same_every_time() -> None:
    moments = load.arrivals(200, 100)
    assert moments == load.arrivals(200, 100) == sorted(moments)
    assert abs(len(moments) - 20_000) < 600
    assert len({round(b - a, 6) for a, b in pairwise(moments)}) > 1000


def test_a_difference_between_answers_and_rows_is_told() -> None:
    assert mismatch({"a", "b"}, {"a", "b"}) == ""
    assert mismatch({"a", "b"}, {"b", "c", "d"}) == "1 answered, but not stored, 2 stored, but not answered"


def test_the_stored_calls_are_those_that_another_reader_sees(tmp_path: Path) -> None:
    file = tmp_path / "calls.db"
    with closing(sqlite3.connect(file)) as writer:
        writer.execute("CREATE TABLE call (id TEXT)")
        writer.execute("INSERT INTO call VALUES ('CA1')")
        writer.commit()
        writer.execute("INSERT INTO call VALUES ('CA2')")
        assert servers.stored(servers.Server(port=0, group=0, database=file)) == {"CA1"}


def test_the_gateway_is_given_one_even_split_between_two_streams() -> None:
    agent, route = tomllib.loads(servers.AGENT), tomllib.loads(servers.ROUTE)
    assert {f"support@{number}" for number in agent["versions"]} == set(route["versions"].values())
    assert route["ab_test"]["enabled"]
    assert route["ab_test"]["split"] == {"a": 50, "b": 50}


async def test_many_routes_are_timed(tmp_path: Path) -> None:
    figures = await routes.measure(30, tmp_path)
    assert [what for what, *_ in figures][:3] == [
        "read and check the files",
        "publish all of them",
        "load from the database",
    ]
    assert all(took > 0 for _, took, _ in figures)
