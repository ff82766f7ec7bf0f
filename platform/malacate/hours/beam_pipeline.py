"""The hours of sensors as one Beam pipeline: ``python -m malacate.hours.beam_pipeline < job.json``.

A program of an environment of its own, which has Beam, numpy, pyarrow and dagster-pipes: see
``requirements-beam.in``. It writes all of the job's output, or fails. It says on its standard
output, and to Dagster if that started it, what it did.
"""

import json
import os
import resource
import sys
import threading
import time
from collections.abc import Collection, Iterable, Iterator
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.internal.cloudpickle import cloudpickle
from apache_beam.io.filesystems import FileSystems
from apache_beam.metrics import Metrics, MetricsFilter
from apache_beam.options.pipeline_options import PipelineOptions
from dagster_pipes import DAGSTER_PIPES_CONTEXT_ENV_VAR, open_dagster_pipes

from malacate.hours import apart, grid, job, measured, powers
from malacate.hours.apart import by_hour
from malacate.hours.job import Job, groups_of, read_groups
from malacate.hours.measured import Measured, hour_of

COUNTS = "malacate"
"""The namespace of what is counted."""

Key = tuple[Any, int]
"""A sensor, and an hour in microseconds since 1970."""


def read(
    path: str, what: Measured, rows: pa.Schema, hours: Collection[int] | None
) -> Iterator[tuple[Key, bytes]]:
    """Readings of one file, by sensor and hour; row groups without a wanted hour are not read."""
    with FileSystems.open(path, "application/octet-stream") as opened:
        file = pq.ParquetFile(opened)
        for group in groups_of(file.metadata, what.instant, hours):
            found = read_groups(file, [group], rows)
            for sensor, hour, some in by_hour(what, found, hours):
                Metrics.counter(COUNTS, "readings_read").inc(some.num_rows)
                yield (sensor, hour), some.serialize().to_pybytes()


def computed(
    grouped: tuple[Key, Iterable[bytes]], what: Measured, rows: pa.Schema
) -> dict[str, Any]:
    """The row of one sensor and hour."""
    (sensor, hour), parts = grouped
    own = pa.schema([field for field in rows if field.name != what.sensor])
    batches = [pa.ipc.read_record_batch(pa.py_buffer(part), own) for part in parts]
    row = hour_of(what, sensor, hour, pa.Table.from_batches(batches, own))
    Metrics.counter(COUNTS, "readings_counted").inc(row.get("readings", 0))
    Metrics.counter(COUNTS, "hours_computed").inc()
    return row


def run(this: Job) -> dict[str, Any]:
    """Run it to its end; what it counted, and the seconds of processor that it took here."""
    for module in (apart, grid, job, measured, powers):
        # Beam sends code to its workers; those elsewhere have none of ours, so these go whole.
        cloudpickle.register_pickle_by_value(module)
    options = PipelineOptions.from_dictionary({**this.options, "runner": this.runner})
    pipeline = beam.Pipeline(options=options)
    _ = (
        pipeline
        | "files" >> beam.Create(list(this.files))
        | "readings" >> beam.FlatMap(read, this.what, this.rows, _set(this.hours))
        | "by sensor and hour" >> beam.GroupByKey()
        | "hours" >> beam.Map(computed, this.what, this.rows)
        | "written" >> beam.io.WriteToParquet(this.output, this.made, file_name_suffix=".parquet")
    )
    result = pipeline.run()
    result.wait_until_finish()
    found = result.metrics().query(MetricsFilter().with_namespace(COUNTS))["counters"]
    counts = {one.key.metric.name: one.result for one in found}
    return {
        "runner": this.runner,
        "files": len(this.files),
        **counts,
        "cpu_seconds": _cpu_seconds(),
    }


def _set(hours: Iterable[int] | None) -> frozenset[int] | None:
    return None if hours is None else frozenset(hours)


def _cpu_seconds() -> float:
    spent = [resource.getrusage(of) for of in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return round(sum(one.ru_utime + one.ru_stime for one in spent), 2)


def end_with(parent: int) -> None:
    """Nobody reads what is made once the process that asked for it has died."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def main() -> None:
    """Do the job on the standard input."""
    threading.Thread(target=end_with, args=[os.getppid()], daemon=True).start()
    this = Job.from_json(sys.stdin.read())
    if DAGSTER_PIPES_CONTEXT_ENV_VAR not in os.environ:
        print(json.dumps(run(this)))
        return
    with open_dagster_pipes() as pipes:
        pipes.log.info(f"{len(this.files)} files of readings, on Beam's {this.runner}")
        pipes.report_custom_message(told := run(this))
        print(json.dumps(told))


if __name__ == "__main__":
    main()
