"""One DuckDB file, more than one process."""

import subprocess
import sys
import time
from pathlib import Path

import duckdb
import pytest
from platform_tests.warehouse.batches import Batches, drop, table

from malacate.errors import WarehouseBusy
from malacate.lake.lake import Lake
from malacate.warehouse.duckdb import DuckDBWarehouse

ROOT = Path(__file__).resolve().parents[2]

WRITER = """
import sys
from pathlib import Path
from malacate.lake.lake import Lake
from malacate.warehouse.duckdb import DuckDBWarehouse
from platform_tests.warehouse.batches import Batches, drop, table
home, worker = Path(sys.argv[1]), int(sys.argv[2])
lake = Lake(home / "lake")
warehouse, batches = DuckDBWarehouse(home / "w.duckdb", lake.root), Batches(lake, table())
for i in range(10):
    own = batches.of(drop(f"{worker}-{i}"), [{"id": worker * 100 + i, "name": "own"}])
    shared = batches.of(drop(f"shared-{i}"), [{"id": 1000 + i, "name": "shared"}])
    warehouse.publish([own, shared])
"""

HOLDER = """
import duckdb, sys
connection = duckdb.connect(sys.argv[1])
print("held", flush=True)
sys.stdin.readline()
"""


def python(code: str, *arguments: object) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", code, *map(str, arguments)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True)


def test_two_processes_that_write_at_once_lose_and_double_nothing(tmp_path: Path) -> None:
    writers = [python(WRITER, tmp_path, worker) for worker in range(2)]
    for writer in writers:
        writer.communicate()
    assert [writer.returncode for writer in writers] == [0, 0]
    warehouse = DuckDBWarehouse(tmp_path / "w.duckdb", tmp_path / "lake")
    found = sorted(warehouse.read(table().name, ["id"]).column("id").to_pylist())
    assert found == [*range(10), *range(100, 110), *range(1000, 1010)]
    assert len(warehouse.markers(table().name)) == 30


def test_a_holder_of_the_file_is_waited_for_and_then_named(tmp_path: Path) -> None:
    lake, path = Lake(tmp_path / "lake"), tmp_path / "w.duckdb"
    batch = Batches(lake, table()).of(drop(), [{"id": 1}])
    with python(HOLDER, path) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        start = time.monotonic()
        with pytest.raises(WarehouseBusy, match="notebooks") as caught:
            DuckDBWarehouse(path, lake.root, patience_seconds=0.6).publish([batch])
        assert 0.5 < time.monotonic() - start < 10
        assert (caught.value.object, caught.value.reason) == (str(path), "warehouse_busy")
        assert str(holder.pid) in caught.value.actual
        holder.communicate("\n")
    done = DuckDBWarehouse(path, lake.root, patience_seconds=10).publish([batch])
    assert [one.outcome for one in done] == ["published"]


def test_a_holder_that_lets_go_in_time_is_not_noticed(tmp_path: Path) -> None:
    lake, path = Lake(tmp_path / "lake"), tmp_path / "w.duckdb"
    with python(HOLDER.replace("sys.stdin.readline()", "import time; time.sleep(0.5)"), path) as it:
        assert it.stdout is not None
        it.stdout.readline()
        batch = Batches(lake, table()).of(drop(), [{"id": 1}])
        done = DuckDBWarehouse(path, lake.root, patience_seconds=30).publish([batch])
    assert [one.outcome for one in done] == ["published"]


def test_a_reader_waits_too(tmp_path: Path) -> None:
    path = tmp_path / "w.duckdb"
    duckdb.connect(path).close()
    with python(HOLDER, path) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with pytest.raises(WarehouseBusy):
            DuckDBWarehouse(path, tmp_path, patience_seconds=0.2).read(table().name)
        holder.communicate("\n")


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    path = tmp_path / "w.duckdb"
    path.write_bytes(b"not a database" * 1000)
    with pytest.raises(WarehouseBusy) as caught:
        DuckDBWarehouse(path, tmp_path, patience_seconds=0.1).position(table().name)
    assert caught.value.object == str(path)
