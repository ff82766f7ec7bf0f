"""BigQuery, the client's side: CPU seconds of what this process does to load and to read rows.

Every candidate runs in a process of its own, interleaved, against the same servers in others:
bqemulator, and our Cloud Storage. Told is the CPU of that process and its threads, after imports
and a first request, with its rows in memory as Arrow; the servers' speed is in the wall time only,
and says nothing of the service. What arrived is counted. ``python bench/bigquery_side.py`` runs it
by itself.
"""

import argparse
import json
import os
import secrets
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryDirectory

from bigquery_candidates import BUCKET, PROJECT, client
from rich.console import Console
from rich.table import Table as Grid
from source import line_rows

sys.path.insert(0, str(Path(__file__).parent.parent))

JSON_OF = 20
"""Rows come as JSON so slowly that only this part of them is asked for."""

LOADED = "BigQuery loaded by URI, times load_table_from_dataframe"
"""What is committed to, of the ratios."""

console = Console(width=120)


@dataclass(frozen=True)
class Cost:
    """CPU and wall seconds of one run; of the CPU, what making a pandas frame took."""

    rows: int
    cpu: float
    wall: float
    frame: float = 0.0


def measure(name: str, source: Path, target: str) -> Cost:
    """One process; raise if it fails."""
    program = str(Path(__file__).with_name("bigquery_candidates.py"))
    command = [sys.executable, program, name, str(source), target]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{name}:\n{done.stderr[-3000:]}")
    return Cost(**json.loads(done.stdout.splitlines()[-1]))


def loaded(name: str, source: Path, rows: int) -> Cost:
    """One load into a table of its own; raise unless every row arrived."""
    target = f"t{secrets.token_hex(8)}"
    cost = measure(name, source, target)
    arrived(target, rows)
    client().delete_table(f"{PROJECT}.raw_bench.{target}")
    return cost


def arrived(target: str, rows: int) -> None:
    """Raise unless the table holds what was sent."""
    sql = f"select count(*) as n, sum(id) as ids, sum(price) as price from raw_bench.{target}"
    (found,) = client().query(sql).result()
    expected = rows * (rows + 1) // 2
    if (found["n"], found["ids"]) != (rows, expected) or not found["price"]:
        raise SystemExit(f"{target}: {dict(found)} arrived of {rows} rows")


def compare(
    title: str, names: list[str], rounds: int, once: Callable[[str], Cost]
) -> dict[str, list[Cost]]:
    """Interleave the candidates, print medians, return all costs."""
    costs: dict[str, list[Cost]] = {name: [] for name in names}
    for _ in range(rounds):
        for name in names:
            costs[name].append(once(name))
    grid = Grid(
        "candidate", "rows", "cpu s", "min-max", "rows per cpu s", "wall s", "rows/s", title=title
    )
    for name, found in costs.items():
        cpus, rows = [one.cpu for one in found], found[0].rows
        cpu = statistics.median(cpus)
        wall = statistics.median(one.wall for one in found)
        grid.add_row(name, f"{rows:,}", f"{cpu:.2f}", f"{min(cpus):.2f}-{max(cpus):.2f}",
                     f"{rows / cpu:,.0f}", f"{wall:.2f}", f"{rows / wall:,.0f}")  # fmt: skip
    console.print(grid)
    return costs


def ratio(costs: dict[str, list[Cost]], one: str, other: str, frame: bool = True) -> float:
    """How many times the CPU of ``other`` is that of ``one``, a row: median of the rounds."""
    return statistics.median(
        ((b.cpu - (0.0 if frame else b.frame)) / b.rows) / (a.cpu / a.rows)
        for a, b in zip(costs[one], costs[other], strict=True)
    )


@contextmanager
def servers() -> Iterator[None]:
    """Stand-ins of Google's on loopback; the environment names them."""
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import bigquery, storage
    from platform_tests.emulators import bigquery_proxy, bigquery_storage, gcs, parts
    from platform_tests.emulators.install import install

    install(parts.BIGQUERY)
    with ExitStack() as stack:
        root = Path(stack.enter_context(TemporaryDirectory(prefix="bench"))) / "buckets"
        bucket = stack.enter_context(gcs.serving(root))
        server = stack.enter_context(parts.bigquery(root))
        proxy = stack.enter_context(bigquery_proxy.proxied(server.url))
        rows = stack.enter_context(bigquery_storage.serving(server, proxy))
        os.environ |= {
            "GOOGLE_CLOUD_PROJECT": PROJECT,
            "STORAGE_EMULATOR_HOST": bucket,
            "BIGQUERY_EMULATOR_HOST": proxy.url,
            "BIGQUERY_STORAGE_EMULATOR_HOST": rows.url,
            "PYTHONWARNINGS": "ignore",
        }
        storage.Client(PROJECT, credentials=AnonymousCredentials()).create_bucket(BUCKET)
        bigquery.Client(PROJECT, credentials=AnonymousCredentials()).create_dataset("raw_bench")
        yield


def versions() -> str:
    """What the ratios depend on."""
    names = ("google-cloud-bigquery", "google-cloud-bigquery-storage", "pandas", "pandas-gbq",
             "pyarrow")  # fmt: skip
    found = []
    for name in names:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"no {name}")
    return ", ".join(found)


def main(rounds: int = 3, rows: int = 1_000_000) -> dict[str, float]:
    """Run everything; how many times our CPU others take, ``LOADED`` and what is beside it."""
    console.print(f"BigQuery's clients: {versions()}; load of the machine {os.getloadavg()[0]:.1f}")
    with servers(), TemporaryDirectory(prefix="bench") as folder:
        large, small = Path(folder) / "large.arrow", Path(folder) / "small.arrow"
        line_rows(large, rows)
        line_rows(small, rows // JSON_OF)
        sent = compare(
            f"Arrow -> BigQuery, client side, {rows:,} rows x 12",
            ["malacate_loaded", "load_table_from_dataframe", "dataframe_of_arrow",
             "malacate_published"],
            rounds, lambda name: loaded(name, large, rows),
        )  # fmt: skip
        for source, target in ((large, "large"), (small, "small")):
            measure("malacate_published", source, target)
        got = compare(
            f"BigQuery -> Arrow, client side, {rows:,} rows x 12, Storage Read API",
            ["malacate_read", "list_rows_to_arrow", "list_rows_to_dataframe"],
            rounds, lambda name: measure(name, large, "large"),
        )  # fmt: skip
        got |= compare(
            f"BigQuery -> Arrow, client side, {rows // JSON_OF:,} rows x 12, as JSON",
            ["malacate_read_json", "list_rows_json"],
            rounds, lambda name: measure(name, small, "small"),
        )  # fmt: skip
    ours, theirs = "malacate_loaded", "load_table_from_dataframe"
    return {
        LOADED: ratio(sent, ours, theirs),
        "the same without its to_pandas": ratio(sent, ours, theirs, frame=False),
        "the same of a frame with Arrow-backed columns": ratio(sent, ours, "dataframe_of_arrow"),
        "published, times load_table_from_dataframe": ratio(sent, "malacate_published", theirs),
        "read by the Storage Read API, times list_rows().to_arrow() by it":
            ratio(got, "malacate_read", "list_rows_to_arrow"),
        "the same, times list_rows().to_dataframe() by it":
            ratio(got, "malacate_read", "list_rows_to_dataframe"),
        "the same, times list_rows().to_arrow() as JSON":
            ratio(got, "malacate_read", "list_rows_json"),
    }  # fmt: skip


if __name__ == "__main__":
    options = argparse.ArgumentParser()
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--rows", type=int, default=1_000_000)
    given = options.parse_args()
    for what, value in main(given.rounds, given.rows).items():
        console.print(f"{what}: {value:.2f}")
