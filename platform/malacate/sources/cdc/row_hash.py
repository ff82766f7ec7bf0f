"""The key of a row whose table has none: a hash of all that is in it."""

import hashlib
import json

import pyarrow as pa
import pyarrow.compute as pc


def row_hash(rows: pa.RecordBatch) -> pa.Array:
    """SHA-256 of each row's canonical text, in hexadecimal.

    The text is ``name=length:value;`` of each column that is not null, by name: a column that a
    table gained and that is null in its older rows leaves their hashes as they were. Numbers and
    text stand as they print, instants and days as their count, floating point as its bits.
    """
    names = sorted(rows.schema.names)
    cells = [pc.fill_null(_cells(name, rows.column(name)), b"") for name in names]
    texts = pc.binary_join_element_wise(*cells, b"", b"")
    return pa.array([hashlib.sha256(text).hexdigest() for text in texts.to_pylist()], pa.string())


def _cells(name: str, values: pa.Array) -> pa.Array:
    text = _text(values)
    length = pc.binary_length(text).cast(pa.string()).cast(pa.binary())
    parts = (f"{name}=".encode(), length, b":", text, b";", b"")
    return pc.binary_join_element_wise(*parts)


def _text(values: pa.Array) -> pa.Array:
    kind = values.type
    if pa.types.is_floating(kind):
        values = values.view(pa.int64() if kind == pa.float64() else pa.int32())
    elif pa.types.is_temporal(kind):
        values = values.view(pa.int64() if kind.bit_width == 64 else pa.int32())
    elif pa.types.is_nested(kind):
        cells = values.to_pylist()
        texts = [None if c is None else json.dumps(c, default=str, sort_keys=True) for c in cells]
        values = pa.array(texts, pa.string())
    return values.cast(pa.binary() if pa.types.is_binary(kind) else pa.string()).cast(pa.binary())
