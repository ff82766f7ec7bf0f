"""Decoded changes of a slot, cut to a window and put behind those of the slots before it."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pyarrow as pa

from malacate.contracts.chunk import Chunk
from malacate.sources.cdc.pgoutput import Changes


def within(changes: Changes, lo: int, hi: int) -> Changes | None:
    """The changes whose commits end after ``lo`` and not after ``hi``; commits come in order."""
    first, last = np.searchsorted(changes.commit_lsn, [lo, hi], "right").tolist()
    if last - first == len(changes.commit_lsn):
        return changes
    return part(changes, first, last) if first < last else None


def part(changes: Changes, first: int, last: int) -> Changes:
    """Those from ``first`` to before ``last``."""
    some, size = slice(first, last), last - first
    return replace(
        changes,
        op=changes.op.slice(first, size),
        new=changes.new.slice(first, size),
        unchanged={name: marks[some] for name, marks in changes.unchanged.items()},
        old=None if changes.old is None else changes.old.slice(first, size),
        has_old=changes.has_old[some],
        old_is_full=changes.old_is_full[some],
        commit_lsn=changes.commit_lsn[some],
        ordinal=changes.ordinal[some],
        committed_at=changes.committed_at.slice(first, size),
        xid=changes.xid[some],
    )


def counted(batches: Iterator[pa.RecordBatch], seen: list[int]) -> Iterator[pa.RecordBatch]:
    """The same batches, their rows added up in ``seen``."""
    for batch in batches:
        seen[0] += batch.num_rows
        yield batch


def lifted(chunk: Chunk, generation: int) -> Chunk:
    """Positions of a slot that was set up anew are behind all of those before it."""
    if not generation:
        return chunk
    names = chunk.rows.schema.names
    high = chunk.rows.column("_position_hi").to_numpy() | (generation << 32)
    rows = chunk.rows.set_column(names.index("_position_hi"), "_position_hi", pa.array(high))
    return replace(chunk, rows=rows)
