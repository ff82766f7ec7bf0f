"""Changes into the state of a DuckDB table: the fold against a limit, MERGE INTO and dlt.

The limit reads the changes, keeps the last of each key and copies those rows into a new table. Each
run has a copy of the same file and a process of its own, in turn; a ratio is taken within each
round, and its median is told. ``python bench/apply.py`` runs it by itself.
"""

import argparse
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa
from rich.console import Console
from rich.table import Table as Grid

from malacate.contracts.changes import changes_of, state_of
from malacate.contracts.table import Column, Table
from malacate.names import TableName
from malacate.warehouse.fold import Fold

console = Console(width=120)

CYCLE = Table(
    TableName("raw_app", "cycle"),
    (
        Column("id", pa.int64(), True),
        Column("truck", pa.string()),
        Column("tonnes", pa.float64()),
        Column("metres", pa.int64()),
        Column("dump", pa.string()),
        Column("ended_at", pa.timestamp("us", "UTC")),
        Column("is_ore", pa.bool_()),
    ),
    ("id",),
)
LOG, FOLD = changes_of(CYCLE), Fold(state_of(CYCLE))
STATE = FOLD.target
_STATE_COLUMNS = ", ".join(f'"{column.name}"' for column in STATE.columns[:-1])
_GONE = "_op in ('D', 'T')"
_LAST = "(_position_hi, _position_lo, _seq)"

_ROWS = """
select {id} as id, 'HT-' || (j % 400) as truck, j / 7.0 as tonnes, j % 9000 as metres,
  'WD-' || (j % 13) as dump, timestamptz '2026-01-01' + to_seconds(j) as ended_at,
  j % 2 = 0 as is_ore, {op} as _op, false as _is_key_change, {hi}::bigint as _position_hi,
  j::bigint as _position_lo, 0::bigint as _seq, false as _is_snapshot,
  timestamptz '2026-06-01' + to_microseconds(j::bigint) + to_days({hi}) as _source_at,
  null::timestamptz as _read_at, '{hi}-' || j as _event_id, 'file' as _file,
  {row}::bigint as _file_row, null::varchar as _missing
"""


def base(path: Path, rows: int) -> None:
    """A file with ``rows`` inserts in the log, and the state behind them."""
    values = _ROWS.format(id="j", op="'I'", hi=1, row="j")
    with duckdb.connect(str(path)) as connection:
        connection.execute("set timezone = 'UTC'; create schema raw_app")
        connection.execute(
            f"create table {LOG.name.sql('duckdb')} as {values}, 'base' as _batch_id "
            f"from range({rows}) r(j)"
        )
        connection.execute(
            f"create table {STATE.name.sql('duckdb')} as select {_STATE_COLUMNS}, "
            f"{_GONE} as is_deleted, _batch_id from {LOG.name.sql('duckdb')}"
        )


def events(path: Path, number: int, rows: int, turn: int = 0) -> None:
    """Changes of scattered keys, a tenth of them deletes, a twentieth told twice.

    Each ``turn`` has keys of its own, and comes after those before it.
    """
    key, kind = f"(hash(j + {turn}) % {rows})::bigint", "case when j % 10 = 0 then 'D' else 'U' end"
    values = _ROWS.format(id=key, op=kind, hi=2 + turn, row="k")
    twice = f"case when k < {number} then k else k - {number} end as j"
    with duckdb.connect() as connection:
        connection.execute("set timezone = 'UTC'")
        connection.execute(
            f"copy ({values} from (select k, {twice} from range({number} + {number} // 20) r(k))) "
            f"to '{path}' (format parquet)"
        )


Connection = duckdb.DuckDBPyConnection


def limit(connection: Connection, changes: Path) -> None:
    """Read, keep the last of each key, copy."""
    connection.execute(f"create temp table came as from '{changes}'")
    connection.execute(
        f"create table raw_app.copied as select {_STATE_COLUMNS}, {_GONE} as is_deleted, "
        "'b' as _batch_id from came where rowid in "
        f"(select arg_max(rowid, {_LAST}) from came group by id)"
    )


def fold(connection: Connection, changes: Path) -> None:
    """What the transaction of a publication does once the changes are in the log."""
    connection.execute("create temp table touching as select 'b' as batch_id")
    connection.execute(f"create temp table gone as {FOLD.touched(LOG)} limit 0")
    for one in FOLD.statements(LOG):
        if isinstance(one, str):
            connection.execute(one)
        elif connection.sql(f"select count(*) from {one.table}").fetchall()[0][0]:
            raise SystemExit("these changes need no second fold")


def merge(connection: Connection, changes: Path) -> None:
    """What DuckDB offers for it."""
    columns = [f'"{column.name}"' for column in STATE.columns[:-1]]
    taken = ", ".join(f"{name} = e.{name}" for name in columns)
    named = ", ".join([*columns, "is_deleted", "_batch_id"])
    given = ", ".join([*(f"e.{name}" for name in columns), "e.is_deleted", "'b'"])
    connection.execute(
        f"merge into raw_app.cycle t using (select *, {_GONE} as is_deleted from '{changes}' "
        "qualify row_number() over (partition by id order by _position_hi desc, "
        "_position_lo desc, _seq desc) = 1) e on t.id = e.id "
        "when matched and (e._position_hi, e._position_lo, e._seq) > "
        "(t._position_hi, t._position_lo, t._seq) "
        f"then update set {taken}, is_deleted = e.is_deleted, _batch_id = 'b' "
        f"when not matched then insert ({named}) values ({given})"
    )


APPLY: dict[str, Callable[[Connection, Path], None]] = {
    "limit": limit, "fold": fold, "merge_into": merge,
}  # fmt: skip


def logged(connection: Connection, changes: Path) -> None:
    """The changes in the log, where a publication puts them first."""
    log = LOG.name.sql("duckdb")
    connection.execute(f"insert into {log} by name select *, 'b' as _batch_id from '{changes}'")
    connection.execute("checkpoint")


@dataclass(frozen=True)
class Run:
    """Seconds of wall and of CPU, commit and checkpoint included."""

    wall: float
    cpu: float


def candidate(name: str, file: Path, changes: Path) -> Run:
    """Apply in this process, and check what the table holds."""
    if name == "dlt_merge":
        return _dlt(file, changes)
    with duckdb.connect(str(file)) as connection:
        connection.execute("set timezone = 'UTC'; set threads = 2")
        if name == "fold":
            logged(connection, changes)
        begun, used = time.monotonic(), _cpu()
        connection.begin()
        APPLY[name](connection, changes)
        connection.commit()
        connection.execute("checkpoint")
        return Run(time.monotonic() - begun, _cpu() - used)


def _dlt(file: Path, changes: Path) -> Run:
    """dlt's delete-insert, its own columns put into the table beforehand."""
    import dlt

    with duckdb.connect(str(file)) as connection:
        connection.execute("alter table raw_app.cycle drop column _batch_id")
        connection.execute("alter table raw_app.cycle add column _dlt_load_id varchar")
        connection.execute("alter table raw_app.cycle add column _dlt_id varchar")
    loaded = dlt.resource(
        lambda: iter([_state_rows(changes)]), name="cycle", primary_key="id",
        write_disposition={"disposition": "merge", "strategy": "delete-insert"},
        columns={"_position_lo": {"dedup_sort": "desc"}, "is_deleted": {"hard_delete": True}},
    )  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="bench") as folder:
        pipeline = dlt.pipeline(
            "apply", folder, destination=dlt.destinations.duckdb(str(file)), dataset_name="raw_app"
        )
        begun, used = time.monotonic(), _cpu()
        pipeline.run(loaded)
        return Run(time.monotonic() - begun, _cpu() - used)


def _state_rows(changes: Path) -> pa.Table:
    sql = f"select {_STATE_COLUMNS}, {_GONE} as is_deleted from '{changes}'"
    with duckdb.connect() as connection:
        return connection.sql(sql).to_arrow_table()


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _measured(name: str, file: Path, changes: Path) -> Run:
    with tempfile.TemporaryDirectory(prefix="bench") as folder:
        own = Path(folder) / "state.duckdb"
        shutil.copyfile(file, own)
        command = [sys.executable, __file__, "--candidate", name, str(own), str(changes)]
        out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    wall, cpu = out.split()[-2:]
    return Run(float(wall), float(cpu))


def compared(rows: int, number: int, names: list[str], rounds: int) -> Iterator[tuple[str, float]]:
    """Print medians; yield the median ratio limit/candidate of each by CPU."""
    with tempfile.TemporaryDirectory(prefix="bench") as folder:
        file, changes = Path(folder) / "base.duckdb", Path(folder) / "changes.parquet"
        base(file, rows)
        events(changes, number, rows)
        runs: dict[str, list[Run]] = {name: [] for name in names}
        for _ in range(rounds):
            for name in names:
                runs[name].append(_measured(name, file, changes))
    grid = Grid("candidate", "wall s", "cpu s", "of limit (wall)", "of limit (cpu)",
                title=f"{number:,} changes on {rows:,} rows")  # fmt: skip
    for name, found in runs.items():
        pairs = list(zip(runs["limit"], found, strict=True))
        by_wall = statistics.median(a.wall / b.wall for a, b in pairs)
        by_cpu = statistics.median(a.cpu / b.cpu for a, b in pairs)
        grid.add_row(name, f"{statistics.median(r.wall for r in found):.2f}",
                     f"{statistics.median(r.cpu for r in found):.3f}",
                     f"{by_wall:.2f}", f"{by_cpu:.2f}")  # fmt: skip
        yield name, by_wall
    console.print(grid)


def small_batch(rows: int, rounds: int) -> float:
    """CPU seconds of 1,000 changes on ``rows`` rows."""
    with tempfile.TemporaryDirectory(prefix="bench") as folder:
        file, changes = Path(folder) / "base.duckdb", Path(folder) / "changes.parquet"
        base(file, rows)
        events(changes, 1_000, rows)
        found = [_measured("fold", file, changes).cpu for _ in range(rounds)]
    return statistics.median(found)


def worn(rows: int, turns: int = 20) -> float:
    """Rows of the state that are alive, of those that DuckDB stores, after so many batches.

    Each replaces a hundredth of the rows. What it deletes is taken out by DuckDB's checkpoints.
    """
    with tempfile.TemporaryDirectory(prefix="bench") as folder:
        file, changes = Path(folder) / "base.duckdb", Path(folder) / "changes.parquet"
        base(file, rows)
        for turn in range(turns):
            events(changes, rows // 100, rows, turn)
            with duckdb.connect(str(file)) as connection:
                connection.execute("set timezone = 'UTC'")
                logged(connection, changes)
                connection.begin()
                fold(connection, changes)
                connection.commit()
                connection.execute(f"delete from {LOG.name.sql('duckdb')} where _batch_id = 'b'")
        with duckdb.connect(str(file)) as connection:
            return _alive(connection, STATE.name.sql("duckdb"))


def _alive(connection: Connection, table: str) -> float:
    (alive,) = connection.sql(f"select count(*) from {table}").fetchall()[0]
    (stored,) = connection.execute(
        "select sum(count) from pragma_storage_info($table) "
        "where column_id = 0 and segment_type <> 'VALIDITY'", {"table": table},
    ).fetchall()[0]  # fmt: skip
    return float(alive / stored)


def main(rounds: int, rows: int = 10_000_000) -> list[tuple[str, float, float]]:
    """What was measured: words, value, target."""
    names = ["limit", "fold", "merge_into", "dlt_merge"]
    found = dict(compared(rows, 1_000_000, names, rounds))
    growth = {size: small_batch(size, rounds) for size in (rows // 10, rows, 3 * rows)}
    grid = Grid("rows", "cpu s", title="1,000 changes: growth")
    for size, cpu in growth.items():
        grid.add_row(f"{size:,}", f"{cpu:.3f}")
    console.print(grid)
    return [
        ("1M changes on 10M rows, of read, dedupe and copy", found["fold"], 0.75),
        ("times MERGE INTO", found["fold"] / found["merge_into"], 2.5),
        ("times dlt's merge", found["fold"] / found["dlt_merge"], 2.5),
        ("0.2 s of CPU, of 1,000 changes on 10M rows", 0.2 / growth[rows], 1.0),
        ("alive of stored rows, after 20 batches of 1 %", worn(rows // 10), 0.75),
    ]


if __name__ == "__main__":
    options = argparse.ArgumentParser()
    options.add_argument("--candidate", nargs=3)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--rows", type=int, default=10_000_000)
    given = options.parse_args()
    if given.candidate:
        name, file, changes = given.candidate
        run = candidate(name, Path(file), Path(changes))
        print(run.wall, run.cpu)
    else:
        for what, value, target in main(given.rounds, given.rows):
            console.print(f"{what}: {value:.2f} (target {target})")
