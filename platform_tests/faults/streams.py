"""Histories of a stream: see ``platform_tests/streams/fleet.py``, which is a test by itself."""

import os
from pathlib import Path

from platform_tests.emulators import parts
from platform_tests.faults.cases import Case
from platform_tests.faults.verdict import Verdict


def is_installed() -> bool:
    """Whether mosquitto takes part; where all parts must be there it always does."""
    return parts.MOSQUITTO.mark.exists() or os.environ.get("MALACATE_ALL_PARTS") == "1"


def stream_cases(seed: int, mutant: str) -> list[Case]:
    """Three kills of a collector with a bug, of which only what is lost or twice is told."""

    def run(root: Path) -> Verdict:
        from platform_tests.streams.fleet import Storm

        verdict = Storm(180, 12.0, 3, 0, seed, mutant).run(root)
        is_seen = verdict.lost or verdict.twice
        return verdict if is_seen else Verdict(injected=verdict.injected)

    return [Case("stream, killed", run)]
