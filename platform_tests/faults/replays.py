"""Sending kept bytes through again, killed at each point, with the drops gone at their source."""

from collections import Counter
from pathlib import Path

from platform_tests.faults import haul, points
from platform_tests.faults.cases import KILLED, Case, Size
from platform_tests.faults.expected import Row
from platform_tests.faults.haul import file_of, route_of
from platform_tests.faults.processes import apart
from platform_tests.faults.verdict import Verdict
from platform_tests.faults.worker import DONE, STUCK, Orders, platform_of

from malacate.ingest import Ingest, Route
from malacate.ledger.tables import BATCH
from malacate.replay import replay
from malacate.stores.folder import FolderStore

HEAVY = b"id,tonnes\n1,1.5\n2,999.0\n3,2.5\n"
HEAVY_TOO = b"id,tonnes\n4,888.0\n5,2.5\n"
WIDE = b"id,tonnes,why\n6,3.5,x\n7,4.5,y\n"
FILES = {"heavy.csv": HEAVY, "heavy too.csv": HEAVY_TOO, "wide.csv": WIDE, "good.csv": file_of(9)}

NOT_PASSED = {"input_torn", "input_before_rename", "input_after_rename", "file_quarantined"}
"""Kept bytes are lent, not copied from a drop, and read well under the new contract."""


def _wanted() -> Counter[Row]:
    lines = [line for data in FILES.values() for line in data.decode().splitlines()[1:]]
    return Counter((x[0], repr(float(x[1]))) for x in (line.split(",") for line in lines))


def _route(root: Path, is_relaxed: bool) -> Route:
    table = haul.haul(4000, version="2", extra_columns="ignore") if is_relaxed else haul.haul()
    return route_of(FolderStore(root / "drops"), table)


def _first(root: Path) -> int:
    """Loaded under the strict contract; then the producer takes the drops away."""
    (root / "drops").mkdir()
    for name, data in FILES.items():
        (root / "drops" / name).write_bytes(data)
    platform_of(root, Orders()).run(_route(root, is_relaxed=False))
    for name in FILES:
        (root / "drops" / name).unlink()
    return DONE


def _again(root: Path) -> int:
    ingest, route, this = platform_of(root, Orders(max_crashes=99)), _route(root, True), Verdict()
    ingest.heal(route)
    for row in ingest.ledger.batches(BATCH.c.object.not_like("good%")):
        replay(ingest, route, row)
    haul.run_to_rest(ingest, route, this)
    return STUCK if this.problems else DONE


def kill(at: str, mutant: str = "") -> Case:
    """Die while replaying, see that every byte stands somewhere, and replay again."""

    def run(root: Path) -> Verdict:
        this = Verdict()
        first = apart(root, lambda: _first(root)).wait()
        code = apart(root, lambda: _again(root), at, mutant).wait()
        this.injected = int(code == KILLED)
        ingest = platform_of(root, Orders())
        _require_bytes(ingest, this)
        codes = [apart(root, lambda: _again(root), mutant=mutant).wait() for _ in range(2)]
        if [first, *codes] != [DONE] * 3:
            this.problems.append(f"workers ended with {[first, *codes]}")
            return this
        haul.judge(ingest, _route(root, is_relaxed=True), _wanted(), this)
        kept = ingest.warehouse.query("select count(*) as n from malacate.quarantine").to_pylist()
        if kept[0]["n"]:
            this.problems.append(f"quarantine still has {kept[0]['n']} rows")
        return this

    return Case(f"replay killed at {at}", run, at.partition(":")[0])


def _require_bytes(ingest: Ingest, this: Verdict) -> None:
    """What is not loaded whole has its bytes in the lake."""
    rows, loaded = ingest.ledger.batches(), haul.standing(ingest)
    held = {row["object"] for row in rows if ingest.lake.place(row["batch_id"])}
    due = {"heavy.csv": "2", "heavy too.csv": "4", "wide.csv": "6"}
    for name, key in due.items():
        if name not in held and not any(row[0] == key for row in loaded):
            this.problems.append(f"the bytes of {name} went before its rows stood")


def replay_cases(size: Size, mutant: str = "") -> list[Case]:
    """Each point that a replay passes."""
    hits = (1, 2, 3) if size.is_long else (1,)
    passed = [p for p in points.with_publish() if p not in NOT_PASSED]
    return [kill(f"{point}:{hit}", mutant) for point in passed for hit in hits]
