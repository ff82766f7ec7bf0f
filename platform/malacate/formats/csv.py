"""CSV: every cell text until the contract gives it a type; a record that breaks it is set aside."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from malacate.batch import Chunk, Reading, Reject
from malacate.contracts.drift import Alignment, Evolution, align
from malacate.contracts.table import Table
from malacate.errors import SchemaDrift, UnreadableFile
from malacate.formats.csv_cells import Bad, Cells
from malacate.formats.csv_records import Plain, Record, Splitter, texts

if TYPE_CHECKING:
    from malacate.formats import FileFormat

ROWS = 1 << 16


def read(path: Path, table: Table, form: "FileFormat") -> Reading:
    """Open a CSV file as rows of ``table``: header and first block are read here."""
    opened = _Opened(path, form)
    alignment = align(table, opened.header, path.name)
    reading = Reading(iter(()), list(alignment.evolutions))
    reading.chunks = _Reader(opened, table, alignment, form).chunks(reading.evolutions)
    return reading


def observed(path: Path, form: "FileFormat") -> dict[str, None]:
    """Column names of a file; CSV has no types."""
    return _Opened(path, form).header


class _Opened:
    """A file of which the header is read, and the blocks that follow it."""

    def __init__(self, path: Path, form: "FileFormat") -> None:
        self.path = path
        self.splitter = Splitter(path, form.delimiter, form.quote, 2 * form.max_field_bytes)
        self.blocks = self.splitter.split(texts(path, form.encoding))
        head = next(block for block in self.blocks if _count(block))
        first = next(_records(head))
        cells = _cells(first.text, form.delimiter, form.quote)
        if first.size > len(first.text) or cells is None:
            raise UnreadableFile(
                "the first record is no header",
                "Ask for the file with one line of column names first.",
                object=path.name,
                position="line 1",
                reason="bad_header",
            )
        self.names = [_bare(cell, form.quote) for cell in cells]
        self._check_names()
        self.header: dict[str, None] = dict.fromkeys(self.names)
        self.blocks = chain([_after_first(head)], self.blocks)

    def _check_names(self) -> None:
        twice = sorted({name for name in self.names if self.names.count(name) > 1})
        if twice:
            raise SchemaDrift(
                "two columns have the same name",
                "Ask the source to name each column once.",
                object=self.path.name,
                position="line 1",
                actual=", ".join(map(repr, twice)),
                reason="duplicate_header",
            )


@dataclass
class _Rows:
    """Records with as many fields as the header, and those without."""

    lines: list[int] | range
    texts: list[str]
    cells: list[list[str]]
    quoted_nulls: list[tuple[int, int]] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)


class _Reader:
    def __init__(
        self, opened: _Opened, table: Table, alignment: Alignment, form: "FileFormat"
    ) -> None:
        self.opened, self.table, self.form = opened, table, form
        self.width = len(opened.names)
        self.encoding = form.encoding
        self.nulls = frozenset(form.null_text)
        self.cells = [Cells(column, form.decimal) for column in table.columns]
        self.sources = [
            None if (name := alignment.sources[column.name]) is None else opened.names.index(name)
            for column in table.columns
        ]
        d, q = re.escape(form.delimiter), re.escape(form.quote)
        cell = f"({q}[^{q}]*+(?:{q}{q}[^{q}]*+)*+{q}|[^{q}{d}]*+)"
        self.whole = re.compile(d.join([cell] * self.width))

    def chunks(self, evolutions: list[Evolution]) -> Iterator[Chunk]:
        for block in self.opened.blocks:
            for start in range(0, _count(block), ROWS):
                part = _part(block, start)
                rows = self._plain(part) if isinstance(part, Plain) else self._quoted(part)
                if rows.texts or rows.rejects:
                    yield self._chunk(rows)
        if self.opened.splitter.unended:
            evolutions.append(
                Evolution(
                    "ignored", "", "no final newline: the last row may have been cut in its value"
                )
            )

    def _plain(self, block: Plain) -> _Rows:
        """Lines without quotes: as long as nothing is odd, all cells come from one split."""
        d, lines = self.form.delimiter, block.lines
        if self._is_odd(lines):
            numbered = enumerate(lines, block.first)
            return self._quoted([Record(line, text, len(text)) for line, text in numbered])
        flat = d.join(lines).split(d)
        cells = [flat[i :: self.width] for i in range(self.width)]
        return _Rows(range(block.first, block.first + len(lines)), lines, cells)

    def _is_odd(self, lines: list[str]) -> bool:
        separators = self.width - 1
        d = self.form.delimiter
        if [line.count(d) for line in lines].count(separators) != len(lines):
            return True
        longest = max(map(len, lines), default=0)
        return 4 * longest > self.form.max_field_bytes or any("\0" in line for line in lines)

    def _quoted(self, records: Sequence[Record]) -> _Rows:
        """Records one by one."""
        rows, quote = _Rows([], [], []), self.form.quote
        lines: list[int] = []
        table: list[Sequence[str]] = []
        for record in records:
            if not record.text and self.width > 1:
                continue
            cells = self._whole(record)
            if isinstance(cells, Reject):
                rows.rejects.append(cells)
                continue
            if quote in record.text:
                cells = self._unquoted(cells, len(table), rows.quoted_nulls)
            lines.append(record.line)
            rows.texts.append(record.text)
            table.append(cells)
        rows.lines = lines
        rows.cells = [list(c) for c in zip(*table, strict=True)] or [[] for _ in range(self.width)]
        return rows

    def _whole(self, record: Record) -> Sequence[str] | Reject:
        text, d = record.text, self.form.delimiter
        cap = self.form.max_field_bytes
        if record.size > len(text):
            detail = f"the record has {record.size} characters; the first {len(text)} are kept"
            return self._reject(record.line, "too_large", detail, text)
        if "\0" in text:
            return self._reject(record.line, "nul_byte", "the record has a NUL byte", text)
        cells: Sequence[str] | None
        if match := self.whole.fullmatch(text):
            cells = match.groups()
        else:
            cells = _cells(text, d, self.form.quote)
        if cells is None:
            detail = "text follows a closing quote"
            return self._reject(record.line, "bad_quoting", detail, text)
        if len(cells) != self.width:
            reason = "too_many_fields" if len(cells) > self.width else "too_few_fields"
            detail = f"{len(cells)} fields, the header has {self.width}"
            return self._reject(record.line, reason, detail, text)
        if 4 * len(text) > cap:
            for name, cell in zip(self.opened.names, cells, strict=True):
                if len(cell) * 4 > cap and (size := len(_bare(cell, self.form.quote).encode())) > cap:
                    detail = f"{name} has {size} bytes, at most {cap} may be"
                    return self._reject(record.line, "too_large", detail, text)
        return cells

    def _unquoted(
        self, cells: Sequence[str], row: int, quoted_nulls: list[tuple[int, int]]
    ) -> Sequence[str]:
        bare, quote = [], self.form.quote
        for index, cell in enumerate(cells):
            if cell[:1] == quote:
                cell = _bare(cell, quote)
                if cell in self.nulls:
                    quoted_nulls.append((index, row))
            bare.append(cell)
        return bare

    def _reject(self, line: int, reason: str, detail: str, text: str) -> Reject:
        # utf-16 would put a mark before each record; the file has it once, if at all.
        return Reject(line, reason, detail, text.encode(self.encoding))

    def _chunk(self, rows: _Rows) -> Chunk:
        arrays, broken = [], {}
        count = len(rows.texts)
        for cells, source in zip(self.cells, self.sources, strict=True):
            if source is None:
                arrays.append(pa.nulls(count, cells.column.type))
                continue
            values, bad = cells.values(self._text(rows, source))
            arrays.append(values)
            broken.update({row: why for row, why in bad.items() if row not in broken})
        batch = pa.RecordBatch.from_arrays(arrays, schema=self.table.schema)
        if broken:
            return self._parted(rows, batch, broken)
        return Chunk(batch, rows.rejects, rows.lines)

    def _text(self, rows: _Rows, source: int) -> pa.Array:
        text = pa.array(rows.cells[source], pa.string())
        null = pc.is_in(text, pa.array(sorted(self.nulls), pa.string()))
        kept = [row for column, row in rows.quoted_nulls if column == source]
        if kept:
            mask = null.to_pylist()
            for row in kept:
                mask[row] = False
            null = pa.array(mask)
        return pc.if_else(null, pa.scalar(None, pa.string()), text)

    def _parted(self, rows: _Rows, batch: pa.RecordBatch, broken: Bad) -> Chunk:
        late = [
            self._reject(rows.lines[row], *why, rows.texts[row]) for row, why in broken.items()
        ]
        good = [row not in broken for row in range(batch.num_rows)]
        lines = [line for line, keep in zip(rows.lines, good, strict=True) if keep]
        rejects = sorted([*rows.rejects, *late], key=lambda reject: reject.position)
        return Chunk(batch.filter(pa.array(good)), rejects, lines)


def _cells(text: str, delimiter: str, quote: str) -> list[str] | None:
    """The fields of one record as written; none if text follows a closing quote."""
    closing = re.compile(f"[^{re.escape(quote)}]*+(?:{re.escape(quote * 2)}[^{re.escape(quote)}]*+)*+")
    cells, at = [], 0
    while True:
        if text.startswith(quote, at):
            match = closing.match(text, at + 1)
            end = match.end() + 1 if match else len(text)
            if text[end : end + 1] not in ("", delimiter):
                return None
        else:
            end = text.find(delimiter, at)
            end = len(text) if end < 0 else end
        cells.append(text[at:end])
        if end >= len(text):
            return cells
        at = end + 1


def _bare(cell: str, quote: str) -> str:
    if cell[:1] != quote:
        return cell
    cell = cell[1:-1]
    return cell.replace(quote * 2, quote) if quote in cell else cell


def _count(block: Plain | list[Record]) -> int:
    return len(block.lines if isinstance(block, Plain) else block)


def _records(block: Plain | list[Record]) -> Iterator[Record]:
    if isinstance(block, list):
        yield from block
    else:
        yield from (Record(n, text, len(text)) for n, text in enumerate(block.lines, block.first))


def _after_first(block: Plain | list[Record]) -> Plain | list[Record]:
    return block[1:] if isinstance(block, list) else Plain(block.first + 1, block.lines[1:])


def _part(block: Plain | list[Record], start: int) -> Plain | list[Record]:
    end = start + ROWS
    if isinstance(block, list):
        return block[start:end]
    return Plain(block.first + start, block.lines[start:end])
