"""The schema: what the migrations make is what the code expects, on both engines."""

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from gateway.errors import Unavailable
from gateway.storage.engine import Database
from gateway.storage.migrate import migrate
from gateway.storage.schema import metadata


async def test_migrating_makes_the_schema_that_the_code_expects(database: Database) -> None:
    def differences(connection: sa.Connection) -> list[object]:
        return list(compare_metadata(MigrationContext.configure(connection), metadata))

    async with database.write() as connection:
        assert await connection.run_sync(differences) == []


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
