"""Campaigns end to end: whom they call, when, with which arm, and what they never do."""

import asyncio
import json
from collections import Counter
from typing import Any
from urllib.parse import urlsplit

import structlog

from gateway.storage.access import claim_request
from gateway.storage.attempts import Attempt, Limits
from gateway.storage.campaignbook import Loader
from gateway.storage.campaigns import Campaign
from gateway.wiring import tidy
from tests.conftest import ADMIN, Answer
from tests.outbound import TO, Outbound, outbound

__all__ = ["outbound"]

DAY = 24 * 3_600_000
FREELY = Limits(per_second=1e6, at_once=10_000, at_once_on_route=10_000, per_day=100_000)


def people(count: int, first: int = 1000) -> list[str]:
    return [f"+1212555{number:04}" for number in range(first, first + count)]


async def create(outbound: Outbound, numbers: list[str], **settings: Any) -> dict[str, Any]:
    body = {"name": "spring", "route": "reminders", "contacts": [{"to": number} for number in numbers]}
    answer = await outbound.served.api("POST", "/campaigns", body | {"settings": settings})
    assert answer.status == 201, answer.body
    made: dict[str, Any] = answer.body["campaign"]
    return made


async def change(outbound: Outbound, campaign: dict[str, Any], verb: str, **body: Any) -> Answer:
    return await outbound.served.api("POST", f"/campaigns/{campaign['id']}/{verb}", body or None)


async def told(outbound: Outbound, campaign: dict[str, Any]) -> dict[str, Any]:
    shown: dict[str, Any] = (await outbound.served.api("GET", f"/campaigns/{campaign['id']}")).body["campaign"]
    return shown


async def contacts(outbound: Outbound, campaign: dict[str, Any], query: str = "") -> list[dict[str, Any]]:
    path = f"/campaigns/{campaign['id']}/contacts?limit=1000{query}"
    listed: list[dict[str, Any]] = (await outbound.served.api("GET", path)).body["contacts"]
    return listed


async def end(outbound: Outbound, number: int, status: str, **fields: str) -> None:
    """Let Twilio say how the call ended that it was the ``number``-th to be asked for."""
    call = outbound.twilio.created[number]["Url"].partition("?call=")[2].partition("#")[0]
    told = {"CallSid": outbound.twilio.sid(number), "CallStatus": status, "SequenceNumber": "3"} | fields
    assert (await outbound.served.ring(f"/twilio/status?call={call}", **told)).status == 204


async def test_a_campaign_goes_from_its_list_to_its_end(outbound: Outbound) -> None:
    campaign = await create(outbound, people(3))
    assert (campaign["status"], campaign["contacts"], campaign["skipped"]) == ("draft", 3, 0)
    assert await outbound.dialer.step() == 0
    assert (await change(outbound, campaign, "start")).body["campaign"]["status"] == "running"
    assert await outbound.dialer.step() == 3
    assert (await told(outbound, campaign))["counts"] == {"waiting": 0, "dialling": 3, "done": 0, "skipped": 0}
    for number in range(3):
        await end(outbound, number, "completed", CallDuration="30")
    await outbound.dialer.step()
    shown = await told(outbound, campaign)
    assert (shown["status"], shown["results"]) == ("completed", {"answered": 3})
    assert sum(arm["done"] for arm in shown["arms"].values()) == 3
    assert sum(arm["answered"] for arm in shown["arm_results"].values()) == 3
    for person in await contacts(outbound, campaign):
        call = await outbound.told(person["call"])
        assert call["assignment"]["arm"] == person["assignment"]["arm"]
        assert call["assignment"]["unit"] == "contact"


async def test_every_block_of_a_campaign_holds_the_shares(outbound: Outbound) -> None:
    campaign = await create(outbound, people(40))
    look = (await change(outbound, campaign, "preview")).body["preview"]
    assert [(arm["arm"], arm["contacts"]) for arm in look["arms"]] == [("a", 20), ("b", 20)]
    assert (look["contacts"], look["obstacle"], outbound.twilio.created) == (40, None, [])
    assert (await told(outbound, campaign))["status"] == "ready"
    await change(outbound, campaign, "start")
    foreseen = {one["line"]: one["arm"] for one in look["first"]}
    outbox = outbound.served.gateway.outbox
    (one,) = await outbox.running()
    assert [await claim(outbound, one) for _ in range(40)].count(None) == 0
    listed = await contacts(outbound, campaign)
    assert {
        person["line"]: person["assignment"]["arm"] for person in listed if person["line"] in foreseen
    } == foreseen
    arms = [person["assignment"]["arm"] for person in listed]
    assert all(Counter(arms[start : start + 4]) == {"a": 2, "b": 2} for start in range(0, 40, 4))
    assert len({tuple(arms[start : start + 4]) for start in range(0, 40, 4)}) > 1


async def claim(outbound: Outbound, one: Campaign, owner: str = "one") -> Attempt | None:
    """Claim the next contact, whatever the pace."""
    gateway = outbound.served.gateway
    draw = gateway.contacts.drawer(one)
    claimed = await gateway.outbox.claim_contact(one, owner=owner, limits=FREELY, draw=draw)
    return claimed if isinstance(claimed, Attempt) else None


async def test_of_eight_workers_one_has_each_contact(outbound: Outbound) -> None:
    campaign = await create(outbound, people(60))
    await change(outbound, campaign, "start")
    (one,) = await outbound.served.gateway.outbox.running()

    async def work(owner: str) -> list[str]:
        taken = []
        while (claimed := await claim(outbound, one, owner)) is not None:
            taken.append(claimed.to_number)
        return taken

    taken = await asyncio.gather(*(work(f"worker-{number}") for number in range(8)))
    assert sorted(number for some in taken for number in some) == people(60)
    assert [person["attempts"] for person in await contacts(outbound, campaign)] == [1] * 60


async def test_a_retry_keeps_the_arm_and_the_contact_counts_once(outbound: Outbound) -> None:
    campaign = await create(outbound, people(8), retry={"busy": "30m", "no_answer": "1h"}, max_attempts=2)
    await change(outbound, campaign, "start")
    while await outbound.dialer.step():
        for number in range(len(outbound.twilio.created)):
            await end(outbound, number, "busy" if number % 2 else "completed", CallDuration="30")
    first = {person["to"]: person["assignment"]["arm"] for person in await contacts(outbound, campaign)}
    busy = await contacts(outbound, campaign, "&state=waiting")
    assert {person["result"] for person in busy} == {"busy"}
    assert len(busy) == 4
    outbound.pass_time(29 * 60_000)
    assert await outbound.dialer.step() == 0
    outbound.pass_time(2 * 60_000)
    assert await outbound.dialer.step() == 4
    for number in range(8, 12):
        await end(outbound, number, "busy")
    await outbound.dialer.step()
    shown = await told(outbound, campaign)
    assert (shown["status"], shown["results"]) == ("completed", {"answered": 4, "busy": 4})
    assert {person["to"]: person["assignment"]["arm"] for person in await contacts(outbound, campaign)} == first
    results = (await outbound.served.api("GET", "/experiments/reminders-1/results")).body
    assert sum(arm["calls"] for arm in results["arms"]) == 8
    answered = next(metric for metric in results["metrics"] if metric["name"] == "answered")
    assert sum(arm["n"] for arm in answered["arms"].values()) == 8
    calls = (await outbound.served.api("GET", "/calls?limit=100")).body["calls"]
    assert Counter(call["assignment"]["analysed"] for call in calls) == {True: 8, False: 4}


async def test_the_same_person_is_not_called_too_often_in_a_day(outbound: Outbound) -> None:
    retry = {"busy": "1m"}
    campaign = await create(outbound, [TO], retry=retry, max_attempts=5, max_attempts_per_day=2)
    await change(outbound, campaign, "start")
    for number in range(2):
        assert await outbound.dialer.step() == 1
        await end(outbound, number, "busy")
        outbound.pass_time(61_000)
    assert await outbound.dialer.step() == 0
    now = outbound.served.gateway.wall()
    foreseen: list[dict[str, Any]] = []
    for most in (2, 3):
        other = await create(outbound, [TO], max_attempts_per_day=most)
        foreseen += (await change(outbound, other, "preview")).body["preview"]["first"]
    later, at_once = (one["at"] - now for one in foreseen)
    assert DAY - 200_000 < later < DAY
    assert 0 <= at_once < 60_000
    outbound.pass_time(DAY)
    assert await outbound.dialer.step() == 1


async def test_pages_of_campaigns_lose_none_that_was_made_in_the_same_millisecond(outbound: Outbound) -> None:
    gateway = outbound.served.gateway
    whole = Campaign("", "n", "reminders", "loading", "", {}, "admin", 0, 0, gateway.wall())
    loader = Loader(gateway.database)
    made = [await loader.open(whole._replace(id=f"cmp_{number}")) for number in (3, 1, 2)]
    listed: list[str] = []
    query = "?limit=1"
    while query:
        page = (await outbound.served.api("GET", f"/campaigns{query}")).body
        listed += [one["id"] for one in page["campaigns"]]
        query = f"?limit=1&cursor={page['next']}" if page["next"] else ""
    assert listed == [one.id for one in reversed(made)]


async def test_a_call_that_twilio_did_not_take_is_none_of_the_attempts_of_a_day(outbound: Outbound) -> None:
    outbound.twilio.answers = ["429/20429"]
    campaign = await create(outbound, [TO], retry={"busy": "1m"}, max_attempts=2, max_attempts_per_day=2)
    await change(outbound, campaign, "start")
    assert await outbound.dialer.step() == 1
    for number in range(1, 3):
        outbound.pass_time(61_000)
        assert await outbound.dialer.step() == 1
        await end(outbound, number, "busy")
    (person,) = await contacts(outbound, campaign)
    assert (person["state"], person["result"], person["attempts"]) == ("done", "busy", 2)


async def test_nothing_is_sent_after_a_pause_and_calls_under_way_end(outbound: Outbound) -> None:
    campaign = await create(outbound, people(6), concurrency=2)
    await change(outbound, campaign, "start")
    assert await outbound.dialer.step() == 2
    paused = await change(outbound, campaign, "pause", reason="wrong script")
    assert paused.body["campaign"]["status"] == "pausing"
    await end(outbound, 0, "completed", CallDuration="30")
    assert await outbound.dialer.step() == 0
    await end(outbound, 1, "completed", CallDuration="30")
    assert await outbound.dialer.step() == 0
    shown = await told(outbound, campaign)
    assert (shown["status"], shown["reason"], shown["results"]) == ("paused", "wrong script", {"answered": 2})
    assert (await change(outbound, campaign, "resume")).status == 200
    assert await outbound.dialer.step() == 2
    assert (await change(outbound, campaign, "cancel", reason="enough")).body["campaign"]["status"] == "cancelled"
    assert await outbound.dialer.step() == 0
    assert (await change(outbound, campaign, "resume")).status == 409


async def test_a_pause_in_the_middle_of_claims_is_the_last_word(outbound: Outbound) -> None:
    campaign = await create(outbound, people(200))
    await change(outbound, campaign, "start")
    (one,) = await outbound.served.gateway.outbox.running()
    claimed: list[Attempt | None] = []

    async def work() -> None:
        while (taken := await claim(outbound, one)) is not None:
            claimed.append(taken)

    workers = [asyncio.create_task(work()) for _ in range(4)]
    while len(claimed) < 5:
        await asyncio.sleep(0.001)
    await change(outbound, campaign, "pause")
    counted = (await told(outbound, campaign))["counts"]["dialling"]
    await asyncio.gather(*workers)
    assert (await told(outbound, campaign))["counts"]["dialling"] == counted == len(claimed) < 200


async def test_the_switch_and_an_opt_out_hold_for_campaigns_too(outbound: Outbound) -> None:
    campaign = await create(outbound, people(3))
    await change(outbound, campaign, "start")
    await outbound.served.api("POST", "/dialing/stop", {"reason": "look first"})
    assert await outbound.dialer.step() == 0
    await outbound.served.api("POST", "/suppressions", {"number": people(3)[1]})
    await outbound.served.api("POST", "/dialing/start")
    assert await outbound.dialer.step() == 2
    assert [form["To"] for form in outbound.twilio.created] == [people(3)[0], people(3)[2]]
    (skipped,) = await contacts(outbound, campaign, "&state=skipped")
    assert (skipped["to"], skipped["result"]) == (people(3)[1], "suppressed")


async def test_a_csv_is_read_as_it_streams_and_bad_rows_are_told_with_their_line(outbound: Outbound) -> None:
    rows = [f"{number},Kim" for number in people(500)]
    rows[3] = "+1212555,Kim"
    rows[7] = "+447400123456,Kim"
    rows[9] = rows[8]
    settings = json.dumps({"max_attempts": 1})
    url = f"{outbound.served.url}/api/v1/campaigns"
    query = {"name": "spring", "route": "reminders", "settings": settings}
    headers = {"Authorization": f"Bearer {ADMIN}", "Content-Type": "text/csv", "Idempotency-Key": "k"}

    async def send(text: str) -> tuple[int, dict[str, Any], dict[str, str]]:
        async def pieces() -> Any:
            for start in range(0, len(text), 1000):
                yield text[start : start + 1000].encode()

        async with outbound.served.http.post(url, params=query, data=pieces(), headers=headers) as answer:
            return answer.status, await answer.json(), dict(answer.headers)

    text = "to,first_name\n" + "\n".join(rows) + "\n"
    status, body, _ = await send(text)
    assert (status, body["campaign"]["contacts"], body["campaign"]["skipped"]) == (201, 497, 3)
    assert [problem["line"] for problem in body["campaign"]["problems"]] == [5, 9, 11]
    assert "allowed_countries" in body["campaign"]["problems"][1]["text"]
    listed = await contacts(outbound, body["campaign"], "&state=skipped")
    assert [(row["line"], row["result"]) for row in listed] == [(5, "row"), (9, "number"), (11, "row")]
    again, repeated, headers_told = await send(text)
    assert (again, repeated, headers_told["Idempotent-Replayed"]) == (201, body, "true")
    assert (await send(text + "x"))[0] == 409
    assert len((await outbound.served.api("GET", "/campaigns")).body["campaigns"]) == 1


async def test_a_list_without_a_good_row_is_refused_and_leaves_nothing(outbound: Outbound) -> None:
    body = {"name": "n", "route": "reminders", "contacts": [{"to": "12"}, {"to": "+19005550100"}]}
    answer = await outbound.served.api("POST", "/campaigns", body)
    assert answer.status == 422
    assert [problem["path"] for problem in answer.body["error"]["problems"]] == ["line 1", "line 2"]
    assert (await outbound.served.api("GET", "/campaigns")).body["campaigns"] == []


async def test_a_list_that_breaks_off_leaves_nothing_and_is_no_fault_of_ours(outbound: Outbound) -> None:
    async def there() -> list[Any]:
        listed: list[Any] = (await outbound.served.api("GET", "/campaigns")).body["campaigns"]
        return listed

    with structlog.testing.capture_logs() as told:
        address = urlsplit(outbound.served.url)
        _, writer = await asyncio.open_connection(address.hostname, address.port)
        head = [
            "POST /api/v1/campaigns?name=n&route=reminders HTTP/1.1",
            f"Host: {address.netloc}",
            f"Authorization: Bearer {ADMIN}",
            "Content-Type: text/csv",
            "Content-Length: 1000",
            "Idempotency-Key: torn",
        ]
        writer.write(("\r\n".join(head) + f"\r\n\r\nto\n{TO}\n").encode())
        while not await there():
            await asyncio.sleep(0.01)
        writer.close()
        while await there():
            await asyncio.sleep(0.01)
    assert [event for event in told if event["log_level"] in ("warning", "error")] == []
    body = {"name": "n", "route": "reminders", "contacts": [{"to": TO}]}
    # The key is given back a moment after the list is taken away.
    while (again := await outbound.served.api("POST", "/campaigns", body, Idempotency_Key="torn")).status == 409:
        await asyncio.sleep(0.01)
    assert again.status == 201


async def test_what_a_dead_process_left_of_a_list_is_taken_away_and_its_key_is_free(outbound: Outbound) -> None:
    gateway = outbound.served.gateway
    body = {"name": "n", "route": "reminders", "contacts": [{"to": TO}]}
    made = (await outbound.served.api("POST", "/campaigns", body, Idempotency_Key="whole")).body["campaign"]
    left = Campaign("cmp_left", "n", "reminders", "loading", "", {}, "admin", 0, 0, gateway.wall())
    await Loader(gateway.database).open(left)
    async with gateway.database.write() as connection:
        now = gateway.wall()
        assert (
            await claim_request(connection, gateway.database, author="admin", key="torn", request=b"", at=now) is None
        )
    outbound.pass_time(DAY - 60_000)
    await tidy(gateway)
    assert (await outbound.served.api("POST", "/campaigns", body, Idempotency_Key="torn")).status == 409
    outbound.pass_time(120_000)
    await tidy(gateway)
    assert [one["id"] for one in (await outbound.served.api("GET", "/campaigns")).body["campaigns"]] == [made["id"]]
    again = await outbound.served.api("POST", "/campaigns", body, Idempotency_Key="whole")
    assert (again.body["campaign"]["id"], again.headers["Idempotent-Replayed"]) == (made["id"], "true")
    assert (await outbound.served.api("POST", "/campaigns", body, Idempotency_Key="torn")).status == 201


async def test_marketing_calls_only_who_agreed(outbound: Outbound) -> None:
    agreed = {"yes": 3, "no": 0, "": 0, "2026-03-01 web form": 1}
    rows = [{"to": to, "consent": word} for to, word in zip(people(4), agreed, strict=True)]
    body = {"name": "n", "route": "reminders", "contacts": rows, "settings": {"marketing": True}}
    made = (await outbound.served.api("POST", "/campaigns", body)).body["campaign"]
    assert (made["contacts"], made["skipped"]) == (2, 2)
    assert {row["result"] for row in await contacts(outbound, made, "&state=skipped")} == {"consent"}


async def test_what_twilio_refuses_is_a_fault_of_the_number_or_of_the_account(outbound: Outbound) -> None:
    campaign = await create(outbound, people(4), calls_per_second=1000, concurrency=1, retry={"failed": "1h"})
    outbound.twilio.answers = ["400/21211", "429/20429", "400/21215"]
    await change(outbound, campaign, "start")
    while (await told(outbound, campaign))["status"] == "running":
        await outbound.dialer.step()
    shown = await told(outbound, campaign)
    assert (shown["status"], "21215" in shown["reason"]) == ("pausing", True)
    assert [(row["state"], row["result"], row["attempts"]) for row in await contacts(outbound, campaign)] == [
        ("done", "refused", 1),
        ("waiting", None, 0),
        ("waiting", None, 0),
        ("waiting", None, 0),
    ]
    await outbound.dialer.step()
    await change(outbound, campaign, "resume")
    outbound.pass_time(61_000)
    assert await outbound.dialer.step() == 1


async def test_a_second_call_on_an_attempt_pauses_the_campaign(outbound: Outbound) -> None:
    campaign = await create(outbound, people(2), concurrency=1)
    await change(outbound, campaign, "start")
    await outbound.dialer.step()
    call = outbound.twilio.created[0]["Url"].partition("?call=")[2].partition("#")[0]
    await outbound.served.ring(f"/twilio/status?call={call}", CallSid="CA" + "9" * 32, CallStatus="ringing")
    shown = await told(outbound, campaign)
    assert (shown["status"], "second call" in shown["reason"]) == ("pausing", True)
    assert set(outbound.twilio.cancelled) == {"CA" + "9" * 32}


async def test_a_campaign_starts_at_its_time(outbound: Outbound) -> None:
    soon = outbound.served.gateway.wall() + 3_600_000
    campaign = await create(outbound, people(1), start_at=soon)
    assert (await change(outbound, campaign, "start")).body["campaign"]["status"] == "scheduled"
    assert await outbound.dialer.step() == 0
    outbound.pass_time(3_600_001)
    assert await outbound.dialer.step() == 1


async def test_an_unknown_attempt_is_never_dialled_again_by_itself(outbound: Outbound) -> None:
    campaign = await create(outbound, people(1), retry={"failed": "1m", "no_answer": "1m"})
    outbound.twilio.answers = ["reset"]
    await change(outbound, campaign, "start")
    await outbound.dialer.step()
    for _ in range(12):
        outbound.pass_time(61_000)
        await outbound.dialer.reconcile()
        await outbound.dialer.step()
    (person,) = await contacts(outbound, campaign)
    assert (person["state"], person["result"], len(outbound.twilio.created)) == ("done", "unknown", 1)


async def notices(outbound: Outbound) -> list[tuple[str, str, str]]:
    listed = (await outbound.served.api("GET", "/notifications")).body["notifications"]
    ours = [one for one in reversed(listed) if one["type"].startswith("campaign.")]
    return [(one["type"], one["subject"], one["data"]["reason"]) for one in ours]


async def test_the_outside_is_told_of_what_a_campaign_does_by_itself(outbound: Outbound) -> None:
    start_at = outbound.clock() + 60_000
    first, second = await create(outbound, people(1)), await create(outbound, people(1, 2000), start_at=start_at)
    await change(outbound, first, "start")
    await change(outbound, second, "start")
    assert await notices(outbound) == [("campaign.started", f"campaign {first['id']}", "")]
    # Whoever pauses a campaign by hand knows it.
    await change(outbound, first, "pause", reason="a look")
    await outbound.dialer.step()
    await change(outbound, first, "resume")
    assert len(await notices(outbound)) == 1
    await outbound.dialer.step()
    await end(outbound, 0, "completed", CallDuration="30")
    outbound.twilio.answers = ["400/21215"]
    outbound.pass_time(61_000)
    await outbound.dialer.step()
    told = await notices(outbound)
    assert {(kind, subject) for kind, subject, _ in told[1:]} == {
        ("campaign.completed", f"campaign {first['id']}"),
        ("campaign.started", f"campaign {second['id']}"),
        ("campaign.paused", f"campaign {second['id']}"),
    }
    assert "21215" in told[3][2]
    await outbound.dialer.step()
    assert len(await notices(outbound)) == 4
