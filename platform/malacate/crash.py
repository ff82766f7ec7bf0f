"""Named crash points: the places where a kill must cost nothing.

A point is a no-op unless ``MALACATE_CRASH=name:n`` asks for a SIGKILL at its n-th passing, or
``MALACATE_PAUSE=name:n`` for a SIGSTOP. ``platform_tests/faults`` reads the points from the code
and fails when one of them has no case.
"""

import os
import signal
from collections import Counter
from collections.abc import Callable

_PASSED: Counter[str] = Counter()


def _aimed(variable: str) -> tuple[str, int] | None:
    name, _, hit = os.environ.get(variable, "").partition(":")
    return (name, int(hit or 1)) if name else None


def _armed() -> Callable[[str], None]:
    aims = {
        signal.SIGKILL: _aimed("MALACATE_CRASH"),
        signal.SIGSTOP: _aimed("MALACATE_PAUSE"),
    }
    if not any(aims.values()):
        return lambda name: None

    def passing(name: str) -> None:
        _PASSED[name] += 1
        for sent, aim in aims.items():
            if aim == (name, _PASSED[name]):
                os.kill(os.getpid(), sent)

    return passing


point = _armed()
"""Marks a step of the protocol: ``crash.point("landed")``."""
