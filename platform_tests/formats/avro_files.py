"""Avro files and contracts for the tests beside this file."""

import io
from pathlib import Path
from typing import Any

import fastavro
import pyarrow as pa

from malacate.batch import Reading
from malacate.contracts.chunk import Reject
from malacate.contracts.table import Column, Table
from malacate.errors import SchemaDrift, UnreadableFile
from malacate.formats import avro
from malacate.names import TableName


def record(**fields: Any) -> dict[str, Any]:
    named = [{"name": name, "type": kind} for name, kind in fields.items()]
    return {"type": "record", "name": "row", "fields": named}


def table(**kinds: pa.DataType) -> Table:
    columns = tuple(Column(name, kind) for name, kind in kinds.items())
    return Table(TableName("raw_mine", "haul"), columns)


def encoded(schema: Any, rows: list[dict[str, Any]], codec: str = "null", every: int = 16000):
    out = io.BytesIO()
    fastavro.writer(out, schema, rows, codec=codec, sync_interval=every, sync_marker=b"m" * 16)
    return out.getvalue()


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def drained(reading: Reading) -> tuple[list[dict[str, Any]], list[Reject]]:
    rows: list[dict[str, Any]] = []
    rejects: list[Reject] = []
    for chunk in reading.chunks:
        rows += chunk.rows.to_pylist()
        rejects += chunk.rejects
    return rows, rejects


def rows_of(path: Path, contract: Table) -> list[dict[str, Any]]:
    rows, rejects = drained(avro.read(path, contract))
    assert rejects == []
    return rows


def reason(path: Path, contract: Table) -> str:
    """Why the file is refused; empty if it is not."""
    try:
        drained(avro.read(path, contract))
    except (UnreadableFile, SchemaDrift) as error:
        return error.reason
    return ""


def as_observed(path: Path) -> Table:
    return table(**avro.observed(path))
