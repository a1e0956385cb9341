"""Brings the schema up to date, under a lock, and refuses one that a newer gateway has made."""

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from gateway.errors import Unavailable
from gateway.storage.engine import Database

_LOCK = 0x6761746577617900  # any number that nobody else uses for an advisory lock


async def migrate(database: Database) -> tuple[str | None, str]:
    """Migrate to the newest schema; returns the revisions before and after. Nothing happens when they are equal.

    It is one transaction: killed anywhere in it, the old schema stands. Raises Unavailable for a newer schema.
    """
    async with database.write() as connection:
        if not database.embedded:
            await connection.execute(sa.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        return await connection.run_sync(_upgrade)


def _upgrade(connection: sa.Connection) -> tuple[str | None, str]:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    scripts = ScriptDirectory.from_config(config)
    newest = scripts.get_heads()[0]
    before = MigrationContext.configure(connection).get_current_revision()
    if before is not None and before not in {script.revision for script in scripts.walk_revisions()}:
        raise Unavailable(
            f"the database has schema {before}, which this gateway does not know: "
            "it was made by a newer one; start that version, or restore a backup made before the upgrade"
        )
    if before != newest:
        command.upgrade(config, "head")
    return before, newest
