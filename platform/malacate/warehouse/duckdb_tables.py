"""DuckDB DDL: the markers' own tables, and tables that follow their contract."""

import duckdb
import pyarrow as pa

from malacate.contracts.table import Table
from malacate.contracts.types import arrow_type
from malacate.errors import ContractError
from malacate.names import TableName, quote
from malacate.warehouse.evolution import changes
from malacate.warehouse.protocol import BATCH_COLUMN

SYSTEM = (
    "create schema if not exists malacate",
    "create table if not exists malacate.loads (batch_id varchar primary key, "
    "schema_name varchar not null, table_name varchar not null, object varchar not null, "
    "version varchar not null, ordinal bigint not null, mode varchar not null, "
    "rows bigint not null, rows_quarantined bigint not null, landing varchar not null, "
    "epoch integer not null, is_current boolean not null, "
    "published_at timestamptz not null default current_timestamp)",
    "create table if not exists malacate.positions (schema_name varchar not null, "
    "table_name varchar not null, position varchar not null, batch_id varchar not null)",
    "create table if not exists malacate.quarantine (batch_id varchar not null, "
    "schema_name varchar not null, table_name varchar not null, position bigint not null, "
    "reason varchar not null, detail varchar not null, raw blob not null)",
)


def prepare(connection: duckdb.DuckDBPyConnection) -> None:
    """Create what markers, positions and quarantine are kept in."""
    for statement in SYSTEM:
        connection.execute(statement)


def kind_of(connection: duckdb.DuckDBPyConnection, name: TableName) -> str | None:
    """``table``, ``view``, or ``None`` if there is neither."""
    found = connection.execute(
        "select table_type from information_schema.tables "
        "where table_schema = ? and table_name = ?",
        [name.schema, name.table],
    ).fetchone()
    return None if found is None else "view" if found[0] == "VIEW" else "table"


def make_schema(connection: duckdb.DuckDBPyConnection, name: TableName) -> None:
    """Create the schema that ``name`` is in."""
    connection.execute(f"create schema if not exists {quote(name.schema, 'duckdb')}")


def follow(connection: duckdb.DuckDBPyConnection, table: Table) -> None:
    """Create the table, or add and widen columns until it holds what its contract says.

    A column that the contract dropped stays, for the rows that have it. Raises ``SchemaDrift``
    for a change that would lose values.
    """
    make_schema(connection, table.name)
    if kind_of(connection, table.name) == "view":
        connection.execute(f"drop view {table.name.sql('duckdb')}")
    columns = ", ".join(f"{quote(c.name, 'duckdb')} {c.sql_type}" for c in table.columns)
    statement = (
        f"create table if not exists {table.name.sql('duckdb')} "
        f"({columns}, {BATCH_COLUMN} varchar not null)"
    )
    try:
        connection.execute(statement)
    except (duckdb.BinderException, duckdb.ParserException) as error:
        raise _impossible(table, error) from error
    standing = described(connection, table.name)
    for column in changes(table, standing):
        name = quote(column.name, "duckdb")
        verb = f"alter column {name} type" if column.name in standing else f"add column {name}"
        _alter(connection, table, f"{verb} {column.sql_type}")


def described(connection: duckdb.DuckDBPyConnection, name: TableName) -> dict[str, pa.DataType]:
    """The columns of a table as it stands."""
    found = connection.execute(f"describe {name.sql('duckdb')}").fetchall()
    return {row[0]: arrow_type(row[1]) for row in found}


def _alter(connection: duckdb.DuckDBPyConnection, table: Table, change: str) -> None:
    connection.execute(f"alter table {table.name.sql('duckdb')} {change}")


def _impossible(table: Table, error: duckdb.Error) -> ContractError:
    return ContractError(
        "DuckDB cannot hold the columns that the contract promises",
        f"Give the column another type in {table.origin or 'the contract'}: decimals of at most "
        "38 digits, structs whose names differ in more than case, or varchar.",
        source=str(table.name),
        actual=str(error).partition("\n")[0],
        reason="unknown_type",
    )
