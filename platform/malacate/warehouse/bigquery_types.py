"""Arrow types -> BigQuery's. What BigQuery cannot hold exactly is refused by name.

Whole numbers, floats and decimals are kept in the widest of their kind; what a contract calls them
is noted beside the table, and given back on reading. An array holds no nulls and no arrays, and
one that is null is read as empty: so BigQuery has it.
"""

import re
from typing import Any

import pyarrow as pa
from google.cloud.bigquery import SchemaField
from sqlglot import exp

from malacate.contracts.table import Column, Table
from malacate.contracts.types import unencoded
from malacate.errors import ContractError

_SCALARS = {
    pa.bool_(): "BOOL",
    pa.float32(): "FLOAT64",
    pa.float64(): "FLOAT64",
    pa.string(): "STRING",
    pa.binary(): "BYTES",
    pa.date32(): "DATE",
    pa.time64("us"): "TIME",
    pa.timestamp("us"): "DATETIME",
    pa.timestamp("us", "UTC"): "TIMESTAMP",
}
_DIGITS = {"NUMERIC": (29, 9), "BIGNUMERIC": (38, 38)}
"""The most digits before and after the point."""

_UNNAMEABLE = re.compile(r'[!"$()*,./;?@\[\\\]^`{}~]|^\d|^.{301}')
"""What a column's name must not have; cloud.google.com/bigquery/docs/schemas, column names."""


_DESCRIPTION = 1024
"""The most characters that BigQuery keeps of a column's description."""


def fields(table: Table) -> list[SchemaField]:
    """The columns of ``table``. Raises ``ContractError`` for what BigQuery cannot hold."""
    return [_column(table, column) for column in table.columns]


def _column(table: Table, column: Column) -> SchemaField:
    try:
        made = _field(column.name, column.type)
        said = {"description": column.description[:_DESCRIPTION]} if column.description else {}
        return SchemaField.from_api_repr({**made.to_api_repr(), **said})
    except KeyError as error:
        raise ContractError(
            "BigQuery cannot hold a column that the contract promises",
            f"Change the column in {table.origin or 'the contract'}: a name of letters, digits "
            "and underscores; decimals of at most 38 digits on each side of the point; no arrays "
            "of arrays; or varchar.",
            source=str(table.name),
            object=column.name,
            actual=str(column.type),
            reason="unknown_type",
        ) from error


def _field(name: str, kind: pa.DataType, mode: str = "NULLABLE") -> SchemaField:
    """The field that holds every value of ``kind``. Raises ``KeyError`` if there is none."""
    if _UNNAMEABLE.search(name):
        raise KeyError(name)
    kind = unencoded(kind)
    if pa.types.is_list(kind) and mode != "REPEATED":
        return _field(name, kind.value_type, "REPEATED")
    if pa.types.is_map(kind):
        pairs = pa.struct([("key", kind.key_type), ("value", kind.item_type)])
        return _field(name, pa.list_(pairs), mode)
    if pa.types.is_struct(kind):
        return SchemaField(name, "RECORD", mode, fields=[_field(f.name, f.type) for f in kind])
    if pa.types.is_decimal(kind):
        return SchemaField(name, _decimal(kind), mode)
    whole = pa.types.is_integer(kind) and kind != pa.uint64()
    return SchemaField(name, "INT64" if whole else _SCALARS[kind], mode)


def _decimal(kind: pa.DataType) -> str:
    before, after = kind.precision - kind.scale, kind.scale
    held = (name for name, most in _DIGITS.items() if before <= most[0] and after <= most[1])
    return next(held, "") or _SCALARS[kind]


def ddl(field: SchemaField) -> str:
    """The type of a field as a statement has it."""
    kind: str = field.field_type
    if kind == "RECORD":
        inside = (f"`{inner.name}` {ddl(inner)}" for inner in field.fields)
        kind = f"STRUCT<{', '.join(inside)}>"
    return f"ARRAY<{kind}>" if field.mode == "REPEATED" else kind


def literal(value: Any) -> str:
    """A constant as a statement has it."""
    return exp.convert(value).sql("bigquery")
