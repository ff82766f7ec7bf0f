"""The models build from empty raw tables, as documented, and gold can be traced to raw."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import pytest
import sqlglot
from platform_tests.dbt.raw_rows import ROOT, raw_tables
from sqlglot import exp
from sqlglot.lineage import Node, lineage

from malacate.warehouse.duckdb_tables import follow


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A warehouse without a row, built, and the manifest of the build."""
    folder = tmp_path_factory.mktemp("dbt")
    warehouse = folder / "warehouse.duckdb"
    with duckdb.connect(str(warehouse)) as connection:
        for table in raw_tables():
            follow(connection, table)
    command = [
        str(Path(sys.executable).with_name("dbt")), "build", "--quiet",
        "--project-dir", str(ROOT / "dbt"), "--profiles-dir", str(ROOT / "dbt"),
        "--target-path", str(folder / "target"), "--log-path", str(folder / "logs"),
    ]  # fmt: skip
    env = os.environ | {"MALACATE_WAREHOUSE": str(warehouse)}
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return warehouse, json.loads((folder / "target/manifest.json").read_text())


def models(manifest: dict[str, Any]) -> dict[str, dict[str, Any]]:
    nodes = manifest["nodes"].values()
    return {f"{n['schema']}.{n['name']}": n for n in nodes if n["resource_type"] == "model"}


def columns(warehouse: Path) -> dict[str, dict[str, str]]:
    with duckdb.connect(str(warehouse), read_only=True) as connection:
        rows = connection.execute(
            "select table_schema || '.' || table_name, column_name, data_type "
            "from information_schema.columns order by ordinal_position"
        ).fetchall()
    found: dict[str, dict[str, str]] = {}
    for table, column, kind in rows:
        found.setdefault(table, {})[column] = kind
    return found


def test_every_column_is_documented_in_its_order(built: Any) -> None:
    warehouse, manifest = built
    standing = columns(warehouse)
    for name, model in models(manifest).items():
        assert model["description"], name
        assert list(model["columns"]) == list(standing[name]), name
        assert [c for c, v in model["columns"].items() if not v["description"]] == [], name


def test_layers_are_schemas(built: Any) -> None:
    _, manifest = built
    assert {(m["fqn"][1], m["schema"]) for m in models(manifest).values()} == {
        ("silver", "silver"),
        ("gold", "gold"),
    }


def test_no_column_of_people_leaves_raw(built: Any) -> None:
    warehouse, manifest = built
    personal = {
        c.name for t in raw_tables() for c in t.columns if c.classification.startswith("pii")
    }
    assert personal
    for name in models(manifest):
        assert personal.isdisjoint(columns(warehouse)[name]), name


def test_gold_is_traced_to_raw(built: Any) -> None:
    warehouse, manifest = built
    standing = columns(warehouse)
    known = models(manifest)
    schema: dict[str, Any] = {}
    for table, kinds in standing.items():
        layer, name = table.split(".")
        schema.setdefault(layer, {})[name] = kinds
    compiled = {name: _without_catalog(node["compiled_code"]) for name, node in known.items()}
    for name in (n for n in compiled if n.startswith("gold.")):
        for column in standing[name]:
            assert _raw_columns(name, column, compiled, schema), f"{name}.{column}"


def _without_catalog(code: str) -> str:
    tree = sqlglot.parse_one(code, dialect="duckdb")
    for table in tree.find_all(exp.Table):
        table.set("catalog", None)
    return tree.sql("duckdb")


def _raw_columns(
    name: str, column: str, compiled: dict[str, str], schema: dict[str, Any]
) -> set[str]:
    root = lineage(column, compiled[name], schema=schema, dialect="duckdb")
    found: set[str] = set()
    for leaf in (node for node in root.walk() if not node.downstream):
        table, field = _origin(leaf)
        if table.startswith("raw_"):
            found.add(f"{table}.{field}")
        elif table in compiled:
            found |= _raw_columns(table, field, compiled, schema)
    return found


def _origin(leaf: Node) -> tuple[str, str]:
    if not isinstance(leaf.source, exp.Table):
        return "", ""
    return f"{leaf.source.db}.{leaf.source.name}", leaf.name.split(".")[-1].strip('"')


def told_by(check: str, manifest: dict[str, Any], *statements: str) -> list[tuple[Any, ...]]:
    """The rows that a check finds in tables that these statements make."""
    (node,) = (one for one in manifest["nodes"].values() if one["name"] == check)
    with duckdb.connect() as connection:
        for statement in ("create schema silver", *statements):
            connection.execute(statement)
        return connection.execute(_without_catalog(node["compiled_code"])).fetchall()


def test_a_vector_sum_that_its_axes_cannot_have_is_told(built: Any) -> None:
    rows = "(2, 2), (2, 3.464), (2, 3.47), (2, 1.9), (0, 0), (null, null)"
    found = told_by(
        "vector_sums_fit_their_axes", built[1],
        "create table silver.vibration_hour as select 'G1' as sensor_id, 0 as hour_at, * from "
        f"(values {rows}) as t(ppv_mm_s, peak_pvs_mm_s)",
    )  # fmt: skip
    assert [float(row[3]) for row in found] == [3.47, 1.9]


def test_an_event_that_may_not_follow_those_before_it_is_told(built: Any) -> None:
    found = told_by(
        "issue_events_are_legal", built[1],
        "create table silver.machine_issue_event as select *, 'i' as issue_id, 'open' as "
        "from_status, 'ack' as status from (values ('a', true), ('b', false)) as t(event_id, "
        "is_applied)",
    )  # fmt: skip
    assert [row[0] for row in found] == ["b"]
