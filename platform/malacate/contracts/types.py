"""SQL type text of a contract <-> Arrow type. One table, both ways; nothing is guessed."""

import pyarrow as pa
import sqlglot.errors
from sqlglot import exp

from malacate.errors import ContractError

UTC = "UTC"
_SCALARS: dict[str, pa.DataType] = {
    "BOOLEAN": pa.bool_(),
    "TINYINT": pa.int8(),
    "SMALLINT": pa.int16(),
    "INT": pa.int32(),
    "BIGINT": pa.int64(),
    "FLOAT": pa.float32(),
    "DOUBLE": pa.float64(),
    "TEXT": pa.string(),
    "VARCHAR": pa.string(),
    "VARBINARY": pa.binary(),
    "DATE": pa.date32(),
    "TIME": pa.time64("us"),
    "TIMESTAMP": pa.timestamp("us"),
    "TIMESTAMPNTZ": pa.timestamp("us"),
    "TIMESTAMPTZ": pa.timestamp("us", UTC),
    "UUID": pa.string(),
    "JSON": pa.string(),
}
_NAMES = {
    pa.bool_(): "boolean",
    pa.int8(): "tinyint",
    pa.int16(): "smallint",
    pa.int32(): "integer",
    pa.int64(): "bigint",
    pa.float32(): "real",
    pa.float64(): "double",
    pa.string(): "varchar",
    pa.binary(): "blob",
    pa.date32(): "date",
    pa.time64("us"): "time",
}


def arrow_type(text: str) -> pa.DataType:
    """The Arrow type of a DuckDB type such as ``decimal(12,2)`` or ``struct(a integer)[]``.

    Raises ``ContractError`` for a type that no target could hold exactly.
    """
    try:
        return _arrow(exp.DataType.build(text, dialect="duckdb"))
    except (sqlglot.errors.SqlglotError, ValueError, KeyError) as error:
        raise ContractError(
            f"{text!r} is not a type a contract can use",
            "Use one of boolean, smallint, integer, bigint, real, double, decimal(p,s), varchar, "
            "blob, date, time, timestamp, timestamptz, uuid, json, T[], struct(...), map(K,V).",
            reason="unknown_type",
        ) from error


def _arrow(kind: exp.DataType) -> pa.DataType:
    name, inner = kind.this.value, kind.expressions
    if name == "DECIMAL":
        precision, scale = (int(part.name) for part in inner)
        wide = pa.decimal256 if precision > 38 else pa.decimal128
        return wide(precision, scale)
    if name == "ARRAY":
        return pa.list_(_arrow(inner[0]))
    if name == "STRUCT":
        return pa.struct([(field.this.name, _arrow(field.args["kind"])) for field in inner])
    if name == "MAP":
        return pa.map_(_arrow(inner[0]), _arrow(inner[1]))
    return _SCALARS[name]


def sql_type(kind: pa.DataType) -> str:
    """The DuckDB type that holds every value of ``kind`` exactly."""
    if pa.types.is_decimal(kind):
        return f"decimal({kind.precision},{kind.scale})"
    if pa.types.is_timestamp(kind):
        return "timestamptz" if kind.tz else "timestamp"
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return f"{sql_type(kind.value_type)}[]"
    if pa.types.is_struct(kind):
        fields = (
            f"{exp.to_identifier(f.name, quoted=True).sql()} {sql_type(f.type)}" for f in kind
        )
        return f"struct({', '.join(fields)})"
    if pa.types.is_map(kind):
        return f"map({sql_type(kind.key_type)}, {sql_type(kind.item_type)})"
    plain = unencoded(kind)
    if plain in _NAMES:
        return _NAMES[plain]
    raise ContractError(
        f"Arrow type {kind} has no SQL type here",
        "Cast it to a type that a contract can name.",
        reason="unknown_type",
    )


def unencoded(kind: pa.DataType) -> pa.DataType:
    """``kind`` without what only concerns its layout: dictionaries, large and view variants.

    Arrow keeps zoned timestamps as instants in UTC, so their zone is layout too.
    """
    if pa.types.is_dictionary(kind):
        return unencoded(kind.value_type)
    if pa.types.is_timestamp(kind) and kind.tz:
        return pa.timestamp(kind.unit, UTC)
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return pa.string()
    if (
        pa.types.is_large_binary(kind)
        or pa.types.is_binary_view(kind)
        or pa.types.is_fixed_size_binary(kind)
    ):
        return pa.binary()
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return pa.list_(unencoded(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([(f.name, unencoded(f.type)) for f in kind])
    if pa.types.is_map(kind):
        return pa.map_(unencoded(kind.key_type), unencoded(kind.item_type))
    return kind
