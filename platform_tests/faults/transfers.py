"""Transfers that are killed, and what has to stand at the target after all."""

import hashlib
import json
import random
import time
from pathlib import Path
from typing import Any

from platform_tests.faults import points
from platform_tests.faults.cases import KILLED, Case, Size
from platform_tests.faults.haul import RUNS, UNFINISHED, require_advice
from platform_tests.faults.processes import apart
from platform_tests.faults.verdict import Verdict
from platform_tests.faults.worker import DONE, STUCK, Orders, platform_of

from malacate.ingest import Ingest
from malacate.sources.discovery import Discovery
from malacate.sources.selection import Selection
from malacate.stores.folder import FolderStore
from malacate.stores.protocol import Entry, Store
from malacate.transfer import MANIFESTS, SOURCE, Transfer

PASSED = points.OF_TRANSFERS | points.OF_STAGING | {"seen", "claim_before_commit", "claimed"}


def origin(root: Path) -> Path:
    """Where objects are sent from."""
    return root / "origin"


def copies(source: Store, target: Store) -> Transfer:
    """All CSV files of ``source`` to ``target``."""
    return Transfer(Discovery(Selection(source, ("*.csv",)), SOURCE, "copies"), target)


def transfer_of(root: Path) -> Transfer:
    """From one folder of the world to another."""
    return copies(FolderStore(origin(root)), FolderStore(root / "target"))


def send(this: Transfer, ingest: Ingest) -> None:
    """Look and copy, as the asset does."""
    while not this.look(ingest.ledger, time.time()):
        pass
    sent = this.run(ingest.ledger, ingest.lake)
    ingest.ledger.mark_reported([row["batch_id"] for row in sent.batches])


def send_to_rest(this: Transfer, ingest: Ingest, verdict: Verdict) -> None:
    """Until nothing waits."""
    for _ in range(RUNS):
        try:
            send(this, ingest)
        except Exception as error:
            require_advice(error, verdict)
            continue
        if not ingest.ledger.batches(*this.batches, UNFINISHED):
            return
    verdict.problems.append("the transfer never came to rest")


def compare(source: Store, target: Store, this: Verdict, theirs: tuple[str, ...] = ()) -> None:
    """Byte for byte; each version at the source is told by a manifest with its checksum."""
    due, there = content(source), content(target)
    manifests = {n: there.pop(n) for n in list(there) if n.startswith(MANIFESTS)}
    told = {
        (file["name"], file["sha256"])
        for text in manifests.values()
        for file in json.loads(text)["files"]
    }
    for name in due.keys() - set(theirs):
        this.lost += name not in there
        this.wrong += name in there and there[name] != due[name]
        if there.get(name) != due[name]:
            this.problems.append(f"{name} is not at the target as it is at its source")
        if (name, hashlib.sha256(due[name]).hexdigest()) not in told:
            this.problems.append(f"no manifest tells of {name} as it stands")
    surplus = there.keys() - due.keys()
    this.twice += len(surplus)
    if surplus:
        this.problems.append(f"at the target stand {sorted(surplus)}")


def content(store: Store) -> dict[str, bytes]:
    """All objects of a store."""
    return {entry.name: _bytes(store, entry) for entry in store.list()}


def _bytes(store: Store, entry: Entry) -> bytes:
    with store.open(entry.name, entry.version) as opened:
        data = b"".join(iter(lambda: opened.read(1 << 20), b""))
        opened.verify()
    return data


def _perform(root: Path, act: int) -> None:
    """Objects, the largest of more than one block; then overwrites, one again, and a new one."""
    folder, choice = origin(root), random.Random(act)
    folder.mkdir(exist_ok=True)
    (root / "target").mkdir(exist_ok=True)
    names = ("a.csv", "b.csv", "large.csv") if act == 1 else ("a.csv", "large.csv", "new.csv")
    for name in names:
        put(folder, name, choice.randbytes(3 << 20 if name == "large.csv" else 900))
    if act == 2:
        put(folder, "b.csv", (folder / "b.csv").read_bytes())


def put(folder: Path, name: str, data: bytes) -> None:
    """As a well-behaved producer does."""
    (folder / ".incoming").write_bytes(data)
    (folder / ".incoming").replace(folder / name)


def _work(root: Path) -> int:
    ingest, this = platform_of(root, Orders(max_crashes=99)), Verdict()
    done = root / "acts"
    for act in (1, 2):
        if act > len(done.read_text() if done.exists() else ""):
            _perform(root, act)
            done.write_text("x" * act)
        send_to_rest(transfer_of(root), ingest, this)
    (root / "problems.json").write_text(json.dumps(this.problems))
    return STUCK if this.problems else DONE


def kill(at: str, mutant: str = "") -> Case:
    """Die at one point, and go on."""

    def run(root: Path) -> Verdict:
        code = apart(root, lambda: _work(root), at, mutant).wait()
        after = apart(root, lambda: _work(root), mutant=mutant).wait()
        this = Verdict(injected=int(code == KILLED))
        if after != DONE:
            file = root / "problems.json"
            this.problems.append(f"{after}: {file.read_text() if file.exists() else ''}")
        platform = platform_of(root, Orders())
        before = _states(platform)
        compare(FolderStore(origin(root)), FolderStore(root / "target"), this)
        send_to_rest(transfer_of(root), platform, this)
        if _states(platform) != before:
            this.problems.append("a second run changed the ledger")
        this.problems += [f"{name} is {state}" for _, name, state, _ in before
                          if state not in ("loaded", "superseded")]  # fmt: skip
        left = sum(1 for _ in (root / "lake" / "input").iterdir())
        this.leftovers = {"input": left, "tmp": sum(1 for _ in (root / "lake" / "tmp").iterdir())}
        return this

    return Case(f"transfer killed at {at}", run, at.partition(":")[0])


def _states(platform: Ingest) -> list[tuple[Any, ...]]:
    rows = platform.ledger.batches()
    return [tuple(row[n] for n in ("batch_id", "object", "state", "epoch")) for row in rows]


def transfer_cases(size: Size, mutant: str = "") -> list[Case]:
    """Every point that a transfer passes, at its first passings."""
    hits = (1, 2, 3, 4, 5) if size.is_long else (1, 2)
    return [kill(f"{point}:{hit}", mutant) for point in sorted(PASSED) for hit in hits]
