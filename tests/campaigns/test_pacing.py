"""Whoever asks for calls, and however many processes dial: no second holds more of them than is allowed."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from gateway.dialer import Dialer, Owner
from gateway.storage.attempts import Limits
from gateway.storage.schema import attempt
from tests.outbound import TO, Outbound, outbound
from tests.test_campaigns import change, create, people

__all__ = ["outbound"]

SECONDS = 60
# Calls a second: of the whole account, and of each of two campaigns.
ALL, EACH = 5, 2
LIMITS = Limits(per_second=ALL, at_once=10_000, at_once_on_route=10_000, per_day=10_000)


@contextmanager
def dialer(outbound: Outbound, folder: Path) -> Iterator[Dialer]:
    """One more process's dialer on the same database, who sleeps by the clock that all share."""
    gateway, clock, owner = outbound.served.gateway, outbound.clock, Owner(folder)
    assert gateway.carrier is not None

    async def sleep(seconds: float) -> None:
        wake = clock() + round(seconds * 1000)
        await asyncio.sleep(0)  # whoever sleeps at the same time wakes at the same time
        clock.later += max(0, wake - clock())

    yield Dialer(
        outbox=gateway.outbox,
        placer=gateway.carrier,
        owner=owner,
        contacts=gateway.contacts,
        limits=LIMITS,
        public_url=outbound.served.url,
        wall=clock,
        sleep=sleep,
    )
    owner.close()


async def dialled(outbound: Outbound, *dialers: Dialer) -> list[tuple[int, str | None]]:
    """Let them dial two campaigns and single calls for a minute; when each call was sent, and for which campaign."""
    for first in (1000, 2000):
        campaign = await create(outbound, people(150, first), calls_per_second=EACH)
        assert (await change(outbound, campaign, "start")).status == 200
    for number in people(250, 3000):
        await outbound.place(number)
    end = outbound.clock() + SECONDS * 1000
    work = [asyncio.create_task(one.run()) for one in dialers]
    while outbound.clock() < end:
        await asyncio.sleep(0.01)
    for task in work:
        task.cancel()
    await asyncio.gather(*work, return_exceptions=True)
    sent = sa.select(attempt.c.intent_at, attempt.c.campaign).where(attempt.c.intent_at < end)
    async with outbound.served.gateway.database.read() as connection:
        return [(row[0], row[1]) for row in await connection.execute(sent.order_by(attempt.c.intent_at))]


def most_in_a_second(moments: Sequence[int]) -> int:
    """The most of the moments, which are in order, that one second holds wherever it begins."""
    return max(sum(start <= one < start + 1000 for one in moments[place:]) for place, start in enumerate(moments))


def judge(outbound: Outbound, sent: list[tuple[int, Any]]) -> None:
    assert most_in_a_second([at for at, _ in sent]) <= ALL
    assert len({form["Url"] for form in outbound.twilio.created}) == len(outbound.twilio.created) >= len(sent)
    lines = [[at for at, campaign in sent if campaign == name] for name in {campaign for _, campaign in sent}]
    assert len(lines) == 3
    for name in {campaign for _, campaign in sent if campaign}:
        assert most_in_a_second([at for at, campaign in sent if campaign == name]) <= EACH
    # Nobody is starved: of what is allowed most is used, by each campaign and by the single calls.
    assert len(sent) > 0.7 * ALL * SECONDS
    assert min(map(len, lines)) > 0.5 * SECONDS


async def test_no_second_holds_more_calls_than_are_allowed(outbound: Outbound, tmp_path: Path) -> None:
    with dialer(outbound, tmp_path / "dialers") as one:
        judge(outbound, await dialled(outbound, one))


async def test_two_dialers_keep_the_pace_of_one(outbound: Outbound, tmp_path: Path) -> None:
    with dialer(outbound, tmp_path / "dialers") as one, dialer(outbound, tmp_path / "dialers") as two:
        judge(outbound, await dialled(outbound, one, two))


async def test_who_comes_while_a_long_list_is_dialled_does_not_wait_for_its_end(
    outbound: Outbound, tmp_path: Path
) -> None:
    campaign = await create(outbound, people(150))
    await change(outbound, campaign, "start")
    with dialer(outbound, tmp_path / "dialers") as one:
        work = asyncio.create_task(one.run())
        while len(outbound.twilio.created) < 3:
            await asyncio.sleep(0.001)
        await outbound.place(TO)
        while len(outbound.twilio.created) < 151:
            await asyncio.sleep(0.01)
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
    assert [form["To"] for form in outbound.twilio.created].index(TO) < 100
