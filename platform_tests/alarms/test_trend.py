"""A trend is what a plain loop over hours finds, and of the mine only the slope that creeps."""

import re
import statistics
from collections.abc import Iterator
from random import Random
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acme.simulator import geophones
from acme.simulator.geophones_truth import hour_truth
from acme.simulator.world import SECTORS, World
from malacate.alarms.rules import Columns
from malacate.alarms.trend import HOUR, Trend, rising

COLUMNS = Columns("sensor_id", "hour_at", site="sector_id")
TREND = Trend("rms_mm_s", 1.5)


class Hour(NamedTuple):
    sensor: str
    number: int
    value: float | None
    completeness: float = 1.0


def rows(hours: list[Hour]) -> pa.RecordBatch:
    at = pa.array([one.number * HOUR for one in hours], pa.timestamp("us", "UTC"))
    columns = {
        "sensor_id": pa.array([one.sensor for one in hours], pa.string()),
        "hour_at": at,
        "sector_id": pa.array([f"at {one.sensor}" for one in hours], pa.string()),
        "rms_mm_s": pa.array([one.value for one in hours], pa.float64()),
        "completeness": pa.array([one.completeness for one in hours], pa.float64()),
    }
    return pa.RecordBatch.from_pydict(columns)


def risen(hours: list[Hour], trend: Trend) -> Iterator[tuple[str, int, float, float]]:
    """By the words of ``Trend``."""
    whole = {
        (one.sensor, one.number): one.value
        for one in hours
        if one.completeness >= trend.least_completeness and one.value is not None
    }
    for sensor, number in sorted(whole):
        recent, before = (
            [whole[sensor, n] for n in of if (sensor, n) in whole]
            for of in (
                range(number - trend.recent_hours + 1, number + 1),
                range(number - trend.span + 1, number - trend.recent_hours + 1),
            )
        )
        if 2 * len(recent) < trend.recent_hours or 2 * len(before) < trend.before_hours:
            continue
        value, bound = statistics.median_low(recent), trend.times * statistics.median_low(before)
        if value > bound > 0:
            yield sensor, number, value, bound


@st.composite
def histories(draw: st.DrawFn) -> list[Hour]:
    hours = st.builds(
        Hour,
        st.sampled_from(["G1", "G2"]),
        st.integers(-5, 20),
        st.none() | st.sampled_from([0.0, 1.0, 1.5, 2.0, 3.0]) | st.floats(0, 9, width=16),
        st.sampled_from([1.0, 1.0, 0.8, 0.79]),
    )
    return draw(st.lists(hours, max_size=50, unique_by=lambda one: one[:2]))


@settings(max_examples=500)
@given(histories(), st.integers(1, 4), st.integers(1, 6), st.randoms(use_true_random=False))
def test_what_has_risen_is_what_a_loop_finds_in_whatever_order(
    hours: list[Hour], recent: int, before: int, random: Random
) -> None:
    trend = Trend("rms_mm_s", 1.5, recent, before)
    expected = list(risen(hours, trend))
    random.shuffle(hours)
    found = sorted(rising(rows(hours), COLUMNS, trend, "mm/s"))
    assert [(one.subject, one.first_us // HOUR) for one in found] == [e[:2] for e in expected]
    told = [number for one in found for number in (one.value, one.bound)]
    assert told == pytest.approx([number for e in expected for number in e[2:]], rel=1e-12)
    assert all(one.last_us - one.first_us == HOUR for one in found)
    assert all(one.site == f"at {one.subject}" for one in found)


def test_one_loud_hour_is_no_trend_and_two_of_three_are() -> None:
    calm = [Hour("G1", number, 1.0) for number in range(24)]
    once = [*calm, Hour("G1", 24, 50.0), Hour("G1", 25, 1.0), Hour("G1", 26, 1.0)]
    assert rising(rows(once), COLUMNS, TREND, "mm/s") == []
    assert rising(rows(once[:-1]), COLUMNS, TREND, "mm/s") == []
    twice = [*once, Hour("G1", 27, 2.0), Hour("G1", 28, 2.0)]
    (found,) = rising(rows(twice), COLUMNS, TREND, "mm/s")
    assert (found.first_us, found.value, found.bound) == (28 * HOUR, 2.0, 1.5)
    assert (found.rule, found.subject, found.unit) == ("trend_rms_mm_s", "G1", "mm/s")


def test_its_words_foretell_nothing() -> None:
    hours = [Hour("G1", number, 1.0 if number < 24 else 2.0) for number in range(27)]
    told = rising(rows(hours), COLUMNS, TREND, "mm/s")[-1].told
    assert told == (
        "G1: rms_mm_s of 3 hours up to 1970-01-02T03:00:00.000+00:00 is 2 mm/s, 2.0 times that of "
        "the 24 hours before (medians); 1.5 times are allowed. It is worth a look, and says "
        "nothing of when, or whether, a slope fails."
    )
    assert not re.search(r"will fail|time of failure|predict|stable|safe", told)


def simulated(hours: range, minutes: int = 10) -> pa.RecordBatch:
    """Of each hour some minutes, and what is true of them."""
    made = []
    for hour in hours:
        some = [geophones.minute(World(7), hour, number) for number in range(minutes)]
        sound = pa.concat_tables(one.rows.filter(pa.array(one.is_counted)) for one in some)
        made.append(hour_truth(sound, 1, minutes * geophones.READINGS_PER_MINUTE))
    (batch,) = pa.concat_tables(made).combine_chunks().to_batches()
    return batch


def test_of_the_mine_s_sensors_those_of_the_slope_that_creeps_are_told_and_no_others() -> None:
    hours = simulated(range(48))
    found = rising(hours, COLUMNS, TREND, "mm/s")
    creeping = set(geophones.IDS[geophones.CREEPING :: len(SECTORS)])
    assert {one.subject for one in found} == creeping
    assert {one.site for one in found} == {SECTORS[geophones.CREEPING]}
    begins = World(7).after(geophones.CREEPS_FROM).timestamp() * 1_000_000
    assert all(begins < one.first_us for one in found)
    blast = World(7).after(18)
    loud = np.array([at == blast for at in hours["hour_at"].to_pylist()])
    rms = hours["rms_mm_s"].to_numpy()
    assert np.median(rms[loud]) > 5 * np.median(rms[~loud])
