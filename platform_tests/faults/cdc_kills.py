"""Readers of a slot that die at every step while writers go on; at the end both sides are equal."""

import random
import signal
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from platform_tests.faults.cases import KILLED, Case, Size
from platform_tests.faults.cdc_mine import ADD_COLUMN, Mine, server, writing
from platform_tests.faults.cdc_reader import judge, work
from platform_tests.faults.processes import BROKEN, HUNG, Process, apart
from platform_tests.faults.verdict import Verdict
from platform_tests.faults.worker import DONE

PEEK = ("peeked", "seen")
LAND = ("claim_before_commit", "claimed", "staged", "part_torn", "parsed",
        "landing_before_manifest", "landed")  # fmt: skip
PUBLISH = ("tx_checked", "tx_rows", "tx_marker/publish", "committed/publish", "closed", "loaded",
           "cleaned")  # fmt: skip
ADVANCE = ("slot_before_advance", "slot_advanced")
POINTS = (*PEEK, *LAND, *PUBLISH, *ADVANCE)
"""What every step passes; a slot is created once."""

RANDOM = "random moments"
STEPS = {
    "peek": ("slot_created", *PEEK), "land": LAND, "publish": PUBLISH, "advance": ADVANCE,
    "at random": (RANDOM,),
}  # fmt: skip
PATIENCE_SECONDS = 60.0


@dataclass(frozen=True)
class Storm:
    """Kills one after the other; an empty aim is a random moment. In a ``pair``, another worker
    reads at the same time. A ``script`` that is run after each kill takes the place of writers.
    """

    name: str
    aims: Sequence[str]
    seed: int
    pair: bool = False
    mutant: str = ""
    script: Sequence[str] = ()

    def case(self) -> Case:
        """It as a case."""
        return Case(self.name, self.run)

    def run(self, root: Path) -> Verdict:
        """Kill under writers, let them stop, drain, compare."""
        mine = Mine.on(server())
        try:
            mine.run(f"select pg_create_logical_replication_slot('{mine.witness}', 'pgoutput')")
            died, codes = self._storm(root, mine)
            calm = self._calm(root, mine)
            if calm.is_good:
                calm = judge(root, mine)
        finally:
            mine.forget()
        calm.injected, calm.hits = died.total(), dict(died)
        if odd := set(codes) - {KILLED, DONE, 3}:
            calm.problems.append(f"workers ended with {odd}")
        return calm

    def _storm(self, root: Path, mine: Mine) -> tuple[Counter[str], list[int]]:
        choice, died, codes = random.Random(self.seed), Counter[str](), list[int]()
        with writing(mine, root, self.seed) if not self.script else nullcontext() as writers:
            other = self._worker(root, mine) if self.pair else None
            for number, aim in enumerate(self.aims):
                point, _, hit = aim.partition(":")
                if writers is not None:
                    writers.turn()
                if int(hit or 1) > 1 and point in (*PEEK, *ADVANCE):
                    mine.burst()
                if number == len(self.aims) // 2:
                    mine.together(ADD_COLUMN)
                child = self._worker(root, mine, aim)
                if not aim:
                    time.sleep(choice.uniform(0.02, 1.2))
                    child.send(signal.SIGKILL)
                codes.append(child.wait(PATIENCE_SECONDS))
                died[point or RANDOM] += codes[-1] == KILLED
                mine.run(*self.script)
                if other is not None and other.poll() is not None:
                    codes.append(other.wait())
                    other = self._worker(root, mine)
            if other is not None:
                codes.append(other.wait(PATIENCE_SECONDS))
        return +died, codes

    def _worker(self, root: Path, mine: Mine, at: str = "") -> Process:
        return apart(root, lambda: work(root, mine), at, self.mutant)

    def _calm(self, root: Path, mine: Mine) -> Verdict:
        """Without kills, until a step has nothing to complain of."""
        codes: list[int] = []
        while DONE not in codes and len(codes) < 3:
            codes.append(self._worker(root, mine).wait(PATIENCE_SECONDS))
            if codes[-1] in (BROKEN, HUNG):
                break
        if DONE in codes:
            return Verdict()
        if BROKEN in codes:
            said = (root / "stderr.log").read_text()[-1500:]
            return Verdict(problems=[f"the history ended with {codes}: {said}"])
        said = [path.read_text()[-1500:] for path in root.glob("errors.jsonl")]
        return Verdict(problems=[f"did not finish: {codes} {said}"])


def kill_cases(size: Size, seed: int, mutant: str = "") -> list[Case]:
    """Every point at its 1st, 2nd and 3rd passing, random moments, one worker and two."""
    choice = random.Random(seed)
    if not size.is_long:
        some = [choice.choice(step) for step in (PEEK, LAND, PUBLISH, ADVANCE)]
        some += [p for p in ("peeked", "landed", "tx_rows", "slot_before_advance") if p not in some]
        first = ["slot_created:1", *(f"{point}:1" for point in some)]
        second = [f"{choice.choice(POINTS)}:{hit}" for hit in (1, 1, 2)] + ["", "", ""]
        return [
            Storm("slot, one worker", first, seed, mutant=mutant).case(),
            Storm("slot, two workers", second, seed + 1, True, mutant).case(),
            copied_late(mutant),
        ]
    storms = []
    for hit in (1, 2, 3):
        aims = [f"{point}:{hit}" for point in POINTS]
        choice.shuffle(aims)
        name = f"slot, one worker, passing {hit}"
        storms.append(Storm(name, ["slot_created:1", *aims], seed + hit, mutant=mutant))
    for number in (4, 5):
        aims = [*(f"{choice.choice(POINTS)}:1" for _ in range(6)), *[""] * 8]
        choice.shuffle(aims)
        name = f"slot, two workers, {number}"
        storms.append(Storm(name, aims, seed + number, True, mutant))
    return [*(storm.case() for storm in storms), copied_late(mutant)]


MOVED = (
    "update app.haul set id = (select max(id) from app.haul) + id where id between 1 and 5",
    "update app.haul set id = id + 1, tonnes = 3 where id = (select max(id) from app.haul)",
    "insert into app.haul select i, 0, 'in its place' from generate_series(1, 3) i",
)
"""Keys move, and leave large values out, while nobody has their rows yet."""


def copied_late(mutant: str = "") -> Case:
    """Died with the slot created and the tables not copied, and again while they were."""
    aims = ("slot_created:1", "claimed:1", "parsed:2", "landed:1")
    return Storm("slot, copied late", aims, 1, mutant=mutant, script=MOVED).case()


def hunt_cases(seed: int, mutant: str) -> list[Case]:
    """A short storm, whose kills planted bugs cannot pass."""
    aims = ["landed:2", "slot_before_advance:2", "tx_rows/publish:2", "landed:1"]
    return [Storm("slot, hunted", aims, seed, mutant=mutant).case(), copied_late(mutant)]
