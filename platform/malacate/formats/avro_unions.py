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
Words = NDArray[np.uint64]

_WIDTHS = {"null": 0, "boolean": 1, "float": 4, "double": 8}
_NO_BRANCH = 0xFF ^ 0x02
"""The bits that neither 0 nor 1 has as an index."""


@dataclass(frozen=True)
class _Places:
    """How many bytes each value takes, and where in which value an index stands."""

    sizes: Longs
    indices: list[tuple[Longs, Longs]] = field(default_factory=list)

    def inside(self, owners: Longs, starts: Longs) -> list[tuple[Longs, Longs]]:
        """The same indices, in the values that these belong to from ``starts`` on."""
        return [(owners[value], starts[value] + at) for value, at in self.indices]


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
    ends = np.cumsum(places.sizes)
    if ends[-1] != len(data):
        return None
    raw = np.frombuffer(data, np.uint8)
    found = places.inside(np.arange(len(ends)), ends - places.sizes)
    return not any(np.any(raw[at] & _NO_BRANCH) for _, at in found)


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
    everyone = np.arange(len(values))
    heads = np.zeros(len(values), np.int64)
    there = everyone if not values.null_count else np.flatnonzero(_ints(values.is_valid()))
    inner = _places(some, values.drop_null())
    sizes = heads + 1
    sizes[there] += inner.sizes
    return _Places(sizes, [(everyone, heads), *inner.inside(there, heads[there] + 1)])


def _of_record(schema: Mapping[str, Any], values: pa.StructArray) -> _Places:
    at = np.zeros(len(values), np.int64)
    indices: list[tuple[Longs, Longs]] = []
    everyone = np.arange(len(values))
    for one, column in zip(schema["fields"], values.flatten(), strict=True):
        inner = _places(one["type"], column)
        indices += inner.inside(everyone, at)
        at = at + inner.sizes
    return _Places(at, indices)


def _of_map(schema: Mapping[str, Any], values: pa.MapArray) -> _Places:
    first, last = values.offsets[0].as_py(), values.offsets[len(values)].as_py()
    keys = _text_sizes(values.keys[first:last])
    inner = _places(schema["values"], values.items[first:last])
    pairs = _Places(keys + inner.sizes, inner.inside(np.arange(len(keys)), keys))
    return _of_items(pa.array(np.diff(_ints(values.offsets))), pairs)


def _of_items(lengths: pa.Array, items: _Places) -> _Places:
    """Of arrays: a count, the items and a zero, or no more than the zero."""
    counts = _ints(lengths)
    heads = np.where(counts > 0, _long_sizes(counts), 0)
    owners = np.repeat(np.arange(len(counts)), counts)
    before = np.concatenate([np.zeros(1, np.int64), np.cumsum(items.sizes)])
    firsts = np.cumsum(counts) - counts
    starts = before[:-1] - before[firsts][owners] + heads[owners]
    sizes = heads + before[firsts + counts] - before[firsts] + 1
    return _Places(sizes, items.inside(owners, starts))


def _sizes(kind: str, schema: Any, values: pa.Array) -> Longs:
    if kind in _WIDTHS:
        return np.full(len(values), _WIDTHS[kind])
    if kind == "fixed":
        return np.full(len(values), schema["size"])
    if kind in ("int", "long"):
        return _long_sizes(_ints(values))
    if kind == "enum":
        return _long_sizes(
            _ints(pc.index_in(values.cast(pa.string()), pa.array(schema["symbols"])))
        )
    if pa.types.is_decimal(values.type):
        sizes = _unscaled_sizes(values)
        return sizes + _long_sizes(sizes)
    return _text_sizes(values)


def _text_sizes(values: pa.Array) -> Longs:
    sizes = _ints(pc.binary_length(values))
    return sizes + _long_sizes(sizes)


def _ints(values: pa.Array) -> Longs:
    whole = pa.int32() if values.type.bit_width == 32 else pa.int64()
    view = values if pa.types.is_boolean(values.type) else values.view(whole)
    return np.asarray(view.to_numpy(zero_copy_only=False), np.int64)


def _long_sizes(values: Longs) -> Longs:
    """The bytes of zigzag numbers, seven bits in each."""
    return _bytes_of((values << 1 ^ values >> 63).view(np.uint64), 7)


def _bytes_of(words: Words, bits: int) -> Longs:
    sizes = np.ones(len(words), np.int64)
    while (words := words >> np.uint64(bits)).any():
        sizes += words > 0
    return sizes


def _unscaled_sizes(values: pa.Array) -> Longs:
    """The fewest bytes of two's complement that hold each decimal."""
    width = values.type.byte_width // 8
    whole = np.frombuffer(values.buffers()[1], np.int64)
    words = whole[values.offset * width :][: len(values) * width].reshape(-1, width)
    sizes = np.ones(len(values), np.int64)
    sign = words[:, -1] >> 63
    for at in range(width):
        bits = (words[:, at] ^ sign).view(np.uint64)
        # One bit more than the number has is its sign.
        needed = 8 * at + _bytes_of(bits, 8) + (_top_byte(bits) > 0x7F)
        sizes = np.where(bits > 0, needed, sizes)
    return sizes


def _top_byte(words: Words) -> Words:
    while (words > 0xFF).any():
        words = np.where(words > 0xFF, words >> np.uint64(8), words)
    return words
