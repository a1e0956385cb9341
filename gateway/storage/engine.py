"""Opens the database: two engines behind one face, and the few places where their dialects differ."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from gateway.errors import Unavailable

T = TypeVar("T")

Connection = AsyncConnection
"""An open connection or transaction, as others pass it from one function of this folder to the next."""

# A write transaction of the whole gateway is short; waiting longer than this means the database is stuck.
_COMMAND_SECONDS = 10.0
# What makes a commit survive a power cut (FULL; NORMAL syncs at checkpoints only), and an erased row unreadable.
DURABLE = (
    "journal_mode=WAL",
    "synchronous=FULL",
    "wal_autocheckpoint=4000",
    "secure_delete=ON",
    "foreign_keys=ON",
)
# How long a transaction waits for the one before it, on an engine that writes one at a time.
_TURN_SECONDS = 5.0


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
        self._writing = asyncio.Lock()
        self._direct: _Direct | None = None

    @property
    def embedded(self) -> bool:
        """True on SQLite, where one process writes the file."""
        return self.dialect == "sqlite"

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """One transaction; commits at the end, rolls back on an exception."""
        async with self._turn(), self._writer.begin() as connection:
            yield connection

    async def transact(self, work: Callable[[sa.Connection], T]) -> T:
        """Do ``work`` in one transaction of its own, without a turn of the event loop for each statement.

        On SQLite it runs as a whole in the writer's thread: with small transactions, as the ledger makes them by
        the hundred, the ways between the threads cost several times what the statements do.
        """
        if not self.embedded:
            async with self._writer.begin() as connection:
                return await connection.run_sync(work)
        async with self._turn():
            try:
                if self._direct is None:
                    self._direct = await _Direct.of(self._writer)
                return await self._direct.transact(work)
            except DOWN:
                self._direct = None  # the next one asks the pool for a connection that works
                raise

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """Wait for one's turn on the only connection that writes; PostgreSQL has more than one."""
        if not self.embedded:
            yield
            return
        async with asyncio.timeout(_TURN_SECONDS):
            await self._writing.acquire()
        try:
            yield
        finally:
            self._writing.release()

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
        async with self._turn(), self._writer.connect() as connection:
            values = [await connection.scalar(sa.text(f"PRAGMA {name}")) for name in names]
        return {"sqlite": sqlite3.sqlite_version} | dict(zip(names, map(str, values), strict=True))

    async def checkpoint(self) -> bool:
        """Bring the write-ahead log into the file and empty it; False while somebody still reads an older state.

        PostgreSQL has no such file of ours.
        """
        if not self.embedded:
            return True
        busy, *_ = await self._alone("PRAGMA wal_checkpoint(TRUNCATE)") or (1,)
        return not busy

    async def rebuild(self) -> None:
        """Write the whole file anew, so that nothing deleted is left between its rows; writers wait meanwhile."""
        await self._alone("VACUUM")

    async def _alone(self, statement: str) -> Any:
        """Execute on the connection that writes what cannot be done inside a transaction; its first row."""
        async with self._turn(), self._writer.connect() as connection:
            driver: Any = (await connection.get_raw_connection()).driver_connection
            async with driver.execute(statement) as cursor:
                return await cursor.fetchone()

    async def close(self) -> None:
        """Give every connection back."""
        await self._writer.dispose()
        if self._reader is not self._writer:
            await self._reader.dispose()


# What the drivers raise when the database is away, full or stuck, and what they raise for a bad row.
DOWN: tuple[type[Exception], ...] = (DBAPIError, sqlite3.Error, PoolTimeout, OSError, TimeoutError)
AWAY: tuple[type[Exception], ...] = (Unavailable, *DOWN)
REFUSED: tuple[type[Exception], ...] = (DataError, IntegrityError, sqlite3.DataError, sqlite3.IntegrityError)
# A statement that does not fit the schema is a bad row while that is ours, and no word on the row while it is older.
BAD_ROW: tuple[type[Exception], ...] = (*REFUSED, ProgrammingError, sqlite3.ProgrammingError)


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

    sa.event.listen(writer.sync_engine, "connect", _open(DURABLE))
    sa.event.listen(reader.sync_engine, "connect", _open(("query_only=ON",)))
    sa.event.listen(writer.sync_engine, "begin", lambda c: c.exec_driver_sql("BEGIN IMMEDIATE"))
    sa.event.listen(reader.sync_engine, "begin", lambda c: c.exec_driver_sql("BEGIN"))
    return writer, reader


class _Direct:
    """A blocking way to the very connection that an aiosqlite connection wraps, in that connection's own thread."""

    def __init__(self, driver: Any) -> None:
        self._driver = driver
        self._connection: sa.Connection | None = None

    @classmethod
    async def of(cls, writer: AsyncEngine) -> "_Direct":
        """The way to the connection that the writer's pool holds."""
        async with writer.connect() as connection:
            return cls((await connection.get_raw_connection()).driver_connection)

    async def transact(self, work: Callable[[sa.Connection], T]) -> T:
        # aiosqlite's queue is the only way to run something in the thread that owns the connection.
        result: T = await self._driver._execute(self._do, work)
        return result

    def _do(self, work: Callable[[sa.Connection], T]) -> T:
        raw: sqlite3.Connection = self._driver._conn
        if self._connection is None:
            # It begins and ends no transaction of its own: that is done here, in a tenth of the time.
            engine = sa.create_engine(
                "sqlite://",
                creator=lambda: raw,
                poolclass=sa.StaticPool,
                pool_reset_on_return=None,
                isolation_level="AUTOCOMMIT",
            )
            self._connection = engine.connect()
        raw.execute("BEGIN IMMEDIATE")
        try:
            result = work(self._connection)
            raw.execute("COMMIT")
        except BaseException:
            if raw.in_transaction:
                raw.execute("ROLLBACK")
            raise
        return result


def _postgres_engine(url: sa.URL) -> AsyncEngine:
    return create_async_engine(
        url.set(drivername="postgresql+asyncpg"),
        pool_size=10,
        max_overflow=0,
        pool_timeout=5,
        pool_pre_ping=False,
        connect_args={"command_timeout": _COMMAND_SECONDS, "timeout": 5},
    )
