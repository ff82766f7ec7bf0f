"""Who holds a claim: one process on one host, told apart from a later one with the same pid."""

import os
import socket
from pathlib import Path

import psutil


def this_process() -> str:
    """Name of the running process as owner of claims."""
    return f"{socket.gethostname()}|{os.getpid()}|{_started(os.getpid())}"


def is_dead(owner: str) -> bool:
    """Whether ``owner`` certainly ended: same host, and no such process any more.

    Processes of other hosts, and stopped ones, may come back: their lease has to run out.
    """
    host, pid, started = owner.split("|")
    if host != socket.gethostname():
        return False
    return _started(int(pid)) != started


def _started(pid: int) -> str:
    """When the process started, counted from boot: the wall clock may be set while it lives."""
    try:
        state, *facts = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return "ended" if state == "Z" else facts[18]
    except FileNotFoundError:
        return "ended" if Path("/proc/self").exists() else _started_elsewhere(pid)


def _started_elsewhere(pid: int) -> str:
    """The same where there is no ``/proc``."""
    try:
        process = psutil.Process(pid)
        ended = process.status() == psutil.STATUS_ZOMBIE
        return "ended" if ended else f"{process.create_time():.2f}"
    except psutil.NoSuchProcess:
        return "ended"
