from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pytest
from google.cloud import bigquery
from platform_tests.dbt.adapter import DBT
from platform_tests.dbt.engines import Built, bigquery_kind, on_bigquery, on_duckdb
from platform_tests.emulators import parts


@dataclass(frozen=True)
class Engines:
    file: Path
    local: Built
    gcp: Built
    duckdb: duckdb.DuckDBPyConnection
    bigquery: bigquery.Client

    def rows(self, table: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        sql = f"select * from {table}"
        here = self.duckdb.sql(sql).to_arrow_table().to_pylist()
        there = [dict(row) for row in self.bigquery.query(sql).result()]
        return _in_order(here), _in_order(there)

    def kinds(self, table: str) -> dict[str, str]:
        """What the types of the columns in DuckDB are called in BigQuery."""
        described = self.duckdb.sql(f"describe {table}").fetchall()
        return {row[0]: bigquery_kind(row[1]) for row in described}


@pytest.fixture(scope="session")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engines]:
    DBT.require()
    with parts.bigquery() as server:
        file, local = on_duckdb(tmp_path_factory.mktemp("local"))
        client, gcp = on_bigquery(server.url, tmp_path_factory.mktemp("gcp"))
        with duckdb.connect(str(file)) as connection:
            connection.execute("set timezone = 'UTC'")
            yield Engines(file, local, gcp, connection, client)


def _in_order(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """By all but floats: every model has a key without one."""

    def place(row: dict[str, Any]) -> list[tuple[bool, str]]:
        return [(v is None, str(v)) for v in row.values() if not isinstance(v, float)]

    return sorted(rows, key=place)
