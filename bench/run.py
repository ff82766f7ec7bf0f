"""``make bench``: wall time, CPU and memory of whole processes, interleaved, as ratios.

Every candidate runs in a process of its own, in turn A B C A B C; a ratio is taken within each
round, and its median is told. Targets are those that the project commits to.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import apply
import bigquery_side
import hours
import pgoutput
import slot
import streams
import ticks
from rich.console import Console
from rich.table import Table as Grid
from source import avro_file, postgres, small_files

HERE = Path(__file__).parent
console = Console(width=120)


@dataclass(frozen=True)
class Run:
    """One process: seconds of wall, after its imports, and of CPU; its peak memory in MB."""

    wall: float
    work: float
    cpu: float
    rss: float


def measure(name: str, source: str, rows: int) -> Run:
    """Run one candidate; raise if it fails or moves another number of rows."""
    with tempfile.TemporaryDirectory(prefix="bench") as folder:
        command = [sys.executable, str(HERE / "candidates.py"), name, source, str(rows), folder]
        begun = time.monotonic()
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        out, err = process.stdout.read(), process.stderr.read()
        _, status, used = os.wait4(process.pid, 0)
        wall = time.monotonic() - begun
    work, moved = out.split()[-2:] or (b"0", b"nothing")
    if status or int(moved) != rows:
        raise SystemExit(f"{name}: moved {moved!r} of {rows}\n{err.decode()[-2000:]}")
    return Run(wall, float(work), used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


def compare(
    title: str, names: list[str], source: str, rows: int, rounds: int, clock: str = "wall"
) -> dict[str, float]:
    """Print a table of medians; return the median ratio limit/candidate of each.

    ``clock`` is ``wall`` for whole processes, or ``work`` for what they do after their imports.
    """
    measure(names[0], source, rows)
    runs: dict[str, list[Run]] = {name: [] for name in names}
    for _ in range(rounds):
        for name in names:
            runs[name].append(measure(name, source, rows))
    grid = Grid(
        "candidate",
        "wall s",
        "min-max",
        "after imports s",
        "cpu s",
        "RSS MB",
        f"of limit ({clock})",
        title=title,
    )
    ratios = {}
    for name, found in runs.items():
        walls = [run.wall for run in found]
        pairs = zip(runs[names[0]], found, strict=True)
        ratios[name] = statistics.median(
            getattr(limit, clock) / getattr(run, clock) for limit, run in pairs
        )
        grid.add_row(
            name, f"{statistics.median(walls):.2f}", f"{min(walls):.2f}-{max(walls):.2f}",
            f"{statistics.median(run.work for run in found):.2f}",
            f"{statistics.median(run.cpu for run in found):.2f}",
            f"{max(run.rss for run in found):.0f}", f"{ratios[name]:.2f}",
        )  # fmt: skip
    console.print(grid)
    return ratios


def told(what: str, value: float, target: float) -> bool:
    """Print a target and whether it is met."""
    met = value >= target
    mark = "[green]met[/]" if met else "[red]missed[/]"
    console.print(f"{what}: {value:.2f} (target {target:.2f}) {mark}")
    return met


def databases(small: int, large: int, rounds: int, slow: bool) -> list[bool]:
    """Postgres to the lake and to the raw table."""
    quick = ["copy_binary", "malacate_landed", "malacate_published", "dlt_fast_files"]
    with postgres([small, large]) as url:
        peers = [*quick, "dlt_pyarrow_duckdb"]
        one = compare(f"Postgres, {small:,} rows x 12", peers, url, small, rounds)
        if slow:
            others = ["copy_binary", "pandas_files", "dlt_default_duckdb"]
            compare(f"Postgres, {small:,} rows x 12, slow peers", others, url, small, 1)
        five = compare(f"Postgres, {large:,} rows x 12", quick, url, large, rounds)
    fast = one["malacate_landed"] / one["dlt_fast_files"]
    table = one["malacate_published"] / one["dlt_pyarrow_duckdb"]
    return [
        told("5M landed, of COPY", five["malacate_landed"], 0.45),
        told("5M published, of COPY", five["malacate_published"], 0.35),
        told("1M landed, times dlt's fastest", fast, 1.0),
        told("1M published, times dlt pyarrow -> DuckDB", table, 3.0),
    ]


def avro(rows: int, rounds: int) -> list[bool]:
    """One large Avro drop to Parquet and to the raw table."""
    names = ["avro_blocks", "avro_parquet", "avro_malacate", "avro_published", "avro_fastavro",
             "avro_fastavro_table", "avro_polars_table"]  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="bench") as folder:
        path = Path(folder) / "drop.avro"
        avro_file(path, rows)
        title = f"Avro, {rows:,} rows x 10, deflate"
        found = compare(title, names, str(path), rows, rounds, clock="work")
    landed, table = found["avro_malacate"], found["avro_published"]
    console.print(f"Avro landed, copied and claimed, of decompressing: {landed:.2f}")
    console.print(f"Avro published, times polars: {table / found['avro_polars_table']:.2f}")
    return [
        told("Avro to Parquet, of decompressing", found["avro_parquet"], 0.45),
        told("Avro landed, times fastavro", landed / found["avro_fastavro"], 4.5),
        told("Avro published, times fastavro -> DuckDB", table / found["avro_fastavro_table"], 4.5),
    ]


def many(files: int) -> None:
    """Small Avro files, each claimed, copied, landed and published once."""
    with tempfile.TemporaryDirectory(prefix="bench") as folder:
        drops = Path(folder) / "drops"
        small_files(drops, files)
        peer, ours = (
            measure(name, str(drops), files) for name in ("small_files_fastavro", "small_files")
        )
    console.print(
        f"{files:,} files of 10 rows: {files / ours.work:.0f} files/s, {ours.rss:.0f} MB; fastavro "
        f"into a table, without copy, checksum, marker or ledger: {files / peer.work:.0f} files/s"
    )


def bigquery(rows: int, rounds: int) -> bool:
    """Arrow to BigQuery and back: CPU of the client."""
    found = bigquery_side.main(rounds, rows)
    met = told(bigquery_side.LOADED, found.pop(bigquery_side.LOADED), 3.5)
    for what, value in found.items():
        console.print(f"{what}: {value:.2f}")
    return met


def main() -> None:
    """Run everything; exit 1 if a target is missed."""
    options = argparse.ArgumentParser()
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--sizes", type=int, nargs=2, default=(1_000_000, 5_000_000))
    options.add_argument("--slow", action=argparse.BooleanOptionalAction, default=True,
                         help="also the slow peers: pandas, dlt as it comes")  # fmt: skip
    parts = ("databases", "avro", "many", "ticks", "bigquery", "pgoutput", "apply", "slot",
             "streams", "hours")  # fmt: skip
    options.add_argument("--only", choices=parts)
    options.add_argument("--minutes", type=float, default=0.0,
                         help="of streams: watch the collector's memory so long")  # fmt: skip
    given = options.parse_args()
    small, large = given.sizes
    met = []
    if given.only in (None, "databases"):
        met += databases(small, large, given.rounds, given.slow)
    if given.only in (None, "avro"):
        met += avro(small, given.rounds)
    if given.only in (None, "many"):
        many(10_000)
    if given.only in (None, "ticks"):
        met.append(ticks.main(given.rounds))
    if given.only in (None, "pgoutput"):
        met.append(told(pgoutput.WHAT, pgoutput.main(given.rounds), pgoutput.TARGET))
    if given.only in (None, "apply"):
        met += [told(*one) for one in apply.main(given.rounds)]
    if given.only in (None, "bigquery"):
        met.append(bigquery(small, given.rounds))
    if given.only in (None, "slot"):
        slot.main(given.rounds)
    if given.only in (None, "hours"):
        met += [told(*one) for one in hours.main(given.rounds)]
    if given.only in (None, "streams"):
        streams.main(given.minutes)
    sys.exit(0 if all(met) else 1)


if __name__ == "__main__":
    main()
