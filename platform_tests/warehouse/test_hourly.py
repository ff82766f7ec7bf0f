"""Hours behind readings: any order, number and batching of deliveries ends in the same hours."""

import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from platform_tests.warehouse.derivations import Row, after_versions, derived
from platform_tests.warehouse.hours import (
    AXES,
    EPOCH,
    HOURS,
    OF_AXIS,
    READING,
    STATS,
    kurtosis,
    of_axis,
    reading,
    true_hours,
    whole,
)

from malacate.contracts.table import Column, Table
from malacate.errors import ContractError
from malacate.warehouse import hourly
from malacate.warehouse.hourly import HourlyStats
from malacate.warehouse.moments import FEW_READINGS, FEW_STEPS

pytestmark = pytest.mark.usefixtures("derivation_engine")


SMALL = replace(
    READING,
    columns=tuple(
        replace(column, minimum=-131.072, maximum=131.072) if column.maximum else column
        for column in READING.columns
    ),
)
"""Readings whose hours are summed as floats."""


def hours_after(
    batches: Sequence[Sequence[Row]],
    together: int = 1,
    readings: Table = READING,
    stats: HourlyStats = STATS,
) -> list[Row]:
    rows = derived(readings, stats, batches, "hour", together)
    return sorted(rows, key=lambda row: (row["sensor_id"], row["hour_at"]))


def plain(hours: list[Row]) -> list[Row]:
    return [{k: v for k, v in hour.items() if k != "revision"} for hour in hours]


def test_an_hour_is_computed_from_its_readings() -> None:
    (hour,) = hours_after([[reading(0, 3.0, 1.0), reading(1, 4.0, 5.0)]])
    of_tran = {
        "tran_rms_mm_s": 1.8027756377319946, "tran_peak_mm_s": 2.5,
        "tran_peak_to_peak_mm_s": 2.0, "tran_crest_factor": 1.386750490563073,
        "tran_kurtosis": 1.0,
    }  # fmt: skip
    assert {name: hour[name] for name in of_tran} == of_tran
    rest = {name: value for name, value in hour.items() if not name.startswith(tuple(AXES))}
    assert rest == {
        "sensor_id": "g1",
        "sector_id": "north",
        "hour_at": EPOCH,
        "readings": 2,
        "expected_readings": 4,
        "completeness": 0.5,
        "rms_mm_s": 3.5355339059327378,
        "ppv_mm_s": 5.0,
        "peak_pvs_mm_s": 7.5,
        "battery_min_v": 12.99,
        "last_reading_at": EPOCH + timedelta(minutes=15),
        "revision": 1,
    }


def test_each_bit_is_that_of_exact_sums() -> None:
    random_ = random.Random(7)
    rows = [
        reading(seq, random_.random(), random_.gauss(0, 3) + 40 * (seq % 5), f"g{seq % 3}")
        for seq in range(30)
    ]
    assert plain(hours_after([rows])) == true_hours(rows)


def test_a_still_sensor_has_no_kurtosis_and_a_silent_axis_no_crest_factor() -> None:
    (hour,) = hours_after([[{**reading(seq), "ppv_long_mm_s": 0.0} for seq in range(3)]])
    assert (hour["vert_crest_factor"], hour["vert_kurtosis"]) == (1.0, None)
    assert (hour["long_crest_factor"], hour["long_rms_mm_s"]) == (None, 0.0)


def test_a_mean_that_is_large_against_the_spread_costs_no_digit() -> None:
    # 8000 and a spread of 0.005: a sixteenth power of ten lies between them, to the fourth power.
    random_ = random.Random(3)
    values = [8000 + random_.gauss(0, 0.005) for _ in range(4)]
    rows = [{**reading(seq), "ppv_tran_mm_s": value} for seq, value in enumerate(values)]
    (hour,) = hours_after([rows])
    exact = kurtosis([whole(value) for value in values])
    assert hour["tran_kurtosis"] == pytest.approx(float(exact), rel=1e-14)


def test_a_reading_that_comes_with_two_values_counts_once_whichever_came_first() -> None:
    low, high = reading(0, peak=2.0), reading(0, peak=3.0)
    later = {**low, "measured_at": low["measured_at"] + timedelta(seconds=1)}
    for batches, ppv in (([[low], [high]], 2.0), ([[high], [low]], 2.0), ([[later, high]], 3.0)):
        (hour,) = hours_after(batches)
        assert (hour["readings"], hour["ppv_mm_s"]) == (1, ppv)


def test_a_number_that_comes_again_in_another_hour_counts_in_both_whichever_came_first() -> None:
    # Firmware that starts anew counts from 0 again.
    again = {**reading(0, peak=3.0), "measured_at": EPOCH + timedelta(hours=3)}
    for batches in ([[reading(0)], [again]], [[again], [reading(0)]], [[again, reading(0)]]):
        assert [(h["readings"], h["ppv_mm_s"]) for h in hours_after(batches)] == [
            (1, 2.0),
            (1, 3.0),
        ]


def test_without_a_column_of_vector_sums_they_are_those_of_the_axes() -> None:
    stats = replace(STATS, vector_sum="")
    row = {**reading(0), "ppv_tran_mm_s": 2.0, "ppv_vert_mm_s": -3.0, "ppv_long_mm_s": 6.0}
    (hour,) = derived(READING, stats, [[row]], "hour", 1)
    assert hour["peak_pvs_mm_s"] == 7.0


def rows_of(name: str) -> str:
    return f"select *, date_trunc('hour', measured_at) as hour_at from of_{name}"


def test_sums_of_parts_merge_into_those_of_the_whole() -> None:
    random_ = random.Random(5)
    rows = [
        reading(n, peak=random_.gauss(0, 9), sensor=f"g{n % 2}") | {"seq": n} for n in range(24)
    ]
    with duckdb.connect() as connection:
        connection.execute("set timezone = 'UTC'")
        for name, some in {"whole": rows, "a": rows[:5], "b": rows[5:6], "c": rows[6:]}.items():
            connection.register(f"of_{name}", pa.Table.from_pylist(some, READING.schema))
        parts = " union all ".join(
            f"({STATS.sums(STATS.once.least(rows_of(name)))})" for name in "cab"
        )
        merged = connection.sql(STATS.hours(STATS.merged(parts))).to_arrow_table()
        at_once = connection.sql(
            STATS.hours(STATS.sums(STATS.once.least(rows_of("whole"))))
        ).to_arrow_table()
    order = [("sensor_id", "ascending"), ("hour_at", "ascending")]
    assert merged.sort_by(order) == at_once.sort_by(order)


def test_a_late_file_raises_the_revision_of_its_hour_alone() -> None:
    batches = [[reading(0), reading(4)], [reading(1)]]
    assert [(h["readings"], h["revision"]) for h in hours_after(batches)] == [(2, 2), (1, 1)]


def test_an_identical_delivery_raises_no_revision() -> None:
    hours = hours_after([[reading(0), reading(1)], [reading(1), reading(0)], [reading(0)]])
    assert [(h["readings"], h["revision"]) for h in hours] == [(2, 1)]


def test_sensors_do_not_mix() -> None:
    hours = hours_after([[reading(0, sensor="g1"), reading(0, sensor="g2")]])
    assert [(h["sensor_id"], h["readings"]) for h in hours] == [("g1", 1), ("g2", 1)]


READINGS = [reading(i, 1.0 + i / 7, 3.0 - i / 9, f"g{i % 2}") for i in range(12)]


@settings(max_examples=7)
@given(st.permutations(READINGS), st.integers(1, 12), st.integers(1, 4), st.integers(0, 5))
def test_hours_do_not_depend_on_how_readings_came(
    order: list[Row], size: int, together: int, repeated: int
) -> None:
    batches = [order[i : i + size] for i in range(0, len(order), size)] + [order[:repeated]]
    assert plain(hours_after(batches, together)) == true_hours(READINGS)


@settings(max_examples=7)
@given(st.lists(st.integers(-FEW_STEPS, FEW_STEPS), min_size=1, max_size=40), st.randoms())
def test_small_values_are_summed_as_floats_to_the_same_bits(
    steps: list[int], chance: random.Random
) -> None:
    rows = [reading(0, peak=x / 1000) | {"seq": n} for n, x in enumerate(steps)]
    again = rows + chance.sample(rows, len(rows) // 2)
    chance.shuffle(again)
    assert plain(hours_after([again], readings=SMALL)) == true_hours(rows)


def test_more_readings_than_floats_add_exactly_are_summed_as_whole_numbers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hourly, "FEW_STEPS", 1 << 23)  # of such values floats lose digits
    peaks = [8388.607, 5000.123, 777.777, 6543.211, 1.235]
    rows = [reading(0, peak=peak) | {"seq": n} for n, peak in enumerate(peaks)]
    stats = replace(STATS, per_hour=2)
    told = [{**hour, "expected_readings": 2, "completeness": 2.5} for hour in true_hours(rows)]
    monkeypatch.setattr(hourly, "FEW_READINGS", 4)
    assert plain(hours_after([rows], stats=stats)) == told
    monkeypatch.setattr(hourly, "FEW_READINGS", 5)
    assert plain(hours_after([rows], stats=stats)) != told


def test_as_many_and_as_large_values_as_floats_may_add_lose_nothing() -> None:
    x = f"case when seq % 3 = 0 then {FEW_STEPS} else {1 - FEW_STEPS} end"
    values = ", ".join(f"{x} / 1000.0 as {name}" for name in AXES.values())
    rest = "1.0 as rms_mm_s, 1.0 as pvs_mm_s, 13.0 as battery_v, now() as measured_at"
    once = f"select 'g' as sensor_id, '' as sector_id, now() as hour_at, {values}, {rest}"
    with duckdb.connect() as connection:
        sums = STATS.sums(f"{once} from range({FEW_READINGS}) as r(seq)", list(AXES))
        found = connection.sql(STATS.hours(sums, list(AXES))).to_arrow_table()
    values = [FEW_STEPS if n % 3 == 0 else 1 - FEW_STEPS for n in range(FEW_READINGS)]
    (hour,) = found.select([f"tran_{name}" for name in OF_AXIS]).to_pylist()
    assert hour == {f"tran_{name}": value for name, value in of_axis(values).items()}


@pytest.mark.parametrize("sequence", ["seq", "measured_at", "sector_id"])
def test_second_copies_are_found_wherever_their_numbers_are(sequence: str) -> None:
    numbers = [-33, -32, -1, 0, 1, 30, 31, 32, 33, 63, 64, 1 << 40, -(1 << 40)]
    start = reading(0)["measured_at"]
    rows = [
        reading(0, peak=n + 1)
        | {"seq": number, "sector_id": str(n), "measured_at": start + timedelta(microseconds=n)}
        for n, number in enumerate(numbers)
    ]
    stats = replace(STATS, sequence=sequence)
    told = tuple(replace(c, required=c.required or c.name == sequence) for c in READING.columns)
    batches = [rows, rows[::2], rows[::-3]]
    assert plain(hours_after(batches, 1, replace(READING, columns=told), stats)) == true_hours(rows)


def test_an_hour_that_a_replaced_file_leaves_empty_goes_with_it() -> None:
    hours = after_versions(READING, STATS, [[reading(0)], [reading(4)]])
    assert [(h["hour_at"], h["readings"]) for h in hours] == [(EPOCH + timedelta(hours=1), 1)]


def test_an_hour_that_a_replaced_file_leaves_in_part_is_computed_again() -> None:
    versions = [[reading(0), reading(1)], [reading(1)]]
    (hour,) = after_versions(READING, STATS, versions)
    assert (hour["readings"], hour["revision"]) == (1, 2)


@pytest.mark.parametrize(
    ("most", "resolution", "is_held"),
    [(8388.608, 0.001, True), (8389.0, 0.001, False), (8389.0, 0.01, True), (None, 1.0, False)],
)
def test_values_that_could_overflow_a_sum_are_refused_with_the_contract(
    most: float | None, resolution: float, is_held: bool
) -> None:
    least = None if most is None else -most
    readings = replace(
        READING,
        columns=tuple(replace(column, minimum=least, maximum=most) for column in READING.columns),
    )
    stats = replace(STATS, resolution=resolution)
    if is_held:
        stats.require_sound(readings)
        return
    with pytest.raises(ContractError, match="does not bound a value"):
        stats.require_sound(readings)


def test_the_largest_values_that_a_contract_may_allow_overflow_nothing() -> None:
    extreme = [{**reading(seq), "ppv_tran_mm_s": 8388.608 * (-1) ** seq} for seq in range(3)]
    (hour,) = hours_after([extreme])
    assert hour["tran_rms_mm_s"] == 8388.608
    assert hour["tran_kurtosis"] == pytest.approx(1.5, rel=1e-15)


def test_a_resolution_of_which_a_unit_is_no_whole_number_of_steps_is_refused() -> None:
    with pytest.raises(ContractError, match="whole number of steps"):
        replace(STATS, resolution=0.3).require_sound(READING)


def test_a_column_of_hours_that_nothing_computes_is_refused() -> None:
    odd = replace(STATS, table=HOURS.having(Column("tran_kurtosys", pa.float64())))
    with pytest.raises(ContractError, match="tran_kurtosys"):
        odd.statements(READING)
