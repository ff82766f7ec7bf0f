"""Two platforms on the same drops: one whose warehouse derives the hours, and one where a program
does; and that program as a function here, or as a process that can be killed.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from platform_tests.conftest import PlatformHome
from platform_tests.warehouse.hours import HOURS, READING, STATS, Row

from malacate.batch import WriteMode
from malacate.formats import FileFormat
from malacate.hours.apart import by_hour
from malacate.hours.job import Job
from malacate.hours.measured import hour_of
from malacate.ingest import Report, Route
from malacate.orchestration.hours_beam import Beam
from malacate.sources.files import FileDrops, all_files
from malacate.sources.hours import HoursDue, Launch
from malacate.stores.folder import FolderStore

RAN: list[Job] = []
"""The jobs that were done here."""


def do_here(job: Job) -> Iterator[None]:
    """What the pipeline does, without Beam; in two files."""
    job = Job.from_json(job.to_json())
    RAN.append(job)
    yield
    read = [pq.read_table(path, columns=job.rows.names).cast(job.rows) for path in job.files]
    parts = by_hour(job.what, pa.concat_tables(read), None if job.hours is None else set(job.hours))
    rows = [hour_of(job.what, *key, pa.Table.from_batches([some])) for *key, some in parts]
    for number, some in enumerate((rows[:1], rows[1:])):
        pq.write_table(pa.Table.from_pylist(some, job.made), f"{job.output}-{number}.parquet")


@dataclass
class Slope:
    """Drops of readings in ``root/drops``, and the two platforms beside them."""

    root: Path

    def __post_init__(self) -> None:
        (self.root / "drops").mkdir(exist_ok=True)
        self.derived = PlatformHome.at(self.root / "derived")
        self.computed = PlatformHome.at(self.root / "computed")

    def deliver(self, name: str, rows: Sequence[Row]) -> None:
        """Put a file there, or another version of it."""
        working = self.root / f"{name}.tmp"
        pq.write_table(pa.Table.from_pylist(list(rows), READING.schema), working)
        working.replace(self.root / "drops" / f"{name}.parquet")

    def route(self, derives: bool) -> Route:
        found = all_files(READING, FolderStore(self.root / "drops"), ("*.parquet",))
        drops = FileDrops(READING, found, FileFormat("parquet"))
        return Route(READING, drops, WriteMode.APPEND, derives=STATS if derives else None)

    def load(self) -> None:
        """What was delivered, into both."""
        self.derived.ingest.run(self.route(True))
        self.computed.ingest.run(self.route(False))

    def due(self, launch: Launch = do_here) -> HoursDue:
        home = self.computed
        return HoursDue(READING, STATS, home.lake, home.warehouse, launch)

    def compute(self, launch: Launch = do_here) -> Report:
        """The hours that are due."""
        report = self.computed.ingest.run(Route(HOURS, self.due(launch), WriteMode.UPSERT))
        told = [str(batch["batch_id"]) for batch in report.batches]
        self.computed.ingest.ledger.mark_reported(told)
        return report

    def hours(self, home: PlatformHome) -> list[Row]:
        order = [("sensor_id", "ascending"), ("hour_at", "ascending")]
        rows: list[Row] = home.warehouse.read(HOURS.name).sort_by(order).to_pylist()
        return rows

    def assert_same(self) -> None:
        """Row for row, with their revisions."""
        assert self.hours(self.computed) == self.hours(self.derived)

    def leavings(self) -> list[str]:
        """What stands in the lake beside the landings of hours."""
        files = self.computed.lake.files(f"final/{HOURS.name.schema}/{HOURS.name.table}")
        names = [one.path.rpartition("/")[2] for one in files]
        return [name for name in names if not name.startswith(("rows-", "keys-", "manifest"))]


def main(root: str, python: str = "") -> None:
    """Compute what is due, here or by the Python that has Beam."""
    Slope(Path(root)).compute(
        (lambda job: Beam(python=python).start(job, {})) if python else do_here
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
