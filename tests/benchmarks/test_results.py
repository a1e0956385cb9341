"""The short form of the benchmark of results: what is read does not grow with the calls."""

from gateway.storage.engine import Database
from gateway.storage.recounting import recount

from .results import fill, read_results


async def cells_of(database: Database, total: int) -> int:
    await fill(database, total, unit="call")
    assert not (await recount(database, repair=True)).good
    found = await recount(database, repair=False)
    assert (found.good, found.calls) == (True, total)
    shown, cells = await read_results(database)
    assert sum(arm["calls"] for arm in shown["arms"]) == total
    return cells


async def test_ten_thousand_calls_are_read_from_as_many_cells_as_are_fixed(database: Database) -> None:
    # Two arms, 28 days, 15 metrics of the whole; the rest are bins, hours and strata.
    assert await cells_of(database, 10_000) < 2 * (28 * 15 + 300)
