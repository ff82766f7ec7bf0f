"""What a program of hours is asked to do: as the platform says it, and how it reads the files."""

import base64
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from malacate.hours.measured import HOUR_US, Measured


@dataclass(frozen=True)
class Job:
    """Compute the hours of the readings in the Parquet files ``files``.

    Only ``hours``, in microseconds since 1970, or all. ``rows`` are the columns that are read, as
    the contract has them today; ``made`` those that are written, to Parquet files whose paths begin
    with ``output``. ``options`` are Beam's, by name.
    """

    what: Measured
    files: Sequence[str]
    hours: Sequence[int] | None
    rows: pa.Schema
    made: pa.Schema
    output: str
    runner: str = "DirectRunner"
    options: Mapping[str, Any] = field(default_factory=dict)

    def on(self, runner: str, options: Mapping[str, Any]) -> "Job":
        """The same, on another runner."""
        return replace(self, runner=runner, options=options)

    def to_json(self) -> str:
        """As text."""
        told = {**vars(self), "what": asdict(self.what)}
        return json.dumps({**told, "rows": _as_text(self.rows), "made": _as_text(self.made)})

    @classmethod
    def from_json(cls, text: str) -> "Job":
        """The job that ``to_json`` wrote."""
        told = json.loads(text)
        what = Measured(**{**told["what"], "columns": tuple(told["what"]["columns"])})
        schemas = {name: _as_schema(told[name]) for name in ("rows", "made")}
        return cls(**{**told, **schemas, "what": what})


def groups_of(metadata: pq.FileMetaData, instant: str, hours: Collection[int] | None) -> list[int]:
    """The row groups of a file in which readings of these hours may be."""
    groups = range(metadata.num_row_groups)
    return [n for n in groups if _is_wanted(metadata.row_group(n), instant, hours)]


def read_groups(file: pq.ParquetFile, groups: Sequence[int], schema: pa.Schema) -> pa.Table:
    """Rows as today's contract has them: columns that came since the file was written are null, and
    those read as dictionaries are these.
    """
    names = [name for name in schema.names if name in file.schema_arrow.names]
    rows = file.read_row_groups(groups, names)
    columns = [
        _as_promised(rows[field.name], field.type)
        if field.name in names
        else pa.nulls(rows.num_rows, field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(columns, schema.names)


def _as_promised(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    is_encoded = pa.types.is_dictionary(column.type) and column.type.value_type == kind
    return column.unify_dictionaries() if is_encoded else column.cast(kind)


def span_of(group: pq.RowGroupMetaData, instant: str) -> tuple[int, int] | None:
    """The least and the largest instant in a row group, in microseconds since 1970, if it tells."""
    columns = (group.column(i) for i in range(group.num_columns))
    told = next((c.statistics for c in columns if c.path_in_schema == instant), None)
    if told is None or not told.has_min_max:
        return None
    least, most = (pa.scalar(edge).cast(pa.timestamp("us", "UTC")) for edge in (told.min, told.max))
    return least.value, most.value


def _is_wanted(group: pq.RowGroupMetaData, instant: str, hours: Collection[int] | None) -> bool:
    if hours is None or not hours:
        return hours is None
    span = span_of(group, instant)
    return span is None or (span[0] < max(hours) + HOUR_US and span[1] >= min(hours))


def _as_text(schema: pa.Schema) -> str:
    return base64.b64encode(schema.serialize().to_pybytes()).decode()


def _as_schema(text: str) -> pa.Schema:
    return pa.ipc.read_schema(pa.py_buffer(base64.b64decode(text)))
