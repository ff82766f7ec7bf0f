"""What is told of hours and sensors as a whole, on each engine."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

import pytest
from platform_tests.warehouse.batches import Batches, drop
from platform_tests.warehouse.derivations import OPENED, Row
from platform_tests.warehouse.hours import EPOCH, READING, STATS, reading

from malacate.warehouse.hour_states import hours_standing, last_hours, put_aside, sensors_by_state
from malacate.warehouse.protocol import Warehouse

pytestmark = pytest.mark.usefixtures("derivation_engine")
SKEWED = {"position": 9, "reason": "clock_skew", "detail": "", "raw": b'{"sensor_id": "fast"}'}


@contextmanager
def loaded(*batches: Sequence[Row]) -> Iterator[Warehouse]:
    with OPENED[-1]() as engine:
        make = Batches(engine.lake, READING)
        for place, rows in enumerate(batches):
            rejects = [SKEWED] if place == 0 else []
            found = make.of(drop(f"{place}"), rows, derives=STATS, rejects=rejects)
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
        states = sensors_by_state(warehouse, STATS, READING)
        assert put_aside(warehouse, READING) == {"clock_skew": 1}
    assert states == {"silent": ["silent"], "frozen": ["frozen"], "clock_skewed": ["fast"]}


def test_the_newest_hour_of_each_sensor_is_told() -> None:
    with loaded([reading(0), reading(9), reading(4, sensor="g2")]) as warehouse:
        last = last_hours(warehouse, STATS.table.name, STATS.sensor)
        assert sorted(last) == [EPOCH + timedelta(hours=1), EPOCH + timedelta(hours=2)]
