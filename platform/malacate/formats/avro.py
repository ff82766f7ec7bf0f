"""Avro: walked first, then in groups of blocks inflated, decoded and used, each step one ahead."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from malacate.batch import Chunk, Evolution, Reading
from malacate.contracts.drift import Alignment, align
from malacate.contracts.table import Table
from malacate.errors import UnreadableFile
from malacate.formats.ahead import ahead
from malacate.formats.avro_codecs import BLOCK_LIMIT, Damaged, decompressed
from malacate.formats.avro_decode import Decode, decoder
from malacate.formats.avro_types import RECORDS, expanded, fields, values_of
from malacate.formats.avro_walk import Blocks, walk
from malacate.formats.fit import ROWS, as_delivered, fit, unique

_GROUP = 8 << 20
"""How many decompressed bytes are decoded together, where blocks are smaller than that."""

_EMPTY_ROWS = 1 << 16
"""How many rows of no bytes at all one block may have."""


def read(path: Path, table: Table) -> Reading:
    """Open an Avro file as rows of ``table``.

    Framing, schema and drift are checked here; damage inside a block raises ``UnreadableFile``
    while reading.
    """
    blocks = walk(path)
    record = expanded(blocks.schema)
    alignment = align(table, _kinds(record), path.name)
    tolerated = [Evolution("ignored", "", warning) for warning in blocks.warnings]
    chunks = _chunks(path, blocks, decoder(blocks.schema, record), table, alignment)
    return Reading(chunks, [*alignment.evolutions, *tolerated], blocks.rows)


def observed(path: Path) -> dict[str, pa.DataType | None]:
    """Column names and types of an Avro file."""
    return _kinds(expanded(walk(path).schema))


def payload_types(writer: Any) -> Mapping[str, pa.DataType | None] | None:
    """Names and types of the fields of a change event's row; ``None`` if it is no change event."""
    record = expanded(writer)
    found = {field["name"]: field["type"] for field in record["fields"]}
    payload = found.get("payload")
    if isinstance(payload, list) and len(values_of(payload)) == 1:
        (payload,) = values_of(payload)
    if not isinstance(payload, dict) or payload["type"] not in RECORDS:
        return None
    return _kinds(payload)


def _kinds(record: Mapping[str, Any]) -> dict[str, pa.DataType | None]:
    unique([field["name"] for field in record["fields"]])
    return {name: as_delivered(kind) for name, kind in fields(record).items()}


def _chunks(
    path: Path, blocks: Blocks, decode: Decode, table: Table, alignment: Alignment
) -> Iterator[Chunk]:
    done = 0
    groups = ahead(unpacked(path, blocks))
    for rows in ahead(decoded(groups, decode)):
        yield from fit(table, alignment.sources, rows, done)
        done += rows.num_rows
    if done != blocks.rows:
        raise corrupt("row_count_mismatch", done, f"{done} rows of {blocks.rows}")


def decoded(groups: Iterator[tuple[bytes, int]], decode: Decode) -> Iterator[pa.RecordBatch]:
    """The rows of each group; raises ``UnreadableFile`` where one is damaged."""
    done = 0
    try:
        for group in groups:
            rows = decode(*group)
            done += rows.num_rows
            yield rows
    except Damaged as error:
        raise corrupt("corrupt", done, str(error)) from error


def unpacked(path: Path, blocks: Blocks) -> Iterator[tuple[bytes, int]]:
    """Decompressed blocks, together as many as make a good chunk."""
    parts: list[bytes] = []
    rows = size = 0
    with path.open("rb") as file:
        for offset, length, count in blocks.places:
            if blocks.codec == "null" and length > BLOCK_LIMIT:
                raise corrupt("decompression_bomb", rows, f"a block of {length} bytes")
            file.seek(offset)
            part = decompressed(blocks.codec, file.read(length))
            if count > max(len(part), _EMPTY_ROWS):
                raise corrupt("decompression_bomb", rows, f"{count} rows in {len(part)} bytes")
            if not count:
                _check_empty(part)
                continue
            if parts and (rows + count > ROWS or size + len(part) > _GROUP):
                yield b"".join(parts), rows
                parts, rows, size = [], 0, 0
            parts.append(part)
            rows, size = rows + count, size + len(part)
    if parts:
        yield b"".join(parts), rows


def _check_empty(part: bytes) -> None:
    if part:
        raise Damaged(f"{len(part)} bytes in a block without rows")


def corrupt(reason: str, row: int, actual: str) -> UnreadableFile:
    """The error for a file whose framing is sound and whose rows are not."""
    return UnreadableFile(
        "the rows of an Avro file cannot be decoded",
        "Ask for the file again; if it comes the same, its writer is at fault.",
        position=f"after row {row}",
        actual=actual[:500],
        reason=reason,
    )
