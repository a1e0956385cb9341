"""The load generator, a process of its own: it writes ready-made requests on open connections and reads the answers.

It speaks just enough HTTP to do that, so that it costs a fraction of any server it measures. It is told what to do
as JSON on standard input, and tells what it measured as JSON on standard output.
"""

import asyncio
import gc
import json
import random
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, cast

from . import calls
from .figures import Measurement, Workload, percentile

PATIENCE = 15.0
"""Seconds that Twilio waits for an answer to a call webhook; whoever is slower has failed."""

LINES = 64
"""Connections that an open loop may use at once; calls beyond that wait, and their wait counts."""

Stock = Sequence[tuple[int, bytes]]
_now = time.perf_counter


class Answer(NamedTuple):
    """One whole answer: what is wrong with it ("" for nothing), and whether the server closes the connection."""

    problem: str
    closes: bool


def read_answer(received: bytes) -> Answer | None:
    """Judge the answer in ``received``; None while it is incomplete."""
    end = received.find(b"\r\n\r\n")
    if end < 0:
        return None
    head = received[:end].lower()
    _, found, rest = head.partition(b"\r\ncontent-length:")
    if not found:
        return Answer("no Content-Length", True)
    length = int(rest.partition(b"\r\n")[0])
    if len(received) < end + 4 + length:
        return None
    body = received[end + 4 :]
    problem = ""
    if head[9:12] != b"200":
        problem = f"status {head[9:12].decode('latin-1')}"
    elif len(body) != length:
        problem = "more than one answer"
    elif b"<Response>" not in body or b"<Stream " not in body or not body.rstrip().endswith(b"</Response>"):
        problem = "not the TwiML expected"
    return Answer(problem, b"\r\nconnection: close" in head)


class Line(asyncio.Protocol):
    """One connection with at most one call under way; dialled again when the server closed it."""

    def __init__(self, port: int, answered: Callable[["Line", str], None]) -> None:
        self._port = port
        self._answered = answered
        self._transport: asyncio.Transport | None = None
        self._received = b""
        self._waiting = False
        self._redial: asyncio.Task[None] | None = None
        self.call = 0
        self.since = 0.0

    async def dial(self) -> None:
        """Connect to the server."""
        await asyncio.get_running_loop().create_connection(lambda: self, "127.0.0.1", self._port)

    def send(self, call: int, request: bytes, since: float) -> None:
        """Send ``request``; ``since`` is the moment from which its answer is timed."""
        self.call, self.since, self._waiting = call, since, True
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(request)
        else:
            self._redial = asyncio.create_task(self._dial_and_write(request))

    def close(self) -> None:
        """Hang up; an answer that is still due will never be reported."""
        self._waiting = False
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Part of asyncio.Protocol."""
        # uvloop's transports behave as asyncio.Transport without inheriting from it.
        self._transport = cast(asyncio.Transport, transport)
        self._received = b""

    def data_received(self, data: bytes) -> None:
        """Part of asyncio.Protocol."""
        self._received += data
        answer = read_answer(self._received)
        if answer is None:
            return
        self._received = b""
        if answer.closes and self._transport is not None:
            self._transport.close()
        self._end(answer.problem)

    def connection_lost(self, exc: Exception | None) -> None:
        """Part of asyncio.Protocol."""
        # A server that closes after its answer may be heard late, when the next connection already stands.
        if self._transport is None or self._transport.is_closing():
            self._transport = None
            if self._redial is None or self._redial.done():
                self._end("connection lost")

    async def _dial_and_write(self, request: bytes) -> None:
        try:
            await self.dial()
        except OSError:
            self._end("no connection")
        else:
            assert self._transport is not None
            self._transport.write(request)

    def _end(self, problem: str) -> None:
        if self._waiting:
            self._waiting = False
            self._answered(self, problem)


@dataclass(kw_only=True, slots=True)
class Tally:
    """What a run has heard so far; times in seconds."""

    sent: int = 0
    latencies: list[float] = field(default_factory=list)
    lateness: list[float] = field(default_factory=list)
    refused: list[int] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    def add(self, call: int, latency: float, problem: str) -> None:
        """Note one answer. Only good ones are timed: a fast refusal must not look like a fast server."""
        if problem:
            self.errors[problem] += 1
            self.refused.append(call)
        else:
            self.latencies.append(latency)


async def closed_loop(port: int, clients: int, seconds: float, stock: Stock) -> Tally:
    """Let ``clients`` send one call after the other, each waiting for its answer, until time or ``stock`` is over."""
    tally = Tally()
    done = asyncio.get_running_loop().create_future()
    ready = iter(stock)
    busy = set[Line]()

    def following(line: Line) -> None:
        moment = _now()
        entry = next(ready, None) if moment < deadline else None
        if entry is not None:
            tally.sent += 1
            line.send(*entry, moment)
            return
        busy.discard(line)
        if not busy and not done.done():
            done.set_result(None)

    def answered(line: Line, problem: str) -> None:
        tally.add(line.call, _now() - line.since, problem)
        following(line)

    lines = [Line(port, answered) for _ in range(clients)]
    await asyncio.gather(*(line.dial() for line in lines))
    busy.update(lines)
    begin = _now()
    deadline = begin + seconds
    for line in lines:
        following(line)
    await _finished(done, seconds, busy, tally)
    tally.seconds = _now() - begin
    for line in lines:
        line.close()
    return tally


async def open_loop(port: int, rate: float, seconds: float, stock: Stock) -> Tally:
    """Send ``rate`` calls a second at random moments, fixed beforehand, however slowly the server answers.

    Latency counts from the moment a call was due, not from the moment it could be sent, so that a server that
    stalls is charged for every caller whom it kept waiting.
    """
    tally = Tally()
    done = asyncio.get_running_loop().create_future()
    queue = deque[tuple[int, bytes, float]]()
    due = arrivals(rate, seconds)[: len(stock)]
    left = len(due)
    busy = set[Line]()

    def answered(line: Line, problem: str) -> None:
        nonlocal left
        tally.add(line.call, _now() - line.since, problem)
        left -= 1
        busy.discard(line)
        free.append(line)
        if queue:
            forward()
        elif left == 0 and not done.done():
            done.set_result(None)

    def forward() -> None:
        line = free.pop()
        busy.add(line)
        line.send(*queue.popleft())

    # Each is dialled when it is first needed: idle connections would block the threads of some servers. The line
    # used last is used next, so that few are needed.
    lines = [Line(port, answered) for _ in range(LINES)]
    free = list(lines)
    begin = _now()
    for (call, request), offset in zip(stock, due, strict=False):
        at = begin + offset
        while (wait := at - _now()) > 0:
            # Timers are only good to a millisecond, so the last two are spent looking at the clock.
            await asyncio.sleep(wait - 0.002 if wait > 0.003 else 0)
        tally.lateness.append(-wait)
        tally.sent += 1
        queue.append((call, request, at))
        if free:
            forward()
    await _finished(done, 0, busy, tally)
    for call, _, _ in queue:
        tally.add(call, 0.0, "never sent")
    tally.seconds = _now() - begin
    for line in lines:
        line.close()
    return tally


def arrivals(rate: float, seconds: float) -> list[float]:
    """Seconds from the start at which independent callers ring, on average ``rate`` a second; the same every time."""
    dice = random.Random(rate)
    moments = list[float]()
    at = dice.expovariate(rate)
    while at < seconds:
        moments.append(at)
        at += dice.expovariate(rate)
    return moments


async def _finished(done: asyncio.Future[None], seconds: float, busy: set[Line], tally: Tally) -> None:
    """Wait for the last answer, but no longer than Twilio would; what is then still due has failed."""
    if not tally.sent:
        return
    try:
        async with asyncio.timeout(seconds + PATIENCE):
            await done
    except TimeoutError:
        for line in list(busy):
            line.close()
            tally.add(line.call, PATIENCE, "no answer in 15 s")


def processor_time(group: int) -> float:
    """Seconds of processor time that the living processes of process group ``group`` have used; nan off Linux."""
    ticks, found = 0, False
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == group:
            ticks, found = ticks + int(fields[11]) + int(fields[12]), True
    return ticks / 100 if found else float("nan")


async def measure(port: int, group: int, first: int, seconds: float, workload: Workload) -> Measurement:
    """Warm the server up for a quarter of the time, then run ``workload`` on calls that it has not seen."""
    warm = await closed_loop(port, workload.clients or 8, seconds / 4, calls.stock(range(first, first + 5000)))
    first += warm.sent
    pace = workload.rate or warm.sent / warm.seconds
    ready = calls.stock(range(first, first + int(pace * seconds * 1.5) + 100))
    gc.collect()
    gc.freeze()
    gc.disable()
    server, own = processor_time(group), time.process_time()
    if workload.rate:
        tally = await open_loop(port, workload.rate, seconds, ready)
    else:
        tally = await closed_loop(port, workload.clients, seconds, ready)
    own, server = time.process_time() - own, processor_time(group) - server
    good = len(tally.latencies)
    return Measurement(
        throughput=good / tally.seconds,
        p50=percentile(tally.latencies, 0.5),
        p99=percentile(tally.latencies, 0.99),
        worst=percentile(tally.latencies, 1.0),
        cpu=server / good if good else float("nan"),
        generator=own / tally.seconds,
        late=percentile(tally.lateness, 0.99),
        sent=warm.sent + tally.sent,
        refused=(*warm.refused, *tally.refused),
        errors=dict(warm.errors + tally.errors),
    )


def main() -> None:
    """Read the order from standard input, carry it out, print what was measured."""
    import uvloop

    order: dict[str, Any] = json.load(sys.stdin)
    order["workload"] = Workload(**order["workload"])
    print(json.dumps(asdict(uvloop.run(measure(**order)))))


if __name__ == "__main__":
    main()
