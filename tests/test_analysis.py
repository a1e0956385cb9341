"""Transcripts judged in the background, on both engines: once each, whoever dies, and never over an agent's word."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from aiohttp import web

from gateway.analysis import AT_ONCE, LEASE_MS, Analysis
from gateway.judges import Judgement, Transcript, Verdict
from gateway.settings import Criterion
from gateway.storage.callbook import events_of, outcome_of
from gateway.storage.docket import Docket
from gateway.storage.engine import Database
from gateway.storage.journal import Journal
from gateway.storage.ledger import Ledger
from gateway.storage.schema import analysis
from gateway.storage.tallies import read_tallies
from gateway.storage.works import PutOutcome, Rules
from tests.conftest import Running, listening, running, settings_for, write_files
from tests.judges.model import FEELING, NUMBER, SAID, criterion, serving, verdict
from tests.storage.test_ledger import WINDOW, Clock, assert_tallies_are_the_rows, ended, row

RULES = Rules(window=WINDOW, judged=True)
SUCCESS = criterion("solved", **{"as": "success"})


class Canned:
    """A judge that says what it is told to say, and keeps what it was asked."""

    def __init__(self, *criteria: Criterion, **verdicts: Any) -> None:
        self.id, self.model = "canned-00000000", None
        self.criteria = criteria or (SUCCESS, FEELING, NUMBER)
        self.verdicts = {"solved": True, "mood": 0.5, "quality": 4.0, **verdicts}
        self.missing: str | None = None
        self.asked: list[tuple[Transcript, Mapping[str, Verdict]]] = []
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def judge(self, transcript: Transcript, known: Mapping[str, Verdict]) -> Judgement:
        self.asked.append((transcript, known))
        await self.may_answer.wait()
        names = [one.name for one in self.criteria if one.name not in known]
        if self.missing is not None:
            names = names[:1]
        found = {name: Verdict(value=self.verdicts[name], reason="so it seems") for name in names}
        return Judgement(verdicts=found, tokens_in=100, tokens_out=10, cost=0.01, missing=self.missing)


class Bench:
    """A ledger with finished calls, and as many processes that judge them as a test wants."""

    def __init__(self, database: Database, ledger: Ledger, clock: Clock) -> None:
        self.database, self.ledger, self.clock = database, ledger, clock

    def process(self, judge: Canned) -> Analysis:
        return Analysis(docket=Docket(self.database, rules=RULES, wall=self.clock), judge=judge, wall=self.clock)

    async def call(self, sid: str, body: Mapping[str, Any] | None = None, *, over: bool = True) -> None:
        await self.ledger.record(row(sid))
        if over:
            await self.ledger.append(ended(sid))
        await self.tell(sid, {"transcript": SAID} if body is None else body)

    async def tell(self, sid: str, body: Mapping[str, Any], author: str = "agent") -> None:
        self.clock.now += 1
        await self.ledger.put_outcome(PutOutcome(call=sid, body=dict(body), at=self.clock.now, author=author))

    async def outcome(self, sid: str) -> dict[str, Any]:
        async with self.database.read() as connection:
            found = await outcome_of(connection, sid)
        assert found is not None
        return {key: value for key, value in found["body"].items() if key != "transcript"}

    async def authors(self, sid: str) -> list[str]:
        async with self.database.read() as connection:
            return [event.data["author"] for event in await events_of(connection, sid) if event.kind == "outcome"]

    async def kept(self, sid: str) -> Any:
        async with self.database.read() as connection:
            return (await connection.execute(sa.select(analysis).where(analysis.c.call == sid))).first()


@pytest.fixture
async def bench(database: Database, tmp_path: Path) -> AsyncIterator[Bench]:
    clock = Clock()
    ledger = Ledger(database, Journal(tmp_path / "journal"), rules=RULES, wall=clock)
    ledger.open()
    yield Bench(database, ledger, clock)
    await ledger.close()


async def test_a_finished_call_is_judged_once_and_its_verdicts_are_an_outcome(bench: Bench) -> None:
    judge = Canned()
    process = bench.process(judge)
    await bench.call("CA1")
    assert await process.step()
    assert await bench.outcome("CA1") == {"success": True, "sentiment": 0.5, "fields": {"quality": 4.0}}
    assert await bench.authors("CA1") == ["agent", "judge:canned-00000000"]
    assert [transcript for transcript, _ in judge.asked] == [SAID]
    assert not await process.step()
    kept = await bench.kept("CA1")
    assert (kept.state, kept.judge, kept.tokens_in, kept.tokens_out) == ("done", judge.id, 100, 10)
    assert kept.verdicts["mood"] == {"value": 0.5, "score": None, "reason": "so it seems"}
    assert (process.counters.judged, process.counters.tokens_in, process.counters.cost) == (1, 100, 0.01)


async def test_verdicts_count_in_the_tallies_like_any_report(bench: Bench) -> None:
    process = bench.process(Canned())
    await bench.call("CA1")
    await process.step()
    bench.clock.now += WINDOW + 61_000
    await bench.ledger.mature()
    async with bench.database.read() as connection:
        counted = {cell.metric: count.mean for cell, count in await read_tallies(connection, "support-1") if count.n}
    assert counted["success"] == 1
    assert counted["sentiment"] == 0.5
    assert counted["fields.quality"] == 4
    await assert_tallies_are_the_rows(bench.database)


async def test_whose_word_counts_is_counted_too(bench: Bench) -> None:
    async def counted() -> dict[str, int]:
        async with bench.database.read() as connection:
            cells = await read_tallies(connection, "support-1")
        return {cell.metric: count.n for cell, count in cells if cell.metric.startswith("judged:") and count.n}

    judged = [f"judged:{metric}@canned-00000000" for metric in ("fields.quality", "sentiment", "success")]
    process = bench.process(Canned())
    await bench.call("CA1", {"transcript": SAID, "final": True})
    assert await counted() == {}
    await process.step()
    assert await counted() == dict.fromkeys(judged, 1)
    # What the agent tells afterwards is its own word, also where it says the same.
    await bench.tell("CA1", {"success": True, "fields": {"quality": 1}})
    assert await counted() == {judged[1]: 1}
    await assert_tallies_are_the_rows(bench.database)


async def test_a_call_that_is_not_over_waits(bench: Bench) -> None:
    process = bench.process(Canned())
    await bench.call("CA1", over=False)
    await process.count()
    assert process.counters.waiting == 1
    assert not await process.step()
    await bench.ledger.append(ended("CA1"))
    assert await process.step()
    await process.count()
    assert process.counters.waiting == 0


async def test_an_outcome_that_is_final_is_judged_before_the_carrier_tells_of_the_end(bench: Bench) -> None:
    await bench.call("CA1", {"transcript": SAID, "final": True}, over=False)
    assert await bench.process(Canned()).step()


@pytest.mark.parametrize("body", [{"success": True}, {"transcript": []}, {"transcript": None}])
async def test_without_a_transcript_nothing_is_judged(bench: Bench, body: dict[str, Any]) -> None:
    await bench.call("CA1", body)
    assert not await bench.process(Canned()).step()
    assert await bench.kept("CA1") is None


async def test_where_nobody_judges_nothing_is_kept_for_a_judge(database: Database, tmp_path: Path) -> None:
    ledger = Ledger(database, Journal(tmp_path / "journal"), rules=Rules(window=WINDOW), wall=Clock())
    ledger.open()
    plain = Bench(database, ledger, Clock())
    await plain.call("CA1")
    assert await plain.kept("CA1") is None
    await ledger.close()


async def test_an_agents_word_is_never_overwritten(bench: Bench) -> None:
    told = {"success": False, "sentiment": -1.0, "fields": {"quality": 1}}
    await bench.call("CA1", told | {"transcript": SAID})
    await bench.call("CA2", {"sentiment": 0.0, "transcript": SAID})
    process = bench.process(Canned())
    while await process.step():
        pass
    assert await bench.outcome("CA1") == told
    assert await bench.authors("CA1") == ["agent"]
    assert await bench.outcome("CA2") == {"success": True, "sentiment": 0.0, "fields": {"quality": 4.0}}


async def test_an_agent_may_correct_a_judge_and_stays_right(bench: Bench) -> None:
    process = bench.process(Canned())
    await bench.call("CA1")
    await process.step()
    # The same words as the judge's: they are the agent's own from now on.
    await bench.tell("CA1", {"success": True, "fields": {"quality": 4.0}})
    await bench.tell("CA1", {"transcript": [*SAID, *SAID]})
    process.judge = Canned(solved=False, mood=-0.5, quality=1.0)
    assert await process.step()
    assert await bench.outcome("CA1") == {"success": True, "sentiment": -0.5, "fields": {"quality": 4.0}}


async def test_an_agent_that_tells_while_the_judge_is_at_work_wins(bench: Bench) -> None:
    judge = Canned()
    judge.may_answer.clear()
    await bench.call("CA1")
    at_work = asyncio.create_task(bench.process(judge).step())
    while not judge.asked:
        await asyncio.sleep(0.01)
    await bench.tell("CA1", {"success": False})
    judge.may_answer.set()
    await at_work
    assert await bench.outcome("CA1") == {"success": False, "sentiment": 0.5, "fields": {"quality": 4.0}}


async def test_the_same_transcript_is_not_judged_again_and_a_changed_one_is(bench: Bench) -> None:
    judge = Canned()
    process = bench.process(judge)
    await bench.call("CA1")
    await process.step()
    await bench.tell("CA1", {"transcript": [dict(line) for line in SAID]})
    assert not await process.step()
    judge.verdicts |= {"solved": None, "mood": -0.25}
    await bench.tell("CA1", {"transcript": SAID[1:]})
    assert await process.step()
    # What the judge can no longer tell is not kept from its earlier word.
    assert await bench.outcome("CA1") == {"sentiment": -0.25, "fields": {"quality": 4.0}}
    assert judge.asked[1] == (SAID[1:], {})
    assert process.counters.unknown == 1
    assert (await bench.kept("CA1")).tokens_in == 200


async def test_a_transcript_that_changes_under_the_judge_is_judged_again_and_the_old_verdict_dropped(
    bench: Bench,
) -> None:
    judge = Canned()
    judge.may_answer.clear()
    process = bench.process(judge)
    await bench.call("CA1")
    at_work = asyncio.create_task(process.step())
    while not judge.asked:
        await asyncio.sleep(0.01)
    await bench.tell("CA1", {"transcript": SAID[1:]})
    judge.may_answer.set()
    await at_work
    assert await bench.outcome("CA1") == {}
    judge.verdicts["solved"] = False
    assert await process.step()
    assert (await bench.outcome("CA1"))["success"] is False
    assert process.counters.judged == 1


async def test_one_process_may_have_the_old_and_the_new_transcript_before_it(bench: Bench) -> None:
    class Counting(Canned):
        async def judge(self, transcript: Transcript, known: Mapping[str, Verdict]) -> Judgement:
            await super().judge(transcript, known)
            return Judgement(verdicts={"quality": Verdict(value=float(len(transcript)))})

    judge = Counting(NUMBER)
    judge.may_answer.clear()
    process = bench.process(judge)
    await bench.call("CA1")
    old = asyncio.create_task(process.step())
    while not judge.asked:
        await asyncio.sleep(0.01)
    await bench.tell("CA1", {"transcript": SAID[1:]})
    new = asyncio.create_task(process.step())
    while len(judge.asked) < 2:
        await asyncio.sleep(0.01)
    judge.may_answer.set()
    await asyncio.gather(old, new)
    assert (await bench.outcome("CA1"))["fields"] == {"quality": 1.0}
    assert process.counters.judged == 1
    assert await bench.authors("CA1") == ["agent", "agent", "judge:canned-00000000"]


async def test_an_erased_transcript_takes_the_judges_words_with_it(bench: Bench) -> None:
    process = bench.process(Canned())
    await bench.call("CA1")
    await process.step()
    await bench.tell("CA1", {"transcript": None})
    assert await bench.kept("CA1") is None
    assert not await process.step()


async def test_two_processes_do_not_judge_one_call_twice(bench: Bench) -> None:
    names = [f"CA{n}" for n in range(20)]
    for name in names:
        await bench.call(name, {"transcript": [{"role": "caller", "text": name}]})
    judges = [Canned(), Canned()]

    async def work(process: Analysis) -> None:
        while await process.step():
            pass

    workers = [work(bench.process(judge)) for judge in judges for _ in range(AT_ONCE)]
    await asyncio.gather(*workers)
    # Whoever found every due one taken at its look has left; what is left is taken in the next sweep.
    await work(bench.process(judges[0]))
    said = sorted(transcript[0]["text"] for judge in judges for transcript, _ in judge.asked)
    assert said == sorted(names)
    assert {len(await bench.authors(name)) for name in names} == {2}


async def test_a_crash_between_claim_and_write_loses_nothing(bench: Bench) -> None:
    crashed, next_one = Canned(), Canned()
    crashed.may_answer.clear()
    await bench.call("CA1")
    at_work = asyncio.create_task(bench.process(crashed).step())
    while not crashed.asked:
        await asyncio.sleep(0.01)
    at_work.cancel()
    await asyncio.gather(at_work, return_exceptions=True)
    heir = bench.process(next_one)
    assert not await heir.step()  # the claim still holds: its owner may live
    bench.clock.now += LEASE_MS
    assert await heir.step()
    assert (await bench.outcome("CA1"))["success"] is True
    assert await bench.authors("CA1") == ["agent", "judge:canned-00000000"]


async def test_one_that_was_thought_dead_and_answers_late_changes_nothing(bench: Bench) -> None:
    slow, heir = Canned(solved=False), Canned(solved=True)
    slow.may_answer.clear()
    await bench.call("CA1")
    at_work = asyncio.create_task(bench.process(slow).step())
    while not slow.asked:
        await asyncio.sleep(0.01)
    bench.clock.now += LEASE_MS
    assert await bench.process(heir).step()
    slow.may_answer.set()
    await at_work
    assert (await bench.outcome("CA1"))["success"] is True
    assert len(await bench.authors("CA1")) == 2


async def test_one_that_was_thought_dead_does_not_speak_for_its_heir(bench: Bench) -> None:
    slow, heir = Canned(solved=False), Canned(solved=True)
    slow.may_answer.clear()
    heir.may_answer.clear()
    await bench.call("CA1")
    late = asyncio.create_task(bench.process(slow).step())
    while not slow.asked:
        await asyncio.sleep(0.01)
    bench.clock.now += LEASE_MS
    at_work = asyncio.create_task(bench.process(heir).step())
    while not heir.asked:
        await asyncio.sleep(0.01)
    slow.may_answer.set()
    await late
    assert await bench.outcome("CA1") == {}
    heir.may_answer.set()
    await at_work
    assert (await bench.outcome("CA1"))["success"] is True


async def test_a_claim_at_work_is_renewed(bench: Bench) -> None:
    slow = Canned()
    slow.may_answer.clear()
    process = bench.process(slow)
    await bench.call("CA1")
    at_work = asyncio.create_task(process.step())
    while not slow.asked:
        await asyncio.sleep(0.01)
    for _ in range(5):
        bench.clock.now += LEASE_MS // 2
        await process.renew()
        assert not await bench.process(Canned()).step()
    slow.may_answer.set()
    assert await at_work
    assert (await bench.kept("CA1")).state == "done"


async def test_a_judge_that_fails_leaves_its_claim_to_lapse(bench: Bench) -> None:
    class Broken(Canned):
        async def judge(self, transcript: Transcript, known: Mapping[str, Verdict]) -> Judgement:
            raise RuntimeError("a fault of its own")

    process = bench.process(Broken())
    await bench.call("CA1")
    with pytest.raises(RuntimeError):
        await process.step()
    bench.clock.now += LEASE_MS // 2
    await process.renew()
    bench.clock.now += LEASE_MS // 2
    assert await bench.process(Canned()).step()


async def test_what_was_found_is_kept_and_the_rest_is_tried_again_ever_more_rarely(bench: Bench) -> None:
    judge = Canned()
    judge.missing = "the judge answered 503"
    process = bench.process(judge)
    await bench.call("CA1")
    pauses = []
    for _ in range(4):
        assert await process.step()
        kept = await bench.kept("CA1")
        assert (kept.state, kept.reason) == ("waiting", "the judge answered 503")
        assert not await process.step()
        pauses.append(kept.due_at - bench.clock.now)
        bench.clock.now = kept.due_at
    assert pauses == [10_000, 20_000, 40_000, 80_000]
    assert await bench.outcome("CA1") == {}
    steps = [set(), {"solved"}, {"solved", "mood"}, {"solved", "mood", "quality"}]
    assert [set(known) for _, known in judge.asked] == steps
    judge.missing = None
    assert await process.step()
    assert await bench.outcome("CA1") == {"success": True, "sentiment": 0.5, "fields": {"quality": 4.0}}


async def test_another_judge_does_not_go_on_with_what_the_first_one_found(bench: Bench) -> None:
    first, second = Canned(), Canned(solved=False)
    first.missing, second.id = "the judge answered 503", "canned-11111111"
    await bench.call("CA1")
    await bench.process(first).step()
    bench.clock.now += 10_000
    await bench.process(second).step()
    assert second.asked == [(SAID, {})]
    assert (await bench.outcome("CA1"))["success"] is False


async def test_it_is_given_up_when_the_outcome_window_has_closed(bench: Bench) -> None:
    judge = Canned()
    judge.missing = "the judge answered 401"
    process = bench.process(judge)
    await bench.call("CA1")
    for _ in range(100):
        await process.step()
        kept = await bench.kept("CA1")
        if kept.state == "failed":
            break
        bench.clock.now = kept.due_at
    assert kept.state == "failed"
    assert bench.clock.now >= ended("CA1").at + WINDOW
    assert len(judge.asked) < 20
    assert process.counters.failed == 1
    assert not await process.step()
    # What was found by then is told.
    assert await bench.outcome("CA1") == {"success": True, "sentiment": 0.5, "fields": {"quality": 4.0}}
    # The same transcript is taken once more when it is reported once more.
    judge.missing = None
    await bench.tell("CA1", {"transcript": SAID})
    assert await process.step()
    assert (await bench.kept("CA1")).state == "done"


# Over HTTP, with the whole gateway


async def told(served: Running, call: str, *, until: str) -> dict[str, Any]:
    for _ in range(500):
        found: dict[str, Any] = (await served.api("GET", f"/calls/{call}")).body["call"]
        if found["analysis"] and found["analysis"]["state"] == until:
            return found
        await asyncio.sleep(0.02)
    raise AssertionError(f"the call was never {until}: {found['analysis']}")


@asynccontextmanager
async def judging(folder: Path, database_url: str, **environ: Any) -> AsyncIterator[Running]:
    write_files(folder)
    told = {f"GATEWAY_ANALYSIS__{key.upper()}": value for key, value in environ.items()}
    async with running(settings_for(folder, database_url, **told)) as served:
        yield served


async def finish(served: Running, call: str, **body: Any) -> None:
    assert (await served.ring(CallSid=call)).status == 200
    await served.ring("/twilio/status", CallSid=call, CallStatus="completed", CallDuration="60", SequenceNumber="3")
    assert (await served.api("POST", f"/calls/{call}/outcome", {"transcript": SAID, **body})).status == 200


CRITERIA = json.dumps(
    [
        {"name": "resolved", "question": "Was the problem solved?", "as": "success"},
        {"name": "topic", "question": "What about?", "kind": "choice", "choices": ["billing", "sales"]},
    ]
)


async def test_a_model_judges_what_an_agent_reports(tmp_path: Path, database_url: str) -> None:
    call = "CA" + "7" * 32
    async with serving(verdict(True), verdict("billing")) as model:
        llm = json.dumps({"base_url": model.url, "model": "judge-large", "api_key": "canary", "price_in": 1})
        async with judging(tmp_path, database_url, judge="llm", llm=llm, criteria=CRITERIA) as served:
            await finish(served, call, sentiment=0.1)
            found = await told(served, call, until="done")
            metrics = await (await served.http.get(f"{served.url}/metrics")).text()
    assert (found["outcome"]["success"], found["outcome"]["sentiment"]) == (True, 0.1)
    assert found["outcome"]["fields"] == {"topic": "billing"}
    assert found["analysis"]["judge"].startswith("llm-")
    assert found["analysis"]["verdicts"]["resolved"]["reason"] == "it was said"
    assert found["events"][-1]["author"] == "judge:" + found["analysis"]["judge"]
    assert "canary" not in str(found)
    for line in ("judged_total 1.0", "judge_tokens_in_total 400.0", "judge_cost_total 0.4", "judge_failed_total 0.0"):
        assert f"gateway_{line}" in metrics
    assert "gateway_judge_waiting" in metrics


async def test_the_word_list_judges_what_an_agent_reports(
    tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = "CA" + "8" * 32
    monkeypatch.setattr("gateway.analysis.SWEEP_SECONDS", 3600.0)  # the report itself must wake the judge
    async with judging(tmp_path, database_url, judge="local") as served:
        glad = [*SAID[:1], {"role": "caller", "text": "It works again, that is wonderful. Thank you!"}]
        await finish(served, call, success=True, transcript=glad)
        found = await told(served, call, until="done")
    assert found["outcome"]["sentiment"] > 0.3
    assert found["outcome"]["success"] is True
    assert found["events"][-1]["author"].startswith("judge:local-")


async def test_no_call_waits_for_a_judge_that_hangs(tmp_path: Path, database_url: str) -> None:
    """The model holds every request until all calls have been answered; were one in its way, this would never end."""
    over = asyncio.Event()
    asked = asyncio.Event()

    async def hold(request: web.Request) -> web.Response:
        asked.set()
        await over.wait()
        return web.Response(status=401)

    app = web.Application()
    app.router.add_post("/{tail:.*}", hold)
    async with listening(app) as url:
        llm = json.dumps({"base_url": f"{url}/v1", "model": "judge-large"})
        async with judging(tmp_path, database_url, judge="llm", llm=llm, criteria=CRITERIA) as served:
            for n in range(AT_ONCE + 2):
                await finish(served, f"CA{n:032}")
            await asked.wait()
            for n in range(20):
                answer = await served.ring(CallSid=f"CB{n:032}")
                assert "<Response>" in answer.text
            await finish(served, "CC" + "0" * 32, success=True)
            over.set()
            found = await told(served, f"CA{0:032}", until="waiting")
            assert found["outcome"].get("success") is None


async def test_by_default_nobody_judges(served: Running) -> None:
    call = "CA" + "9" * 32
    await finish(served, call)
    assert served.gateway.analysis is None
    assert (await served.api("GET", f"/calls/{call}")).body["call"]["analysis"] is None
    assert "gateway_judge" not in await (await served.http.get(f"{served.url}/metrics")).text()
