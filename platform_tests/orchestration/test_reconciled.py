"""The asset that compares captured tables with their sources, as the UI shows it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from platform_tests.company import Command, Company, at_home, malacate, run_to_end
from platform_tests.components.test_replication_slot import (
    CONTRACT,
    DDL,
    DECLARED,
    FULL,
    looked,
    run,
)
from platform_tests.sources.logical_postgres import logical_postgres, logical_url

from malacate.components.declared import raw_assets
from malacate.orchestration.io_managers import WarehouseIOManager
from malacate.orchestration.raw_assets import POOL
from malacate.orchestration.reconciled import KEY, reconciliation

__all__ = ["logical_postgres", "logical_url", "malacate"]


@pytest.fixture
def pit(
    tmp_path: Path, logical_url: str, malacate: Command, instance: dg.DagsterInstance
) -> Iterator[Company]:
    """A company with a slot of two tables, all of it published."""
    company = Company(tmp_path)
    company.write("defs/pit/defs.yaml", DECLARED % f"o_{tmp_path.name[-30:]}".lower())
    company.write("defs/pit/contract.odcs.yaml", CONTRACT)
    run(logical_url, DDL)
    run(logical_url, FULL)
    with at_home(company, PIT_URL=logical_url):
        looked(malacate, "--fix")
        run_to_end(company, (), instance)
        yield company


Told = tuple[dict[str, Any], dict[str, dg.AssetCheckEvaluation]]


def compared(pit: Company, instance: dg.DagsterInstance) -> Told:
    made = reconciliation(lambda: raw_assets(pit.declarations), POOL, "duckdb")
    resources = {"platform": pit.platform, "warehouse": WarehouseIOManager(platform=pit.platform)}
    definitions = dg.Definitions.merge(made, dg.Definitions(resources=resources))
    job = definitions.resolve_implicit_global_asset_job_def()
    done = job.execute_in_process(instance=instance)
    (event,) = done.get_asset_materialization_events()
    assert event.asset_key == KEY
    checks = {e.check_name: e for e in done.get_asset_check_evaluations()}
    return {name: v.value for name, v in event.materialization.metadata.items()}, checks


def tamper(pit: Company, *statements: str) -> None:
    with pit.ingest.warehouse._open() as connection:  # type: ignore[attr-defined]
        for statement in statements:
            connection.execute(statement)


def test_it_tells_a_row_for_each_captured_table_and_fails_with_the_keys(
    pit: Company, malacate: Command, logical_url: str, instance: dg.DagsterInstance
) -> None:
    run(logical_url, "insert into app.truck values (3, 'new')")
    told, checks = compared(pit, instance)
    assert (told["tables"], told["turn"], told["behind"], told["lost"]) == (2, 0, 1, 0)
    assert all(check.passed for check in checks.values())
    rows = pit.ingest.warehouse.query('select * from ops."reconcile" order by state').to_pylist()
    assert [(row["state"], row["behind"]) for row in rows] == [
        ("raw/pit/note", 0), ("raw/pit/truck", 1),
    ]  # fmt: skip
    assert malacate("reconcile")[0] == 0

    tamper(
        pit,
        "delete from raw_pit.truck where id = 1",
        "update raw_pit.truck set note = 'by hand' where id = 2",
    )
    told, checks = compared(pit, instance)
    assert (told["turn"], told["lost"], told["wrong"], told["twice"]) == (1, 1, 1, 0)
    failed = {name for name, check in checks.items() if not check.passed}
    assert failed == {"nothing_lost", "nothing_wrong"}
    assert "lost 1; wrong 2" in str(checks["nothing_lost"].metadata["tables"].value)
    assert "what_to_do" in checks["nothing_lost"].metadata
    code, out, _ = malacate("reconcile", "pit/truck_changes", "--full")
    assert code == 1
    assert "lost 1, twice 0, wrong 1" in out


def test_a_table_that_cannot_be_compared_is_told_and_the_others_are(
    pit: Company, logical_url: str, instance: dg.DagsterInstance
) -> None:
    run(logical_url, "drop table app.note")
    told, checks = compared(pit, instance)
    assert {name for name, check in checks.items() if not check.passed} == {
        "every_table_was_compared"
    }
    assert told["source_rows"] == 2
    assert "raw/pit/note" in str(checks["every_table_was_compared"].metadata["tables"].value)


def test_where_nothing_is_captured_nothing_is_compared(
    shop: Company, instance: dg.DagsterInstance
) -> None:
    told, checks = compared(shop, instance)
    assert (told["tables"], told["compared"]) == (0, "none")
    assert all(check.passed for check in checks.values())
