"""Hours of sensors that a program elsewhere computes, as a source: due when readings came or went.

Which batches of readings the hours are of is a list in the lake, beside the landing of the hours:
the newest marker of the hours names it. A list that is lost costs computing, never a row.
"""

import hashlib
import json
import secrets
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from malacate.batch import Chunk, Found, Reading
from malacate.contracts.table import Table
from malacate.errors import LakeError, Superseded
from malacate.hours.job import Job
from malacate.hours.measured import Measured
from malacate.lake.lake import Lake, folder
from malacate.lake.landing import Landing
from malacate.sources.protocol import Known
from malacate.warehouse.hourly import HourlyStats
from malacate.warehouse.hourly_rules import REVISION, require_computed
from malacate.warehouse.hours_due import batches_of, changed, hours_of
from malacate.warehouse.protocol import Marker, Warehouse

Launch = Callable[[Job], Iterator[None]]
"""Does a job: yields now and then while it is at work; all output stands when it ends."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def measured(stats: HourlyStats, readings: Table) -> Measured:
    """``stats`` for a program that has no warehouse; raises ``ContractError`` for what only a
    warehouse computes.
    """
    names = tuple(column.name for column in stats.table.columns if column.name != REVISION)
    what = Measured(
        names, dict(stats.axes), stats.steps, stats.per_hour,
        stats.sensor, stats.sequence, stats.instant, stats.rms, stats.vector_sum, stats.battery,
        *((stats.spectrum.hz, stats.spectrum.bands) if stats.spectrum else ()),
    )  # fmt: skip
    require_computed(stats.table, {*what.told, REVISION}, readings)
    return what


@dataclass(frozen=True)
class HoursDue:
    """The hours of ``readings``, brought up to what is published of those, by ``launch``.

    Each time they are brought up is a window: the n-th is from n - 1 to n, and one is at work at
    most. Its version names all that was aggregated before it, so the same work is the same batch.
    """

    readings: Table
    stats: HourlyStats
    lake: Lake
    warehouse: Warehouse
    launch: Launch
    supersedes: bool = False

    def discover(self, known: Known) -> list[Found]:
        """A window if batches of readings came, or were replaced, since the last."""
        published, windows = self.published(), self.windows()
        for replaced in windows[-2:-1]:
            self.lake.remove(self.list_path(replaced.batch_id))
        last = windows[-1] if windows else None
        if published == (self.listed(last.batch_id) if last else set()):
            return []
        found = self._found(known.position, last, published)
        waiting = {one.batch_id for one in known.waiting}
        if waiting and found.batch_id not in waiting:
            return []
        self.lake.replace(self.list_path(found.batch_id), _as_json(published))
        return [found]

    def _found(self, position: str | None, last: Marker | None, published: set[str]) -> Found:
        before = last.version if last else ""
        version = hashlib.sha256(before.encode() + _as_json(published)).hexdigest()
        name, number = self.stats.table.name.table, int(position or 0) + 1
        return Found(
            self.stats.table.source, name, "window", "readings", version, number,
            lo=position, hi=str(number),
        )  # fmt: skip

    def read(self, found: Found, lake: Lake) -> Reading:
        """Compute the hours that the window is due for, and tell of the rows that are another."""
        published = self.listed(found.batch_id)
        if published is None:
            raise Superseded(
                "nobody knows any more which readings the hours were to be of",
                "Nothing to do: the next run finds out anew.",
                source=str(self.stats.table.name),
                object=found.object,
                reason="superseded",
            )
        reading = Reading(iter(()))
        reading.chunks = _BringUp(self, found, published, reading).chunks()
        return reading

    def touched(self, published: set[str]) -> set[datetime] | None:
        """Hours that batches came to, or went from, since the last window; ``None`` for all, if
        that is not known.
        """
        windows = self.windows()
        before = self.listed(windows[-1].batch_id) if windows else None
        if before is None:
            return None
        found = hours_of(self.warehouse, self.stats, self.readings, published - before)
        for batch_id in sorted(before - published):
            instants = self.lake.read(self.landing(batch_id))[self.stats.instant]
            hours = pc.unique(pc.floor_temporal(instants.drop_null(), unit="hour"))
            found |= set(hours.to_pylist())
        return found

    def landing(self, batch_id: str) -> Landing:
        """A batch of readings; raises ``LakeError`` if it has gone."""
        name = self.readings.name
        landing = self.lake.landed(name.schema, name.table, batch_id)
        if landing is None:
            raise LakeError(
                "a landing of readings has gone, so their hours cannot be computed",
                "Restore the lake's folder, or have the file delivered again.",
                source=str(name),
                object=folder(name.schema, name.table, batch_id),
                reason="lake_lost",
            )
        return landing

    def windows(self) -> list[Marker]:
        """The markers of the windows, the newest last."""
        markers = self.warehouse.markers(self.stats.table.name).values()
        return sorted(markers, key=lambda marker: marker.ordinal)

    def published(self) -> set[str]:
        """The batches that the readings are of."""
        markers = self.warehouse.markers(self.readings.name)
        return {marker.batch_id for marker in markers.values() if marker.is_current}

    def forget(self) -> None:
        """Forget which readings the hours are of, so that the next window is of all hours."""
        name = self.stats.table.name
        for landing in self.lake.landings(name.schema, name.table):
            self.lake.remove(self.list_path(landing.batch_id))

    def listed(self, batch_id: str) -> set[str] | None:
        """The batches of readings that hours are of, if that is still known."""
        text = self.lake.content(self.list_path(batch_id))
        return None if text is None else set(json.loads(text))

    def list_path(self, batch_id: str) -> str:
        """Where that stands in the lake."""
        return f"{self.place(batch_id)}/readings.json"

    def place(self, batch_id: str) -> str:
        """Where a batch of hours lands."""
        name = self.stats.table.name
        return folder(name.schema, name.table, batch_id)


@dataclass
class _BringUp:
    """One window at work."""

    due: HoursDue
    found: Found
    published: set[str]
    reading: Reading
    output: str = field(default_factory=lambda: f"made-{secrets.token_hex(4)}")

    def chunks(self) -> Iterator[Chunk]:
        """Chunks without rows while the program is at work, so that the claim is renewed."""
        due = self.due
        self._clear()
        hours = due.touched(self.published)
        if files := self._files(hours):
            for _ in due.launch(self._job(files, hours)):
                yield Chunk(pa.RecordBatch.from_pylist([], due.stats.table.schema))
        told = changed(due.warehouse, due.stats, self._made(), hours)
        if told.keys is not None:
            self.reading.keys = iter(told.keys.to_batches())
        yield from map(Chunk, told.rows.to_batches())
        self._clear()

    def _files(self, hours: set[datetime] | None) -> list[str]:
        """Where the readings of these hours stand."""
        due = self.due
        if hours is None:
            wanted = sorted(due.published())
        elif hours:
            wanted = batches_of(due.warehouse, due.stats, due.readings, hours)
        else:
            wanted = []
        landings = (due.landing(batch_id) for batch_id in wanted)
        return [due.lake.uri(part.path) for one in landings for part in one.parts if part.rows]

    def _job(self, files: list[str], hours: set[datetime] | None) -> Job:
        due, what = self.due, measured(self.due.stats, self.due.readings)
        rows = (due.readings.by_name[name] for name in what.read)
        table = due.stats.table
        return Job(
            what,
            files,
            None if hours is None else sorted(map(microseconds, hours)),
            pa.schema([(column.name, column.type) for column in rows]),
            pa.schema([(name, table.by_name[name].type) for name in what.columns]),
            due.lake.uri(f"{self._place}/{self.output}"),
        )

    def _made(self) -> pa.Table:
        table = self.due.stats.table
        kinds = pa.schema([(c.name, c.type) for c in table.columns if c.name != REVISION])
        paths = (one.path for one in self.due.lake.files(self._place))
        mine = sorted(path for path in paths if path.startswith(f"{self._place}/{self.output}-"))
        data = (self.due.lake.content(path) for path in mine)
        read = [pq.read_table(pa.BufferReader(one)).cast(kinds) for one in data]
        return pa.concat_tables([kinds.empty_table(), *read])

    def _clear(self) -> None:
        """What killed attempts left goes, and what was made once it has been read."""
        for one in self.due.lake.files(self._place):
            if one.path[len(self._place) + 1 :].startswith(("made-", "beam-temp-made-")):
                self.due.lake.remove(one.path)

    @property
    def _place(self) -> str:
        return self.due.place(self.found.batch_id)


def microseconds(hour: datetime) -> int:
    """An hour, in microseconds since 1970."""
    return (hour.replace(tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1)


def _as_json(batch_ids: Iterable[str]) -> bytes:
    return json.dumps(sorted(batch_ids)).encode()
