"""Tables of a database, each a raw table."""

from pathlib import Path

import dagster as dg

from malacate.batch import WriteMode
from malacate.components.declared import engine_of, promised
from malacate.contracts.table import Table
from malacate.errors import ConfigError
from malacate.ingest import Route
from malacate.orchestration.environment import by_reference, resolve
from malacate.orchestration.raw_assets import RawAsset, definitions_of
from malacate.orchestration.schedule import by_cron
from malacate.sources.databases import Cursor, DatabaseTable
from malacate.sources.databases_postgres import observe


class CursorOf(dg.Model, dg.Resolvable):
    """A column that grows with every change of a row."""

    column: str
    lag_seconds: float = 0.0
    overlap_seconds: float = 300.0
    sweeps_deletes: bool = True


class TableOf(dg.Model, dg.Resolvable):
    """One table; without a cursor it is read whole each time."""

    name: str
    cursor: CursorOf | None = None


class DatabaseTables(dg.Component, dg.Model, dg.Resolvable):
    """Tables of a Postgres database, whole or by a cursor column, with deletes swept."""

    source: str
    url: str
    tables: list[TableOf]
    cron: str = ""

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """One asset per table, with its checks."""
        return definitions_of(self.raw_assets(context.path), engine_of(context))

    def raw_assets(self, folder: Path) -> list[RawAsset]:
        """See ``Declaration``."""
        by_reference(self.url)
        _require_cron(self.cron)
        tables = promised(folder, self.source, [table.name for table in self.tables])
        return [self._raw(tables[table.name], table) for table in self.tables]

    def observed(self) -> list[Table]:
        """See ``Observable``."""
        return [observe(self.source, resolve(self.url), table.name) for table in self.tables]

    def _raw(self, table: Table, declared: TableOf) -> RawAsset:
        cursor = Cursor(**declared.cursor.model_dump()) if declared.cursor else None
        if cursor is not None:
            _require(table, cursor)
        source = DatabaseTable(table, self.url, cursor, resolve=resolve)
        mode = WriteMode.UPSERT if cursor else WriteMode.SNAPSHOT
        return RawAsset(Route(table, source, mode), frozenset({"postgres"}), cron=self.cron)


def _require_cron(cron: str) -> None:
    try:
        by_cron(cron or "@daily")
    except Exception as error:
        raise ConfigError(
            f"{cron!r} is no cron expression", 'Write five fields, such as "*/15 * * * *".',
            reason="bad_cron",
        ) from error  # fmt: skip


def _require(table: Table, cursor: Cursor) -> None:
    if not table.key or cursor.column not in table.by_name:
        raise ConfigError(
            "a table read by a cursor needs a key, and the cursor among its columns",
            f"Declare primaryKey and {cursor.column!r} in {table.origin}.",
            source=str(table.name),
            reason="no_key",
        )
