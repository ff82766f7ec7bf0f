"""Files as Arrow with an explicit schema; rejects with position and reason. Nothing is sniffed."""

import codecs
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pyarrow as pa

from malacate.batch import Reading
from malacate.contracts.table import Table
from malacate.errors import ConfigError, UnreadableFile
from malacate.formats.caps import Caps
from malacate.formats.unpack import packed_as

FormatName = Literal["avro", "csv", "jsonl", "messages", "parquet", "xlsx"]


@dataclass(frozen=True)
class FileFormat:
    """What a declaration may say of a drop's format.

    ``delimiter``, ``encoding``, ``quote`` and ``decimal`` are of CSV; ``sheet`` (the first, if
    none is named) and ``header_row`` of XLSX; ``null_text`` of both. ``max_field_bytes`` caps a
    CSV field, a line of JSON and a message.
    """

    name: FormatName
    delimiter: str = ","
    encoding: str = "utf-8"
    quote: str = '"'
    decimal: str = "."
    null_text: tuple[str, ...] = ("",)
    max_field_bytes: int = 16 << 20
    sheet: str = ""
    header_row: int = 1
    caps: Caps = field(default_factory=Caps)

    def __post_init__(self) -> None:
        nulls = self.null_text
        object.__setattr__(self, "null_text", (nulls,) if isinstance(nulls, str) else tuple(nulls))
        if not isinstance(self.caps, Caps):
            object.__setattr__(self, "caps", Caps.of(self.caps))
        signs = (self.delimiter, self.quote, "\r", "\n", "\0")
        if len(self.delimiter) != 1 or len(self.quote) != 1 or len(set(signs)) != len(signs):
            raise _impossible("delimiter and quote", "two different single characters")
        if self.decimal not in (".", ","):
            raise _impossible("decimal", 'either "." or ","')
        if self.header_row < 1:
            raise _impossible("header_row", "the row of the column names, from 1")
        if self.name == "jsonl" and self.encoding.lower() not in ("utf-8", "utf8"):
            raise _impossible("encoding", "utf-8: JSON has no other")
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
    """Open a file of ``form`` as rows of ``table``.

    Raises ``UnreadableFile`` or ``SchemaDrift``, here or while its chunks are read.
    """
    _check(path, form)
    reading = _open(path, table, form)
    reading.chunks = form.caps.bounded(reading.chunks, path.name)
    return reading


def observed(path: Path, form: FileFormat) -> dict[str, pa.DataType | None]:
    """Column names and types of a file: a draft where the format has no schema."""
    from malacate.formats import avro, csv, jsonl, messages, parquet, xlsx

    _check(path, form)
    if form.name == "csv":
        return {**csv.observed(path, form)}
    if form.name == "jsonl":
        return jsonl.observed(path, form)
    if form.name == "messages":
        return messages.observed(path, form)
    if form.name == "xlsx":
        return xlsx.observed(path, form)
    return {"avro": avro.observed, "parquet": parquet.observed}[form.name](path)


def _open(path: Path, table: Table, form: FileFormat) -> Reading:
    from malacate.formats import avro, csv, jsonl, messages, parquet, xlsx

    if form.name == "csv":
        return csv.read(path, table, form)
    if form.name == "jsonl":
        return jsonl.read(path, table, form)
    if form.name == "messages":
        return messages.read(path, table, form)
    if form.name == "xlsx":
        return xlsx.read(path, table, form)
    return {"avro": avro.read, "parquet": parquet.read}[form.name](path, table)


def _check(path: Path, form: FileFormat) -> None:
    """The cap on bytes, and no packing around a format that packs within."""
    form.caps.check_bytes(path.stat().st_size, path.name)
    if form.name in ("csv", "jsonl"):
        return
    with path.open("rb") as file:
        packing = packed_as(file.read(8))
    if packing:
        raise UnreadableFile(
            f"a file of format {form.name} is packed with {packing}",
            f"Have it sent as it is: {form.name} packs its content within.",
            object=path.name,
            position="byte 0",
            reason="bad_magic",
        )
