"""What a receiver outside sees: genuine, fresh, at least once, and no more after it had enough."""

import asyncio
import base64
import re
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from gateway.errors import Unavailable
from gateway.model import NoticeKind
from gateway.notifier import CLAIM_MS, TRIES, Notifier, Receiver, open_notifier, sign, wait_after
from gateway.settings import read_signing_key
from gateway.storage.engine import Database
from gateway.storage.notices import add_notice, claim_due, list_notices
from tests.conftest import NOBODY, WEBHOOK_SECRET
from tests.outbound import Clock
from tests.receiving import Receiving, receiving

KEY = read_signing_key(WEBHOOK_SECRET)
HOUR = 3_600_000
GUIDE = Path(__file__).parent.parent / "docs/how-to/notifications.md"


def receiver(url: str, *kinds: str) -> Receiver:
    return Receiver(url=url, key=KEY, kinds=frozenset(kinds or ("campaign.paused",)))


@pytest.fixture
async def double() -> AsyncIterator[Receiving]:
    async with receiving() as one:
        yield one


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def notifier(database: Database, double: Receiving, clock: Clock) -> AsyncIterator[Notifier]:
    async with open_notifier(database, {"ops": receiver(double.url)}, wall=clock) as one:
        yield one


async def add(database: Database, clock: Clock, kind: NoticeKind = "campaign.paused", **body: Any) -> str:
    return await database.transact(lambda c: add_notice(c, kind, "campaign cmp_1", body, clock()))


async def deliveries(database: Database) -> list[dict[str, Any]]:
    async with database.read() as connection:
        found = await list_notices(connection, before=None, limit=100)
    return [one for told in found for one in told["deliveries"]]


async def test_a_notice_is_sent_once_and_the_standards_own_library_takes_it(
    database: Database, double: Receiving, clock: Clock, notifier: Notifier
) -> None:
    name = await add(database, clock, reason="Größe 5")
    assert [await notifier.step(), await notifier.step()] == [1, 0]
    double.verify()
    (told,) = double.told
    assert told == {
        "id": name,
        "type": "campaign.paused",
        "at": told["at"],
        "subject": "campaign cmp_1",
        "data": {"reason": "Größe 5"},
    }
    assert (double.ids, double.came[0][0]["content-type"]) == ([name], "application/json")
    (one,) = await deliveries(database)
    assert (one["state"], one["tries"], one["text"]) == ("sent", 1, "answered 204")
    assert (notifier.sent, notifier.failed) == (1, 0)


async def test_a_changed_notice_or_another_secret_is_not_taken(
    database: Database, double: Receiving, clock: Clock, notifier: Notifier
) -> None:
    await add(database, clock)
    await notifier.step()
    ((headers, body),) = double.came
    late = str(int(headers["webhook-timestamp"]) + 1)
    other = "whsec_" + base64.b64encode(b"another key of some length").decode()
    for secret, changed, sent in (
        (other, headers, body),
        (WEBHOOK_SECRET, headers | {"webhook-id": "ntc_0"}, body),
        (WEBHOOK_SECRET, headers | {"webhook-timestamp": late}, body),
        (WEBHOOK_SECRET, headers, body.replace(b"cmp_1", b"cmp_2")),
    ):
        with pytest.raises(WebhookVerificationError):
            Webhook(secret).verify(sent, changed)


@given(st.binary(min_size=24, max_size=64), st.from_regex(r"[a-z_0-9]{1,40}", fullmatch=True), st.text())
def test_every_signature_is_the_librarys(key: bytes, name: str, body: str) -> None:
    at = datetime(2026, 11, 21, tzinfo=UTC)
    encoded = body.encode("utf-8", "replace")
    theirs = Webhook(key).sign(name, at, encoded.decode())
    assert sign(key, name, int(at.timestamp()), encoded) == theirs


@pytest.mark.parametrize("answer", [500, 503, 404, 429, 302, 307])
async def test_what_is_not_taken_is_tried_again_with_its_id_and_a_fresh_signature(
    answer: int, database: Database, double: Receiving, clock: Clock, notifier: Notifier
) -> None:
    double.answers = [answer, answer]
    name = await add(database, clock)
    assert await notifier.step() == 1
    assert await notifier.step() == 0
    (one,) = await deliveries(database)
    assert (one["state"], one["text"], one["ended_at"]) == ("waiting", f"answered {answer}", None)
    clock.later += 5_000
    assert await notifier.step() == 1
    clock.later += 12_500
    assert await notifier.step() == 1
    assert double.ids == [name] * 3
    stamps = [int(headers["webhook-timestamp"]) for headers, _ in double.came]
    assert stamps == sorted(set(stamps))
    assert len({headers["webhook-signature"] for headers, _ in double.came}) == 3
    double.verify()
    (one,) = await deliveries(database)
    assert (one["state"], one["tries"], double.redirected) == ("sent", 3, 0)


async def test_a_receiver_that_hangs_or_is_away_is_tried_again(
    database: Database, double: Receiving, clock: Clock
) -> None:
    double.answers = [None]
    receivers = {"hangs": receiver(double.url), "away": receiver(NOBODY)}
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=0.2)) as http:
        notifier = Notifier(database, receivers, http=http, wall=clock)
        await add(database, clock)
        assert await notifier.step() == 2
        texts = {one["receiver"]: (one["state"], one["text"]) for one in await deliveries(database)}
        assert texts == {
            "hangs": ("waiting", "no answer within 10 seconds"),
            "away": ("waiting", "cannot be reached: ClientConnectorError"),
        }
        clock.later += 5_000
        assert await notifier.step() == 2
    assert [one["state"] for one in await deliveries(database)] == ["waiting", "sent"]


async def test_who_answers_gone_is_not_tried_again(
    database: Database, double: Receiving, clock: Clock, notifier: Notifier
) -> None:
    double.answers = [410]
    await add(database, clock)
    await notifier.step()
    clock.later += 48 * HOUR
    assert await notifier.step() == 0
    (one,) = await deliveries(database)
    assert (one["state"], one["tries"], len(double.came), notifier.failed) == ("failed", 1, 1, 1)
    assert "410" in (await notifier.failing())["ops"]


async def test_after_a_day_it_is_given_up_and_a_later_success_clears_the_note(
    database: Database, double: Receiving, clock: Clock, notifier: Notifier
) -> None:
    double.answers = [500] * TRIES
    await add(database, clock)
    began, tried = clock.later, await notifier.step()
    while (due_at := (await deliveries(database))[0]["due_at"]) is not None:
        clock.later += due_at - clock()
        tried += await notifier.step()
    assert tried == TRIES == len(double.came)
    assert 12 * HOUR < clock.later - began < 24 * HOUR
    assert await notifier.failing() == {"ops": "answered 500"}
    await add(database, clock)
    assert await notifier.step() == 1
    assert await notifier.failing() == {}


def test_waits_grow_and_are_spread() -> None:
    longest = [wait_after(tries, 0.0) for tries in range(1, TRIES)]
    assert longest[:4] == [5_000, 12_500, 31_250, 78_125]
    assert 20 * HOUR < sum(longest) < 24 * HOUR
    shortest = [wait_after(tries, 1.0) for tries in range(1, TRIES)]
    assert all(low == pytest.approx(0.8 * high, abs=1) for low, high in zip(shortest, longest, strict=True))


async def test_a_crash_between_the_answer_and_its_mark_sends_it_again_with_the_same_id(
    database: Database, double: Receiving, clock: Clock, notifier: Notifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = await add(database, clock)
    transact, claims = database.transact, 0

    async def dies_at_the_second(work: Callable[[Any], Any]) -> Any:
        nonlocal claims
        claims += 1
        if claims == 2:
            raise Unavailable("the process is gone")
        return await transact(work)

    monkeypatch.setattr(database, "transact", dies_at_the_second)
    with pytest.raises(Unavailable):
        await notifier.step()
    monkeypatch.undo()
    assert double.ids == [name]
    async with open_notifier(database, {"ops": receiver(double.url)}, wall=clock) as other:
        assert await other.step() == 0
        clock.later += CLAIM_MS
        assert await other.step() == 1
    assert double.ids == [name, name]
    (one,) = await deliveries(database)
    assert (one["state"], one["tries"]) == ("sent", 2)


async def test_two_senders_never_send_one_notice_at_the_same_time(
    database: Database, double: Receiving, clock: Clock, notifier: Notifier
) -> None:
    names = {await add(database, clock) for _ in range(30)}
    double.gate.clear()
    async with open_notifier(database, {"ops": receiver(double.url)}, wall=clock) as other:
        steps = [asyncio.create_task(one.step()) for one in (notifier, other, notifier, other)]
        while len(double.came) < 30 and not all(step.done() for step in steps):
            await asyncio.sleep(0.01)
        double.gate.set()
        await asyncio.gather(*steps)
        while await notifier.step() + await other.step():
            pass
    assert sorted(double.ids) == sorted(names)
    # The negative control: while they were being sent, many were under way side by side.
    assert double.most_at_once > 1


async def test_each_is_told_what_it_asked_for_and_nobody_of_the_past(
    database: Database, double: Receiving, clock: Clock
) -> None:
    async with open_notifier(database, {}, wall=clock) as nobody:
        await add(database, clock)
        assert await nobody.step() == 0
    receivers = {
        "one": receiver(double.url + "?one", "campaign.paused"),
        "two": receiver(double.url + "?two", "experiment.alarm"),
    }
    async with open_notifier(database, receivers, wall=clock) as notifier:
        assert await notifier.step() == 0
        await add(database, clock, "experiment.alarm")
        assert await notifier.step() == 1
    assert [told["type"] for told in double.told] == ["experiment.alarm"]


async def test_a_receiver_that_left_the_settings_is_not_waited_for(database: Database, clock: Clock) -> None:
    async with open_notifier(database, {"old": receiver(NOBODY)}, wall=clock) as notifier:
        await add(database, clock)
        await notifier.step()
    clock.later += 5_000
    async with open_notifier(database, {}, wall=clock) as notifier:
        assert await notifier.step() == 1
    (one,) = await deliveries(database)
    assert (one["state"], "settings" in one["text"]) == ("failed", True)


async def test_a_month_later_it_is_forgotten(
    database: Database, double: Receiving, clock: Clock, notifier: Notifier
) -> None:
    await add(database, clock)
    await notifier.step()
    clock.later += 29 * 24 * HOUR
    await notifier.tidy()
    assert len(await deliveries(database)) == 1
    clock.later += 2 * 24 * HOUR
    await notifier.tidy()
    assert await deliveries(database) == []


async def test_what_a_receiver_is_and_says_shows_nowhere(
    database: Database, double: Receiving, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    urls = [f"{double.url}?canary", "http://127.0.0.1:1/canary", "https://127.0.0.1:1/canary", "http://[canary"]
    receivers = {str(place): receiver(url) for place, url in enumerate(urls)}
    async with open_notifier(database, receivers, wall=clock) as notifier:
        double.answers = [500]
        await add(database, clock)
        assert await notifier.step() == len(urls)
    said = capsys.readouterr()
    shown = said.out + said.err + repr(receivers) + str(await deliveries(database))
    assert "notice_tried" in shown
    assert "canary" not in shown
    assert WEBHOOK_SECRET[6:] not in shown
    assert repr(KEY)[2:-1] not in shown


# What the guide tells people to do


def test_the_guides_own_verification_takes_what_is_genuine_and_nothing_else() -> None:
    block = re.search(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    assert block is not None
    told: dict[str, Any] = {}
    exec(block[1], told)
    genuine = told["is_genuine"]
    now, body = 1_795_000_000, b'{"id": "ntc_1"}'
    headers = {"webhook-id": "ntc_1", "webhook-timestamp": str(now)}
    headers["webhook-signature"] = sign(KEY, "ntc_1", now, body)
    for at in (now, now + 300, now - 300):
        assert genuine(WEBHOOK_SECRET, headers, body, at)
    rotated = headers | {"webhook-signature": "v1,AAAA " + headers["webhook-signature"]}
    assert genuine(WEBHOOK_SECRET, rotated, body, now)
    for changed, sent, at in (
        (headers, body, now + 301),
        (headers, body, now - 301),
        (headers, body + b" ", now),
        (headers | {"webhook-id": "ntc_2"}, body, now),
        (headers | {"webhook-timestamp": str(now + 1)}, body, now),
        (headers | {"webhook-timestamp": "soon"}, body, now),
        (headers | {"webhook-signature": "v1,"}, body, now),
        (headers | {"webhook-signature": ""}, body, now),
    ):
        assert not genuine(WEBHOOK_SECRET, changed, sent, at)


async def test_a_last_try_that_was_lost_still_ends(
    database: Database, double: Receiving, clock: Clock, notifier: Notifier
) -> None:
    await add(database, clock)

    def lose(connection: Any) -> int:
        now = clock()
        return len(claim_due(connection, {"ops": {"campaign.paused"}}, now=now, until=now + CLAIM_MS, limit=1))

    for _ in range(TRIES):
        assert await database.transact(lose) == 1
        clock.later += CLAIM_MS
    double.answers = [500]
    assert await notifier.step() == 1
    (one,) = await deliveries(database)
    assert (one["state"], one["tries"]) == ("failed", TRIES + 1)
