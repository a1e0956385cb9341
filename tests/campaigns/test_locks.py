"""On PostgreSQL, whose transactions run side by side: nobody waits in a circle, and nobody is overlooked."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.util import await_only

from gateway.storage.attempts import Attempt
from gateway.storage.campaigns import ContactRow, Drawn, advance
from gateway.storage.schema import contact
from tests.conftest import _fresh_postgres
from tests.outbound import TO, Outbound, outbound
from tests.test_campaigns import FREELY, change, create, end, told

__all__ = ["outbound"]


@pytest.fixture
def database_url(postgres: str) -> Iterator[str]:
    """An empty database of the engine that has more than one writer."""
    yield from _fresh_postgres(postgres)


async def test_an_opt_out_and_a_retry_of_the_same_person_do_not_wait_for_each_other(outbound: Outbound) -> None:
    campaign = await create(outbound, [TO], retry={"busy": "1m"})
    await change(outbound, campaign, "start")
    await outbound.dialer.step()
    await end(outbound, 0, "busy")
    outbound.pass_time(61_000)
    gateway = outbound.served.gateway
    (one,) = await gateway.outbox.running()

    draw, reports = gateway.contacts.drawer(one), list[asyncio.Task[Any]]()

    def while_claiming(person: ContactRow) -> Drawn:
        # The claim has its lock; now the agent's report of the call before takes whatever it can.
        path = f"/calls/{person.call}/outcome"
        reports.append(asyncio.ensure_future(outbound.served.api("POST", path, {"opt_out": True})))
        await_only(asyncio.sleep(0.5))
        return draw(person)

    claimed = await gateway.outbox.claim_contact(one, owner="one", limits=FREELY, draw=while_claiming)
    assert isinstance(claimed, Attempt)
    assert (await reports[0]).status == 200


async def test_a_contact_that_goes_back_to_waiting_keeps_its_campaign_running(outbound: Outbound) -> None:
    campaign = await create(outbound, [TO])
    await change(outbound, campaign, "start")
    await outbound.dialer.step()
    database, met = outbound.served.gateway.database, list[str]()

    async def go_back() -> None:
        async with database.write() as other:
            await other.execute(sa.update(contact).values(state="waiting"))

    def meddle(_: Any, __: Any, statement: str, *___: Any) -> None:
        if "EXISTS" in statement and "contact" in statement and not met:
            met.append(statement)
            await_only(go_back())

    engine = database._writer.sync_engine
    sa.event.listen(engine, "after_cursor_execute", meddle)
    try:
        await database.transact(lambda connection: advance(connection, database, outbound.clock()))
    finally:
        sa.event.remove(engine, "after_cursor_execute", meddle)
    assert met
    assert (await told(outbound, campaign))["status"] == "running"
