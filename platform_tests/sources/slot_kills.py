"""A slot's reader, killed at one point after another.

In a process of its own, which forks the readers: a fork of one that has threads, as a test run has
them from clients of any kind, may wait for ever for what a thread held.
"""

import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from platform_tests.conftest import PlatformHome
from platform_tests.faults.processes import apart
from platform_tests.sources.slots import Mine

ROOT = Path(__file__).parents[2]


def killed_at(mine: Mine, points: Sequence[str]) -> list[str]:
    """Let a new reader load at each of ``points`` in turn; those at which one died."""
    given = [mine.url, str(mine.home.root), mine.name, *points]
    command = [sys.executable, "-m", "platform_tests.sources.slot_kills", *given]
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout.split()


def main(url: str, root: str, name: str, *points: str) -> None:
    for point in points:
        reader = apart(Path(root), lambda: _load(url, Path(root), name), at=point)
        if reader.wait(40) == -signal.SIGKILL:
            print(point)


def _load(url: str, root: Path, name: str) -> int:
    Mine(url, PlatformHome.at(root), name).load()
    return 0


if __name__ == "__main__":
    main(*sys.argv[1:])
