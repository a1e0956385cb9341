"""The live state: what another process publishes is seen, and what is replaced can still be read."""

import os
from pathlib import Path

from gateway.drafts import Author, Draft, read_files
from gateway.livestate import LiveState
from gateway.publishing import Publishing
from gateway.storage.bootfile import BootFile
from gateway.storage.engine import Database
from tests.conftest import FILES


def opened(database: Database, folder: Path) -> LiveState:
    return LiveState(database, BootFile(folder / "live.jsonl"), wall=lambda: 1_795_000_000_000)


async def test_another_process_publishes_and_this_one_follows(database: Database, tmp_path: Path) -> None:
    ours, theirs = opened(database, tmp_path / "a"), opened(database, tmp_path / "b")
    (tmp_path / "b").mkdir()
    publishing = Publishing(
        database, theirs, secret=os.environ.__getitem__, wall=lambda: 1_795_000_000_000, outcome_window=3600
    )
    await publishing.publish(read_files(FILES), Author(name="kim", door="files"))
    assert ours.snapshot.routes == {}
    assert await ours.refresh() is True
    assert await ours.refresh() is False
    assert ours.snapshot == theirs.snapshot
    before = ours.snapshot.routes["sales"]
    body = dict((await publishing.live("route", "support")).body or {})
    off = body | {"ab_test": {**body["ab_test"], "enabled": False}}
    await publishing.publish(Draft(bodies={("route", "support"): off}), Author(name="kim", door="api"))
    await ours.refresh()
    assert ours.snapshot.routes["support"].experiment is None
    assert ours.snapshot.routes["sales"] is before, "what did not change is taken over as it is"
    old = await ours.route_at("support", 1)
    assert old is not None
    assert (old.revision, old.route.enabled) == (1, True)
    fresh = opened(database, tmp_path / "c")
    await fresh.load()
    past = await fresh.route_at("support", 1)
    assert past is not None
    assert past.route == old.route


async def test_a_folder_removes_only_when_it_is_told_to(database: Database, tmp_path: Path) -> None:
    state = opened(database, tmp_path)
    publishing = Publishing(
        database, state, secret=os.environ.__getitem__, wall=lambda: 1_795_000_000_000, outcome_window=3600
    )
    author = Author(name="kim", door="files")
    await publishing.publish(read_files(FILES), author)
    fewer = {place: text for place, text in FILES.items() if place != "routes/sales.toml"}
    _, kept = await publishing.publish(read_files(fewer), author)
    assert (kept, "sales" in state.snapshot.routes) == ([], True)
    _, removed = await publishing.publish(read_files(fewer), author, allow_removal=True)
    assert [(change.name, change.action, change.test) for change in removed] == [("sales", "remove", "closes")]
    assert "sales" not in state.snapshot.routes
    assert "+14155550101" not in state.snapshot.numbers
    await publishing.publish(read_files(FILES), author)
    again = state.snapshot.routes["sales"].experiment
    assert again is not None
    assert again.id == "sales-2"
