"""Values as Debezium spells them -> values as JSON events have them: exact texts and numbers.

The schema that came with an event says how each is meant. Without one the contract's type says it,
and where that leaves two readings the declaration has to: nothing is guessed.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Literal

import pyarrow as pa

from malacate.contracts.table import Column
from malacate.formats.avro_types import values_of
from malacate.formats.jsonl_values import Number, as_text
from malacate.sources.cdc.datastream_texts import Binary, Unfit, as_bytes, clock

Decimals = Literal["precise", "string", "double"]
Times = Literal["millis", "micros", "nanos"]

UNAVAILABLE = "__debezium_unavailable_value"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UNITS = {"millis": 1_000_000, "micros": 1_000, "nanos": 1}


class Undeclared(Exception):
    """A value that could be read in two ways; the message is what to declare."""


@dataclass(frozen=True)
class Spelling:
    """How values without a schema are spelled, as the connector's settings have it.

    ``decimals`` is its ``decimal.handling.mode``, ``times`` the unit in which times and timestamps
    are counted, ``binary`` its ``binary.handling.mode``, ``unavailable`` the text for a value that
    did not change and was not sent.
    """

    decimals: Decimals | None = None
    times: Times | None = None
    binary: Binary | None = None
    unavailable: str = UNAVAILABLE


@dataclass(frozen=True)
class Meant:
    """What a schema says of a field: its type, its semantic name, its scale."""

    kind: str = ""
    name: str = ""
    scale: int | None = None


def of_json_schema(schema: Mapping[str, Any] | None) -> dict[str, Meant]:
    """The fields of a row in the schema of Kafka Connect's JSON converter."""
    return {
        str(one.get("field")): Meant(
            str(one.get("type")), str(one.get("name") or ""), _scale(one.get("parameters"))
        )
        for one in (schema or {}).get("fields") or ()
    }


def of_avro_schema(record: Mapping[str, Any]) -> dict[str, Meant]:
    """The fields of a row in Avro, as Kafka Connect's converter notes them."""
    found = {}
    for one in record["fields"]:
        schema = one["type"]
        if isinstance(schema, list) and len(values_of(schema)) == 1:
            (schema,) = values_of(schema)
        noted = schema if isinstance(schema, dict) else {"type": schema}
        name = str(noted.get("connect.name") or "")
        scale = _scale(noted.get("connect.parameters"))
        found[one["name"]] = Meant(str(noted["type"]), name, scale)
    return found


def _scale(parameters: Any) -> int | None:
    text = str((parameters or {}).get("scale", ""))
    return int(text) if text.isdecimal() else None


def plain(value: Any) -> Any:
    """A value of Avro's as JSON would have it; bytes stay bytes."""
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, Decimal):
        return Number(f"{value:f}")
    if isinstance(value, date | time):
        return value.isoformat()
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return Number(repr(value)) if is_number else value


def is_unavailable(value: Any, marker: str) -> bool:
    """Whether a value stands for one that was not sent: as text, bytes, or items of an array."""
    if isinstance(value, list) and len(value) == 1:
        return is_unavailable(value[0], marker)
    if isinstance(value, dict) and len(value) == 1:
        return is_unavailable(next(iter(value)), marker)
    if isinstance(value, bytes):
        return value == marker.encode()
    if not isinstance(value, str) or len(value) < len(marker):
        return False
    return value == marker or _bytes_or_none(value) == marker.encode()


def _bytes_or_none(text: str) -> bytes | None:
    for binary in ("base64", "hex"):
        try:
            return as_bytes(text, binary)
        except Unfit:
            continue
    return None


def spelled(value: Any, meant: Meant | None, column: Column, spelling: Spelling) -> Any:
    """``value`` as the columns of JSON events are made of; raises ``Unfit``, ``Undeclared``."""
    if value is None:
        return None
    if meant is None:
        return _by_contract(value, column.type, spelling)
    if make := _SEMANTIC.get(meant.name.rpartition(".")[2]) if "." in meant.name else None:
        return make(value, meant, column)
    if pa.types.is_binary(column.type):
        if meant.kind == "bytes":
            return as_bytes(value, "base64")
        return as_bytes(value, _need(spelling.binary, "binary: base64 or hex"))
    return value


def _by_contract(value: Any, kind: pa.DataType, spelling: Spelling) -> Any:
    is_number = isinstance(value, Number)
    if pa.types.is_date(kind):
        return _day(value) if is_number else _zoneless(value)
    if (pa.types.is_timestamp(kind) or pa.types.is_time(kind)) and is_number:
        unit = _UNITS[_need(spelling.times, "times: millis, micros or nanos")]
        return (_clock if pa.types.is_time(kind) else _instant)(int(value) * unit)
    if pa.types.is_timestamp(kind) or pa.types.is_time(kind):
        return value
    if pa.types.is_decimal(kind):
        return _decimal_by_contract(value, kind, spelling)
    if pa.types.is_binary(kind):
        if isinstance(value, bytes):
            return value
        return as_bytes(value, _need(spelling.binary, "binary: base64 or hex"))
    return value


def _decimal_by_contract(value: Any, kind: pa.DataType, spelling: Spelling) -> Any:
    if isinstance(value, dict):
        return _variable(value)
    if isinstance(value, bytes):
        return _unscaled(value, kind.scale)
    if isinstance(value, Number) or not isinstance(value, str):
        return value
    mode = _need(spelling.decimals, "decimals: precise, string or double")
    return _unscaled(value, kind.scale) if mode == "precise" else value


def _need(said: Any, what: str) -> Any:
    if said is None:
        raise Undeclared(what)
    return said


def _zoneless(value: Any) -> Any:
    return value.removesuffix("Z") if isinstance(value, str) and len(value) == 11 else value


def _count(value: Any) -> int:
    if isinstance(value, str) and value.removeprefix("-").isdecimal():
        return int(value)
    raise Unfit("it is no count of days or of parts of a second")


def _day(value: Any) -> str:
    try:
        return (_EPOCH + timedelta(days=_count(value))).date().isoformat()
    except OverflowError as error:
        raise Unfit("the day is beyond the calendar") from error


def _instant(nanos: int) -> str:
    micros, rest = divmod(nanos, 1000)
    if rest:
        raise Unfit("it is finer than a microsecond")
    try:
        return (_EPOCH + timedelta(microseconds=micros)).isoformat()
    except OverflowError as error:
        raise Unfit("the instant is beyond the calendar") from error


def _clock(nanos: int) -> str:
    micros, rest = divmod(nanos, 1000)
    if rest:
        raise Unfit("it is finer than a microsecond")
    return clock(micros)


def _unscaled(value: Any, scale: int) -> Number:
    raw = as_bytes(value, "base64")
    unscaled = int.from_bytes(raw, "big", signed=True)
    digits = tuple(map(int, str(abs(unscaled))))
    return Number(f"{Decimal((unscaled < 0, digits, -scale)):f}")


def _variable(value: Any) -> Number:
    if not isinstance(value, dict) or not {"scale", "value"} <= value.keys():
        raise Unfit("it has no scale and value")
    return _unscaled(value["value"], _count(value["scale"]))


Make = Callable[[Any, Meant, Column], Any]


def _kept(make: Callable[[Any], Any]) -> Make:
    """What already came as text stays so: Avro has some of these types itself."""
    return lambda value, meant, column: make(value) if isinstance(value, Number) else value


def _counted(unit: str, make: Callable[[int], str]) -> Make:
    return _kept(lambda value: make(_count(value) * _UNITS[unit]))


def _duration(value: Any, meant: Meant, column: Column) -> Any:
    """Microseconds: a number, a time of day, or as they are in text."""
    if pa.types.is_time(column.type):
        return clock(_count(value))
    return value


def _decimal(value: Any, meant: Meant, column: Column) -> Any:
    if isinstance(value, Number):
        return value
    if meant.scale is None:
        raise Unfit("its schema has no scale")
    return _unscaled(value, meant.scale)


def _geometry(value: Any, meant: Meant, column: Column) -> Any:
    """Its well-known bytes, or all of it as JSON text."""
    if pa.types.is_binary(column.type) and isinstance(value, dict):
        return as_bytes(value.get("wkb"), "base64")
    return value if isinstance(value, str) else as_text(_hexed(value))


def _hexed(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _hexed(one) for key, one in value.items()}
    return value.hex() if isinstance(value, bytes) else value


_SEMANTIC: Mapping[str, Make] = {
    "Date": _kept(_day),
    "IsoDate": lambda value, meant, column: _zoneless(value),
    "Time": _counted("millis", _clock),
    "MicroTime": _counted("micros", _clock),
    "NanoTime": _counted("nanos", _clock),
    "Timestamp": _counted("millis", _instant),
    "MicroTimestamp": _counted("micros", _instant),
    "NanoTimestamp": _counted("nanos", _instant),
    "MicroDuration": _duration,
    "Decimal": _decimal,
    "VariableScaleDecimal": lambda value, meant, column: _variable(value),
    "Geometry": _geometry,
    "Geography": _geometry,
    "Point": _geometry,
}
