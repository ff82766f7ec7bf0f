"""What came against what was promised: an alignment by name, or the diff as a typed error."""

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal

import pyarrow as pa

from malacate.contracts.table import Column, Table
from malacate.contracts.types import unencoded
from malacate.errors import SchemaDrift

Delivered = Mapping[str, pa.DataType | None]
"""Column names with their types; ``None`` where the format carries no types (CSV)."""

_UNITS = ("s", "ms", "us", "ns")


@dataclass(frozen=True)
class Evolution:
    """A difference between what came and the contract that the contract itself allows."""

    kind: Literal["absent", "renamed", "widened", "ignored"]
    column: str
    detail: str


@dataclass(frozen=True)
class Alignment:
    """Where each contract column comes from: a delivered name, or ``None`` for absent."""

    sources: Mapping[str, str | None]
    evolutions: tuple[Evolution, ...]


def align(table: Table, delivered: Delivered, object_name: str = "") -> Alignment:
    """Match delivered columns to ``table`` by name.

    Absent columns that the contract dates (``since``), declared aliases and lossless widening
    are evolutions. Anything else raises ``SchemaDrift`` with every difference at once.
    """
    sources: dict[str, str | None] = {}
    evolutions: list[Evolution] = []
    problems: list[str] = []
    for column in table.columns:
        found = [n for n in dict.fromkeys(_names(column)) if n in delivered]
        sources[column.name] = found[0] if found else None
        problems += _column_problems(column, found, delivered, evolutions)
    extra = [name for name in delivered if name not in set(sources.values())]
    problems += _extra_problems(table, extra, sources, evolutions)
    if problems:
        raise SchemaDrift(
            "what was delivered is not what the contract says",
            f"Declare the change in {table.origin or 'the contract'} (aliases, since, "
            "extraColumns, a wider type) and replay, or ask the source to undo it.",
            source=str(table.name),
            object=object_name,
            actual="; ".join(problems),
            reason="schema_drift",
        )
    return Alignment(sources, tuple(evolutions))


def _names(column: Column) -> tuple[str, ...]:
    return (column.delivered_as, column.name, *column.aliases)


def _column_problems(
    column: Column, found: list[str], delivered: Delivered, evolutions: list[Evolution]
) -> list[str]:
    if len(found) > 1:
        return [f"{column.name!r} came twice, as {' and '.join(map(repr, found))}"]
    if not found:
        if not column.since:
            return [f"missing {column.name!r} {column.sql_type}"]
        evolutions.append(Evolution("absent", column.name, f"added in {column.since}; null here"))
        return []
    if found[0] not in (column.delivered_as, column.name):
        evolutions.append(Evolution("renamed", column.name, f"came as {found[0]!r}"))
    kind = delivered[found[0]]
    if kind is None or same(kind, column.type):
        return []
    if not widens(kind, column.type):
        return [f"retyped {column.name!r}: {kind} cannot become {column.type} without loss"]
    evolutions.append(Evolution("widened", column.name, f"{kind} to {column.type}"))
    return []


def _extra_problems(
    table: Table, extra: list[str], sources: Mapping[str, str | None], evolutions: list[Evolution]
) -> list[str]:
    missing = [c.name for c in table.columns if sources[c.name] is None and not c.since]
    problems = []
    for name in extra:
        if table.extra_columns == "ignore":
            evolutions.append(Evolution("ignored", name, "not in the contract"))
            continue
        near = get_close_matches(name, missing, n=1, cutoff=0.5)
        hint = f" (if {near[0]!r} was renamed to it, add it to the aliases)" if near else ""
        problems.append(f"extra {name!r}{hint}")
    return problems


def same(kind: pa.DataType, wanted: pa.DataType) -> bool:
    """Whether both hold the same values, layout aside."""
    return bool(unencoded(kind) == unencoded(wanted))


def widens(kind: pa.DataType, wanted: pa.DataType) -> bool:
    """Whether every value of ``kind`` has exactly one of ``wanted``."""
    kind, wanted = unencoded(kind), unencoded(wanted)
    if pa.types.is_null(kind):
        return True
    if pa.types.is_integer(kind):
        return _integer_widens(kind, wanted)
    if pa.types.is_float32(kind):
        return bool(pa.types.is_float64(wanted))
    if pa.types.is_decimal(kind) and pa.types.is_decimal(wanted):
        digits = wanted.precision - wanted.scale >= kind.precision - kind.scale
        return bool(digits and wanted.scale >= kind.scale)
    if pa.types.is_decimal256(kind) and pa.types.is_string(wanted):
        return True
    if pa.types.is_timestamp(kind) and pa.types.is_timestamp(wanted):
        coarser = _UNITS.index(kind.unit) <= _UNITS.index(wanted.unit)
        return coarser and (kind.tz is None) == (wanted.tz is None)
    if pa.types.is_time(kind) and pa.types.is_time(wanted):
        return _UNITS.index(kind.unit) <= _UNITS.index(wanted.unit)
    return False


def _integer_widens(kind: pa.DataType, wanted: pa.DataType) -> bool:
    if pa.types.is_integer(wanted):
        return bool(
            wanted.bit_width > kind.bit_width
            and (pa.types.is_signed_integer(wanted) or pa.types.is_unsigned_integer(kind))
        )
    if pa.types.is_decimal(wanted):
        digits = 20 if kind == pa.uint64() else {8: 3, 16: 5, 32: 10, 64: 19}[kind.bit_width]
        return bool(wanted.precision - wanted.scale >= digits)
    return bool(pa.types.is_float64(wanted) and kind.bit_width <= 32)
