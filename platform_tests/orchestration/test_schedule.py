"""The clock asks for tables of databases, whose sources tell nothing of their changes."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest
from platform_tests.commands.test_doctor_and_contract import CRM, CRM_CONTRACT, execute
from platform_tests.company import Company, at_home, run_to_end

from malacate.orchestration.schedule import by_cron

ACCOUNT = dg.AssetKey(["raw", "crm", "account"])


@pytest.fixture
def crm(tmp_path: Path, postgres_url: str) -> Iterator[Company]:
    """A company whose customers are read every quarter of an hour."""
    company = Company(tmp_path)
    company.write(
        "defs/crm/defs.yaml", CRM.replace("  tables:", '  cron: "*/15 * * * *"\n  tables:')
    )
    company.write("defs/crm/contract.odcs.yaml", CRM_CONTRACT)
    execute(postgres_url, "create schema app; create table app.account (id int8, name text); "
            "create table app.visit (id int8)")  # fmt: skip
    with at_home(company, CRM_URL=postgres_url):
        yield company


def test_a_table_is_asked_for_at_each_tick_though_its_source_tells_nothing(
    crm: Company, instance: dg.DagsterInstance
) -> None:
    cursor, asked = None, []
    for minute in (1, 2, 15, 16, 31):
        at = datetime(2026, 11, 3, 12, minute, tzinfo=UTC)
        seen = dg.evaluate_automation_conditions(
            crm.definitions, instance, cursor=cursor, evaluation_time=at
        )
        cursor = seen.cursor
        asked.append(seen.get_num_requested(ACCOUNT))
        if asked[-1]:
            run_to_end(crm, ["raw/crm/account"], instance)
    assert asked == [0, 0, 1, 0, 1]


def test_no_asset_of_the_mine_waits_for_what_is_never_told() -> None:
    from acme.definitions import defs

    location = defs() if callable(defs) else defs
    nodes = location.get_repository_def().asset_graph.asset_nodes
    by_clock = {
        node.key.to_user_string(): str(node.automation_condition.label)
        for node in nodes
        if node.automation_condition and "cron" in str(node.automation_condition.label)
    }
    assert by_clock.keys() >= {"raw/production/shift", "ops/reconcile", "ops/warehouse_cost"}
    assert {key: label for key, label in by_clock.items() if not label.startswith("by_cron")} == {}


def test_what_is_no_cron_expression_is_refused() -> None:
    with pytest.raises(Exception, match="cron"):
        by_cron("every day")
