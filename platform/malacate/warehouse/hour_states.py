"""What the warehouse knows of hours as a whole, and of the state that each sensor is in."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from malacate.contracts.table import Table
from malacate.names import TableName, quote
from malacate.warehouse.hourly import HourlyStats
from malacate.warehouse.hourly_rules import REVISION
from malacate.warehouse.protocol import BATCH_COLUMN, Warehouse

SILENT_AFTER = timedelta(hours=1)
"""A sensor whose last hour began longer before the newest one is silent."""
KNOWN_FOR = timedelta(days=7)
"""Who has been silent for longer has been taken down."""
LOOKED_AT = 2000
"""Quarantined rows that are looked at for the sensors they are of, newest first."""


@dataclass(frozen=True)
class HourStands:
    """All sensors' rows of an hour; ``seen`` is another text whenever one of them is renewed.

    What the contract leaves out is 0, or nothing.
    """

    hour_at: datetime
    sensors: int
    readings: int
    expected_readings: int
    ppv_mm_s: float | None
    revision: int
    seen: str
    is_renewed: bool = False


@dataclass(frozen=True)
class SpectrumStands:
    """What an hour says of each axis: the frequency of the sensor with the most energy, and of
    each band the mean of the sensors' energies.
    """

    hour_at: datetime
    dominant_hz: Mapping[str, float | None]
    energy: Mapping[str, Mapping[str, float | None]]


def newest_hour(
    warehouse: Warehouse, stats: HourlyStats, now: datetime
) -> tuple[datetime | None, int]:
    """The newest hour of the table that began by ``now``, or of all where none did; and how many
    it has.
    """
    found = warehouse.query(
        "select max(case when hour_at <= $now then hour_at end) as newest, "
        "max(hour_at) as latest, count(distinct hour_at) as hours "
        f"from {stats.table.name.sql('duckdb')}",
        {"now": now},
    )
    (row,) = found.to_pylist()
    return row["newest"] or row["latest"], row["hours"]


def hours_standing(
    warehouse: Warehouse,
    stats: HourlyStats,
    since: datetime | None = None,
    batch_ids: Sequence[str] = (),
) -> list[HourStands]:
    """The hours of the table, oldest first: every one, or those from ``since`` on.

    ``is_renewed`` are those of which a row came with one of ``batch_ids``.
    """
    where, values = _since(since)
    renewed = "false"
    if batch_ids:
        renewed = f"max(case when list_contains($batches, {BATCH_COLUMN}) then 1 else 0 end) = 1"
        values["batches"] = list(batch_ids)
    sensor = quote(stats.sensor, "duckdb")
    row = f"concat({sensor}, ':', cast({REVISION} as varchar), ':', {BATCH_COLUMN})"
    found = warehouse.query(
        f"select hour_at, count(*) as sensors, {_total(stats, 'readings')} as readings, "
        f"{_total(stats, 'expected_readings')} as expected_readings, {_ppv(stats)} as ppv_mm_s, "
        f"max({REVISION}) as revision, {renewed} as is_renewed, "
        f"md5(string_agg({row}, ',' order by {sensor})) as seen "
        f"from {stats.table.name.sql('duckdb')} {where} group by hour_at order by hour_at",
        values,
    )
    return [HourStands(**one) for one in found.to_pylist()]


def _since(since: datetime | None, until: datetime | None = None) -> tuple[str, dict[str, Any]]:
    """Values are bound: so partitions are left out where the table has some."""
    given = {"since": since, "until": until}
    values = {name: at for name, at in given.items() if at is not None}
    terms = {"since": "hour_at >= $since", "until": "hour_at <= $until"}
    where = " and ".join(terms[name] for name in values)
    return (f"where {where}" if where else ""), values


def _total(stats: HourlyStats, name: str) -> str:
    return f"cast({f'sum({name})' if name in stats.table.by_name else 0} as bigint)"


def _ppv(stats: HourlyStats) -> str:
    return "max(ppv_mm_s)" if "ppv_mm_s" in stats.table.by_name else "cast(null as double)"


def spectra_standing(
    warehouse: Warehouse, stats: HourlyStats, since: datetime, until: datetime
) -> list[SpectrumStands]:
    """The spectra of the hours from ``since`` to ``until``, oldest first; none if the table has
    none.
    """
    bands = _bands(stats)
    if not bands:
        return []
    where, values = _since(since, until)
    energies = [quote(name, "duckdb") for of in bands.values() for name in of.values()]
    loudest = {quote(_dominant(axis), "duckdb"): _loudest(axis, bands[axis]) for axis in bands}
    rows = ", ".join(["hour_at", *energies, *(f"{text} as {n}" for n, text in loudest.items())])
    told = [*(f"max({n}) as {n}" for n in loudest), *(f"avg({n}) as {n}" for n in energies)]
    found = warehouse.query(
        f"select hour_at, {', '.join(told)} from (select {rows} "
        f"from {stats.table.name.sql('duckdb')} {where}) as told group by hour_at order by hour_at",
        values,
    )
    return [
        SpectrumStands(
            row["hour_at"],
            {axis: row[_dominant(axis)] for axis in bands},
            {axis: {band: row[name] for band, name in of.items()} for axis, of in bands.items()},
        )
        for row in found.to_pylist()
    ]


def _bands(stats: HourlyStats) -> dict[str, dict[str, str]]:
    """Of each axis that the table tells a frequency of, its bands and their columns."""
    known = stats.table.by_name
    names = {
        axis: {band: f"{axis}_{band}_energy_mm2_s2" for band in stats.spectrum.bands}
        for axis in stats.axes
        if stats.spectrum and _dominant(axis) in known
    }
    return {axis: {b: n for b, n in of.items() if n in known} for axis, of in names.items()}


def _dominant(axis: str) -> str:
    return f"{axis}_dominant_hz"


def _loudest(axis: str, bands: Mapping[str, str]) -> str:
    """The frequency of the sensor with the most energy; without bands the highest frequency."""
    hz, energies = quote(_dominant(axis), "duckdb"), [quote(n, "duckdb") for n in bands.values()]
    most = f"order by {' + '.join(energies) or hz} desc nulls last, {hz} desc nulls last"
    return f"first_value({hz}) over (partition by hour_at {most})"


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
    warehouse: Warehouse, stats: HourlyStats, newest: datetime | None
) -> dict[str, list[str]]:
    """Sensors that are ``silent``, and that are ``frozen``: all values of the ``newest`` hour are
    equal, on each axis.
    """
    if newest is None:
        return {"silent": [], "frozen": []}
    last = _last_hours(warehouse, stats, newest)
    silent = [row["sensor"] for row in last if newest - row["hour_at"] > SILENT_AFTER]
    frozen = [row["sensor"] for row in last if row["is_frozen"] and row["hour_at"] == newest]
    return {"silent": sorted(silent), "frozen": sorted(frozen)}


def _last_hours(
    warehouse: Warehouse, stats: HourlyStats, newest: datetime
) -> Sequence[dict[str, Any]]:
    names, known = (f"{axis}_peak_to_peak_mm_s" for axis in stats.axes), stats.table.by_name
    still = [f"{quote(n, 'duckdb')} = 0" for n in names if n in known]
    is_told = bool(still) and "readings" in known
    is_frozen = " and ".join(["readings > 1", *still]) if is_told else "false"
    sensor, (where, values) = quote(stats.sensor, "duckdb"), _since(newest - KNOWN_FOR, newest)
    found = warehouse.query(
        f"select {sensor} as sensor, hour_at, {is_frozen} as is_frozen "
        f"from {stats.table.name.sql('duckdb')} {where} "
        f"qualify row_number() over (partition by {sensor} order by hour_at desc) = 1",
        values,
    )
    rows: list[dict[str, Any]] = found.to_pylist()
    return rows


def clock_skewed(warehouse: Warehouse, sensor: str, readings: Table) -> list[str]:
    """Sensors whose clock is wrong, by the newest rows put aside for that."""
    found = warehouse.query(
        "select q.raw from malacate.quarantine as q "
        "join malacate.loads as l on q.batch_id = l.batch_id "
        "where q.schema_name = $schema and q.table_name = $table and q.reason = 'clock_skew' "
        f"order by l.published_at desc, q.batch_id, q.position limit {LOOKED_AT}",
        _of(readings),
    )
    rows = (json.loads(raw.decode(errors="replace")) for raw in found.column("raw").to_pylist())
    return sorted({str(row[sensor]) for row in rows if row.get(sensor) is not None})


def _of(table: Table) -> dict[str, str]:
    return {"schema": table.name.schema, "table": table.name.table}
