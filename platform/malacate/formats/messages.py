"""Files of messages, as a collector or Pub/Sub's Cloud Storage subscription writes them.

The ``data`` of each message is one JSON object, and a row as a line of JSON lines would be. What is
around it fills columns that a contract has under the physical names ``$topic``, ``$message_id``,
``$published_at``, ``$data`` and ``$attributes``. The place of a message is its number in the file,
from 1.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from malacate.batch import Chunk, Reading, Reject
from malacate.contracts.table import Column, Table
from malacate.errors import ConfigError
from malacate.formats.jsonl import Rows, keys_of
from malacate.formats.jsonl_lines import BLOCK, Lines
from malacate.formats.jsonl_values import deeper
from malacate.formats.message_files import INSTANT, Numbered, opened
from malacate.names import TableName

if TYPE_CHECKING:
    from malacate.formats import FileFormat

AROUND = {
    "$topic": pa.string(),
    "$message_id": pa.string(),
    "$published_at": INSTANT,
    "$data": pa.string(),
    "$attributes": pa.string(),
}
"""What a contract may have of a message beside the keys of its JSON, and its type there."""

_BLANKS = b" \t\r\n"
_NO_KEY = Column("\0", pa.string())
"""Stands for a payload of which no column is wanted: rows without columns cannot be counted."""


def read(path: Path, table: Table, form: "FileFormat") -> Reading:
    """Open a file of messages as rows of ``table``.

    Raises ``UnreadableFile`` or ``SchemaDrift``, here or while its chunks are read, and
    ``ConfigError`` where what is around a message has another type in the contract.
    """
    file, reader = opened(path), _Reader(table, form, path.name)
    messages = file.numbered(reader.wanted, table.name, path.name)
    reader.rows.evolutions += file.tolerated
    return Reading(reader.chunks(messages), reader.rows.evolutions, file.count)


def observed(path: Path, form: "FileFormat") -> dict[str, pa.DataType | None]:
    """Keys of the first messages as a draft, and what is around each of them."""
    found = opened(path).numbered({"data"}, TableName("raw", "messages"), path.name)
    blocks = (block for numbers, rows, _ in found for _, block in _blocks(_data(rows)))
    keys = keys_of((Lines(1, 0, _text(block)) for block in blocks), form, path.name)
    return {**keys, **{name: AROUND[name] for name in ("$topic", "$message_id", "$published_at")}}


class _Reader:
    """Messages as rows of ``table``: the payload by ``rows``, the rest from around it."""

    def __init__(self, table: Table, form: "FileFormat", name: str) -> None:
        self.table, self.form = table, form
        self.around = [column for column in table.columns if column.delivered_as in AROUND]
        for column in self.around:
            _require_type(column, table)
        payload = tuple(column for column in table.columns if column not in self.around)
        self.rows = Rows(replace(table, columns=payload or (_NO_KEY,)), form, name)

    @property
    def wanted(self) -> set[str]:
        """Which columns of a file are needed."""
        return {"data", *(column.delivered_as.removeprefix("$") for column in self.around)}

    def chunks(self, messages: Iterator[Numbered]) -> Iterator[Chunk]:
        """The rows of all messages, and those that are none with what came as ``data``."""
        for places, rows, rejects in messages:
            if rejects:
                yield Chunk(self._none, rejects, [])
            for start, data in _blocks(_data(rows)):
                part = rows.slice(start, len(data))
                yield from self._parsed(places[start : start + len(data)], part, data)
        self.rows.end()
        self.rows.evolutions[:] = [e for e in self.rows.evolutions if e.column != _NO_KEY.name]

    @property
    def _none(self) -> pa.RecordBatch:
        return pa.RecordBatch.from_pylist([], self.table.schema)

    def _parsed(
        self, places: Sequence[int], around: pa.RecordBatch, data: Sequence[bytes]
    ) -> Iterator[Chunk]:
        found = self.rows.plain(Lines(0, 0, _text(data)))
        if found is None:
            amiss = {i: why for i, one in enumerate(data) if (why := self._amiss(one))}
            if amiss:
                rejects = [Reject(places[i], *why, data[i]) for i, why in amiss.items()]
                yield Chunk(self._none, rejects, [])
            sound = [b"" if i in amiss else one for i, one in enumerate(data)]
            found = self.rows.exact(Lines(0, 0, _text(sound)))
        for chunk in found:
            if chunk.rows.num_rows == len(data):
                yield Chunk(self._joined(chunk.rows, around), [], places)
                continue
            kept = list(chunk.positions or ())
            rejects = [
                replace(one, position=places[one.position], raw=data[one.position])
                for one in chunk.rejects
            ]
            rows = self._joined(chunk.rows, around.take(pa.array(kept, pa.int64())))
            yield Chunk(rows, rejects, [places[i] for i in kept])

    def _amiss(self, data: bytes) -> tuple[str, str] | None:
        """Why a message is no line of JSON at all; the other reasons are those of JSON lines."""
        if not data.strip(_BLANKS):
            return "empty_message", "the message has no data"
        if deeper(data, self.form.caps.depth):
            return "too_deep", f"more than {self.form.caps.depth} levels of nesting"
        try:
            data.decode()
        except UnicodeDecodeError as error:
            detail = f"byte {error.start} is 0x{data[error.start]:02x}: {error.reason}"
            return "bad_encoding", detail
        return None

    def _joined(self, rows: pa.RecordBatch, around: pa.RecordBatch) -> pa.RecordBatch:
        arrays = [
            _of_envelope(column.delivered_as, around)
            if column in self.around
            else rows.column(column.name)
            for column in self.table.columns
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=self.table.schema)


def _require_type(column: Column, table: Table) -> None:
    wanted = AROUND[column.delivered_as]
    if column.type != wanted:
        raise ConfigError(
            f"{column.delivered_as} cannot be {column.sql_type}",
            f"Declare {column.name} so in {table.origin or 'the contract'}.",
            source=str(table.name),
            expected="timestamptz" if wanted == INSTANT else "varchar",
            reason="unknown_type",
        )


def _of_envelope(name: str, around: pa.RecordBatch) -> pa.Array:
    if name == "$attributes":
        return pa.array(map(_as_json, around.column("attributes").to_pylist()), pa.string())
    return around.column(name.removeprefix("$")).cast(AROUND[name])


def _as_json(pairs: Sequence[tuple[str, str | None]] | None) -> str | None:
    """A name that comes more than once has all its values."""
    if pairs is None:
        return None
    found: dict[str, list[str | None]] = {}
    for name, value in pairs:
        found.setdefault(name, []).append(value)
    told = {name: values[0] if len(values) == 1 else values for name, values in found.items()}
    return json.dumps(told, ensure_ascii=False)


def _data(rows: pa.RecordBatch) -> list[bytes]:
    return [one or b"" for one in rows.column("data").to_pylist()]


def _blocks(data: Sequence[bytes]) -> Iterator[tuple[int, Sequence[bytes]]]:
    """Messages of about ``BLOCK`` bytes, and the index of the first."""
    if data and sum(map(len, data)) <= BLOCK:
        yield 0, data
        return
    start = size = 0
    for index, one in enumerate(data):
        if size + len(one) > BLOCK and index > start:
            yield start, data[start:index]
            start, size = index, 0
        size += len(one)
    if start < len(data):
        yield start, data[start:]


def _text(data: Sequence[bytes]) -> bytes:
    """A line for each message. A newline becomes a tab: both are blanks in JSON, both are refused
    within a text.
    """
    lines = [one.strip(_BLANKS) for one in data]
    text = b"\n".join(lines) + b"\n"
    if text.count(b"\n") > len(lines):
        text = b"\n".join(line.replace(b"\n", b"\t") for line in lines) + b"\n"
    return text
