"""The state of every file in the UI, and the checks that tell of bad ends."""

import time
from collections.abc import Mapping
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa
from platform_tests.company import Company, sale, sales

from malacate.ledger.tables import BATCH
from malacate.orchestration.control import KEY, control_files, markdown

SALE = "raw/shop/sale"


def looked(
    shop: Company, instance: dg.DagsterInstance
) -> tuple[Mapping[str, Any], dict[str, dg.AssetCheckEvaluation]]:
    definitions = dg.Definitions.merge(
        control_files(()), dg.Definitions(resources={"platform": shop.platform})
    )
    job = definitions.resolve_implicit_global_asset_job_def()
    done = job.execute_in_process(instance=instance)
    (made,) = done.get_asset_materialization_events()
    assert made.asset_key == KEY
    told = made.materialization.metadata
    checks = {e.check_name: e for e in done.get_asset_check_evaluations()}
    return {name: value.value for name, value in told.items()}, checks


def test_all_is_well_when_every_file_is_loaded(shop: Company, instance: dg.DagsterInstance) -> None:
    shop.drop("sales/1.csv", sales(sale(1)))
    shop.ingest.run(shop.route(SALE))
    told, checks = looked(shop, instance)
    assert (told["files"], told["files_loaded"], told["oldest_waiting_seconds"]) == (1, 1, 0)
    assert "shop" in told["states"]
    assert set(checks) == {"no_file_stuck", "every_file_ended_well", "no_duplicate_content"}
    assert all(check.passed for check in checks.values())


def test_an_empty_ledger_is_well(shop: Company, instance: dg.DagsterInstance) -> None:
    told, checks = looked(shop, instance)
    assert (told["files"], told["states"]) == (0, "none")
    assert all(check.passed for check in checks.values())


def test_bad_ends_duplicates_and_stuck_files_are_told(
    shop: Company, instance: dg.DagsterInstance
) -> None:
    for name in ("1", "2"):
        shop.drop(f"sales/{name}.csv", sales(sale(1)))
    shop.drop("sales/<b>|x.csv", b"")
    shop.ingest.run(shop.route(SALE))
    ledger = shop.ingest.ledger
    shop.drop("sales/late.csv", sales(sale(9)))
    ledger.note(shop.route(SALE).source.discover(None))  # type: ignore[arg-type]
    with ledger.together() as connection:
        late = sa.update(BATCH).where(BATCH.c.object == "sales/late.csv")
        connection.execute(late.values(first_seen=time.time() - 90_000, waiting_since=None))
    told, checks = looked(shop, instance)
    assert {name for name, check in checks.items() if not check.passed} == set(checks)
    assert told["oldest_waiting_seconds"] >= 90_000 - 1
    assert "late.csv" in told["stuck"]
    bad = checks["every_file_ended_well"]
    assert bad.severity is dg.AssetCheckSeverity.WARN
    shown = str(bad.metadata["files"].value)
    assert "&lt;b&gt;\\|x.csv" in shown
    assert "<b>" not in shown
    assert bad.metadata["actual"].value == 1
    assert "what_to_do" in bad.metadata
    assert "sales/1.csv" in str(checks["no_duplicate_content"].metadata["files"].value)


@pytest.mark.parametrize("cell", ["a|b", "<script>", "[x](javascript:y)", "`x`", "a\nb", "\x1b[2J"])
def test_a_cell_never_becomes_markup(cell: str) -> None:
    head, rule, row = markdown([{"name": cell}]).splitlines()
    assert (head, rule) == ("| name |", "| --- |")
    assert "<" not in row
    assert row.count("|") - row.count("\\|") == 2
    assert "\\[" in row or "[" not in row
