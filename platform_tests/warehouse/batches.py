"""Landings as the warehouse's suite needs them: a few rows, landed in a real lake."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from malacate.batch import WriteMode
from malacate.contracts.table import Column, Table
from malacate.ingest import QUARANTINE
from malacate.lake.lake import Lake, folder
from malacate.lake.landing import Landing, Part
from malacate.ledger.work import Found
from malacate.names import TableName
from malacate.warehouse.protocol import Publication

Rows = Iterable[Mapping[str, Any]]


def table(*columns: Column, name: str = "rock", key: tuple[str, ...] = ("id",)) -> Table:
    """A table of source ``lab``; by default ``id`` and ``name``."""
    given = columns or (Column("id", pa.int64(), True), Column("name", pa.string()))
    return Table(TableName("raw_lab", name), given, key)


def batch_of(schema: pa.Schema, rows: Rows) -> pa.RecordBatch:
    """Rows as Arrow; what a row does not have is null."""
    given = list(rows)
    arrays = [pa.array([row.get(f.name) for row in given], f.type) for f in schema]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


@dataclass(frozen=True)
class Batches:
    """Makes publications of ``table``."""

    lake: Lake
    table: Table
    mode: WriteMode = WriteMode.APPEND

    def part(self, found: Found, name: str, schema: pa.Schema, rows: Rows) -> Part:
        """Rows as a file of the lake."""
        where = folder(self.table.name.schema, self.table.name.table, found.batch_id)
        with self.lake.writing(where, name, schema) as part:
            part.write(batch_of(schema, rows))
        return part.part

    def landed(
        self,
        found: Found,
        rows: Rows,
        *,
        schema: pa.Schema | None = None,
        keys: Rows | None = None,
        rejects: Sequence[Mapping[str, Any]] = (),
    ) -> Landing:
        """A landing that is not committed; its file may have another ``schema``."""
        given = list(rows)
        fields = pa.schema([self.table.schema.field(name) for name in self.table.key])
        return Landing(
            batch_id=found.batch_id,
            schema=self.table.name.schema,
            table=self.table.name.table,
            source=found.source,
            kind=found.kind,
            object=found.object,
            version=found.version,
            ordinal=found.ordinal,
            size=found.size,
            lo=found.lo,
            hi=found.hi,
            mode=self.mode.value,
            rows_read=len(given) + len(rejects),
            rows=len(given),
            rows_quarantined=len(rejects),
            parts=(self.part(found, "rows", schema or self.table.schema, given),),
            quarantine=self.part(found, "rejects", QUARANTINE, rejects) if rejects else None,
            keys=None if keys is None else self.part(found, "keys", fields, keys),
        )

    def of(self, found: Found, rows: Rows, **more: Any) -> Publication:
        """A publication; what ``landed`` does not take is the publication's."""
        landing = {k: more.pop(k) for k in ("schema", "keys", "rejects") if k in more}
        return Publication(self.table, self.landed(found, rows, **landing), self.mode, **more)


def drop(name: str = "a.csv", version: int = 1) -> Found:
    """A version of a file."""
    return Found("lab", "rock", "object", name, str(version), version, 1)


def window(lo: int | None, hi: int, lsn: int = 0) -> Found:
    """A cursor window."""
    start = None if lo is None else str(lo)
    at = lsn or hi
    return Found("lab", "rock", "window", "window", f"{lo}..{hi}@{at}", at, None, start, str(hi))


def snapshot(lsn: int) -> Found:
    """A whole table at a position of its source's log."""
    return Found("lab", "rock", "snapshot", "snapshot", str(lsn), lsn)
