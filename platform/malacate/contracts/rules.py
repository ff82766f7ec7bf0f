"""The split: good rows | quarantined rows, by what the contract promises of single rows.

``rows in = good + quarantined``, always. Promises about a whole table (unique keys, counts) are
checks, not rules.
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal, localcontext
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from malacate.contracts.chunk import Chunk, Reject
from malacate.contracts.table import Column, Table

_LAST_INSTANT = 253_402_300_799_999_999
_FIRST_INSTANT = -62_135_596_800_000_000
_LAST_DAY, _FIRST_DAY = 2_932_896, -719_162


def split(table: Table, chunk: Chunk, first_row: int) -> Chunk:
    """Move the rows that break a rule from ``chunk.rows`` to its rejects.

    ``first_row`` is the place of the chunk's first row in its batch. The first rule that a row
    breaks, in column order, is its reason.
    """
    broken: dict[int, tuple[str, str]] = {}
    for column in table.columns:
        values = chunk.rows.column(column.name)
        for reason, detail, bad in _broken(column, values):
            for index in pc.indices_nonzero(bad).to_pylist():
                broken.setdefault(index, (reason, f"{column.name} {detail}"))
    return put_aside(chunk, broken, first_row)


def put_aside(chunk: Chunk, broken: Mapping[int, tuple[str, str]], first_row: int) -> Chunk:
    """Move rows from ``chunk.rows`` to its rejects: by index, for a reason, with a detail."""
    if not broken:
        return chunk
    rows = chunk.rows
    places = chunk.positions or range(first_row, first_row + rows.num_rows)
    keep = [index for index in range(rows.num_rows) if index not in broken]
    rejects = [
        Reject(places[index], *why, as_json(rows.slice(index, 1)))
        for index, why in sorted(broken.items())
    ]
    good = rows.take(pa.array(keep, pa.int64()))
    return Chunk(good, [*chunk.rejects, *rejects], [places[index] for index in keep])


def as_json(row: pa.RecordBatch) -> bytes:
    """One row as JSON text, exact: numbers that JSON would round are strings."""
    values = {name: _value(row.column(i)) for i, name in enumerate(row.schema.names)}
    return json.dumps(values, default=_exact, ensure_ascii=False).encode("utf-8", "surrogateescape")


def _value(column: pa.Array) -> Any:
    try:
        return _finite(column.to_pylist()[0])
    except UnicodeDecodeError:
        return column.cast(pa.binary()).to_pylist()[0]
    except (OverflowError, ValueError):
        # Arrow holds instants and days that Python's calendar does not reach.
        return _finite(column.cast(_counted(column.type)).to_pylist()[0])


def _counted(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_temporal(kind):
        return pa.int64() if kind.bit_width == 64 else pa.int32()
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return pa.list_(_counted(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([(field.name, _counted(field.type)) for field in kind])
    if pa.types.is_map(kind):
        return pa.map_(_counted(kind.key_type), _counted(kind.item_type))
    return kind


def _finite(value: Any) -> Any:
    """``value`` without the NaN and infinities that JSON has no number for."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _exact(value: Any) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)


def _broken(column: Column, values: pa.Array) -> Iterator[tuple[str, str, pa.Array]]:
    if column.required and values.null_count:
        yield "required_missing", "is required and null", pc.is_null(values)
    for test in (_not_finite, _outside, _not_an_instant, _not_text):
        for reason, detail, bad in test(column, values):
            yield reason, detail, pc.fill_null(bad, False)


Finding = Iterator[tuple[str, str, pa.Array]]


def _not_finite(column: Column, values: pa.Array) -> Finding:
    if pa.types.is_floating(column.type):
        finite = pc.is_finite(values)
        if pc.all(finite).as_py() is False:
            yield "not_finite", "is NaN or infinite", pc.invert(finite)


def _outside(column: Column, values: pa.Array) -> Finding:
    low, high = column.minimum, column.maximum
    if low is None and high is None:
        return
    found = pc.min_max(values).as_py()
    if low is not None and _is(found["min"], lambda v: v < low):
        below = pc.less(*_comparable(values, low, ROUND_CEILING))
        yield "below_minimum", f"is below {low:g}", below
    if high is not None and _is(found["max"], lambda v: v > high):
        above = pc.greater(*_comparable(values, high, ROUND_FLOOR))
        yield "above_maximum", f"is above {high:g}", above


def _is(value: Any, test: Callable[[Any], bool]) -> bool:
    return value is not None and test(value)


def _comparable(values: pa.Array, bound: float, rounding: str) -> tuple[pa.Array, pa.Scalar]:
    """``values`` and ``bound`` in one type that holds both, the bound rounded to their steps."""
    kind = values.type
    if pa.types.is_floating(kind):
        return values, pa.scalar(bound, kind)
    scale = kind.scale if pa.types.is_decimal(kind) else 0
    with localcontext(prec=80):
        step = Decimal(str(bound)).quantize(Decimal(1).scaleb(-scale), rounding)
    if pa.types.is_integer(kind):
        return values, pa.scalar(int(step))
    wide = pa.decimal256(76, scale)
    return values.cast(wide), pa.scalar(step, wide)


def _not_an_instant(column: Column, values: pa.Array) -> Finding:
    if pa.types.is_timestamp(column.type):
        counted, first, last = values.view(pa.int64()), _FIRST_INSTANT, _LAST_INSTANT
    elif pa.types.is_date32(column.type):
        counted, first, last = values.view(pa.int32()), _FIRST_DAY, _LAST_DAY
    else:
        return
    found = pc.min_max(counted).as_py()
    if _is(found["min"], lambda v: v < first) or _is(found["max"], lambda v: v > last):
        outside = pc.or_(pc.less(counted, first), pc.greater(counted, last))
        yield "not_an_instant", "is outside the years 1 to 9999 (infinity, perhaps)", outside


def _not_text(column: Column, values: pa.Array) -> Finding:
    if not pa.types.is_string(column.type):
        return
    if column.max_length is not None:
        long = pc.greater(pc.utf8_length(values), column.max_length)
        yield "too_long", f"is longer than {column.max_length}", long
    if column.pattern:
        fits = pc.match_substring_regex(values, f"^(?:{column.pattern})$")
        yield "pattern_mismatch", f"does not match {column.pattern}", pc.invert(fits)
    if column.allowed:
        known = pc.is_in(values, pa.array(column.allowed, pa.string()))
        bad = pc.and_(pc.invert(known), pc.is_valid(values))
        yield "not_allowed", f"is none of {', '.join(column.allowed)}", bad
