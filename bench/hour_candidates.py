"""Hours of vibration: one candidate a process, ``hour_candidates.py NAME FOLDER``.

Prints seconds of wall and of CPU after its imports, and the hours that it made.
"""

import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

AXES = ("x", "y", "z")
STEPS = 1000
READINGS_OF_HOUR = 360_000
"""At 100 Hz."""

LIMIT = "select " + ", ".join(f"max({n})" for n in ("sensor_id", "measured_at", *AXES))


def connected(folder: Path):
    """DuckDB on one thread, so that CPU is what the work takes."""
    import duckdb

    connection = duckdb.connect()
    connection.execute("set threads = 1; set timezone = 'UTC'; create schema raw_mine")
    values = ", ".join(f"cast({axis} as double) as {axis}" for axis in AXES)
    connection.execute(
        f"create view raw_mine.wave as select sensor_id, measured_at, {values}, "
        f"'b' as _batch_id from read_parquet('{folder}/*.parquet')"
    )
    return connection


def tables():
    """The readings, and their hours with all that is told of an axis."""
    import pyarrow as pa

    from malacate.contracts.table import Column, Table
    from malacate.names import TableName

    of_axis = ("rms_mm_s", "peak_mm_s", "peak_to_peak_mm_s", "crest_factor", "kurtosis")
    instant, bound = pa.timestamp("us", "UTC"), 32.767
    wave = Table(
        TableName("raw_mine", "wave"),
        (
            Column("sensor_id", pa.string(), True),
            Column("measured_at", instant, True),
            *(Column(axis, pa.float64(), minimum=-bound, maximum=bound) for axis in AXES),
        ),
        ("sensor_id", "measured_at"),
    )
    hours = Table(
        TableName("raw_mine", "wave_hour"),
        (
            Column("sensor_id", pa.string(), True),
            Column("hour_at", instant, True),
            Column("readings", pa.int64()),
            *(Column(f"{axis}_{name}", pa.float64()) for axis in AXES for name in of_axis),
            Column("ppv_mm_s", pa.float64()),
            Column("revision", pa.int64()),
        ),
        ("sensor_id", "hour_at"),
    )
    return wave, hours


def stats():
    """What the platform is told of them."""
    from malacate.warehouse.hourly import HourlyStats

    return HourlyStats(
        tables()[1], READINGS_OF_HOUR, {axis: axis for axis in AXES}, 1 / STEPS,
        sequence="measured_at",
    )  # fmt: skip


def decode(folder: Path):
    """The limit: every value of every column, and nothing kept."""
    connection = connected(folder)
    yield
    yield len(connection.execute(f"{LIMIT} from '{folder}/*.parquet'").fetchall())


def power_sums(folder: Path):
    """Statistics of readings as they are, second copies among them."""
    connection, of = connected(folder), stats()
    hour = "epoch_us(measured_at) // 3600000000"
    readings = f"select *, {hour} as hour_at from raw_mine.wave"
    few = of.of_few(tables()[0])
    yield
    yield len(connection.execute(of.hours(of.sums(readings, few), few)).fetchall())


def derived(folder: Path):
    """What the transaction of a publication does: each reading once."""
    connection = connected(folder)
    _with_hours(connection)
    yield
    _derive(connection, "b")
    yield connection.execute("select count(*) from raw_mine.wave_hour").fetchone()[0]


def _with_hours(connection):
    columns = ", ".join(f"null::{kind} as {name}" for name, kind in _kinds(tables()[1]))
    connection.execute(f"create table raw_mine.wave_hour as select {columns} limit 0")
    connection.execute("create temp table gone as select '' as sensor_id, now() as hour_at limit 0")


def _derive(connection, batch: str):
    """What follows from one batch of readings."""
    from malacate.warehouse.protocol import IfAny

    connection.execute(f"create or replace temp table touching as select '{batch}' as batch_id")
    for one in stats().statements(tables()[0]):
        if isinstance(one, IfAny):
            if connection.execute(f"select 1 from {one.table}").fetchall():
                raise SystemExit("these readings need no second sum")
            continue
        connection.execute(one, {"batch_id": batch} if "$batch_id" in one else {})


_DAY = """
create table raw_mine.wave as select 'GEO-' || lpad((sensor + 1)::varchar, 3, '0') as sensor_id,
  timestamptz '2026-03-01' + to_seconds(second) as measured_at,
  round(random() - 0.5, 3) as x, round(random() - 0.5, 3) as y, round(random() - 0.5, 3) as z,
  if(second // 60 = 641, 'late', 'day') as _batch_id
from range(86400) a(second), range(120) b(sensor)
"""


def _finished_day(folder: Path, batch: str):
    """10.4M readings of a day, 1 Hz, in a warehouse of its own; what of them came is ``batch``."""
    import duckdb

    with duckdb.connect(str(folder / f"{batch}.duckdb")) as connection:
        connection.execute("set threads = 1; set timezone = 'UTC'; create schema raw_mine")
        connection.execute(_DAY)
        _with_hours(connection)
        if batch == "late":
            connection.execute("create table raw_mine.kept as from raw_mine.wave "
                               "where _batch_id = 'late'")  # fmt: skip
            connection.execute("delete from raw_mine.wave where _batch_id = 'late'")
            _derive(connection, "day")
            connection.execute("checkpoint")
            connection.execute("insert into raw_mine.wave from raw_mine.kept")
        yield
        connection.begin()
        _derive(connection, batch)
        connection.commit()
        revised = "select count(*) from raw_mine.wave_hour where _batch_id = ?"
        yield connection.execute(revised, [batch]).fetchone()[0]


def day(folder: Path):
    """All hours of a day."""
    yield from _finished_day(folder, "day")


def late(folder: Path):
    """What a file of a minute costs that comes when its day is finished."""
    yield from _finished_day(folder, "late")


def _kinds(table):
    sql = {"string": "varchar", "int64": "bigint", "double": "double"}
    for column in table.columns:
        yield column.name, sql.get(str(column.type), "timestamptz")
    yield "_batch_id", "varchar"


def job_of(folder: Path, with_spectrum: bool, output: str = ""):
    """The hours of the readings in a folder, as engines beside the warehouse are asked."""
    import dataclasses

    import pyarrow as pa

    from malacate.contracts.table import Column
    from malacate.hours.job import Job
    from malacate.sources.hours import measured
    from malacate.warehouse.hourly_rules import Spectrum

    (wave, hours), of = tables(), stats()
    if with_spectrum:
        bands = {"low": (1.0, 5.0), "mid": (5.0, 15.0), "high": (15.0, 50.0)}
        spectrum = Spectrum(100.0, bands)
        hours = hours.having(*(Column(name, pa.float64()) for name in spectrum.columns(AXES)))
        of = dataclasses.replace(of, table=hours, spectrum=spectrum)
    what = measured(of, wave)
    return Job(
        what, sorted(map(str, folder.glob("*.parquet"))), [1_772_323_200_000_000],
        pa.schema([(name, wave.by_name[name].type) for name in what.read]),
        pa.schema([(name, hours.by_name[name].type) for name in what.columns]), output,
    )  # fmt: skip


def engine(folder: Path):
    """The engine ``numpy``: each reading once, statistics and spectrum."""
    import pyarrow as pa

    from malacate.hours.in_process import InProcess

    job = job_of(folder, with_spectrum=True)
    pa.set_cpu_count(1)
    yield
    yield sum(rows.num_rows for rows in InProcess(job, pa.memory_map).rows())


def beam(folder: Path):
    """The engine ``beam`` on this machine: each reading once, statistics and spectrum."""
    import tempfile

    import pyarrow.parquet as pq

    from malacate.orchestration.hours_beam import Beam

    with tempfile.TemporaryDirectory(prefix="bench") as out:
        job = job_of(folder, with_spectrum=True, output=f"{out}/made")
        yield
        list(Beam().start(job, {}))
        yield sum(pq.read_metadata(path).num_rows for path in Path(out).glob("made-*"))


def pandas(folder: Path):
    """Columns at once, formulas by group; second copies are counted."""
    import pandas as pd
    import pyarrow.parquet as pq

    yield
    read = pq.ParquetDataset(folder).read(use_threads=False)
    frame = read.to_pandas(categories=["sensor_id"], use_threads=False)
    frame["hour_at"] = frame["measured_at"].dt.floor("h")
    groups = frame.groupby(["sensor_id", "hour_at"], observed=True)
    made = {"readings": groups.size()}
    for axis in AXES:
        values, of = frame[axis].astype("float64"), [frame["sensor_id"], frame["hour_at"]]
        mean = values.groupby(of, observed=True).transform("mean")
        power = {n: ((values - mean) ** n).groupby(of, observed=True).mean() for n in (2, 4)}
        rms = (values**2).groupby(of, observed=True).mean() ** 0.5
        low, high = groups[axis].min(), groups[axis].max()
        peak = pd.concat([low.abs(), high.abs()], axis=1).max(axis=1)
        made |= {f"{axis}_rms": rms, f"{axis}_peak": peak, f"{axis}_span": high - low,
                 f"{axis}_crest": peak / rms,
                 f"{axis}_kurtosis": power[4] / power[2] ** 2}  # fmt: skip
    yield len(pd.DataFrame(made))


def pyspark(folder: Path):
    """Spark's DataFrame on two threads of this machine; the JVM's seconds are in it."""
    from pyspark.sql import SparkSession
    from pyspark.sql import functions as f

    yield
    session = (
        SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false")
        .config("spark.driver.host", "127.0.0.1").getOrCreate()
    )  # fmt: skip
    told = [f.count("*")]
    for axis in AXES:
        told += [f.sqrt(f.avg(f.col(axis) ** 2)), f.min(axis), f.max(axis), f.kurtosis(axis)]
    frame = session.read.parquet(str(folder))
    found = frame.groupBy("sensor_id", f.date_trunc("hour", "measured_at")).agg(*told).collect()
    gateway = session.sparkContext._gateway
    session.stop()
    gateway.shutdown()
    gateway.proc.stdin.close()
    gateway.proc.wait()
    yield len(found)


CANDIDATES: dict[str, Callable] = {
    one.__name__: one
    for one in (decode, power_sums, derived, engine, beam, day, late, pandas, pyspark)
}


def main() -> None:
    """Run the one that is named."""
    run = CANDIDATES[sys.argv[1]](Path(sys.argv[2]))
    next(run)
    begun, used = time.perf_counter(), _cpu()
    made = next(run)
    print(time.perf_counter() - begun, _cpu() - used, made)


def _cpu() -> float:
    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(one.ru_utime + one.ru_stime for one in map(resource.getrusage, who))


if __name__ == "__main__":
    main()
