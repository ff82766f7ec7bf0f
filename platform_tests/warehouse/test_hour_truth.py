"""Hours of the ground as it really moved: exact to the last bit, and those of numpy."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from platform_tests.warehouse.batches import table
from platform_tests.warehouse.hours import OF_AXIS, kurtosis, of_axis

from malacate.contracts.table import Column
from malacate.warehouse.hourly import HourlyStats

SEISMIC = Path(__file__).parents[1] / "data" / "seismic"
TRACES = (
    "CER_2005-07-23_150hz_3axes", "BGLD_2008-01-01_200hz_gaps", "ULN_2015-07-18_1hz_3hours",
)  # fmt: skip
HOURS = table(
    Column("sensor_id", pa.string(), True),
    Column("hour_at", pa.timestamp("us", "UTC"), True),
    Column("readings", pa.int64()),
    *(Column(f"counts_{name}", pa.float64()) for name in OF_AXIS),
    *(Column(name, pa.float64()) for name in ("ppv_mm_s", "peak_pvs_mm_s")),
    name="hour",
    key=("sensor_id", "hour_at"),
)
STATS = HourlyStats(HOURS, 3600 * 200, {"counts": "counts"}, 1.0, instant="at")
READINGS = "select *, date_trunc('hour', \"at\") as hour_at from readings"
TOLERANCE = 1e-12
"""Relative; numpy's sums of floats round, ours do not."""


def trace(name: str) -> pa.Table:
    """A trace as readings: a sensor for each channel."""
    read = pq.read_table(SEISMIC / f"{name}.parquet")
    return pa.table(
        {
            "sensor_id": read["channel"].cast(pa.string()),
            "seq": pa.array(np.arange(read.num_rows)),
            "at": read["at"],
            "counts": read["counts"],
        }
    )


def hours_of(readings: pa.Table, threads: int = 1, stats: HourlyStats = STATS) -> pa.Table:
    with duckdb.connect() as connection:
        connection.execute("set timezone = 'UTC'")
        connection.execute(f"set threads = {threads}")
        connection.register("readings", readings)
        found = connection.sql(stats.hours(stats.sums(stats.once.least(READINGS)))).to_arrow_table()
    return found.sort_by([("sensor_id", "ascending"), ("hour_at", "ascending")])


def by_hour(readings: pa.Table) -> list[Sequence[int]]:
    hour = pc.floor_temporal(readings["at"], unit="hour")
    groups = readings.append_column("hour_at", hour).group_by(["sensor_id", "hour_at"])
    found = groups.aggregate([("counts", "list")])
    found = found.sort_by([("sensor_id", "ascending"), ("hour_at", "ascending")])
    return [[int(x) for x in counts] for counts in found["counts_list"].to_pylist()]


@pytest.mark.parametrize("name", TRACES)
def test_hours_of_a_real_trace_are_exact_and_numpys(name: str) -> None:
    readings = trace(name)
    hours, values = hours_of(readings).to_pylist(), by_hour(readings)
    assert len(hours) == len(values)
    for hour, counts in zip(hours, values, strict=True):
        told = {f"counts_{what}": value for what, value in of_axis(counts, 1).items()}
        assert {what: hour[what] for what in told} == told
        assert hour["readings"] == len(counts)
        assert hour["ppv_mm_s"] == hour["peak_pvs_mm_s"] == np.abs(counts).max()
        x = np.array(counts, float)
        d = x - x.mean()
        assert hour["counts_rms_mm_s"] == pytest.approx(np.sqrt(np.mean(x**2)), rel=TOLERANCE)
        assert hour["counts_kurtosis"] == pytest.approx(
            np.mean(d**4) / np.mean(d**2) ** 2, rel=TOLERANCE
        )


def test_neither_order_nor_duplicates_nor_threads_change_a_bit() -> None:
    readings = trace(TRACES[1])
    again = pa.concat_tables([readings, readings.slice(0, 20_000), readings.slice(100, 9)])
    mixed = again.take(np.random.default_rng(1).permutation(again.num_rows))
    one, two = hours_of(readings), hours_of(mixed, threads=4)
    assert one == two


def test_a_mean_of_ten_thousand_and_a_spread_of_one_keep_every_digit() -> None:
    # In steps of a micrometre per second: what float sums of fourth powers lose is 1e16 times it.
    values = np.random.default_rng(9).normal(1e4, 1.0, 3600)
    readings = pa.table(
        {
            "sensor_id": ["g"] * 3600,
            "seq": np.arange(3600),
            "at": pa.array(np.arange(3600) * 1_000_000).cast(pa.timestamp("us", "UTC")),
            "counts": values,
        }
    )
    (hour,) = hours_of(readings, stats=replace(STATS, resolution=0.001)).to_pylist()
    whole = [int(x) for x in np.floor(values * 1000 + 0.5)]
    assert hour["counts_kurtosis"] == pytest.approx(float(kurtosis(whole)), rel=1e-14)
    d = values - values.mean()
    rounded = 1e-4  # the resolution is a thousandth of the spread
    assert hour["counts_kurtosis"] == pytest.approx(np.mean(d**4) / np.mean(d**2) ** 2, rel=rounded)
