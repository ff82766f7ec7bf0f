"""Histories with snapshots and backfills through the fold's own statements, in DuckDB's words."""

from collections.abc import Iterator, Sequence

import duckdb
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from platform_tests.warehouse.test_fold import (
    LOG,
    STATE,
    Key,
    Row,
    Values,
    deliveries,
    placed,
    shown,
)

from malacate.warehouse.fold import Fold
from malacate.warehouse.protocol import BATCH_COLUMN

FOLD = Fold(STATE)
_BATCH = pa.field(BATCH_COLUMN, pa.string())


@pytest.fixture(scope="module")
def tables() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        connection.execute("set timezone = 'UTC'")
        connection.execute("create schema raw_lab")
        for table in (LOG, FOLD.target):
            empty = table.schema.append(_BATCH).empty_table()  # noqa: F841 found by its name
            connection.execute(f"create table {table.name.sql('duckdb')} as from empty")
        connection.execute("create table touching (batch_id varchar)")
        connection.execute(f"create table gone as {FOLD.touched(LOG)}")
        yield connection


def folded(
    connection: duckdb.DuckDBPyConnection, batches: Sequence[Sequence[Row]]
) -> dict[Key, Values | None]:
    for table in (LOG, FOLD.target):
        connection.execute(f"delete from {table.name.sql('duckdb')}")
    for number, batch in enumerate(batches):
        name = f"b{number}"
        rows = [row | {BATCH_COLUMN: name} for row in placed(batch)]
        came = pa.Table.from_pylist(rows, LOG.schema.append(_BATCH))  # noqa: F841 as above
        connection.execute(f"insert into {LOG.name.sql('duckdb')} from came")
        connection.execute("create or replace table touching as select $1 as batch_id", [name])
        run(connection)
    found = connection.sql(f"from {FOLD.target.name.sql('duckdb')}").to_arrow_table().to_pylist()
    assert len({(row["site"], row["id"]) for row in found}) == len(found)
    return shown({(row["site"], row["id"]): row for row in found})


def run(connection: duckdb.DuckDBPyConnection) -> None:
    for one in FOLD.statements(LOG):
        if isinstance(one, str):
            connection.execute(one)
        elif connection.sql(f"select count(*) > 0 from {one.table}").fetchall()[0][0]:
            for statement in one.statements:
                connection.execute(statement)


@settings(
    max_examples=300,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(delivery=deliveries())
def test_any_delivery_of_a_history_folds_to_the_source(
    tables: duckdb.DuckDBPyConnection,
    delivery: tuple[list[list[Row]], dict[Key, Values | None]],
) -> None:
    batches, expected = delivery
    assert folded(tables, batches) == expected
