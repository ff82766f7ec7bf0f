"""``ops/alarms``: what was loaded is judged once, with a collector's incidents or without."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from platform_tests.alarms.hook import Hook, alarms_after
from platform_tests.alarms.reading import SECOND, START, Reading
from platform_tests.company import Company, at_home, run_to_end
from platform_tests.streams.broker import Broker

from malacate.alarms.collected import Pass
from malacate.components.alarm_rules import watches
from malacate.errors import ConfigError
from malacate.formats import FileFormat
from malacate.ledger import alarms, outbox
from malacate.ledger.aside import put_aside
from malacate.sources.streams.collector import Collector
from malacate.sources.streams.message import Message, as_file
from malacate.sources.streams.transport import Bounds
from malacate.stores.folder import FolderStore

STREAM = """
type: malacate.components.EventStream
attributes:
  source: pit
  folder: ${PIT_DROPS}
  tables:
    - name: vibration
      alarms:
        axes: [ppv_mm_s]
        frequency: dom_freq_hz
        limits: ../../limits.csv
        standards: [houses]
        silent_seconds: 600
        battery: battery_v
        battery_below_v: 11.5
        quiet_seconds: 60
        webhook: ${PIT_HOOK}
"""
LIMITS = """standard,protects,from_hz,to_hz,from_mm_s,to_mm_s,source
houses,dwellings,0,50,5,15,a standard
"""
CONTRACT = """
apiVersion: v3.1.0
kind: DataContract
id: pit
name: Pit
version: 1.0.0
status: active
schema:
  - name: vibration
    properties:
      - {name: sensor_id, logicalType: string, physicalType: varchar, required: true}
      - {name: measured_at, logicalType: timestamp, physicalType: timestamptz, required: true}
      - {name: ppv_mm_s, physicalName: tran_mm_s, logicalType: number, physicalType: double,
         customProperties: [{property: unit, value: mm/s}]}
      - {name: vert_mm_s, logicalType: number, physicalType: double}
      - {name: dom_freq_hz, physicalName: freq_hz, logicalType: number, physicalType: double}
      - {name: battery_v, logicalType: number, physicalType: double}
"""
VIBRATION, OPS = "raw/pit/vibration", "ops/alarms"


@pytest.fixture
def pit(tmp_path: Path, hook: Hook) -> Iterator[Company]:
    company = Company(tmp_path)
    company.write("defs/pit/defs.yaml", STREAM)
    company.write("defs/pit/contract.odcs.yaml", CONTRACT)
    company.write("defs/alarms.py", alarms_after(VIBRATION))
    company.write("limits.csv", LIMITS)
    with at_home(company, PIT_DROPS=str(company.drops), PIT_HOOK=hook.url):
        yield company


def drop(pit: Company, name: str, *some: Reading) -> None:
    data = as_file([Message(one.json(), "pit") for one in some])
    pit.drop(f"vibration/{name}.parquet", data)


def fast(sensor: str, second: int) -> Reading:
    return Reading(sensor, START + second * SECOND, 9.0)


def test_loaded_readings_are_judged_sent_and_shown(
    pit: Company, hook: Hook, instance: dg.DagsterInstance
) -> None:
    drop(pit, "a", fast("G1", 0), fast("G1", 30), Reading("G2", START + 40 * SECOND, battery=11.0))
    told = run_to_end(pit, [VIBRATION, OPS], instance).metadata(OPS)
    assert (told["batches_judged"], told["incidents_opened"], told["open_incidents"]) == (1, 2, 2)
    assert (told["open_ppv_houses"], told["open_battery"]) == (1, 1)
    assert told["newest"].startswith("G2: battery at 11.00 V")
    assert "G1" in told["incidents"]
    assert {body["subject"] for _, body, _ in hook.came} == {"G1", "G2"}
    again = run_to_end(pit, [OPS], instance).metadata(OPS)
    assert (again["batches_judged"], again["incidents_opened"]) == (0, 0)
    drop(pit, "b", fast("G1", 90), fast("G1", 0), Reading("G2", START + 5000 * SECOND))
    run_to_end(pit, [VIBRATION, OPS], instance)
    assert len(hook.came) == 2


def test_what_a_collector_has_judged_is_not_told_again(
    pit: Company, hook: Hook, instance: dg.DagsterInstance
) -> None:
    (watch,) = watches(pit.declarations)
    judged = Pass(watch, FileFormat("messages"), lambda: pit.ingest.ledger, lambda: None)
    broker = Broker([Message(fast("G1", n).json(), "pit") for n in range(0, 300, 100)])
    store = FolderStore(pit.drops)
    collector = Collector("pit", broker.connect(), store, Bounds(2), "vibration/", judged)
    broker.is_drained = collector.end
    collector.run()
    told = run_to_end(pit, [VIBRATION, OPS], instance).metadata(OPS)
    assert (told["batches_judged"], told["incidents_opened"]) == (2, 0)
    assert len(hook.keys()) == len(set(hook.keys())) == 3


def test_an_alarm_that_nobody_takes_fails_a_check_and_is_asked_for_again(
    pit: Company, hook: Hook, instance: dg.DagsterInstance
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        os.environ["PIT_HOOK"] = f"http://127.0.0.1:{taken.getsockname()[1]}/?token=s3cret"
        drop(pit, "a", fast("G1", 0))
        ran = run_to_end(pit, [VIBRATION, OPS], instance)
    assert ran.failed() == {"every_alarm_is_sent"}
    told = ran.checks()["every_alarm_is_sent"].metadata
    assert told["actual"].value == 1
    assert "ConnectError" in str(told["why"].value)
    assert "s3cret" not in str(told)
    os.environ["PIT_HOOK"] = hook.url
    ledger = pit.ingest.ledger
    (row,) = alarms.standing(ledger, "pit/vibration")
    outbox.mark_failed(ledger, row["key"], "${PIT_HOOK}", "x", 0.0)
    assert isinstance(tick(pit, instance), dg.RunRequest)
    assert run_to_end(pit, [OPS], instance).failed() == set()
    assert hook.keys() == [row["key"]]


HOUR = 3600


def test_of_a_long_history_what_is_news_is_told_and_the_rest_is_shown(
    pit: Company, hook: Hook, instance: dg.DagsterInstance
) -> None:
    for hour in range(0, 200, 20):
        calm = Reading("G2", START + hour * HOUR * SECOND)
        drop(pit, f"{hour:03}", fast("G1", hour * HOUR), calm)
    told = run_to_end(pit, [VIBRATION, OPS], instance)
    shown = told.metadata(OPS)
    assert (shown["batches_judged"], shown["incidents_opened"]) == (10, 10)
    assert [opened[:13] for opened in hook.named("opened_at")] == [
        "2026-01-06T00", "2026-01-06T20", "2026-01-07T16", "2026-01-08T12"
    ]  # fmt: skip
    assert shown["incidents"].count("stale") == 6
    assert told.failed() == set()


def test_after_the_ledger_was_lost_what_is_news_is_told_again_under_its_key_and_nothing_older(
    pit: Company, hook: Hook, instance: dg.DagsterInstance
) -> None:
    for hour in range(0, 200, 20):
        drop(pit, f"{hour:03}", fast("G1", hour * HOUR), fast("G1", hour * HOUR + 30))
    drop(pit, "calm", Reading("G2", START + 180 * HOUR * SECOND))
    run_to_end(pit, [VIBRATION, OPS], instance)
    first = hook.keys()
    hook.came.clear()
    drop(pit, "late", fast("G3", 181 * HOUR))
    run_to_end(pit, [VIBRATION], instance)
    put_aside(f"sqlite:///{pit.folder / 'home' / 'ledger.sqlite'}", "lost")
    pit.ingest.rebuild(pit.route(VIBRATION))
    run_to_end(pit, [OPS], instance)
    assert set(first) < set(hook.keys())
    assert len(hook.keys()) == len(set(hook.keys())) == len(first) + 1
    assert len(first) == 4


def test_120_sensors_that_feel_a_blast_are_one_message(
    pit: Company, hook: Hook, instance: dg.DagsterInstance
) -> None:
    drop(pit, "blast", *(fast(f"G{n:03}", n // 4) for n in range(120)))
    told = run_to_end(pit, [VIBRATION, OPS], instance).metadata(OPS)
    assert (told["incidents_opened"], told["open_incidents"]) == (120, 120)
    assert len(hook.came) == 1
    assert sorted(hook.named()) == [f"G{n:03}" for n in range(120)]


def tick(pit: Company, instance: dg.DagsterInstance) -> Any:
    sensor = pit.definitions.resolve_sensor_def("ops__alarms")
    with dg.build_sensor_context(instance, resources={"platform": pit.platform}) as context:
        return sensor(context)


def test_its_sensor_asks_only_where_there_is_something(
    pit: Company, instance: dg.DagsterInstance
) -> None:
    assert tick(pit, instance).skip_message == "nothing new"
    drop(pit, "a", Reading("G1"))
    run_to_end(pit, [VIBRATION], instance)
    assert isinstance(tick(pit, instance), dg.RunRequest)
    run_to_end(pit, [OPS], instance)
    assert tick(pit, instance).skip_message == "nothing new"


@pytest.mark.parametrize(
    ("right", "wrong", "says"),
    [
        ("[houses]", "[castles]", "castles"),
        ("[ppv_mm_s]", "[nothing]", "cannot be judged by 'nothing'"),
        ("limits: ../../limits.csv", "", "go together"),
        ("${PIT_HOOK}", "https://hooks.example/s3cret", "webhook"),
        ("battery: battery_v", "battery: dom_freq", "dom_freq"),
        ("quiet_seconds: 60", "quiet_seconds: 0", "greater than 0"),
        ("quiet_seconds: 60", "calm_seconds: 60", "calm_seconds"),
        ("quiet_seconds: 60", "tell_within_hours: 0", "greater than 0"),
        ("quiet_seconds: 60", "site: nowhere", "cannot be judged by 'nowhere'"),
        ("quiet_seconds: 60", "received: never", "cannot be judged by 'never'"),
    ],
)
def test_a_mistake_is_told_when_the_declaration_is_read(
    pit: Company, right: str, wrong: str, says: str
) -> None:
    pit.write("defs/pit/defs.yaml", STREAM.replace(right, wrong))
    with pytest.raises(ConfigError, match=says) as caught:
        pit.route(VIBRATION)
    assert "defs.yaml" in caught.value.object
    assert "s3cret" not in str(caught.value)
