"""A table as it stands, as the first rows of its log.

Rows come as ``R`` at the position where the stream begins. When a slot was set up anew a truncate
stands just before them: it deletes the keys that went while nobody was looking.

They are of exactly that position: a snapshot that the server exported with the consistent point of
a slot, of ours or of a temporary one. Rows that are read later would do for changes that come
whole, for the last one of a key wins; but a key change that leaves a large value out takes it from
the row of the old key, which such a snapshot shows no more, or another one in its place.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import pyarrow as pa

from malacate.batch import Found, Reading
from malacate.contracts.changes import ROW_HASH
from malacate.contracts.chunk import Chunk
from malacate.contracts.table import Table
from malacate.lake.lake import Lake
from malacate.sources.cdc.row_hash import row_hash
from malacate.sources.cdc.slot_position import Position, shown
from malacate.sources.databases import DatabaseTable

SEQ = -1
"""``_seq`` of a row of a snapshot: before every change of the same position."""


@dataclass(frozen=True)
class Snapshot:
    """A table read whole, of the moment that ``exported`` names."""

    table: Table
    log: Table
    slot: str
    position: Position
    exported: str

    def read(self, found: Found, lake: Lake, source: DatabaseTable) -> Reading:
        """Its rows, behind a truncate if rows of an earlier generation may stand."""
        reading = replace(source, snapshot=self.exported).read(found, lake)
        reading.chunks = self._chunks(reading, reading.chunks)
        return reading

    def _chunks(self, reading: Reading, chunks: Iterator[Chunk]) -> Iterator[Chunk]:
        began, first = datetime.now(UTC), 0
        if self.position.generation:
            none = pa.RecordBatch.from_pylist([{}], pa.schema([("_", pa.null())]))
            yield Chunk(self._logged(none, "T", SEQ - 1, began, [0]))
            first = 1
        place = first
        for chunk in chunks:
            good, shift = chunk.rows.num_rows, chunk.positions is not None
            places = (
                [p + first for p in chunk.positions or ()]
                if shift
                else [*range(place, place + good)]
            )
            rejects = [
                replace(reject, position=reject.position + first) for reject in chunk.rejects
            ]
            logged = self._logged(self._keyed(chunk.rows), "R", SEQ, began, places)
            yield Chunk(logged, rejects, places if shift else None)
            place += chunk.rows_read
        if reading.source_rows is not None:
            reading.source_rows += first

    def _keyed(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        return rows if self.table.key else rows.append_column(ROW_HASH.name, row_hash(rows))

    def _logged(
        self, rows: pa.RecordBatch, op: str, seq: int, began: datetime, places: Sequence[int]
    ) -> pa.RecordBatch:
        label = f"{self.slot}:{shown(self.position.lsn)}:{op}"
        same = {
            "_op": op,
            "_is_key_change": False,
            "_position_hi": self.position.high,
            "_position_lo": self.position.low,
            "_seq": seq,
            "_is_snapshot": True,
            "_source_at": began,
            "_read_at": began,
            "_file": self.slot,
        }
        given = dict(zip(rows.schema.names, rows.columns, strict=True))
        for name, value in same.items():
            scalar = pa.scalar(value, self.log.by_name[name].type)
            given[name] = pa.repeat(scalar, rows.num_rows)
        given["_file_row"] = pa.array(places, pa.int64())
        given["_event_id"] = pa.array([f"{label}:{place}" for place in places], pa.string())
        arrays = [
            given[c.name] if c.name in given else pa.nulls(rows.num_rows, c.type)
            for c in self.log.columns
        ]
        return pa.RecordBatch.from_arrays(arrays, names=self.log.schema.names)
