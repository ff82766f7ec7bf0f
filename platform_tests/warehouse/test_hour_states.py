"""What is told of hours and sensors as a whole, on each engine."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta

import pytest
from platform_tests.warehouse.batches import Batches, drop
from platform_tests.warehouse.derivations import OPENED, Row
from platform_tests.warehouse.hours import EPOCH, HOURS, READING, SPECTRAL, STATS, reading

from malacate.warehouse.hour_states import (
    clock_skewed,
    hours_standing,
    last_hours,
    newest_hour,
    put_aside,
    sensors_by_state,
    spectra_standing,
)
from malacate.warehouse.hourly import HourlyStats
from malacate.warehouse.protocol import Warehouse

pytestmark = pytest.mark.usefixtures("derivation_engine")
SKEWED = {"position": 9, "reason": "clock_skew", "detail": "", "raw": b'{"sensor_id": "fast"}'}


@contextmanager
def loaded(*batches: Sequence[Row], stats: HourlyStats = STATS) -> Iterator[Warehouse]:
    with OPENED[-1]() as engine:
        make = Batches(engine.lake, READING)
        for place, rows in enumerate(batches):
            rejects = [SKEWED] if place == 0 else []
            found = make.of(drop(f"{place}"), rows, derives=stats, rejects=rejects)
            engine.warehouse.publish([found])
        yield engine.warehouse


def test_an_hour_is_seen_as_another_only_when_a_row_of_it_is() -> None:
    first, late = [reading(0), reading(4), reading(0, sensor="g2")], [reading(1)]
    with loaded(first) as warehouse:
        before = hours_standing(warehouse, STATS)
    with loaded(first, late, first) as warehouse:
        after = hours_standing(warehouse, STATS)
    assert [(one.sensors, one.readings, one.revision) for one in before] == [(2, 2, 1), (1, 1, 1)]
    assert [(one.sensors, one.readings, one.revision) for one in after] == [(2, 3, 2), (1, 1, 1)]
    assert [a.seen == b.seen for a, b in zip(before, after, strict=True)] == [False, True]


def test_silent_frozen_and_skewed_sensors_are_told() -> None:
    alive = [reading(8, sensor="alive"), reading(9, peak=3.0, sensor="alive")]
    frozen = [reading(8, sensor="frozen"), reading(9, sensor="frozen")]
    slow = [reading(5, sensor="slow")]
    silent = [reading(3, sensor="silent")]
    gone = [{**reading(0, sensor="gone"), "measured_at": EPOCH - timedelta(days=30)}]
    with loaded([*alive, *frozen, *slow, *silent, *gone]) as warehouse:
        newest, number = newest_hour(warehouse, STATS, EPOCH + timedelta(hours=2))
        states = sensors_by_state(warehouse, STATS, newest)
        assert put_aside(warehouse, READING) == {"clock_skew": 1}
        assert clock_skewed(warehouse, "sensor_id", READING) == ["fast"]
    assert (newest, number) == (EPOCH + timedelta(hours=2), 4)
    assert states == {"silent": ["silent"], "frozen": ["frozen"]}


def test_hours_are_asked_for_from_an_instant_on_and_told_if_a_batch_renewed_them() -> None:
    late = drop("1").batch_id
    with loaded([reading(0), reading(4), reading(8)], [reading(5), reading(9)]) as warehouse:
        since = hours_standing(warehouse, STATS, EPOCH + timedelta(hours=1))
        told = hours_standing(warehouse, STATS, None, [late, drop("none").batch_id])
    assert [one.hour_at for one in since] == [EPOCH + timedelta(hours=n) for n in (1, 2)]
    assert not any(one.is_renewed for one in since)
    assert [one.is_renewed for one in told] == [False, True, True]


def test_an_hour_that_has_not_begun_is_the_newest_only_where_no_other_is() -> None:
    with loaded([reading(0), reading(4), reading(8)]) as warehouse:
        newest = [newest_hour(warehouse, STATS, EPOCH + timedelta(hours=n)) for n in (-1, 0, 1.5)]
    assert newest == [(EPOCH + timedelta(hours=n), 3) for n in (2, 0, 1)]


def test_a_table_without_hours_has_no_newest_and_no_states() -> None:
    with loaded([]) as warehouse:
        assert newest_hour(warehouse, STATS, EPOCH) == (None, 0)
        assert sensors_by_state(warehouse, STATS, None) == {"silent": [], "frozen": []}


def test_what_a_contract_of_hours_leaves_out_is_nothing() -> None:
    names = {"sensor_id", "hour_at", "sector_id", "revision"}
    bare = replace(HOURS, columns=tuple(c for c in HOURS.columns if c.name in names))
    stats = replace(STATS, table=bare)
    with loaded([reading(0), reading(1, sensor="g2")], stats=stats) as warehouse:
        (hour,) = hours_standing(warehouse, stats)
        states = sensors_by_state(warehouse, stats, hour.hour_at)
    assert (hour.sensors, hour.readings, hour.expected_readings, hour.ppv_mm_s) == (2, 0, 0, None)
    assert states == {"silent": [], "frozen": []}


def test_an_hour_has_the_frequency_of_the_sensor_with_the_most_energy_and_mean_energies() -> None:
    def row(sensor: str, hour: int, *tran: float | None) -> Row:
        names = ("tran_dominant_hz", "tran_low_energy_mm2_s2", "tran_high_energy_mm2_s2")
        at = EPOCH + timedelta(hours=hour)
        return {"sensor_id": sensor, "hour_at": at, **dict(zip(names, tran, strict=True))}

    rows = [
        row("g0", 0, 1.0, 9.0, 9.0),
        row("g1", 1, 3.0, 1.0, 4.0),
        row("g2", 1, 7.0, 3.0, 0.0),
        row("g3", 1, None, None, None),
        row("g1", 2, None, None, None),
    ]
    with OPENED[-1]() as engine:
        engine.warehouse.publish([Batches(engine.lake, SPECTRAL.table).of(drop(), rows)])
        first, last = (EPOCH + timedelta(hours=n) for n in (1, 2))
        found = spectra_standing(engine.warehouse, SPECTRAL, first, last)
        assert len(spectra_standing(engine.warehouse, SPECTRAL, EPOCH, first)) == 2
        assert spectra_standing(engine.warehouse, STATS, EPOCH, EPOCH) == []
    assert [one.hour_at for one in found] == [EPOCH + timedelta(hours=n) for n in (1, 2)]
    assert [one.dominant_hz for one in found] == [{"tran": 3.0}, {"tran": None}]
    assert [one.energy["tran"] for one in found] == [
        {"low": 2.0, "high": 2.0}, {"low": None, "high": None},
    ]  # fmt: skip


def test_the_newest_hour_of_each_sensor_is_told() -> None:
    with loaded([reading(0), reading(9), reading(4, sensor="g2")]) as warehouse:
        last = last_hours(warehouse, STATS.table.name, STATS.sensor)
        assert sorted(last) == [EPOCH + timedelta(hours=1), EPOCH + timedelta(hours=2)]
