"""Parquet: the footer first, then batch by batch."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from malacate.batch import Chunk, Reading
from malacate.contracts.drift import Alignment, align
from malacate.contracts.table import Table
from malacate.errors import UnreadableFile
from malacate.formats.fit import ROWS, as_delivered, fit, unique

_MAGIC = b"PAR1"


def read(path: Path, table: Table) -> Reading:
    """Open a Parquet file as rows of ``table``.

    Raises ``UnreadableFile`` or ``SchemaDrift`` here; a damaged page raises ``UnreadableFile``
    while reading.
    """
    file = _open(path)
    alignment = align(table, _kinds(file), path.name)
    chunks = _chunks(file, table, alignment)
    return Reading(chunks, list(alignment.evolutions), file.metadata.num_rows)


def observed(path: Path) -> dict[str, pa.DataType | None]:
    """Column names and types of a Parquet file."""
    with _open(path) as file:
        return _kinds(file)


def _kinds(file: pq.ParquetFile) -> dict[str, pa.DataType | None]:
    return {field.name: as_delivered(field.type) for field in file.schema_arrow}


def _open(path: Path) -> pq.ParquetFile:
    _check_ends(path)
    try:
        file = pq.ParquetFile(path, memory_map=True)
        unique(file.schema_arrow.names)
        return file
    except (pa.ArrowException, OSError) as error:
        raise _unreadable("corrupt", "footer", str(error)) from error


def _check_ends(path: Path) -> None:
    with path.open("rb") as file:
        head = file.read(4)
        size = file.seek(0, 2)
        file.seek(max(0, size - 4))
        tail = file.read(4)
    if not size:
        raise _unreadable("empty_object", "byte 0", "no bytes")
    if head != _MAGIC[: len(head)]:
        raise _unreadable("bad_magic", "byte 0", repr(head))
    if size < 12 or tail != _MAGIC:
        raise _unreadable("truncated", f"byte {size}", repr(tail))


def _unreadable(reason: str, position: str, actual: str) -> UnreadableFile:
    return UnreadableFile(
        "a Parquet file cannot be read",
        "Ask for the file again; if it comes the same, its writer is at fault.",
        position=position,
        actual=actual,
        reason=reason,
    )


def _chunks(file: pq.ParquetFile, table: Table, alignment: Alignment) -> Iterator[Chunk]:
    wanted = [name for name in alignment.sources.values() if name is not None]
    done = 0
    with file:
        try:
            # No column at all would be read as no rows.
            for rows in file.iter_batches(ROWS, columns=wanted or None):
                yield from fit(table, alignment.sources, rows, done)
                done += rows.num_rows
        except (pa.ArrowException, OSError) as error:
            raise _unreadable("corrupt", f"after row {done}", str(error)) from error
    if done != file.metadata.num_rows:
        actual = f"{done} rows of {file.metadata.num_rows}"
        raise _unreadable("row_count_mismatch", f"after row {done}", actual)
