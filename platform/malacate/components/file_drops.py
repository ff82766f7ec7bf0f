"""Files that others drop into a folder, each kind a raw table, with a doorbell."""

from pathlib import Path
from typing import Literal

import dagster as dg
import pyarrow as pa

from malacate.batch import WriteMode
from malacate.components.declared import promised
from malacate.contracts.table import Column, Table
from malacate.errors import ConfigError
from malacate.formats import FileFormat, FormatName
from malacate.formats import observed as columns_in
from malacate.ingest import Route
from malacate.lake.folder import Folder
from malacate.names import TableName
from malacate.orchestration.environment import resolve
from malacate.orchestration.raw_assets import RawAsset
from malacate.orchestration.sensors import with_doorbells
from malacate.sources.files import FileDrops as Drops


class FormatOf(dg.Model, dg.Resolvable):
    """A format and, for CSV, its signs; what is left out is as ``FileFormat`` has it."""

    name: FormatName
    delimiter: str | None = None
    encoding: str | None = None
    quote: str | None = None
    decimal: str | None = None
    null_text: list[str] | None = None
    max_field_bytes: int | None = None

    def form(self) -> FileFormat:
        """The format that is meant; raise ``ConfigError`` for signs that cannot be told apart."""
        return FileFormat(**self.model_dump(exclude_none=True))


class DropOf(dg.Model, dg.Resolvable):
    """The files of one table: patterns relative to the folder, and their format."""

    name: str
    files: list[str]
    format: FormatOf
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
        return with_doorbells(self.raw_assets(context.path), self.interval_seconds)

    def raw_assets(self, folder: Path) -> list[RawAsset]:
        """See ``Declaration``."""
        tables = promised(folder, self.source, [table.name for table in self.tables])
        return [self._raw(tables[drop.name], drop) for drop in self.tables]

    def observed(self) -> list[Table]:
        """See ``Observable``."""
        return [observe(self.source, self.folder, drop) for drop in self.tables]

    def _raw(self, table: Table, drop: DropOf) -> RawAsset:
        form = drop.format.form()
        folder = Folder(self.folder, tuple(drop.files), resolve)
        source = Drops(table, folder, form, drop.settle_seconds)
        route = Route(table, source, WriteMode.APPEND, drop.overwrite == "replace")
        return RawAsset(route, frozenset({form.name, "duckdb"}))


def observe(source: str, folder: str, drop: DropOf) -> Table:
    """The first file of a drop, as a contract could promise its columns."""
    files = Folder(folder, tuple(drop.files), resolve)
    for entry in files.list():
        found = columns_in(files.root / entry.name, drop.format.form())
        columns = (Column(name.lower(), kind or pa.string(), physical_name=name)
                   for name, kind in found.items())  # fmt: skip
        return Table(TableName(f"raw_{source}", drop.name), tuple(columns))
    raise ConfigError(
        "there is no file to look at", f"Drop one into {files.root} that matches {drop.files}.",
        source=f"{source}/{drop.name}", reason="no_file",
    )  # fmt: skip
