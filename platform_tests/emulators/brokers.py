"""Servers of messages on loopback that can be killed, and started again over what they kept.

``emulators.parts`` starts them by name, and tells where their programs stand.
"""

import os
import random
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

START_SECONDS = 60.0
STOP_SECONDS = 15.0

CLUSTER = "bWFsYWNhdGUta2Fma2EtMQ"
_JAVA = ["-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto"]
_JAVA += ["-Dorg.slf4j.simpleLogger.defaultLogLevel=error"]


@dataclass
class Broker:
    """One over ``folder``, with its log in it; its ``url`` stays as it is over all its lives."""

    url: str
    port: int
    program: Sequence[str]
    folder: Path
    variables: Mapping[str, str] = field(default_factory=dict)
    process: "subprocess.Popen[bytes] | None" = None

    def start(self) -> None:
        """Start it, again if it was killed; it takes clients when this returns."""
        assert self.process is None or self.process.poll() is not None, "it runs already"
        log = self.folder / "log"
        with log.open("ab") as out:
            self.process = subprocess.Popen(
                self.program, stdout=out, stderr=out, stdin=subprocess.DEVNULL, cwd=self.folder,
                env={**os.environ, **self.variables},
            )  # fmt: skip
        if not self._answers(self.process):
            self.kill()
            told = log.read_bytes()[-2000:]
            pytest.fail(f"{self.program[0]} did not start: {told!r}", pytrace=False)

    def kill(self) -> None:
        """End it as a crash does; what it had not written is lost."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def stop(self) -> None:
        """End it in order; one that takes too long is killed."""
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()

    def _answers(self, process: "subprocess.Popen[bytes]") -> bool:
        deadline = time.monotonic() + START_SECONDS
        while process.poll() is None and time.monotonic() < deadline:
            with suppress(OSError):
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return True
            time.sleep(0.05)
        return False


@contextmanager
def _running(broker: Broker) -> Iterator[Broker]:
    try:
        broker.start()
        yield broker
    finally:
        broker.kill()


@contextmanager
def mosquitto(
    program: Path, libraries: Path, folder: Path, settings: Mapping[str, object]
) -> Iterator[Broker]:
    """``settings`` are lines of its configuration, more than ours or in their place."""
    folder.mkdir(parents=True, exist_ok=True)
    port = _free_port()
    lines = {
        "listener": f"{port} 127.0.0.1",
        "user": "root",  # it stays who started it
        "allow_anonymous": "true",
        "persistence": "true",
        "persistence_location": f"{folder.resolve()}/",
        "autosave_interval": 1,
        "max_inflight_messages": 0,
        "max_queued_messages": 0,
        "max_queued_bytes": 0,
        "log_type": "error",
        **settings,
    }
    configuration = folder / "mosquitto.conf"
    configuration.write_text("".join(f"{name} {value}\n" for name, value in lines.items()))
    command = [str(program), "-c", str(configuration.resolve())]
    variables = {"LD_LIBRARY_PATH": str(libraries)}
    with _running(Broker(f"mqtt://127.0.0.1:{port}", port, command, folder, variables)) as broker:
        yield broker


@contextmanager
def kafka(jars: Path, folder: Path) -> Iterator[Broker]:
    """One node that is its own controller; a topic comes to be by its first message."""
    folder.mkdir(parents=True, exist_ok=True)
    port, controller = _free_port(), _free_port()
    properties = folder / "server.properties"
    properties.write_text(_kafka_properties(port, controller, folder.resolve() / "data"))
    java = [shutil.which("java") or "java", *_JAVA, "-cp", f"{jars}/*"]
    where = ["--config", str(properties.resolve())]
    format_ = [*java, "kafka.tools.StorageTool", "format", "-t", CLUSTER, "--ignore-formatted"]
    subprocess.run([*format_, *where], check=True, stdout=subprocess.DEVNULL, cwd=folder)
    command = [*java, "kafka.Kafka", str(properties.resolve())]
    with _running(Broker(f"127.0.0.1:{port}", port, command, folder)) as broker:
        yield broker


def _kafka_properties(port: int, controller: int, data: Path) -> str:
    return f"""\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
log.dirs={data}
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
broker.session.timeout.ms=2000
broker.heartbeat.interval.ms=500
"""


@contextmanager
def pubsub(program: Path, folder: Path) -> Iterator[Broker]:
    """All in memory: killed, it has no topics more."""
    folder.mkdir(parents=True, exist_ok=True)
    port = _free_port()
    address = f"127.0.0.1:{port}"
    with _running(Broker(address, port, [str(program), address], folder)) as broker:
        yield broker


def _free_port() -> int:
    """Below those that the kernel gives to clients: one that dials a dead broker could get its own
    port, and keep it.
    """
    while True:
        port = random.randrange(15_000, 32_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
