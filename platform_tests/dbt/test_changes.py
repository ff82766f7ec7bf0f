"""Change tables in SQL: as of an instant, and as versions, as ``malacate.read`` has them."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from platform_tests.dbt.conftest import Engines
from platform_tests.dbt.engines import BIGQUERY_RAW, PROJECT, Built
from platform_tests.dbt.raw_rows import START, rows
from platform_tests.emulators import parts

from malacate.contracts.changes import STATE_COLUMNS
from malacate.readers import read as readers
from malacate.warehouse.duckdb import DuckDBWarehouse

INSTANT = "2026-11-01T00:00:00Z"
KEY = "cycle_id"
COLUMNS = ["truck_id", "material", "started_at", "payload_t", "updated_at"]
STATE = [column.name for column in STATE_COLUMNS]
AS_OF = (
    "select * from {{ as_of(source('datastream', 'haul_cycle_changes'), "
    f"['{KEY}'], {COLUMNS}, '{INSTANT}') }}}} as cycles"
)
LOGGED = rows()["raw_datastream.haul_cycle_changes"]
BEGINS = min(row["_source_at"] for row in LOGGED if row["_is_snapshot"])
ENDS = max(row["_source_at"] for row in LOGGED)
MINUTES = range(int((BEGINS - START).total_seconds()) // 60, 80)
Row = dict[str, Any]


def by_key(found: Iterable[Row]) -> dict[int, Row]:
    given = list(found)
    keyed = {row[KEY]: row for row in given}
    assert len(keyed) == len(given)
    return keyed


def held(engines: Engines, instant: datetime) -> dict[int, Row]:
    """What ``malacate.read`` gives."""
    warehouse = DuckDBWarehouse(engines.file, engines.file.parent / "lake")
    warehouse.ensure([])
    asked = ("raw/datastream/haul_cycle", instant, [KEY, *COLUMNS, *STATE])
    found = readers.at(warehouse, lambda: None, lambda: (KEY,), *asked)  # type: ignore
    return by_key(found.arrow().to_pylist())


def in_sql(engines: Engines, engine: str, sql: str) -> list[Row]:
    if engine == "duckdb":
        return list(engines.duckdb.sql(sql).to_arrow_table().to_pylist())
    return [dict(row) for row in engines.bigquery.query(sql).result()]


def without_unknown(expected: Row, found: Row, column: str) -> Row:
    """``expected`` without what the columns named in ``column`` of ``found`` were."""
    unknown = (found[column] or "").split(",") if found[column] else []
    assert set(unknown) <= {"payload_t"}
    assert not unknown or found[KEY] > 100
    return {name: None if name in unknown else value for name, value in expected.items()}


@pytest.mark.parametrize("engine", ["duckdb", "bigquery"])
def test_as_of_is_what_malacate_reads(engines: Engines, engine: str) -> None:
    built: Built = engines.local if engine == "duckdb" else engines.gcp
    sql, unknown, deleted = built.compiled(AS_OF), 0, 0
    for minute in (*MINUTES[::9], 10_000):
        instant = START + timedelta(minutes=minute)
        at = instant.isoformat().replace("+00:00", "Z")
        found = by_key(in_sql(engines, engine, sql.replace(INSTANT, at)))
        expected = held(engines, instant)
        assert found.keys() == expected.keys()
        for key, row in found.items():
            wanted = without_unknown(expected[key], row, "_missing")
            assert row == {**wanted, "_missing": row["_missing"]}, instant
            unknown, deleted = unknown + bool(row["_missing"]), deleted + row["is_deleted"]
    assert unknown
    assert deleted


def test_googlesql_accepts_as_of(engines: Engines) -> None:
    tables = {f"{PROJECT}.{name}": columns for name, columns in BIGQUERY_RAW.items()}
    with parts.googlesql() as google:
        (told,) = google.check(engines.gcp.compiled(AS_OF), tables)
    assert not told.error


def test_the_versions_at_an_instant_are_the_rows_of_then(engines: Engines) -> None:
    """Those of BigQuery are equal to these: see ``test_engines``."""
    versions = engines.rows("silver.haul_cycle_history")[0]
    assert {one["last_operation"] for one in versions} == set("IUDTR")
    for minute in MINUTES:
        instant = START + timedelta(minutes=minute)
        expected = {k: v for k, v in held(engines, instant).items() if not v["is_deleted"]}
        then = by_key(one for one in versions if stands(one, instant) and not one["is_deleted"])
        assert then.keys() == expected.keys()
        for key, row in then.items():
            wanted = without_unknown(expected[key], row, "unknown_columns")
            assert {name: row[name] for name in COLUMNS} == {name: wanted[name] for name in COLUMNS}
            assert row["last_operation"] == wanted["_op"]
            assert row["valid_from_at"] == wanted["_source_at"]


def test_each_cycle_has_one_version_at_every_instant_from_its_first(engines: Engines) -> None:
    versions = engines.rows("silver.haul_cycle_history")[0]
    for minute in MINUTES:
        instant = START + timedelta(minutes=minute)
        known = {one[KEY] for one in versions if one["valid_from_at"] <= instant}
        assert by_key(one for one in versions if stands(one, instant)).keys() == known


def test_no_version_repeats_a_deletion(engines: Engines) -> None:
    versions = sorted(
        engines.rows("silver.haul_cycle_history")[0],
        key=lambda one: (one[KEY], one["valid_from_at"]),
    )
    pairs = pairwise(versions)
    again = [new for old, new in pairs if old[KEY] == new[KEY] and old["is_deleted"]]
    assert again
    assert not any(one["is_deleted"] for one in again)


def stands(version: Row, instant: datetime) -> bool:
    until = version["valid_to_at"]
    return bool(version["valid_from_at"] <= instant and (until is None or instant < until))
