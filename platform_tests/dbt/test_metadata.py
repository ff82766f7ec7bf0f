"""What the UI shows of a model is the same, whichever engine built it."""

from typing import Any

import dagster as dg
from platform_tests.dbt.conftest import Engines
from platform_tests.dbt.engines import Built

from malacate.orchestration.dbt_metadata import described
from malacate.warehouse.bigquery import BigQueryWarehouse
from malacate.warehouse.bigquery_jobs import Jobs
from malacate.warehouse.duckdb import DuckDBWarehouse
from malacate.warehouse.protocol import Warehouse


def told(built: Built, warehouse: Warehouse) -> dict[str, dict[str, Any]]:
    """Metadata by model."""
    names = {node["unique_id"]: name for name, node in built.models.items()}
    events = [
        dg.AssetMaterialization(name.split("."), metadata={"unique_id": unique_id})
        for unique_id, name in names.items()
    ]
    done = described(events, warehouse, lambda: built.manifest["nodes"])
    return {".".join(event.asset_key.path): dict(event.metadata) for event in done}


def test_rows_columns_and_lineage_are_those_of_the_other_engine(engines: Engines) -> None:
    here = told(engines.local, DuckDBWarehouse(engines.file, engines.file.parent / "lake"))
    there = told(engines.gcp, BigQueryWarehouse(Jobs(engines.bigquery), str))
    for name, ours in here.items():
        theirs = there[name]
        assert theirs["dagster/row_count"] == ours["dagster/row_count"], name
        assert theirs["dagster/column_lineage"] == ours["dagster/column_lineage"], name
        columns = [told["dagster/column_schema"].schema.columns for told in (ours, theirs)]
        assert [c.name for c in columns[0]] == [c.name for c in columns[1]], name
        assert [c.tags for c in columns[0]] == [c.tags for c in columns[1]], name


def test_every_column_is_made_of_columns_that_are_there(engines: Engines) -> None:
    warehouse = DuckDBWarehouse(engines.file, engines.file.parent / "lake")
    for name, metadata in told(engines.local, warehouse).items():
        deps = metadata["dagster/column_lineage"].column_lineage.deps_by_column
        assert [column for column, made_of in deps.items() if not made_of] == [], name
