"""Reading a file of any format to its end, for the tests beside this file."""

from pathlib import Path
from typing import Any

from malacate.contracts.chunk import Reject
from malacate.contracts.drift import Evolution
from malacate.contracts.table import Column, Table
from malacate.contracts.types import arrow_type
from malacate.errors import SchemaDrift, UnreadableFile
from malacate.formats import FileFormat, read
from malacate.names import TableName


def table(**types: str) -> Table:
    columns = tuple(Column(name, arrow_type(kind)) for name, kind in types.items())
    return Table(TableName("raw_shop", "sale"), columns)


def whole(
    path: Path, promised: Table, form: FileFormat
) -> tuple[list[dict[str, Any]], list[Reject], list[Evolution]]:
    reading = read(path, promised, form)
    rows: list[dict[str, Any]] = []
    rejects: list[Reject] = []
    for chunk in reading.chunks:
        assert chunk.rows.schema == promised.schema
        assert chunk.rows.num_rows <= 1 << 16
        chunk.rows.validate(full=True)
        places = chunk.positions if chunk.positions is not None else range(chunk.rows.num_rows)
        assert len(places) == chunk.rows.num_rows
        rows += chunk.rows.to_pylist()
        rejects += chunk.rejects
    return rows, rejects, reading.evolutions


def refusal(path: Path, promised: Table, form: FileFormat) -> str:
    """Why the file is refused whole; empty if it is not."""
    try:
        whole(path, promised, form)
    except (UnreadableFile, SchemaDrift) as error:
        return error.reason
    return ""
