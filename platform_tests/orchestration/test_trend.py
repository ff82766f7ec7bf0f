"""A trend of hours is told once by ``ops/alarms``, whatever comes late, twice or is run again."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import dagster as dg
import pytest
from platform_tests.alarms.hook import Hook, listening
from platform_tests.company import Company, at_home, run_to_end

from malacate.errors import ConfigError
from malacate.ledger import alarms
from malacate.ledger.aside import put_aside
from malacate.names import TableName

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
ALARMS = """
from pathlib import Path

import dagster as dg

from malacate.components.alarm_rules import watches
from malacate.orchestration.alarms import alarm_assets


@dg.definitions
def defs():
    return alarm_assets(lambda: watches(Path(__file__).parent), ["raw/slope/vibration"])
"""
READINGS, OPS, WATCH = "raw/slope/vibration", "ops/alarms", "slope/vibration_hour"
TABLES = (READINGS, "raw/slope/vibration_hour")
SENSORS = ("G1", "G2", "G3", "G4")


@pytest.fixture
def hook() -> Iterator[Hook]:
    with listening() as made:
        yield made


@pytest.fixture
def slope(tmp_path: Path, hook: Hook) -> Iterator[Company]:
    company = Company(tmp_path)
    company.write("defs/slope/defs.yaml", SLOPE)
    company.write("defs/slope/contract.odcs.yaml", CONTRACT)
    company.write("defs/alarms.py", ALARMS)
    with at_home(company, SLOPE_DROPS=str(company.drops), SLOPE_HOOK=hook.url):
        yield company


def drop(
    slope: Company, name: str, hours: Iterable[int], of: dict[str, float], quarters: int = 4
) -> None:
    """Readings of sensors, four in an hour; the sensors that are not named shake with 1 mm/s."""
    lines = ["sensor_id,seq,measured_at,sector_id,ppv_mm_s"]
    for hour in hours:
        for sensor in SENSORS:
            for quarter in range(quarters):
                at = f"2026-11-{1 + hour // 24:02}T{hour % 24:02}:{15 * quarter:02}:00Z"
                told = f"{at},N{1 + int(sensor in of)},{of.get(sensor, 1.0)}"
                lines.append(f"{sensor},{4 * hour + quarter},{told}")
    slope.drop(f"{name}.csv", "\n".join(lines) + "\n")


def opened(slope: Company) -> list[tuple[str, str]]:
    rows = alarms.standing(slope.ingest.ledger, WATCH)
    return sorted((row["subject"], row["rule"]) for row in rows)


def test_what_rises_is_told_once_while_it_lasts_and_of_a_sector_as_one(
    slope: Company, hook: Hook, instance: dg.DagsterInstance
) -> None:
    drop(slope, "calm", range(8), {})
    told = run_to_end(slope, [*TABLES, OPS], instance).metadata(OPS)
    assert (told["incidents_opened"], len(hook.came)) == (0, 0)
    drop(slope, "a", range(8, 10), {"G1": 2.0, "G2": 1.8})
    told = run_to_end(slope, [*TABLES, OPS], instance).metadata(OPS)
    assert (told["incidents_opened"], told["open_trend_tran_rms_mm_s"]) == (2, 2)
    drop(slope, "b", range(10, 12), {"G1": 2.5, "G2": 1.8})
    drop(slope, "a_again", range(8, 10), {"G1": 2.0, "G2": 1.8})
    told = run_to_end(slope, [*TABLES, OPS], instance).metadata(OPS)
    assert (told["incidents_opened"], told["open_incidents"]) == (0, 2)
    (came,) = (body for _, body, _ in hook.came)
    assert (came["table"], came["rule"]) == ("raw/slope/vibration_hour", "trend_tran_rms_mm_s")
    assert [one["subject"] for one in came["incidents"]] == ["G1", "G2"]
    assert came["incidents"][0] | {"key": "", "limit": 0} == {
        "key": "", "subject": "G1", "opened_at": "2026-11-01T09:00:00.000+00:00",
        "value": 2.0, "limit": 0, "unit": "mm/s",
    }  # fmt: skip
    assert came["incidents"][0]["limit"] == pytest.approx(1.5)


def test_an_hour_is_judged_once_enough_of_it_came(
    slope: Company, hook: Hook, instance: dg.DagsterInstance
) -> None:
    drop(slope, "calm", range(8), {})
    drop(slope, "a", range(8, 9), {"G1": 2.0})
    drop(slope, "half", range(9, 10), {"G1": 2.0}, quarters=3)
    run_to_end(slope, [*TABLES, OPS], instance)
    assert opened(slope) == []
    drop(slope, "whole", range(9, 10), {"G1": 2.0})
    run_to_end(slope, [*TABLES, OPS], instance)
    assert opened(slope) == [("G1", "trend_tran_rms_mm_s")]


def test_late_readings_that_make_a_trend_are_news_within_the_bound(
    slope: Company, hook: Hook, instance: dg.DagsterInstance
) -> None:
    drop(slope, "calm", range(8), {})
    drop(slope, "since", range(10, 40), {})
    run_to_end(slope, [*TABLES, OPS], instance)
    drop(slope, "late", range(8, 10), {"G3": 9.0})
    run_to_end(slope, [*TABLES, OPS], instance)
    assert opened(slope) == [("G3", "trend_tran_rms_mm_s")]
    assert hook.named("opened_at") == ["2026-11-01T09:00:00.000+00:00"]


def test_after_the_ledger_was_lost_a_trend_is_told_again_under_its_key(
    slope: Company, hook: Hook, instance: dg.DagsterInstance
) -> None:
    drop(slope, "calm", range(8), {})
    drop(slope, "a", range(8, 12), {"G1": 2.0})
    run_to_end(slope, [*TABLES, OPS], instance)
    put_aside(f"sqlite:///{slope.folder / 'home' / 'ledger.sqlite'}", "lost")
    slope.ingest.rebuild(slope.route(READINGS))
    run_to_end(slope, [OPS], instance)
    first, again = hook.keys()
    assert first == again


def test_one_clock_that_runs_ahead_neither_hides_a_trend_nor_makes_it_old(
    slope: Company, hook: Hook, instance: dg.DagsterInstance
) -> None:
    drop(slope, "calm", range(8), {})
    slope.drop("ahead.csv", "sensor_id,seq,measured_at,sector_id,ppv_mm_s\n"
               "G4,1,2027-11-01T00:00:00Z,N1,1.0\n")  # fmt: skip
    drop(slope, "a", range(8, 10), {"G1": 2.0})
    run_to_end(slope, [*TABLES, OPS], instance)
    assert hook.named() == ["G1"]


def test_the_hours_that_are_judged_are_not_judged_again(
    slope: Company, instance: dg.DagsterInstance
) -> None:
    drop(slope, "calm", range(8), {})
    run_to_end(slope, [*TABLES, OPS], instance)
    warehouse = slope.ingest.warehouse
    warehouse.query(f"drop table {TableName('raw_slope', 'vibration_hour').sql('duckdb')}")
    told = run_to_end(slope, [OPS], instance).metadata(OPS)
    assert told["batches_judged"] == 0


@pytest.mark.parametrize(
    ("right", "wrong", "says"),
    [
        ("column: tran_rms_mm_s", "column: nothing", "cannot be judged by 'nothing'"),
        ("times: 1.5", "times: 1", "greater than 1"),
        ("before_hours: 6", "before_hours: 0", "greater than or equal to 1"),
    ],
)
def test_a_mistake_is_told_when_the_declaration_is_read(
    slope: Company, right: str, wrong: str, says: str
) -> None:
    slope.write("defs/slope/defs.yaml", SLOPE.replace(right, wrong))
    with pytest.raises(ConfigError, match=says):
        slope.route(READINGS)


def test_a_trend_of_a_stream_without_hours_is_refused(slope: Company) -> None:
    slope.write(
        "defs/slope/defs.yaml",
        "type: malacate.components.EventStream\nattributes:\n  source: slope\n"
        "  folder: ${SLOPE_DROPS}\n  tables:\n    - name: vibration\n"
        "      alarms: {trend: {times: 2}}\n",
    )
    with pytest.raises(ConfigError, match="no hours"):
        slope.route(READINGS)
