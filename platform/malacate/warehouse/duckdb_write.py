"""DuckDB statements of each write mode. All run inside the caller's transaction.

A snapshot is a view over its own Parquet: its rows are written once. What accumulates is a table.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
from sqlglot import exp

from malacate.batch import WriteMode
from malacate.contracts.table import Table
from malacate.lake.landing import Part
from malacate.names import quote
from malacate.warehouse.duckdb_tables import follow, kind_of, make_schema
from malacate.warehouse.protocol import BATCH_COLUMN, Derivation, Partition, Publication
from malacate.warehouse.verdict import outside_partition


def write(
    connection: duckdb.DuckDBPyConnection, this: Publication, lake_root: Path, has_older: bool
) -> None:
    """Put the landing's rows in place.

    ``has_older`` says whether other batches of the same object are published.
    """
    if this.mode is WriteMode.SNAPSHOT:
        _snapshot(connection, this, lake_root)
    else:
        if kind_of(connection, this.table.name) == "view":
            follow(connection, this.table)
        if this.derives is not None and has_older:
            _touch_what_goes(connection, this, this.derives)
        _make_room(connection, this, lake_root, has_older)
        _insert(connection, this, lake_root)
        _require_inside(connection, this)
    _quarantine(connection, this, lake_root, has_older)


def begin_touching(
    connection: duckdb.DuckDBPyConnection, table: Table, derives: Derivation
) -> None:
    """Get ready to remember which derived keys the publications of ``table`` take from."""
    connection.execute("create or replace temp table touching (batch_id varchar)")
    select = derives.touched(table)
    connection.execute(f"create or replace temp table gone as {select} limit 0")


def _touch_what_goes(
    connection: duckdb.DuckDBPyConnection, this: Publication, derives: Derivation
) -> None:
    """Remember the keys that older versions of the object fed, while their rows are there."""
    landing = this.landing
    connection.execute(
        "create or replace temp table touching as select batch_id from malacate.loads "
        "where schema_name = $schema and table_name = $table and object = $object",
        {"schema": landing.schema, "table": landing.table, "object": landing.object},
    )
    connection.execute(f"insert into gone {derives.touched(this.table)}")


def derive(
    connection: duckdb.DuckDBPyConnection,
    table: Table,
    derives: Derivation,
    batch_ids: Sequence[str],
) -> None:
    """Renew what is derived of ``table``, once for all the batches that were written."""
    follow(connection, derives.target)
    connection.execute(
        "create or replace temp table touching as select unnest($ids) as batch_id",
        {"ids": list(batch_ids)},
    )
    for one in derives.statements(table):
        if isinstance(one, str):
            _renew(connection, one, batch_ids[-1])
        elif _count(connection.execute(f"select count(*) from {one.table}")):
            for statement in one.statements:
                _renew(connection, statement, batch_ids[-1])


def _renew(connection: duckdb.DuckDBPyConnection, statement: str, batch_id: str) -> None:
    uses = "$batch_id" in statement
    connection.execute(statement, {"batch_id": batch_id} if uses else {})


def _snapshot(connection: duckdb.DuckDBPyConnection, this: Publication, lake_root: Path) -> None:
    name, table = this.table.name.sql("duckdb"), this.table
    make_schema(connection, table.name)
    if kind_of(connection, table.name) == "table":
        connection.execute(f"drop table {name}")
    columns = ", ".join(quote(column.name, "duckdb") for column in table.columns)
    files = exp.array(*(_text(path) for path in paths(this.landing.parts, lake_root)))
    batch = _text(this.landing.batch_id).sql("duckdb")
    connection.execute(
        f"create or replace view {name} as select {columns}, {batch} as {BATCH_COLUMN} "
        f"from read_parquet({files.sql('duckdb')})"
    )


def _make_room(
    connection: duckdb.DuckDBPyConnection, this: Publication, lake_root: Path, has_older: bool
) -> None:
    name, landing = this.table.name.sql("duckdb"), this.landing
    if this.mode is WriteMode.PARTITION and this.partition is not None:
        condition, values = within(this.partition)
        connection.execute(f"delete from {name} where {condition}", values)
        return
    if this.mode is WriteMode.UPSERT:
        _delete_keys(connection, this, lake_root)
        return
    if not (this.replaces_older and has_older):
        return
    older = (
        "select batch_id from malacate.loads "
        "where schema_name = $schema and table_name = $table and object = $object"
    )
    values = {"schema": landing.schema, "table": landing.table, "object": landing.object}
    delete = f"delete from {name} where {BATCH_COLUMN} in ({older})"
    connection.execute(delete, values)


def _delete_keys(connection: duckdb.DuckDBPyConnection, this: Publication, lake_root: Path) -> None:
    name, landing = this.table.name.sql("duckdb"), this.landing
    quoted = [quote(column, "duckdb") for column in this.table.key]
    key = ", ".join(quoted)
    same = " and ".join(f"k.{q} is not distinct from t.{q}" for q in quoted)
    connection.execute(
        f"delete from {name} where ({key}) in (select ({key}) from read_parquet($files))",
        {"files": paths(landing.parts, lake_root)},
    )
    if landing.keys is None:
        return
    gone = f"not exists (select 1 from read_parquet($files) k where {same})"
    sweep = f"delete from {name} t where {gone}"
    connection.execute(sweep, {"files": paths([landing.keys], lake_root)})


def _insert(connection: duckdb.DuckDBPyConnection, this: Publication, lake_root: Path) -> None:
    connection.execute(
        f"insert into {this.table.name.sql('duckdb')} by name "
        f"select *, $batch_id as {BATCH_COLUMN} from read_parquet($files)",
        {"batch_id": this.landing.batch_id, "files": paths(this.landing.parts, lake_root)},
    )


def _require_inside(connection: duckdb.DuckDBPyConnection, this: Publication) -> None:
    if this.partition is None:
        return
    name, (condition, values) = this.table.name.sql("duckdb"), within(this.partition)
    outside = connection.execute(
        f"select count(*) from {name} where {BATCH_COLUMN} = $batch_id "
        f"and ({condition}) is not true",
        {**values, "batch_id": this.landing.batch_id},
    )
    if number := _count(outside):
        raise outside_partition(this, number)


def _quarantine(
    connection: duckdb.DuckDBPyConnection, this: Publication, lake_root: Path, has_older: bool
) -> None:
    landing = this.landing
    at = {"schema": landing.schema, "table": landing.table}
    if has_older and this.replaces_older and this.mode is not WriteMode.UPSERT:
        connection.execute(
            "delete from malacate.quarantine where batch_id in (select batch_id "
            "from malacate.loads where schema_name = $schema and table_name = $table "
            "and object = $object)",
            {**at, "object": landing.object},
        )
    if landing.quarantine is not None:
        connection.execute(
            "insert into malacate.quarantine select $batch_id, $schema, $table, position, reason, "
            "detail, raw from read_parquet($files)",
            {**at, "batch_id": landing.batch_id, "files": paths([landing.quarantine], lake_root)},
        )


def paths(parts: Sequence[Part], lake_root: Path) -> list[str]:
    """Where the engine finds the parts."""
    return [str(lake_root / part.path) for part in parts]


def within(partition: Partition) -> tuple[str, dict[str, Any]]:
    """The condition of a partition, and its bound values."""
    column = quote(partition.column, "duckdb")
    if partition.hi is None:
        return f"{column} = $lo", {"lo": partition.lo}
    return f"{column} >= $lo and {column} < $hi", {"lo": partition.lo, "hi": partition.hi}


def _text(value: str) -> exp.Expression:
    return exp.Literal.string(value)


def _count(result: duckdb.DuckDBPyConnection) -> int:
    rows = result.fetchall()
    return int(rows[0][0]) if rows else 0
