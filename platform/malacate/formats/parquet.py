"""Parquet: the footer first, then batch by batch."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from malacate.batch import Chunk, Reading
from malacate.contracts.drift import Alignment, align
from malacate.contracts.table import Table
from malacate.errors import UnreadableFile
from malacate.formats.fit import ROWS, as_delivered, fit, unique

_MAGIC = b"PAR1"
_WRAPS = 9_223_372_036_854_775
"""The last microsecond since 1970 that 64 bits of nanoseconds reach."""


def read(path: Path, table: Table) -> Reading:
    """Open a Parquet file as rows of ``table``.

    Raises ``UnreadableFile`` or ``SchemaDrift`` here; a damaged page raises ``UnreadableFile``
    while reading.
    """
    file = opened(path)
    alignment = align(table, _kinds(file), path.name)
    chunks = _chunks(path, file, table, alignment)
    return Reading(chunks, list(alignment.evolutions), file.metadata.num_rows)


def observed(path: Path) -> dict[str, pa.DataType | None]:
    """Column names and types of a Parquet file."""
    with opened(path) as file:
        return _kinds(file)


def _kinds(file: pq.ParquetFile) -> dict[str, pa.DataType | None]:
    return {field.name: as_delivered(field.type) for field in file.schema_arrow}


def opened(path: Path) -> pq.ParquetFile:
    """A Parquet file whose footer is sound; raises ``UnreadableFile``."""
    _check_ends(path)
    try:
        # Nanoseconds would wrap the years that writers of INT96 use for infinity.
        file = pq.ParquetFile(
            path,
            memory_map=True,
            coerce_int96_timestamp_unit="us",
            page_checksum_verification=True,
        )
        unique(file.schema_arrow.names)
        return file
    except (pa.ArrowException, OSError) as error:
        raise damaged("footer", error) from error


def damaged(position: str, error: Exception) -> UnreadableFile:
    """What Arrow said, as an error; an encrypted column shows only when it is read."""
    if "encrypt" in str(error).lower() or "decrypt" in str(error).lower():
        return _encrypted(position)
    return _unreadable("corrupt", position, str(error)[:500])


def _encrypted(position: str) -> UnreadableFile:
    return UnreadableFile(
        "a Parquet file is encrypted",
        "Have it written without encryption; the store encrypts what stands in it.",
        position=position,
        reason="encrypted",
    )


def _check_ends(path: Path) -> None:
    with path.open("rb") as file:
        head = file.read(4)
        size = file.seek(0, 2)
        file.seek(max(0, size - 4))
        tail = file.read(4)
    if not size:
        raise _unreadable("empty_object", "byte 0", "no bytes")
    if head == tail == b"PARE":
        raise _encrypted("byte 0")
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


def _chunks(
    path: Path, file: pq.ParquetFile, table: Table, alignment: Alignment
) -> Iterator[Chunk]:
    wanted = [name for name in alignment.sources.values() if name is not None]
    done = 0
    with file:
        try:
            exact = _nanoseconds(path, file, wanted)
            # No column at all would be read as no rows.
            for rows in file.iter_batches(ROWS, columns=wanted or None):
                _check_nanoseconds(rows, next(exact, None), done)
                yield from fit(table, alignment.sources, rows, done)
                done += rows.num_rows
        except (pa.ArrowException, OSError) as error:
            raise damaged(f"after row {done}", error) from error
    if done != file.metadata.num_rows:
        actual = f"{done} rows of {file.metadata.num_rows}"
        raise _unreadable("row_count_mismatch", f"after row {done}", actual)


def _nanoseconds(path: Path, file: pq.ParquetFile, wanted: list[str]) -> Iterator[pa.RecordBatch]:
    """INT96 columns again, in the nanoseconds they have: the years 1678 to 2261 fit into those."""
    parts = (file.schema.column(i) for i in range(len(file.schema)))
    old = [part.path for part in parts if part.physical_type == "INT96" and part.path in wanted]
    if old:
        with pq.ParquetFile(path, memory_map=True) as again:
            yield from again.iter_batches(ROWS, columns=old)


def _check_nanoseconds(rows: pa.RecordBatch, exact: pa.RecordBatch | None, done: int) -> None:
    if exact is None:
        return
    for name in exact.schema.names:
        micros, nanos = rows.column(name).cast(pa.int64()), exact.column(name).cast(pa.int64())
        # Outside of them the nanoseconds have wrapped and tell nothing.
        inside = pc.and_(pc.less(micros, _WRAPS), pc.greater(micros, -_WRAPS))
        micros = pc.if_else(inside, micros, 0)
        finer = pc.and_(inside, pc.not_equal(pc.multiply(micros, 1000), nanos))
        if pc.any(finer).as_py():
            what = f"{name} has instants finer than microseconds"
            raise _unreadable("does_not_fit", f"after row {done}", what)
