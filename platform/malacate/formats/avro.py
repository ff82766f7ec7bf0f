"""Avro."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import datafusion
import pyarrow as pa

from malacate.batch import Chunk, Reading
from malacate.contracts.drift import align
from malacate.contracts.table import Table
from malacate.formats.avro_walk import walk


def read(path: Path, table: Table) -> Reading:
    blocks = walk(path)
    frame = datafusion.SessionContext().read_avro(str(path), file_extension="")
    kinds = {f.name: f.type for f in frame.schema()}
    alignment = align(table, kinds, path.name)

    def chunks() -> Iterator[Chunk]:
        for batch in frame.execute_stream():
            rows = batch.to_pyarrow()
            arrays = []
            for column in table.columns:
                source = alignment.sources[column.name]
                arrays.append(
                    pa.nulls(rows.num_rows, column.type)
                    if source is None
                    else rows.column(source).cast(column.type)
                )
            yield Chunk(pa.RecordBatch.from_arrays(arrays, names=table.schema.names))

    return Reading(chunks(), list(alignment.evolutions), blocks.rows)


def observed(path: Path) -> dict[str, pa.DataType | None]:
    frame = datafusion.SessionContext().read_avro(str(path), file_extension="")
    return {f.name: f.type for f in frame.schema()}


def payload_types(writer: Any) -> Mapping[str, None] | None:
    for field in writer["fields"]:
        if field["name"] == "payload":
            return {f["name"]: None for f in field["type"]["fields"]}
    return None
