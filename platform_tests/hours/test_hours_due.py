"""Hours that a program computes are those that the warehouse derives, whatever came in between."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from platform_tests.hours import due
from platform_tests.hours.due import RAN, Slope, do_here
from platform_tests.length import IS_LONG
from platform_tests.warehouse.hours import HOURS, READING, STATS, Row, reading

from malacate.errors import ContractError, PipelineFailed
from malacate.hours.job import Job


@pytest.fixture
def slope(tmp_path: Path) -> Slope:
    RAN.clear()
    return Slope(tmp_path)


def test_hours_follow_what_is_published_and_nothing_new_does_nothing(slope: Slope) -> None:
    slope.load()
    slope.compute()
    assert (RAN, slope.hours(slope.computed)) == ([], [])
    slope.deliver("a", [reading(0), reading(4), reading(1, sensor="g2")])
    slope.deliver("b", [reading(1), reading(0, peak=9.0)])
    slope.load()
    slope.compute()
    slope.assert_same()
    assert slope.compute().batches == []
    assert len(RAN) == 1
    slope.deliver("late", [reading(2, peak=7.0)])
    slope.load()
    slope.compute()
    slope.assert_same()
    told = {
        (row["sensor_id"], row["readings"]): row["revision"] for row in slope.hours(slope.computed)
    }
    assert told == {("g1", 3): 2, ("g1", 1): 1, ("g2", 1): 1}
    assert slope.leavings() == ["readings.json"] * 2


def test_only_the_files_of_hours_that_are_due_are_read(slope: Slope) -> None:
    for hour in range(4):
        slope.deliver(f"h{hour}", [reading(4 * hour)])
    slope.load()
    slope.compute()
    slope.deliver("late", [reading(5)])
    slope.load()
    slope.compute()
    slope.assert_same()
    assert [len(job.files) for job in RAN] == [4, 2]
    assert [job.hours and len(job.hours) for job in RAN] == [None, 1]


def test_an_identical_delivery_raises_no_revision(slope: Slope) -> None:
    for name in "ab":
        slope.deliver(name, [reading(0), reading(1)])
        slope.load()
        slope.compute()
    slope.assert_same()
    assert [row["revision"] for row in slope.hours(slope.computed)] == [1]
    assert len(RAN) == 2


def test_an_hour_that_a_replaced_file_leaves_goes(slope: Slope) -> None:
    slope.deliver("a", [reading(0), reading(4)])
    slope.deliver("b", [reading(8)])
    slope.load()
    slope.compute()
    slope.deliver("a", [reading(4), reading(5)])
    slope.load()
    slope.compute()
    slope.assert_same()
    assert [row["revision"] for row in slope.hours(slope.computed)] == [2, 1]


def test_a_list_that_is_lost_costs_computing_and_nothing_else(slope: Slope) -> None:
    slope.deliver("a", [reading(0), reading(4)])
    slope.load()
    slope.compute()
    before = slope.hours(slope.computed)
    (path,) = slope.computed.lake.root.rglob("readings.json")
    path.unlink()
    slope.deliver("a", [reading(4), reading(0, sensor="g2")])
    slope.load()
    slope.compute()
    slope.assert_same()
    assert slope.hours(slope.computed) != before
    assert [job.hours for job in RAN] == [None, None]


def test_a_program_that_fails_is_told_and_started_anew(slope: Slope) -> None:
    def fails(job: Job) -> Iterator[None]:
        Path(f"{job.output}-0.parquet").write_bytes(b"half")
        yield
        raise PipelineFailed("no", "Again.", reason="pipeline_failed")

    slope.deliver("a", [reading(0)])
    slope.load()
    with pytest.raises(PipelineFailed):
        slope.compute(fails)
    slope.deliver("b", [reading(1)])
    slope.load()
    slope.compute()
    (hour,), (known,) = slope.hours(slope.computed), slope.hours(slope.derived)
    assert hour == {**known, "revision": 1}
    assert "made" not in str(slope.leavings())


def test_hours_that_the_warehouse_derived_are_taken_over_as_they_stand(slope: Slope) -> None:
    slope.deliver("a", [reading(0), reading(4)])
    slope.load()
    slope.computed = slope.derived
    before = slope.hours(slope.derived)
    (window,) = slope.compute().batches
    assert (window["rows_loaded"], len(RAN)) == (0, 1)
    assert slope.hours(slope.derived) == before


def test_a_lost_warehouse_gets_its_hours_back(slope: Slope) -> None:
    for name, seq in (("a", 0), ("b", 1)):
        slope.deliver(name, [reading(seq)])
        slope.load()
        slope.compute()
    before = slope.hours(slope.computed)
    slope.computed.warehouse.path.unlink()
    slope.load()
    slope.compute()
    assert slope.hours(slope.computed) == before
    assert len(RAN) == 2


@pytest.mark.parametrize("point", ["landed", "tx_rows", "committed"])
def test_a_kill_anywhere_costs_no_row_and_no_revision(slope: Slope, point: str) -> None:
    slope.deliver("a", [reading(0), reading(4)])
    slope.load()
    slope.compute()
    slope.deliver("late", [reading(1)])
    slope.load()
    killed = subprocess.run(
        [sys.executable, due.__file__, str(slope.root)],
        env={**os.environ, "MALACATE_CRASH": point, "PYTHONPATH": str(Path.cwd())},
    )
    assert killed.returncode == -signal.SIGKILL
    slope.compute()
    slope.assert_same()
    assert slope.compute().batches == []


ROWS = [reading(n, 1 + n / 7, 3 - n / 9, f"g{n % 2}") for n in range(12)]
TWIN = {**ROWS[3], "ppv_vert_mm_s": 9.0}
MOVED = {**ROWS[5], "measured_at": ROWS[5]["measured_at"] - timedelta(minutes=40)}
DELIVERY = st.tuples(
    st.sampled_from("abcd"), st.lists(st.sampled_from([*ROWS, TWIN, MOVED]), max_size=6)
)


@settings(max_examples=60 if IS_LONG else 5)
@given(st.lists(st.lists(DELIVERY, min_size=1, max_size=3), min_size=1, max_size=3))
def test_any_history_of_files_and_versions_ends_in_the_same_hours(
    rounds: list[list[tuple[str, list[Row]]]],
) -> None:
    with tempfile.TemporaryDirectory(prefix="mlc") as folder:
        slope = Slope(Path(folder))
        for deliveries in rounds:
            for name, rows in deliveries:
                slope.deliver(name, rows)
            slope.load()
            slope.compute(do_here)
            slope.assert_same()


def test_hours_without_a_key_or_a_revision_are_refused() -> None:
    for table in (
        replace(HOURS, key=()),
        replace(HOURS, columns=tuple(c for c in HOURS.columns if c.name != "revision")),
    ):
        with pytest.raises(ContractError, match=r"\(sensor_id, hour_at\)"):
            replace(STATS, table=table).require_sound(READING)
