"""A stream as YAML declares it: collected, or written by a subscription, it is a raw table."""

import datetime as dt
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import dagster as dg
import paho.mqtt.publish as mqtt
import pytest
from paho.mqtt.client import MQTTv5
from platform_tests.company import Command, Company, at_home, malacate, run_to_end
from platform_tests.emulators import parts
from platform_tests.formats.test_messages import native
from platform_tests.streams.broker import Broker
from platform_tests.streams.collecting import waited

from malacate.components.declared import components
from malacate.components.event_stream import Collected, EventStream
from malacate.errors import ConfigError
from malacate.sources.streams.collector import Collector
from malacate.sources.streams.message import Message
from malacate.sources.streams.transport import Bounds

__all__ = ["malacate"]

DECLARED = """
type: malacate.components.EventStream
attributes:
  source: pit
  folder: ${PIT_DROPS}
  most_messages: 100
  most_seconds: 0.5
  tables:
    - name: vibration
      url: mqtt://${PIT_BROKER}/pit/+/vibration
    - name: issue
      files: ["issues/*.avro"]
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
      - {name: sensor, logicalType: string, physicalType: varchar, required: true}
      - {name: ppv_mm_s, logicalType: number, physicalType: double}
      - {name: topic, physicalName: $topic, logicalType: string, physicalType: varchar}
  - name: issue
    customProperties: [{property: extraColumns, value: ignore}]
    properties:
      - {name: issue_id, physicalName: $message_id, logicalType: string, physicalType: varchar,
         primaryKey: true}
      - {name: told_at, physicalName: $published_at, logicalType: timestamp,
         physicalType: timestamptz}
      - {name: raw, physicalName: $data, logicalType: string, physicalType: json}
"""
VIBRATION, ISSUE = "raw/pit/vibration", "raw/pit/issue"


@pytest.fixture
def pit(tmp_path: Path) -> Iterator[Company]:
    company = Company(tmp_path)
    company.write("defs/pit/defs.yaml", DECLARED)
    company.write("defs/pit/contract.odcs.yaml", CONTRACT)
    with at_home(company, PIT_DROPS=str(company.drops), PIT_BROKER="127.0.0.1:1"):
        yield company


def reading(number: int) -> Message:
    return Message(b'{"sensor": "g%d", "ppv_mm_s": 0.5}' % number, "pit/north/vibration")


def declared(company: Company) -> list[Collected]:
    found = components(company.declarations)
    return [one for _, c in found if isinstance(c, EventStream) for one in c.collected()]


def collect(company: Company, messages: list[Message]) -> None:
    """As the declared collector does it."""
    (stream,) = declared(company)
    broker = Broker(messages)
    collector = Collector(stream.key, broker.connect(), stream.store, stream.bounds, stream.prefix)
    broker.is_drained = collector.end
    collector.run()


def test_what_is_collected_becomes_a_checked_table(
    pit: Company, instance: dg.DagsterInstance
) -> None:
    collect(pit, [reading(1), Message(b"no json", "t"), reading(2), reading(2)])
    ran = run_to_end(pit, [VIBRATION], instance)
    told = ran.metadata(VIBRATION)
    assert (told["rows_read"], told["rows_loaded"], told["rows_quarantined"]) == (4, 3, 1)
    assert pit.rows("raw_pit.vibration", "sensor, ppv_mm_s, topic") == [
        {"sensor": sensor, "ppv_mm_s": 0.5, "topic": "pit/north/vibration"}
        for sensor in ("g1", "g2", "g2")
    ]
    (aside,) = pit.rows("malacate.quarantine", "position, reason, raw")
    assert (aside["position"], aside["reason"], aside["raw"]) == (2, "bad_json", b"no json")
    collect(pit, [reading(3)])
    run_to_end(pit, [VIBRATION], instance)
    assert len(pit.rows("raw_pit.vibration")) == 4


def test_what_a_native_subscription_wrote_becomes_a_table(
    pit: Company, instance: dg.DagsterInstance
) -> None:
    at = 1_767_323_045_000_006
    texts = ['{"machine": "t1"}', '{"machine": "t2", "n": 2}']
    found = [Message(text.encode(), "s", str(n), at) for n, text in enumerate(texts)]
    pit.drop("issues/2026-01-02T03:04:05+00:00_a.avro", native(found))
    run_to_end(pit, [ISSUE], instance)
    rows = pit.rows("raw_pit.issue", "issue_id, told_at, raw")
    assert [(row["issue_id"], row["raw"]) for row in rows] == [("0", texts[0]), ("1", texts[1])]
    assert rows[0]["told_at"] == dt.datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=dt.UTC)


def test_a_doorbell_looks_where_a_collector_writes_now(
    pit: Company, instance: dg.DagsterInstance
) -> None:
    collect(pit, [reading(1)])
    sensor = pit.definitions.resolve_sensor_def("raw__pit__vibration__drops")
    with dg.build_sensor_context(instance, resources={"platform": pit.platform}) as context:
        result: Any = sensor(context)
    assert len(result.run_requests) == 1


def test_kinds_tell_the_broker(pit: Company) -> None:
    specs = {spec.key.to_user_string(): spec for spec in pit.definitions.resolve_all_asset_specs()}
    assert specs[VIBRATION].kinds == {"mqtt", "duckdb"}
    assert specs[ISSUE].kinds == {"messages", "duckdb"}


def test_a_collector_has_a_name_for_each_target(
    pit: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    (stream,) = declared(pit)
    assert (stream.key, stream.name) == ("pit/vibration", "malacate-local-pit-vibration")
    assert stream.bounds == Bounds(100, 16 << 20, 0.5)
    monkeypatch.setenv("MALACATE_TARGET", "gcp")
    (other,) = declared(pit)
    assert other.name == "malacate-gcp-pit-vibration"


def test_a_password_in_the_file_is_refused(pit: Company) -> None:
    text = DECLARED.replace("mqtt://${PIT_BROKER}", "mqtt://me:secret@broker")
    pit.write("defs/pit/defs.yaml", text)
    with pytest.raises(ConfigError, match="secret is written"):
        pit.route(VIBRATION)


@pytest.mark.parametrize("url", ["amqp://h/q", "mqtt://h", "h/t"])
def test_a_url_of_no_broker_is_refused_with_its_line(pit: Company, url: str) -> None:
    pit.write("defs/pit/defs.yaml", DECLARED.replace("mqtt://${PIT_BROKER}/pit/+/vibration", url))
    with pytest.raises(ConfigError) as caught:
        pit.route(VIBRATION)
    assert "defs.yaml:9" in caught.value.object


@pytest.mark.parametrize("name", ["pit/issue", "mine", "vibration"])
def test_a_stream_that_nobody_collects_is_refused(
    pit: Company, malacate: Command, name: str
) -> None:
    code, _, told = malacate("collect", name)
    assert code == 2
    assert "pit/vibration" in told


def test_the_command_collects_until_it_is_ended(pit: Company, tmp_path: Path) -> None:
    with parts.mosquitto(tmp_path / "broker") as broker:
        port = 14_000 + os.getpid() % 1000
        options = ["collect", "pit", "--metrics-port", str(port), "--report-seconds", "0.5"]
        code = "from malacate.cli import main; main()"
        process = subprocess.Popen(
            [sys.executable, "-c", code, *options],
            env={**os.environ, "PIT_BROKER": f"127.0.0.1:{broker.port}"},
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            sent = published_until_collected(broker.port, pit)
            page = urlopen(f"http://127.0.0.1:{port}/metrics").read().decode()
            process.send_signal(signal.SIGTERM)
            _, told = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 0, told
    assert 'malacate_stream_files_total{stream="pit/vibration"}' in page
    last = json.loads(told.splitlines()[-1])
    assert (last["in_flight"], last["trouble"]) == (0, "")
    assert 0 < last["messages"] <= sent


def published_until_collected(port: int, pit: Company) -> int:
    sent = 0

    def is_collected() -> bool:
        nonlocal sent
        mqtt.single(
            "pit/north/vibration", reading(sent).data, 1, port=port, hostname="127.0.0.1",
            protocol=MQTTv5,
        )  # fmt: skip
        sent += 1
        return any(pit.drops.rglob("*.parquet"))

    assert waited(is_collected)
    time.sleep(1)
    return sent
