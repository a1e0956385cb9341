"""Writes many rows at a time, each a tuple.

On SQLite a statement is compiled once and its rows go to the driver as they are: what SQLAlchemy does for each row
costs twice what SQLite does.
"""

from collections.abc import Callable, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite

from gateway.storage.engine import Database

Rows = Sequence[tuple[Any, ...]]


class Many:
    """A statement for many rows at a time."""

    def __init__(self, database: Database, statement: Any, columns: Sequence[str]) -> None:
        """``columns`` name the parameters of ``statement`` in the order in which each row has them."""
        self._statement = statement
        self._columns = tuple(columns)
        self._text = ""
        self._json: list[tuple[int, Callable[[Any], Any]]] = []
        if database.embedded:
            self._compile()

    def __call__(self, connection: sa.Connection, rows: Rows) -> int:
        """Execute it for each row; returns how many rows of the table it wrote, where the driver tells."""
        if not self._text:
            return connection.execute(self._statement, self.named(rows)).rowcount
        for place, dumped in self._json:
            rows = [(*row[:place], dumped(row[place]), *row[place + 1 :]) for row in rows]
        driver: Any = connection.connection.driver_connection
        count: int = driver.executemany(self._text, rows).rowcount
        return count

    def named(self, rows: Rows) -> list[dict[str, Any]]:
        """The rows by the names of their columns."""
        return [dict(zip(self._columns, row, strict=True)) for row in rows]

    def _compile(self) -> None:
        dialect = sqlite.dialect()
        compiled = self._statement.compile(dialect=dialect, column_keys=self._columns)
        if tuple(compiled.positiontup) != self._columns:
            raise ValueError(f"the statement takes {compiled.positiontup}, the rows are {self._columns}")
        self._text = str(compiled)
        for place, name in enumerate(self._columns):
            kind: Any = compiled.binds[name].type.dialect_impl(dialect)
            if issubclass(type(kind), sa.JSON):
                self._json.append((place, kind.bind_processor(dialect)))


class Newcomers:
    """Inserts the rows whose unique ``key`` is not there yet, and tells which were there already."""

    def __init__(self, database: Database, table: sa.Table, columns: Sequence[str], key: Sequence[str]) -> None:
        """``table`` numbers its rows upwards in a column ``seq``, which is not among ``columns``."""
        insert = database.insert(table).on_conflict_do_nothing()
        keys = [table.c[name] for name in key]
        self._many = Many(database, insert, columns)
        self._told = None if database.embedded else insert.returning(*keys)
        self._newest = sa.select(*keys).order_by(table.c.seq.desc())
        self._places = [tuple(columns).index(name) for name in key]

    def __call__(self, connection: sa.Connection, rows: Rows) -> set[tuple[Any, ...]]:
        """Insert; returns the keys of the rows that were not written."""
        if self._told is not None:
            written = connection.execute(self._told, self._many.named(rows)).all()
            count = len(written)
        else:
            count = self._many(connection, rows)
        if count == len(rows):
            return set()
        if self._told is None:
            # SQLite has one writer, so what this transaction inserted are the newest rows.
            written = connection.execute(self._newest.limit(count)).all()
        return {tuple([row[place] for place in self._places]) for row in rows} - {tuple(row) for row in written}
