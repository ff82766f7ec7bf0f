"""Parquet."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from malacate.batch import Chunk, Reading
from malacate.contracts.drift import align
from malacate.contracts.table import Table


def read(path: Path, table: Table) -> Reading:
    file = pq.ParquetFile(path)
    alignment = align(table, {f.name: f.type for f in file.schema_arrow}, path.name)

    def chunks() -> Iterator[Chunk]:
        for rows in file.iter_batches():
            arrays = []
            for column in table.columns:
                source = alignment.sources[column.name]
                arrays.append(
                    pa.nulls(rows.num_rows, column.type)
                    if source is None
                    else rows.column(source).cast(column.type)
                )
            yield Chunk(pa.RecordBatch.from_arrays(arrays, names=table.schema.names))

    return Reading(chunks(), list(alignment.evolutions), file.metadata.num_rows)


def observed(path: Path) -> dict[str, pa.DataType | None]:
    return {f.name: f.type for f in pq.ParquetFile(path).schema_arrow}
