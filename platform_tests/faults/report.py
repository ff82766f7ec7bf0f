"""One line per bar, and below it what was violated."""

import argparse
from pathlib import Path

from platform_tests.faults.bars import BARS, Run
from platform_tests.faults.cases import Size
from platform_tests.faults.hunt import planted_bugs, to_plant
from platform_tests.faults.processes import warm


def main() -> int:
    parser = argparse.ArgumentParser(description="Kill malacate's workers and count what is lost.")
    parser.add_argument(
        "--long", action="store_true", help="all turns of the world; about 45 minutes"
    )
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--bar", action="append", choices=[*BARS, "B13"], help="only these")
    parser.add_argument("--keep", type=Path, default=Path("/tmp/malacate-faults"))
    asked = parser.parse_args()
    warm()
    run = Run(Size(asked.long), asked.seed, asked.keep)
    chosen = asked.bar or [*BARS, "B13"]
    good = [_bar(name, run) for name in chosen if name in BARS]
    if "B13" in chosen:
        good.append(_mutants(run))
    return 0 if all(good) else 1


def _bar(name: str, run: Run) -> bool:
    result = BARS[name](run)
    print(result, flush=True)
    if any(result.leftovers.values()):
        counts = ", ".join(f"{count} {zone}" for zone, count in sorted(result.leftovers.items()))
        print(f"   left for the sweeper: {counts}", flush=True)
    for violation in result.violations:
        print(f"   VIOLATION {violation}", flush=True)
    return not result.violations


def _mutants(run: Run) -> bool:
    def told(name: str, by: str) -> None:
        print(f"   {name}: {by[:200]}", flush=True)

    missed = planted_bugs(run, told)
    total = len(to_plant())
    print(f"planted bugs found {total - len(missed)} of {total}", flush=True)
    return not missed
