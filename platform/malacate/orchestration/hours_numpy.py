"""Hours that the run itself computes: statistics and spectra of samples, in this process."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq

from malacate.errors import LakeError
from malacate.hours.in_process import InProcess
from malacate.hours.job import Job
from malacate.lake.lake import Lake
from malacate.sources.hours import Launch
from malacate.warehouse.hourly import HourlyStats


class Numpy:
    """See ``Engine``."""

    kind = "numpy"

    def require_sound(self, stats: HourlyStats) -> None:
        """It takes whatever ``HourlyStats`` is."""

    def launch(
        self, context: dg.AssetExecutionContext, lake: Lake, told: list[dict[str, Any]]
    ) -> Launch:
        """See ``Engine``: yields after each hour."""

        def launched(job: Job) -> Iterator[None]:
            work = InProcess(job, lambda uri: _opened(lake, uri))
            for number, rows in enumerate(work.rows()):
                data = pa.BufferOutputStream()
                pq.write_table(rows, data)
                name = f"{_path(lake, job.output)}-{number:05d}.parquet"
                lake.replace(name, bytes(data.getvalue()))
                yield
            told.append(work.counts)

        return launched


def _opened(lake: Lake, uri: str) -> pa.NativeFile:
    if Path(uri).is_file():
        return pa.memory_map(uri)
    if (data := lake.content(_path(lake, uri))) is None:
        raise LakeError(
            "a landing of readings has gone, so their hours cannot be computed",
            "Restore the lake's folder, or have the file delivered again.",
            object=uri,
            reason="lake_lost",
        )
    return pa.BufferReader(data)


def _path(lake: Lake, uri: str) -> str:
    return uri.removeprefix(lake.uri()).lstrip("/")
