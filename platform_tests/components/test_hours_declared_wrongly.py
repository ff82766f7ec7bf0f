"""Declarations of hours that could not be computed are refused when they are loaded, in words."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from platform_tests.company import Company, at_home
from platform_tests.orchestration.rising import CONTRACT, HOURLY, SLOPE, STREAM

from malacate.components.declared import raw_assets
from malacate.errors import MalacateError

DECLARED = SLOPE[: SLOPE.index("  alarms:")]
STREAMED = STREAM + HOURLY[: HOURLY.index("      alarms:")]
HORIZON = "  horizon: {came_at: sector_id}\n"


@pytest.fixture
def slope() -> Iterator[Company]:
    with tempfile.TemporaryDirectory(prefix="mlc") as folder:
        company = Company(Path(folder).resolve())
        with at_home(company, SLOPE_DROPS=str(company.drops)):
            yield company


def told(slope: Company, declared: str, contract: str = CONTRACT) -> str:
    slope.write("defs/slope/defs.yaml", declared)
    slope.write("defs/slope/contract.odcs.yaml", contract)
    with pytest.raises(MalacateError) as refused:
        raw_assets(slope.declarations)
    return str(refused.value)


@pytest.mark.parametrize("engine", ["duckdb", "numpy"])
@pytest.mark.parametrize(
    ("more", "says"),
    [
        ("  sensor: geophone\n", "'geophone'"),
        ("  sequence: nr\n", "'nr'"),
        ("  instant: at\n", "'at'"),
        ("  instant: seq\n", "a timestamptz"),
        ("  sequence: sector_id\n", "one that may be null"),
        (HORIZON, "a horizon names a column that is no instant"),
    ],
    ids=["sensor", "sequence", "instant", "a number for an instant", "may be null", "came_at"],
)
def test_a_reading_that_could_not_be_told_from_others(
    slope: Company, engine: str, more: str, says: str
) -> None:
    assert says in told(slope, f"{DECLARED}  engine: {engine}\n{more}")


def hours_with(right: str, wrong: str) -> str:
    """The contract with another word in its table of hours."""
    kept, name, hours = CONTRACT.partition("  - name: vibration_hour")
    assert right in hours
    return kept + name + hours.replace(right, wrong)


@pytest.mark.parametrize("engine", ["duckdb", "numpy"])
@pytest.mark.parametrize(
    ("right", "wrong", "says"),
    [
        ("name: revision,", "name: sector_name,", "not computed"),
        ("      - {name: revision, logicalType: integer, physicalType: integer}\n", "",
         "a column revision"),
        ("hour_at, logicalType: timestamp, physicalType: timestamptz",
         "hour_at, logicalType: date, physicalType: date", "a timestamptz"),
        ("hour_at, logicalType: timestamp, physicalType: timestamptz",
         "hour_at, logicalType: string, physicalType: varchar", "a timestamptz"),
        ("primaryKey: true", "primaryKey: false", "the key (sensor_id, hour_at)"),
        ("completeness, logicalType: number, physicalType: double",
         "completeness, logicalType: integer, physicalType: bigint", "a double"),
        ("readings, logicalType: integer, physicalType: bigint",
         "readings, logicalType: number, physicalType: double", "a whole number"),
        ("tran_rms_mm_s, logicalType: number, physicalType: double",
         "tran_rms_mm_s, logicalType: string, physicalType: varchar", "a double"),
        ("tran_rms_mm_s, logicalType: number, physicalType: double",
         "tran_rms_mm_s, logicalType: number, physicalType: real", "a double"),
        ("sector_id, logicalType: string, physicalType: varchar",
         "sector_id, logicalType: integer, physicalType: bigint", "string, as in the readings"),
    ],
)  # fmt: skip
def test_a_column_of_hours_that_could_not_hold_what_is_computed(
    slope: Company, engine: str, right: str, wrong: str, says: str
) -> None:
    assert says in told(slope, f"{DECLARED}  engine: {engine}\n", hours_with(right, wrong))


def test_hours_in_the_table_of_their_readings(slope: Company) -> None:
    declared = DECLARED.replace("hours: vibration_hour", "hours: vibration")
    assert "a row is known by" in told(slope, declared)


def test_two_streams_whose_hours_are_one_table(slope: Company) -> None:
    hourly = STREAMED.partition("    - name: vibration\n")[2]
    declared = f"{STREAMED}    - name: second\n{hourly}"
    second = CONTRACT.replace("  - name: vibration\n", "  - name: second\n", 1)
    second = second[second.index("  - name: second") : second.index("  - name: vibration_hour")]
    says = told(slope, declared, CONTRACT + second)
    assert "raw/slope/vibration_hour is declared twice" in says


def test_a_horizon_by_the_names_of_files_that_a_collector_writes(slope: Company) -> None:
    streamed = "- name: vibration\n      url: mqtt://broker/vibration\n"
    declared = STREAMED.replace("- name: vibration\n", streamed)
    declared += '        horizon: {named: "%Y%m%d.parquet"}\n'
    assert "files that a collector writes" in told(slope, declared)


def test_a_rate_that_no_sensor_has(slope: Company) -> None:
    spectrum = "  engine: numpy\n  spectrum: {hz: 1.0e+9}\n"
    assert "no sensor samples that often" in told(slope, DECLARED + spectrum)
