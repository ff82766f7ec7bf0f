"""Postgres in its own words: its catalog as Arrow types, and columns as they are selected."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import psycopg
import pyarrow as pa
from psycopg import sql

from malacate.contracts.chunk import Chunk, Reject
from malacate.contracts.rules import as_json
from malacate.contracts.table import Column, Table
from malacate.errors import SourceUnreachable
from malacate.names import TableName

_TYPES: dict[str, pa.DataType] = {
    "bool": pa.bool_(),
    "int2": pa.int16(),
    "int4": pa.int32(),
    "int8": pa.int64(),
    "float4": pa.float32(),
    "float8": pa.float64(),
    "date": pa.date32(),
    "time": pa.time64("us"),
    "timestamp": pa.timestamp("us"),
    "timestamptz": pa.timestamp("us", "UTC"),
    "bytea": pa.binary(),
}
"""Types that the bulk reader delivers as they are; every other comes as its text."""

_CATALOG = """
select a.attname, t.typname, a.atttypmod, a.attnotnull,
       coalesce(array_position(i.indkey::int2[], a.attnum) + 1, 0) as key_position,
       coalesce(col_description(a.attrelid, a.attnum), '')
from pg_attribute a
join pg_type t on t.oid = a.atttypid
left join pg_index i on i.indrelid = a.attrelid and i.indisprimary
where a.attrelid = to_regclass(%s) and a.attnum > 0 and not a.attisdropped
order by a.attnum
"""


@dataclass(frozen=True)
class CatalogColumn:
    """A column as the server's catalog has it; ``key_position`` counts from 1, 0 is no key."""

    name: str
    type: pa.DataType
    is_native: bool
    required: bool
    key_position: int
    description: str


def catalog(connection: psycopg.Connection, table: str) -> dict[str, CatalogColumn]:
    """Columns of ``schema.table`` in their order; ``SourceUnreachable`` if it is not there."""
    rows = connection.execute(_CATALOG, [quoted_path(table)]).fetchall()
    if not rows:
        raise SourceUnreachable(
            "the table is not there, or not visible to this user",
            f"Check the name, or run: grant select on {table} to {connection.info.user};",
            object=table,
            reason="no_table",
        )
    columns = (column_of(*row) for row in rows)
    return {column.name: column for column in columns}


def column_of(
    name: str, type_name: str, modifier: int, required: bool, key: int, text: str
) -> CatalogColumn:
    """A column of the catalog, or of a relation that a slot announces: what its type comes as."""
    kind = _TYPES.get(type_name)
    if type_name == "numeric" and modifier >= 0:
        precision, scale = (modifier - 4) >> 16, (modifier - 4) & 0x7FF
        if scale <= precision <= 76:
            wide = pa.decimal128 if precision <= 38 else pa.decimal256
            return CatalogColumn(name, wide(precision, scale), False, required, key, text)
    return CatalogColumn(name, kind or pa.string(), kind is not None, required, key, text)


_NAMED = """
select c.oid, n.nspname || '.' || c.relname,
       coalesce(obj_description(c.oid), '')
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where c.relname = %s and c.relkind in ('r', 'p', 'v', 'm', 'f')
  and n.nspname not in ('pg_catalog', 'information_schema') order by 1
"""


def observe(source: str, url: str, name: str) -> Table:
    """The table called ``name``, in whatever schema it is, as a contract could promise it."""
    try:
        with psycopg.connect(url, connect_timeout=10) as connection:
            found = connection.execute(_NAMED, [name]).fetchone()
            relation, text = (found[1], found[2]) if found else (name, "")
            columns = list(catalog(connection, relation).values())
    except psycopg.Error as error:
        raise SourceUnreachable(
            "the database does not answer as it should",
            "Run `malacate doctor`: it names the host, the user or the privilege that is wrong.",
            source=source,
            object=name,
            actual=str(error).strip().partition("\n")[0],
            reason="unreachable",
        ) from error
    keys = sorted((c for c in columns if c.key_position), key=lambda c: c.key_position)
    return Table(
        TableName(f"raw_{source}", name),
        tuple(
            Column(c.name.lower(), c.type, c.required, c.description, physical_name=c.name)
            for c in columns
        ),
        tuple(column.name.lower() for column in keys),
        text,
        relation,
    )


def quoted_path(table: str) -> str:
    """``app.shift`` with each part quoted, as ``to_regclass`` takes it."""
    return ".".join('"' + part.replace('"', '""') + '"' for part in table.split("."))


def identifier(table: str) -> sql.Identifier:
    """``app.shift`` for a statement."""
    return sql.Identifier(*table.split("."))


def is_scaled(column: CatalogColumn) -> bool:
    """Whether its values fit a bigint once the decimal point is moved."""
    return bool(pa.types.is_decimal(column.type) and column.type.precision <= 18)


def selected(column: CatalogColumn, fast: bool) -> sql.Composable:
    """How the column is asked for: native, as a scaled bigint, or as its text."""
    name = sql.Identifier(column.name)
    if column.is_native:
        return name
    if fast and is_scaled(column):
        factor = sql.Literal(10**column.type.scale)
        return sql.SQL("({} * {})::bigint as {}").format(name, factor, name)
    return sql.SQL("{}::text as {}").format(name, name)


def delivered(
    rows: pa.RecordBatch, columns: Mapping[str, CatalogColumn], wanted: Mapping[str, Column]
) -> Iterator[Chunk]:
    """Rows of the bulk reader in the contract's types; what does not fit is rejected.

    ``wanted`` says which contract column each delivered one becomes.
    """
    arrays: list[pa.Array] = []
    bad = np.zeros(rows.num_rows, bool)
    reasons: dict[int, str] = {}
    for values, name in zip(rows.columns, rows.schema.names, strict=True):
        array = _typed(values, columns[name].type, wanted[name].type)
        if array is None:
            array, misfits = _one_by_one(values, wanted[name].type)
            bad |= misfits
            for index in np.flatnonzero(misfits):
                reasons.setdefault(int(index), f"{wanted[name].name} does not fit its type")
        arrays.append(array)
    typed = pa.RecordBatch.from_arrays(arrays, names=[c.name for c in wanted.values()])
    if not bad.any():
        yield Chunk(typed)
        return
    rejects = [
        Reject(i, "does_not_fit", detail, as_json(rows.slice(i, 1)))
        for i, detail in sorted(reasons.items())
    ]
    places = np.flatnonzero(~bad).tolist()
    yield Chunk(typed.filter(pa.array(~bad)), rejects, places)


def _typed(values: pa.Array, kind: pa.DataType, wanted: pa.DataType) -> pa.Array | None:
    if pa.types.is_int64(values.type) and pa.types.is_decimal(kind):
        values = unscaled(values, kind.precision, kind.scale)
    try:
        if pa.types.is_string(values.type):
            # A SQL_ASCII database holds whatever bytes it was given.
            values.validate(full=True)
        return values if values.type == wanted else values.cast(wanted)
    except pa.ArrowInvalid:
        return None


def _one_by_one(values: pa.Array, wanted: pa.DataType) -> tuple[pa.Array, np.ndarray]:
    cells, bad = [], np.zeros(len(values), bool)
    for index in range(len(values)):
        try:
            cells.append(values.slice(index, 1).cast(wanted)[0].as_py())
        except (pa.ArrowInvalid, UnicodeDecodeError):
            cells.append(None)
            bad[index] = True
    return pa.array(cells, wanted), bad


def unscaled(values: pa.Array, precision: int, scale: int) -> pa.Array:
    """int64 -> decimal128 by moving the point: 16-byte little-endian words, no arithmetic."""
    whole = (values.fill_null(0) if values.null_count else values).to_numpy(zero_copy_only=False)
    words = np.empty((len(whole), 2), "<i8")
    words[:, 0] = whole
    words[:, 1] = whole >> 63
    validity = values.is_valid().buffers()[1] if values.null_count else None
    buffers = [validity, pa.py_buffer(words)]
    kind = pa.decimal128(precision, scale)
    return pa.Array.from_buffers(kind, len(whole), buffers, null_count=values.null_count)
