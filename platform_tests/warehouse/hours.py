"""Readings, hours and their truth, for the tests: sums as Python's own integers, no numpy."""

import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any

import pyarrow as pa
from platform_tests.warehouse.batches import table

from malacate.contracts.table import Column
from malacate.warehouse.hourly import HourlyStats
from malacate.warehouse.hourly_rules import Spectrum

Row = dict[str, Any]
EPOCH = datetime(2026, 11, 3, tzinfo=UTC)
AXES = {axis: f"ppv_{axis}_mm_s" for axis in ("tran", "vert", "long")}
OF_AXIS = ("rms_mm_s", "peak_mm_s", "peak_to_peak_mm_s", "crest_factor", "kurtosis")
PER_HOUR, STEPS = 4, 1000


def _measured(name: str, most: float = 8388.608) -> Column:
    return Column(name, pa.float64(), minimum=-most, maximum=most)


READING = table(
    Column("sensor_id", pa.string(), True),
    Column("sector_id", pa.string()),
    Column("seq", pa.int64(), True),
    Column("measured_at", pa.timestamp("us", "UTC"), True),
    *(_measured(column) for column in AXES.values()),
    *(_measured(name) for name in ("rms_mm_s", "pvs_mm_s", "battery_v")),
    name="reading",
    key=("sensor_id", "seq"),
)
HOURS = table(
    Column("sensor_id", pa.string(), True),
    Column("sector_id", pa.string()),
    Column("hour_at", pa.timestamp("us", "UTC"), True),
    *(Column(name, pa.int64()) for name in ("readings", "expected_readings")),
    *(Column(name, pa.float64()) for name in ("completeness", "rms_mm_s", "ppv_mm_s")),
    *(Column(f"{axis}_{name}", pa.float64()) for axis in AXES for name in OF_AXIS),
    *(Column(name, pa.float64()) for name in ("peak_pvs_mm_s", "battery_min_v")),
    Column("last_reading_at", pa.timestamp("us", "UTC")),
    Column("revision", pa.int64()),
    name="hour",
    key=("sensor_id", "hour_at"),
)
STATS = HourlyStats(
    HOURS, PER_HOUR, AXES, 1 / STEPS, rms="rms_mm_s", vector_sum="pvs_mm_s", battery="battery_v"
)

BANDS = {"low": (1.0, 5.0), "high": (5.0, 50.0)}
_OF_BANDS = ("dominant_hz", "low_energy_mm2_s2", "high_energy_mm2_s2")
SPECTRAL = HourlyStats(
    table(
        *(HOURS.by_name[name] for name in ("sensor_id", "hour_at", "revision")),
        *(Column(f"tran_{name}", pa.float64()) for name in _OF_BANDS),
        name="spectral",
        key=("sensor_id", "hour_at"),
    ),
    PER_HOUR, AXES, 1 / STEPS, spectrum=Spectrum(100.0, BANDS),
)  # fmt: skip
"""Hours that tell a spectrum, of one axis."""


def reading(seq: int, rms: float = 1.0, peak: float = 2.0, sensor: str = "g1") -> Row:
    """One of four an hour."""
    at = EPOCH + timedelta(minutes=15 * seq)
    return {
        "sensor_id": sensor,
        "sector_id": "north",
        "seq": seq,
        "measured_at": at,
        "ppv_tran_mm_s": peak / 2,
        "ppv_vert_mm_s": -peak,
        "ppv_long_mm_s": peak / 4,
        "rms_mm_s": rms,
        "pvs_mm_s": peak * 1.5,
        "battery_v": 13.0 - seq / 100,
    }


def whole(value: float, steps: int = STEPS) -> int:
    """In steps, halves away from zero."""
    near = value * steps
    return math.floor(near + 0.5) if near >= 0 else math.ceil(near - 0.5)


def of_axis(values: Sequence[int], steps: int = STEPS) -> dict[str, float | None]:
    """What an hour says of an axis, to the last bit."""
    n, peak = len(values), max(map(abs, values)) / steps
    rms = math.sqrt(float(sum(x * x for x in values)) / (float(n) * steps * steps))
    c = whole(float(sum(values)) / n, 1)
    d, p2, p3, p4 = (float(sum((x - c) ** k for x in values)) / n for k in (1, 2, 3, 4))
    m2 = p2 - d * d
    m4 = p4 - 4 * d * p3 + 6 * d * d * p2 - 3 * d * d * d * d
    return {
        "rms_mm_s": rms,
        "peak_mm_s": peak,
        "peak_to_peak_mm_s": (max(values) - min(values)) / steps,
        "crest_factor": peak / rms if rms else None,
        "kurtosis": m4 / (m2 * m2) if m2 else None,
    }


def kurtosis(values: Sequence[int]) -> Fraction:
    """m4 / m2^2 in exact arithmetic."""
    mean = Fraction(sum(values), len(values))
    m2, m4 = (sum((x - mean) ** k for x in values) / len(values) for k in (2, 4))
    return m4 / (m2 * m2)


def true_hours(rows: Sequence[Row]) -> list[Row]:
    """The hours of readings, each given once, without their revisions."""
    found: dict[tuple[str, datetime], list[Row]] = {}
    for row in rows:
        at = row["measured_at"].replace(minute=0, second=0, microsecond=0)
        found.setdefault((row["sensor_id"], at), []).append(row)
    return [_hour(*key, found[key]) for key in sorted(found)]


def _hour(sensor: str, at: datetime, rows: list[Row]) -> Row:
    axes = {axis: of_axis([whole(row[name]) for row in rows]) for axis, name in AXES.items()}
    squares = [whole(row["rms_mm_s"]) ** 2 for row in rows]
    return {
        "sensor_id": sensor,
        "sector_id": max(row["sector_id"] for row in rows),
        "hour_at": at,
        "readings": len(rows),
        "expected_readings": PER_HOUR,
        "completeness": len(rows) / PER_HOUR,
        "rms_mm_s": math.sqrt(float(sum(squares)) / (float(len(rows)) * STEPS * STEPS)),
        "ppv_mm_s": max(axes[axis]["peak_mm_s"] or 0.0 for axis in AXES),
        **{f"{axis}_{name}": axes[axis][name] for axis in AXES for name in OF_AXIS},
        "peak_pvs_mm_s": max(whole(row["pvs_mm_s"]) for row in rows) / STEPS,
        "battery_min_v": min(whole(row["battery_v"]) for row in rows) / STEPS,
        "last_reading_at": max(row["measured_at"] for row in rows),
    }
