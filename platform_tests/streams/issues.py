"""The mine's phones over mosquitto, while the collector dies: what is lost, what is told twice.

``python platform_tests/streams/issues.py --kills 5``; exit 1 on a violation.
"""

import argparse
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from unittest.mock import patch

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import pyarrow.parquet as pq
from platform_tests.company import Company
from platform_tests.emulators import parts
from platform_tests.faults.cases import KILLED
from platform_tests.faults.processes import Process, apart, warm
from platform_tests.faults.verdict import Verdict
from platform_tests.streams.fleet import PATIENCE_SECONDS, STEPS
from platform_tests.streams.mobile import HOUR, NAME, WORLD, judge, mobile, severe_of

from acme.simulator import phones
from acme.simulator.commands import Of, stream
from acme.simulator.stream_phones import LivePhones
from acme.simulator.world import HOUR as HOUR_S
from malacate.alarms.sender import Sender
from malacate.commands.collect import collect
from malacate.ledger import alarms, outbox

AIMS = (*STEPS, "alarm_sent")
"""Who dies at the last has told an alarm and has not noted it: it is told again."""

LEASE_SECONDS = 1.0
"""How long an alarm is left alone that a dead collector was about to tell."""


@dataclass(frozen=True)
class Storm:
    """``kills`` of the collector, each at a step of its work, while ``hours`` of the mine come."""

    hours: int
    speed: float
    kills: int
    seed: int = 7

    @property
    def live(self) -> LivePhones:
        return LivePhones(WORLD, HOUR, self.hours * HOUR_S)

    def run(self, root: Path) -> Verdict:
        """Kill, let it end, load, judge."""
        begun, chance = time.monotonic(), random.Random(self.seed)
        aims = [f"{point}:{chance.randint(1, 3)}" for point in islice(cycle(AIMS), self.kills)]
        with (
            parts.mosquitto(root / "broker") as broker,
            mobile(root / "company", broker.port) as company,
        ):
            sender = apart(root, partial(self._send, broker.url), limit_seconds=PATIENCE_SECONDS)
            codes = [_collector(root, aim).wait() for aim in aims]
            ended = self._drained(root, company, sender)
            verdict = judge(company, self.live, (root / "stderr.log").read_text())
        if (*codes, ended) != (*[KILLED] * self.kills, 0):
            verdict.problems.append(f"collectors ended with {codes}, the last with {ended}")
        if verdict.hits["again"] > self.kills:
            verdict.problems.append(f"{verdict.hits['again']} alarms were told again")
        verdict.injected = len(codes)
        verdict.hits["seconds"] = round(time.monotonic() - begun)
        return verdict

    def _send(self, url: str) -> int:
        stream(
            f"{url}/mine", of=Of.PHONES, seconds=self.hours * HOUR_S, speed=self.speed, hour=HOUR,
            saved_seconds=0.0, seed=WORLD.seed, as_json=True,
        )  # fmt: skip
        return 0

    def _drained(self, root: Path, company: Company, sender: Process) -> int:
        """Let a last collector take in what is left, and tell it; how it ended."""
        collector = _collector(root)
        assert sender.wait(PATIENCE_SECONDS) == 0, (root / "stderr.log").read_text()[-2000:]
        wanted = {data for second in self.live.told() for _, data in second}
        ledger, severe = company.ingest.ledger, len(severe_of(self.live))
        _wait(lambda: wanted <= _collected(company))
        _wait(lambda: len(alarms.standing(ledger, NAME)) >= severe)
        _wait(lambda: {row["state"] for row in outbox.states(ledger)} <= {"sent"})
        collector.send(signal.SIGTERM)
        return collector.wait(60)


def _collector(root: Path, aim: str = "") -> Process:
    def service() -> int:
        quick = partial(Sender, lease_seconds=LEASE_SECONDS)
        with patch("malacate.commands.collect.Sender", quick):
            collect("mobile", None, 1.0)
        return 0

    return apart(root, service, aim, limit_seconds=PATIENCE_SECONDS)


def _wait(is_so: Callable[[], bool], seconds: float = 30.0) -> None:
    """Until it is so, or no longer: what is amiss then is judged."""
    until = time.monotonic() + seconds
    while not is_so() and time.monotonic() < until:
        time.sleep(0.2)


def _collected(company: Company) -> set[bytes]:
    files = company.drops.rglob("*.parquet")
    return {one for file in files for one in pq.read_table(file)["data"].to_pylist()}


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--kills", type=int, default=5)
    options.add_argument("--hours", type=int, default=96, help="of the mine's time")
    options.add_argument("--speed", type=float, default=48_000.0)
    options.add_argument("--seed", type=int, default=7)
    options.add_argument("--folder", type=Path, help="keep what comes of it there")
    asked = options.parse_args()
    warm()
    storm = Storm(asked.hours, asked.speed, asked.kills, asked.seed)
    with tempfile.TemporaryDirectory(prefix="issues") as folder:
        verdict = storm.run(asked.folder or Path(folder))
    sent, hits = phones.known(storm.live.received()), verdict.hits
    print(
        f"{asked.kills} kills of the collector, {sent['messages']} messages of {sent['events']}"
        f" events of {len(sent['issues'])} issues:"
        f" lost {verdict.lost}, twice {verdict.twice}, wrong {verdict.wrong} in table and alarms;"
        f" {hits['copies']} copies came, {hits['incidents']} incidents, {hits['again']} told again"
        f" under their key, {hits['seconds']} s, seed {asked.seed}"
    )
    for problem in verdict.problems:
        print(f"   VIOLATION {problem}")
    return 0 if verdict.is_good else 1


if __name__ == "__main__":
    sys.exit(main())
