"""Text to typed values, exactly: what does not fit its type is named, never rounded or guessed."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, time
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from malacate.contracts.table import Column
from malacate.errors import ConfigError

_TRUE, _FALSE = ("true", "t", "1", "yes"), ("false", "f", "0", "no")
_FLOAT = r"(?i)^[+-]?(nan|inf|infinity|(\d+\.?\d*|\.\d+)(e[+-]?\d+)?)$"
_DATE = r"^\d{4}-\d\d-\d\d"
_CLOCK = r"\d\d(:?\d\d(:?\d\d(\.\d{1,6})?)?)?"
_ZONE = r" ?(Z|[+-]\d\d(:?\d\d)?)$"
_TIME = re.compile(r"\d\d:\d\d(:\d\d(\.\d{1,6})?)?", re.ASCII)
_FIRST, _LAST = datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59, 999999)

Bad = dict[int, tuple[str, str]]
"""Row to reason code and detail."""

Convert = Callable[[pa.Array], pa.Array]


@dataclass(frozen=True)
class Cells:
    """How the cells of one column become values."""

    column: Column
    decimal: str = "."

    def __post_init__(self) -> None:
        kind = self.column.type
        if pa.types.is_nested(kind):
            raise ConfigError(
                f"a CSV file cannot carry {self.column.name} {self.column.sql_type}",
                "Declare it json (its text is kept as it is), or use another format.",
                reason="unknown_type",
            )
        if _is_temporal(kind) and self.column.format and "%" not in self.column.format:
            raise ConfigError(
                f"{self.column.format!r} is no format of {self.column.name}",
                "Write it with strptime's signs, such as %d/%m/%Y.",
                reason="bad_format",
            )

    def values(self, text: pa.Array) -> tuple[pa.Array, Bad]:
        """``text`` in the column's type, null where it cannot be, and why it cannot."""
        kind = self.column.type
        if pa.types.is_string(kind):
            return text, {}
        if pa.types.is_binary(kind):
            return text.cast(kind), {}
        if pa.types.is_boolean(kind):
            found = _booleans(text)
        elif _is_temporal(kind):
            found = self._temporal(text)
        else:
            found = self._numbers(text)
        if found.null_count == text.null_count:
            return found, {}
        lost = pc.indices_nonzero(pc.and_(pc.is_null(found), pc.is_valid(text))).to_pylist()
        return found, {row: self._why(text[row].as_py()) for row in lost}

    def _numbers(self, text: pa.Array) -> pa.Array:
        kind = self.column.type
        if self.decimal != "." and not pa.types.is_integer(kind):
            # A point would be a separator of thousands, or a mistake: "?" is no number.
            text = pc.replace_substring(pc.replace_substring(text, ".", "?"), self.decimal, ".")
        if _has(text, "+"):
            text = pc.replace_substring_regex(text, r"^\+([\d.])", r"\1")
        if pa.types.is_integer(kind):
            digits = {8: 3, 16: 5, 32: 10, 64: 19}[kind.bit_width]
            return _salvaged(
                text, lambda part: _no_hex(part).cast(kind), rf"^-?0*\d{{1,{digits}}}$"
            )
        if not pa.types.is_floating(kind):
            return _salvaged(text, lambda part: part.cast(kind), _decimal_shape(kind))
        found = _salvaged(text, lambda part: _no_hex(part).cast(kind), _FLOAT)
        if not pc.any(pc.is_inf(found)).as_py():
            return found
        meant = pc.match_substring_regex(text, r"(?i)inf")
        return pc.if_else(pc.or_(pc.invert(pc.is_inf(found)), meant), found, pa.scalar(None, kind))

    def _temporal(self, text: pa.Array) -> pa.Array:
        kind = self.column.type
        if pa.types.is_time(kind):
            return _each(text, kind, self._clock)
        date = pa.types.is_date(kind)
        shape = _DATE + ("$" if date else f"([ T]{_CLOCK})?$")
        if pa.types.is_timestamp(kind) and kind.tz:
            shape = f"{_DATE}[ T]{_CLOCK}{_ZONE}"
        found = _in_calendar(_salvaged(text, lambda part: part.cast(kind), shape))
        if not self.column.format or found.null_count == text.null_count:
            return found
        rest = pc.if_else(pc.is_null(found), text, pa.scalar(None, text.type))
        return pc.coalesce(found, _each(rest, kind, self._formatted))

    def _clock(self, text: str) -> time | None:
        if self.column.format:
            return datetime.strptime(text, self.column.format).time()
        return time.fromisoformat(text) if _TIME.fullmatch(text) else None

    def _formatted(self, text: str) -> Any:
        kind = self.column.type
        found = datetime.strptime(text, self.column.format)
        if pa.types.is_date(kind):
            return found.date()
        if (found.tzinfo is None) != (kind.tz is None):
            return None
        return found.astimezone(UTC) if kind.tz else found

    def _why(self, text: str) -> tuple[str, str]:
        """Reason and detail of a cell that is no value; its text stays in the raw record only."""
        column, kind = self.column, self.column.type
        if _is_temporal(kind) and not pa.types.is_time(kind):
            zoned = re.search(r"[ T]\d\d.*" + _ZONE, text) is not None
            if not pa.types.is_date(kind) and kind.tz and not zoned and self._is_local(text):
                return "no_time_zone", f"{column.name} is an instant and has no offset from UTC"
            if not column.format and re.search(r"\d", text) and not re.match(_DATE, text):
                detail = f"{column.name} is not as ISO 8601 writes it, and no format is declared"
                return "ambiguous_date", detail
        form = f" as {column.format}" if _is_temporal(kind) and column.format else ""
        return "does_not_fit", f"{column.name} is not {column.sql_type}{form}"

    def _is_local(self, text: str) -> bool:
        return bool(re.match(_DATE, text)) or (bool(self.column.format) and _parses(text, self))


def _parses(text: str, cells: Cells) -> bool:
    try:
        return datetime.strptime(text, cells.column.format).tzinfo is None
    except ValueError:
        return False


def _is_temporal(kind: pa.DataType) -> bool:
    return bool(pa.types.is_temporal(kind))


def _has(text: pa.Array, sign: str) -> bool:
    return pc.any(pc.match_substring(text, sign)).as_py() is True


def _no_hex(text: pa.Array) -> pa.Array:
    """Arrow reads ``0x1F`` as a number; a file that means it would have said so."""
    if _has(text, "x") or _has(text, "X"):
        raise pa.ArrowInvalid("hexadecimal")
    return text


def _decimal_shape(kind: pa.DataType) -> str:
    whole, scale = kind.precision - kind.scale, kind.scale
    return rf"^[+-]?(0*\d{{0,{whole}}}(\.\d{{0,{scale}}}0*)?|[\d.]+[eE][+-]?\d+)$"


def _booleans(text: pa.Array) -> pa.Array:
    lower = pc.utf8_lower(text)
    known = pc.is_in(lower, pa.array([*_TRUE, *_FALSE]))
    return pc.if_else(known, pc.is_in(lower, pa.array(_TRUE)), pa.scalar(None, pa.bool_()))


def _salvaged(text: pa.Array, convert: Convert, shape: str) -> pa.Array:
    """``text`` converted, with null for each value that cannot be; ``shape`` is a first sieve."""
    try:
        return convert(text)
    except pa.ArrowInvalid:
        shaped = pc.match_substring_regex(text, shape)
        kept = pc.if_else(shaped, text, pa.scalar(None, text.type))
        return pa.concat_arrays(list(_pieces(kept, convert)))


def _pieces(text: pa.Array, convert: Convert) -> Iterable[pa.Array]:
    try:
        yield convert(text)
    except pa.ArrowInvalid:
        if len(text) == 1:
            yield convert(pa.nulls(1, text.type))
            return
        middle = len(text) // 2
        yield from _pieces(text[:middle], convert)
        yield from _pieces(text[middle:], convert)


def _in_calendar(values: pa.Array) -> pa.Array:
    """Null outside the years 1 to 9999, which no warehouse and no Python would read back."""
    kind = values.type
    if pa.types.is_date(kind):
        low, high = pa.scalar(_FIRST.date(), kind), pa.scalar(_LAST.date(), kind)
    else:
        zone = UTC if kind.tz else None
        low = pa.scalar(_FIRST.replace(tzinfo=zone), kind)
        high = pa.scalar(_LAST.replace(tzinfo=zone), kind)
    inside = pc.and_(pc.greater_equal(values, low), pc.less_equal(values, high))
    return pc.if_else(inside, values, pa.scalar(None, kind))


def _each(text: pa.Array, kind: pa.DataType, parse: Callable[[str], Any]) -> pa.Array:
    """Every distinct text parsed once: dates repeat."""
    parsed: dict[str | None, Any] = {None: None}
    for one in pc.unique(text).to_pylist():
        try:
            parsed[one] = None if one is None else parse(one)
        except (ValueError, OverflowError):
            parsed[one] = None
    return pa.array([parsed[one] for one in text.to_pylist()], kind)
