"""Values of JSON events -> columns of a contract, exactly; what a column cannot hold is named.

Change events spell values more freely than drops do: days as midnights, local times with a ``Z``,
numbers as texts, booleans as 0 and 1, bytes as text. Each is one value here, or a reject.
"""

import base64
import binascii
import re
from collections.abc import Callable, Sequence
from typing import Any, Literal

import pyarrow as pa

from malacate.contracts.table import Column
from malacate.formats.csv_cells import Bad
from malacate.formats.jsonl_columns import Columns
from malacate.formats.jsonl_values import Number, as_text

Binary = Literal["base64", "hex"]

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_ODD_NUMBER = re.compile(r"(?i)nan|[+-]?inf(inity)?")
_MIDNIGHT = re.compile(r"(\d{4}-\d\d-\d\d)(?:[T ]00:00(?::00(?:\.0+)?)?(?:Z|[+-]00:?00)?|Z)")
_INSTANT = re.compile(r"(\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d)?)(\.\d+)?(Z|[+-]\d\d(?::?\d\d)?)?")
_CLOCK = re.compile(r"(\d\d:\d\d(?::\d\d)?)(\.\d+)?(Z|[+-]00:?00)?")
_DURATION = re.compile(r"PT(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)(?:\.(\d{1,6}))?S)?")
_NESTED, _ELEMENT = "nestedArray", "elementValue"


class Unfit(Exception):
    """A value that its column does not take."""


def columns_of(
    column: Column, values: Sequence[Any], binary: Binary | None
) -> tuple[pa.Array, Bad]:
    """``values`` in the column's type, null where they cannot be, and why they cannot."""
    bad: Bad = {}
    make = _maker(column.type, binary)
    plain: list[Any] = []
    for index, value in enumerate(values):
        try:
            plain.append(None if value is None else make(value))
        except Unfit as error:
            plain.append(None)
            bad[index] = ("does_not_fit", f"{column.name} is no {column.sql_type}: {error}")
    if pa.types.is_binary(column.type):
        return pa.array(plain, column.type), bad
    found, more = Columns().values(column, plain)
    return found, {**more, **bad}


def _maker(kind: pa.DataType, binary: Binary | None) -> Callable[[Any], Any]:
    if pa.types.is_list(kind):
        item = _maker(kind.value_type, binary)
        return lambda value: _items(value, item)
    if pa.types.is_binary(kind):
        return lambda value: as_bytes(value, binary)
    if pa.types.is_boolean(kind):
        return _boolean
    if pa.types.is_date(kind):
        return _date
    if pa.types.is_timestamp(kind):
        return _instant if kind.tz else _local
    if pa.types.is_time(kind):
        return _clock
    is_number = pa.types.is_integer(kind) or pa.types.is_decimal(kind)
    return _number if is_number or pa.types.is_floating(kind) else _text


def _text(value: Any) -> Any:
    return value.hex() if isinstance(value, bytes) else value


def _number(value: Any) -> Any:
    if isinstance(value, Number) or not isinstance(value, str):
        return value
    if _NUMBER.fullmatch(value) or _ODD_NUMBER.fullmatch(value):
        return Number(value)
    raise Unfit("the text is no number")


def _boolean(value: Any) -> Any:
    return value == "1" if isinstance(value, Number) and value in ("0", "1") else value


def _date(value: Any) -> Any:
    found = _MIDNIGHT.fullmatch(value) if isinstance(value, str) else None
    return found[1] if found else value


def _instant(value: Any) -> Any:
    found = _INSTANT.fullmatch(value) if isinstance(value, str) else None
    return f"{found[1]}{_fraction(found[2])}{found[3] or ''}" if found else value


def _local(value: Any) -> Any:
    """A local time is often told as if it were of UTC; one with another offset is none."""
    found = _INSTANT.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        return value
    if (found[3] or "Z") not in ("Z", "+00:00", "+0000", "+00"):
        raise Unfit("it has an offset from UTC")
    return f"{found[1]}{_fraction(found[2])}"


def _clock(value: Any) -> Any:
    """A time of day: told as one, as an ISO duration, or in microseconds."""
    if isinstance(value, Number):
        return clock(int(value)) if value.isdecimal() else value
    if not isinstance(value, str):
        return value
    if found := _DURATION.fullmatch(value):
        hours, minutes, seconds = (int(part or 0) for part in found.groups()[:3])
        micros = int((found[4] or "").ljust(6, "0"))
        return clock(((hours * 60 + minutes) * 60 + seconds) * 1_000_000 + micros)
    found = _CLOCK.fullmatch(value)
    return f"{found[1]}{_fraction(found[2])}" if found else value


def clock(micros: int) -> str:
    """Microseconds since midnight as a time of day."""
    seconds, rest = divmod(micros, 1_000_000)
    if not 0 <= seconds < 86_400:
        raise Unfit("it is not within a day")
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}.{rest:06d}"


def _fraction(text: str | None) -> str:
    """Of a second: six digits at most, unless there is more than zeros behind them."""
    digits = (text or "").removeprefix(".")
    return f".{digits[:6]}{digits[6:].rstrip('0')}" if digits else ""


def as_bytes(value: Any, binary: Binary | None) -> bytes:
    """The bytes that a text stands for."""
    if isinstance(value, bytes):
        return value
    if not isinstance(value, str) or isinstance(value, Number):
        raise Unfit("it is no text of bytes")
    try:
        if binary == "hex":
            return bytes.fromhex(value.removeprefix("0x").removeprefix("\\x"))
        return base64.b64decode(value, validate=True)
    except (ValueError, binascii.Error) as error:
        raise Unfit(f"it is no {binary or 'base64'}") from error


def _items(value: Any, item: Callable[[Any], Any]) -> Any:
    if isinstance(value, dict) and value.keys() <= {_NESTED, _ELEMENT}:
        value = flattened(value)
    if not isinstance(value, list):
        return value
    return [None if one is None else item(one) for one in value]


def flattened(value: Any) -> Any:
    """A Postgres array as Datastream nests it: ``nestedArray`` of more, or ``elementValue``."""
    if not isinstance(value, dict):
        return value
    nested = value.get(_NESTED)
    return value.get(_ELEMENT) if nested is None else [flattened(one) for one in nested]


def shown(value: Any) -> Any:
    """A value as JSON text would hold it, where a column takes any text."""
    return value if value is None or isinstance(value, str) else as_text(value)
