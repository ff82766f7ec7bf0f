"""What a machine runs out of: room, open files, the right to write, locks that others hold."""

import ctypes
import errno
import json
import os
import resource
import subprocess
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import duckdb
from platform_tests.faults import haul
from platform_tests.faults.cases import Case
from platform_tests.faults.haul import file_of, route_of, rows_in
from platform_tests.faults.processes import Process, apart
from platform_tests.faults.verdict import Verdict
from platform_tests.faults.worker import DONE, Orders, platform_of

from malacate.stores.folder import FolderStore

FILES = {f"{number}.csv": file_of(number, rows=999) for number in range(12)}
ROOM_KB = (40, 120, 200, 320, 480, 640, 900)
BYTES = (512, 4096, 16_384, 65_536, 262_144, 524_288)
HANDLES = (0, 1, 2, 3, 4, 6, 8, 12)
HELD_SECONDS = 2.0
_NEW_NAMESPACE = 0x00020000

Spoil = Callable[[Path], Callable[[], None]]
"""Takes a resource away; returns what gives it back."""


def short_of(
    name: str, spoil: Spoil, inside: Callable[[], None] = lambda: None, may_die: bool = False
) -> Case:
    """Run without the resource, then with it: an error that advises, and then exact rows.

    ``spoil`` acts in the case's process, ``inside`` in the worker's alone. A worker ``may_die``
    where libraries end the process themselves: DuckDB and obstore do without file handles.
    """

    def run(root: Path) -> Verdict:
        this, home = Verdict(), root / "home"
        (root / "drops").mkdir()
        for file, data in FILES.items():
            (root / "drops" / file).write_bytes(data)
        give_back = spoil(home)

        def poor() -> int:
            return _attempt(root, home, inside)

        code = apart(root, poor).wait(60)
        give_back()
        this.injected = 1
        if code == DONE:
            this.problems += json.loads((root / "failed.json").read_text())
        elif not may_die:
            this.problems.append(f"the worker ended with {code}")
        ingest, route = platform_of(home, Orders()), route_of(FolderStore(root / "drops"))
        haul.run_to_rest(ingest, route, this)
        haul.judge(ingest, route, rows_in(FILES.values()), this)
        return this

    return Case(name, run, name)


def _attempt(root: Path, home: Path, inside: Callable[[], None]) -> int:
    this, file = Verdict(), (root / "failed.json").open("w")
    orders, route = Orders(patience_seconds=0.5), route_of(FolderStore(root / "drops"))
    inside()
    try:
        platform_of(home, orders).run(route)
    except Exception as error:
        haul.require_advice(error, this)
    resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))
    with file:
        json.dump(this.problems, file)
    return DONE


@cache
def may_mount() -> bool:
    """Whether this process could have file systems of its own."""

    def tried() -> int:
        return 0 if _unshare() else 1

    return Process(tried, Path(os.devnull)).wait(10) == 0


def _unshare() -> bool:
    """A view of file systems of this process and its children, gone with them."""
    if ctypes.CDLL(None).unshare(_NEW_NAMESPACE):
        return False
    done = subprocess.run(["mount", "--make-rprivate", "/"], capture_output=True)
    return done.returncode == 0


def _mount(place: Path, *options: str) -> None:
    words = ["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", str(place)]
    subprocess.run(words, check=True, capture_output=True)


def _full(kilobytes: int, below: str, is_new: bool) -> Spoil:
    """A file system with this much room, ``below`` the home; new or with all but rows in it."""

    def spoil(home: Path) -> Callable[[], None]:
        _unshare()
        place = home / below
        place.mkdir(parents=True)
        _mount(place, "size=64m")
        if not is_new:
            platform_of(home, Orders()).warehouse.ensure([haul.haul()])
        used = sum(p.stat().st_blocks * 512 for p in place.rglob("*")) // 1024
        _mount(place, "remount", f"size={used + kilobytes}k")
        return lambda: _mount(place, "remount", "size=64m")

    return spoil


def _read_only(below: str) -> Spoil:
    """Root writes through modes, so its folder has to be mounted so; others' get the mode."""

    def spoil(home: Path) -> Callable[[], None]:
        place = home / below
        place.mkdir(parents=True)
        if os.getuid() == 0:
            _unshare()
            _mount(place, "size=64m")
        platform_of(home, Orders()).warehouse.ensure([haul.haul()])
        if os.getuid() == 0:
            _mount(place, "remount", "ro")
            return lambda: _mount(place, "remount", "rw")
        folders = [place, *(p for p in place.rglob("*") if p.is_dir())]
        for folder in folders:
            folder.chmod(0o555)
        return lambda: _void([folder.chmod(0o755) for folder in folders])

    return spoil


def _void(_: object) -> None:
    pass


def _nothing(home: Path) -> Callable[[], None]:
    home.mkdir()
    return lambda: None


def _limit(kind: int, value: Callable[[], int]) -> Callable[[], None]:
    def inside() -> None:
        resource.setrlimit(kind, (value(), resource.getrlimit(kind)[1]))

    return inside


def _open_now() -> int:
    return len(list(Path("/proc/self/fd").iterdir())) - 1


def _failing(owner: Any, name: str, at: int, code: int) -> Callable[[], None]:
    """The ``at``-th call of a function of the system fails."""

    def inside() -> None:
        call, calls = getattr(owner, name), [0]

        def failing(*asked: Any, **more: Any) -> Any:
            calls[0] += 1
            if calls[0] == at:
                raise OSError(code, os.strerror(code))
            return call(*asked, **more)

        setattr(owner, name, failing)

    return inside


def _held(file: str, hold: Callable[[Path], Any], seconds: float) -> Spoil:
    """Another process has the file for ``seconds``."""

    def spoil(home: Path) -> Callable[[], None]:
        home.mkdir()
        platform_of(home, Orders()).warehouse.ensure([haul.haul()])

        def other() -> int:
            held = hold(home / file)
            (home / "held").touch()
            time.sleep(seconds)
            held.close()
            return 0

        holder = Process(other, home / "holder.log")
        while not (home / "held").exists():
            time.sleep(0.01)
        return lambda: _void(holder.wait())

    return spoil


def _sqlite(file: Path) -> Any:
    import sqlite3

    connection = sqlite3.connect(file, isolation_level=None)
    connection.execute("begin immediate")
    return connection


def resource_cases() -> list[Case]:
    """All of them; without the right to mount, limits of the process stand in for a full disk."""
    some = [
        short_of(f"files end at {n} bytes", _nothing, _limit(resource.RLIMIT_FSIZE, lambda n=n: n))
        for n in BYTES
    ]
    some += [
        short_of(
            f"{n} handles left", _nothing,
            _limit(resource.RLIMIT_NOFILE, lambda n=n: _open_now() + n), may_die=True,
        )
        for n in HANDLES
    ]  # fmt: skip
    some += [
        short_of(f"{name} {at} fails with {errno.errorcode[code]}", _nothing,
                 _failing(os, name, at, code))
        for name, code in (("fsync", errno.ENOSPC), ("fsync", errno.EIO))
        for at in (1, 2, 3, 30)
    ]  # fmt: skip
    some += [
        short_of("warehouse held", _held("warehouse.duckdb", duckdb.connect, HELD_SECONDS)),
        short_of("warehouse held for a moment", _held("warehouse.duckdb", duckdb.connect, 0.2)),
        short_of("ledger held", _held("ledger.db", _sqlite, HELD_SECONDS)),
    ]
    if may_mount():
        some += [short_of(f"lake has {n} KB left", _full(n, "lake", True)) for n in ROOM_KB]
        some += [short_of(f"home has {n} KB left", _full(n, "", False)) for n in ROOM_KB]
    if may_mount() or os.getuid():
        some += [short_of(f"{below or 'home'} read only", _read_only(below))
                 for below in ("lake", "lake/final", "lake/quarantine")]  # fmt: skip
    return some
