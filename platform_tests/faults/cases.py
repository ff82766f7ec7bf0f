"""The histories that a world is put through: single and double kills, zombies, amnesia."""

import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from platform_tests.faults import points
from platform_tests.faults.processes import worker
from platform_tests.faults.verdict import Verdict, judge
from platform_tests.faults.worker import DONE, Orders
from platform_tests.faults.world import World

KILLED = -int(signal.SIGKILL)
LEASE = 0.4


@dataclass(frozen=True)
class Size:
    """How much of the world takes part: the short form has fewer routes, acts and turns."""

    is_long: bool

    def orders(self, **more: Any) -> Orders:
        """Orders for a worker of this size."""
        return Orders(
            **{"acts": 3, "routes": 3} if self.is_long else {"acts": 2, "routes": 2}, **more
        )

    def turns(self, point: str, hit: int) -> list[int]:
        """Which routes come first. Few routes must still pass the point ``hit`` times."""
        if self.is_long:
            return [0, 1, 2, 3, 4]
        if point in points.OF_FILES:
            return [(0, 4, 0)[hit - 1]]
        return [(sorted(points.in_code() | {point}).index(point) + 2 * hit) % 5]


@dataclass(frozen=True)
class Case:
    """One history; ``run`` leaves a world behind and says what it came to."""

    name: str
    run: Callable[[Path], Verdict]
    aim: str = ""


def recovered(root: Path, orders: Orders, injected: int) -> Verdict:
    """Restart without faults until nothing is left, then judge."""
    calm = replace(orders, crash="", pause="", deadly="", lease_seconds=300.0)
    if orders.mutant:
        calm = replace(calm, rounds=4)
    codes = []
    while DONE not in codes and len(codes) < (1 if orders.mutant else 3):
        codes.append(worker(root, calm).wait(30))
    if DONE not in codes:
        errors = [p.read_text()[-1500:] for p in root.glob("*.jsonl")]
        return Verdict(problems=[f"did not finish: {codes} {errors}"], injected=injected)
    verdict = judge(root, orders)
    verdict.injected = injected
    return verdict


def kill(at: str, orders: Orders) -> Case:
    """Die at one point, once."""

    def run(root: Path) -> Verdict:
        code = worker(root, replace(orders, crash=at)).wait()
        return recovered(root, orders, int(code == KILLED))

    return Case(f"kill {at} turn {orders.turn}", run, at.partition(":")[0])


def kill_matrix(size: Size, mutant: str = "") -> list[Case]:
    """Every point, at its 1st, 2nd and 3rd passing; routes take turns in being hit first."""
    return [
        kill(f"{point}:{hit}", size.orders(turn=turn, mutant=mutant))
        for point in points.with_publish()
        for hit in (1, 2, 3)
        for turn in size.turns(point, hit)
    ]


def kill_twice(pair: tuple[str, str], orders: Orders) -> Case:
    """Die, and die again while recovering."""

    def run(root: Path) -> Verdict:
        codes = [worker(root, replace(orders, crash=at)).wait() for at in pair]
        return recovered(root, orders, codes.count(KILLED))

    return Case(f"kill {pair[0]} then {pair[1]} turn {orders.turn}", run)


def double_kills(size: Size, number: int, seed: int) -> list[Case]:
    """Ordered pairs, sampled."""
    choice = random.Random(seed)
    places = [f"{point}:{hit}" for point in points.with_publish() for hit in (1, 2, 3)]
    pairs = [(choice.choice(places), choice.choice(places)) for _ in range(number)]
    return [kill_twice(pair, size.orders(turn=choice.randrange(5))) for pair in pairs]


def producer_takes_away(at: str, orders: Orders) -> Case:
    """Die with the first drop staged or landed; then its source is gone."""

    def run(root: Path) -> Verdict:
        code = worker(root, replace(orders, crash=at, acts=1)).wait()
        World(root).remove("weighing/a.csv")
        return recovered(root, orders, int(code == KILLED))

    return Case(f"source gone after {at}", run)


def sources_gone(size: Size, mutant: str = "") -> list[Case]:
    """From the moment on that ``input`` has a complete copy, the source is not needed."""
    after = ("input_after_rename", "staged", "parsed", "landed", "tx_rows", "committed/publish")
    return [producer_takes_away(f"{at}:1", size.orders(mutant=mutant)) for at in after]


def poison(size: Size) -> Case:
    """No worker survives one object: it ends as poison, everything else is loaded."""
    orders = size.orders(deadly="late.csv", rounds=30)

    def run(root: Path) -> Verdict:
        codes = []
        while DONE not in codes and len(codes) < 6:
            codes.append(worker(root, orders).wait())
        model = World(root)
        model.model["files"]["weighing/late.csv"]["rows"] = []
        model.save()
        verdict = judge(root, orders)
        verdict.injected = codes.count(KILLED)
        if codes != [KILLED] * 3 + [DONE]:
            verdict.problems.append(f"workers ended with {codes}")
        return verdict

    return Case("poison", run)


def zombie(at: str, orders: Orders) -> Case:
    """Stopped past its lease, overtaken, and awake again."""
    quick = replace(orders, lease_seconds=LEASE, patience_seconds=0.7, max_crashes=99)

    def run(root: Path) -> Verdict:
        sleeper = worker(root, replace(quick, pause=at))
        was_stopped = sleeper.stopped()
        time.sleep(LEASE + 0.1)
        other = worker(root, quick)
        until = time.monotonic() + (0.5 if at.partition(":")[0] in points.LOCKED else 3)
        while other.poll() is None and time.monotonic() < until:
            time.sleep(0.01)
        sleeper.send(signal.SIGCONT)
        sleeper.wait()
        other.wait()
        return recovered(root, orders, int(was_stopped))

    return Case(f"zombie {at} turn {orders.turn}", run)


def zombies(size: Size, mutant: str = "") -> list[Case]:
    """One at every point."""
    return [
        zombie(f"{point}:{hit}", size.orders(turn=turn, mutant=mutant))
        for point in points.with_publish()
        for hit in ((1, 2) if size.is_long else (1,))
        for turn in size.turns(point, hit)[: 3 if hit == 1 else 1]
    ]


def amnesia(what: str, at: str, orders: Orders) -> Case:
    """Killed; then a database is lost; then everything goes on."""

    def run(root: Path) -> Verdict:
        code = worker(root, replace(orders, crash=at)).wait()
        if what == "ledger, later warehouse":
            lose(root, "ledger")
            worker(root, replace(orders, acts=max(World(root).act, 1))).wait()
            lose(root, "warehouse")
        else:
            for one in what.split(" and "):
                lose(root, one)
        return recovered(root, orders, int(code == KILLED))

    return Case(f"{what} lost after {at} turn {orders.turn}", run)


MOMENTS = ("claimed:4", "landed:4", "tx_rows:3", "committed/publish:4", "loaded:4")


def amnesias(size: Size, mutant: str = "") -> list[Case]:
    """Ledger, warehouse, both, one after the other; at five moments each."""
    lost = ("ledger", "warehouse", "ledger and warehouse", "ledger, later warehouse")
    return [
        amnesia(what, at, size.orders(turn=turn + 2 * index, mutant=mutant))
        for index, what in enumerate(lost)
        for turn, at in enumerate(MOMENTS)
    ]


def lose(root: Path, what: str) -> None:
    """Delete a database with its journals."""
    for file in root.glob("ledger.db*" if what == "ledger" else "warehouse.duckdb*"):
        file.unlink()
