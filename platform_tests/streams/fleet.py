"""120 geophones over mosquitto, while the collector and the broker die: what is lost, what twice.

``python platform_tests/streams/fleet.py --kills 30 --broker-kills 3``; exit 1 on a violation.
"""

import argparse
import random
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import dagster as dg
from platform_tests.company import Company, run_to_end
from platform_tests.emulators import parts
from platform_tests.emulators.brokers import Broker
from platform_tests.faults.cases import KILLED
from platform_tests.faults.processes import Process, apart, warm
from platform_tests.faults.verdict import Verdict
from platform_tests.streams import slope
from platform_tests.streams.slope import HOUR, TABLES, WORLD

from acme.simulator.stream import Live, publish
from malacate.commands.collect import collect

STEPS = ("collected_before_file", "collected_file", "collected_acknowledged")
SAVED_SECONDS = 5.0
"""The broker saves each second or two, while it answers."""

PATIENCE_SECONDS, QUIET_SECONDS = 600.0, 20.0  # a mutant's history waits in vain


@dataclass(frozen=True)
class Storm:
    """``kills`` of the collector, at its steps and at random moments in turn, and some of the
    broker among them, while ``seconds`` of the mine are sent.
    """

    seconds: int
    speed: float
    kills: int
    broker_kills: int
    seed: int = 7
    mutant: str = ""

    @property
    def live(self) -> Live:
        return Live(WORLD, HOUR, self.seconds)

    def run(self, root: Path) -> Verdict:
        """Kill, let it end, load, judge."""
        begun = time.monotonic()
        with (
            parts.mosquitto(root / "broker") as broker,
            slope.slope(root / "company", broker.port) as company,
        ):
            sender = apart(root, lambda: self._send(broker.url), limit_seconds=PATIENCE_SECONDS)
            codes, during = self._kill(root, broker, sender)
            ended = self._drained(root, company, sender)
            load(company)
            verdict, copies = slope.judge(company, self.live)
        if (*codes, ended) != (*[KILLED] * self.kills, 0):
            verdict.problems.append(f"collectors ended with {codes}, the last with {ended}")
        if sum(during) <= self.kills / 2 and not self.mutant:
            verdict.problems.append(f"all was sent when {sum(during)} kills were done")
        verdict.injected = len(codes) + self.broker_kills
        seconds = round(time.monotonic() - begun)
        verdict.hits = {"during": sum(during), "copies": copies, "seconds": seconds}
        return verdict

    def _send(self, url: str) -> int:
        publish(self.live, f"{url}/mine", self.speed, SAVED_SECONDS)
        return 0

    def _kill(self, root: Path, broker: Broker, sender: Process) -> tuple[list[int], list[bool]]:
        """How each collector ended, and whether more was being sent then."""
        chance, codes, during = random.Random(self.seed), list[int](), list[bool]()
        every = self.kills // max(self.broker_kills, 1)
        for number, aim in zip(range(self.kills), self._aims(chance), strict=False):
            codes.append(died(self._collector(root, aim), 20.0 if aim else chance.uniform(0.5, 4)))
            during.append(sender.poll() is None)
            if self.broker_kills and number % every == every - 1:
                time.sleep(chance.uniform(0.2, 1.5))  # what came meanwhile is with it alone
                broker.kill()
                time.sleep(chance.uniform(0, 2))
                broker.start()
        return codes, during

    def _aims(self, chance: random.Random) -> Iterator[str]:
        while True:
            for point in STEPS:
                yield f"{point}:{chance.randint(1, 4)}"
                yield ""

    def _collector(self, root: Path, aim: str = "") -> Process:
        def service() -> int:
            collect("slope", None, 1.0)
            return 0

        return apart(root, service, aim, self.mutant, PATIENCE_SECONDS)

    def _drained(self, root: Path, company: Company, sender: Process) -> int:
        """Let a last collector take in what is left; how it ended."""
        collector, wanted = self._collector(root), slope.told(self.live)
        assert sender.wait(PATIENCE_SECONDS) == 0, (root / "stderr.log").read_text()[-2000:]
        files, since = 0, time.monotonic()
        while time.monotonic() - since < QUIET_SECONDS:
            found = sum(1 for _ in company.drops.rglob("*.parquet"))
            if found == files:
                time.sleep(0.5)
                continue
            files, since = found, time.monotonic()
            if not wanted - slope.collected(company):
                break
        collector.send(signal.SIGTERM)
        return collector.wait(60)


def died(collector: Process, seconds: float) -> int:
    """Its exit code, once it died at its point; killed if it has not after ``seconds``."""
    until = time.monotonic() + seconds
    while collector.poll() is None and time.monotonic() < until:
        time.sleep(0.02)
    collector.send(signal.SIGKILL)
    return collector.wait(10)


def load(company: Company) -> None:
    """By the component's asset, as the daemon does it."""
    with dg.DagsterInstance.ephemeral() as instance:
        run_to_end(company, TABLES, instance)


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--kills", type=int, default=3)
    options.add_argument("--broker-kills", type=int, default=1)
    options.add_argument("--seconds", type=int, default=300, help="of the mine's time")
    options.add_argument("--speed", type=float, default=10.0)
    options.add_argument("--seed", type=int, default=7)
    asked = options.parse_args()
    warm()
    storm = Storm(asked.seconds, asked.speed, asked.kills, asked.broker_kills, asked.seed)
    with tempfile.TemporaryDirectory(prefix="fleet") as folder:
        verdict = storm.run(Path(folder))
    sent, hits = sum(map(len, storm.live.told())), verdict.hits
    print(
        f"{asked.kills} kills of the collector, {hits['during']} while sending,"
        f" {asked.broker_kills} of the broker, {sent} messages of 120 sensors:"
        f" lost {verdict.lost}, twice {verdict.twice}, wrong {verdict.wrong} in table and hours;"
        f" {hits['copies']} copies came, {hits['seconds']} s, seed {asked.seed}"
    )
    for problem in verdict.problems:
        print(f"   VIOLATION {problem}")
    return 0 if verdict.is_good else 1


if __name__ == "__main__":
    sys.exit(main())
