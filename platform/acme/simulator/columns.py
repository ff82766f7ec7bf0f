"""numpy arrays -> Arrow columns of a declared type. Nothing here knows what a column means."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

NEVER = np.iinfo(np.int64).min
"""An instant that has not come: null once it is a column."""


def table(schema: pa.Schema, columns: Mapping[str, Any]) -> pa.Table:
    """A table of ``schema``; arrays of numbers are read as what their column's type says.

    Instants are given in seconds since 1970, dates in days, decimals as floats (NaN is null).
    """
    return pa.Table.from_arrays([column(columns[f.name], f.type) for f in schema], schema=schema)


def column(values: Any, kind: pa.DataType) -> pa.Array:
    """One column; see ``table``."""
    if isinstance(values, pa.Array | pa.ChunkedArray):
        return values
    if pa.types.is_decimal(kind):
        return _decimals(np.asarray(values, float), kind)
    if pa.types.is_timestamp(kind):
        seconds = np.asarray(values, np.int64)
        never = seconds == NEVER
        return pa.array(np.where(never, 0, seconds) * 1_000_000, pa.int64(), mask=never).view(kind)
    if pa.types.is_date(kind):
        return pa.array(np.asarray(values, np.int32)).view(kind)
    return pa.array(values, kind)


def picked(names: Sequence[str], index: npt.NDArray[Any]) -> pa.Array:
    """``names[i]`` for every ``i`` of ``index``, without a Python object per row."""
    return pa.array(names, pa.string()).take(pa.array(index))


def _decimals(values: npt.NDArray[np.float64], kind: pa.DataType) -> pa.Array:
    # From the scaled integer, so that the decimal is exact and millions of rows take no objects.
    missing = np.isnan(values)
    scaled = np.rint(np.where(missing, 0, values) * 10**kind.scale).astype("<i8")
    words = np.stack([scaled, scaled >> 63], axis=1)
    present = pa.array(~missing).buffers()[1] if missing.any() else None
    buffers = [present, pa.py_buffer(np.ascontiguousarray(words))]
    return pa.Array.from_buffers(kind, len(values), buffers)
