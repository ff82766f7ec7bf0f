"""Hours by numpy are those by SQL, to the last bit, whatever the readings are."""

import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from platform_tests.length import IS_LONG
from platform_tests.warehouse.hours import AXES, EPOCH, HOURS, READING, STATS, Row, reading

from malacate.hours.apart import by_hour
from malacate.hours.measured import Measured, hour_of, in_steps
from malacate.sources.hours import measured
from malacate.warehouse.duckdb_tables import follow
from malacate.warehouse.duckdb_write import begin_touching, derive
from malacate.warehouse.hourly import HourlyStats
from malacate.warehouse.protocol import BATCH_COLUMN

WHAT = measured(STATS, READING)
VALUES = [*AXES.values(), "rms_mm_s", "pvs_mm_s", "battery_v"]


def by_sql(readings: pa.Table, stats: HourlyStats = STATS) -> list[Row]:
    name, batch = READING.name.sql("duckdb"), BATCH_COLUMN
    with duckdb.connect() as connection:
        connection.execute("set timezone = 'UTC'")
        follow(connection, READING.optional(keep=()))
        connection.register("given", readings)
        connection.execute(f"insert into {name} by name select *, 'b' as {batch} from given")
        begin_touching(connection, READING, stats)
        derive(connection, READING, stats, ["b"])
        columns = f"* exclude (revision, {batch})"
        found = connection.sql(f"select {columns} from {HOURS.name.sql('duckdb')}")
        rows = found.to_arrow_table().to_pylist()
    return sorted(rows, key=lambda row: (row["sensor_id"], row["hour_at"]))


def by_numpy(readings: pa.Table, what: Measured = WHAT) -> list[Row]:
    found = [
        hour_of(what, sensor, hour, pa.Table.from_batches([rows]))
        for sensor, hour, rows in by_hour(what, readings)
    ]
    return sorted(found, key=lambda row: (row["sensor_id"], row["hour_at"]))


def bits(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Values, floats by their bits: a zero is not a negative one."""
    return [{k: v.hex() if isinstance(v, float) else v for k, v in row.items()} for row in rows]


def assert_same(readings: pa.Table, stats: HourlyStats = STATS) -> None:
    assert bits(by_numpy(readings, measured(stats, READING))) == bits(by_sql(readings, stats))


AMOUNT = st.one_of(
    st.just(None),
    st.sampled_from([0.0, -0.0, 0.0005, -0.0005, 0.0015, 8388.608, -8388.608, 8000.0, 8000.001]),
    st.integers(-8_388_608, 8_388_608).map(lambda whole: whole / 1000),
    st.integers(-16_000, 16_000).map(lambda whole: whole / 2000),
    st.floats(-8388.608, 8388.608),
    st.floats(7999.99, 8000.01),
)


@st.composite
def rows(draw: st.DrawFn) -> Row:
    """Few sensors, numbers and instants, so that many are of one hour and many are twins."""
    late = timedelta(microseconds=draw(st.integers(-1, 2)), hours=draw(st.integers(-30, 1)))
    near = timedelta(minutes=draw(st.integers(0, 1)))
    return {
        "sensor_id": draw(st.sampled_from(["g1", "g2", "g3", "é"])),
        "sector_id": draw(st.sampled_from([None, "north", "Süd"])),
        "seq": draw(st.integers(0, 5)),
        "measured_at": EPOCH + draw(st.sampled_from([near, near, near, late])),
        **{name: draw(AMOUNT) for name in VALUES},
    }


@settings(max_examples=500 if IS_LONG else 40)
@given(st.lists(rows(), min_size=1, max_size=60), st.sampled_from(["pvs_mm_s", ""]))
def test_any_readings_have_the_hours_of_sql(given_rows: list[Row], vector_sum: str) -> None:
    readings = pa.Table.from_pylist(given_rows, READING.optional(keep=()).schema)
    assert_same(readings, replace(STATS, vector_sum=vector_sum))


@pytest.mark.parametrize(("mean", "spread"), [(0.0, 3.0), (8000.0, 0.005), (-8388.0, 0.3)])
def test_an_hour_of_many_readings_has_the_bits_of_sql(mean: float, spread: float) -> None:
    number = 150_000  # more than is summed at once
    random_ = np.random.default_rng(3)
    drawn = {name: mean + np.clip(random_.normal(0, spread, number), -3, 3) for name in VALUES}
    bounded = {name: np.clip(x, -8388.608, 8388.608) for name, x in drawn.items()}
    readings = pa.table(
        {
            "sensor_id": pa.array(["g1"] * number),
            "sector_id": pa.array(["north"] * number),
            "seq": random_.integers(0, number, number),
            "measured_at": pa.array(np.arange(number) * 20_000).cast(pa.timestamp("us", "UTC")),
            **bounded,
        }
    )
    assert_same(readings)


def test_the_largest_values_overflow_nothing() -> None:
    number = 70_000
    some = [8388.608 * (-1) ** (n % 3) for n in range(number)]
    readings = pa.table(
        {
            "sensor_id": pa.array(["g1"] * number),
            "sector_id": pa.array(["north"] * number),
            "seq": pa.array(range(number)),
            "measured_at": pa.array([EPOCH] * number, pa.timestamp("us", "UTC")),
            **dict.fromkeys(VALUES, some),
        }
    )
    assert_same(readings)


def test_no_zero_is_negative() -> None:
    one = {**reading(0), **dict.fromkeys(VALUES, -0.0), "battery_v": -0.0004}
    assert_same(pa.Table.from_pylist([one], READING.schema))


def test_no_order_changes_an_hour() -> None:
    some = [reading(n % 7, peak=n / 3) for n in range(40)]
    first = by_numpy(pa.Table.from_pylist(some, READING.schema))
    random.Random(1).shuffle(some)
    assert by_numpy(pa.Table.from_pylist(some, READING.schema)) == first


def test_only_the_hours_that_are_asked_for_are_told() -> None:
    readings = pa.Table.from_pylist([reading(n) for n in range(12)], READING.schema)
    second = int((EPOCH + timedelta(hours=1)).timestamp()) * 1_000_000
    assert [hour for _, hour, _ in by_hour(WHAT, readings, {second})] == [second]
    assert list(by_hour(WHAT, readings, set())) == []
    assert list(by_hour(WHAT, readings.slice(0, 0))) == []


@pytest.mark.parametrize(
    ("kind", "given_values", "known"),
    [
        (pa.decimal128(9, 4), ["1.0005", "-0.0005", "0.0004"], [1001, -1, 0]),
        (pa.int32(), [2, -3, 0], [2000, -3000, 0]),
        (pa.float32(), [0.1, -0.5, 1e-9], [100, -500, 0]),
    ],
)
def test_each_kind_of_number_is_taken_in_steps(
    kind: pa.DataType, given_values: list[Any], known: list[int]
) -> None:
    values = pa.chunked_array([pa.array(given_values).cast(kind), pa.nulls(1, kind)])
    steps, is_there = in_steps(values, 1000)
    assert steps[:3].tolist() == known
    assert is_there.tolist() == [True, True, True, False]
    with duckdb.connect() as connection:
        connection.register("given", pa.table({"v": values}))
        told = connection.sql("select round(cast(v as double) * 1000) from given where v not null")
        assert [int(v) for (v,) in told.fetchall()] == known


def test_a_value_that_no_contract_may_allow_is_refused() -> None:
    readings = pa.Table.from_pylist([reading(0, peak=9000.0)], READING.schema)
    with pytest.raises(ValueError, match="beyond what the contract"):
        by_numpy(readings)


def test_every_column_of_hours_is_told_or_carried() -> None:
    assert {*WHAT.told, *WHAT.carried, "revision"} == {column.name for column in HOURS.columns}
    assert WHAT.carried == ("sector_id",)
