"""120 geophones a second: to the raw table and its hours, whoever dies, each reading once."""

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from platform_tests.company import Command, Company, malacate
from platform_tests.emulators import parts
from platform_tests.emulators.brokers import Broker as Server
from platform_tests.faults.points import OF_STREAMS
from platform_tests.length import IS_LONG
from platform_tests.streams import slope
from platform_tests.streams.broker import Broker
from platform_tests.streams.collecting import Collecting, waited
from platform_tests.streams.fleet import STEPS, load

from acme.simulator import geophones
from acme.simulator.stream import FILTER, Live
from acme.simulator.stream_gateway import Gateway
from malacate.commands.collect import streams
from malacate.errors import ConfigError
from malacate.sources.streams.collector import Collector
from malacate.sources.streams.message import Message

__all__ = ["malacate"]

DRIVER = Path(__file__).with_name("fleet.py")
LONG = ["--kills", "30", "--broker-kills", "3", "--seconds", "4200", "--speed", "25"]
LIVE = Live(slope.WORLD, slope.HOUR, 70)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with parts.mosquitto(tmp_path / "broker") as started:
        yield started


@pytest.fixture
def company(tmp_path: Path) -> Iterator[Company]:
    with slope.slope(tmp_path / "company", 1) as made:
        yield made


def test_whoever_is_killed_each_reading_is_in_the_raw_table_and_counts_once(
    tmp_path: Path,
) -> None:
    parts.MOSQUITTO.require()
    command = [sys.executable, str(DRIVER), *(LONG if IS_LONG else [])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1800)
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "lost 0, twice 0, wrong 0" in done.stdout
    assert set(STEPS) == OF_STREAMS


def collect(company: Company, messages: list[Message]) -> None:
    """As the declared collector does it."""
    (stream,) = streams()
    broker = Broker(messages)
    collector = Collector(stream.key, broker.connect(), stream.store, stream.bounds, stream.prefix)
    broker.is_drained = collector.end
    collector.run()


def messages() -> list[Message]:
    return [Message(data, topic) for second in LIVE.told() for topic, data in second]


def test_hours_of_a_stream_are_those_of_its_sound_readings_however_often_they_came(
    company: Company,
) -> None:
    sent = messages()
    collect(company, sent[:5000])
    load(company)
    collect(company, sent[3000:])
    load(company)
    verdict, copies = slope.judge(company, LIVE)
    assert (verdict.problems, verdict.lost, verdict.twice, verdict.wrong) == ([], 0, 0, 0)
    assert copies >= 1900
    aside = company.rows("malacate.quarantine", "distinct reason, raw")
    reasons = Counter(row["reason"] for row in aside)
    assert reasons.keys() <= {"clock_skew", "below_minimum", "missing"}
    assert reasons["clock_skew"] >= 60


def test_hours_of_a_stream_without_a_contract_are_refused_with_their_line(
    company: Company,
) -> None:
    declared = company.declarations / "slope/defs.yaml"
    declared.write_text(declared.read_text().replace("hours: vibration_hour", "hours: by_hour"))
    with pytest.raises(ConfigError, match="by_hour"):
        company.route(slope.TABLES[0])


def test_the_same_world_tells_the_same_a_second_after_the_other() -> None:
    told = list(LIVE.told())
    assert told == list(LIVE.told())
    assert len(told) == LIVE.seconds
    readings = [json.loads(data) for second in told for _, data in second]
    assert [one["sent_at"] for one in readings] == sorted(one["sent_at"] for one in readings)
    heard = Counter(one["sensor_id"] for one in readings)
    silent, frozen, fast = (
        geophones.IDS[place] for place in (geophones.SILENT, geophones.FROZEN, geophones.FAST)
    )
    assert heard.keys() == set(geophones.IDS) - {silent}
    assert min(heard.values()) >= 0.85 * LIVE.seconds
    assert len({one["pvs_mm_s"] for one in readings if one["sensor_id"] == frozen}) == 1
    assert all(one["measured_at"] > one["sent_at"] for one in readings if one["sensor_id"] == fast)


def test_the_command_publishes_and_notes_what_is_true(
    server: Server, tmp_path: Path, malacate: Command
) -> None:
    collecting = Collecting(f"{server.url}/mine/{FILTER}", "slope", tmp_path / "f", seconds=0.3)
    with collecting.running():
        assert waited(collecting.has_started)
        code, out, _ = malacate(
            "simulate", "stream", "--url", f"{server.url}/mine", "--seconds", "70", "--speed",
            "100", "--saved-seconds", "0", "--home", str(tmp_path), "--json",
        )  # fmt: skip
        assert code == 0
        wanted = Counter(one.data for one in messages())
        assert json.loads(out)["messages"] == wanted.total()
        assert waited(lambda: data_in(tmp_path / "f") >= wanted)
    (known,) = (tmp_path / "mine/truth/stream").glob("reading_*.parquet")
    ((_, readings, _),) = LIVE.truth()
    assert pq.read_table(known).equals(readings)


def data_in(folder: Path) -> Counter[bytes]:
    files = (pq.read_table(path) for path in folder.rglob("*.parquet"))
    return Counter(data for file in files for data in file["data"].to_pylist())


@pytest.mark.parametrize("hangs", [False, True])
def test_a_gateway_sends_again_what_a_killed_broker_had_not_saved(
    tmp_path: Path, hangs: bool
) -> None:
    numbers, saved_seconds = range(2000), 1.0 if hangs else 60.0
    with parts.mosquitto(tmp_path / "broker", autosave_interval=3600) as server:
        collecting = Collecting(f"{server.url}/mine/x", "slope", tmp_path / "files", seconds=0.2)
        with Gateway(f"{server.url}/mine", saved_seconds) as gateway:
            with collecting.running():
                send(gateway, range(1))
                assert waited(lambda: rested(gateway, 0.1) and 0 in collecting.counted())
            send(gateway, numbers)
            rested(gateway, 0.5)
            if hangs:
                assert server.process is not None
                server.process.send_signal(signal.SIGSTOP)
                rested(gateway, 3.0)
            server.kill()
            server.start()
            with collecting.running():
                assert waited(lambda: rested(gateway, 0.1) and len(collecting.counted()) == 2000)
    assert set(collecting.counted()) == set(numbers)


def rested(gateway: Gateway, seconds: float) -> bool:
    gateway.wait_until(time.monotonic() + seconds)
    return True


def send(gateway: Gateway, numbers: range) -> None:
    for number in numbers:
        gateway.send("x", b'{"n": %d}' % number)


def test_doctor_tells_whether_the_broker_of_a_stream_answers(
    server: Server, company: Company, malacate: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def looked() -> dict[str, Any]:
        rows: list[dict[str, Any]] = json.loads(malacate("doctor", "--json")[1])
        return next(row for row in rows if row["what"] == "slope/vibration broker")

    told = looked()
    assert not told["is_right"]
    assert "refused" in told["found"]
    assert "address" in told["fix"]
    monkeypatch.setenv("SLOPE_BROKER", f"127.0.0.1:{server.port}")
    told = looked()
    assert told["is_right"], told
    assert told["found"] == "it answers, and lets us subscribe to mine/+/+/vibration"
    monkeypatch.delenv("SLOPE_BROKER")
    assert "SLOPE_BROKER" in looked()["found"]
