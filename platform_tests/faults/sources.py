"""Deterministic sources over a world: CSV drops, a cursor table, and snapshots."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from platform_tests.faults.world import World

from malacate.batch import Chunk, Found, Reading
from malacate.contracts.table import Table
from malacate.errors import MalacateError, SchemaDrift
from malacate.formats import FileFormat
from malacate.lake.lake import Lake
from malacate.sources.files import FileDrops, all_files
from malacate.sources.protocol import Known
from malacate.stores.folder import FolderStore

CHUNK_ROWS = 2


class OfAnotherDay(MalacateError):
    """A worker that slept through a change of the contract leaves the file to others."""


@dataclass(frozen=True)
class Drops(FileDrops):
    """The product's own drops; in a world that never drifts, drift means an old contract."""

    def read(self, found: Found, lake: Lake) -> Reading:
        try:
            return super().read(found, lake)
        except SchemaDrift as error:
            raise OfAnotherDay("a newer contract is out", "Restart.", reason="contract") from error


def drops(table: Table, folder: Path) -> Drops:
    """CSV files of ``folder``."""
    return Drops(table, all_files(table, FolderStore(folder)), FileFormat(name="csv"))


def chunks_of(table: Table, rows: list[list[Any]]) -> Iterator[Chunk]:
    """A few rows at a time, so that a batch has more than one chunk."""
    for start in range(0, len(rows), CHUNK_ROWS):
        some = rows[start : start + CHUNK_ROWS]
        cells = zip(*some, strict=True)
        arrays = [pa.array(list(c), f.type) for c, f in zip(cells, table.schema, strict=True)]
        yield Chunk(pa.RecordBatch.from_arrays(arrays, schema=_nullable(table.schema)))


def _nullable(schema: pa.Schema) -> pa.Schema:
    return pa.schema([field.with_nullable(True) for field in schema])


@dataclass(frozen=True)
class CursorTable:
    """Windows ``[lo, hi)`` over ``updated``; a read also brings the keys that are alive."""

    table: Table
    root: Path
    supersedes: bool = True

    def discover(self, known: Known) -> list[Found]:
        model = World(self.root).model
        if known.waiting or not model["lsn"]:
            return []
        lo = int(known.position) if known.position else None
        hi = max([row[1] + 1 for row in model["purchase"]] + [lo or 0])
        start, lsn = None if lo is None else str(lo), model["lsn"]
        version = f"{start}..{hi}@{lsn}"
        name = self.table.name.table
        return [
            Found(self.table.source, name, "window", "window", version, lsn, None, start, str(hi))
        ]

    def read(self, found: Found, lake: Lake) -> Reading:
        rows = World(self.root).model["purchase"]
        lo, hi = int(found.lo or 0), int(found.hi or 0)
        inside = [row for row in rows if lo <= row[1] < hi]
        keys = pa.RecordBatch.from_pydict({"id": pa.array([row[0] for row in rows], pa.int64())})
        reading = Reading(chunks_of(self.table, inside), source_rows=len(inside))
        reading.keys = iter([keys])
        return reading


@dataclass(frozen=True)
class SnapshotTable:
    """The whole table each time it changed."""

    table: Table
    root: Path
    supersedes: bool = True

    def discover(self, known: Known) -> list[Found]:
        lsn = World(self.root).model["lsn"]
        name = self.table.name.table
        return (
            [Found(self.table.source, name, "snapshot", "snapshot", str(lsn), lsn)] if lsn else []
        )

    def read(self, found: Found, lake: Lake) -> Reading:
        rows = World(self.root).model["stock"]
        return Reading(chunks_of(self.table, rows), source_rows=len(rows))
