"""Policies of drops under kills: each changes what has to stand, none may lose or double."""

import hashlib
import json
import os
import random
import signal
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from platform_tests.faults import haul, points
from platform_tests.faults.cases import KILLED, Case, Size
from platform_tests.faults.haul import file_of, route_of, rows_in
from platform_tests.faults.processes import apart
from platform_tests.faults.transfers import put
from platform_tests.faults.verdict import Verdict
from platform_tests.faults.worker import DONE, STUCK, Orders, platform_of

from malacate.batch import Found, Reading
from malacate.ingest import Route
from malacate.lake.lake import Lake
from malacate.sources.discovery import Rising
from malacate.sources.protocol import Known
from malacate.stores.folder import FolderStore

ACTS = 2

Files = dict[str, bytes]


@dataclass(frozen=True)
class Policy:
    """What is declared, what is dropped in each act, which contents are loaded in the end.

    ``ends`` are the states of the others by name, with the reason. ``decides`` are the points
    around its decisions, all if there are none: the short form kills there.
    """

    name: str
    declared: dict[str, Any]
    drops: Callable[[int], Files]
    loaded: Callable[[], list[bytes]]
    ends: dict[str, tuple[str, str]]
    decides: tuple[str, ...] = ()

    def route(self, root: Path) -> Route:
        return route_of(FolderStore(root / "drops"), **self.declared)


def _twins(act: int) -> Files:
    """Two of the same bytes, two of the same name; then one twin is overwritten."""
    if act == 1:
        same, names = file_of(1), {"x/n.csv": file_of(3), "y/n.csv": file_of(4)}
        return {"a.csv": same, "b.csv": same, "c.csv": file_of(2), **names}
    return {"a.csv": file_of(1, 3, 7.5), "d.csv": file_of(2), "e.csv": file_of(5)}


def _again(act: int) -> Files:
    """One is written again, another comes once more as it was, a third is new."""
    if act == 1:
        return {"a.csv": file_of(1), "b.csv": file_of(2), "c.csv": file_of(3)}
    return {"a.csv": file_of(1, 3, 7.5), "b.csv": file_of(2), "d.csv": file_of(4)}


def _rising(act: int) -> Files:
    """Names that rise; what stands before the last one is not looked at again for a day."""
    first = 2 * act - 1
    return {f"{number}.csv": file_of(number) for number in (first, first + 1)}


def _promised(act: int) -> Files:
    """Manifests that hold, and two files that are not what is said of them."""
    if act == 1:
        files = {"1/a.csv": file_of(1), "1/b.csv": file_of(2), "1/c.csv": file_of(3)}
        lies: dict[str, dict[str, Any]] = {"1/b.csv": {"sha256": "0" * 64}, "1/c.csv": {"rows": 9}}
    else:
        files, lies = {"2/e.csv": file_of(5)}, {}
    told = [
        {"name": name[2:], "size": len(data), "rows": 2,
         "sha256": hashlib.sha256(data).hexdigest(), **lies.get(name, {})}
        for name, data in files.items()
    ]  # fmt: skip
    manifest = json.dumps({"files": told}).encode()
    return {**files, f"{act}/unlisted.csv": file_of(9), f"{act}/manifest.json": manifest}


POLICIES = (
    Policy(
        "skip", {"duplicates": "skip"}, _twins,
        lambda: [file_of(1), file_of(1, 3, 7.5), *map(file_of, (2, 3, 4, 5))],
        {"": ("skipped", "duplicate_content")},
    ),
    Policy(
        "reject", {"overwrite": "reject"}, _again, lambda: [*map(file_of, (1, 2, 3, 4))],
        {"a.csv": ("rejected", "overwritten"), "b.csv": ("rejected", "overwritten")},
        ("seen", "claimed", "staged", "file_quarantined", "committed/publish", "loaded"),
    ),
    Policy(
        "remove", {"after_load": "remove"}, _again,
        lambda: [file_of(1, 3, 7.5), *map(file_of, (2, 3, 4))], {},
        ("staged", "landed", "tx_rows", "tx_marker/publish", "committed/publish", "closed",
         "loaded", "cleaned"),
    ),
    Policy(
        "looks", {"plan": Rising(0.0)}, _rising, lambda: [*map(file_of, (1, 2, 3, 4))], {},
        ("seen", "claim_before_commit", "claimed"),
    ),
    Policy(
        "manifest", {"complete": "manifest"}, _promised, lambda: [file_of(1), file_of(5)],
        {"1/b.csv": ("quarantined", "manifest_sha256"),
         "1/c.csv": ("quarantined", "manifest_rows")},
        ("seen", "input_after_rename", "staged", "parsed", "file_quarantined", "landed"),
    ),
)  # fmt: skip


def _work(root: Path, policy: Policy, deadly: str = "") -> int:
    ingest, this = platform_of(root, Orders(max_crashes=99)), Verdict()
    done = root / "acts"
    for act in range(1, ACTS + 1):
        if act > len(done.read_text() if done.exists() else ""):
            _drop(root, policy.drops(act))
            done.write_text("x" * act)
        route = policy.route(root)
        route = replace(route, source=_Dying(route.source, deadly)) if deadly else route
        haul.run_to_rest(ingest, route, this)
    (root / "problems.json").write_text(json.dumps(this.problems))
    return STUCK if this.problems else DONE


def _drop(root: Path, files: Files) -> None:
    for name, data in files.items():
        (root / "drops" / name).parent.mkdir(parents=True, exist_ok=True)
        put(root / "drops", name, data)


def kill(at: str, policy: Policy, mutant: str = "", deadly: str = "") -> Case:
    """Die once, go on, and compare with what the policy promises."""

    def run(root: Path) -> Verdict:
        code = apart(root, lambda: _work(root, policy, deadly), at, mutant).wait()
        after = apart(root, lambda: _work(root, policy), mutant=mutant).wait()
        this = Verdict(injected=int(code == KILLED))
        if after != DONE:
            file = root / "problems.json"
            this.problems.append(f"{after}: {file.read_text() if file.exists() else ''}")
        else:
            _judge(root, policy, this)
        return this

    return Case(f"{policy.name} killed at {deadly or at}", run, deadly or at.partition(":")[0])


def _judge(root: Path, policy: Policy, this: Verdict) -> None:
    ingest, route = platform_of(root, Orders()), policy.route(root)
    haul.judge(ingest, route, rows_in(policy.loaded()), this)
    for row in ingest.ledger.batches(*route.batches):
        ended = (row["state"], row["reason"])
        if row["state"] not in ("loaded", "superseded"):
            if ended != policy.ends.get(row["object"], policy.ends.get("")):
                this.problems.append(f"quarantine: {row['object']} is {ended}")
            if not ingest.lake.place(row["batch_id"]):
                this.problems.append(f"the bytes of {row['object']} are gone")
    drops = [p.name for p in (root / "drops").rglob("*.csv")]
    if route.after_load == "remove" and drops:
        this.problems.append(f"drops that were not removed: {drops}")


@dataclass(frozen=True)
class _Dying:
    """A source whose worker dies as a drop is removed: ``before`` or ``after`` it is gone."""

    source: Any
    when: str
    supersedes: bool = True

    def look(self, cursor: str | None, now: float) -> Any:
        return self.source.look(cursor, now)

    def discover(self, known: Known) -> list[Found]:
        return list(self.source.discover(known))

    def read(self, found: Found, lake: Lake) -> Reading:
        reading: Reading = self.source.read(found, lake)
        return reading

    def release(self, found: Found) -> bool:
        if self.when == "after removal":
            self.source.release(found)
        os.kill(os.getpid(), signal.SIGKILL)
        return True


def policy_cases(size: Size, seed: int, mutant: str = "") -> list[Case]:
    """Each point that a policy has to do with, at one of its passings; in the long form all."""
    choice, some = random.Random(seed), []
    for policy in POLICIES:
        everywhere = points.with_publish()
        for point in everywhere if size.is_long else policy.decides or everywhere:
            hits = (1, 2, 3) if size.is_long else (choice.choice((1, 1, 2)),)
            some += [kill(f"{point}:{hit}", policy, mutant) for hit in hits]
    removing = next(policy for policy in POLICIES if policy.name == "remove")
    return some + [kill("", removing, mutant, f"{when} removal") for when in ("before", "after")]
