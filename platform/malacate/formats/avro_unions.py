"""Whether each union of some decoded rows has the index of one of its two branches.

The vectorised reader takes every index but 0 for that of the second branch. What it made of the
rows tells how many bytes each value took, hence where each index stands: it is read there.
Only the shortest form of each number is reckoned with, as writers use it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from malacate.formats.avro_types import RECORDS

Longs = NDArray[np.int64]
Sizes = Longs | int
"""One for each value, or one that all have."""

_WIDTHS = {"null": 0, "boolean": 1, "float": 4, "double": 8}
_NO_BRANCH = 0xFF ^ 0x02
"""The bits that neither 0 nor 1 has as an index."""

_ONE_BYTE = 64
"""How many numbers from 0 on take one byte."""


@dataclass(frozen=True)
class _Places:
    """How many bytes each value takes, and where in which value an index stands."""

    sizes: Sizes
    indices: list[tuple[Longs | None, Sizes]] = field(default_factory=list)

    def after(self, starts: Sizes) -> list[tuple[Longs | None, Sizes]]:
        """The same indices, where each value begins at one of ``starts``."""
        return [
            (of, at + (starts if of is None or isinstance(starts, int) else starts[of]))
            for of, at in self.indices
        ]

    def inside(self, owners: Longs, starts: Sizes) -> list[tuple[Longs | None, Sizes]]:
        """The same indices, in the values that these belong to from ``starts`` on."""
        return [(owners if of is None else owners[of], at) for of, at in self.after(starts)]


def has_union(schema: Any) -> bool:
    """Whether a schema, as the vectorised reader gets it, has a union anywhere."""
    if isinstance(schema, list):
        return True
    if not isinstance(schema, dict):
        return False
    inner = [f["type"] for f in schema["fields"]] if schema["type"] in RECORDS else []
    return any(map(has_union, [*inner, schema.get("items"), schema.get("values")]))


def unions_hold(schema: Any, rows: pa.RecordBatch, data: bytes) -> bool | None:
    """Whether every index names a branch; ``None`` where the writer's numbers are not shortest."""
    places = _places(schema, pa.StructArray.from_arrays(rows.columns, rows.schema.names))
    sizes = _each(places.sizes, rows.num_rows)
    ends = np.cumsum(sizes)
    if ends[-1] != len(data):
        return None
    raw = np.frombuffer(data, np.uint8)
    return not any(np.any(raw[at] & _NO_BRANCH) for _, at in places.after(ends - sizes))


def _each(sizes: Sizes, count: int) -> Longs:
    return np.full(count, sizes) if isinstance(sizes, int) else sizes


def _places(schema: Any, values: pa.Array) -> _Places:
    if isinstance(schema, list):
        return _of_union(schema, values)
    kind = schema if isinstance(schema, str) else schema["type"]
    if kind in RECORDS:
        return _of_record(schema, values)
    if kind == "array":
        return _of_items(values.value_lengths(), _places(schema["items"], values.flatten()))
    if kind == "map":
        return _of_map(schema, values)
    return _Places(_sizes(kind, schema, values))


def _of_union(schema: list[Any], values: pa.Array) -> _Places:
    some = next(branch for branch in schema if branch != "null")
    inner = _places(some, values.drop_null())
    if not values.null_count:
        return _Places(inner.sizes + 1, [(None, 0), *inner.after(1)])
    there = np.flatnonzero(_ints(values.is_valid()))
    sizes = np.ones(len(values), np.int64)
    sizes[there] += inner.sizes
    return _Places(sizes, [(None, 0), *inner.inside(there, 1)])


def _of_record(schema: Mapping[str, Any], values: pa.StructArray) -> _Places:
    at: Sizes = 0
    indices: list[tuple[Longs | None, Sizes]] = []
    for one, column in zip(schema["fields"], values.flatten(), strict=True):
        inner = _places(one["type"], column)
        indices += inner.after(at)
        at = at + inner.sizes
    return _Places(at, indices)


def _of_map(schema: Mapping[str, Any], values: pa.MapArray) -> _Places:
    first, last = values.offsets[0].as_py(), values.offsets[len(values)].as_py()
    keys = _text_sizes(values.keys[first:last])
    inner = _places(schema["values"], values.items[first:last])
    pairs = _Places(keys + inner.sizes, inner.after(keys))
    return _of_items(pa.array(np.diff(_ints(values.offsets))), pairs)


def _of_items(lengths: pa.Array, items: _Places) -> _Places:
    """Of arrays: a count, the items and a zero, or no more than the zero."""
    counts = _ints(lengths)
    heads = np.where(counts > 0, _long_sizes(counts), 0)
    owners = np.repeat(np.arange(len(counts)), counts)
    sizes = _each(items.sizes, len(owners))
    before = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])
    firsts = np.cumsum(counts) - counts
    starts = before[:-1] - before[firsts][owners] + heads[owners]
    whole = heads + before[firsts + counts] - before[firsts] + 1
    return _Places(whole, items.inside(owners, starts))


def _sizes(kind: str, schema: Any, values: pa.Array) -> Sizes:
    if kind in _WIDTHS:
        return _WIDTHS[kind]
    if kind == "fixed":
        return int(schema["size"])
    if kind in ("int", "long"):
        return _long_sizes(_ints(values))
    if kind == "enum":
        if len(schema["symbols"]) <= _ONE_BYTE:
            return 1
        return _long_sizes(
            _ints(pc.index_in(values.cast(pa.string()), pa.array(schema["symbols"])))
        )
    if pa.types.is_decimal(values.type):
        sizes = _unscaled_sizes(values)
        return sizes + _long_sizes(np.asarray(sizes))
    return _text_sizes(values)


def _text_sizes(values: pa.Array) -> Sizes:
    sizes = _ints(pc.binary_length(values))
    return sizes + _long_sizes(sizes)


def _ints(values: pa.Array) -> Longs:
    whole = pa.int32() if values.type.bit_width == 32 else pa.int64()
    view = values if pa.types.is_boolean(values.type) else values.view(whole)
    return np.asarray(view.to_numpy(zero_copy_only=False))


def _long_sizes(values: Longs) -> Sizes:
    """The bytes of zigzag numbers, seven bits in each."""
    return _bytes_of(values, 7)


def _bytes_of(values: Longs, bits: int) -> Sizes:
    """The fewest bytes with so many bits each that hold a number and its sign; one at least."""
    if not values.size:
        return 1
    if values.min() < 0:
        values = values ^ (values >> (8 * values.itemsize - 1))
    least, most = (int(end).bit_length() // bits + 1 for end in (values.min(), values.max()))
    if least == most:
        return least
    sizes = np.full(values.shape, least, np.int64)
    for count in range(least, most):
        sizes += values >= 1 << (bits * count - 1)
    return sizes


def _unscaled_sizes(values: pa.Array) -> Sizes:
    """The fewest bytes of two's complement that hold each decimal."""
    width = values.type.byte_width // 8
    whole = np.frombuffer(values.buffers()[1], np.int64)
    words = whole[values.offset * width :][: len(values) * width].reshape(-1, width)
    if np.array_equal(words[:, 1:], np.broadcast_to(words[:, :1] >> 63, words[:, 1:].shape)):
        return _bytes_of(words[:, 0], 8)
    wide = (int.from_bytes(row.tobytes(), "little", signed=True) for row in words)
    return np.array([(one if one >= 0 else ~one).bit_length() // 8 + 1 for one in wide])
