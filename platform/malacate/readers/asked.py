"""What may be asked of a table: names that are there, and a partition of a column's own type."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from difflib import get_close_matches
from typing import Any

import pyarrow as pa

from malacate.errors import ConfigError, WarehouseError
from malacate.names import TableName, quote
from malacate.warehouse.protocol import BATCH_COLUMN, Partition, Warehouse

Wanted = date | tuple[str, Any] | tuple[str, Any, Any] | None
"""``(column, value)``, ``(column, lo, hi)`` for ``lo <= column < hi``, or a day of the table's one
date column. A date asked of a timestamp is its day in UTC; a naive datetime is in UTC.
"""

_PUBLISHED = "select distinct schema_name, table_name from malacate.loads"
_LISTED = {
    "duckdb": ("select table_schema, table_name from information_schema.tables",),
    "bigquery": (
        "select table_schema, table_name from {schema}.INFORMATION_SCHEMA.TABLES",
        _PUBLISHED,
    ),
}


def named(warehouse: Warehouse, key: str) -> TableName:
    """The table of an asset key that is in the warehouse."""
    name = TableName.of(key.split("/"))
    if warehouse.exists(name):
        return name
    raise ConfigError(
        f"there is no table {key!r} in the warehouse",
        f"{_near(key, _keys(warehouse, name))} A table is there once its asset was materialized.",
        reason="unknown_table",
    )


def _keys(warehouse: Warehouse, name: TableName) -> set[str]:
    """Asset keys of what is there; of some engines only those near ``name``, or published."""
    found: set[str] = set()
    for sql in _LISTED.get(warehouse.dialect, (_PUBLISHED,)):
        with suppress(WarehouseError):
            rows = warehouse.query(sql.format(schema=quote(name.schema, "duckdb")))
            found |= {"/".join(TableName(*row.values()).key) for row in rows.to_pylist()}
    return {key for key in found if not key.startswith(("malacate/", "malacate_"))}


def chosen(name: TableName, columns: Sequence[str] | str, schema: pa.Schema) -> list[str]:
    """The columns asked for; raise ``ConfigError`` for one that the table does not have."""
    wanted = [columns] if isinstance(columns, str) else list(dict.fromkeys(columns))
    for column in wanted:
        require_column(name, column, schema)
    return wanted or [column for column in schema.names if column != BATCH_COLUMN]


def require_column(name: TableName, column: str, schema: pa.Schema) -> None:
    """Raise ``ConfigError`` with near names unless the table has the column."""
    names = [one for one in schema.names if one != BATCH_COLUMN]
    if column in names:
        return
    raise ConfigError(
        f"there is no column {column!r}", _near(column, names),
        source=str(name), reason="unknown_column",
    )  # fmt: skip


def partition_of(name: TableName, wanted: Wanted, schema: pa.Schema) -> Partition | None:
    """The partition asked for, its bounds of the column's type."""
    if wanted is None:
        return None
    if isinstance(wanted, date):
        wanted = (_date_column(name, schema), wanted)
    column, *bounds = wanted
    require_column(name, column, schema)
    kind = schema.field(column).type
    if len(bounds) == 1 and pa.types.is_timestamp(kind) and _is_day(bounds[0]):
        bounds.append(bounds[0] + timedelta(days=1))
    try:
        return Partition(column, *(_value(one, kind) for one in bounds))
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise ConfigError(
            "a partition is not of its column's type",
            f"Give values of {column!r}: one, or two for lo <= {column} < hi.",
            source=str(name), object=column, expected=str(kind), actual=repr(wanted[1:]),
            reason="bad_partition",
        ) from error  # fmt: skip


def _date_column(name: TableName, schema: pa.Schema) -> str:
    dates = [field.name for field in schema if pa.types.is_date(field.type)]
    if len(dates) == 1:
        return str(dates[0])
    raise ConfigError(
        "a day alone does not say which column it is of",
        f"Name it: partition=({(dates or schema.names)[0]!r}, day).",
        source=str(name), expected="one column of dates", actual=str(dates),
        reason="bad_partition",
    )  # fmt: skip


def _is_day(value: Any) -> bool:
    return isinstance(value, date) and not isinstance(value, datetime)


def _value(given: Any, kind: pa.DataType) -> Any:
    """``given`` as a value of the column's type; one that would change by that is refused."""
    if pa.types.is_timestamp(kind):
        return _instant(given, kind)
    if isinstance(given, str) and not pa.types.is_string(kind):
        return pa.scalar(given).cast(kind).as_py()
    value = pa.scalar(given, kind).as_py()
    if value is None or value != given:
        raise ValueError(given)
    return value


def _instant(given: Any, kind: pa.DataType) -> datetime:
    if isinstance(given, str):
        given = datetime.fromisoformat(given)
    elif _is_day(given):
        given = datetime(given.year, given.month, given.day)
    if not isinstance(given, datetime) or (given.tzinfo and not kind.tz):
        raise TypeError(given)
    return given.replace(tzinfo=UTC) if kind.tz and not given.tzinfo else given


def _near(wanted: str, known: Iterable[str]) -> str:
    names = sorted(known)
    near = get_close_matches(wanted, names, n=3, cutoff=0.6) or names[:20]
    return f"Use {' or '.join(near)}." if near else "Nothing is there yet."
