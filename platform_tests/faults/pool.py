"""Cases side by side, each in a world and a process of its own."""

import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from platform_tests.faults.cases import Case
from platform_tests.faults.processes import Process
from platform_tests.faults.verdict import Verdict

CASE_SECONDS = 400.0


def run_all(cases: Sequence[Case], keep: Path) -> Iterator[tuple[Case, Verdict]]:
    """Verdicts as they come; the worlds of bad ones are kept below ``keep``."""
    waiting, running = list(reversed(cases)), []
    while waiting or running:
        while waiting and len(running) < (os.cpu_count() or 1):
            running.append(_start(waiting.pop()))
        for one in [r for r in running if r[1].poll() is not None or time.monotonic() > r[3]]:
            running.remove(one)
            yield one[0], _ended(one, keep)
        time.sleep(0.005)


def _start(case: Case) -> tuple[Case, Process, Path, float]:
    root = Path(tempfile.mkdtemp(prefix="malacate-faults-", dir=_memory()))

    def body() -> int:
        case.run(root).save(root / "verdict.json")
        return 0

    limit = time.monotonic() + CASE_SECONDS
    return case, Process(body, root / "stderr.log"), root, limit


def _ended(one: tuple[Case, Process, Path, float], keep: Path) -> Verdict:
    _, process, root, _ = one
    code = process.wait(0.1)
    file = root / "verdict.json"
    if file.exists():
        verdict = Verdict.load(file)
    else:
        said = (root / "stderr.log").read_text()[-2000:] if (root / "stderr.log").exists() else ""
        verdict = Verdict(problems=[f"the case ended with {code}: {said}"])
    if verdict.is_good:
        shutil.rmtree(root, ignore_errors=True)
    else:
        keep.mkdir(parents=True, exist_ok=True)
        shutil.move(root, keep / root.name)
        verdict.problems.append(f"its world is kept in {keep / root.name}")
    return verdict


def _memory() -> str | None:
    """A file system that does not wait for a disk: processes die here, not machines."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
