"""Who holds a claim: one process on one host, told apart from a later one with the same pid."""

import os
import socket

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
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return "ended"
        # Counted from boot: the wall clock may be set while a worker lives, and it is not dead then.
        return f"{process._proc.create_time(monotonic=True):.2f}"
    except psutil.NoSuchProcess:
        return "ended"
