"""A person is erased, to the last byte; what is old is deleted; the database is copied while it serves."""

import asyncio
import random
import re
import shutil
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from gateway.client import GatewayClient
from gateway.errors import Unavailable
from gateway.settings import Settings
from gateway.storage.retention import delete_events
from gateway.storage.schema import metadata
from gateway.wiring import Gateway
from tests.conftest import ADMIN, FILES, Answer, Running, running, settings_for, write_files
from tests.outbound import Clock, Outbound, outbound

__all__ = ["outbound"]  # fixture

WHO = "+12125550142"
DIGITS = WHO[1:]
OTHER = "+12125550143"
SUPPORT, SALES = "+14155550100", "+14155550101"
DAY = 86_400_000


async def rows_with(gateway: Gateway, text: str) -> list[str]:
    """The tables in which any value of any row holds the text, whatever the gateway thinks of it."""
    found = []
    async with gateway.database.read() as connection:
        for table in metadata.sorted_tables:
            rows = await connection.execute(sa.select(table))
            if any(text in repr(value) for row in rows for value in row):
                found.append(table.name)
    return found


def files_with(settings: Settings, text: str) -> list[str]:
    """The files of the gateway that hold the text in their bytes."""
    path = settings.database.url.get_secret_value().removeprefix("sqlite:///")
    files = [*settings.paths.data.rglob("*"), *Path(path).parent.glob("gateway.db*")]
    return sorted({file.name for file in files if file.is_file() and text.encode() in file.read_bytes()})


async def end(served: Running, call: str, *, sid: str | None = None, **fields: str) -> None:
    where = f"/twilio/status?call={call}" if sid else "/twilio/status"
    fields = {"CallSid": sid or call, "CallStatus": "completed", "CallDuration": "30", **fields}
    assert (await served.ring(where, **fields)).status == 204


async def call_in(served: Running, sid: str, *, number: str = WHO, to: str = SALES) -> None:
    assert (await served.ring(CallSid=sid, From=number, To=to)).status == 200


async def tallies(served: Running) -> dict[Any, Any]:
    async with served.gateway.database.read() as connection:
        cells = "experiment, epoch, day, stratum, arm, metric"
        query = sa.text(f"SELECT {cells}, n, mean, m2 FROM tally ORDER BY 1, 2, 3, 4, 5, 6")
        return {tuple(row[:6]): tuple(row[6:]) for row in await connection.execute(query)}


async def audited(served: Running, action: str) -> list[dict[str, Any]]:
    rows = (await served.api("GET", "/audit?limit=1000")).body["audit"]
    return [row for row in rows if row["action"] == action]


async def fill(served: Running, count: int) -> None:
    """Many callers in no order, so that rows and index entries move from page to page."""
    numbers = [f"+1{number}" for number in random.Random(7).sample(range(2125550200, 9995550000), count)]
    for start in range(0, count, 50):
        await asyncio.gather(*(served.ring(From=number, To=SUPPORT) for number in numbers[start : start + 50]))


async def live_a_life(outbound: Outbound) -> dict[str, Any]:
    """Calls both ways, a campaign, an opt-out, and the number in every other place that takes a text."""
    served = outbound.served
    sales = {"direction": "inbound", "numbers": [SALES], "versions": {"a": "support@3", "b": "support@4"}}
    test = {"enabled": True, "name": "sticky", "unit": "caller", "split": {"a": 50, "b": 50}}
    forced = test | {"test_numbers": {WHO: "b"}}
    await put(served, "sales", sales | {"ab_test": forced}, None)
    await put(served, "sales", sales | {"ab_test": test}, 1)
    line = {"direction": "inbound", "numbers": [SUPPORT], "versions": {"a": "support@3"}}
    await put(served, "line", line, None)
    await fill(served, 150)
    for number in range(3):
        await call_in(served, f"CA{number}")
        await end(served, f"CA{number}")
    said = [{"role": "caller", "text": f"I am Ada Lovelace, at {WHO}"}]
    report = {"success": True, "transcript": said, "fields": {"csat": 4}}
    assert (await served.api("POST", "/calls/CA0/outcome", report)).status == 200
    await served.api("POST", "/calls/CA0/label", {"criterion": "success", "value": True})
    await call_in(served, "CA9", number=OTHER)
    await end(served, "CA9")
    said = [{"role": "caller", "text": f"ring {DIGITS}"}]
    await served.api("POST", "/calls/CA9/outcome", {"transcript": said, "final": True})
    wanted = {"route": "reminders", "to": WHO, "variables": {"first_name": "Ada Lovelace"}}
    placed = (await served.api("POST", "/calls", wanted, Idempotency_Key=f"for {WHO}")).body["call"]["id"]
    await outbound.dialer.step()
    await end(served, placed, sid=outbound.twilio.sid(0))
    people = [{"to": to, "variables": {"first_name": "Ada Lovelace"}} for to in (WHO, OTHER)]
    await served.api("POST", "/campaigns", {"name": "spring", "route": "reminders", "contacts": people})
    later = (await served.api("POST", "/calls", wanted)).body["call"]["id"]
    await served.api("POST", "/suppressions", {"number": WHO, "reason": f"{WHO} wrote"})
    await served.api("POST", "/suppressions", {"number": OTHER, "reason": f"son of %2B{DIGITS}"})
    await served.api("POST", "/dialing/stop", {"reason": f"{WHO} complained"})
    return {"placed": placed, "planned": later}


async def put(served: Running, name: str, body: Any, base: int | None) -> None:
    headers = {"If_None_Match": "*"} if base is None else {"If_Match": f'"{base}"'}
    answer = await served.api("PUT", f"/routes/{name}", body, **headers)
    assert answer.status in (200, 201), answer.body
    await served.gateway.state.save()


async def test_nothing_tells_of_an_erased_person(outbound: Outbound) -> None:
    served, gateway = outbound.served, outbound.served.gateway
    calls = await live_a_life(outbound)
    # The control: what is looked for is found by the same search.
    assert {
        "call",
        "outcome",
        "attempt",
        "contact",
        "suppression",
        "audit",
        "idempotency",
        "revision",
        "dialing",
    } <= set(await rows_with(gateway, DIGITS))
    assert "live.jsonl" in files_with(gateway.settings, DIGITS)
    async with gateway.database.read() as connection:
        remembered = (await connection.execute(sa.text("SELECT count(*) FROM sticky"))).scalar_one()

    answer = await served.api("POST", "/erase", {"number": WHO}, Idempotency_Key="erase 1")
    assert answer.status == 200, answer.body
    rows = answer.body["erasure"]["rows"]
    assert (rows["call"], rows["attempt"], rows["contact"], rows["sticky"], rows["label"]) == (5, 2, 1, 1, 1)
    assert answer.body["erasure"]["files"] == []

    assert await rows_with(gateway, DIGITS) == []
    assert await rows_with(gateway, "Lovelace") == ["contact"]  # the other one's
    if gateway.database.embedded:
        for text in (WHO, DIGITS, "%2B" + DIGITS, "I am Ada"):
            assert files_with(gateway.settings, text) == []
    async with gateway.database.read() as connection:
        assert (await connection.execute(sa.text("SELECT count(*) FROM sticky"))).scalar_one() == remembered - 1
    assert [(row["author"], row["subject"]) for row in await audited(served, "erase")] == [("admin", "number …42")]

    shown = (await served.api("GET", "/calls/CA0")).body["call"]
    assert (shown["from"], shown["to"], shown["outcome"], len(shown["events"])) == ("erased", SALES, None, 1)
    assert shown["assignment"]["arm"] == shown["served"]["arm"] == (await explained(served, "CA0"))["arm"]
    assert (await served.api("GET", f"/calls/{calls['planned']}")).body["call"]["status"] == "failed"
    other = (await served.api("GET", "/calls/CA9")).body["call"]
    assert other["from"] == OTHER
    assert other["outcome"]["transcript"][0]["text"] == "ring erased"


async def explained(served: Running, call: str) -> dict[str, Any]:
    told: dict[str, Any] = (await served.api("GET", f"/calls/{call}/explain")).body["explanation"]
    assert told["agrees"] is not False
    return told


async def test_an_erased_person_is_never_called_again(outbound: Outbound) -> None:
    served = outbound.served
    people = [{"to": to, "timezone": "America/New_York"} for to in (WHO, OTHER)]
    list_ = {"name": "spring", "route": "reminders", "contacts": people}
    before = (await served.api("POST", "/campaigns", list_)).body["campaign"]["id"]
    assert (await served.api("POST", "/erase", {"number": WHO})).status == 200
    after = (await served.api("POST", "/campaigns", list_ | {"name": "summer"})).body["campaign"]["id"]
    for campaign in (before, after):
        seen = (await served.api("POST", f"/campaigns/{campaign}/preview", {})).body["preview"]
        assert (seen["contacts"], seen["skipped"]) == (1, [{"result": "suppressed", "contacts": 1}])
        await served.api("POST", f"/campaigns/{campaign}/start", {})
    refused = await served.api("POST", "/calls", {"route": "reminders", "to": WHO})
    assert (refused.status, "erased" in refused.body["error"]["message"]) == (422, True)
    # To ask not to be called does not write the number down again.
    assert (await served.api("POST", "/suppressions", {"number": WHO})).status == 201
    told = (
        await served.api("POST", "/suppressions/import", f"number\n{WHO}\n".encode(), Content_Type="text/csv")
    ).body
    assert told["suppression_import"]["added"] == 0
    assert (await served.api("GET", "/suppressions")).body["suppressions"] == []
    for _ in range(3):
        await outbound.dialer.step()
    assert {one["To"] for one in outbound.twilio.created} == {OTHER}
    # Only they themselves can change that, with an operator's help.
    assert (await served.api("DELETE", f"/suppressions/{WHO}")).status == 200
    assert (await served.api("DELETE", f"/suppressions/{WHO}")).status == 404
    assert (await served.api("POST", "/calls", {"route": "reminders", "to": WHO})).status == 201


async def test_reports_stay_true_and_nothing_more_is_taken_of_an_erased_call(outbound: Outbound) -> None:
    served = outbound.served
    await live_a_life(outbound)
    before = await tallies(served)
    assert (await served.api("POST", "/erase", {"number": WHO})).status == 200
    after = await tallies(served)
    # What was known when the books were closed counts, and all that counted before still does.
    known = [told[0] for key, told in after.items() if (key[0], key[3], key[5]) == ("sales-1", "", "success")]
    assert sum(known) == 1
    whole = {key: told for key, told in before.items() if key[3] == "" and key[5] == "served"}
    assert whole.items() <= after.items()
    await end(served, "CA0", CallStatus="failed")
    late = await served.api("POST", "/calls/CA0/outcome", {"success": False, "transcript": []})
    assert (late.status, "deleted" in late.body["error"]["message"]) == (409, True)
    outbound.pass_time(2 * DAY)
    await served.gateway.ledger.mature()
    assert (await tallies(served)).items() >= after.items()
    assert (await served.api("GET", "/calls/CA0")).body["call"]["status"] == "completed"
    again = await served.api("POST", "/erase", {"number": WHO})
    assert (again.status, again.body["erasure"]["rows"]) == (200, {})


async def test_whoever_is_on_a_call_is_not_erased_before_its_end(outbound: Outbound) -> None:
    served = outbound.served
    await live_a_life(outbound)
    await call_in(served, "CA77")
    refused = await served.api("POST", "/erase", {"number": WHO})
    assert (refused.status, "CA77" in refused.body["error"]["message"]) == (409, True)
    assert "suppression" in await rows_with(served.gateway, DIGITS)
    assert await audited(served, "erase") == []
    await end(served, "CA77")
    assert (await served.api("POST", "/erase", {"number": WHO})).status == 200


async def test_who_is_being_rung_is_not_erased(outbound: Outbound) -> None:
    served = outbound.served
    placed = await outbound.place(WHO)
    await outbound.dialer.step()
    refused = await served.api("POST", "/erase", {"number": WHO})
    assert (refused.status, placed["id"] in refused.body["error"]["message"]) == (409, True)


@pytest.mark.parametrize("number", [SUPPORT, "+14155550199"])
async def test_a_number_of_the_routes_is_not_erased_while_it_is_live(served: Running, number: str) -> None:
    refused = await served.api("POST", "/erase", {"number": number})
    assert (refused.status, 'route "support"' in refused.body["error"]["message"]) == (409, True)


@pytest.mark.hurried
async def test_what_waits_in_the_journal_is_erased_and_files_of_others_are_told(tmp_path: Path) -> None:
    write_files(tmp_path)
    settings = settings_for(tmp_path, f"sqlite:///{tmp_path}/gateway.db")
    async with running(settings) as served:
        lock = sqlite3.connect(tmp_path / "gateway.db", isolation_level=None)
        lock.execute("BEGIN IMMEDIATE")
        await call_in(served, "CA1", to=SUPPORT)
        assert any(name.startswith("journal-") for name in files_with(settings, DIGITS))
        lock.execute("ROLLBACK")
        lock.close()
        await asyncio.sleep(1.1)  # until the ledger asks the database again
        await end(served, "CA1")
        (tmp_path / "routes/notes.txt").write_text(f"ask {WHO}")
        answer = await served.api("POST", "/erase", {"number": WHO})
        assert (answer.status, answer.body["erasure"]["rows"]["call"]) == (200, 1), answer.body
        assert answer.body["erasure"]["files"] == [str(tmp_path / "routes/notes.txt")]
        assert files_with(settings, DIGITS) == []


# -- what was kept long enough ---------------------------------------------------------------------------------


@pytest.fixture
async def keeping(tmp_path: Path, database_url: str) -> AsyncIterator[tuple[Running, Clock]]:
    write_files(tmp_path)
    clock = Clock()
    days = {"GATEWAY_RETENTION__EVENTS": "5", "GATEWAY_RETENTION__TRANSCRIPTS": "2"}
    async with running(settings_for(tmp_path, database_url, **days), wall=clock) as served:
        yield served, clock


async def told(served: Running, call: str) -> dict[str, Any]:
    shown: dict[str, Any] = (await served.api("GET", f"/calls/{call}")).body["call"]
    return shown


async def test_what_is_old_is_deleted_once_a_day_and_reports_stay_true(keeping: tuple[Running, Clock]) -> None:
    served, clock = keeping
    said = {"success": True, "fields": {"csat": 4}, "transcript": [{"role": "caller", "text": "hello"}]}
    for call in ("CA1", "CA2"):
        await call_in(served, call)
        await end(served, call)
        await served.api("POST", f"/calls/{call}/outcome", said)
    await call_in(served, "CA3")  # nobody ever told how it ended
    clock.later += 3 * DAY
    await served.gateway.ledger.mature()
    await call_in(served, "CA4")
    await end(served, "CA4")
    await served.api("POST", "/calls/CA4/outcome", said)
    before = await tallies(served)
    assert await served.gateway.care.retain() == {"events": 0, "transcripts": 2}
    assert await served.gateway.care.retain() is None
    assert "transcript" not in (await told(served, "CA1"))["outcome"]
    assert (await told(served, "CA1"))["outcome"]["fields"] == {"csat": 4}
    assert (await told(served, "CA4"))["outcome"]["transcript"]

    clock.later += 3 * DAY
    deleted = await served.gateway.care.retain()
    assert deleted is not None
    assert (deleted["events"] >= 4, deleted["transcripts"]) == (True, 1)
    assert len((await told(served, "CA1"))["events"]) == 1
    assert len((await told(served, "CA4"))["events"]) > 1
    details = [row["detail"] for row in await audited(served, "delete by age")]
    assert details == [dict(deleted), {"events": 0, "transcripts": 2}]
    # What comes late finds the books closed.
    await end(served, "CA1", CallStatus="busy")
    assert (await told(served, "CA1"))["status"] == "completed"
    assert (await served.api("POST", "/calls/CA2/outcome", {"success": False})).status == 409
    await served.gateway.ledger.mature()
    assert (await tallies(served)).items() >= before.items()
    # A call that has not ended keeps what is known of it.
    await end(served, "CA3")
    assert (await told(served, "CA3"))["status"] == "completed"


async def test_what_a_contact_brought_goes_with_the_events(outbound: Outbound) -> None:
    served, database = outbound.served, outbound.served.gateway.database
    people = [{"to": to, "timezone": "America/New_York", "variables": {"first_name": "Ada"}} for to in (WHO, OTHER)]
    list_ = {"name": "spring", "route": "reminders", "contacts": people}
    campaign = (await served.api("POST", "/campaigns", list_)).body["campaign"]["id"]
    await served.api("POST", f"/campaigns/{campaign}/start", {})
    await outbound.dialer.step()
    ended, open_ = (re.findall("out_[0-9a-f]+", form["StatusCallback"])[0] for form in outbound.twilio.created)
    await end(served, ended, sid=outbound.twilio.sid(0))
    outbound.pass_time(2 * DAY)
    await served.gateway.ledger.mature()
    now = outbound.clock()
    assert sum([count async for count in delete_events(database, before=now - DAY, now=now)]) == 2
    variables = {}
    for call in (ended, open_):
        attempt = await served.gateway.outbox.attempt(call)
        assert attempt is not None
        variables[call] = attempt.variables
    assert variables == {ended: {}, open_: {"first_name": "Ada"}}
    contacts = (await served.api("GET", f"/campaigns/{campaign}/contacts")).body["contacts"]
    assert sorted(len(one["variables"]) for one in contacts) == [0, 1]


async def test_without_the_settings_nothing_is_deleted(served: Running) -> None:
    assert await served.gateway.care.retain() is None


# -- a copy ----------------------------------------------------------------------------------------------------


async def compared(served: Running) -> dict[str, Any]:
    """The results of an experiment, but for the moment at which they were read."""
    told = (await served.api("GET", "/experiments/support-1/results")).body
    return {name: value for name, value in told.items() if name != "at"}


async def test_what_was_copied_while_calls_came_in_serves_again(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here, there):
        write_files(folder)
    ringing: dict[str, Answer] = {}
    copy = tmp_path / "copy.db"
    async with running(settings_for(here, f"sqlite:///{here}/data/gateway.db")) as served:
        await fill(served, 200)
        for number in range(20):
            call = f"CAold{number}"
            ringing[call] = await served.ring(CallSid=call)
            await end(served, call)
            await served.api("POST", f"/calls/{call}/outcome", {"success": number % 2 == 0, "final": True})
        results = await compared(served)
        stop = asyncio.Event()

        async def ring_on() -> int:
            count = 0
            while not stop.is_set():
                assert (await served.ring(To=SALES)).status == 200
                count += 1
            return count

        task = asyncio.create_task(ring_on())
        async with GatewayClient(served.url, ADMIN) as client:
            made = (await client.post("/backup", {}, patient=True))["backup"]
            with copy.open("wb") as file:
                await client.download(f"/backups/{made['name']}", file)
        stop.set()
        assert await task > 0
        assert [row["subject"] for row in await audited(served, "back up")] == [f"backup {made['name']}"]
    assert copy.stat().st_size == made["bytes"]
    with sqlite3.connect(copy) as opened:
        assert opened.execute("PRAGMA integrity_check").fetchone() == ("ok",)

    # As docs/how-to/back-up-and-restore.md has it: the copy in the place of the database, and start.
    (there / "data").mkdir()
    shutil.copy(copy, there / "data/gateway.db")
    settings = settings_for(there, f"sqlite:///{there}/data/gateway.db")
    async with running(settings) as restored:
        assert await compared(restored) == results
        for call, answered in ringing.items():
            retried = await restored.ring(CallSid=call)
            old, new = (str(port) for port in (served.url, restored.url))
            assert retried.text.replace(new, old) == answered.text
        assert (await restored.ring()).status == 200


async def test_only_the_newest_copy_is_kept_and_only_one_is_made_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_files(tmp_path, FILES)
    settings = settings_for(tmp_path, f"sqlite:///{tmp_path}/gateway.db")
    async with running(settings) as served:
        answers = await asyncio.gather(*(served.api("POST", "/backup", {}) for _ in range(2)))
        assert sorted(answer.status for answer in answers) == [201, 409]
        last = (await served.api("POST", "/backup", {})).body["backup"]["name"]
        assert [path.name for path in (settings.paths.data / "backups").iterdir()] == [last]
        assert (settings.paths.data / "backups" / last).stat().st_mode & 0o077 == 0
        for name in ("gateway-20260101T000000Z-aaaa.db", "..%2Fgateway.db", "x"):
            assert (await served.api("GET", f"/backups/{name}")).status == 404
        usage = shutil.disk_usage(tmp_path)._replace(free=0)
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
        refused = await served.api("POST", "/backup", {})
        assert (refused.status, "no room" in refused.body["error"]["message"]) == (503, True)
        async with GatewayClient(served.url, ADMIN) as client:
            with pytest.raises(Unavailable, match="no room"):
                await client.post("/backup", {})


async def test_postgresql_is_copied_by_its_own_tool(served: Running) -> None:
    answer = await served.api("POST", "/backup", {})
    if served.gateway.database.embedded:
        assert answer.status == 201
    else:
        assert (answer.status, "pg_dump" in answer.body["error"]["message"]) == (422, True)
        assert await audited(served, "back up") == []
