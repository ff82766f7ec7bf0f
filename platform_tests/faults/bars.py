"""The bars: each injects its faults and comes to one line of a report."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from platform_tests.faults import cases, points
from platform_tests.faults.cases import Case, Size
from platform_tests.faults.mutants import MUTANTS
from platform_tests.faults.pool import run_all
from platform_tests.faults.random_kills import random_kills
from platform_tests.faults.verdict import Verdict


@dataclass
class Result:
    """What a bar came to."""

    bar: str
    what: str
    seed: int
    cases: int = 0
    injected: int = 0
    survived: int = 0
    lost: int = 0
    twice: int = 0
    wrong: int = 0
    fenced: int = 0
    seconds: float = 0.0
    hits: Counter[str] = field(default_factory=Counter)
    leftovers: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)

    def add(self, case: Case, verdict: Verdict) -> None:
        """Count one case."""
        self.cases += 1
        self.injected += verdict.injected
        self.hits[case.aim] += verdict.injected
        self.survived += verdict.injected if verdict.is_good else 0
        self.lost += verdict.lost
        self.twice += verdict.twice
        self.wrong += verdict.wrong
        self.fenced += verdict.fenced
        self.leftovers.update(verdict.leftovers)
        if not verdict.is_good:
            self.violations.append(f"{case.name}: {' | '.join(verdict.problems)[:1500]}")

    def __str__(self) -> str:
        rejected = "not as expected" if "quarantine" in " ".join(self.violations) else "as expected"
        fenced = f", fenced {self.fenced}" if self.bar == "B4" else ""
        return (
            f"{self.bar} {self.what}: {self.cases} cases, injected {self.injected}, "
            f"survived {self.survived}, lost {self.lost}, twice {self.twice}, wrong {self.wrong}"
            f"{fenced}, quarantined {rejected}, {self.seconds:.0f} s, seed {self.seed}"
        )


@dataclass(frozen=True)
class Run:
    """One run of the driver: how large, with which seed, and where bad worlds are kept."""

    size: Size
    seed: int
    keep: Path

    def over(self, bar: str, what: str, some: Sequence[Case]) -> Result:
        """Put all cases through."""
        result, begun = Result(bar, what, self.seed), time.monotonic()
        for case, verdict in run_all(some, self.keep):
            result.add(case, verdict)
        result.seconds = time.monotonic() - begun
        return result


def kill_matrix(run: Run) -> Result:
    """B1: one kill; every point of the code is hit three times at least."""
    some = [*cases.kill_matrix(run.size), *cases.sources_gone(run.size)]
    result = run.over("B1", "kill matrix", some)
    untried = points.in_code() ^ points.HAVE_CASES
    result.violations += [f"no case for crash point {name}" for name in sorted(untried)]
    for point in sorted(points.in_code()):
        if result.hits[point] < 3:
            result.violations.append(f"{point} was hit {result.hits[point]} times only")
    return result


def double_kills(run: Run) -> Result:
    """B2: a kill while recovering from a kill."""
    some = cases.double_kills(run.size, 300 if run.size.is_long else 30, run.seed)
    return run.over("B2", "double kills", some)


def random_kill_bar(run: Run) -> Result:
    """B3: two workers, killed at any time while deliveries go on; and poison."""
    rounds, kills = (5, 60) if run.size.is_long else (2, 14)
    some = [random_kills(kills, run.seed + number) for number in range(rounds)]
    return run.over("B3", "random kills", [*some, cases.poison(run.size)])


def zombies(run: Run) -> Result:
    """B4: overtaken workers that wake up."""
    result = run.over("B4", "zombies", cases.zombies(run.size))
    if not result.fenced:
        result.violations.append("no zombie was fenced")
    return result


def amnesia(run: Run) -> Result:
    """B5: a database is lost, and rebuilt by going on."""
    return run.over("B5", "amnesia", cases.amnesias(run.size))


BARS: dict[str, Callable[[Run], Result]] = {
    "B1": kill_matrix,
    "B2": double_kills,
    "B3": random_kill_bar,
    "B4": zombies,
    "B5": amnesia,
}


def planted_bugs(run: Run, found: Callable[[str, str], None]) -> list[str]:
    """B13: the mutants that no case found."""
    hunts = [_hunt(name) for name in MUTANTS]
    missed = []
    for case, verdict in run_all(hunts, run.keep):
        found(case.name, verdict.found or " ".join(["NOT FOUND", *verdict.problems]))
        missed += [] if verdict.found else [case.name]
    return missed


def _hunt(mutant: str) -> Case:
    """Cases of the bars, the most telling ones first, until one of them sees the bug."""

    def search(root: Path) -> Verdict:
        for number, case in enumerate(_suspects(mutant)):
            world = root / str(number)
            world.mkdir()
            verdict = case.run(world)
            if not verdict.is_good:
                return Verdict(found=f"{case.name}: {verdict.problems[0]}")
            if case.name.startswith("zombie") and verdict.injected and not verdict.fenced:
                return Verdict(found=f"{case.name}: nobody was fenced")
        return Verdict(problems=["every case was survived"])

    return Case(mutant, search)


def _suspects(mutant: str) -> list[Case]:
    size = Size(is_long=False)
    telling = {
        "marker_after_the_rows": [cases.kill("committed/publish:1", size.orders(mutant=mutant))],
        "never_healed": cases.amnesias(size, mutant)[5:],
        "position_before_the_rows": cases.amnesias(size, mutant)[2:5],
        "nobody_fenced": [c for c in cases.zombies(size, mutant) if " staged" in c.name],
        "input_deleted_before_proof": cases.sources_gone(size, mutant)[2:],
    }
    matrix = sorted(cases.kill_matrix(size, mutant), key=lambda case: _rank(mutant, case.name))
    return telling.get(mutant, matrix)


FIRST_LOOK = {
    "loaded_before_the_commit": "tx_checked",
    "autocommit": "tx_rows",
    "copied_in_place": "input_torn",
    "manifest_before_parts": " landed",
    "inserted_by_place": "turn 1",
    "rejects_dropped": "turn 0",
}


def _rank(mutant: str, name: str) -> int:
    return 0 if FIRST_LOOK.get(mutant, "") in name else 1
