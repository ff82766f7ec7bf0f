"""The bars: each injects its faults and comes to one line of a report."""

import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from platform_tests.faults import bigquery_yard, cases, points
from platform_tests.faults.bigquery_unknown import UNKNOWN, bigquery_cases
from platform_tests.faults.cases import Case, Size
from platform_tests.faults.events import event_cases
from platform_tests.faults.policies import policy_cases
from platform_tests.faults.pool import run_all
from platform_tests.faults.random_kills import random_kills
from platform_tests.faults.replays import replay_cases
from platform_tests.faults.resources import may_mount, resource_cases
from platform_tests.faults.transfers import PASSED as TRANSFER_POINTS
from platform_tests.faults.transfers import transfer_cases
from platform_tests.faults.unknown import unknown_cases
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
        self.hits.update(verdict.hits)
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
    return _everywhere(result, points.in_code(), 3)


def double_kills(run: Run) -> Result:
    """B2: a kill while recovering from a kill."""
    some = cases.double_kills(run.size, 300 if run.size.is_long else 30, run.seed)
    return run.over("B2", "double kills", some)


STORM = "random kills during overwrites, re-deliveries and drops in shuffled order"


def random_kill_bar(run: Run) -> Result:
    """B3: two workers, killed at any time while deliveries go on; and poison."""
    rounds, kills = (5, 60) if run.size.is_long else (2, 14)
    some = [random_kills(kills, run.seed + number) for number in range(rounds)]
    return run.over("B3", STORM, [*some, cases.poison(run.size)])


def zombies(run: Run) -> Result:
    """B4: overtaken workers that wake up."""
    result = run.over("B4", "zombies", cases.zombies(run.size))
    if not result.fenced:
        result.violations.append("no zombie was fenced")
    return result


def amnesia(run: Run) -> Result:
    """B5: a database is lost, and rebuilt by going on."""
    return run.over("B5", "amnesia", cases.amnesias(run.size))


def event_bar(run: Run) -> Result:
    """B6: what buckets tell is lost, repeated, shuffled, forged."""
    turns = 3 if run.size.is_long else 1
    some = [case for turn in range(turns) for case in event_cases(run.seed + turn)]
    return run.over("B6", "events, 4 x 1,000 objects, and 10,000 for one", some)


def unknown_bar(run: Run) -> Result:
    """B7: replies are lost, after the deed and before it."""
    turns, where = 3 if run.size.is_long else 1, "in folders and in S3 over HTTP"
    some = unknown_cases(6 if run.size.is_long else 1, run.seed)
    if not bigquery_yard.is_installed():
        told = f"unknown outcomes, {where}; BigQuery's emulator is not installed"
        return _many(run.over("B7", told, some), 40)
    with bigquery_yard.standing():
        some = [*bigquery_cases(turns, run.seed), *some]
        result = run.over("B7", f"unknown outcomes, {where}, in BigQuery", some)
    jobs, due = result.hits[UNKNOWN], 40 * turns
    result.what += f" (jobs {jobs})"
    if jobs < due:
        result.violations.append(f"{jobs} jobs of BigQuery were unknown, {due} are due")
    if not result.fenced:
        result.violations.append("no publisher that was overtaken in BigQuery was fenced")
    return _many(result, 40)


def transfer_bar(run: Run) -> Result:
    """B8: transfers, killed at every point that they pass."""
    result = run.over("B8", "transfers killed", transfer_cases(run.size))
    return _everywhere(result, TRANSFER_POINTS, 2)


def policy_bar(run: Run) -> Result:
    """B9: policies of drops, and replays, killed at every point that they pass."""
    some = [*policy_cases(run.size, run.seed), *replay_cases(run.size)]
    result = run.over("B9", "policies and replay killed", some)
    return _everywhere(result, points.in_code(), 1)


def resource_bar(run: Run) -> Result:
    """B11: no room, no handles, no right to write, locks held."""
    where = "small file systems" if may_mount() else "limits only: mounting is not permitted"
    return _many(run.over("B11", f"resources run out ({where})", resource_cases()), 20)


def cdc_bar(run: Run) -> Result:
    """B17: readers of changes die between peek, land, publish and advance; changes are lost."""
    from platform_tests.faults import (
        cdc_gaps,
        cdc_kills,
        cdc_mine,
        cdc_sqlserver,
        cdc_sqlserver_gaps,
    )

    size, seed = run.size, run.seed
    kills = [*cdc_kills.kill_cases(size, seed), *cdc_sqlserver.kill_cases(size, seed)]
    gaps = [*cdc_gaps.gap_cases(seed), *cdc_sqlserver_gaps.gap_cases()]
    gaps = gaps if size.is_long else [g for g in gaps if g.aim in cdc_gaps.SHORT]
    with cdc_mine.standing():
        result = run.over("B17", "changes captured", [*gaps, *kills])
    at = {step: sum(result.hits[p] for p in some) for step, some in cdc_kills.STEPS.items()}
    found = {
        "kills of slots": sum(at.values()),
        "kills of SQL Server": sum(result.hits[p] for p in cdc_sqlserver.PASSED),
        "gaps": sum(result.hits[case.aim] for case in gaps),
    }
    dues = (60, 20, 12) if size.is_long else (12, 4, 3)
    told = ", ".join(f"{step} {number}" for step, number in at.items())
    result.what += f" ({', '.join(f'{k} {n}' for k, n in found.items())}; {told})"
    for (what, number), due in zip(found.items(), dues, strict=True):
        if number < due:
            result.violations.append(f"{what}: {number}, {due} are due")
    return _everywhere(result, cdc_kills.POINTS if size.is_long else (), 1)


def _many(result: Result, due: int) -> Result:
    if result.injected < due:
        result.violations.append(f"{result.injected} faults were injected, {due} are due")
    return result


def _everywhere(result: Result, passed: Collection[str], times: int) -> Result:
    for point in sorted(passed):
        if result.hits[point] < times:
            result.violations.append(f"{point} was hit {result.hits[point]} times only")
    return result


BARS: dict[str, Callable[[Run], Result]] = {
    "B1": kill_matrix,
    "B2": double_kills,
    "B3": random_kill_bar,
    "B4": zombies,
    "B5": amnesia,
    "B6": event_bar,
    "B7": unknown_bar,
    "B8": transfer_bar,
    "B9": policy_bar,
    "B11": resource_bar,
    "B17": cdc_bar,
}
