"""Datastream change files (Avro): one event per change, the whole row in ``payload``.

Events are routed by their own metadata, never by the folder they came in: ``a_b.c`` and ``a.b_c``
share a folder name. Positions are numbers here; as text ``0/9FFFFFF`` would follow ``0/10000000``.
"""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import fastavro
import pyarrow as pa

from malacate.batch import Found, Reading
from malacate.contracts.chunk import Chunk, Reject
from malacate.contracts.drift import align
from malacate.contracts.rules import as_json
from malacate.contracts.table import Table
from malacate.errors import UnreadableFile
from malacate.formats.avro import payload_types
from malacate.formats.avro_walk import walk
from malacate.lake.lake import Lake
from malacate.sources.discovery import Discovery, Tick
from malacate.sources.files import stage
from malacate.sources.protocol import Known

ROWS = 8192
_OPERATIONS = {
    "INSERT": "I",
    "UPDATE": "U",
    "UPDATE-INSERT": "U",
    "DELETE": "D",
    "UPDATE-DELETE": "D",
}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class DatastreamFiles:
    """Changes of ``table`` as rows of ``log``, which carries the change columns as well."""

    log: Table
    table: Table
    discovery: Discovery
    supersedes: bool = True

    def look(self, cursor: str | None, now: float) -> Tick:
        """See ``Looks``."""
        return self.discovery.tick(cursor, now)

    def discover(self, known: Known) -> list[Found]:
        """Every change file, however late it came and however old its folder is."""
        return self.discovery.everything()

    def read(self, found: Found, lake: Lake) -> Reading:
        """Copy the file into ``input``, check its blocks, decode it event by event."""
        staged = stage(self.discovery.selection.store, found, lake)
        blocks = walk(staged.path)
        with staged.path.open("rb") as file:
            writer = fastavro.reader(file).writer_schema
        delivered = payload_types(writer)
        if delivered is None:
            raise UnreadableFile(
                "an Avro file is not one of change events",
                "Point `files` at the folders that the replication stream writes.",
                object=found.object, expected="fields payload and source_metadata",
                reason="not_change_events",
            )  # fmt: skip
        names = align(self.table, delivered, found.object).sources
        chunks = self._chunks(staged.path, names)
        return Reading(chunks, source_rows=blocks.rows, sha256=staged.sha256)

    def _chunks(self, path: Any, names: Mapping[str, str | None]) -> Iterator[Chunk]:
        place = 0
        with path.open("rb") as file:
            events = iter(fastavro.reader(file))
            while some := list(itertools.islice(self._sound(events), ROWS)):
                yield self._chunk(some, names, place)
                place += len(some)

    def _sound(self, events: Iterator[Any]) -> Iterator[dict[str, Any]]:
        while True:
            try:
                yield next(events)
            except StopIteration:
                return
            except Exception as error:
                raise UnreadableFile(
                    "a block of change events cannot be decoded",
                    "Ask the replication service to write the file again.",
                    actual=f"{type(error).__name__}: {error}",
                    reason="corrupt",
                ) from error

    def _chunk(
        self, events: list[dict[str, Any]], names: Mapping[str, str | None], first: int
    ) -> Chunk:
        rows: list[pa.RecordBatch] = []
        rejects: list[Reject] = []
        places: list[int] = []
        records = [self._row(event, names) for event in events]
        try:
            return Chunk(self._arrow(records))
        except (pa.ArrowInvalid, pa.ArrowTypeError):
            pass
        for place, (event, record) in enumerate(zip(events, records, strict=True), first):
            try:
                rows.append(self._arrow([record]))
                places.append(place)
            except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
                raw = as_json(pa.RecordBatch.from_pylist([{"event": str(event)}]))
                rejects.append(Reject(place, "does_not_fit", str(error), raw))
        whole = pa.Table.from_batches(rows, self.log.schema).combine_chunks().to_batches()
        empty = self._arrow([])
        return Chunk(whole[0] if whole else empty, rejects, places)

    def _arrow(self, records: list[dict[str, Any]]) -> pa.RecordBatch:
        columns = [
            pa.array([record[c.name] for record in records], c.type) for c in self.log.columns
        ]
        names = [column.name for column in self.log.columns]
        return pa.RecordBatch.from_arrays(columns, names=names)

    def _row(self, event: dict[str, Any], names: Mapping[str, str | None]) -> dict[str, Any]:
        payload, metadata = event["payload"], event["source_metadata"]
        hi, lo = position(metadata)
        is_snapshot = "cdc" not in event["read_method"]
        operation = "R" if is_snapshot else _operation(metadata)
        return {
            **{name: payload.get(source) if source else None for name, source in names.items()},
            "_op": operation,
            "_position_hi": hi,
            "_position_lo": lo,
            "_seq": 0 if operation == "D" else 1,
            "_is_snapshot": is_snapshot,
            "_source_at": _instant(event["source_timestamp"]),
            "_event_id": event["uuid"],
        }


def position(metadata: Mapping[str, Any]) -> tuple[int, int]:
    """Where a change stands in its source's log, as two numbers that compare in order.

    Postgres ``16/CB002DB0`` is (0x16, 0xCB002DB0); Oracle (SCN, SSN); MySQL the number of the log
    file and the place in it. Snapshot rows without a position are (0, 0).
    """
    if lsn := metadata.get("lsn"):
        high, _, low = str(lsn).partition("/")
        return int(high, 16), int(low or "0", 16)
    if (scn := metadata.get("scn")) is not None:
        return int(scn), int(metadata.get("ssn") or 0)
    if log_file := metadata.get("log_file"):
        return int(str(log_file).rpartition(".")[2]), int(metadata.get("log_position") or 0)
    return 0, 0


def _operation(metadata: Mapping[str, Any]) -> str:
    """A change without a type says by ``is_deleted`` what it was."""
    unnamed = "D" if metadata.get("is_deleted") else "U"
    return _OPERATIONS.get(metadata.get("change_type") or "", unnamed)


def _instant(value: Any) -> datetime:
    return value if isinstance(value, datetime) else _EPOCH + timedelta(milliseconds=value)
