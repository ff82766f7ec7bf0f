"""Files that others drop into a folder or a bucket, each kind a raw table, with a doorbell."""

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from tempfile import NamedTemporaryFile

import dagster as dg
import pyarrow as pa
from pydantic import Field

from malacate.batch import WriteMode
from malacate.components.declared import engine_of, promised
from malacate.contracts.table import Column, Table
from malacate.contracts.types import arrow_type, sql_type
from malacate.errors import ConfigError, ContractError
from malacate.formats import FileFormat, FormatName
from malacate.formats import observed as columns_in
from malacate.names import TableName
from malacate.orchestration.raw_assets import RawAsset
from malacate.orchestration.sensors import with_doorbells
from malacate.orchestration.stores import store
from malacate.route import AfterLoad, Duplicates, Overwrite, Route
from malacate.sources.completeness import Rule
from malacate.sources.discovery import Discovery, Rising, Windows
from malacate.sources.files import FileDrops as Drops
from malacate.sources.selection import MANIFESTS, Selection
from malacate.stores.protocol import Entry, Store


class FormatOf(dg.Model, dg.Resolvable):
    """A format and what it has to be told; what is left out is as ``FileFormat`` has it."""

    name: FormatName
    delimiter: str | None = None
    encoding: str | None = None
    quote: str | None = None
    decimal: str | None = None
    null_text: list[str] | None = None
    max_field_bytes: int | None = None
    sheet: str | None = None
    header_row: int | None = None
    caps: dict[str, int | float] | None = None

    def form(self) -> FileFormat:
        """The format that is meant; raise ``ConfigError`` for signs that cannot be told apart."""
        return FileFormat(**self.model_dump(exclude_none=True))


class LookOf(dg.Model, dg.Resolvable):
    """Where new drops should be looked for, in a place too large to be listed each time.

    ``windows`` is a strftime prefix of names, as ``rock/%Y/%m/%d/%H/``; ``rising`` says that names
    rise with time. What they miss is found by listing all, spread over ``reconcile_hours``.
    """

    windows: str | None = None
    rising: bool = False
    overlap_minutes: float | None = None
    zone: str = "UTC"
    reconcile_hours: float = 24.0

    def plan(self) -> Windows | Rising | None:
        """The plan that is meant; raise ``ConfigError`` for windows without a time."""
        if self.windows and self.rising:
            raise ConfigError(
                "look says both windows and rising", "Keep the one that the names follow.",
                reason="config",
            )  # fmt: skip
        late = (
            {} if self.overlap_minutes is None else {"overlap_seconds": 60 * self.overlap_minutes}
        )
        if self.windows:
            return Windows(self.windows, zone=self.zone, **late)
        return Rising(**late) if self.rising else None


class DropOf(dg.Model, dg.Resolvable):
    """The files of one table: patterns relative to the place, their format, and what is done with
    those that are written again, that repeat another's bytes, and that are loaded.
    """

    name: str
    files: list[str] = Field(min_length=1)
    format: FormatOf
    overwrite: Overwrite = "replace"
    duplicates: Duplicates = "warn"
    after_load: AfterLoad = "keep"
    settle_seconds: float = Field(0.0, ge=0)
    complete: Rule = "each"
    manifests: list[str] | None = None
    look: LookOf = LookOf()

    def discovery(self, source: str, place: str) -> Discovery:
        """How its drops are found at ``place``."""
        chosen = Selection(
            store(place), tuple(self.files), self.settle_seconds, self.complete,
            tuple(self.manifests or MANIFESTS),
        )  # fmt: skip
        every = 3600 * self.look.reconcile_hours
        return Discovery(chosen, source, self.name, self.look.plan(), every)


class FileDrops(dg.Component, dg.Model, dg.Resolvable):
    """Files dropped into a folder or a bucket (Avro, CSV, JSON lines, Parquet, XLSX).

    ``folder`` is a path, or ``s3://``, ``gs://``, ``az://`` with a bucket and a prefix. ``notices``
    names a queue in which the bucket tells of new objects: ``sqs:<url>`` or
    ``pubsub:<subscription>``.
    """

    source: str
    folder: str
    tables: list[DropOf]
    interval_seconds: int = 30
    notices: str = Field("", pattern=r"^(|sqs:.+|pubsub:.+|\$\{.+)$")

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """One asset per table, its checks, and its sensor."""
        engine = engine_of(context)
        return with_doorbells(
            self.raw_assets(context.path), engine, self.interval_seconds, self.notices
        )

    def raw_assets(self, folder: Path) -> list[RawAsset]:
        """See ``Declaration``."""
        tables = promised(folder, self.source, [table.name for table in self.tables])
        return [self._raw(tables[drop.name], drop) for drop in self.tables]

    def observed(self) -> list[Table]:
        """See ``Observable``."""
        return [observe(self.source, self.folder, drop) for drop in self.tables]

    def _raw(self, table: Table, drop: DropOf) -> RawAsset:
        form = drop.format.form()
        source = Drops(table, drop.discovery(self.source, self.folder), form)
        route = Route(
            table, source, WriteMode.APPEND, drop.overwrite,
            duplicates=drop.duplicates, after_load=drop.after_load,
        )  # fmt: skip
        return RawAsset(route, frozenset({form.name}), of_files=True)


def observe(source: str, folder: str, drop: DropOf) -> Table:
    """The first file of a drop, as a contract could promise its columns."""
    place = store(folder)
    patterns = Selection(place, tuple(drop.files))
    for entry in place.list(patterns.prefix):
        if patterns.passed_over(entry.name) is None:
            return _observed(source, drop, place, entry)
    raise ConfigError(
        "there is no file to look at", f"Drop one into {place.uri} that matches {drop.files}.",
        source=f"{source}/{drop.name}", reason="no_file",
    )  # fmt: skip


def _observed(source: str, drop: DropOf, place: Store, entry: Entry) -> Table:
    with NamedTemporaryFile() as copy, place.open(entry.name, entry.version) as opened:
        shutil.copyfileobj(opened, copy)
        copy.flush()
        found = columns_in(Path(copy.name), drop.format.form())
    return Table(TableName(f"raw_{source}", drop.name), promisable(found))


def promisable(found: Mapping[str, pa.DataType | None]) -> tuple[Column, ...]:
    """Columns that a contract could promise of what a file has.

    Delivered names that are legal stay; the others are made legal and told apart.
    """
    names = {delivered for delivered in found if identifier(delivered) == delivered}
    columns = []
    for delivered, kind in found.items():
        name = plain = identifier(delivered)
        number = 2
        while name in names and name != delivered:
            name, number = f"{plain[:59]}_{number}", number + 1
        names.add(name)
        columns.append(Column(name, _named(kind), physical_name=delivered))
    return tuple(columns)


def identifier(text: str) -> str:
    """A legal name that is like ``text``; ``text`` itself if it is one."""
    plain = re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_") or "name"
    return (plain if plain[0].isalpha() else f"n{plain}")[:63]


def _named(kind: pa.DataType | None) -> pa.DataType:
    """The type, or text for one that a contract cannot name, or no warehouse can count in."""
    if kind is not None and pa.types.is_decimal256(kind):
        return pa.string()
    try:
        return arrow_type(sql_type(kind)) if kind is not None else pa.string()
    except ContractError:
        return pa.string()
