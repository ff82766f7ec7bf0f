"""Files that others drop into a folder, each kind a raw table, with a doorbell."""

from pathlib import Path
from typing import Any, Literal

import dagster as dg

from malacate.batch import WriteMode
from malacate.components.declared import promised
from malacate.contracts.table import Table
from malacate.formats import FileFormat
from malacate.ingest import Route
from malacate.lake.folder import Folder
from malacate.orchestration.environment import resolve
from malacate.orchestration.raw_assets import RawAsset, definitions_of
from malacate.orchestration.sensors import doorbell
from malacate.sources.files import FileDrops as Drops


class DropOf(dg.Model, dg.Resolvable):
    """The files of one table: patterns relative to the folder, and their format."""

    name: str
    files: list[str]
    format: dict[str, Any]
    overwrite: Literal["replace", "append"] = "replace"
    settle_seconds: float = 0.0


class FileDrops(dg.Component, dg.Model, dg.Resolvable):
    """Files dropped into a folder (Avro, CSV, Parquet), each version read once."""

    source: str
    folder: str
    tables: list[DropOf]
    interval_seconds: int = 30

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """One asset per table, its checks, and its sensor."""
        raw = self.raw_assets(context.path)
        bells = [
            doorbell(f"{'__'.join(one.key.path)}__drops", one.route, one.key, self.interval_seconds)
            for one in raw
        ]
        return dg.Definitions.merge(definitions_of(raw), dg.Definitions(sensors=bells))

    def raw_assets(self, folder: Path) -> list[RawAsset]:
        """See ``Declaration``."""
        tables = promised(folder, self.source, [table.name for table in self.tables])
        return [self._raw(tables[drop.name], drop) for drop in self.tables]

    def _raw(self, table: Table, drop: DropOf) -> RawAsset:
        form = FileFormat(**drop.format)
        folder = Folder(self.folder, tuple(drop.files), resolve)
        source = Drops(table, folder, form, drop.settle_seconds)
        route = Route(table, source, WriteMode.APPEND, drop.overwrite == "replace")
        return RawAsset(route, frozenset({form.name, "duckdb"}))
