"""Collectors in processes of their own, numbered messages, and what stands in the files."""

import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread

import pyarrow.parquet as pq
from platform_tests.length import IS_LONG

from malacate.errors import SourceUnreachable
from malacate.sources.streams.message import Message
from malacate.sources.streams.transport import Transport

WORKER = Path(__file__).with_name("worker.py")
WAIT_SECONDS = 120.0
KILLS = 30 if IS_LONG else 3
NUMBERS = range(20_000 if IS_LONG else 5_000)
"""What is published while a collector is killed."""


class Collecting:
    """A stream's collector, started again and again: its files stand in ``folder``."""

    def __init__(self, url: str, name: str, folder: Path, **bounds: float) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self._log = folder, folder.parent / f"{name}-{id(self)}.log"
        self._command = [sys.executable, str(WORKER), url, name, str(folder), json.dumps(bounds)]
        self._process: subprocess.Popen[bytes] | None = None
        self._starts = 0
        self._read: dict[Path, list[int]] = {}

    def start(self, **variables: str) -> "subprocess.Popen[bytes]":
        self._starts += 1
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, stdout=log, stderr=log, env={**os.environ, **variables}
            )
        return self._process

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def end(self) -> int:
        """As a supervisor ends a service; its exit code."""
        assert self._process is not None
        assert waited(self.has_started)
        self._process.terminate()
        return self._process.wait(60)

    @contextmanager
    def running(self, **variables: str) -> Iterator["subprocess.Popen[bytes]"]:
        process = self.start(**variables)
        try:
            yield process
        finally:
            self.kill()

    def has_started(self) -> bool:
        return self.log.count("started\n") == self._starts

    @property
    def log(self) -> str:
        return self._log.read_text()

    def counted(self) -> Counter[int]:
        """How often each number stands in the files."""
        for path in set(self.folder.rglob("*.parquet")) - self._read.keys():
            data = pq.read_table(path, columns=["data"]).column("data").to_pylist()
            self._read[path] = [json.loads(one)["n"] for one in data]
        return Counter(number for numbers in self._read.values() for number in numbers)

    def holds(self, numbers: range) -> bool:
        """Whether all of ``numbers`` come to stand in the files in time."""
        missing = set(numbers)
        return waited(lambda: not missing.difference(self.counted()))


def waited(is_so: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + WAIT_SECONDS
    while not is_so():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True


def received(transport: Transport, count: int) -> list[Message]:
    """The next ``count``, while the broker may be away."""
    found: list[Message] = []
    deadline = time.monotonic() + WAIT_SECONDS
    while len(found) < count:
        assert time.monotonic() < deadline, len(found)
        with suppress(SourceUnreachable):
            found += transport.receive(count - len(found), 0.2)
    return found


def payload(number: int) -> bytes:
    return b'{"n": %d, "ppv_mm_s": %.3f}' % (number, number / 7)


def killed_while(
    publish: Callable[[], None], collecting: Collecting, kills: int, seed: int
) -> None:
    """Kill the collector at random moments of its work, while ``publish`` runs and behind it."""
    chance, publisher = random.Random(seed), Thread(target=publish)
    collecting.start()
    publisher.start()
    for _ in range(kills):
        assert waited(collecting.has_started)
        time.sleep(chance.uniform(0, 1.5))
        collecting.kill()
        collecting.start()
    publisher.join()
