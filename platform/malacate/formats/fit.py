"""Decoded Arrow rows -> rows of a contract: cast where exact, rejected one by one where not."""

from collections.abc import Iterator, Mapping

import pyarrow as pa
import pyarrow.compute as pc

from malacate.batch import Chunk, Reject
from malacate.contracts.rules import as_json
from malacate.contracts.table import Table
from malacate.contracts.types import unencoded
from malacate.errors import UnreadableFile

ROWS = 65_536
"""How many rows a chunk has at most."""

_MISFITS = (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError)


def fit(
    table: Table, sources: Mapping[str, str | None], rows: pa.RecordBatch, first_row: int
) -> Iterator[Chunk]:
    """``rows`` as chunks of ``table``; a value its column cannot hold exactly rejects its row."""
    for start in range(0, rows.num_rows, ROWS):
        yield _fit(table, sources, rows.slice(start, ROWS), first_row + start)


def _fit(
    table: Table, sources: Mapping[str, str | None], rows: pa.RecordBatch, first_row: int
) -> Chunk:
    try:
        return Chunk(_batch(table, sources, rows))
    except _MISFITS:
        broken = _broken(table, sources, rows)
    keep = [index for index in range(rows.num_rows) if index not in broken]
    rejects = [
        Reject(first_row + index, "does_not_fit", detail, as_json(rows.slice(index, 1)))
        for index, detail in sorted(broken.items())
    ]
    good = _batch(table, sources, rows.take(pa.array(keep, pa.int64())))
    return Chunk(good, rejects, [first_row + index for index in keep])


def _batch(table: Table, sources: Mapping[str, str | None], rows: pa.RecordBatch) -> pa.RecordBatch:
    arrays = []
    for column in table.columns:
        source = sources[column.name]
        missing = source is None
        arrays.append(
            pa.nulls(rows.num_rows, column.type)
            if missing
            else cast(rows.column(source), column.type)
        )
    return pa.RecordBatch.from_arrays(arrays, names=table.schema.names)


def _broken(
    table: Table, sources: Mapping[str, str | None], rows: pa.RecordBatch
) -> dict[int, str]:
    broken: dict[int, str] = {}
    for column in table.columns:
        source = sources[column.name]
        if source is None:
            continue
        values = rows.column(source)
        try:
            cast(values, column.type)
        except _MISFITS:
            for index in range(len(values)):
                try:
                    # A slice would be cast with the values of its neighbours' lists.
                    cast(values.take(pa.array([index])), column.type)
                except _MISFITS as error:
                    broken.setdefault(index, f"{column.name} is no {column.sql_type}: {error}")
    return broken


def cast(values: pa.Array, kind: pa.DataType) -> pa.Array:
    """``values`` as ``kind``; raises ``ArrowInvalid`` where that would lose anything."""
    if values.type != kind:
        values = pc.cast(values, kind, safe=True)
    _check(values)
    return values


def _check(values: pa.Array) -> None:
    """Raise ``ArrowInvalid`` for values, also nested ones, that are beyond their own type."""
    kind = values.type
    if pa.types.is_decimal(kind):
        # A writer may put more digits into a decimal than its schema allows.
        values.validate(full=True)
    elif pa.types.is_time(kind):
        _check_time(values)
    elif not _is_limited(kind):
        return
    elif pa.types.is_struct(kind):
        for field in values.flatten():
            _check(field)
    elif pa.types.is_map(kind):
        start, end = values.offsets[0].as_py(), values.offsets[-1].as_py()
        _check(values.items[start:end])
    else:
        _check(values.flatten())


def _is_limited(kind: pa.DataType) -> bool:
    """Whether Arrow holds values of ``kind`` that are none."""
    if pa.types.is_nested(kind):
        return any(_is_limited(kind.field(i).type) for i in range(kind.num_fields))
    return bool(pa.types.is_decimal(kind) or pa.types.is_time(kind))


def _check_time(values: pa.Array) -> None:
    ends = pc.min_max(values.view(f"int{values.type.bit_width}")).as_py()
    day = 86_400 * {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[values.type.unit]
    if ends["min"] is not None and not 0 <= ends["min"] <= ends["max"] < day:
        raise pa.ArrowInvalid("not a time of day")


def as_delivered(kind: pa.DataType) -> pa.DataType:
    """``kind`` as a contract can name it: instants in UTC, in microseconds at the finest.

    Nanoseconds that are not whole microseconds reject their row, value by value. Within lists,
    maps and structs instants are in microseconds: there no unit widens by itself.
    """
    if pa.types.is_nested(kind):
        return _nested(kind)
    if pa.types.is_timestamp(kind):
        unit = "us" if kind.unit == "ns" else kind.unit
        return pa.timestamp(unit, "UTC" if kind.tz else None)
    if pa.types.is_time(kind):
        return pa.time64("us")
    return kind


def _nested(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_within(field.type)) for field in kind])
    if pa.types.is_map(kind):
        return pa.map_(_within(kind.key_type), _within(kind.item_type))
    return pa.list_(_within(kind.value_type)) if pa.types.is_list(unencoded(kind)) else kind


def _within(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_timestamp(kind):
        return pa.timestamp("us", "UTC" if kind.tz else None)
    return as_delivered(kind)


def unique(names: list[str]) -> None:
    """Refuse a file with two columns of one name: which of them is meant cannot be known."""
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UnreadableFile(
            "a file has two columns of one name",
            "Ask for it with distinct column names.",
            actual=", ".join(map(repr, twice)),
            reason="duplicate_column",
        )
