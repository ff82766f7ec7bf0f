"""The dbt project reads nothing but what the contracts promise, in the units they promise."""

from pathlib import Path

import pytest
import yaml
from platform_tests.dbt.raw_rows import change_tables

from malacate.contracts.changes import CHANGE_COLUMNS, STATE_COLUMNS
from malacate.contracts.odcs import read_contract
from malacate.contracts.table import Column
from malacate.warehouse.protocol import BATCH_COLUMN

ROOT = Path(__file__).parents[2]
SOURCES = yaml.safe_load((ROOT / "dbt/models/sources.yml").read_text())["sources"]


def promised(source: str) -> dict[str, dict[str, str]]:
    """Unit by column by table: the contract's, and what the platform adds to a raw table."""
    path = ROOT / "platform/acme/defs" / source / "contract.odcs.yaml"
    changing = change_tables(source)
    found = {}
    for name, table in read_contract(path, source).items():
        if name in changing:
            found[f"{name}_changes"] = units(*table.columns, *CHANGE_COLUMNS)
        found[name] = units(*table.columns, *(STATE_COLUMNS if name in changing else ()))
    return found


def units(*columns: Column) -> dict[str, str]:
    return {column.name: column.unit for column in columns} | {BATCH_COLUMN: ""}


def unit(column: dict) -> str:
    return column.get("config", {}).get("meta", {}).get("unit", "")


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source["name"])
def test_every_column_is_promised(source: dict) -> None:
    assert source["schema"] == f"raw_{source['name']}"
    tables = promised(source["name"])
    for table in source["tables"]:
        columns = tables[table["name"]]
        named = {column["name"]: unit(column) for column in table["columns"]}
        assert named == {name: columns.get(name) for name in named}, table["name"]


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source["name"])
def test_every_column_is_described(source: dict) -> None:
    for table in source["tables"]:
        assert table["description"]
        assert [c["name"] for c in table["columns"] if not c.get("description")] == []
