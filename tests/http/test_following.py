"""A call after its answer: handoffs that fail, callbacks in any order, holds, sticky callers, and outages."""

import asyncio
import re
from pathlib import Path

import pytest
import sqlalchemy as sa

from gateway.storage.engine import Database
from tests.conftest import FILES, Running, running, settings_for, write_files


def sid(number: int) -> str:
    return f"CA{number:032x}"


async def ring_until(served: Running, version: str, **fields: str) -> str:
    """The CallSid of a call that was given this version."""
    for number in range(200):
        answer = await served.ring(CallSid=sid(number), **fields)
        if version in answer.text:
            return sid(number)
    raise AssertionError(f"nobody was given {version}")


async def told(served: Running, call: str) -> dict[str, object]:
    answer = await served.api("GET", f"/calls/{call}")
    body: dict[str, object] = answer.body["call"]
    return body


async def test_a_failing_version_goes_down_the_whole_ladder(served: Running) -> None:
    call = await ring_until(served, "support@4")
    failed = {"CallSid": call, "CallStatus": "in-progress"}
    stream = {"StreamSid": "MZ1", "StreamEvent": "stream-error", "StreamError": "refused"}
    assert (await served.ring(f"/twilio/status?call={call}", **failed, **stream)).status == 204
    second = await served.ring(f"/twilio/next/{call}?hop=0", **failed)
    assert "support@3" in second.text
    assert "hop=1" in second.text
    third = await served.ring(f"/twilio/next/{call}?hop=1", **failed)  # it never started, and ended within 10 s
    assert "+14155550199" in third.text
    last = await served.ring(f"/twilio/next/{call}?hop=2", **failed, DialCallStatus="no-answer")
    assert "<Say>" in last.text
    assert "<Dial" not in last.text
    assert (await served.ring(f"/twilio/next/{call}?hop=0", **failed)).text == second.text
    body = await told(served, call)
    assert body["assignment"]["version"] == "support@4"  # type: ignore[index]
    assert body["served"]["by"] == "none"  # type: ignore[index]


async def test_a_dialled_agent_that_was_never_bridged_has_failed(served: Running) -> None:
    call = await ring_until(served, "support@4")
    dialled = {"CallSid": call, "CallStatus": "in-progress", "DialCallStatus": "completed", "DialBridged": "false"}
    assert "support@3" in (await served.ring(f"/twilio/next/{call}?hop=0", **dialled)).text
    talked = dialled | {"DialBridged": "true"}
    assert "<Hangup" in (await served.ring(f"/twilio/next/{call}?hop=1", **talked)).text


async def test_a_stream_that_started_ends_the_call(served: Running) -> None:
    call = await ring_until(served, "support@3")
    stream = {"CallSid": call, "StreamSid": "MZ1", "StreamEvent": "stream-started"}
    await served.ring(f"/twilio/status?call={call}", **stream)
    answer = await served.ring(f"/twilio/next/{call}?hop=0", CallSid=call, CallStatus="in-progress")
    assert re.sub(r"\s", "", answer.text).endswith("<Response><Hangup/></Response>")
    over = await served.ring(f"/twilio/next/{call}?hop=1", CallSid=call, CallStatus="completed")
    assert "<Hangup" not in over.text


async def test_an_agent_that_asks_for_a_person_gets_one_and_has_served(served: Running) -> None:
    call = await ring_until(served, "support@3")
    asked = {"CallSid": call, "CallStatus": "in-progress", "SessionStatus": "ended", "HandoffData": "{}"}
    answer = await served.ring(f"/twilio/next/{call}?hop=0", **asked)
    assert "+14155550199" in answer.text
    body = await told(served, call)
    assert body["served"] == {"by": "version", "arm": "a", "version": "support@3", "reason": "assigned"}


async def test_the_fallback_request_keeps_the_assignment(served: Running) -> None:
    for number in range(1000, 1050):
        call, caller = sid(number), f"+1415555{number}"
        first = await served.ring(CallSid=call, To="+14155550101", From=caller)
        if "Redirect" in first.text:
            break
    theirs = re.search(r">(https[^<]+)</Redirect>", first.text)
    assert theirs is not None
    again = {"CallSid": call, "To": "+14155550101", "From": caller, "ErrorCode": "11200"}
    ours = await served.ring(**again, ErrorUrl=f"{served.url}/twilio/voice")
    assert ours.text == first.text
    gone = await served.ring(**again, ErrorUrl=theirs[1].replace("&amp;", "&"))
    assert "<Say>" in gone.text  # arm a is the webhook itself, and the route has no fallback
    assert (await told(served, call))["assignment"]["version"] == "sales@1"  # type: ignore[index]


async def test_callbacks_in_any_order_and_of_any_leg(served: Running) -> None:
    call = await ring_until(served, "support@3")
    child = {"CallSid": sid(999), "ParentCallSid": call, "CallStatus": "failed", "CallDuration": "3"}
    assert (await served.ring(f"/twilio/status?call={call}", **child)).status == 204
    done = {"CallSid": call, "CallStatus": "completed", "CallDuration": "42", "SequenceNumber": "3"}
    for fields in (done, {"CallSid": call, "CallStatus": "ringing", "SequenceNumber": "1"}, done):
        assert (await served.ring("/twilio/status", **fields)).status == 204
    body = await told(served, call)
    assert (body["status"], body["duration_seconds"]) == ("completed", 42)
    assert (await served.ring("/twilio/status", CallSid="CAunknown", CallStatus="completed")).status == 204
    assert (await served.ring(f"/twilio/amd?call={call}", CallSid=call, AnsweredBy="human")).status == 204


async def test_a_hold_takes_effect_on_the_next_call(served: Running) -> None:
    held = await served.api("POST", "/routes/support/hold", {"to": "fallback", "reason": "noise on the line"})
    assert held.status == 201
    answer = await served.ring(CallSid=sid(1))
    assert "+14155550199" in answer.text
    body = await told(served, sid(1))
    assert body["assignment"]["analysed"] is False  # type: ignore[index]
    assert body["served"] == {"by": "fallback", "arm": None, "version": None, "reason": "hold"}
    assert (await served.api("DELETE", "/routes/support/hold")).status == 200
    assert "<Stream" in (await served.ring(CallSid=sid(2))).text
    refused = await served.api("POST", "/routes/support/hold", {"to": "support@5", "reason": "a draft"})
    assert refused.status == 422


async def change_test(served: Running, **test: object) -> None:
    """Publish another setting of the support line's test."""
    route = (await served.api("GET", "/routes/support")).body["route"]
    body = route["body"] | {"ab_test": route["body"]["ab_test"] | test}
    changed = await served.api("PUT", "/routes/support", body, If_Match=f'"{route["revision"]}"')
    assert changed.status == 200


async def counted(served: Running) -> int:
    """How many calls the support line's experiment counts."""
    arms = (await served.api("GET", "/experiments/support-1/results")).body["arms"]
    return sum(arm["calls"] for arm in arms)


async def test_a_test_number_gets_its_version_and_is_not_counted(served: Running) -> None:
    await change_test(served, test_numbers={"+14155550123": "b"})
    for number in range(10):
        assert "support@4" in (await served.ring(CallSid=sid(number), From="+14155550123")).text
    given = (await told(served, sid(0)))["assignment"]
    assert (given["reason"], given["arm"], given["analysed"]) == ("test_number", "b", False)  # type: ignore[index]
    assert await counted(served) == 0


async def test_only_the_share_that_takes_part_is_split_and_counted(served: Running) -> None:
    await change_test(served, coverage=0.5)
    for number in range(40):
        await served.ring(CallSid=sid(number))
    calls = (await served.api("GET", "/calls?limit=100")).body["calls"]
    given = [call["assignment"] for call in calls]
    apart = [one for one in given if one["reason"] == "uncovered"]
    assert {(one["arm"], one["analysed"], one["bucket"]) for one in apart} == {("a", False, None)}
    taking_part = [one for one in given if one["reason"] == "split"]
    assert {one["arm"] for one in taking_part} == {"a", "b"}
    assert len(apart) + len(taking_part) == 40
    assert await counted(served) == len(taking_part)


async def test_with_the_test_off_the_control_answers_or_the_winner(served: Running) -> None:
    await change_test(served, enabled=False)
    assert all(["support@3" in (await served.ring(CallSid=sid(number))).text for number in range(10)])
    await change_test(served, winner="b")
    assert all(["support@4" in (await served.ring(CallSid=sid(number))).text for number in range(20, 30)])
    reasons = {call["assignment"]["reason"] for call in (await served.api("GET", "/calls")).body["calls"]}
    assert reasons == {"off", "winner"}
    assert await counted(served) == 0


async def test_a_sticky_caller_keeps_the_arm_when_weights_change(served: Running) -> None:
    def arm(text: str) -> str:
        return "a" if "Redirect" in text else "b"

    callers = [f"+1415555{n:04d}" for n in range(20)]
    first = {}
    for n, caller in enumerate(callers):
        first[caller] = arm((await served.ring(CallSid=sid(n), To="+14155550101", From=caller)).text)
    assert set(first.values()) == {"a", "b"}
    route = (await served.api("GET", "/routes/sales")).body["route"]
    body = route["body"] | {"ab_test": route["body"]["ab_test"] | {"split": {"a": 99, "b": 1}}}
    changed = await served.api("PUT", "/routes/sales", body, If_Match=f'"{route["revision"]}"')
    assert changed.status == 200
    for n, caller in enumerate(callers, start=100):
        assert arm((await served.ring(CallSid=sid(n), To="+14155550101", From=caller)).text) == first[caller]
    again = await told(served, sid(100))
    assert (again["assignment"]["reason"], again["assignment"]["epoch"]) == ("sticky", 1)  # type: ignore[index]


async def test_the_same_call_gets_the_same_version_after_a_change_and_a_restart(
    tmp_path: Path, database_url: str
) -> None:
    write_files(tmp_path)
    async with running(settings_for(tmp_path, database_url)) as served:
        before = {n: "support@4" in (await served.ring(CallSid=sid(n))).text for n in range(12)}
        assert set(before.values()) == {True, False}
        route = (await served.api("GET", "/routes/support")).body["route"]
        body = route["body"] | {"ab_test": route["body"]["ab_test"] | {"enabled": False, "winner": "b"}}
        await served.api("PUT", "/routes/support", body, If_Match='"1"')
        assert {n: "support@4" in (await served.ring(CallSid=sid(n))).text for n in before} == before
        assert "support@4" in (await served.ring(CallSid=sid(50))).text
    async with running(settings_for(tmp_path, database_url)) as served:
        assert {n: "support@4" in (await served.ring(CallSid=sid(n))).text for n in before} == before
        listed = await served.api("GET", "/calls?limit=1000")
        assert len(listed.body["calls"]) == 13


@pytest.mark.hurried
async def test_with_the_database_stuck_calls_are_answered_and_kept(served: Running) -> None:
    async with served.http.get(served.url + "/readyz") as answer:
        assert answer.status == 200
    database = served.gateway.database
    other = Database(database.url.render_as_string(hide_password=False))
    async with other.write() as connection:
        if not database.embedded:
            await connection.execute(sa.text("LOCK TABLE call IN ACCESS EXCLUSIVE MODE"))
        first = await asyncio.gather(*(served.ring(CallSid=sid(n)) for n in range(20)))
        again = await asyncio.gather(*(served.ring(CallSid=sid(n)) for n in range(20)))
        assert {answer.status for answer in first} == {200}
        assert [answer.text for answer in again] == [answer.text for answer in first]
        assert (await served.ring("/twilio/status", CallSid=sid(3), CallStatus="completed")).status == 204
    await other.close()
    async with asyncio.timeout(20):
        while served.gateway.ledger.counters.replayed < 21:
            await asyncio.sleep(0.05)
    listed = await served.api("GET", "/calls?limit=1000")
    assert len(listed.body["calls"]) == 20
    assert (await told(served, sid(3)))["status"] == "completed"


async def test_a_gateway_without_its_database_boots_from_its_disk(tmp_path: Path) -> None:
    write_files(tmp_path)
    async with running(settings_for(tmp_path, f"sqlite:///{tmp_path}/gateway.db")) as served:
        before = {n: (await served.ring(CallSid=sid(n))).text.replace(served.url, "") for n in range(8)}
    (tmp_path / "gone").mkdir()
    away = f"sqlite:///{tmp_path}/gone"  # a folder, which SQLite cannot open
    async with running(settings_for(tmp_path, away)) as served:
        assert served.gateway.state.from_disk
        after = {n: (await served.ring(CallSid=sid(n))).text.replace(served.url, "") for n in range(8)}
    assert after == before
    assert len(FILES) == 4


@pytest.mark.parametrize("number", ["+14155550100"])
async def test_why_a_call_got_its_arm_can_be_drawn_again(served: Running, number: str) -> None:
    await served.ring(CallSid=sid(1), To=number)
    told = (await served.api("GET", f"/calls/{sid(1)}/explain")).body["explanation"]
    assert told["agrees"] is True
    assert told["recomputed"] == {"bucket": told["bucket"], "arm": told["arm"]}
