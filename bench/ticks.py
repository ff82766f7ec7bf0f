"""One tick over a bucket of 100,000 and of 1,000,000 objects, against Dagster's own helper.

Every candidate runs in a process of its own, interleaved; told are CPU and wall seconds of the
tick alone, after imports and a first request. ``python bench/ticks.py`` runs it by itself.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from listings import AN_HOUR, bucket, name_of
from platform_tests.sources.stores import START, end_of
from rich.console import Console
from rich.table import Table as Grid

from malacate.sources.discovery import Discovery, Rising, Windows
from malacate.sources.selection import Selection
from malacate.stores.folder import FolderStore
from malacate.stores.objects import ObjectStore
from malacate.stores.protocol import Store
from malacate.stores.s3 import S3Bucket

SMALL, LARGE = 100_000, 1_000_000
console = Console(width=120)


@dataclass(frozen=True)
class Cost:
    """Seconds of CPU and wall of one tick, and how many objects it listed."""

    cpu: float
    wall: float
    listed: int


def windows(store: Store, count: int) -> int:
    """The last hours of the names, as a doorbell does every half minute."""
    plan = Windows("rock/%Y/%m/%d/%H/")
    return _tick(store, count, plan, lo=end_of(count, AN_HOUR) - plan.overlap_seconds)


def windows_walking(store: Store, count: int) -> int:
    """The same while the daily walk is under way."""
    plan = Windows("rock/%Y/%m/%d/%H/")
    now = end_of(count, AN_HOUR)
    middle = name_of(count // 2, AN_HOUR)
    return _tick(store, count, plan, lo=now - plan.overlap_seconds, began=now, at=middle)


def rising(store: Store, count: int) -> int:
    """Names after the last safe one."""
    mark = name_of(count - AN_HOUR, AN_HOUR)
    return _tick(store, count, Rising(), mark=mark, after=mark)


def everything(store: Store, count: int) -> int:
    """All of it in one tick, without a plan."""
    tick = Discovery(Selection(store, ("rock/*",)), "lab", "rock").tick(None, 0.0, count)
    return tick.listed


def _tick(store: Store, count: int, plan: Windows | Rising, **at: Any) -> int:
    now = end_of(count, AN_HOUR)
    discovery = Discovery(Selection(store, ("rock/*",)), "lab", "rock", plan)
    cursor = {"plan": discovery._digest, "walked": now - 3600, **at}
    tick = discovery.tick(json.dumps(cursor), now)
    if name_of(count - 1, AN_HOUR) not in {found.object for found in tick.found}:
        raise SystemExit("the newest object was not found")
    return tick.listed


def dagster(client: Any, count: int) -> int:
    """``get_objects`` of dagster-aws: what came after the last key that was seen."""
    from dagster_aws.s3.sensor import get_objects

    seen = name_of(count - AN_HOUR, AN_HOUR)
    new = get_objects(f"bucket-{count}", "rock/", since_key=seen, client=client)
    if len(new) != AN_HOUR - 1:
        raise SystemExit(f"dagster: {len(new)} new objects")
    return count


CANDIDATES: dict[str, Callable[[Store, int], int]] = {
    "windows": windows,
    "windows_walking": windows_walking,
    "rising": rising,
    "everything": everything,
}


def candidate(name: str, place: str, count: int) -> None:
    """Run in a process of its own: print its cost as JSON."""
    if place.startswith("http"):
        import boto3
        from dagster_aws.s3.sensor import get_objects  # noqa: F401

        keys = {"aws_access_key_id": "x", "aws_secret_access_key": "x", "region_name": "us-east-1"}
        client = boto3.client("s3", endpoint_url=place, **keys)
        client.list_objects_v2(Bucket=f"bucket-{count}", MaxKeys=1)
        store: Any = ObjectStore(S3Bucket(client, f"bucket-{count}"))
    else:
        store = FolderStore(place)
    begun, used = time.perf_counter(), time.process_time()
    listed = dagster(client, count) if name == "dagster" else CANDIDATES[name](store, count)
    cost = Cost(time.process_time() - used, time.perf_counter() - begun, listed)
    print(json.dumps(cost.__dict__))


def measure(name: str, place: str, count: int) -> Cost:
    """One process; raise if it fails."""
    command = [sys.executable, __file__, name, place, str(count)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{name}, {count:,}:\n{done.stderr[-2000:]}")
    return Cost(**json.loads(done.stdout.splitlines()[-1]))


def compare(title: str, runs: list[tuple[str, str, int]], rounds: int) -> dict[Any, list[Cost]]:
    """Interleave ``runs`` (candidate, place, count), print medians, return all costs."""
    costs: dict[Any, list[Cost]] = {(name, count): [] for name, _, count in runs}
    for _ in range(rounds):
        for name, place, count in runs:
            costs[name, count].append(measure(name, place, count))
    grid = Grid("tick", "objects", "listed", "cpu s", "min-max", "wall s", title=title)
    for (name, count), found in costs.items():
        cpus = [cost.cpu for cost in found]
        wall = statistics.median(cost.wall for cost in found)
        grid.add_row(name, f"{count:,}", f"{found[0].listed:,}",
                     f"{statistics.median(cpus):.4f}", f"{min(cpus):.4f}-{max(cpus):.4f}",
                     f"{wall:.4f}")  # fmt: skip
    console.print(grid)
    return costs


def ratio(costs: dict[Any, list[Cost]], one: Any, other: Any) -> float:
    """How many times the CPU of ``other`` a tick of ``one`` takes: median of the rounds."""
    pairs = zip(costs[one], costs[other], strict=True)
    return statistics.median(a.cpu / b.cpu for a, b in pairs)


def told(what: str, value: float, target: float, at_most: bool) -> bool:
    """Print a target and whether it is met."""
    met = value <= target if at_most else value >= target
    mark = "[green]met[/]" if met else "[red]missed[/]"
    sign = "at most" if at_most else "at least"
    console.print(f"{what}: {value:.2f} ({sign} {target:.2f}) {mark}")
    return met


def make_files(root: Path, count: int) -> None:
    """Empty files in hour folders, as old as their hours."""
    for number in range(count):
        path = root / name_of(number, AN_HOUR)
        if number % AN_HOUR == 0:
            path.parent.mkdir(parents=True)
        path.touch()
        hour = START.timestamp() + number // AN_HOUR * 3600
        os.utime(path, (hour, hour))


def over_s3(rounds: int) -> list[bool]:
    """Buckets of both sizes; Dagster's helper at the small one."""
    with bucket() as endpoint:
        runs = [("dagster", endpoint, SMALL)]
        plans = ("windows", "rising", "windows_walking")
        runs += [(name, endpoint, count) for name in plans for count in (SMALL, LARGE)]
        costs = compare(f"One tick over S3, {AN_HOUR} objects an hour", runs, rounds)
    met = []
    for name in plans:
        grows = ratio(costs, (name, LARGE), (name, SMALL))
        met.append(told(f"{name}, 1M of 100k", grows, 1.5, at_most=True))
    for name in plans[:2]:
        cheaper = ratio(costs, ("dagster", SMALL), (name, SMALL))
        met.append(told(f"100k, Dagster's get_objects of {name}", cheaper, 100, at_most=False))
    return met


def over_folder(rounds: int) -> list[bool]:
    """Real files: a tenth, and all."""
    with tempfile.TemporaryDirectory(prefix="bench") as folder:
        runs = []
        for count in (SMALL // 10, SMALL):
            root = Path(folder) / str(count)
            make_files(root, count)
            runs += [(name, str(root), count) for name in ("windows", "everything")]
        costs = compare(f"One tick over a folder, {AN_HOUR} files an hour", runs, rounds)
    grows = ratio(costs, ("windows", SMALL), ("windows", SMALL // 10))
    return [told("windows over a folder, 100k of 10k", grows, 1.5, at_most=True)]


def main(rounds: int = 5) -> bool:
    """Run everything; whether all targets are met."""
    return all([*over_s3(rounds), *over_folder(rounds)])


if __name__ == "__main__":
    if len(sys.argv) == 4:
        candidate(sys.argv[1], sys.argv[2], int(sys.argv[3]))
    else:
        options = argparse.ArgumentParser()
        options.add_argument("--rounds", type=int, default=5)
        sys.exit(0 if main(options.parse_args().rounds) else 1)
