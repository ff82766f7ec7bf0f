"""`SqlServerChanges` as a user writes it: YAML, a contract, and what the graph then does."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from platform_tests.company import Company, at_home, run_to_end
from platform_tests.sources.sqlserver_standin import KINDS, TRUCK

from acme.simulator.sqlserver import SqlServer
from malacate.errors import ConfigError

DEFS = """
type: malacate.components.SqlServerChanges
attributes:
  source: erp
  url: ${ERP_URL}
  client: acme.simulator.sqlserver:connect
  tables:
    - name: truck
    - name: visit
"""
CONTRACT = """
apiVersion: v3.1.0
kind: DataContract
id: erp
name: Trucks
version: 1.0.0
status: active
schema:
  - name: truck
    physicalName: dbo.truck
    properties:
      - {name: id, logicalType: integer, physicalType: bigint, primaryKey: true}
      - {name: name, physicalName: Name of it, logicalType: string, physicalType: varchar}
      - {name: load_t, logicalType: number, physicalType: "decimal(12,3)"}
  - name: visit
    physicalName: dbo.visit
    properties:
      - {name: gate, logicalType: string, physicalType: varchar}
"""
KEYS = ("raw/erp/truck_changes", "raw/erp/truck", "raw/erp/visit_changes", "raw/erp/visit")


@pytest.fixture
def erp(tmp_path: Path, postgres_url: str) -> Iterator[Company]:
    company = Company(tmp_path)
    company.write("defs/erp/defs.yaml", DEFS)
    company.write("defs/erp/contract.odcs.yaml", CONTRACT)
    server = SqlServer(postgres_url)
    server.install()
    server.create_table(TRUCK, KINDS, ("id",))
    server.create_table("dbo.visit", {"gate": "nvarchar"}, ())
    for table in ("truck", "visit"):
        server.enable(f"dbo.{table}", f"dbo_{table}")
    with at_home(company, ERP_URL=postgres_url):
        yield company


def sensor_of(company: Company) -> dg.SensorDefinition:
    (found,) = company.definitions.sensors or ()
    assert isinstance(found, dg.SensorDefinition)
    return found


def test_changes_and_state_are_assets_and_the_sensor_asks_when_there_is_more(
    erp: Company, postgres_url: str, instance: dg.DagsterInstance
) -> None:
    server = SqlServer(postgres_url)
    server.run("insert into dbo.truck values (1, 'a', 2.5)",
               "insert into dbo.visit values ('north'), ('south')")  # fmt: skip
    server.tick()
    resources = {"platform": erp.platform}

    def asked() -> list[dg.RunRequest]:
        with dg.build_sensor_context(instance=instance, resources=resources) as context:
            return list(sensor_of(erp).evaluate_tick(context).run_requests or ())

    (first,) = asked()
    assert [first.run_key] == [one.run_key for one in asked()]
    ran = run_to_end(erp, KEYS, instance)
    assert asked() == []
    assert {"capture_keeps_up", "rows_reconcile", "key_is_unique"} <= set(ran.checks())
    assert ran.failed() == {"rows_have_a_key"}
    server.run("update dbo.truck set load_t = 3", "delete from dbo.visit where gate = 'north'")
    server.capture()
    (second,) = asked()
    assert second.run_key != first.run_key
    run_to_end(erp, KEYS, instance)
    assert [r["load_t"] for r in erp.rows("raw_erp.truck")] == [3]
    gates = erp.rows("raw_erp.visit", "gate, is_deleted")
    assert gates == [{"gate": "north", "is_deleted": True}, {"gate": "south", "is_deleted": False}]


def test_a_late_capture_job_fails_its_check_and_names_the_agent(
    erp: Company, postgres_url: str, instance: dg.DagsterInstance
) -> None:
    server = SqlServer(postgres_url)
    server.tick()
    server.run("update cdc.lsn_time_mapping set tran_end_time = tran_end_time - "
               "interval '1 hour'")  # fmt: skip
    ran = run_to_end(erp, KEYS[:2], instance)
    assert "capture_keeps_up" in ran.failed()
    assert "SQL Server Agent" in str(ran.checks()["capture_keeps_up"].metadata["what_to_do"].value)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("${ERP_URL}", "mssql://me:secret@db/erp", "a secret is written into a file"),
        ("name: truck", 'name: truck\n      accept_gap_at: "last"', "is no position"),
        ("sqlserver:connect", "sqlserver:nothing", "cannot be imported"),
        ("name: truck", "name: lorry", "'lorry' has no contract"),
    ],
)
def test_a_mistake_in_yaml_is_answered_before_anything_runs(
    erp: Company, old: str, new: str, words: str
) -> None:
    erp.write("defs/erp/defs.yaml", DEFS.replace(old, new))
    with pytest.raises(ConfigError, match=words):
        erp.route("raw/erp/truck_changes")
