"""A file of messages, opened: Parquet or Avro, told apart by its first bytes, its columns by name.

Parquet is what a collector writes; Avro what Pub/Sub's Cloud Storage subscription does, with the
metadata of each message or without.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from malacate.batch import Evolution, Reject
from malacate.contracts.drift import align
from malacate.contracts.table import Column, Table
from malacate.errors import UnreadableFile
from malacate.formats import avro, parquet
from malacate.formats.ahead import ahead
from malacate.formats.avro_decode import decoder
from malacate.formats.avro_types import expanded, fields
from malacate.formats.avro_walk import unreadable, walk
from malacate.formats.fit import as_delivered, fit, unique
from malacate.names import TableName

INSTANT = pa.timestamp("us", "UTC")
SCHEMA = pa.schema(
    [
        pa.field("topic", pa.string()),
        pa.field("message_id", pa.string()),
        pa.field("published_at", INSTANT),
        pa.field("attributes", pa.map_(pa.string(), pa.string())),
        pa.field("data", pa.binary(), nullable=False),
    ]
)
"""Columns of a file that a collector writes."""

_ALSO = {"topic": ("subscription_name",), "published_at": ("publish_time",)}
_AT_ONCE = 1 << 13

Numbered = tuple[Sequence[int], pa.RecordBatch, Sequence[Reject]]
"""Messages with their numbers, and those that a file of messages cannot hold."""


@dataclass(frozen=True)
class MessageFile:
    """An open file: its columns, how many messages it promises, and what reads some columns."""

    kinds: Mapping[str, pa.DataType | None]
    count: int
    batches: Callable[[list[str]], Iterator[pa.RecordBatch]]
    tolerated: Sequence[Evolution] = ()

    def numbered(self, names: set[str], name: TableName, object_name: str) -> Iterator[Numbered]:
        """The columns ``names`` under the names and types of ``SCHEMA``, for the table ``name``.

        Raises ``SchemaDrift`` here, ``UnreadableFile`` on the way.
        """
        columns = [
            Column(one.name, one.type, aliases=_ALSO.get(one.name, ()), since="1" * one.nullable)
            for one in SCHEMA
            if one.name in names
        ]
        wanted = Table(name, tuple(columns), extra_columns="ignore", origin="what writes the file")
        return self._fitted(wanted, align(wanted, self.kinds, object_name).sources)

    def _fitted(self, wanted: Table, sources: Mapping[str, str | None]) -> Iterator[Numbered]:
        done = 0
        for rows in self.batches([name for name in sources.values() if name is not None]):
            for chunk in fit(wanted, sources, rows, done + 1):
                _check(chunk.rows, done)
                places = chunk.positions or range(done + 1, done + 1 + chunk.rows.num_rows)
                yield places, chunk.rows, chunk.rejects
                done += chunk.rows_read
        if done != self.count:
            raise _refused("row_count_mismatch", done, f"{done} messages of {self.count}")


def opened(path: Path) -> MessageFile:
    """Open a file as its first bytes say; raises ``UnreadableFile``."""
    with path.open("rb") as file:
        head = file.read(4)
    if not head:
        raise unreadable("a file of messages has no bytes", "empty_object", 0)
    if head[:3] == b"PAR"[: len(head)]:
        return _parquet(path)
    if head[:3] == b"Obj"[: len(head)]:
        return _avro(path)
    what = "a file of messages begins neither as Parquet nor as Avro does"
    raise unreadable(what, "bad_magic", 0, repr(head))


def _parquet(path: Path) -> MessageFile:
    file = parquet.opened(path)
    kinds = {field.name: as_delivered(field.type) for field in file.schema_arrow}

    def batches(names: list[str]) -> Iterator[pa.RecordBatch]:
        with file:
            try:
                yield from file.iter_batches(_AT_ONCE, columns=names)
            except (pa.ArrowException, OSError) as error:
                raise parquet.damaged("messages", error) from error

    return MessageFile(kinds, file.metadata.num_rows, batches)


def _avro(path: Path) -> MessageFile:
    blocks = walk(path)
    record = expanded(blocks.schema)
    unique([field["name"] for field in record["fields"]])
    kinds = {name: as_delivered(kind) for name, kind in fields(record).items()}
    decode = decoder(blocks.schema, record)

    def batches(_: list[str]) -> Iterator[pa.RecordBatch]:
        return ahead(avro.decoded(ahead(avro.unpacked(path, blocks)), decode))

    tolerated = [Evolution("ignored", "", warning) for warning in blocks.warnings]
    return MessageFile(kinds, blocks.rows, batches, tolerated)


def _check(rows: pa.RecordBatch, done: int) -> None:
    try:
        rows.validate(full=True)
    except pa.ArrowInvalid as error:
        raise _refused("corrupt", done, str(error)[:500]) from error


def _refused(reason: str, done: int, actual: str) -> UnreadableFile:
    return UnreadableFile(
        "the messages of a file cannot be read",
        "Ask for the file again; if it comes the same, its writer is at fault.",
        position=f"after message {done}",
        actual=actual,
        reason=reason,
    )
