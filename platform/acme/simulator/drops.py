"""How the mine's systems deliver a file: whole under its name, or not at all."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq


def deliver(path: Path, content: bytes) -> None:
    """Write ``content`` beside ``path``, then rename: a reader never sees half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".tmp-{path.name}")
    unfinished.write_bytes(content)
    unfinished.replace(path)


def avro(schema: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], codec: str) -> bytes:
    """An Avro file whose bytes depend on nothing but its rows: no random sync marker."""
    file = BytesIO()
    marker = hashlib.md5(f"{schema}{len(rows)}".encode(), usedforsecurity=False).digest()
    fastavro.writer(file, dict(schema), rows, codec=codec, sync_marker=marker)
    return file.getvalue()


def parquet(rows: pa.Table) -> bytes:
    """``rows`` as a Parquet file."""
    buffer = pa.BufferOutputStream()
    pq.write_table(rows, buffer, compression="zstd")
    return bytes(buffer.getvalue())


def as_json(data: Mapping[str, Any]) -> bytes:
    """``data`` as JSON that people can read."""
    return json.dumps(data, indent=1, default=str).encode()
