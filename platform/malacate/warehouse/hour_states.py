"""What the warehouse knows of hours as a whole, and of the state that each sensor is in."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from malacate.contracts.table import Table
from malacate.names import TableName, quote
from malacate.warehouse.hourly import REVISION, HourlyStats
from malacate.warehouse.protocol import BATCH_COLUMN, Warehouse

SILENT_AFTER = timedelta(hours=1)
"""A sensor whose last hour began longer before the newest one is silent."""
KNOWN_FOR = timedelta(days=7)
"""Who has been silent for longer has been taken down."""
LOOKED_AT = 2000
"""Quarantined rows that are looked at for the sensors they are of, newest first."""


@dataclass(frozen=True)
class HourStands:
    """All sensors' rows of an hour; ``seen`` is another text whenever one of them is renewed."""

    hour_at: datetime
    sensors: int
    readings: int
    expected_readings: int
    ppv_mm_s: float | None
    revision: int
    seen: str


def hours_standing(warehouse: Warehouse, stats: HourlyStats) -> list[HourStands]:
    """Every hour of the table, oldest first."""
    sensor = quote(stats.sensor, "duckdb")
    row = f"concat({sensor}, ':', cast({REVISION} as varchar), ':', {BATCH_COLUMN})"
    found = warehouse.query(
        "select hour_at, count(*) as sensors, cast(sum(readings) as bigint) as readings, "
        "cast(sum(expected_readings) as bigint) as expected_readings, "
        f"max(ppv_mm_s) as ppv_mm_s, max({REVISION}) as revision, "
        f"md5(string_agg({row}, ',' order by {sensor})) as seen "
        f"from {stats.table.name.sql('duckdb')} group by hour_at order by hour_at"
    )
    return [HourStands(**one) for one in found.to_pylist()]


def last_hours(warehouse: Warehouse, hours: TableName, sensor: str) -> list[datetime]:
    """The newest hour of each sensor."""
    found = warehouse.query(
        f"select max(hour_at) as last_at from {hours.sql('duckdb')} "
        f"group by {quote(sensor, 'duckdb')}"
    )
    last: list[datetime] = found["last_at"].to_pylist()
    return last


def put_aside(warehouse: Warehouse, readings: Table) -> dict[str, int]:
    """How many rows of the readings are in quarantine, by reason."""
    found = warehouse.query(
        "select reason, count(*) as number from malacate.quarantine "
        "where schema_name = $schema and table_name = $table group by reason order by reason",
        _of(readings),
    )
    return {row["reason"]: row["number"] for row in found.to_pylist()}


def sensors_by_state(
    warehouse: Warehouse, stats: HourlyStats, readings: Table
) -> dict[str, list[str]]:
    """Sensors that are ``silent``, that are ``frozen`` (all values of the newest hour are equal, on
    each axis), and whose clock is ``skewed``, by the newest rows put aside for that.
    """
    last = _last_hours(warehouse, stats)
    newest = max((row["hour_at"] for row in last), default=None)
    silent = [row["sensor"] for row in last if SILENT_AFTER < newest - row["hour_at"] <= KNOWN_FOR]
    frozen = [row["sensor"] for row in last if row["is_frozen"] and row["hour_at"] == newest]
    skewed = _skewed(warehouse, stats.sensor, readings)
    return {"silent": sorted(silent), "frozen": sorted(frozen), "clock_skewed": skewed}


def _last_hours(warehouse: Warehouse, stats: HourlyStats) -> Sequence[dict[str, Any]]:
    names = (f"{axis}_peak_to_peak_mm_s" for axis in stats.axes)
    still = [f"{quote(n, 'duckdb')} = 0" for n in names if n in stats.table.by_name]
    is_frozen = " and ".join(["readings > 1", *still]) if still else "false"
    sensor = quote(stats.sensor, "duckdb")
    found = warehouse.query(
        f"select {sensor} as sensor, hour_at, {is_frozen} as is_frozen "
        f"from {stats.table.name.sql('duckdb')} where true "
        f"qualify row_number() over (partition by {sensor} order by hour_at desc) = 1"
    )
    rows: list[dict[str, Any]] = found.to_pylist()
    return rows


def _skewed(warehouse: Warehouse, sensor: str, readings: Table) -> list[str]:
    found = warehouse.query(
        "select q.raw from malacate.quarantine as q "
        "join malacate.loads as l on q.batch_id = l.batch_id "
        "where q.schema_name = $schema and q.table_name = $table and q.reason = 'clock_skew' "
        f"order by l.published_at desc, q.batch_id, q.position limit {LOOKED_AT}",
        _of(readings),
    )
    rows = (json.loads(raw) for raw in found.column("raw").to_pylist())
    return sorted({str(row[sensor]) for row in rows if row.get(sensor) is not None})


def _of(table: Table) -> dict[str, str]:
    return {"schema": table.name.schema, "table": table.name.table}
