"""Datastream's unified types in Avro -> columns of a contract, exactly.

A column that is no type of the contract's is drift of the file; a value that its column cannot
hold rejects its event.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from malacate.contracts.drift import same as alike
from malacate.contracts.drift import widens
from malacate.contracts.table import Column
from malacate.formats.avro_types import RECORDS, arrow, values_of
from malacate.formats.csv_cells import Bad
from malacate.formats.fit import as_delivered, cast
from malacate.sources.cdc.datastream_records import (
    RECORD_TEXTS,
    instant_text,
    interval,
    json_text,
    takes,
)
from malacate.sources.cdc.datastream_texts import Unfit, columns_of

Convert = Callable[[pa.Array], pa.Array]

_MISFITS = (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError)
_INTERVAL_MICROS = "time-interval-micros"
_LOGICAL = {
    "timestamp-millis": pa.timestamp("ms", "UTC"), "timestamp-micros": pa.timestamp("us", "UTC"),
    "date": pa.date32(), "time-micros": pa.time64("us"), "time-millis": pa.time32("ms"),
}  # fmt: skip


@dataclass(frozen=True)
class Unified:
    """A field of a payload: its Arrow type, its logical type, and its record's fields if any.

    Old files have the logical type on the field itself.
    """

    kind: pa.DataType
    logical: str = ""
    parts: tuple[str, ...] = ()

    @classmethod
    def of(cls, field: Mapping[str, Any]) -> "Unified":
        """The field of an expanded schema."""
        schema = field["type"]
        if isinstance(schema, list) and len(values_of(schema)) == 1:
            (schema,) = values_of(schema)
        kind = arrow(schema)
        described = schema if isinstance(schema, dict) else {}
        is_record = described.get("type") in RECORDS
        parts = tuple(part["name"] for part in described["fields"]) if is_record else ()
        logical = str(described.get("logicalType") or field.get("logicalType") or "")
        return cls(kind, logical, parts)

    @property
    def delivered(self) -> pa.DataType:
        """The type that drift is told with."""
        return as_delivered(self._meant)

    @property
    def _meant(self) -> pa.DataType:
        meant = _LOGICAL.get(self.logical)
        if meant is None or not pa.types.is_integer(self.kind):
            return self.kind
        return meant if meant.bit_width == self.kind.bit_width else self.kind

    def to(self, column: Column) -> Callable[[pa.Array], tuple[pa.Array, Bad]] | None:
        """What makes the column of this field; ``None`` if the two are of different kinds."""
        if make := self._vectorised(column.type):
            meant = self._meant
            return lambda values: _salvaged(
                values if values.type == meant or not _is_bare(values) else values.view(meant),
                make, column,
            )  # fmt: skip
        if texts := self._texts(column.type):
            return lambda values: _by_value(values, texts, column)
        return None

    def _vectorised(self, wanted: pa.DataType) -> Convert | None:
        kind, is_number = self._meant, _is_exact(self._meant)
        if pa.types.is_timestamp(kind) and pa.types.is_timestamp(wanted):
            if wanted.tz is None or kind.tz is not None:
                return lambda values: cast(values, pa.timestamp("us", kind.tz)).view(wanted)
            return None
        if pa.types.is_timestamp(kind) and pa.types.is_date(wanted):
            return _days
        if is_number and _is_exact(wanted):
            return lambda values: cast(values, wanted)
        if pa.types.is_integer(kind) and pa.types.is_boolean(wanted):
            return _booleans
        if pa.types.is_integer(kind) and self.logical == _INTERVAL_MICROS:
            return _times if pa.types.is_time(wanted) else None
        if set(self.parts) == {"timestamp", "offset"} and pa.types.is_timestamp(wanted):
            return _instants if wanted.tz else None
        if alike(as_delivered(kind), wanted) or widens(as_delivered(kind), wanted):
            return lambda values: cast(values, wanted)
        return None

    def _texts(self, wanted: pa.DataType) -> Callable[[Any], Any] | None:
        """What makes a value of Python's one that JSON could have had."""
        if record := RECORD_TEXTS.get(frozenset(self.parts)):
            return record if takes(wanted, self.parts) else None
        if pa.types.is_string(self.kind):
            is_number = self.logical == "number" and (_is_exact(wanted) or _is_float(wanted))
            return _same if is_number or pa.types.is_binary(wanted) else None
        if not pa.types.is_string(wanted):
            return None
        if self.logical == _INTERVAL_MICROS:
            return interval
        if pa.types.is_timestamp(self._meant):
            return instant_text
        return json_text if pa.types.is_nested(self.kind) else None


def _is_bare(values: pa.Array) -> bool:
    return bool(pa.types.is_integer(values.type))


def _is_exact(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_decimal(kind))


def _is_float(kind: pa.DataType) -> bool:
    return bool(pa.types.is_floating(kind))


def _days(values: pa.Array) -> pa.Array:
    micros = cast(values, pa.timestamp("us", values.type.tz)).view(pa.int64())
    days = pc.divide(micros, 86_400_000_000)
    if pc.any(pc.not_equal(pc.multiply(days, 86_400_000_000), micros)).as_py():
        raise pa.ArrowInvalid("not the beginning of a day")
    return pc.cast(days, pa.int32(), safe=True).view(pa.date32())


def _booleans(values: pa.Array) -> pa.Array:
    known = pc.is_in(values.drop_null(), pa.array([0, 1], values.type))
    if pc.all(known).as_py() is False:
        raise pa.ArrowInvalid("neither 0 nor 1")
    return pc.cast(values, pa.bool_())


def _times(values: pa.Array) -> pa.Array:
    return cast(values.view(pa.time64("us")), pa.time64("us"))


def _instants(values: pa.StructArray) -> pa.Array:
    """``timestamp`` is the instant; ``offset`` only says which clock showed it."""
    found = pc.struct_field(values, "timestamp")
    return found.view(pa.timestamp("us", "UTC")) if _is_bare(found) else cast(
        found, pa.timestamp("us", "UTC")
    )  # fmt: skip


def _salvaged(values: pa.Array, make: Convert, column: Column) -> tuple[pa.Array, Bad]:
    """``values`` converted, with null for each that cannot be."""
    try:
        return make(values), {}
    except _MISFITS as error:
        if len(values) == 1:
            detail = f"{column.name} is no {column.sql_type}: {error}"
            return pa.nulls(1, column.type), {0: ("does_not_fit", detail)}
    middle = len(values) // 2
    head, bad = _salvaged(_part(values, 0, middle), make, column)
    tail, more = _salvaged(_part(values, middle, len(values)), make, column)
    return pa.concat_arrays([head, tail]), {**bad, **{middle + i: why for i, why in more.items()}}


def _part(values: pa.Array, start: int, end: int) -> pa.Array:
    # A slice would be cast with the values of its neighbours' lists.
    return values.take(pa.array(range(start, end), pa.int64()))


def _by_value(values: pa.Array, make: Callable[[Any], Any], column: Column) -> tuple[pa.Array, Bad]:
    texts: list[Any] = []
    bad: Bad = {}
    for index, value in enumerate(_python(values)):
        try:
            texts.append(None if value is None else make(value))
        except (Unfit, ValueError, TypeError, OverflowError) as error:
            texts.append(None)
            detail = f"{column.name} is no {column.sql_type}: {error}"
            bad[index] = ("does_not_fit", detail)
    found, more = columns_of(column, texts, "hex")
    return found, {**more, **bad}


def _python(values: pa.Array) -> list[Any]:
    """Values of Python's; instants in microseconds, which no calendar ends."""
    if pa.types.is_timestamp(values.type):
        values = values.cast(pa.timestamp("us", values.type.tz)).view(pa.int64())
    if pa.types.is_struct(values.type):
        parts = {field.name: _python(pc.struct_field(values, field.name)) for field in values.type}
        there = values.is_valid().to_pylist()
        rows = zip(*parts.values(), strict=True)
        return [
            dict(zip(parts, row, strict=True)) if valid else None
            for row, valid in zip(rows, there, strict=True)
        ]
    return list(values.to_pylist())


def _same(value: Any) -> Any:
    return value
