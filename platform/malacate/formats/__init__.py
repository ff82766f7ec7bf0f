"""Files as Arrow with an explicit schema; rejects with position and reason. Nothing is sniffed."""

import codecs
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pyarrow as pa

from malacate.batch import Reading
from malacate.contracts.table import Table
from malacate.errors import ConfigError

FormatName = Literal["avro", "csv", "parquet"]


@dataclass(frozen=True)
class FileFormat:
    """What a declaration may say of a drop's format."""

    name: FormatName
    delimiter: str = ","
    encoding: str = "utf-8"
    quote: str = '"'
    decimal: str = "."
    null_text: tuple[str, ...] = ("",)
    max_field_bytes: int = 16 << 20

    def __post_init__(self) -> None:
        nulls = self.null_text
        object.__setattr__(self, "null_text", (nulls,) if isinstance(nulls, str) else tuple(nulls))
        signs = (self.delimiter, self.quote, "\r", "\n", "\0")
        if len(self.delimiter) != 1 or len(self.quote) != 1 or len(set(signs)) != len(signs):
            raise _impossible("delimiter and quote", "two different single characters")
        if self.decimal not in (".", ","):
            raise _impossible("decimal", 'either "." or ","')
        try:
            codecs.getincrementaldecoder(self.encoding)
        except LookupError as error:
            raise _impossible("encoding", "a name Python knows, such as utf-8 or cp1252") from error


def _impossible(option: str, wanted: str) -> ConfigError:
    return ConfigError(
        f"the format's {option} cannot be used",
        "Correct it under format in the declaration.",
        expected=wanted,
        reason="bad_format",
    )


def read(path: Path, table: Table, form: FileFormat) -> Reading:
    """Open a file of ``form`` as rows of ``table``."""
    from malacate.formats import avro, csv, parquet

    if form.name == "csv":
        return csv.read(path, table, form)
    return {"avro": avro.read, "parquet": parquet.read}[form.name](path, table)


def observed(path: Path, form: FileFormat) -> dict[str, pa.DataType | None]:
    """Column names and types of a file."""
    from malacate.formats import avro, csv, parquet

    if form.name == "csv":
        return {**csv.observed(path, form)}
    return {"avro": avro.observed, "parquet": parquet.observed}[form.name](path)
