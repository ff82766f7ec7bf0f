"""Two workers that die at any moment, while drops, overwrites and commits go on."""

import os
import random
import signal
import time
from collections import Counter
from pathlib import Path

from platform_tests.faults.cases import KILLED, Case, recovered
from platform_tests.faults.processes import worker
from platform_tests.faults.verdict import Verdict
from platform_tests.faults.worker import DONE, Orders
from platform_tests.faults.world import ACTS, World, event

SERVING = Orders(serve=True, max_crashes=1_000_000)
"""Without poison: a file must not be given up only because its workers were unlucky."""


def random_kills(kills: int, seed: int) -> Case:
    """``kills`` of them, then a calm end."""

    def run(root: Path) -> Verdict:
        choice, world = random.Random(seed), World(root)
        for act in range(1, ACTS + 1):
            world.perform(act)
        ends = _storm(root, world, choice, kills)
        verdict = recovered(root, Orders(max_crashes=SERVING.max_crashes), ends[KILLED])
        if by_itself := {code for code in ends if code not in (KILLED, DONE)}:
            verdict.problems.append(f"workers ended by themselves: {by_itself}")
        return verdict

    return Case(f"{kills} random kills, seed {seed}", run)


def _storm(root: Path, world: World, choice: random.Random, kills: int) -> Counter[int]:
    """How the workers ended. Some live long enough for a round of all routes, some do not."""
    pair = [worker(root, SERVING), worker(root, SERVING)]
    ends: Counter[int] = Counter()
    while ends.total() < kills:
        time.sleep(choice.expovariate(2.0))
        _deliver(world, choice)
        place = choice.randrange(2)
        pair[place].send(signal.SIGKILL)
        ends[pair[place].wait()] += 1
        pair[place] = worker(root, SERVING)
    (root / "stop").touch()
    ends.update(one.wait() for one in pair)
    return ends


def _deliver(world: World, choice: random.Random) -> None:
    """Something happens at the sources, and the model knows."""
    world.model["clock"] = now = world.model.get("clock", 100) + 1
    choice.choice((_new_drop, _shuffled, _overwritten, _again, _commit, _changes))(
        world, choice, now
    )
    world.save()


def _new_drop(world: World, choice: random.Random, now: int) -> None:
    rows = [[now * 10 + i, "t9", choice.choice((1.5, 2.5, -3.0))] for i in range(4)]
    world.drop(f"weighing/new {now}.csv", rows)


def _shuffled(world: World, choice: random.Random, now: int) -> None:
    """Files come in another order than their names, and say that they are hours old."""
    for number in choice.sample(range(3), 3):
        path = f"weighing/new {now} {number}.csv"
        world.drop(path, [[now * 10 + number, "t7", 6.5]])
        past = time.time() - choice.uniform(0, 9e4)
        os.utime(world.root / "drops" / path, (past, past))


def _overwritten(world: World, choice: random.Random, now: int) -> None:
    """One row fewer than before, or one more if none is left."""
    path = choice.choice([p for p in world.model["files"] if p.startswith("weighing/new")] or [""])
    if path:
        rows = world.model["files"][path]["rows"][1:]
        world.drop(path, rows or [[now * 10, "t8", 4.5]])


def _again(world: World, choice: random.Random, now: int) -> None:
    """The same bytes are delivered once more."""
    path = choice.choice([p for p in world.model["files"] if p.startswith("weighing/new")] or [""])
    if path:
        world.drop(path, world.model["files"][path]["rows"])


def _commit(world: World, choice: random.Random, now: int) -> None:
    rows = [row for row in world.model["purchase"] if choice.random() > 0.2]
    for row in rows:
        if choice.random() < 0.3:
            row[1:] = [now, f"v{now}"]
    world.change([*rows, [now, now, "new"]], [[now, now], [1, now]])


def _changes(world: World, choice: random.Random, now: int) -> None:
    name = None if (op := choice.choice("UUD")) == "D" else f"n{now}"
    older = choice.randrange(13, now)
    late = [event(older % 3 + 20, f"n{older}", "U", older * 1000 + now)]
    world.drop(f"part/c{now}.csv", [event(now % 3 + 20, name, op, now * 1000), *late])
