"""Parquet files of a lake, written by one worker and never again."""

import pyarrow as pa
import pyarrow.parquet as pq

from malacate import crash
from malacate.lake.landing import Part
from malacate.lake.place import Place

ROW_GROUP_ROWS = 1 << 17


class PartWriter:
    """Record batches into one Parquet file at ``path``, which nobody else writes."""

    def __init__(self, place: Place, path: str, schema: pa.Schema) -> None:
        self.path = path
        self._place = place
        self._file = place.draft(path)
        self._schema = schema
        # zstd finds what repeats; dictionaries made files neither smaller nor faster to write.
        self._writer = pq.ParquetWriter(
            self._file, schema, compression="zstd", compression_level=1, use_dictionary=False
        )
        self._waiting: list[pa.RecordBatch] = []
        self._rows_waiting = 0
        self._bytes = 0
        self.rows = 0

    def write(self, rows: pa.RecordBatch) -> None:
        """Add rows; they are encoded in groups of ``ROW_GROUP_ROWS``."""
        self._waiting.append(rows)
        self._rows_waiting += rows.num_rows
        self.rows += rows.num_rows
        if self._rows_waiting >= ROW_GROUP_ROWS:
            self._flush()

    def _flush(self) -> None:
        if self._rows_waiting:
            group = pa.Table.from_batches(self._waiting, self._schema)
            self._writer.write_table(group, row_group_size=group.num_rows)
            crash.point("part_torn")
        self._waiting, self._rows_waiting = [], 0

    def close(self) -> None:
        """Finish the file, unless it was abandoned; it stands in the lake afterwards."""
        if not self._writer.is_open:
            return
        self._flush()
        self._writer.close()
        self._bytes = self._file.stat().st_size
        self._place.put(self._file, self.path)
        self._place.forget(self.path)

    def abandon(self) -> None:
        """Leave nothing behind; only before ``close``."""
        self._writer.close()
        self._file.unlink(missing_ok=True)

    @property
    def part(self) -> Part:
        """What was written, after ``close``."""
        return Part(self.path, self.rows, self._bytes)
