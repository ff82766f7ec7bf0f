"""A company whose slope shakes more than it did: its declarations, and what is sent."""

import json
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from platform_tests.company import Company

from malacate.ledger import alarms
from malacate.sources.streams.message import Message, as_file

SLOPE = """
type: malacate.components.HourlyAggregate
attributes:
  source: slope
  folder: ${SLOPE_DROPS}
  readings: vibration
  hours: vibration_hour
  files: ["*.csv"]
  format: {name: csv}
  per_hour: 4
  axes: {tran: ppv_mm_s}
  resolution: 0.1
  alarms:
    site: sector_id
    trend: {column: tran_rms_mm_s, times: 1.5, before_hours: 6}
    webhook: ${SLOPE_HOOK}
"""
CONTRACT = """
apiVersion: v3.1.0
kind: DataContract
id: slope
name: Slope
version: 1.0.0
status: active
schema:
  - name: vibration
    properties:
      - {name: sensor_id, logicalType: string, physicalType: varchar, required: true}
      - {name: seq, logicalType: integer, physicalType: bigint, required: true}
      - {name: measured_at, logicalType: timestamp, physicalType: timestamptz, required: true}
      - {name: sector_id, logicalType: string, physicalType: varchar}
      - {name: ppv_mm_s, logicalType: number, physicalType: double,
         logicalTypeOptions: {minimum: 0, maximum: 100},
         customProperties: [{property: unit, value: mm/s}]}
  - name: vibration_hour
    properties:
      - {name: sensor_id, logicalType: string, physicalType: varchar, required: true,
         primaryKey: true, primaryKeyPosition: 1}
      - {name: hour_at, logicalType: timestamp, physicalType: timestamptz, required: true,
         primaryKey: true, primaryKeyPosition: 2}
      - {name: sector_id, logicalType: string, physicalType: varchar}
      - {name: readings, logicalType: integer, physicalType: bigint}
      - {name: completeness, logicalType: number, physicalType: double}
      - {name: tran_rms_mm_s, logicalType: number, physicalType: double,
         customProperties: [{property: unit, value: mm/s}]}
      - {name: revision, logicalType: integer, physicalType: integer}
"""
STREAM = """
type: malacate.components.EventStream
attributes:
  source: slope
  folder: ${SLOPE_DROPS}
  tables:
    - name: vibration
"""
HOURLY = """
      hourly:
        hours: vibration_hour
        per_hour: 4
        axes: {tran: ppv_mm_s}
        resolution: 0.1
      alarms:
        trend: {column: tran_rms_mm_s, times: 1.5, before_hours: 6}
        webhook: ${SLOPE_HOOK}
"""
READINGS, OPS, WATCH = "raw/slope/vibration", "ops/alarms", "slope/vibration_hour"
TABLES = (READINGS, "raw/slope/vibration_hour")
SENSORS = ("G1", "G2", "G3", "G4")


def drop(
    slope: Company, name: str, hours: Iterable[int], of: dict[str, float], quarters: int = 4,
    alive: Sequence[str] = SENSORS,
) -> None:  # fmt: skip
    """Readings of sensors, four in an hour; the sensors that are not named shake with 1 mm/s."""
    lines = ["sensor_id,seq,measured_at,sector_id,ppv_mm_s"]
    for hour in hours:
        for sensor in alive:
            for quarter in range(quarters):
                at = f"2026-11-{1 + hour // 24:02}T{hour % 24:02}:{15 * quarter:02}:00Z"
                told = f"{at},N{1 + int(sensor in of)},{of.get(sensor, 1.0)}"
                lines.append(f"{sensor},{4 * hour + quarter},{told}")
    slope.drop(f"{name}.csv", "\n".join(lines) + "\n")


def send(slope: Company, name: str, hours: Iterable[int], value: float) -> None:
    told = [
        {"sensor_id": "G1", "seq": 4 * hour + quarter, "ppv_mm_s": value,
         "measured_at": f"2026-11-01T{hour:02}:{15 * quarter:02}:00Z"}
        for hour in hours
        for quarter in range(4)
    ]  # fmt: skip
    data = as_file([Message(json.dumps(one).encode(), "slope") for one in told])
    slope.drop(f"vibration/{name}.parquet", data)


@contextmanager
def held(warehouse: Path) -> Iterator[None]:
    """Another process has it open for writing."""
    program = (
        f"import duckdb; c = duckdb.connect({str(warehouse)!r}); print(1, flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()
        yield
        other.communicate(b"\n")


def opened(slope: Company) -> list[tuple[str, str]]:
    rows = alarms.standing(slope.ingest.ledger, WATCH)
    return sorted((row["subject"], row["rule"]) for row in rows)
