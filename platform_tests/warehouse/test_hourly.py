"""Hours behind readings: any order, number and batching of deliveries ends in the same hours."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from platform_tests.warehouse.batches import table
from platform_tests.warehouse.derivations import Row, after_versions, derived

from malacate.contracts.table import Column
from malacate.warehouse.hourly import HourlyStats

pytestmark = pytest.mark.usefixtures("derivation_engine")
EPOCH = datetime(2026, 11, 3, tzinfo=UTC)


READING = table(
    Column("sensor_id", pa.string(), True),
    Column("sector_id", pa.string()),
    Column("seq", pa.int64(), True),
    Column("measured_at", pa.timestamp("us", "UTC"), True),
    *(Column(f"ppv_{axis}_mm_s", pa.float64()) for axis in ("tran", "vert", "long")),
    Column("rms_mm_s", pa.float64()),
    Column("pvs_mm_s", pa.float64()),
    name="reading",
    key=("sensor_id", "seq"),
)
HOURS = table(
    Column("sensor_id", pa.string(), True),
    Column("sector_id", pa.string()),
    Column("hour_at", pa.timestamp("us", "UTC"), True),
    *(Column(name, pa.int64()) for name in ("readings", "expected_readings")),
    *(Column(name, pa.float64()) for name in ("completeness", "rms_mm_s", "ppv_mm_s")),
    Column("peak_pvs_mm_s", pa.float64()),
    Column("revision", pa.int64()),
    name="hour",
    key=("sensor_id", "hour_at"),
)


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
    }


def hours_after(batches: Sequence[Sequence[Row]], together: int = 1) -> list[Row]:
    rows = derived(READING, HourlyStats(HOURS, 4), batches, "hour", together)
    return sorted(rows, key=lambda row: (row["sensor_id"], row["hour_at"]))


def test_an_hour_is_computed_from_its_readings() -> None:
    (hour,) = hours_after([[reading(0, 3.0, 1.0), reading(1, 4.0, 5.0)]])
    assert hour == {
        "sensor_id": "g1",
        "sector_id": "north",
        "hour_at": EPOCH,
        "readings": 2,
        "expected_readings": 4,
        "completeness": 0.5,
        "rms_mm_s": 3.535534,
        "ppv_mm_s": 5.0,
        "peak_pvs_mm_s": 7.5,
        "revision": 1,
    }


def test_a_late_file_raises_the_revision_of_its_hour_alone() -> None:
    batches = [[reading(0), reading(4)], [reading(1)]]
    assert [(h["readings"], h["revision"]) for h in hours_after(batches)] == [(2, 2), (1, 1)]


def test_an_identical_delivery_raises_no_revision() -> None:
    hours = hours_after([[reading(0), reading(1)], [reading(1), reading(0)], [reading(0)]])
    assert [(h["readings"], h["revision"]) for h in hours] == [(2, 1)]


def test_sensors_do_not_mix() -> None:
    hours = hours_after([[reading(0, sensor="g1"), reading(0, sensor="g2")]])
    assert [(h["sensor_id"], h["readings"]) for h in hours] == [("g1", 1), ("g2", 1)]


def plain(hours: list[Row]) -> list[Row]:
    return [{k: v for k, v in hour.items() if k != "revision"} for hour in hours]


READINGS = [reading(i, 1.0 + i / 7, 3.0 - i / 9, f"g{i % 2}") for i in range(12)]


@settings(max_examples=7, deadline=None)
@given(st.permutations(READINGS), st.integers(1, 12), st.integers(1, 4), st.integers(0, 5))
def test_hours_do_not_depend_on_how_readings_came(
    order: list[Row], size: int, together: int, repeated: int
) -> None:
    batches = [order[i : i + size] for i in range(0, len(order), size)] + [order[:repeated]]
    assert plain(hours_after(batches, together)) == plain(hours_after([READINGS]))


def test_an_hour_that_a_replaced_file_leaves_empty_goes_with_it() -> None:
    hours = after_versions(READING, HourlyStats(HOURS, 4), [[reading(0)], [reading(4)]])
    assert [(h["hour_at"], h["readings"]) for h in hours] == [(EPOCH + timedelta(hours=1), 1)]


def test_an_hour_that_a_replaced_file_leaves_in_part_is_computed_again() -> None:
    versions = [[reading(0), reading(1)], [reading(1)]]
    (hour,) = after_versions(READING, HourlyStats(HOURS, 4), versions)
    assert (hour["readings"], hour["revision"]) == (1, 2)
