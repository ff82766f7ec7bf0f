"""Plain JSON lines by Arrow's reader, seven times as fast; anything odd is left to the exact way.

Plain is a block in which each line holds exactly one flat object of the contract's scalars:

- every line begins with ``{`` and ends with ``}``, and no text can hold a newline, so that each
  newline stands between two objects;
- there are as many ``{`` as lines, as many rows as lines, and no ``[``: no nesting, no line of two;
- no ``NaN`` or ``Inf``, no escaped surrogate, no NUL, valid UTF-8: what Arrow would let pass;
- no key twice and no value of another type: Arrow refuses those, as numbers beyond their type.

Numbers reach Arrow's conversions as text, the same that the exact way uses.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.json as pj

from malacate.contracts.table import Column
from malacate.formats.csv_cells import Cells

_ODD = (b"[", b"NaN", b"Inf", b"\\ud", b"\\uD", b"\\u0000", b"\0", b"\r")


@dataclass(frozen=True)
class Plain:
    """Columns of a plain block, and the keys in it that no column knows."""

    columns: Sequence[pa.Array]
    unknown: Sequence[str]


def plain(data: bytes, columns: Sequence[Column], known: set[str]) -> Plain | None:
    """The columns of a block of whole lines; ``None`` where the exact way has to decide."""
    count = data.count(b"\n")
    if not _is_flat(data, count) or not all(_is_simple(column.type) for column in columns):
        return None
    names = [column.delivered_as for column in columns]
    fields = [(column.delivered_as, _read_as(column.type)) for column in columns]
    try:
        data.decode()
        table = pj.read_json(
            pa.BufferReader(data),
            pj.ReadOptions(use_threads=False, block_size=len(data) + 1),
            pj.ParseOptions(pa.schema(fields), unexpected_field_behavior="infer"),
        )
    except (pa.ArrowException, UnicodeDecodeError):
        return None
    unknown = [name for name in table.column_names if name not in names]
    if table.num_rows != count or not known.isdisjoint(unknown):
        return None
    arrays = []
    for column in columns:
        found = table.column(column.delivered_as).combine_chunks()
        if found.type != column.type:
            found, bad = Cells(column).values(found)
            if bad:
                return None
        arrays.append(found)
    return Plain(arrays, unknown)


def _is_flat(data: bytes, count: int) -> bool:
    return (
        data.startswith(b"{")
        and data.endswith(b"}\n")
        and data.count(b"}\n{") == count - 1
        and data.count(b"{") == count
        and not any(odd in data for odd in _ODD)
    )


def _is_simple(kind: pa.DataType) -> bool:
    return not pa.types.is_nested(kind) and not pa.types.is_float32(kind)


def _read_as(kind: pa.DataType) -> pa.DataType:
    return pa.string() if pa.types.is_temporal(kind) or pa.types.is_binary(kind) else kind
