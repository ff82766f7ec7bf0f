"""Datastream's records and instants, which no column takes as they are, as texts and numbers."""

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pyarrow as pa

from malacate.contracts.rules import as_json
from malacate.formats.jsonl_values import Number
from malacate.sources.cdc.datastream_texts import clock, flattened

INFINITY = {9223372036825200000: "infinity", -9223372036832400000: "-infinity"}
"""Postgres's timestamps beyond all others, in microseconds as Datastream tells them."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def json_text(value: Any) -> str:
    """Any value as JSON text."""
    text = as_json(pa.RecordBatch.from_pylist([{"v": value}])).decode()
    return text[6:-1]


def interval(micros: int) -> str:
    """A MySQL time, which may be negative and longer than a day."""
    seconds, rest = divmod(abs(micros), 1_000_000)
    fraction = f".{rest:06d}" if rest else ""
    sign = "-" if micros < 0 else ""
    return f"{sign}{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}{fraction}"


def instant_text(micros: int, zone: timezone = UTC) -> str:
    """Microseconds since 1970 as an instant, or an infinity."""
    if micros in INFINITY:
        return INFINITY[micros]
    return (_EPOCH + timedelta(microseconds=micros)).astimezone(zone).isoformat()


def _zoned_text(value: Mapping[str, Any]) -> str:
    return instant_text(value["timestamp"], timezone(timedelta(milliseconds=value["offset"])))


def _zoned_clock(value: Mapping[str, Any]) -> str:
    offset = datetime(2000, 1, 1, tzinfo=timezone(timedelta(milliseconds=value["offset"])))
    return clock(_micros(value["time"])) + offset.strftime("%z")


def _date_text(value: Mapping[str, Any]) -> str:
    return f"{value['year']:04d}-{value['month']:02d}-{value['day']:02d}"


def _datetime_text(value: Mapping[str, Any]) -> str:
    day = value["date"]
    day = day if hasattr(day, "isoformat") else (_EPOCH + timedelta(days=day)).date()
    return f"{day.isoformat()}T{clock(_micros(value['time']))}"


def _micros(value: Any) -> int:
    if isinstance(value, int):
        return value
    seconds: int = (value.hour * 60 + value.minute) * 60 + value.second
    return seconds * 1_000_000 + int(value.microsecond)


def _interval_text(value: Mapping[str, Any]) -> str:
    """As ISO 8601 has it."""
    months, hours = value["months"], value["hours"]
    seconds, rest = divmod(abs(value["micros"]), 1_000_000)
    sign = "-" if value["micros"] < 0 else ""
    return f"P{months}MT{hours}H{sign}{seconds}{f'.{rest:06d}' if rest else ''}S"


def _array(value: Any) -> Any:
    return _numbered(flattened(_parsed(value)))


def _parsed(value: Any) -> Any:
    """The levels below the first come as JSON text: there the type refers to itself."""
    if isinstance(value, dict) and value.get("nestedArray") is not None:
        inner = [json.loads(one) if isinstance(one, str) else one for one in value["nestedArray"]]
        return {**value, "nestedArray": inner}
    return value


def _numbered(value: Any) -> Any:
    if isinstance(value, list):
        return [_numbered(one) for one in value]
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return Number(repr(value)) if is_number else value


def takes(wanted: pa.DataType, parts: tuple[str, ...]) -> bool:
    """Whether a record of these parts can become a column of type ``wanted``."""
    if pa.types.is_string(wanted):
        return True
    if parts in (("year",),):
        return bool(pa.types.is_integer(wanted))
    tests = {"nestedArray": pa.types.is_list, "day": pa.types.is_date, "date": _is_local,
             "offset": pa.types.is_time, "length": _is_scalar}  # fmt: skip
    return any(name in parts and test(wanted) for name, test in tests.items())


def _is_local(kind: pa.DataType) -> bool:
    return bool(pa.types.is_timestamp(kind) and kind.tz is None)


def _is_scalar(kind: pa.DataType) -> bool:
    return not pa.types.is_nested(kind)


RECORD_TEXTS: Mapping[frozenset[str], Callable[[Any], Any]] = {
    frozenset({"timestamp", "offset"}): _zoned_text,
    frozenset({"time", "offset"}): _zoned_clock,
    frozenset({"year", "month", "day"}): _date_text,
    frozenset({"date", "time"}): _datetime_text,
    frozenset({"months", "hours", "micros"}): _interval_text,
    frozenset({"value", "length"}): lambda value: value["value"],
    frozenset({"year"}): lambda value: Number(value["year"]),
    frozenset({"nestedArray", "elementValue"}): _array,
}
