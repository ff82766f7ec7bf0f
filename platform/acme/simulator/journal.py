"""What the production app does to its database in a tick, executed and written down."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import pyarrow as pa
from psycopg import sql

from acme.simulator.postgres import Connection
from acme.simulator.tables import TABLES, AppTable

Row = dict[str, Any]
LATE = "acme.late"
"""Marks, in the database's log, changes that the replication service tells an hour late."""


@dataclass(frozen=True)
class Change:
    """One change. ``row`` is the row after it, or the key alone of a row that is gone.

    ``old_key`` is given where an update moved the row to another key.
    """

    table: str
    kind: Literal["INSERT", "UPDATE", "DELETE"]
    row: Row
    old_key: Row | None = None


class Journal:
    """Writes rows with ``updated_at`` set to ``now``, and keeps every change in order."""

    def __init__(
        self, connection: Connection, now: datetime, tables: Mapping[str, AppTable] = TABLES
    ) -> None:
        self.now = now
        self.changes: list[Change] = []
        self._connection = connection
        self._tables = tables

    @contextmanager
    def late(self) -> Iterator[None]:
        """The replication service tells an hour late what is done inside."""
        mark = "SELECT pg_logical_emit_message(true, %s, %s)"
        self._connection.execute(mark, [LATE, "begin"])
        yield
        self._connection.execute(mark, [LATE, "end"])

    def query(self, statement: sql.SQL, *values: Any) -> list[Row]:
        """Rows as the app sees them."""
        return self._connection.execute(statement, values).fetchall()

    def insert(self, table: str, row: Mapping[str, Any]) -> None:
        """Add one row."""
        given = {**row, "updated_at": self.now}
        statement = sql.SQL("INSERT INTO {} ({}) VALUES ({}) RETURNING *").format(
            self._tables[table].identifier,
            sql.SQL(", ").join(map(sql.Identifier, given)),
            sql.SQL(", ").join(map(sql.Placeholder, given)),
        )
        self._note(table, "INSERT", self._run(statement, given))

    def insert_all(self, rows: pa.Table, table: str) -> None:
        """Add many rows, one change each."""
        for row in rows.to_pylist():
            self.insert(table, row)

    def update(self, table: str, key: Row, values: Mapping[str, Any]) -> None:
        """Set ``values`` in the row of ``key``, perhaps its key too."""
        given = {**values, "updated_at": self.now}
        statement = sql.SQL("UPDATE {} SET {} WHERE {} RETURNING *").format(
            self._tables[table].identifier, _pairs(given, ", ", "new"), _pairs(key, " AND ", "old")
        )
        bound = {f"new_{k}": v for k, v in given.items()} | {f"old_{k}": v for k, v in key.items()}
        moved = key if any(name in values for name in key) else None
        self._note(table, "UPDATE", self._run(statement, bound), moved)

    def delete(self, table: str, key: Row) -> None:
        """Remove the row of ``key``."""
        statement = sql.SQL("DELETE FROM {} WHERE {} RETURNING *").format(
            self._tables[table].identifier, _pairs(key, " AND ", "old")
        )
        self._run(statement, {f"old_{k}": v for k, v in key.items()})
        self._note(table, "DELETE", key)

    def _run(self, statement: sql.Composed, values: Mapping[str, Any]) -> Row:
        rows = self._connection.execute(statement, values).fetchall()
        if len(rows) != 1:
            raise LookupError(f"{len(rows)} rows changed, not one: {values}")
        return rows[0]

    def _note(
        self,
        table: str,
        kind: Literal["INSERT", "UPDATE", "DELETE"],
        row: Row,
        old_key: Row | None = None,
    ) -> None:
        self.changes.append(Change(table, kind, row, old_key))


def _pairs(values: Mapping[str, Any], joint: str, prefix: str) -> sql.Composed:
    return sql.SQL(joint).join(
        sql.SQL("{} = {}").format(sql.Identifier(name), sql.Placeholder(f"{prefix}_{name}"))
        for name in values
    )
