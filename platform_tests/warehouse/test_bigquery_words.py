"""Every statement that is sent to BigQuery passes GoogleSQL's own analyzer, as things stand."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from google.cloud import bigquery
from platform_tests.emulators import parts
from platform_tests.warehouse import hours, test_fold
from platform_tests.warehouse.batches import Batches, drop, snapshot, table, window
from platform_tests.warehouse.engines import Engine, on_bigquery
from platform_tests.warehouse.test_warehouse import HOSTILE, REJECT, TYPED_IN_BIGQUERY, rows

from malacate.batch import WriteMode
from malacate.contracts.table import Column
from malacate.warehouse import hour_states
from malacate.warehouse.fold import Fold
from malacate.warehouse.protocol import Partition

KINDS = {"INTEGER": "INT64", "FLOAT": "FLOAT64", "BOOLEAN": "BOOL"}


@pytest.fixture(scope="module")
def analyzer() -> Iterator[parts.GoogleSQL]:
    with parts.googlesql() as started:
        yield started


class Strict(bigquery.Client):
    """Has each statement analyzed before it is sent."""

    analyzer: parts.GoogleSQL
    seen: int

    def query(self, query: str, job_config: Any = None, **more: Any) -> Any:
        parameters = {one.name: _type_of(one) for one in job_config.query_parameters}
        for statement in self.analyzer.check(query, self._tables(), parameters):
            assert not statement.error, f"{statement.error}: {statement.sql}"
            self.seen += 1
        return super().query(query, job_config=job_config, **more)

    def _tables(self) -> Mapping[str, Mapping[str, str]]:
        """As a query sees them: what the emulator tells of a table leaves out added columns."""
        found = (table for dataset in self.list_datasets() for table in self.list_tables(dataset))
        tables = {}
        for one in found:
            empty = super().query(f"select * from `{one.dataset_id}`.`{one.table_id}` limit 0")
            columns = {field.name: _kind_of(field) for field in empty.result().schema}
            tables[f"{one.dataset_id}.{one.table_id}"] = columns
        return tables


def _kind_of(field: bigquery.SchemaField) -> str:
    kind = KINDS.get(field.field_type, field.field_type)
    if kind in ("RECORD", "STRUCT"):
        kind = f"STRUCT<{', '.join(f'`{f.name}` {_kind_of(f)}' for f in field.fields)}>"
    return f"ARRAY<{kind}>" if field.mode == "REPEATED" else kind


def _type_of(parameter: Any) -> str:
    return _written(parameter.to_api_repr()["parameterType"])


def _written(kind: Mapping[str, Any]) -> str:
    if kind["type"] == "ARRAY":
        return f"ARRAY<{_written(kind['arrayType'])}>"
    if kind["type"] == "STRUCT":
        inside = (f"`{one['name']}` {_written(one['type'])}" for one in kind["structTypes"])
        return f"STRUCT<{', '.join(inside)}>"
    return str(kind["type"])


@pytest.fixture
def engine(bigquery_server: parts.BigQuery, bigquery_url: str, analyzer: parts.GoogleSQL) -> Engine:
    strict = type("Analyzed", (Strict,), {"analyzer": analyzer, "seen": 0})
    return on_bigquery(bigquery_server, bigquery_url, client=strict)


@pytest.mark.parametrize("mode", list(WriteMode))
def test_each_mode_of_writing_is_googlesql(engine: Engine, mode: WriteMode) -> None:
    warehouse = engine.warehouse
    columns = [Column("id", pa.int64(), True), *(Column(name, pa.int64()) for name in HOSTILE)]
    batches = Batches(engine.lake, table(*columns, key=("id", "group", *HOSTILE[:2])[::2]), mode)
    found = {WriteMode.SNAPSHOT: snapshot(1), WriteMode.UPSERT: window(None, 5)}.get(mode, drop())
    inside = Partition("id", 0, 10) if mode is WriteMode.PARTITION else None
    for _ in range(2):
        given = batches.of(found, rows(1, 2), rejects=[REJECT], keys=rows(1, 2), partition=inside)
        warehouse.publish([given])
    newer = {WriteMode.SNAPSHOT: snapshot(2), WriteMode.UPSERT: window(5, 9)}.get(
        mode, drop(version=2)
    )
    warehouse.publish([batches.of(newer, rows(3), partition=inside)])
    assert warehouse.read(batches.table.name, ["id"]).num_rows >= 1
    assert warehouse.markers(batches.table.name, ["none"]) == {}
    assert warehouse.position(batches.table.name) == ("9" if mode is WriteMode.UPSERT else None)


def test_tables_that_grow_and_widen_are_googlesql(engine: Engine) -> None:
    warehouse, kinds = engine.warehouse, {n: kind for n, (kind, _) in TYPED_IN_BIGQUERY.items()}
    warehouse.ensure([table(Column("id", pa.int32()))])
    warehouse.ensure([table(Column("id", pa.float64()), *(Column(n, k) for n, k in kinds.items()))])
    for value in (1, datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 3, 1).date(), "it's"):
        column = {int: "big", datetime: "at", str: "text"}.get(type(value), "day")
        assert warehouse.read(table().name, [column], Partition(column, value)).num_rows == 0


def test_what_is_derived_is_googlesql(engine: Engine) -> None:
    warehouse = engine.warehouse
    log, fold = Batches(engine.lake, test_fold.LOG), Fold(test_fold.STATE)
    readings = Batches(engine.lake, hours.READING)
    changes = test_fold.placed([test_fold.change("I", test_fold.A, (1, "x"), 1)])
    warehouse.publish([log.of(drop("1"), changes, derives=fold)])
    warehouse.publish([readings.of(drop("2"), [hours.reading(0)], derives=hours.STATS)])
    assert warehouse.read(test_fold.STATE.name).num_rows == 1
    assert warehouse.read(hours.HOURS.name).num_rows == 1
    assert len(hour_states.hours_standing(warehouse, hours.STATS)) == 1
    assert hour_states.put_aside(warehouse, hours.READING) == {}
    assert hour_states.clock_skewed(warehouse, "sensor_id", hours.READING) == []
    table = hours.STATS.table.name
    assert hour_states.last_hours(warehouse, table, "sensor_id") == [hours.EPOCH]
    week = Partition("hour_at", hours.EPOCH, hours.EPOCH + timedelta(days=7))
    assert warehouse.read(table, ["sensor_id", "hour_at"], week).num_rows == 1
    assert hour_states.newest_hour(warehouse, hours.STATS, hours.EPOCH) == (hours.EPOCH, 1)
    (renewed,) = hour_states.hours_standing(
        warehouse, hours.STATS, hours.EPOCH, [drop("2").batch_id]
    )
    assert renewed.is_renewed
    assert hour_states.sensors_by_state(warehouse, hours.STATS, hours.EPOCH)["silent"] == []
    warehouse.ensure([hours.SPECTRAL.table])
    assert hour_states.spectra_standing(warehouse, hours.SPECTRAL, *[hours.EPOCH] * 2) == []


@pytest.mark.parametrize("kind", [pa.date32(), pa.timestamp("us"), pa.timestamp("us", "UTC")])
@pytest.mark.parametrize("key", [("id",), ("id", "on"), ("id", "real")])
def test_what_is_pruned_is_googlesql(
    engine: Engine, kind: pa.DataType, key: tuple[str, ...]
) -> None:
    columns = (Column("id", pa.int64(), True), Column("on", kind), Column("real", pa.float64()))
    parted = replace(table(*columns, key=key), partitioned_by="on", description="it's")
    at = datetime(2026, 3, 1, 7, 30, tzinfo=UTC if kind == pa.timestamp("us", "UTC") else None)
    given = [{"id": 1, "on": at.date() if kind == pa.date32() else at, "real": 0.5}, {"id": 2}]
    warehouse = engine.warehouse
    drops, windows = (Batches(engine.lake, parted, m) for m in (WriteMode.APPEND, WriteMode.UPSERT))
    for version in (1, 2):
        warehouse.publish([drops.of(drop(version=version), given)])
    warehouse.publish([windows.of(window(None, 5), given, keys=given)])
    warehouse.publish([windows.of(window(5, 9), given[:1])])
    inside = Partition("id", 0, 5)
    by_id = Batches(engine.lake, parted, WriteMode.PARTITION).of(drop("p"), given, partition=inside)
    warehouse.publish([by_id])
    assert warehouse.read(parted.name, ["id"]).num_rows == 2
    assert warehouse.pause(parted.name) == 0.0
