"""The mine's three ways of capturing changes, hour after hour, held against what is true."""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
import pyarrow.parquet as pq
import pytest
from platform_tests.company import malacate

from acme.definitions import DEFS
from acme.simulator.commands import started
from acme.simulator.mine import Mine
from acme.simulator.plant import TABLES as PLANT
from acme.simulator.replication import CAPTURED, STREAMED
from acme.simulator.tables import TABLES, AppTable
from malacate.commands.project import opened
from malacate.ingest import Ingest
from malacate.names import TableName
from malacate.orchestration.resources import Platform

__all__ = ["malacate"]

CHANGING = ("production", "datastream", "plant")


@pytest.fixture
def home() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="mine-") as folder:
        place = Path(folder)
        with pytest.MonkeyPatch.context() as patched:
            patched.setenv("MALACATE_HOME", str(place))
            patched.delenv("MALACATE_TARGET", raising=False)
            started(scale=0.05, home=place)
            yield place
        Mine(place / "mine").stop()


def changing() -> dg.Definitions:
    """What the mine declares of sources whose changes are captured."""
    tree = dg.ComponentTree.for_project(DEFS)
    parts = [tree.build_defs_at_path(DEFS / source) for source in CHANGING]
    platform = Platform(targets=str(DEFS.parent / "targets.yaml"))
    shared = dg.Definitions(resources={"platform": platform}, executor=dg.in_process_executor)
    return dg.Definitions.merge(shared, *parts)


def load(location: dg.Definitions, instance: dg.DagsterInstance) -> dict[str, dict[str, Any]]:
    """Materialize all of it; metadata by asset."""
    result = location.resolve_implicit_global_asset_job_def().execute_in_process(
        instance=instance, run_config={"loggers": {"console": {"config": {"log_level": "ERROR"}}}}
    )
    assert result.success
    return {
        event.asset_key.to_user_string(): {
            name: value.value for name, value in event.materialization.metadata.items()
        }
        for event in result.get_asset_materialization_events()
        if event.asset_key
    }


def standing(ingest: Ingest, source: str, table: AppTable) -> dict[tuple[Any, ...], Any]:
    rows = ingest.warehouse.read(TableName(f"raw_{source}", table.name)).to_pylist()
    return by_key(table, [row for row in rows if not row["is_deleted"]])


def by_key(table: AppTable, rows: list[dict[str, Any]]) -> dict[tuple[Any, ...], Any]:
    found = {
        tuple(row[key] for key in table.key): {name: row[name] for name in table.schema.names}
        for row in rows
    }
    assert len(found) == len(rows)
    return found


def true(home: Path, source: str, table: AppTable) -> dict[tuple[Any, ...], Any]:
    path = home / "mine" / "truth" / source / f"{table.name}.parquet"
    return by_key(table, pq.read_table(path).to_pylist())


def in_the_app(mine: Mine, table: AppTable) -> dict[tuple[Any, ...], Any]:
    with psycopg.connect(mine.systems().production_url, row_factory=psycopg.rows.dict_row) as app:
        return by_key(table, app.execute(f"SELECT * FROM app.{table.name}".encode()).fetchall())


def slots(mine: Mine) -> set[str]:
    with psycopg.connect(mine.systems().production_url) as app:
        return {name for (name,) in app.execute("SELECT slot_name FROM pg_replication_slots")}


def test_every_way_ends_where_the_source_stands_hour_after_hour(home: Path, malacate: Any) -> None:
    mine, location = Mine(home / "mine"), changing()
    with dg.DagsterInstance.ephemeral() as instance:
        load(location, instance)
        for hours in (1, 2, 3):
            mine.tick(hours)
            told = load(location, instance)
            ingest = opened()
            for name in CAPTURED:
                table = TABLES[name]
                assert standing(ingest, "production", table) == in_the_app(mine, table), name
            for name in STREAMED:
                table = TABLES[name]
                assert standing(ingest, "datastream", table) == true(home, "datastream", table)
            for table in PLANT.values():
                assert standing(ingest, "plant", table) == true(home, "plant", table)
    lag = told["raw/production/haul_cycle_changes"]
    assert lag["slot"] == "malacate_local"
    assert lag["slot_wal_status"] == "reserved"
    assert lag["slot_unread_bytes"] < 1 << 20
    assert slots(mine) == {"datastream", "malacate_local"}
    found = json.loads(malacate("doctor", "--json")[1])
    mine_s = [row for row in found if row["what"].startswith(("malacate_local", "plant/"))]
    assert len(mine_s) > 10
    assert [row for row in mine_s if not row["is_right"]] == []


def test_the_bells_ring_once_for_an_hour(home: Path) -> None:
    location = changing()
    repository = location.get_repository_def()
    platform = Platform(targets=str(DEFS.parent / "targets.yaml"))
    bells = [s for s in repository.sensor_defs if s.name.endswith(("__changes", "__captured"))]
    assert [bell.name for bell in bells] == [
        "raw__plant__captured", "raw__production__malacate_local__changes",
    ]  # fmt: skip
    with dg.DagsterInstance.ephemeral() as instance:
        load(location, instance)
        Mine(home / "mine").tick()
        for bell in bells:
            with dg.build_sensor_context(
                instance, repository_def=repository, resources={"platform": platform}
            ) as context:
                asked = bell(context)
            assert isinstance(asked, dg.SensorResult)
            assert len(asked.run_requests or ()) == 1
