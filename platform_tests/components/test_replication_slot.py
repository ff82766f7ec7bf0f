"""A slot as YAML declares it: its assets and their checks, its sensor, and what doctor says."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
import pytest
from platform_tests.company import Command, Company, at_home, malacate, run_to_end
from platform_tests.sources.logical_postgres import logical_postgres, logical_url

from malacate.orchestration.sensors import Runs

__all__ = ["logical_postgres", "logical_url", "malacate"]

DECLARED = """
type: malacate.components.ReplicationSlot
attributes:
  source: pit
  url: ${PIT_URL}
  publication: pit_changes
  slot: %s
  tables: [truck, note]
"""
CONTRACT = """
apiVersion: v3.1.0
kind: DataContract
id: pit
name: Pit
version: 1.0.0
status: active
schema:
  - name: truck
    physicalName: app.truck
    properties:
      - {name: id, logicalType: integer, physicalType: bigint, primaryKey: true}
      - {name: note, logicalType: string, physicalType: varchar}
  - name: note
    physicalName: app.note
    properties:
      - {name: line, logicalType: string, physicalType: varchar}
"""
DDL = """
create schema app;
create table app.truck (id bigint primary key, note text);
create table app.note (line text);
insert into app.truck values (1, 'a'), (2, 'b');
insert into app.note values ('first');
"""
FULL = "alter table app.note replica identity full"
TRUCK = "raw/pit/truck_changes"


@pytest.fixture
def pit(tmp_path: Path, logical_url: str) -> Iterator[Company]:
    """A company with one slot of two tables, one of them without a key."""
    company = Company(tmp_path)
    name = f"c_{tmp_path.name[-30:]}".lower()
    company.write("defs/pit/defs.yaml", DECLARED % name)
    company.write("defs/pit/contract.odcs.yaml", CONTRACT)
    run(logical_url, DDL)
    with at_home(company, PIT_URL=logical_url):
        yield company


def run(url: str, statements: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statements.encode())


def looked(malacate: Command, *more: str) -> dict[str, dict[str, Any]]:
    found = json.loads(malacate("doctor", "--json", *more)[1])
    return {row["what"].partition(" ")[2]: row for row in found if row["what"].startswith("c_")}


def wrong(told: dict[str, dict[str, Any]]) -> set[str]:
    return {what for what, row in told.items() if not row["is_right"]}


def test_doctor_names_what_is_missing_and_makes_what_it_may(
    pit: Company, malacate: Command, logical_url: str
) -> None:
    told = looked(malacate)
    assert {"app.note", "publication pit_changes"} <= wrong(told)
    assert "alter table app.note replica identity full" in told["app.note"]["fix"]
    assert (
        'create publication "pit_changes" for table "app"."truck"'
        in (told["publication pit_changes"]["fix"])
    )
    assert wrong(looked(malacate, "--fix")) >= {"app.note"}
    run(logical_url, "update app.note set line = 'it still works'")
    run(logical_url, FULL)
    assert wrong(looked(malacate, "--fix")) == set()


def test_doctor_gives_the_exact_privileges_and_with_them_all_runs(
    pit: Company,
    malacate: Command,
    logical_url: str,
    monkeypatch: pytest.MonkeyPatch,
    instance: dg.DagsterInstance,
) -> None:
    run(logical_url, FULL)
    looked(malacate, "--fix")
    role = f"reader_{logical_url.rpartition('/')[2][2:10]}"
    run(logical_url, f"create role {role} login")
    monkeypatch.setenv("PIT_URL", logical_url.replace("postgres:@", f"{role}:@", 1))
    try:
        told = looked(malacate)
        assert {"privilege", "app.truck", "app.note"} <= wrong(told)
        for what in ("privilege", "app.truck", "app.note"):
            run(logical_url, told[what]["fix"].partition(": ")[2])
        assert wrong(looked(malacate)) == set()
        run_to_end(pit, (), instance)
        assert len(pit.rows("raw_pit.truck")) == 2
    finally:
        run(logical_url, f"drop owned by {role}; drop role {role}")


def test_the_assets_tell_their_changes_their_lag_and_that_a_key_is_missing(
    pit: Company, malacate: Command, logical_url: str, instance: dg.DagsterInstance
) -> None:
    run(logical_url, FULL)
    looked(malacate, "--fix")
    run_to_end(pit, (), instance)
    run(logical_url, "insert into app.truck values (3, 'c'); update app.note set line = 'other'")
    ran = run_to_end(pit, (), instance)
    assert ran.made() == ["raw/pit/note", "raw/pit/note_changes", "raw/pit/truck", TRUCK]
    events = {
        e.asset_key.to_user_string(): e.materialization.metadata
        for e in ran.result.get_asset_materialization_events()
        if e.asset_key
    }
    told = {name: value.value for name, value in events[TRUCK].items()}
    assert told["rows_loaded"] == 1
    assert told["slot_wal_status"] == "reserved"
    assert told["slot_unread_bytes"] < 10_000
    assert 0 <= told["newest_change_age_seconds"] < 600
    assert ran.failed() == {"rows_have_a_key"}
    assert {"slot_keeps_up", "slot_is_safe"} <= ran.checks().keys()
    alive = "not is_deleted"
    rows = pit.ingest.warehouse.query(f"select line from raw_pit.note where {alive}").to_pylist()
    assert rows == [{"line": "other"}]


def test_one_table_can_be_asked_for_and_the_others_are_told_when_they_are(
    pit: Company, malacate: Command, logical_url: str, instance: dg.DagsterInstance
) -> None:
    run(logical_url, FULL)
    looked(malacate, "--fix")
    assert run_to_end(pit, ("raw/pit/note_changes",), instance).made() == ["raw/pit/note_changes"]
    assert len(pit.rows("raw_pit.truck")) == 2
    assert run_to_end(pit, ("raw/pit/truck", TRUCK), instance).made() == ["raw/pit/truck", TRUCK]


def test_a_gap_fails_the_run_and_doctor_fix_ends_it(
    pit: Company, malacate: Command, logical_url: str, instance: dg.DagsterInstance
) -> None:
    run(logical_url, FULL)
    looked(malacate, "--fix")
    run_to_end(pit, (), instance)
    run(logical_url, "select pg_drop_replication_slot(slot_name) from pg_replication_slots "
                     "where database = current_database()")  # fmt: skip
    run(logical_url, "delete from app.truck where id = 1")
    ran = pit.materialize(instance)
    assert not ran.is_success
    assert "the slot is gone" in ran.error()
    assert "slot" in wrong(looked(malacate))
    assert wrong(looked(malacate, "--fix")) == set()
    run_to_end(pit, (), instance)
    query = "select id from raw_pit.truck where not is_deleted"
    assert pit.ingest.warehouse.query(query).to_pylist() == [{"id": 2}]


def test_the_sensor_asks_for_one_run_when_something_was_written(
    pit: Company, malacate: Command, logical_url: str, instance: dg.DagsterInstance
) -> None:
    run(logical_url, FULL)
    looked(malacate, "--fix")
    repository = pit.definitions.get_repository_def()
    (sensor,) = repository.sensor_defs
    context = dg.build_sensor_context(instance, repository_def=repository)
    asked = sensor(context)
    assert isinstance(asked, dg.SensorResult)
    assert len(asked.run_requests or ()) == 1
    again = sensor(
        dg.build_sensor_context(instance, cursor=asked.cursor, repository_def=repository)
    )
    if isinstance(again, dg.SensorResult):
        again = sensor(
            dg.build_sensor_context(instance, cursor=again.cursor, repository_def=repository)
        )
    assert isinstance(again, dg.SkipReason)


def test_a_run_that_failed_is_asked_for_again_though_nothing_more_was_written(
    pit: Company, malacate: Command, logical_url: str, instance: dg.DagsterInstance
) -> None:
    repository = pit.definitions.get_repository_def()
    (sensor,) = repository.sensor_defs

    def asked(cursor: str | None = None) -> Any:
        context = dg.build_sensor_context(instance, cursor=cursor, repository_def=repository)
        return sensor(context)

    first = asked()
    (request,) = first.run_requests
    tags = dict(request.tags)
    failed = instance.create_run_for_job(
        repository.get_implicit_global_asset_job_def(),
        tags=tags,
        status=dg.DagsterRunStatus.STARTED,
    )
    assert asked().skip_message == "a run is at work"
    instance.report_run_failed(failed)
    told = asked(first.cursor)
    assert isinstance(told, dg.SkipReason)
    assert "1 failed; again in" in str(told.skip_message)
    assert Runs(False, 1, 0.0).wait(30) == ""
