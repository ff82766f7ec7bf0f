"""Readings of geophones for alarms, and what a plain loop says of them."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pyarrow as pa

from malacate.alarms.limits import Band, Limits
from malacate.alarms.rules import Columns
from malacate.alarms.watch import Watch
from malacate.contracts.table import Column, Table
from malacate.names import TableName

AT = pa.timestamp("us", "UTC")
SECOND = 1_000_000
START = 1_767_225_600 * SECOND
"""2026 begins: of no clock that lost its time."""
COLUMNS = Columns(axes=("tran_mm_s", "vert_mm_s"), frequency="freq_hz", battery="battery_v")
TABLE = Table(
    TableName("raw_pit", "vibration"),
    (
        Column("sensor_id", pa.string(), required=True, pattern=r"G\d+"),
        Column("measured_at", AT, required=True),
        Column("tran_mm_s", pa.float64(), unit="mm/s", minimum=0, maximum=254),
        Column("vert_mm_s", pa.float64(), unit="mm/s"),
        Column("freq_hz", pa.float64(), unit="Hz"),
        Column("battery_v", pa.float64(), unit="V"),
        Column("pit", pa.string()),
        Column("came_at", AT),
    ),
    extra_columns="ignore",
)
HOUSES = Limits("houses", "dwellings", (Band(0, 10, 5, 5), Band(10, 50, 5, 15)))


@dataclass(frozen=True)
class Reading:
    sensor: str | None = "G1"
    at: int | None = 0
    tran: float | None = 0.1
    vert: float | None = 0.1
    freq: float | None = 8.0
    battery: float | None = 13.0
    pit: str | None = None
    came: int | None = None

    def json(self) -> bytes:
        return (
            f'{{"sensor_id": "{self.sensor}", "measured_at": "{iso(self.at or 0)}", '
            f'"tran_mm_s": {self.tran}, "vert_mm_s": {self.vert}, '
            f'"freq_hz": {self.freq}, "battery_v": {self.battery}}}'
        ).encode()


def iso(us: int) -> str:
    text: str = pa.scalar(us, AT).as_py().isoformat()
    return text


def rows(readings: Iterable[Reading]) -> pa.RecordBatch:
    some = list(readings)
    columns = [
        [r.sensor for r in some], [r.at for r in some], [r.tran for r in some],
        [r.vert for r in some], [r.freq for r in some], [r.battery for r in some],
        [r.pit for r in some], [r.came for r in some],
    ]  # fmt: skip
    schema = pa.schema([(c.name, c.type) for c in TABLE.columns])
    arrays = [pa.array(c, f.type, from_pandas=False) for c, f in zip(columns, schema, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def limit(bands: Sequence[Band], hz: float) -> float | None:
    """By the words of the table: the band that the frequency is in, and the line across it."""
    for band in bands:
        if band.from_hz <= hz < band.to_hz:
            slope = (band.to_mm_s - band.from_mm_s) / (band.to_hz - band.from_hz)
            return band.from_mm_s + (hz - band.from_hz) * slope
    return None


def too_fast(readings: Iterable[Reading], limits: Limits) -> list[tuple[str, int, float, float]]:
    found = []
    for r in readings:
        axes = [abs(v) for v in (r.tran, r.vert) if v is not None and math.isfinite(v)]
        if not axes or r.sensor is None or r.at is None:
            continue
        if r.freq is None or not math.isfinite(r.freq):
            continue
        bound = limit(limits.bands, r.freq)
        if bound is not None and max(axes) > bound:
            found.append((r.sensor, r.at, max(axes), bound))
    return sorted(found)


def watch(columns: Columns = COLUMNS, **changed: object) -> Watch:
    given = {"limits": (HOUSES,), "quiet_seconds": 60.0, **changed}
    return Watch(TABLE, columns, **given)  # type: ignore[arg-type]
