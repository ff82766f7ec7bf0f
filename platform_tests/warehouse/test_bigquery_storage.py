"""Rows of BigQuery by the Storage Read API: those that come as JSON, which stay for its absence."""

import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import grpc
import pyarrow as pa
import pytest
from platform_tests.emulators.bigquery_storage import HIDDEN, Storage
from platform_tests.emulators.parts import BigQuery
from platform_tests.warehouse.batches import Batches, drop, table
from platform_tests.warehouse.engines import Engine, on_bigquery

from malacate.contracts.table import Column
from malacate.names import TableName
from malacate.orchestration.bigquery import emulated_reader, reader
from malacate.warehouse.protocol import Partition

NAME = TableName("raw_lab", "rock")
ROW: dict[str, tuple[pa.DataType, Any]] = {
    "name": (pa.string(), "ñ"),
    "small": (pa.int32(), 3),
    "price": (pa.decimal128(12, 2), Decimal("1.20")),
    "wide": (pa.decimal128(38, 9), Decimal("1.000000001")),
    "x": (pa.float64(), 0.1),
    "is_new": (pa.bool_(), True),
    "on_day": (pa.date32(), date(2026, 1, 2)),
    "at_time": (pa.time64("us"), time(1, 2, 3, 4)),
    "made_at": (pa.timestamp("us", "UTC"), datetime(2026, 1, 2, 3, tzinfo=UTC)),
    "local_at": (pa.timestamp("us"), datetime(2026, 1, 2, 3, 4, 5, 6)),
    "bytes": (pa.binary(), b"\x00\xff"),
    "tags": (pa.list_(pa.string()), ["a", "b"]),
    "inner": (pa.struct([("a", pa.int64()), ("b", pa.string())]), {"a": 1, "b": None}),
}


@pytest.fixture
def engine(bigquery_server: BigQuery, bigquery_url: str, storage: Storage) -> Iterator[Engine]:
    yield on_bigquery(bigquery_server, bigquery_url, storage=emulated_reader(storage.url))
    storage.refuse(None)


def published(engine: Engine, rows: int) -> None:
    columns = [Column(name, kind) for name, (kind, _) in ROW.items()]
    wide = table(Column("id", pa.int64(), True), *columns)
    values = {name: value for name, (_, value) in ROW.items()}
    given = [{"id": i, **(values if i % 3 else {"tags": []})} for i in range(rows)]
    engine.warehouse.publish([Batches(engine.lake, wide).of(drop(), given)])


@pytest.mark.parametrize(
    "refused", [grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNIMPLEMENTED]
)
def test_where_it_is_refused_the_same_rows_come_as_json(
    engine: Engine, storage: Storage, refused: grpc.StatusCode
) -> None:
    published(engine, 3_000)
    sessions = len(storage.sessions)
    as_arrow = engine.warehouse.read(NAME).sort_by("id")
    assert len(storage.sessions) == sessions + 1
    storage.refuse(refused)
    warehouse = engine.warehouse
    as_json = [warehouse.read(NAME).sort_by("id") for _ in range(2)]
    assert len(storage.sessions) == sessions + 1
    assert as_json[0].equals(as_arrow)
    assert as_json[1].equals(as_arrow)
    assert as_arrow.num_rows == 3_000


def test_a_partition_and_columns_are_asked_for_by_the_statement(
    engine: Engine, storage: Storage
) -> None:
    published(engine, 10)
    found = engine.warehouse.read(NAME, ["price", "id"], Partition("id", 2, 5)).sort_by("id")
    assert found["id"].to_pylist() == [2, 3, 4]
    assert found.schema.names == ["price", "id"]
    assert HIDDEN in storage.sessions[-1]


def test_no_rows_are_a_table_of_the_same_types(engine: Engine) -> None:
    published(engine, 1)
    nothing = engine.warehouse.read(NAME, partition=Partition("id", -1))
    assert nothing.num_rows == 0
    assert nothing.schema.equals(engine.warehouse.read(NAME).schema)


def test_rows_stay_in_the_order_that_was_asked_for(engine: Engine) -> None:
    published(engine, 500)
    sql = "select id from raw_lab.rock where id >= $least order by id desc"
    found = engine.warehouse.query(sql, {"least": 100})
    assert found["id"].to_pylist() == list(range(499, 99, -1))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("BIGQUERY_EMULATOR_HOST", "BIGQUERY_STORAGE_EMULATOR_HOST"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_an_emulator_without_it_is_read_as_json(asked: pytest.MonkeyPatch) -> None:
    asked.setenv("BIGQUERY_EMULATOR_HOST", "http://127.0.0.1:1")
    assert reader() is None


def test_without_its_client_rows_are_read_as_json(asked: pytest.MonkeyPatch) -> None:
    asked.setitem(sys.modules, "google.cloud.bigquery_storage", None)
    assert reader() is None
