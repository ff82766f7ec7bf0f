"""Datastream's events in Avro, and their rows: column by column."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from malacate.batch import Evolution, Reject
from malacate.contracts.changes import ROW_HASH
from malacate.contracts.drift import align
from malacate.contracts.rules import as_json
from malacate.contracts.table import Column, Table
from malacate.errors import UnreadableFile
from malacate.formats.avro_types import values_of
from malacate.formats.csv_cells import Bad
from malacate.sources.cdc.datastream_avro import Records, opened
from malacate.sources.cdc.datastream_events import INSTANT, META, Events, instant
from malacate.sources.cdc.datastream_rows import held_up
from malacate.sources.cdc.datastream_values import Unified

NEEDED = ("uuid", "source_timestamp", "read_method", "source_metadata", "payload")

Values = tuple[dict[str, pa.Array], Bad]


class Payload(Protocol):
    """The rows of some events."""

    def values(self, indices: Sequence[int], is_gone: Sequence[bool]) -> Values:
        """Columns of the contract for these events, and those that do not fit.

        ``is_gone`` marks deletions.
        """


Batch = tuple[Events, Payload, Sequence[Reject]]


def promised(table: Table) -> list[Column]:
    """The columns that a source delivers."""
    return [column for column in table.columns if column.name != ROW_HASH.name]


@dataclass
class AvroFile:
    """Events of an Avro file. What a payload has is held against the contract once one is due."""

    path: Path
    table: Table
    evolutions: list[Evolution]

    def __post_init__(self) -> None:
        self.records: Records = opened(self.path)
        self.rows = self.records.blocks.rows
        self._makers: dict[str, Any] | None = None
        self._fields = _payload_fields(self.records.record)

    def batches(self) -> Iterator[Batch]:
        """All events, in order."""
        place = 0
        for rows in self.records.batches():
            yield self._events(rows, place), _Columns(self, rows.column("payload")), ()
            place += rows.num_rows

    def content(self) -> Iterator[bytes]:
        """Its bytes, unpacked."""
        return self.records.content()

    def _events(self, rows: pa.RecordBatch, first: int) -> Events:
        given = {name: rows.column(name) for name in rows.schema.names}
        none = pa.nulls(rows.num_rows, INSTANT)
        try:
            meta = _meta(given["source_metadata"])
            identity = pc.cast(given["uuid"], pa.string())
            method = pc.cast(given["read_method"], pa.string())
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise no_events(self.path.name, str(error)) from error
        return Events(
            range(first, first + rows.num_rows), identity,
            _instants(given["read_timestamp"]) if "read_timestamp" in given else none,
            _instants(given["source_timestamp"]), method, meta,
            lambda index: as_json(rows.slice(index, 1)),
        )  # fmt: skip

    def makers(self) -> Mapping[str, Any]:
        """What makes each column; raises ``SchemaDrift`` if the payload is not the contract's."""
        if self._makers is None:
            columns = promised(self.table)
            unified = {name: Unified.of(one) for name, one in self._fields.items()}
            by_name = {n: c for c in columns for n in (*c.aliases, c.name, c.delivered_as)}
            makers = {name: one.to(by_name[name]) if name in by_name else None
                      for name, one in unified.items()}  # fmt: skip
            kinds = {name: None if makers[name] else one.delivered
                     for name, one in unified.items()}  # fmt: skip
            table = bare(self.table, columns)
            aligned = align(table, kinds, self.path.name)
            self.evolutions += aligned.evolutions
            self._makers = {
                name: (source, makers[source]) for name, source in aligned.sources.items() if source
            }
        return self._makers


@dataclass(frozen=True)
class _Columns:
    file: AvroFile
    payload: pa.StructArray

    def values(self, indices: Sequence[int], is_gone: Sequence[bool]) -> Values:
        makers, columns = self.file.makers(), promised(self.file.table)
        is_all = len(indices) == len(self.payload)
        rows = self.payload if is_all else self.payload.take(pa.array(indices, pa.int64()))
        found: dict[str, pa.Array] = {}
        bad: Bad = {}
        for column in columns:
            if column.name not in makers:
                found[column.name] = pa.nulls(len(rows), column.type)
                continue
            source, make = makers[column.name]
            found[column.name], more = make(pc.struct_field(rows, source))
            bad = {**held_up(more, column, self.file.table, is_gone), **bad}
        found["_missing"] = pa.nulls(len(rows), pa.string())
        return found, bad


def bare(table: Table, columns: Sequence[Column]) -> Table:
    """The table with these columns alone."""
    names = {column.name for column in columns}
    return Table(
        table.name, tuple(columns), tuple(k for k in table.key if k in names),
        extra_columns=table.extra_columns, origin=table.origin,
    )  # fmt: skip


def _payload_fields(record: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    payload = next(one["type"] for one in record["fields"] if one["name"] == "payload")
    if isinstance(payload, list) and len(values_of(payload)) == 1:
        (payload,) = values_of(payload)
    if not isinstance(payload, dict) or payload["type"] != "record":
        raise no_events("", "a payload that is no record")
    return {one["name"]: one for one in payload["fields"]}


def _meta(metadata: pa.StructArray) -> dict[str, pa.Array]:
    names = {field.name for field in metadata.type}
    return {
        name: pc.cast(pc.struct_field(metadata, name), kind)
        if name in names
        else pa.nulls(len(metadata), kind)
        for name, kind in META.items()
    }


def _instants(values: pa.Array) -> pa.Array:
    if pa.types.is_timestamp(values.type):
        return pc.cast(values, INSTANT)
    if pa.types.is_integer(values.type):
        return pc.cast(values, pa.int64()).view(pa.timestamp("ms", "UTC")).cast(INSTANT)
    return pa.array([instant(value) for value in values.to_pylist()], INSTANT)


def undeclared(column: Column, what: str, name: str) -> UnreadableFile:
    """A value that could be read in two ways, and nothing says which is meant."""
    return UnreadableFile(
        f"how {column.name} {column.sql_type} is spelled in these events is not declared",
        f"Say `{what}` in the declaration, then release the file.",
        object=name,
        reason="undeclared",
    )


def no_events(name: str, actual: str) -> UnreadableFile:
    """A file that is none of changes."""
    return UnreadableFile(
        "a file is not one of change events",
        "Point `files` at the folders that the replication stream writes.",
        object=name, expected=f"fields {', '.join(NEEDED)}", actual=actual[:500],
        reason="not_change_events",
    )  # fmt: skip
