"""The dbt project, built on DuckDB and on BigQuery from the same raw rows."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery
from platform_tests.dbt.adapter import DBT
from platform_tests.dbt.raw_rows import ROOT, Row, raw_tables, rows

from malacate.warehouse.duckdb_tables import follow
from malacate.warehouse.protocol import BATCH_COLUMN

PROJECT = "acme"
_KINDS = {
    "bigint": "INT64", "integer": "INT64", "double": "FLOAT64", "boolean": "BOOL",
    "varchar": "STRING", "date": "DATE", "timestamptz": "TIMESTAMP", "time": "TIME",
    "timestamp with time zone": "TIMESTAMP", "decimal": "NUMERIC",
}  # fmt: skip


def bigquery_kind(kind: str) -> str:
    """What BigQuery has for a type of DuckDB."""
    return _KINDS[kind.lower().partition("(")[0]]


BIGQUERY_RAW = {
    str(table.name): {
        **{column.name: bigquery_kind(column.sql_type) for column in table.columns},
        BATCH_COLUMN: "STRING",
    }
    for table in raw_tables()
}
"""What the warehouse in BigQuery makes of the contracts: types by column by table."""


@dataclass(frozen=True)
class Built:
    """What dbt says that it built; ``manifest`` has the SQL, ``results`` how each node went."""

    manifest: dict[str, Any]
    results: list[dict[str, Any]]
    output: str
    dbt: Callable[..., subprocess.CompletedProcess[str]]

    def compiled(self, sql: str) -> str:
        """What dbt makes of a statement with macros, without a look at the warehouse."""
        offline = ("--no-introspect", "--no-populate-cache")
        done = self.dbt("compile", *offline, "--output", "json", "--inline", sql)
        assert done.returncode == 0, done.stdout + done.stderr
        found = json.loads(done.stdout[done.stdout.index("{") :])
        return str(found["compiled"])

    @property
    def models(self) -> dict[str, dict[str, Any]]:
        nodes = self.manifest["nodes"].values()
        return {f"{n['schema']}.{n['name']}": n for n in nodes if n["resource_type"] == "model"}

    def unlucky(self) -> dict[str, str]:
        """What did not go well, and why."""
        well = ("success", "pass", "warn")
        return {r["unique_id"]: r["message"] for r in self.results if r["status"] not in well}

    def outcomes(self) -> dict[str, tuple[str, Any]]:
        """How each node went, and how many rows a test found."""
        return {r["unique_id"]: (r["status"], r["failures"]) for r in self.results}

    def statements(self, *kinds: str) -> list[str]:
        """Models as what makes their tables, and tests, in the order in which they were run."""
        made = []
        for result in self.results:
            node = self.manifest["nodes"].get(result["unique_id"])
            if node is None or node["resource_type"] not in (kinds or ("model", "test")):
                continue
            sql = node["compiled_code"]
            is_model = node["resource_type"] == "model"
            made.append(f"create table {node['relation_name']} as\n{sql}" if is_model else sql)
        return made


def build(dbt: Path, folder: Path, **environment: str) -> Built:
    """``dbt build`` with its output in ``folder``."""
    env = {**os.environ, **environment}

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = [
            str(dbt), words[0], "--quiet", "--project-dir", str(ROOT / "dbt"),
            "--profiles-dir", str(ROOT / "dbt"), "--target-path", str(folder / "target"),
            "--log-path", str(folder / "logs"), *words[1:],
        ]  # fmt: skip
        return subprocess.run(command, env=env, capture_output=True, text=True, check=False)

    done = run("build")
    output = done.stdout + done.stderr
    found = [folder / "target" / name for name in ("manifest.json", "run_results.json")]
    assert all(path.exists() for path in found), output
    manifest, results = (json.loads(path.read_text()) for path in found)
    return Built(manifest, results["results"], output, run)


def on_duckdb(folder: Path) -> tuple[Path, Built]:
    """The warehouse's file, and its build."""
    file = folder / "warehouse.duckdb"
    with duckdb.connect(str(file)) as connection:
        for table in raw_tables():
            follow(connection, table)
        for table, some in rows().items():
            for row in some:
                named = {BATCH_COLUMN: "b0", **row}
                marks = ", ".join("?" * len(named))
                connection.execute(
                    f"insert into {table} ({', '.join(named)}) values ({marks})", [*named.values()]
                )
    dbt = Path(sys.executable).with_name("dbt")
    return file, build(dbt, folder, MALACATE_TARGET="local", MALACATE_WAREHOUSE=str(file))


def on_bigquery(url: str, folder: Path) -> tuple[bigquery.Client, Built]:
    """A client of the stand-in at ``url``, and its build."""
    client = bigquery.Client(
        PROJECT, credentials=AnonymousCredentials(), client_options={"api_endpoint": url}
    )
    given = rows()
    for name, columns in BIGQUERY_RAW.items():
        dataset, table = name.split(".")
        client.create_dataset(dataset, exists_ok=True)
        schema = [bigquery.SchemaField(column, kind) for column, kind in columns.items()]
        made = client.create_table(bigquery.Table(f"{PROJECT}.{dataset}.{table}", schema))
        if some := given.get(name):
            refused = client.insert_rows_json(made, [_json(row) for row in some])
            assert refused == [], name
    environment = {
        "MALACATE_TARGET": "gcp", "MALACATE_WAREHOUSE": PROJECT, "BIGQUERY_EMULATOR_HOST": url,
        "MALACATE_LOCATION": "US", "MALACATE_BIGQUERY_PRIORITY": "interactive",
        "MALACATE_BIGQUERY_MAXIMUM_BYTES": "1000000000",
    }  # fmt: skip
    return client, build(DBT.path, folder, **environment)


def _json(row: Row) -> Row:
    plain = {BATCH_COLUMN: "b0", **row}
    for name, value in plain.items():
        if hasattr(value, "isoformat"):
            plain[name] = value.isoformat()
        elif isinstance(value, Decimal):
            plain[name] = str(value)
    return plain
