"""Files as Arrow with an explicit schema; rejects with position and reason. Nothing is sniffed."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pyarrow as pa

from malacate.batch import Reading
from malacate.contracts.table import Table

FormatName = Literal["avro", "csv", "parquet"]


@dataclass(frozen=True)
class FileFormat:
    """What a declaration may say of a drop's format."""

    name: FormatName


def read(path: Path, table: Table, form: FileFormat) -> Reading:
    """Open a file of ``form`` as rows of ``table``."""
    from malacate.formats import avro, parquet

    return {"avro": avro.read, "parquet": parquet.read}[form.name](path, table)


def observed(path: Path, form: FileFormat) -> dict[str, pa.DataType | None]:
    """Column names and types of a file."""
    from malacate.formats import avro, parquet

    return {"avro": avro.observed, "parquet": parquet.observed}[form.name](path)
