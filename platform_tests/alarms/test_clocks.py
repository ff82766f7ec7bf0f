"""Clocks that are wrong and sensors that are gone keep no alarm of others from anybody."""

import json
import random
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st
from platform_tests.alarms.hook import alarms_after
from platform_tests.alarms.reading import COLUMNS, SECOND, START, Reading, iso, rows, watch
from platform_tests.alarms.test_incidents import new_ledger
from platform_tests.alarms.test_incidents import url as url
from platform_tests.company import Company, at_home, run_to_end
from platform_tests.company import instance as instance
from platform_tests.orchestration.rising import CONTRACT, STREAM
from platform_tests.streams.broker import Broker

from malacate.alarms import rules
from malacate.alarms.incidents import Folded, Incident, fold
from malacate.alarms.watch import Judged, Watch
from malacate.commands import collect
from malacate.components.event_stream import Collected
from malacate.errors import ConfigError
from malacate.ledger import alarms
from malacate.ledger.ledger import Ledger
from malacate.ledger.tables import ALARM, INCIDENT
from malacate.sources.streams.collector import Collector
from malacate.sources.streams.message import Message

HOUR, DAY = 3600, 86_400
FAR = 54 * 365 * DAY
FAST = 9.0
RULE = {"silent_seconds": 600.0, "witnesses": 3}
RECEIVED = {"columns": replace(COLUMNS, received="came_at"), "battery_below_v": 11.5, **RULE}
SLOPE = f"""{STREAM.rstrip()}
      url: mqtt://${{SLOPE_BROKER}}/vibration
      hourly:
        hours: vibration_hour
        per_hour: 4
        axes: {{tran: ppv_mm_s}}
        resolution: 0.1
        horizon: {{came_at: published_at, late_hours: 72}}
      alarms:
        silent_seconds: 600
        battery: battery_v
        battery_below_v: 11.5
"""
SECTOR = "      - {name: sector_id, logicalType: string, physicalType: varchar}\n"
MORE = """      - {name: battery_v, logicalType: number, physicalType: double}
      - {name: published_at, physicalName: $published_at, logicalType: timestamp,
         physicalType: timestamptz}
"""
TABLES, OPS = ("raw/slope/vibration", "raw/slope/vibration_hour"), "ops/alarms"


def note(ledger: Ledger, *some: Reading, **changed: object) -> int:
    watched = watch(**{**RULE, **changed})
    return watched.note(ledger, watched.judge([rows(some)]))


def at(second: float) -> int:
    return START + round(second * SECOND)


def opened(ledger: Ledger, name: str = "pit/vibration") -> set[tuple[str, str]]:
    return {(row["rule"], row["subject"]) for row in alarms.standing(ledger, name)}


def states(ledger: Ledger) -> dict[tuple[str, str], str]:
    both = ALARM.join(INCIDENT, INCIDENT.c.key == ALARM.c.key)
    query = sa.select(INCIDENT.c.rule, INCIDENT.c.subject, ALARM.c.state).select_from(both)
    return {(row["rule"], row["subject"]): row["state"] for row in ledger.select(query)}


# A collector's pass, and the horizon that loading holds to.


@pytest.fixture
def slope(tmp_path: Path) -> Iterator[Company]:
    company = Company(tmp_path)
    company.write("defs/slope/defs.yaml", SLOPE)
    company.write("defs/slope/contract.odcs.yaml", CONTRACT.replace(SECTOR, SECTOR + MORE, 1))
    company.write("defs/alarms.py", alarms_after(TABLES[0]))
    with at_home(company, SLOPE_DROPS=str(company.drops), SLOPE_BROKER="127.0.0.1:1"):
        yield company


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int, datetime]]:
    """Of each row that a watch was given: sensor, number and instant."""
    found: list[tuple[str, int, datetime]] = []
    judge = Watch.judge

    def noted(self: Watch, readings: Iterator[pa.RecordBatch]) -> Judged:
        kept = list(readings)
        found.extend(
            (row["sensor_id"], row["seq"], row["measured_at"])
            for some in kept
            for row in some.to_pylist()
        )
        return judge(self, kept)

    monkeypatch.setattr(Watch, "judge", noted)
    return found


def told(
    sensor: str, seq: int, measured: float, came: float | None, volts: float = 13.0
) -> Message:
    event = {
        "sensor_id": sensor, "seq": seq, "measured_at": iso(at(measured)), "ppv_mm_s": 1.0,
        "battery_v": volts,
    }  # fmt: skip
    return Message(json.dumps(event).encode(), "slope", "", None if came is None else at(came))


def collected(*some: Message) -> None:
    """By the pieces of ``malacate collect``, with a broker in memory."""
    (stream,) = collect.streams()
    with ExitStack() as around:
        broker, passed = Broker(some), collect._judged(stream, around)
        collector = Collector(
            stream.key, broker.connect(), stream.store, stream.bounds, stream.prefix, passed
        )
        broker.is_drained = collector.end
        collector.run()
    assert len(broker.acknowledged) == len(some)


def test_readings_of_2080_make_no_sensor_silent_and_nothing_stale_where_a_horizon_is_declared(
    slope: Company,
) -> None:
    healthy = [told(f"G{n}", i, 10 * i, 10 * i) for i in range(5) for n in range(10)]
    collected(*healthy, *(told(f"G{n}", 5, FAR, 50) for n in range(4)))
    collected(told("G7", 6, 100, 100, volts=9.0), told("G8", 6, FAR, 100, volts=9.0))
    ledger = slope.ingest.ledger
    assert opened(ledger, "slope/vibration") == {("battery", "G7")}
    assert states(ledger)[("battery", "G7")] != "stale"
    late = [told(f"G{n}", 7, 5 * HOUR, 5 * HOUR) for n in range(9)]
    collected(*late)
    assert opened(ledger, "slope/vibration") == {("battery", "G7"), ("silent", "G9")}


def test_a_collector_judges_the_rows_that_loading_publishes_and_no_others(
    slope: Company, judged: list[tuple[str, int, datetime]], instance: dg.DagsterInstance
) -> None:
    came = 100 * HOUR
    ages = [0, -300, -300.000001, -FAR, 72 * HOUR, 72 * HOUR + 0.000001, 56 * 365 * DAY]
    aged = [told("G1", seq, came - age, came) for seq, age in enumerate(ages)]
    unknown = told("G2", 0, FAR, None)
    wrong = replace(aged[0], data=b'{"sensor_id": "G3"}')
    collected(*aged, wrong, unknown, *(told("G4", seq, came, came, 9.0) for seq in range(9)))
    by_collector = sorted(judged)
    assert len(by_collector) == 3 + 1 + 9
    judged.clear()
    shown = run_to_end(slope, [*TABLES, OPS], instance).metadata(OPS)
    query = "select sensor_id, seq, measured_at from raw_slope.vibration"
    published = slope.platform.target.open_warehouse().query(query).to_pylist()
    assert sorted(judged) == by_collector
    assert sorted((row["sensor_id"], row["seq"]) for row in published) == [
        (sensor, seq) for sensor, seq, _ in by_collector
    ]
    assert shown["incidents_opened"] == 0


@pytest.mark.parametrize(
    ("right", "wrong", "says"),
    [
        ("came_at: published_at", "came_at: sent_at", "sent_at"),
        ("came_at: published_at", "came_at: sector_id", "no instant"),
        ("came_at: published_at", 'named: "%Y%m%d.parquet"', "files that a collector writes"),
    ],
)
def test_a_collector_does_not_begin_with_a_horizon_that_tells_nothing(
    slope: Company, right: str, wrong: str, says: str
) -> None:
    slope.write("defs/slope/defs.yaml", SLOPE.replace(right, wrong))
    with pytest.raises(ConfigError, match=says):
        collected()


def test_a_stream_without_a_horizon_has_all_its_good_rows_judged(
    slope: Company, judged: list[tuple[str, int, datetime]]
) -> None:
    horizon = "        horizon: {came_at: published_at, late_hours: 72}\n"
    slope.write("defs/slope/defs.yaml", SLOPE.replace(horizon, ""))
    collected(told("G1", 1, 0, 0), told("G1", 2, FAR, 0))
    (stream,) = collect.streams()
    assert (type(stream), stream.horizon, len(judged)) == (Collected, None, 2)


# Without a horizon.


def test_an_instant_before_2000_or_well_after_it_was_received_is_that_of_when_it_was() -> None:
    some = rows(
        [
            Reading("G1", at(0), came=at(0)),
            Reading("G1", at(400), came=at(99)),
            Reading("G2", at(300), came=at(0)),
            Reading("G3", at(300) + 1, came=at(0)),
            Reading("G4", 946_684_800 * SECOND - 1, came=at(0)),
            Reading("G5", 946_684_800 * SECOND, came=at(0)),
            Reading("G6", at(0), came=None),
            Reading("G7", None, came=at(0)),
        ]
    )
    received = rules.heard(some, replace(COLUMNS, received="came_at"))
    assert received == {
        "G1": (at(99), at(99)),
        "G2": (at(300), at(0)),
        "G3": (at(0), at(0)),
        "G4": (at(0), at(0)),
        "G5": (946_684_800 * SECOND, at(0)),
        "G6": (at(0), 0),
    }
    assert rules.heard(some, COLUMNS).keys() == {"G1", "G2", "G3", "G5", "G6"}


wrongs = st.lists(
    st.tuples(
        st.integers(3, 9),
        st.sampled_from([FAR, 30 * DAY, 301, -56 * 365 * DAY]),
        st.sampled_from([0, 500, 1000]),
    ),
    max_size=12,
)


@settings(max_examples=60, deadline=None)
@given(
    wrongs,
    st.sets(st.integers(0, 9), max_size=9),
    st.integers(1, 3),
    st.randoms(use_true_random=False),
)
def test_wrong_clocks_in_any_order_change_neither_who_is_silent_nor_what_is_told(
    wrong: list[tuple[int, int, int]], dead: set[int], witnesses: int, chance: random.Random
) -> None:
    """All clocks but three may be wrong at times; some sensors die after the first round."""
    rounds = [[Reading(f"G{n}", at(0), came=at(0)) for n in range(10)]]
    rounds += [
        [Reading(f"G{n}", at(second), came=at(second)) for n in range(10) if n not in dead]
        for second in (500, 1000)
    ]
    skewed = [Reading(f"G{n}", at(came + ahead), FAST, came=at(came)) for n, ahead, came in wrong]
    right = {one: Reading(one.sensor, one.came, came=one.came) for one in skewed}
    rounds += [[one] for one in skewed]
    chance.shuffle(rounds)
    low = Reading("G0", at(1000), came=at(1000), battery=9.0)
    rule = {**RECEIVED, "witnesses": witnesses}
    told = []
    for wrong_too in (False, True):
        with new_ledger() as url:
            ledger = Ledger(url)
            for some in [*rounds, [low]]:
                note(ledger, *(one if wrong_too else right.get(one, one) for one in some), **rule)
            assert watch(**rule).now_us(ledger) <= at(1000)
            told.append(states(ledger))
    without, with_wrong = told
    fast = {key for key in with_wrong if key[0] == "ppv_houses"}
    assert fast == {("ppv_houses", one.sensor) for one in skewed}
    assert {key: with_wrong[key] for key in with_wrong.keys() - fast} == without
    assert without["battery", "G0"] == "due"


def test_where_nobody_says_when_readings_came_those_of_clocks_that_are_ahead_are_believed(
    url: str,
) -> None:
    ledger = Ledger(url)
    note(ledger, *(Reading(f"G{n}", at(0)) for n in range(10)))
    note(ledger, *(Reading(f"G{n}", at(DAY)) for n in range(3)))
    assert len(opened(ledger)) == 7


# Sensors that fell silent, and those that are gone.


def test_a_silent_sensor_loads_no_incidents_that_others_opened_meanwhile(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger, loaded = Ledger(url), list[Incident]()
    living = [f"G{n}" for n in range(5)]
    note(ledger, *(Reading(name, at(0)) for name in [*living, "OLD"]))
    for hour in range(1, 60):
        note(ledger, *(Reading(name, at(hour * HOUR), FAST) for name in living))

    def noted(name: str, standing: Sequence[Incident], *more: Any) -> Folded:
        loaded.extend(standing)
        return fold(name, standing, *more)

    monkeypatch.setattr("malacate.alarms.watch.fold", noted)
    assert note(ledger, *(Reading(name, at(60 * HOUR)) for name in living)) == 0
    assert {(one.rule, one.subject) for one in loaded} == {("silent", "OLD")}
    (silent,) = [one for one in alarms.standing(ledger, "pit/vibration") if one["rule"] == "silent"]
    assert (silent["first_us"], silent["last_us"]) == (at(0), at(60 * HOUR))
    assert note(ledger, *(Reading(name, at(60 * HOUR), FAST) for name in living)) == 5
    assert len(alarms.standing(ledger, "pit/vibration")) == 1 + 60 * 5


def test_more_silent_sensors_than_a_query_names_are_each_told_once(url: str) -> None:
    ledger = Ledger(url)
    names = [f"G{n}" for n in range(1203)]
    note(ledger, *(Reading(name, at(0)) for name in names))
    for second in (700, 800):
        note(ledger, *(Reading(name, at(second)) for name in names[:3]))
    found = alarms.standing(ledger, "pit/vibration")
    assert len(found) == 1200
    assert {row["last_us"] for row in found} == {at(800)}


def test_a_sensor_that_is_silent_for_longer_than_a_week_has_been_taken_down(url: str) -> None:
    ledger = Ledger(url)
    living = [f"G{n}" for n in range(4)]
    note(ledger, *(Reading(name, at(0)) for name in [*living, "OLD"]))
    week = 600 + 7 * DAY
    for second in (DAY, week, week + 0.000001, 8 * DAY, 300 * DAY):
        note(ledger, *(Reading(name, at(second)) for name in living))
    (silent,) = alarms.standing(ledger, "pit/vibration")
    assert (silent["subject"], silent["last_us"]) == ("OLD", at(week))
    assert alarms.standing(ledger, "pit/vibration", at(8 * DAY)) == []
    assert note(ledger, Reading("OLD", at(300 * DAY))) == 0
    assert note(ledger, *(Reading(name, at(301 * DAY)) for name in living)) == 1


def test_a_silence_is_told_though_nothing_came_of_anybody_for_more_than_a_week(url: str) -> None:
    ledger = Ledger(url)
    living = [f"G{n}" for n in range(4)]
    note(ledger, *(Reading(name, at(0)) for name in [*living, "GONE"]))
    assert note(ledger, *(Reading(name, at(9 * DAY)) for name in living)) == 1
    assert note(ledger, *(Reading(name, at(9 * DAY + 60)) for name in living)) == 0
    (silent,) = alarms.standing(ledger, "pit/vibration")
    assert (silent["subject"], silent["last_us"]) == ("GONE", at(600 + 7 * DAY))


def test_a_sensor_whose_clock_is_ahead_is_heard_while_it_sends_and_silent_when_it_does_not(
    url: str,
) -> None:
    ledger, ahead = Ledger(url), 400.0
    living = [f"G{n}" for n in range(4)]
    for second in (0, 500, 1000):
        some = [Reading(name, at(second), came=at(second)) for name in living]
        fast = Reading("FAST", at(second + ahead), came=at(second))
        assert note(ledger, *some, fast, **RECEIVED) == 0
    for second in (1500, 2000):
        note(ledger, *(Reading(n, at(second), came=at(second)) for n in living), **RECEIVED)
    assert opened(ledger) == {("silent", "FAST")}


def test_where_the_clock_of_who_receives_is_behind_silence_is_told(url: str) -> None:
    ledger, behind = Ledger(url), 400.0
    for second in (0, 500, 1000, 1500):
        names = [f"G{n}" for n in range(5 if second < 500 else 4)]
        some = [Reading(name, at(second), came=at(second - behind)) for name in names]
        note(ledger, *some, **RECEIVED)
    assert opened(ledger) == {("silent", "G4")}
