"""Decompressed Avro blocks -> Arrow: vectorised where the schema allows, else row by row.

The vectorised reader loops for ever on a block with bytes after its last row, and yields what it
has of a block with too few. So it is given the blocks in groups, each framed as one block that
promises more rows than it can hold, with a batch size of exactly the rows expected: a sound group
is one batch and the end, anything else is damage.
"""

import io
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

import datafusion
import fastavro
import numpy as np
import pyarrow as pa

from malacate.formats.avro_codecs import Damaged
from malacate.formats.avro_types import (
    RECORDS,
    Unsupported,
    arrow,
    decimal_digits,
    is_text,
    plain,
    values_of,
)
from malacate.formats.avro_unions import has_union, unions_hold

Decode = Callable[[bytes, int], pa.RecordBatch]
"""The rows of some bytes, exactly so many; raises ``Damaged``."""

_MORE_THAN_ANY = 1 << 40
_MARKER = b"\0" * 16
_MOST_AT_ONCE = 1 << 22


def decoder(schema: Any, record: Mapping[str, Any]) -> Decode:
    """What decodes rows of ``schema``; ``record`` is the same, expanded."""
    slow = by_rows(schema, record)
    try:
        layout = plain(record)
    except Unsupported:
        return slow
    fast, is_sure = vectorised(layout), not has_union(layout)

    def decode(data: bytes, rows: int) -> pa.RecordBatch:
        if rows > _MOST_AT_ONCE:
            return slow(data, rows)
        found = fast(data, rows)
        if any(map(_repeats_a_key, found.columns)):
            return slow(data, rows)
        held = is_sure or unions_hold(layout, found, data)
        if held is None:
            return slow(data, rows)
        if not held:
            raise Damaged("the index of a union names none of its branches")
        return found

    return decode


def _repeats_a_key(column: pa.Array) -> bool:
    """Whether a map in it tells a key more than once: a reader that makes it a dict keeps one."""
    kind = column.type
    if pa.types.is_struct(kind):
        return any(_repeats_a_key(column.field(n)) for n in range(kind.num_fields))
    if pa.types.is_list(kind):
        return _repeats_a_key(column.values)
    if not pa.types.is_map(kind):
        return False
    offsets = column.offsets.to_numpy()
    keys = column.keys.slice(offsets[0], offsets[-1] - offsets[0])
    owners = np.repeat(np.arange(len(column)), np.diff(offsets))
    told = pa.table({"owner": owners, "key": keys}).group_by(["owner", "key"]).aggregate([])
    return told.num_rows < len(keys) or _repeats_a_key(column.items)


def vectorised(layout: Any) -> Decode:
    """Decode a ``plain`` layout with DataFusion, which takes any index of a union but 0 for 1."""
    header = _header(layout)

    def decode(data: bytes, rows: int) -> pa.RecordBatch:
        framed = (_long(_MORE_THAN_ANY), _long(len(data)), data, _MARKER)
        with _file(header, *framed) as path:
            try:
                batches = _batches(path, rows)
            except BaseException as error:  # its panics are no Exception
                if isinstance(error, KeyboardInterrupt | SystemExit | MemoryError):
                    raise
                raise Damaged(str(error)) from error
        found = sum(batch.num_rows for batch in batches)
        if found != rows or len(batches) != 1:
            raise Damaged(f"{found} rows where {rows} were promised")
        return batches[0]

    return decode


def _batches(path: str, rows: int) -> list[pa.RecordBatch]:
    config = datafusion.SessionConfig().with_batch_size(rows).with_target_partitions(1)
    frame = datafusion.SessionContext(config).read_avro(path, file_extension="")
    return [batch.to_pyarrow() for batch in frame.execute_stream()]


@contextmanager
def _file(*parts: bytes) -> Iterator[str]:
    """Bytes as a file that no name on any disk leads to, where the system can."""
    if not hasattr(os, "memfd_create"):
        with tempfile.NamedTemporaryFile(suffix=".avro") as named:
            named.writelines(parts)
            named.flush()
            yield named.name
        return
    with open(os.memfd_create("rows"), "wb") as file:  # noqa: PTH123
        file.writelines(parts)
        file.flush()
        yield f"/proc/self/fd/{file.fileno()}"


def _header(schema: Any) -> bytes:
    meta = {"avro.schema": json.dumps(schema).encode(), "avro.codec": b"null"}
    entries = [_text(key.encode()) + _text(value) for key, value in meta.items()]
    return b"".join((b"Obj\x01", _long(len(entries)), *entries, _long(0), _MARKER))


def _text(data: bytes) -> bytes:
    return _long(len(data)) + data


def _long(value: int) -> bytes:
    value <<= 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(out) + bytes([value])


def by_rows(schema: Any, record: Mapping[str, Any]) -> Decode:
    """Decode with fastavro, without its logical types: Python's dates are narrower than Avro's."""
    bare = fastavro.parse_schema(_bare(schema))
    names = [field["name"] for field in record["fields"]]
    kinds = [_roomy(field["type"]) for field in record["fields"]]
    makes = [_maker(field["type"]) for field in record["fields"]]

    def decode(data: bytes, rows: int) -> pa.RecordBatch:
        stream = io.BytesIO(data)
        try:
            found: list[Any] = [fastavro.schemaless_reader(stream, bare, None) for _ in range(rows)]
            if stream.tell() != len(data):
                raise Damaged(f"{len(data) - stream.tell()} bytes after the last row")
            columns = [
                pa.array([make(row[name]) for row in found], kind)
                for name, kind, make in zip(names, kinds, makes, strict=True)
            ]
        except Damaged:
            raise
        except Exception as error:  # broken bytes meet any line of a decoder
            raise Damaged(f"{type(error).__name__}: {error}") from error
        if not columns:
            return pa.RecordBatch.from_struct_array(pa.array([{}] * rows, pa.struct([])))
        return pa.RecordBatch.from_arrays(columns, names=names)

    return decode


def _bare(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_bare(branch) for branch in schema]
    if not isinstance(schema, dict):
        return schema
    dropped = ("logicalType", "default", "aliases", "doc")
    return {k: v if k == "symbols" else _bare(v) for k, v in schema.items() if k not in dropped}


def _roomy(schema: Any) -> pa.DataType:
    """The Arrow type with room for more digits than a decimal's schema allows."""
    digits = decimal_digits(schema)
    if digits and digits[0] <= 76:
        return pa.decimal256(76, digits[1])
    if isinstance(schema, list) and len(values_of(schema)) == 1:
        return _roomy(values_of(schema)[0])
    return arrow(schema)


def _maker(schema: Any) -> Callable[[Any], Any]:
    """What turns a raw value of ``schema`` into one that Arrow takes."""
    if is_text(schema):
        return _as_json
    if digits := decimal_digits(schema):
        return _decimal(*digits)
    if isinstance(schema, list):
        some = values_of(schema)
        make = _maker(some[0]) if len(some) == 1 else _same
        return lambda v: None if v is None else make(v)
    return _container(schema) if isinstance(schema, dict) else _same


def _container(schema: Mapping[str, Any]) -> Callable[[Any], Any]:
    kind = schema["type"]
    if kind == "array":
        item = _maker(schema["items"])
        return lambda v: [item(x) for x in v]
    if kind == "map":
        value = _maker(schema["values"])
        return lambda v: [(key, value(x)) for key, x in v.items()]
    if kind in RECORDS:
        makes = {field["name"]: _maker(field["type"]) for field in schema["fields"]}
        return lambda v: {name: make(v[name]) for name, make in makes.items()}
    return _same


def _same(value: Any) -> Any:
    return value


def _as_json(value: Any) -> str | None:
    if value is None:
        return None
    return json.dumps(value, default=lambda raw: raw.hex(), ensure_ascii=False)


def _decimal(precision: int, scale: int) -> Callable[[bytes], Decimal | str]:
    def make(raw: bytes) -> Decimal | str:
        unscaled = int.from_bytes(raw, "big", signed=True)
        digits = tuple(map(int, str(abs(unscaled))))
        exact = Decimal((unscaled < 0, digits, -scale))
        return exact if precision <= 76 else f"{exact:f}"

    return make
