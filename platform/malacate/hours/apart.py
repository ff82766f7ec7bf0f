"""Readings apart by sensor and hour. What becomes of those of one hour is in ``measured``."""

from collections.abc import Collection, Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from malacate.hours.measured import HOUR_US, Measured, Whole, encoded, in_us


def by_hour(
    what: Measured, rows: pa.Table, hours: Collection[int] | None = None
) -> Iterator[tuple[Any, int, pa.RecordBatch]]:
    """Readings apart by sensor and hour, the latter in microseconds since 1970; only ``hours``.

    One without a sensor or an instant is of no hour. The sensor's column is not among theirs.
    """
    for name in (what.sensor, what.instant):
        rows = rows.filter(pc.is_valid(rows[name])) if rows[name].null_count else rows
    if hours is not None:
        rows = _within(what, rows, hours)
    if not rows.num_rows:
        return
    sensors = encoded(rows[what.sensor].combine_chunks())
    first, span, number = _numbered(rows[what.instant])
    place = sensors.indices.to_numpy().astype(np.int64)
    if span > 1:
        place = place * span + number
    if len(sensors.dictionary) * span <= 1 << 16:
        place = place.astype(np.uint16)  # sorted by counting
    order = np.argsort(place, kind="stable")
    place = place[order]
    begins = [0, *(np.flatnonzero(place[1:] != place[:-1]) + 1).tolist(), len(order)]
    own = rows.drop_columns([what.sensor]).take(pa.array(order))
    (sorted_rows,) = own.combine_chunks().to_batches()
    for begin, end in pairwise(begins):
        code, later = divmod(int(place[begin]), span)
        sensor = sensors.dictionary[code].as_py()
        yield sensor, first + later * HOUR_US, sorted_rows.slice(begin, end - begin)


def _within(what: Measured, rows: pa.Table, hours: Collection[int]) -> pa.Table:
    first, span, number = _numbered(rows[what.instant])
    if span <= 1:
        return rows if first in hours else rows.slice(0, 0)
    wanted = np.isin(first + number * HOUR_US, np.fromiter(hours, np.int64))
    return rows.filter(pa.array(wanted))


def _numbered(instants: pa.ChunkedArray) -> tuple[int, int, Whole]:
    """The first hour, how many there are up to the last, and of each instant the how-many-eth."""
    at = in_us(instants)
    if not at.size:
        return 0, 0, at
    least, most = int(at.min()), int(at.max())
    first = least - least % HOUR_US
    span = (most - first) // HOUR_US + 1
    return first, span, (at - first) // HOUR_US if span > 1 else np.zeros(1, np.int64)


def hours_of(instants: pa.ChunkedArray) -> Whole:
    """The hour of each instant, in microseconds since 1970."""
    at = in_us(instants)
    return at - at % HOUR_US
