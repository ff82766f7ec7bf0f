"""Records of a change file in Avro, decoded by columns wherever their layout allows.

``sort_keys`` is an array of texts and numbers, which the reader of drops decodes row by row, and
every file of today has it. It is decoded here in its own layout, checked, and left out: positions
are read from the metadata alone.
"""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from malacate.errors import UnreadableFile
from malacate.formats.ahead import ahead
from malacate.formats.avro import corrupt, decoded, unpacked
from malacate.formats.avro_codecs import Damaged
from malacate.formats.avro_decode import Decode, by_rows, decoder, vectorised
from malacate.formats.avro_types import Unsupported, expanded, plain
from malacate.formats.avro_unions import unions_hold
from malacate.formats.avro_walk import Blocks, walk

SORT_KEYS = "sort_keys"
_KEYS = {"type": "array", "items": ["string", "long"]}
_AS_BYTES = {"type": "array", "items": ["null", "bytes"]}


@dataclass(frozen=True)
class Records:
    """An Avro file that is whole. ``record`` is its schema with named types written out."""

    path: Path
    blocks: Blocks
    record: Mapping[str, Any]

    def batches(self) -> Iterator[pa.RecordBatch]:
        """All rows, in order; raises ``UnreadableFile`` where they are not what was promised."""
        done = 0
        groups = ahead(unpacked(self.path, self.blocks))
        for rows in ahead(decoded(groups, _decoder(self.blocks.schema, self.record))):
            yield rows
            done += rows.num_rows
        if done != self.blocks.rows:
            raise corrupt("row_count_mismatch", done, f"{done} rows of {self.blocks.rows}")

    def content(self) -> Iterator[bytes]:
        """The rows' bytes, unpacked."""
        return (data for data, _ in unpacked(self.path, self.blocks))


def opened(path: Path) -> Records:
    """Check the framing and the schema of a file; raises ``UnreadableFile``."""
    blocks = walk(path)
    record = expanded(blocks.schema)
    names = [field["name"] for field in record["fields"]]
    if len(set(names)) < len(names):
        raise UnreadableFile(
            "a file has two fields of one name", "Ask for it with distinct names.",
            object=path.name, actual=", ".join(names), reason="duplicate_column",
        )  # fmt: skip
    return Records(path, blocks, record)


def _decoder(schema: Any, record: Mapping[str, Any]) -> Decode:
    fields = {field["name"]: field["type"] for field in record["fields"]}
    if fields.get(SORT_KEYS) not in (_KEYS, {**_KEYS, "items": ["long", "string"]}):
        return decoder(schema, record)
    with suppress(Unsupported):
        return _with_keys(by_rows(schema, record), record, fields[SORT_KEYS])
    return by_rows(schema, record)


def _with_keys(slow: Decode, record: Mapping[str, Any], keys: Mapping[str, Any]) -> Decode:
    simple = _replaced(record, {"type": "array", "items": "string"})
    layout = _replaced(plain(simple), keys)
    checked = _replaced(plain(simple), _AS_BYTES)
    fast = vectorised(layout)

    def decode(data: bytes, rows: int) -> pa.RecordBatch:
        found = fast(data, rows)
        at = found.schema.get_field_index(SORT_KEYS)
        alike = found.set_column(at, SORT_KEYS, _alike(found.column(at)))
        held = unions_hold(checked, alike, data)
        if held is None:
            return slow(data, rows)
        if not held:
            raise Damaged("the index of a union names none of its branches")
        return found.remove_column(at)

    return decode


def _replaced(record: Mapping[str, Any], keys: Any) -> dict[str, Any]:
    fields = [
        {**field, "type": keys} if field["name"] == SORT_KEYS else field
        for field in record["fields"]
    ]
    return {**record, "fields": fields}


def _alike(keys: pa.Array) -> pa.Array:
    """Bytes that take as much room in a file as these texts and numbers do."""
    items = keys.flatten()
    lengths = np.zeros(len(items), np.int64)
    codes, offsets = np.asarray(items.type_codes), np.asarray(items.offsets)
    for code, name in enumerate(field.name for field in items.type):
        mine = codes == code
        values = items.field(code).take(pa.array(offsets[mine], pa.int32()))
        lengths[mine] = pc.binary_length(values) if name == "string" else _long_room(values) - 1
    ends = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)]).astype(np.int32)
    room = pa.py_buffer(b"\0" * int(ends[-1]))
    alike = pa.Array.from_buffers(pa.binary(), len(items), [None, pa.py_buffer(ends), room])
    starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(keys.value_lengths())])
    return pa.ListArray.from_arrays(pa.array(starts, pa.int32()), alike)


def _long_room(values: pa.Array) -> Any:
    """How many bytes each number takes."""
    numbers = np.asarray(values)
    rest = numbers ^ (numbers >> 63)
    room = np.ones(len(numbers), np.int64)
    for count in range(1, 10):
        room += rest >= 1 << (7 * count - 1)
    return room
