"""Text as Postgres prints it -> the types that the bulk reader delivers for the same columns.

Every value is exact or refused; one that is read by a snapshot and by a slot is the same.
"""

import re
from collections.abc import Callable, Mapping
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from malacate.contracts.table import Column
from malacate.sources.cdc.pgoutput_layout import Relation
from malacate.sources.databases_postgres import CatalogColumn, column_of

_NAMES = {
    16: "bool", 17: "bytea", 20: "int8", 21: "int2", 23: "int4", 700: "float4", 701: "float8",
    1082: "date", 1083: "time", 1114: "timestamp", 1184: "timestamptz", 1700: "numeric",
}  # fmt: skip
"""Types by the numbers that every server gives them; all others are text, as in bulk reads."""

_DAY = r"(\d{4,})-(\d\d)-(\d\d)"
_TIME = r"(\d\d):(\d\d):(\d\d)(?:\.(\d{1,6}))?"
_ZONE = r"(?:([+-])(\d\d)(?::(\d\d))?(?::(\d\d))?)?"
_PLAIN_DAY = r"^\d{4}-[^B]*$"
_INFINITE = ("infinity", "-infinity")
_DATE_TEXT = re.compile(_DAY)
_TIME_TEXT = re.compile(_TIME)
_INSTANT_TEXT = re.compile(f"{_DAY} {_TIME}{_ZONE}")
_UNIX_DAY = date(1970, 1, 1).toordinal()
_HEX = np.full(256, 255, np.uint8)
_HEX[np.frombuffer(b"0123456789abcdef", np.uint8)] = np.arange(16)

Refusals = dict[int, tuple[str, str]]
"""Places with the reason and the detail of what cannot be held there."""


def catalog_of(relation: Relation) -> dict[str, CatalogColumn]:
    """Its columns as the bulk reader's catalog would have them."""
    return {
        c.name: column_of(c.name, _NAMES.get(c.type_oid, ""), c.modifier, False, 0, "")
        for c in relation.columns
    }


def cast(relation: Relation, texts: Mapping[str, pa.Array]) -> dict[str, pa.Array]:
    """Text as ``::text`` gives it, which bulk reads ask for; some types print otherwise."""
    columns = {column.name: column for column in relation.columns}
    ours = {}
    for name, text in texts.items():
        kind = columns[name].base or _PRINTED.get(columns[name].type_oid, "")
        ours[name] = _CAST[kind](text) if kind in _CAST else text
    return ours


def _inet(text: pa.Array) -> pa.Array:
    length = pc.if_else(pc.match_substring(text, ":"), "/128", "/32")
    whole = pc.binary_join_element_wise(text, length, "")
    return pc.if_else(pc.match_substring(text, "/"), text, whole)


_PRINTED = {869: "inet", 1042: "bpchar"}
_CAST: dict[str, Callable[[pa.Array], pa.Array]] = {
    "inet": _inet,
    "bpchar": lambda text: pc.ascii_rtrim(text, " "),
    "bool": lambda text: pc.if_else(pc.equal(text, "t"), "true", "false"),
}
"""``bool`` is only that of a domain: the type itself is delivered as it is."""


def native(
    texts: Mapping[str, pa.Array],
    columns: Mapping[str, CatalogColumn],
    wanted: Mapping[str, Column],
) -> tuple[pa.RecordBatch, Refusals]:
    """The columns as the bulk reader delivers them, with nulls where a value is refused."""
    arrays, refused = [], Refusals()
    for name, text in texts.items():
        array, bad = _native(text, columns[name]) if columns[name].is_native else (text, {})
        arrays.append(array)
        for place, why in bad.items():
            refused.setdefault(place, (why[0], f"{wanted[name].name} {why[1]}"))
    return pa.RecordBatch.from_arrays(arrays, names=list(texts)), refused


def _native(text: pa.Array, column: CatalogColumn) -> tuple[pa.Array, Refusals]:
    read = _READ.get(column.type, lambda values: values.cast(column.type))
    try:
        return read(text), {}
    except pa.ArrowInvalid:
        return _one_by_one(text, column.type, read)


def _one_by_one(
    text: pa.Array, kind: pa.DataType, read: Callable[[pa.Array], pa.Array]
) -> tuple[pa.Array, Refusals]:
    """What the fast way refuses, value by value: years of five digits, 24:00, infinity."""
    is_odd = pc.invert(pc.fill_null(pc.match_substring_regex(text, _PLAIN_DAY), True))
    try:
        array = read(pc.if_else(is_odd, pa.scalar(None, pa.string()), text))
    except pa.ArrowInvalid:
        array, is_odd = pa.nulls(len(text), kind), text.is_valid()
    cells, refused = [], Refusals()
    for place in pc.indices_nonzero(is_odd).to_pylist():
        cell = _cell(text.slice(place, 1), kind, read)
        cells.append(cell if isinstance(cell, pa.Array) else pa.nulls(1, kind))
        if isinstance(cell, tuple):
            refused[place] = cell
    return pc.replace_with_mask(array, is_odd, pa.concat_arrays(cells)), refused


def _cell(
    text: pa.Array, kind: pa.DataType, read: Callable[[pa.Array], pa.Array]
) -> pa.Array | tuple[str, str]:
    """One value, or why it cannot be held."""
    try:
        return read(text)
    except pa.ArrowInvalid:
        pass
    count = pa.int32() if kind == pa.date32() else pa.int64()
    try:
        return pa.array([_odd(text[0].as_py(), kind)], count).view(kind)
    except OverflowError:
        return "not_an_instant", "is outside the years 1 to 9999 (infinity, perhaps)"
    except ValueError:
        return "does_not_fit", "does not fit its type"


def _odd(text: str, kind: pa.DataType) -> int:
    """A value that only Postgres prints so, as Arrow counts it."""
    if kind == pa.time64("us") and (found := _TIME_TEXT.fullmatch(text)):
        return _micros(found.groups())
    if pa.types.is_temporal(kind) and (text in _INFINITE or text.endswith(" BC")):
        raise OverflowError(text)
    if kind == pa.date32() and (found := _DATE_TEXT.fullmatch(text)):
        return _days(found.groups())
    if pa.types.is_timestamp(kind) and (found := _INSTANT_TEXT.fullmatch(text)):
        return _instant(found.groups(), kind.tz is not None)
    raise ValueError(text)


def _instant(parts: tuple[str | None, ...], is_zoned: bool) -> int:
    sign, *zone = parts[7:]
    if is_zoned == (sign is None):
        raise ValueError(parts)
    offset = _micros((*(part or "0" for part in zone), None))
    local = _days(parts[:3]) * 86_400_000_000 + _micros(parts[3:7])
    return local + offset if sign == "-" else local - offset


def _days(parts: tuple[str | None, ...]) -> int:
    year, month, day = (int(part or 0) for part in parts)
    if year > date.max.year:
        raise OverflowError(year)
    return date(year, month, day).toordinal() - _UNIX_DAY


def _micros(parts: tuple[str | None, ...]) -> int:
    hours, minutes, seconds = (int(part or 0) for part in parts[:3])
    return ((hours * 60 + minutes) * 60 + seconds) * 1_000_000 + int((parts[3] or "").ljust(6, "0"))


def _bool(text: pa.Array) -> pa.Array:
    is_true = pc.equal(text, "t")
    if pc.any(pc.invert(pc.or_(is_true, pc.equal(text, "f")))).as_py():
        raise pa.ArrowInvalid("neither t nor f")
    return is_true


def _time(text: pa.Array) -> pa.Array:
    whole = pc.binary_join_element_wise("1970-01-01", text, " ").cast(pa.timestamp("us"))
    return whole.view(pa.time64("us"))


def _bytea(text: pa.Array) -> pa.Array:
    """``\\x00ff`` and the like: two digits a byte, all values at once."""
    digits = pc.binary_slice(text.cast(pa.binary()), 2)
    is_null, edges, data = digits.buffers()
    ends = np.frombuffer(edges, np.int32, len(digits) + 1)
    halves = _HEX[np.frombuffer(data or b"", np.uint8)[ends[0] : ends[-1]]]
    plain = pc.all(pc.starts_with(text, "\\x")).as_py() is not False
    if not plain or (halves == 255).any() or ((ends - ends[0]) % 2).any():
        raise pa.ArrowInvalid("not in hexadecimal")
    whole = pa.py_buffer(halves[0::2] << 4 | halves[1::2])
    places = pa.py_buffer((ends - ends[0]) // 2)
    return pa.Array.from_buffers(pa.binary(), len(digits), [is_null, places, whole])


_READ: dict[pa.DataType, Callable[[pa.Array], pa.Array]] = {
    pa.bool_(): _bool,
    pa.time64("us"): _time,
    pa.binary(): _bytea,
}
