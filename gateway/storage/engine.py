"""Opens the database: two engines behind one face, and the few places where their dialects differ."""

import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DatabaseError, DataError, DBAPIError, IntegrityError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from gateway.errors import Unavailable

T = TypeVar("T")

# A write transaction of the whole gateway is short; waiting longer than this means the database is stuck.
_COMMAND_SECONDS = 10.0


class Database:
    """The way to the database: ``write()`` opens a transaction, ``read()`` a connection that cannot write.

    SQLite has one writer connection (WAL, ``synchronous=FULL``, ``BEGIN IMMEDIATE``) and query-only
    readers; PostgreSQL has one pool for both.
    """

    def __init__(self, url: str) -> None:
        self.url = make_url(url)
        self.dialect = self.url.get_backend_name()
        if self.dialect == "sqlite":
            self._writer, self._reader = _sqlite_engines(self.url)
        elif self.dialect == "postgresql":
            self._writer = self._reader = _postgres_engine(self.url)
        else:
            raise ValueError(f"database.url: {self.dialect} is not supported; use sqlite or postgresql")
        self._direct: sa.Engine | None = None
        self._direct_driver: Any = None

    @property
    def embedded(self) -> bool:
        """True on SQLite, where one process writes the file."""
        return self.dialect == "sqlite"

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """One transaction; commits at the end, rolls back on an exception."""
        async with self._writer.begin() as connection:
            yield connection

    async def transact(self, work: Callable[[sa.Connection], T]) -> T:
        """Do ``work`` in one transaction of its own, without a turn of the event loop for each statement.

        On SQLite it runs as a whole in the writer's thread: with small transactions, as the ledger makes them by
        the hundred, the ways between the threads cost several times what the statements do.
        """
        if not self.embedded:
            async with self._writer.begin() as connection:
                return await connection.run_sync(work)
        async with self._writer.connect() as connection:
            driver: Any = (await connection.get_raw_connection()).driver_connection
            if driver is not self._direct_driver:
                self._direct_driver, self._direct = driver, _direct_engine(driver)
            # aiosqlite's own thread owns the connection; its queue is the only way to run something there.
            result: T = await driver._execute(_in_transaction, self._direct, work)
            return result

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """A connection for reading, on a consistent view; raises Unavailable when there is none."""
        try:
            async with self._reader.connect() as connection:
                yield connection
        except DOWN as error:
            raise Unavailable("the database does not answer; try again shortly") from error

    def insert(self, table: sa.Table) -> Any:
        """The dialect's INSERT, which knows ``on_conflict_do_nothing`` and ``on_conflict_do_update``."""
        return sqlite.insert(table) if self.embedded else postgresql.insert(table)

    async def pragmas(self) -> dict[str, str]:
        """How durably the writer commits, read from the database itself."""
        if not self.embedded:
            async with self.read() as connection:
                value = await connection.scalar(sa.text("SHOW synchronous_commit"))
            return {"synchronous_commit": str(value)}
        names = ("journal_mode", "synchronous", "busy_timeout", "wal_autocheckpoint")
        async with self._writer.connect() as connection:
            values = [await connection.scalar(sa.text(f"PRAGMA {name}")) for name in names]
        return {"sqlite": sqlite3.sqlite_version} | dict(zip(names, map(str, values), strict=True))

    async def close(self) -> None:
        """Give every connection back."""
        await self._writer.dispose()
        if self._reader is not self._writer:
            await self._reader.dispose()


# What the drivers raise when the database is away, full or stuck, and what they raise for a bad row.
DOWN: tuple[type[Exception], ...] = (DBAPIError, PoolTimeout, OSError, TimeoutError)
AWAY: tuple[type[Exception], ...] = (Unavailable, *DOWN)
BAD_ROW: tuple[type[DatabaseError], ...] = (DataError, IntegrityError, ProgrammingError)


def _sqlite_engines(url: sa.URL) -> tuple[AsyncEngine, AsyncEngine]:
    if not url.database or url.database == ":memory:":
        raise ValueError("database.url: the embedded database needs a file, such as sqlite:///data/gateway.db")
    Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    url = url.set(drivername="sqlite+aiosqlite")
    arguments = {"timeout": 5.0}
    writer = create_async_engine(
        url, connect_args=arguments, pool_size=1, max_overflow=0, pool_timeout=5, pool_reset_on_return=None
    )
    reader = create_async_engine(url, connect_args=arguments, pool_size=4, max_overflow=0, pool_timeout=5)

    def _open(pragmas: Sequence[str]) -> Any:
        def on_connect(connection: Any, _: object) -> None:
            # The driver's own transaction handling is switched off: SQLAlchemy's begin event speaks instead.
            connection.isolation_level = None
            cursor = connection.cursor()
            for pragma in pragmas:
                cursor.execute(f"PRAGMA {pragma}")
            cursor.close()

        return on_connect

    durable = (
        "journal_mode=WAL",
        "synchronous=FULL",
        "wal_autocheckpoint=4000",
        "secure_delete=ON",
        "foreign_keys=ON",
    )
    sa.event.listen(writer.sync_engine, "connect", _open(durable))
    sa.event.listen(reader.sync_engine, "connect", _open(("query_only=ON",)))
    sa.event.listen(writer.sync_engine, "begin", lambda c: c.exec_driver_sql("BEGIN IMMEDIATE"))
    sa.event.listen(reader.sync_engine, "begin", lambda c: c.exec_driver_sql("BEGIN"))
    return writer, reader


def _direct_engine(driver: Any) -> sa.Engine:
    """A blocking engine over the very connection that an aiosqlite connection wraps."""
    engine = sa.create_engine(
        "sqlite://", creator=lambda: driver._conn, poolclass=sa.StaticPool, pool_reset_on_return=None
    )
    sa.event.listen(engine, "begin", lambda c: c.exec_driver_sql("BEGIN IMMEDIATE"))
    return engine


def _in_transaction(engine: sa.Engine, work: Callable[[sa.Connection], T]) -> T:
    with engine.begin() as connection:
        return work(connection)


def _postgres_engine(url: sa.URL) -> AsyncEngine:
    return create_async_engine(
        url.set(drivername="postgresql+asyncpg"),
        pool_size=10,
        max_overflow=0,
        pool_timeout=5,
        pool_pre_ping=False,
        connect_args={"command_timeout": _COMMAND_SECONDS, "timeout": 5},
    )
