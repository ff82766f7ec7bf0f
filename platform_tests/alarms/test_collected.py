"""From a broker to a webhook: in seconds, and whoever is killed, each incident under one key."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from platform_tests.alarms.hook import Hook, listening
from platform_tests.alarms.reading import SECOND, Reading, watch
from platform_tests.emulators import parts
from platform_tests.emulators.brokers import Broker as Server
from platform_tests.faults.points import OF_ALARMS, OF_STREAMS
from platform_tests.streams.broker import Broker
from platform_tests.streams.collecting import waited
from platform_tests.streams.test_mqtt import publisher

from malacate.alarms.collected import Pass
from malacate.errors import SourceUnreachable
from malacate.formats import FileFormat
from malacate.ledger import alarms, outbox
from malacate.ledger.ledger import Ledger
from malacate.sources.streams import collector as module
from malacate.sources.streams.collector import Collector
from malacate.sources.streams.message import Message, as_file
from malacate.sources.streams.transport import Bounds
from malacate.stores.folder import FolderStore

ROOT = Path(__file__).resolve().parents[2]
WORKER = Path(__file__).with_name("worker.py")
TOPIC = "pit/north/vibration"
INJECTED = 200
START = 1_767_322_800 * SECOND


@pytest.fixture
def ledger(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/ledger.sqlite"


@pytest.fixture
def hook() -> Iterator[Hook]:
    with listening() as made:
        yield made


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with parts.mosquitto(tmp_path / "broker") as started:
        yield started


def passing(ledger: str, woken: list[int]) -> Pass:
    form = FileFormat("messages")
    return Pass(watch(), form, lambda: Ledger(ledger), lambda: woken.append(1))


def file_of(*some: Reading | bytes) -> bytes:
    data = [one if isinstance(one, bytes) else one.json() for one in some]
    return as_file([Message(one, TOPIC) for one in data])


def fast(sensor: int, second: float) -> Reading:
    return Reading(f"G{sensor}", START + round(second * SECOND), 9.0)


def test_good_readings_of_a_file_are_judged_and_the_sender_is_woken(ledger: str) -> None:
    woken: list[int] = []
    judged = passing(ledger, woken)
    judged(file_of(fast(1, 0), b"no json", Reading("G2", START, 999.0), Reading("bad", START, 9.0)))
    assert [row["subject"] for row in alarms.standing(Ledger(ledger), "pit/vibration")] == ["G1"]
    judged(file_of(fast(1, 0)))
    judged(file_of(Reading("G3", START, 0.1)))
    assert woken == [1]


def test_a_file_that_cannot_be_read_keeps_nobody_from_collecting(
    ledger: str, caplog: pytest.LogCaptureFixture
) -> None:
    passing(ledger, [])(file_of(b'{"another": 1}'))
    assert caplog.text == ""
    passing(ledger, [])(b"PAR1 torn")
    assert caplog.text.count("no alarms of a file") == 1


def test_nothing_is_acknowledged_while_the_ledger_is_away(
    tmp_path: Path, ledger: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_WAITS", (0.0, 0.0))
    broker, away = Broker([Message(fast(1, 0).json(), TOPIC)]), iter(range(3))

    def opened() -> Ledger:
        assert broker.acknowledged == []
        if next(away, None) is not None:
            raise SourceUnreachable("away", "Wait.")
        return Ledger(ledger)

    judged = Pass(watch(), FileFormat("messages"), opened, lambda: None)
    store = FolderStore(tmp_path / "files")
    (tmp_path / "files").mkdir()
    collector = Collector("pit", broker.connect(), store, Bounds(seconds=0.0), "", judged)
    broker.is_drained = collector.end
    collector.run()
    assert broker.acknowledged == [0]
    assert collector.metrics.failures == 3
    assert len(alarms.standing(Ledger(ledger), "pit/vibration")) == 1


class Service:
    """The collector with alarms, started again and again."""

    def __init__(self, server: Server, tmp_path: Path, ledger: str, hook: Hook) -> None:
        self.folder, self.log = tmp_path / "files", tmp_path / "service.log"
        self.folder.mkdir()
        url = f"{server.url}/pit/+/vibration"
        self._command = [sys.executable, str(WORKER), url, str(self.folder), ledger, hook.url]
        self._starts = 0

    def start(self, **variables: str) -> "subprocess.Popen[bytes]":
        self._starts += 1
        env = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
        with self.log.open("ab") as log:
            return subprocess.Popen(self._command, stdout=log, stderr=log, env=env)

    def has_started(self) -> bool:
        return self.log.read_text().count("started\n") == self._starts

    @contextmanager
    def running(self, **variables: str) -> Iterator["subprocess.Popen[bytes]"]:
        process = self.start(**variables)
        try:
            assert waited(self.has_started), self.log.read_text()
            yield process
        finally:
            process.kill()
            process.wait()


def subscribed(service: Service, server: Server) -> None:
    """Once a session stands, the broker keeps what is published for it."""
    with service.running(), publisher(server) as client:

        def arrives() -> bool:
            client.publish(TOPIC, Reading("G0", START).json(), qos=1)
            return any(service.folder.rglob("*.parquet"))

        assert waited(arrives)


def test_200_exceedances_reach_the_webhook_within_seconds_each_once(
    server: Server, tmp_path: Path, ledger: str, hook: Hook
) -> None:
    service = Service(server, tmp_path, ledger, hook)
    subscribed(service, server)
    chance, published = random.Random(6), dict[str, float]()
    with service.running(), publisher(server) as client:
        for number in range(1, INJECTED + 1):
            calm = [Reading(f"G{chance.randrange(900, 999)}", START) for _ in range(5)]
            for one in [*calm, fast(number, number), fast(number, number + 0.1)]:
                client.publish(TOPIC, one.json(), qos=1)
            published[f"G{number}"] = time.time()
            client.publish(TOPIC, fast(number, number).json(), qos=1)
            time.sleep(chance.uniform(0, 0.1))
        assert waited(lambda: len(set(hook.named())) == INJECTED)
        time.sleep(2)
    assert sorted(hook.named()) == sorted(published)
    assert len(set(hook.keys())) == len(hook.keys()) < INJECTED
    seconds = [
        at - published[one["subject"]] for _, body, at in hook.came for one in body["incidents"]
    ]
    p50, p95 = np.percentile(seconds, [50, 95])
    print(json.dumps({"alarms": len(seconds), "p50_s": round(p50, 2), "p95_s": round(p95, 2)}))
    assert p95 < 30


@pytest.mark.parametrize("point", sorted(OF_ALARMS | OF_STREAMS))
def test_a_kill_at_a_point_leaves_each_incident_under_one_key(
    server: Server, tmp_path: Path, ledger: str, hook: Hook, point: str
) -> None:
    service = Service(server, tmp_path, ledger, hook)
    subscribed(service, server)
    with publisher(server) as client:
        dying = service.start(MALACATE_CRASH=f"{point}:2")
        sent = 0
        while dying.poll() is None:
            sent += 1
            client.publish(TOPIC, fast(sent, sent).json(), qos=1).wait_for_publish(60)
            time.sleep(0.05)
        assert dying.returncode == -signal.SIGKILL
        with service.running():
            assert waited(lambda: len(set(hook.named())) == sent)
            assert waited(lambda: not outbox.due(Ledger(ledger), ["${PIT_HOOK}"]))
    told = {key: body for key, body, _ in hook.came}
    assert all(told[key] == body for key, body, _ in hook.came)
    named = [one["subject"] for body in told.values() for one in body["incidents"]]
    assert len(named) == len(set(named)) == sent
    again = len(hook.keys()) - len(told)
    assert again == 1 if point == "alarm_sent" else again <= 1
