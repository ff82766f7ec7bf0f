"""CSV: every cell is text until the contract gives it a type; what breaks it is set aside."""

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from malacate.batch import Chunk, Reading
from malacate.contracts.drift import Alignment, Evolution, align
from malacate.contracts.table import Table
from malacate.errors import SchemaDrift, UnreadableFile
from malacate.formats.csv_cells import Bad, Cells
from malacate.formats.csv_records import Plain, Record, Splitter
from malacate.formats.csv_rows import Layout, Rows, bare, cells_of
from malacate.formats.csv_text import empty, texts

if TYPE_CHECKING:
    from malacate.formats import FileFormat

ROWS = 1 << 16


def read(path: Path, table: Table, form: "FileFormat") -> Reading:
    """Open a CSV file as rows of ``table``; its header and first block are read at once."""
    opened = _Opened(path, form)
    alignment = align(table, opened.header, path.name)
    evolutions = list(alignment.evolutions)
    return Reading(_Reader(opened, table, alignment, form).chunks(evolutions), evolutions)


def observed(path: Path, form: "FileFormat") -> dict[str, None]:
    """Column names of a file; CSV has no types."""
    return _Opened(path, form).header


class _Opened:
    """A file of which the header is read, and the blocks that follow."""

    def __init__(self, path: Path, form: "FileFormat") -> None:
        self.path = path
        self.splitter = Splitter(path, form.delimiter, form.quote, 2 * form.max_field_bytes)
        blocks = self.splitter.split(texts(path, form.encoding, form.caps))
        head = next((block for block in blocks if len(block)), None)
        if head is None:
            raise empty(path)
        self.names = self._names(head.records()[0] if isinstance(head, Plain) else head[0], form)
        self.header: dict[str, None] = dict.fromkeys(self.names)
        if len(self.header) < len(self.names):
            raise self._named_twice()
        self.blocks = chain([head[1:]], blocks)

    def _names(self, first: Record, form: "FileFormat") -> list[str]:
        cells = cells_of(first.text, form.delimiter, form.quote)
        if cells is None or first.size > form.max_field_bytes:
            raise UnreadableFile(
                "the first record is no header",
                "Ask for the file with a first line of column names.",
                object=self.path.name,
                position="line 1",
                reason="bad_header",
            )
        return [bare(cell, form.quote) for cell in cells]

    def _named_twice(self) -> SchemaDrift:
        twice = sorted(name for name in self.header if self.names.count(name) > 1)
        return SchemaDrift(
            "columns have the same name",
            "Ask the source to give each column its own.",
            object=self.path.name,
            position="line 1",
            actual=", ".join(map(repr, twice)),
            reason="duplicate_header",
        )


class _Reader:
    """The chunks of an opened file."""

    def __init__(
        self, opened: _Opened, table: Table, alignment: Alignment, form: "FileFormat"
    ) -> None:
        self.opened, self.schema = opened, table.schema
        self.layout = Layout(
            opened.names, form.delimiter, form.quote, form.encoding, form.max_field_bytes
        )
        opened.splitter.whole = self.layout.whole
        self.nulls = pa.array(form.null_text, pa.string())
        self.cells = [Cells(column, form.decimal) for column in table.columns]
        names = (alignment.sources[column.name] for column in table.columns)
        self.sources = [None if name is None else opened.names.index(name) for name in names]

    def chunks(self, evolutions: list[Evolution]) -> Iterator[Chunk]:
        """All rows in order; what only the end can tell goes to ``evolutions``."""
        for block in self.opened.blocks:
            for start in range(0, len(block), ROWS):
                rows = self.layout.rows(block[start : start + ROWS])
                if rows.texts or rows.rejects:
                    yield self._chunk(rows)
        if self.opened.splitter.unended:
            detail = "no final newline: the last row may have been cut within its last value"
            evolutions.append(Evolution("ignored", "", detail))

    def _chunk(self, rows: Rows) -> Chunk:
        arrays: list[pa.Array] = []
        broken: Bad = {}
        for cells, source in zip(self.cells, self.sources, strict=True):
            if source is None:
                arrays.append(pa.nulls(len(rows.texts), cells.column.type))
                continue
            values, bad = cells.values(self._text(rows, source))
            arrays.append(values)
            broken = {**bad, **broken}
        batch = pa.RecordBatch.from_arrays(arrays, schema=self.schema)
        return (
            self._parted(rows, batch, broken) if broken else Chunk(batch, rows.rejects, rows.lines)
        )

    def _text(self, rows: Rows, source: int) -> pa.Array:
        written = pa.array(rows.cells[source], pa.string())
        # A quoted cell is never null: "" is an empty text.
        null = pc.is_in(written, self.nulls)
        text = pc.if_else(null, pa.scalar(None, pa.string()), written)
        quote = self.layout.quote
        quoted = pc.starts_with(written, quote)
        if not pc.any(quoted).as_py():
            return text
        inner = pc.replace_substring(pc.utf8_slice_codeunits(text, 1, -1), quote * 2, quote)
        return pc.if_else(quoted, inner, text)

    def _parted(self, rows: Rows, batch: pa.RecordBatch, broken: Bad) -> Chunk:
        late = [
            self.layout.reject(rows.lines[row], *why, rows.texts[row])
            for row, why in broken.items()
        ]
        good = [row not in broken for row in range(batch.num_rows)]
        lines: Sequence[int] = [n for n, keep in zip(rows.lines, good, strict=True) if keep]
        rejects = sorted([*rows.rejects, *late], key=lambda reject: reject.position)
        return Chunk(batch.filter(pa.array(good)), rejects, lines)
