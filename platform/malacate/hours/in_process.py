"""The hours of a job computed by this process, some at a time: memory is that of an hour, or of
``AT_ONCE`` readings where hours are small.

The arithmetic is of ``measured``; no warehouse, and no other process, here.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from malacate.errors import LakeError
from malacate.hours.apart import by_hour, hours_of
from malacate.hours.job import Job, groups_of, read_groups, span_of
from malacate.hours.measured import HOUR_US, hour_of
from malacate.lake.lake import Lake

AT_ONCE = 10_000_000
"""Readings, by what files tell of themselves."""


@contextmanager
def _system_pool() -> Iterator[None]:
    """Arrow's own pool hands memory back, and has it anew, page by page: a third of all time."""
    before = pa.default_memory_pool()
    pa.set_memory_pool(pa.system_memory_pool())
    try:
        yield
    finally:
        pa.set_memory_pool(before)


@dataclass
class InProcess:
    """Computes the hours of ``job``, and counts; ``opened`` opens one of its files."""

    job: Job
    opened: Callable[[str], pa.NativeFile]
    counts: dict[str, int] = field(default_factory=dict)

    def rows(self) -> Iterator[pa.Table]:
        """The rows of some hours after others."""
        for hours in self._chunks():
            with _system_pool():
                made = self._made(hours)
            yield pa.Table.from_pylist(made, self.job.made)

    def _made(self, hours: set[int]) -> list[dict[str, Any]]:
        parts = defaultdict[tuple[str, int], list[pa.RecordBatch]](list)
        for sensor, hour, some in self._readings(hours):
            parts[sensor, hour].append(some)
        read = sum(some.num_rows for of in parts.values() for some in of)
        self._count(readings_read=read, hours_computed=len(parts))
        whole = ((key, pa.Table.from_batches(parts.pop(key))) for key in sorted(parts))
        return [hour_of(self.job.what, *key, readings) for key, readings in whole]

    def _readings(self, hours: set[int]) -> Iterator[tuple[str, int, pa.RecordBatch]]:
        job = self.job
        for path in job.files:
            if groups := groups_of(self._metadata[path], job.what.instant, hours):
                yield from by_hour(job.what, self._read(path, groups, job.rows), hours)

    def _chunks(self) -> Iterator[set[int]]:
        """Hours that follow each other, and have ``AT_ONCE`` readings or are one."""
        chunk, size = set[int](), 0.0
        for hour, readings in sorted(self._sizes().items()):
            if chunk and size + readings > AT_ONCE:
                yield chunk
                chunk, size = set(), 0.0
            chunk.add(hour)
            size += readings
        if chunk:
            yield chunk

    def _sizes(self) -> dict[int, float]:
        """Of each hour how many readings it may have: a row group's are spread over its hours."""
        hours = np.array(sorted(self._hours()), np.int64)
        sizes = np.zeros(hours.size)
        for metadata in self._metadata.values():
            for group in map(metadata.row_group, range(metadata.num_row_groups)):
                first, last = span_of(group, self.job.what.instant) or (hours[0], hours[-1])
                of = slice(*np.searchsorted(hours, [first - HOUR_US + 1, last + 1]))
                sizes[of] += group.num_rows / max(1, hours[of].size)
        return dict(zip(hours.tolist(), sizes.tolist(), strict=True))

    def _hours(self) -> Iterable[int]:
        job = self.job
        if job.hours is not None:
            return job.hours
        instants, found = pa.schema([job.rows.field(job.what.instant)]), set[int]()
        for path, metadata in self._metadata.items():
            (column,) = self._read(path, range(metadata.num_row_groups), instants).columns
            found |= set(np.unique(hours_of(column.drop_null())).tolist())
        return found

    @cached_property
    def _metadata(self) -> dict[str, pq.FileMetaData]:
        return {path: pq.read_metadata(self.opened(path)) for path in self.job.files}

    def _read(self, path: str, groups: Iterable[int], schema: pa.Schema) -> pa.Table:
        encoded = [self.job.what.sensor]
        file = pq.ParquetFile(
            self.opened(path), metadata=self._metadata[path], read_dictionary=encoded
        )
        return read_groups(file, list(groups), schema)

    def _count(self, **more: int) -> None:
        for name, number in more.items():
            self.counts[name] = self.counts.get(name, 0) + number


def in_this_process(
    lake: Lake, told: list[dict[str, Any]] | None = None
) -> Callable[[Job], Iterator[None]]:
    """Does jobs on files of ``lake``: yields after each hour, and adds what it counted to ``told``.

    Raises ``LakeError`` if a file of readings has gone.
    """

    def launched(job: Job) -> Iterator[None]:
        work = InProcess(job, lambda uri: _opened(lake, uri))
        for number, rows in enumerate(work.rows()):
            data = pa.BufferOutputStream()
            pq.write_table(rows, data)
            name = f"{_path(lake, job.output)}-{number:05d}.parquet"
            lake.replace(name, bytes(data.getvalue()))
            yield
        if told is not None:
            told.append(work.counts)

    return launched


def _opened(lake: Lake, uri: str) -> pa.NativeFile:
    if Path(uri).is_file():
        return pa.memory_map(uri)
    if (data := lake.content(_path(lake, uri))) is None:
        raise LakeError(
            "a landing of readings has gone, so their hours cannot be computed",
            "Restore the lake's folder, or have the file delivered again.",
            object=uri,
            reason="lake_lost",
        )
    return pa.BufferReader(data)


def _path(lake: Lake, uri: str) -> str:
    return uri.removeprefix(lake.uri()).lstrip("/")
