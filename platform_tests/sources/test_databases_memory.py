"""A table of a million rows goes through without being held."""

import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

ROOT = Path(__file__).resolve().parents[2]
MEGABYTES = 400
ROWS = 1_000_000

READER = """
import sys
from pathlib import Path
import pyarrow as pa
from malacate.batch import WriteMode
from malacate.contracts.table import Column, Table
from malacate.ingest import Route
from malacate.names import TableName
from malacate.sources.databases import DatabaseTable
from platform_tests.conftest import PlatformHome
columns = (Column("id", pa.int64(), True), Column("name", pa.string()),
           Column("amount", pa.decimal128(18, 2)), Column("at", pa.timestamp("us", "UTC")))
table = Table(TableName("raw_app", "big"), columns, ("id",), physical_name="public.big")
home = PlatformHome.at(Path(sys.argv[2]))
route = Route(table, DatabaseTable(table, sys.argv[1]), WriteMode.SNAPSHOT)
print(home.ingest.run(route).total("rows_loaded"))
# Not ru_maxrss: it begins with what the process that started this one had held.
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
print(int(status["VmHWM"].split()[0]) // 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
def test_a_million_rows_are_read_in_bounded_memory(postgres_url: str, tmp_path: Path) -> None:
    with psycopg.connect(postgres_url) as connection:
        connection.execute(
            "create table big as select i::bigint as id, repeat(md5(i::text), 4) as name, "
            "(i / 100.0)::numeric(18,2) as amount, now() as at "
            f"from generate_series(1, {ROWS}) i"
        )
    command = [sys.executable, "-c", READER, postgres_url, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows, peak = map(int, done.stdout.split())
    assert rows == ROWS
    assert peak < MEGABYTES, f"{peak} MB"
