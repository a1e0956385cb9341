"""A person is erased and the database copied from the shell."""

import sqlite3
from pathlib import Path

from tests.cli.shell import gateway
from tests.conftest import Running, running, settings_for, write_files

WHO = "+12125550142"


async def test_a_person_is_erased(served: Running) -> None:
    await served.ring(CallSid="CA1", From=WHO)
    code, said = await gateway(served, "erase", WHO)
    assert (code, "CA1" in said, "has not ended" in said) == (1, True, True), said
    await served.ring("/twilio/status", CallSid="CA1", CallStatus="completed", CallDuration="9")
    code, said = await gateway(served, "erase", WHO)
    assert (code, "call_event" in said, "exports" in said) == (0, True, True), said
    code, said = await gateway(served, "erase", WHO, "--json")
    assert (code, '"rows": {}' in said) == (0, True), said


async def test_the_database_is_copied_into_a_file(tmp_path: Path) -> None:
    write_files(tmp_path)
    copy = tmp_path / "copy.db"
    async with running(settings_for(tmp_path, f"sqlite:///{tmp_path}/gateway.db")) as served:
        await served.ring(CallSid="CA1", From=WHO)
        code, said = await gateway(served, "db", "backup", str(copy))
        assert (code, "bytes written to" in said) == (0, True), said
        code, said = await gateway(served, "db", "backup", str(tmp_path / "nowhere/copy.db"))
        assert code == 1
    with sqlite3.connect(copy) as opened:
        assert opened.execute("SELECT id FROM call").fetchall() == [("CA1",)]
    assert not list(tmp_path.glob("*.part"))
