"""Exceedances: the same as a plain loop finds, and said in words that promise nothing."""

import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from platform_tests.alarms.reading import (
    COLUMNS,
    HOUSES,
    SECOND,
    START,
    Reading,
    limit,
    rows,
    too_fast,
    watch,
)

from acme.definitions import DEFS
from malacate.alarms import rules
from malacate.alarms.limits import Band, Limits, read_limits
from malacate.alarms.rules import Columns
from malacate.errors import ConfigError

THRESHOLDS = DEFS.parent / "thresholds.csv"
HEAD = "standard,protects,from_hz,to_hz,from_mm_s,to_mm_s,source\n"

numbers = st.none() | st.floats(width=32) | st.sampled_from([5.0, 10.0, 15.0, -9999.0])
hz = st.none() | st.floats(0, 130) | st.sampled_from([0.0, 2.5, 10.0, 40.0, 50.0, 100.0, -1.0])
sensors = st.none() | st.sampled_from(["G1", "G2", "G3"])
instants = st.none() | st.integers(0, 10**12)
readings = st.builds(Reading, sensors, instants, numbers, numbers, hz, numbers)


@st.composite
def tables(draw: st.DrawFn) -> Limits:
    edges = sorted(draw(st.sets(st.integers(0, 120), min_size=2, max_size=6)))
    mm_s = st.integers(1, 60).map(float)
    bands = [
        Band(float(lo), float(hi), draw(mm_s), draw(mm_s))
        for lo, hi in pairwise(edges)
        if draw(st.integers(0, 4))
    ]
    if draw(st.booleans()):
        top = draw(mm_s)
        bands.append(Band(float(edges[-1]), float("inf"), top, top))
    return Limits("made", "sheds", tuple(bands))


@settings(max_examples=500)
@given(st.lists(readings, max_size=30), tables() | st.just(HOUSES))
def test_velocities_above_a_limit_are_those_that_a_loop_finds(
    some: list[Reading], limits: Limits
) -> None:
    found = rules.velocity(rows(some), COLUMNS, limits)
    assert [(e.subject, e.first_us, e.value, e.bound) for e in found] == too_fast(some, limits)
    assert all(e.first_us == e.last_us for e in found)


@settings(max_examples=200)
@given(st.lists(readings, max_size=30), st.floats(9, 15))
def test_a_battery_is_low_below_its_number(some: list[Reading], below: float) -> None:
    found = rules.battery(rows(some), COLUMNS, below)
    assert [(e.subject, e.first_us, e.value) for e in found] == sorted(
        (r.sensor, r.at, r.battery)
        for r in some
        if r.sensor is not None and r.at is not None and r.battery is not None
        and float("-inf") < r.battery < below
    )  # fmt: skip


@settings(max_examples=300)
@given(
    st.dictionaries(st.sampled_from([f"G{n}" for n in range(8)]), st.integers(0, 100), max_size=8),
    st.integers(1, 60),
    st.integers(1, 4),
)
def test_a_sensor_is_silent_if_enough_others_have_gone_on_for_longer(
    seconds: dict[str, int], allowed: int, witnesses: int
) -> None:
    found = rules.silent({s: at * SECOND for s, at in seconds.items()}, allowed, witnesses)
    expected = {}
    for sensor, at in seconds.items():
        others = sorted((b for s, b in seconds.items() if s != sensor), reverse=True)
        if len(others) >= witnesses and others[witnesses - 1] - at > allowed:
            expected[sensor] = (at * SECOND, others[witnesses - 1] * SECOND)
    assert {e.subject: (e.first_us, e.last_us) for e in found} == expected


def test_one_clock_that_runs_fast_silences_nobody() -> None:
    last = {f"G{n}": 1000 * SECOND for n in range(10)}
    assert rules.silent({**last, "G3": 9000 * SECOND}, 600, 2) == []


def test_the_newest_reading_of_each_sensor_is_what_was_heard() -> None:
    some = [
        Reading("G1", START + 5),
        Reading("G2", START + 9),
        Reading("G1", START + 3),
        Reading(None, START + 8),
        Reading("G2", None),
    ]
    newest = {"G1": (START + 5, START + 5), "G2": (START + 9, START + 9)}
    assert rules.heard(rows(some), COLUMNS) == newest


@pytest.mark.parametrize(
    ("standard", "hz", "mm_s"),
    [
        ("usbm_statute", 2.0, None),
        ("usbm_statute", 2.5, 12.7),
        ("usbm_statute", 20.0, 25.4),
        ("usbm_statute", 40.0, 50.8),
        ("usbm_statute", 300.0, 50.8),
        ("din_4150_3_dwellings", 5.0, 5.0),
        ("din_4150_3_dwellings", 30.0, 10.0),
        ("din_4150_3_dwellings", 75.0, 17.5),
        ("din_4150_3_sensitive", 99.0, 9.96),
        ("din_4150_3_industrial", 8.0, 20.0),
        ("din_4150_3_industrial", 100.0, None),
    ],
)
def test_the_mine_s_limits_are_those_of_the_standards(
    standard: str, hz: float, mm_s: float | None
) -> None:
    bands = read_limits(THRESHOLDS)[standard].bands
    assert limit(bands, hz) == (None if mm_s is None else pytest.approx(mm_s))


def test_every_limit_of_the_mine_has_a_source() -> None:
    lines = THRESHOLDS.read_text().splitlines()[1:]
    assert all(line.split(",")[-1] for line in lines)
    assert {line.split(",")[0] for line in lines} == set(read_limits(THRESHOLDS))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a,b\n", "from_hz"),
        (HEAD + "x,y,1,2,3,4,\n", "source"),
        (HEAD + "x,y,1,two,3,4,s\n", "a number in to_hz"),
        (HEAD + "x,y,,2,3,4,s\n", "a number in from_hz"),
        (HEAD + "x,y,3,2,3,4,s\n", "a band that rises"),
        (HEAD + "x,y,1,2,0,4,s\n", "limits above 0"),
        (HEAD + "x,y,1,2,inf,4,s\n", "finite limits"),
        (HEAD + "x,y,1,2,3,inf,s\n", "finite limits"),
        (HEAD + "x,y,1,,3,4,s\n", "a band that rises"),
        (HEAD + "x,y,1,9,3,4,s\nx,y,8,12,3,4,s\n", "do not overlap"),
    ],
)
def test_an_unsound_table_of_limits_is_refused_with_its_line(
    tmp_path: Path, text: str, says: str
) -> None:
    path = tmp_path / "limits.csv"
    path.write_text(text)
    with pytest.raises(ConfigError, match=re.escape(says)) as caught:
        read_limits(path)
    assert str(path) in caught.value.object


def test_a_text_says_what_the_limit_protects_and_foretells_nothing() -> None:
    some = rows([Reading("G7", 0, 14.2, 1.0, 8.0, 11.0)])
    (fast,) = rules.velocity(some, COLUMNS, HOUSES)
    (low,) = rules.battery(some, COLUMNS, 11.5)
    (quiet, *_) = rules.silent({"G7": 0, "G1": 10**9, "G2": 10**9}, 60, 1)
    assert "14.20 mm/s at 8.0 Hz is above 5.00 mm/s" in fast.told
    assert "1970-01-01T00:00:00.000+00:00" in fast.told
    assert "protects buildings; it says nothing of a slope" in fast.told
    for told in (fast.told, low.told, quiet.told):
        assert told.startswith("G7: ")
        assert not re.search(r"fail|collaps|unstable|predict|will ", told)


@pytest.mark.parametrize(
    "columns",
    [
        Columns(sensor="nobody"),
        Columns(axes=("battery_v",), frequency="freq_hz"),
        Columns(axes=("tran_mm_s",)),
        Columns(frequency="freq_hz"),
        Columns(axes=("tran_mm_s",), frequency="tran_mm_s"),
    ],
)
def test_a_watch_that_could_not_judge_is_refused(columns: Columns) -> None:
    made = watch()
    with pytest.raises(ConfigError, match="cannot be judged by"):
        type(made)(made.table, columns, made.limits)


def test_a_whole_number_that_no_float_has_is_judged_as_the_nearest() -> None:
    rows = pa.record_batch({"count": pa.array([(1 << 53) + 1, None, 3])})
    found = rules.numbers(rows, "count")
    assert (found[0], found[2]) == (float(1 << 53), 3.0)
    assert np.isnan(found[1])
