"""What hours that are computed elsewhere ask of a warehouse, of each engine."""

from collections.abc import Sequence
from datetime import timedelta

import pyarrow as pa
import pytest
from platform_tests.warehouse.batches import Batches, drop
from platform_tests.warehouse.derivations import OPENED
from platform_tests.warehouse.hours import EPOCH, HOURS, READING, STATS, Row, reading, true_hours

from malacate.warehouse.hours_due import batches_of, changed, hours_of

pytestmark = pytest.mark.usefixtures("derivation_engine")
HOUR = timedelta(hours=1)
BATCHES = [[reading(0), reading(4)], [reading(5)], [reading(12)]]
MADE = pa.schema([field for field in HOURS.schema if field.name != "revision"])


def made(rows: Sequence[Row]) -> pa.Table:
    return pa.Table.from_pylist(true_hours(rows), MADE)


def test_hours_and_batches_are_found_by_one_another() -> None:
    with OPENED[-1]() as engine:
        warehouse, make = engine.warehouse, Batches(engine.lake, READING)
        all_of_them = [make.of(drop(f"{i}"), rows) for i, rows in enumerate(BATCHES)]
        warehouse.publish(all_of_them)
        a, b, c = (one.landing.batch_id for one in all_of_them)
        assert hours_of(warehouse, STATS, READING, {a, c}) == {
            EPOCH,
            EPOCH + HOUR,
            EPOCH + 3 * HOUR,
        }
        assert hours_of(warehouse, STATS, READING, set()) == set()
        assert batches_of(warehouse, STATS, READING, {EPOCH + HOUR}) == sorted([a, b])
        assert batches_of(warehouse, STATS, READING, {EPOCH, EPOCH + 3 * HOUR}) == sorted([a, c])


def test_rows_that_differ_have_their_revision_raised_and_those_without_readings_go() -> None:
    rows = [row for batch in BATCHES for row in batch]
    with OPENED[-1]() as engine:
        warehouse, make = engine.warehouse, Batches(engine.lake, READING)
        warehouse.ensure([READING, HOURS])
        warehouse.publish([make.of(drop("a"), rows, derives=STATS)])
        every = {EPOCH, EPOCH + HOUR, EPOCH + 3 * HOUR}
        same = changed(warehouse, STATS, made(rows), every)
        assert (same.rows.num_rows, same.keys) == (0, None)
        found = changed(warehouse, STATS, made([rows[0], rows[1], reading(8)]), None)
        told = {row["hour_at"]: row["revision"] for row in found.rows.to_pylist()}
        assert told == {EPOCH + HOUR: 2, EPOCH + 2 * HOUR: 1}
        assert found.keys is not None
        assert set(found.keys["hour_at"].to_pylist()) == {EPOCH, EPOCH + HOUR}
        nothing = changed(warehouse, STATS, MADE.empty_table(), set())
        assert (nothing.rows.num_rows, nothing.keys) == (0, None)
        part = changed(warehouse, STATS, made(rows[:1]), {EPOCH})
        assert (part.rows.num_rows, part.keys) == (0, None)
