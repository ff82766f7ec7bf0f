"""Processes forked from a warm parent: it has imported everything and opened nothing."""

import contextlib
import faulthandler
import importlib
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from platform_tests.faults.verdict import Verdict
from platform_tests.faults.worker import DONE, Orders, arm, work

LIMIT_SECONDS = 90.0
HISTORY_SECONDS = 240.0
BROKEN, HUNG = 98, 99
TELL_BEFORE_SECONDS = 5.0
"""A worker that is about to be called hung says where it is, in the log of its world.

Not sooner: to be asked may crash one that is at work, for its frames are read as they move.
"""

WARM = (
    "pandas", "pyarrow.parquet", "pytz", "sqlite3", "zoneinfo", "sqlglot.generators.duckdb",
    "numpy.random", "sqlalchemy.dialects.sqlite", "obstore.store", "malacate.formats.csv",
)  # fmt: skip
"""What workers would import on their way, each of them again."""


def warm() -> None:
    """Import once, in the parent; opens nothing and starts no thread."""
    for name in WARM:
        importlib.import_module(name)


class Process:
    """One forked child."""

    def __init__(self, body: Callable[[], int], log: Path) -> None:
        sys.stdout.flush()
        self.pid = os.fork()
        self.code: int | None = None
        if self.pid == 0:
            os._exit(_child(body, log))

    def send(self, signal_number: int) -> None:
        """A signal, if it still lives."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal_number)

    def poll(self) -> int | None:
        """Its exit code, negative for a signal; ``None`` while it lives."""
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.code = os.waitstatus_to_exitcode(status) if pid else None
        return self.code

    def wait(self, seconds: float = LIMIT_SECONDS) -> int:
        """Its exit code; one that takes too long is killed and counts as hung."""
        until = time.monotonic() + seconds
        while self.poll() is None and time.monotonic() < until:
            time.sleep(0.002)
        if self.code is None:
            self.send(signal.SIGKILL)
            os.waitpid(self.pid, 0)
            self.code = HUNG
        return self.code

    def stopped(self, seconds: float = 10.0) -> bool:
        """Wait until a SIGSTOP took effect; ``False`` if it ended first."""
        until = time.monotonic() + seconds
        while time.monotonic() < until and self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG | os.WUNTRACED)
            if pid and os.WIFSTOPPED(status):
                return True
            if pid:
                self.code = os.waitstatus_to_exitcode(status)
            time.sleep(0.002)
        return False


def _child(body: Callable[[], int], log: Path) -> int:
    try:
        with log.open("a") as out:
            os.dup2(out.fileno(), 2)
            return body()
    except BaseException:
        traceback.print_exc()
        return BROKEN


def worker(root: Path, orders: Orders | None = None) -> Process:
    """Start a worker in the world at ``root``."""

    def body() -> int:
        faulthandler.dump_traceback_later(LIMIT_SECONDS - TELL_BEFORE_SECONDS)
        return work(root, orders or Orders())

    return Process(body, root / "stderr.log")


def apart(
    root: Path,
    body: Callable[[], int],
    at: str = "",
    mutant: str = "",
    limit_seconds: float = LIMIT_SECONDS,
) -> Process:
    """Start ``body`` in a process of its own that dies ``at`` a point and has a bug planted."""

    def armed() -> int:
        faulthandler.dump_traceback_later(limit_seconds - TELL_BEFORE_SECONDS)
        arm(at, mutant=mutant)
        return body()

    return Process(armed, root / "stderr.log")


def told(root: Path, history: Callable[[], Verdict], mutant: str = "") -> Verdict:
    """What a whole history comes to, in a process of its own."""
    file = root / "history.json"

    def body() -> int:
        history().save(file)
        return DONE

    code = apart(root, body, mutant=mutant, limit_seconds=HISTORY_SECONDS).wait(HISTORY_SECONDS)
    if file.exists():
        return Verdict.load(file)
    said = (root / "stderr.log").read_text()[-1500:]
    return Verdict(problems=[f"the history ended with {code}: {said}"])
