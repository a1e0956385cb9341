"""A claim costs what is open, not what was ever called: on SQLite each of its statements uses an index."""

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tests.outbound import Outbound, outbound
from tests.test_campaigns import change, create, people

__all__ = ["outbound"]


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    """An empty database whose statements can be explained as they ran."""
    return f"sqlite:///{tmp_path}/gateway.db"


async def test_no_statement_of_a_claim_reads_calls_that_are_over(outbound: Outbound) -> None:
    campaign = await create(outbound, people(3), concurrency=2, daily_cap=100)
    await outbound.place()
    await change(outbound, campaign, "start")
    database, ran = outbound.served.gateway.database, dict[str, Any]()
    await outbound.served.gateway.outbox.running()
    assert database._direct is not None
    assert database._direct._connection is not None

    def keep(_: Any, __: Any, statement: str, parameters: Any, *___: Any) -> None:
        ran[statement] = parameters

    # As it is written, with its parameters open: only so is it seen which index SQLite may use.
    engine = database._direct._connection.engine
    sa.event.listen(engine, "before_cursor_execute", keep)
    assert await outbound.dialer.step() == 3
    sa.event.remove(engine, "before_cursor_execute", keep)
    plans: dict[str, str] = {}
    async with database.read() as connection:
        for statement, parameters in ran.items():
            if statement.startswith(("SELECT", "UPDATE")):
                rows = await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
                plans |= {row.detail: statement for row in rows}
    assert any("attempt_open" in plan for plan in plans)
    for plan, statement in plans.items():
        whole = plan.startswith(("SCAN attempt", "SCAN contact", "SCAN call")) and "attempt_open" not in plan
        assert not whole, f"{plan}: {statement}"
