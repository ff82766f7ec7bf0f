"""Change files of a replication service: a change log and the current state behind it."""

from dataclasses import replace
from pathlib import Path

import dagster as dg

from malacate.batch import WriteMode
from malacate.components.declared import promised
from malacate.contracts.table import Table
from malacate.errors import ConfigError
from malacate.orchestration.raw_assets import RawAsset
from malacate.orchestration.sensors import with_doorbells
from malacate.orchestration.stores import store
from malacate.route import Route
from malacate.sources.cdc.datastream import DatastreamFiles
from malacate.sources.files import all_files
from malacate.warehouse.derive import CHANGE_COLUMNS, Fold


class ChangesOf(dg.Model, dg.Resolvable):
    """The files of one table's changes."""

    name: str
    files: list[str]


class ChangeFiles(dg.Component, dg.Model, dg.Resolvable):
    """Datastream change files: every change kept, and the state folded by position."""

    source: str
    folder: str
    tables: list[ChangesOf]
    interval_seconds: int = 30

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """Two assets per table (changes and state), their checks, and a sensor."""
        return with_doorbells(self.raw_assets(context.path), self.interval_seconds)

    def raw_assets(self, folder: Path) -> list[RawAsset]:
        """See ``Declaration``."""
        tables = promised(folder, self.source, [table.name for table in self.tables])
        return [self._raw(tables[one.name], one) for one in self.tables]

    def _raw(self, table: Table, declared: ChangesOf) -> RawAsset:
        if not table.key:
            raise ConfigError(
                "changes cannot be folded without a key", f"Declare primaryKey in {table.origin}.",
                source=str(table.name), reason="no_key",
            )  # fmt: skip
        log = changes_of(table)
        place = store(self.folder)
        route = Route(
            log,
            DatastreamFiles(log, table, all_files(log, place, tuple(declared.files))),
            WriteMode.APPEND,
            derives=Fold(state_of(table)),
        )
        kinds = frozenset({"avro", "duckdb"})
        return RawAsset(route, kinds, of_files=True, delivers=table.name.table)


def changes_of(table: Table) -> Table:
    """The log of changes of ``table``: a key comes often, and a delete carries little but it."""
    log = table.optional(keep=table.key).having(*CHANGE_COLUMNS, name=f"{table.name.table}_changes")
    return replace(log, key=())


def state_of(table: Table) -> Table:
    """The folded state of ``table``: a tombstone carries little but its key."""
    return table.optional(keep=table.key)
