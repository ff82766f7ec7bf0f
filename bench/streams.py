"""120 geophones over mosquitto: messages a second, seconds until a row is there, memory.

A gateway publishes (QoS 1), ``malacate collect`` writes a file each half second, and a loader
brings the files to the raw table and its hours. A message is there when a query of the warehouse,
asked four times a second from outside, shows its row. ``loop`` loads again and again in one
process: the path by itself. ``daemon`` is Dagster's: its sensor asks each second, and each load is
a run in a process of its own. ``python bench/streams.py --minutes 10`` watches the collector's
memory.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread

import duckdb
import numpy as np
import psutil
from rich.console import Console
from rich.table import Table as Grid

sys.path.insert(0, str(Path(__file__).parent.parent))
from platform_tests.company import Company
from platform_tests.emulators import parts
from platform_tests.streams.slope import HOUR, TABLES, WORLD, slope

from acme.simulator.geophones import SENSORS
from acme.simulator.stream import Live
from acme.simulator.stream_gateway import Gateway
from malacate.components.declared import raw_assets
from malacate.errors import MalacateError
from malacate.orchestration.target import chosen

SPEEDS = (1.0, 10.0, 20.0, 30.0, 40.0)
SECONDS = 20.0
"""How long each speed is held."""

LATEST_SECONDS = 10.0
"""A speed holds if 95 of 100 messages are there so soon, and about as many come as are asked."""

TOLD = 0.97
"""Share of the readings that sensors tell."""

SAMPLE_SECONDS, PATIENCE_SECONDS = 10.0, 120.0
LOOK_SECONDS, REST_SECONDS = 0.25, 2.0
DEFINITIONS = """
from pathlib import Path

import dagster as dg

from malacate.components.declared import load_declared


@dg.definitions
def defs():
    return load_declared(Path(__file__).parent / "defs")
"""
NEW = (
    "select _batch_id, seq from raw_slope.vibration where _batch_id not in "
    "(select unnest({seen}::varchar[]))"
)
console = Console(width=120)


@dataclass(frozen=True)
class Run:
    """Messages that were sent, how many a second, and the seconds until each was there."""

    sent: int
    a_second: float
    waited: np.ndarray

    def row(self) -> list[str]:
        """As the table has it."""
        p50, p95 = np.percentile(self.waited, [50, 95])
        numbers = (self.a_second, p50, p95, self.waited.max())
        return [f"{self.sent:,}", *(f"{number:,.1f}" for number in numbers)]


@dataclass
class Slope:
    """The company with its collector and loader, all at work."""

    company: Company
    url: str
    folder: Path
    collector: psutil.Process
    seen: set[str] = field(default_factory=set)

    def run(self, speed: float, seconds: float, hour: int) -> Run:
        """Send, and ask what is there until all is."""
        told, count = self.folder / f"sent-{hour}.json", round(seconds * speed)
        sender = part("send", self.url, hour, speed, count, told)
        first = WORLD.end_s - WORLD.start_s + 3600 * hour
        wanted, came = range(first, first + count), dict[int, list[float]]()
        latest = time.monotonic() + seconds + PATIENCE_SECONDS
        while len(came) < count:
            if time.monotonic() > latest or sender.poll():
                said = (self.folder / "log").read_text()[-3000:]
                raise SystemExit(f"{len(came)} of {count} seconds are there\n{said}")
            time.sleep(LOOK_SECONDS)
            self._look(came, wanted)
        for _ in range(round(REST_SECONDS / LOOK_SECONDS)):  # the rest of the last second
            time.sleep(LOOK_SECONDS)
            self._look(came, wanted)
        sender.wait(60)
        sent = {int(seq): at for seq, at in json.loads(told.read_text()).items()}
        waited = [at - sent[seq] for seq, instants in came.items() for at in instants]
        took = max(sent.values()) - min(sent.values()) + 1 / speed
        return Run(len(waited), len(waited) / took, np.array(waited))

    def _look(self, came: dict[int, list[float]], wanted: range) -> None:
        query = NEW.format(seen=sorted(self.seen))
        try:
            rows = self.company.ingest.warehouse.query(query).to_pydict()
        except (MalacateError, duckdb.CatalogException):
            return  # the table is not there yet
        now = time.time()
        for seq in rows["seq"]:
            if seq in wanted:
                came.setdefault(seq, []).append(now)
        self.seen |= set(rows["_batch_id"])


@contextmanager
def at_work(loader: str) -> Iterator[Slope]:
    """Everything started, and warm: a first minute is loaded."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench")))
        broker = stack.enter_context(parts.mosquitto(folder / "broker"))
        company = stack.enter_context(slope(folder / "company", broker.port))
        company.write("definitions.py", DEFINITIONS)
        os.environ.update(DAGSTER_HOME=str(folder), PYTHONPATH=str(company.folder))
        os.environ["SLOPE_PACKAGE"] = company.name
        shutil.copy(Path(__file__).parent.parent / "dagster.yaml", folder)
        code = "from malacate.cli import main; main()"
        log = stack.enter_context((folder / "log").open("ab"))
        collector = subprocess.Popen([sys.executable, "-c", code, "collect", "slope"], stderr=log)
        stack.callback(collector.kill)
        if loader == "loop":
            loads = part("load")
        else:
            daemon = Path(sys.executable).with_name("dagster-daemon")
            command = [str(daemon), "run", "-w", "workspace.yaml"]
            loads = subprocess.Popen(command, stdout=log, stderr=log, cwd=company.folder)
        stack.callback(_ended, loads)
        made = Slope(company, f"{broker.url}/mine", folder, psutil.Process(collector.pid))
        made.run(60.0, 1.0, HOUR - 4)
        yield made


def _ended(process: "subprocess.Popen[bytes]") -> None:
    below = psutil.Process(process.pid).children(recursive=True)
    process.terminate()
    process.wait(60)
    for one in below:
        if one.is_running():
            one.kill()


def part(name: str, *arguments: object) -> "subprocess.Popen[bytes]":
    """A process of this bench."""
    return subprocess.Popen(
        [sys.executable, str(Path(__file__).resolve()), f"--{name}", *map(str, arguments)]
    )


def send(url: str, hour: str, speed: str, seconds: str, told: str) -> None:
    """Publish, and note when each second of the mine was sent."""
    live, at = Live(WORLD, int(hour), int(seconds)), dict[int, float]()
    first = live.world.end_s - live.world.start_s + 3600 * live.hour
    with Gateway(url, 0.0) as gateway:
        begun = time.monotonic()
        for number, messages in enumerate(live.told()):
            gateway.wait_until(begun + number / float(speed))
            at[first + number] = time.time()
            for topic, message in messages:
                gateway.send(topic, message)
        gateway.flush()
    Path(told).write_text(json.dumps(at))


def load() -> None:
    """Bring files to the raw table and its hours, until ended."""
    here = Path.cwd() / os.environ["SLOPE_PACKAGE"]
    routes = {raw.key.to_user_string(): raw.route for raw in raw_assets(here / "defs")}
    ingest = chosen(here / "targets.yaml").open()
    while True:
        begun = time.monotonic()
        ingest.run(routes[TABLES[0]])
        time.sleep(max(0.2 - (time.monotonic() - begun), 0.0))


def speeds(loader: str, chosen_speeds: Sequence[float]) -> float:
    """A table, a line for each speed; messages a second of the highest that holds."""
    grid = Grid("asked a second", "messages", "a second", "p50 s", "p95 s", "longest s",
                "collector MB", title=f"120 sensors, loaded by a {loader}")  # fmt: skip
    held = 0.0
    with at_work(loader) as made:
        for number, speed in enumerate(chosen_speeds):
            run = made.run(speed, SECONDS, HOUR + 1 + number)
            asked = speed * SENSORS
            holds = np.percentile(run.waited, 95) < LATEST_SECONDS
            if holds and run.a_second > 0.9 * asked * TOLD:
                held = max(held, run.a_second)
            memory = made.collector.memory_info().rss / 2**20
            grid.add_row(f"{asked:,.0f}", *run.row(), f"{memory:.0f}")
    console.print(grid)
    return held


def memory(minutes: float, speed: float) -> None:
    """Watch the collector's memory, a sample each ten seconds, while messages come."""
    samples = list[tuple[float, float]]()
    with at_work("loop") as made:
        ended, begun = Event(), time.monotonic()

        def watch() -> None:
            while not ended.wait(SAMPLE_SECONDS):
                rss = made.collector.memory_info().rss / 2**20
                samples.append(((time.monotonic() - begun) / 60, rss))

        watcher = Thread(target=watch)
        watcher.start()
        run = made.run(speed, 60 * minutes, HOUR + 1)
        ended.set()
        watcher.join()
    console.print("collector, MB each 10 s:", " ".join(f"{rss:.0f}" for _, rss in samples))
    slope_mb = np.polyfit(*zip(*samples, strict=True), 1)[0]
    half = len(samples) // 2
    first, second = (
        np.median([rss for _, rss in some]) for some in (samples[:half], samples[half:])
    )
    _, p50, p95, longest = run.row()[1:]
    console.print(
        f"{run.sent:,} messages in {minutes:g} minutes, {run.a_second:,.0f} a second: p50 {p50} s, "
        f"p95 {p95} s, longest {longest} s; collector at most {max(r for _, r in samples):.0f} MB, "
        f"{slope_mb:+.2f} MB a minute, median {first:.0f} in the first half, {second:.0f} in the "
        "second"
    )


def main(minutes: float = 0.0) -> None:
    """All speeds with a loop, one a second with the daemon; with ``minutes`` memory instead."""
    if not parts.MOSQUITTO.mark.exists():
        console.print("no mosquitto: python -m platform_tests.emulators.install mosquitto")
        return
    if minutes:
        memory(minutes, 10.0)
        return
    held = speeds("loop", SPEEDS)
    console.print(
        f"the highest that holds (p95 below {LATEST_SECONDS:.0f} s): {held:,.0f} a second"
    )
    speeds("daemon", SPEEDS[:1])


if __name__ == "__main__":
    options = argparse.ArgumentParser()
    options.add_argument("--minutes", type=float, default=0.0)
    options.add_argument("--send", nargs=5)
    options.add_argument("--load", action="store_true")
    given = options.parse_args()
    if given.send:
        send(*given.send)
    elif given.load:
        load()
    else:
        main(given.minutes)
