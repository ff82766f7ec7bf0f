"""What the production app does to its database in a tick, executed and written down."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import pyarrow as pa
from psycopg import sql

from acme.simulator.postgres import Connection
from acme.simulator.tables import TABLES

Row = dict[str, Any]


@dataclass(frozen=True)
class Change:
    """One change. ``row`` is the row after it, or the key alone of a row that is gone.

    ``old_key`` is given where an update moved the row to another key. A change that ``is_late``
    was made an hour ago and is only reported now.
    """

    table: str
    kind: Literal["INSERT", "UPDATE", "DELETE"]
    row: Row
    transaction: int
    old_key: Row | None = None
    is_late: bool = False


class Journal:
    """Writes rows with ``updated_at`` set to ``now``, and keeps every change in order."""

    def __init__(self, connection: Connection, now: datetime) -> None:
        self.now = now
        self.changes: list[Change] = []
        self._connection = connection
        self._transaction = 0

    def begin(self) -> None:
        """The changes that follow belong to another transaction of the app."""
        self._transaction += 1

    def query(self, statement: sql.SQL, *values: Any) -> list[Row]:
        """Rows as the app sees them."""
        return self._connection.execute(statement, values).fetchall()

    def insert(self, table: str, row: Mapping[str, Any]) -> None:
        """Add one row."""
        given = {**row, "updated_at": self.now}
        statement = sql.SQL("INSERT INTO {} ({}) VALUES ({}) RETURNING *").format(
            TABLES[table].identifier,
            sql.SQL(", ").join(map(sql.Identifier, given)),
            sql.SQL(", ").join(map(sql.Placeholder, given)),
        )
        self._note(table, "INSERT", self._run(statement, given))

    def insert_all(self, rows: pa.Table, table: str) -> None:
        """Add many rows, one change each."""
        for row in rows.to_pylist():
            self.insert(table, row)

    def update(
        self, table: str, key: Row, values: Mapping[str, Any], late_at: datetime | None = None
    ) -> None:
        """Set ``values`` in the row of ``key``, perhaps its key too."""
        given = {**values, "updated_at": late_at or self.now}
        statement = sql.SQL("UPDATE {} SET {} WHERE {} RETURNING *").format(
            TABLES[table].identifier, _pairs(given, ", ", "new"), _pairs(key, " AND ", "old")
        )
        bound = {f"new_{k}": v for k, v in given.items()} | {f"old_{k}": v for k, v in key.items()}
        moved = key if any(name in values for name in key) else None
        self._note(table, "UPDATE", self._run(statement, bound), moved, late_at is not None)

    def delete(self, table: str, key: Row) -> None:
        """Remove the row of ``key``."""
        statement = sql.SQL("DELETE FROM {} WHERE {} RETURNING *").format(
            TABLES[table].identifier, _pairs(key, " AND ", "old")
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
        is_late: bool = False,
    ) -> None:
        self.changes.append(Change(table, kind, row, self._transaction, old_key, is_late))


def _pairs(values: Mapping[str, Any], joint: str, prefix: str) -> sql.Composed:
    return sql.SQL(joint).join(
        sql.SQL("{} = {}").format(sql.Identifier(name), sql.Placeholder(f"{prefix}_{name}"))
        for name in values
    )
