"""The schema: what the migrations make is what the code expects, on both engines."""

from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext

from gateway.errors import Unavailable
from gateway.storage import migrate as migrate_module
from gateway.storage.engine import Database
from gateway.storage.migrate import migrate
from gateway.storage.schema import epoch, label, metadata


async def test_migrating_makes_the_schema_that_the_code_expects(database: Database) -> None:
    def differences(connection: sa.Connection) -> list[object]:
        return list(compare_metadata(MigrationContext.configure(connection), metadata))

    async with database.write() as connection:
        assert await connection.run_sync(differences) == []


async def test_an_older_database_keeps_its_labels_and_its_judge(database_url: str) -> None:
    """Before 0011 a label did not know its experiment, and the judge stood in the record alone."""

    def to_0010(connection: sa.Connection) -> None:
        config = Config()
        config.set_main_option("script_location", str(Path(migrate_module.__file__).parent / "migrations"))
        config.attributes["connection"] = connection
        command.upgrade(config, "0010")

    database = Database(database_url)
    async with database.write() as connection:
        await connection.run_sync(to_0010)
        for statement in _OLD:
            await connection.execute(sa.text(statement))
    await migrate(database)
    async with database.read() as connection:
        kept = (await connection.execute(sa.select(label))).one()
        judges = (
            await connection.execute(sa.select(epoch.c.experiment, epoch.c.judge).order_by(epoch.c.experiment))
        ).all()
    assert (kept.call, kept.value, kept.experiment) == ("CA1", True, "support-1")
    assert [tuple(one) for one in judges] == [
        ("sales-1", None),
        ("support-1", {"id": "llm-0a1b2c3d", "model": None, "questions": {}}),
    ]
    await database.close()


_OLD = (
    """INSERT INTO experiment (id, route, number, name, unit, status, salt, coverage_salt, opened_at, opened_revision,
                               record)
    VALUES ('support-1', 'support', 1, '', 'call', 'running', '', '', 1, 1, '{"judge": "llm-0a1b2c3d"}'),
           ('sales-1', 'sales', 1, '', 'call', 'running', '', '', 1, 1, '{"judge": null}')""",
    """INSERT INTO epoch (experiment, number, memory, began_at, revision, arms)
    VALUES ('support-1', 1, 1, 1, 1, '[]'), ('sales-1', 1, 1, 1, 1, '[]')""",
    """INSERT INTO call (id, account, direction, from_number, to_number, country, received_at, experiment, analysed,
                         journalled, served_by, served_reason, status, mature)
    VALUES ('CA1', '', 'inbound', '', '', '', 1, 'support-1', TRUE, FALSE, 'none', 'assigned', 'ringing', TRUE)""",
    """INSERT INTO label ("call", criterion, author, value, at) VALUES ('CA1', 'success', 'kim', 'true', 1)""",
)


async def test_migrating_again_changes_nothing(database: Database) -> None:
    before, after = await migrate(database)
    assert before == after


async def test_a_newer_schema_is_refused(database: Database) -> None:
    async with database.write() as connection:
        await connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(Unavailable, match=r"9999.*newer"):
        await migrate(database)


async def test_the_database_commits_durably_and_readers_cannot_write(database: Database) -> None:
    pragmas = await database.pragmas()
    if database.embedded:
        assert (pragmas["journal_mode"], pragmas["synchronous"]) == ("wal", "2")
        with pytest.raises(Unavailable):
            async with database.read() as connection:
                await connection.execute(sa.text("DELETE FROM call"))
    else:
        assert pragmas["synchronous_commit"] == "on"
