"""Records to columns of text: as many cells as the header has, or a reject."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

from malacate.batch import Reject
from malacate.formats.csv_records import Plain, Record


@dataclass
class Rows:
    """Whole records with their lines and cells by column, as written, and those set aside."""

    lines: Sequence[int] = ()
    texts: list[str] = field(default_factory=list)
    cells: Sequence[Sequence[str]] = ()
    rejects: list[Reject] = field(default_factory=list)


@dataclass(frozen=True)
class Layout:
    """How a file's records are laid out: the names of its header and the signs between cells."""

    names: Sequence[str]
    delimiter: str
    quote: str
    encoding: str
    cap: int

    @cached_property
    def whole(self) -> re.Pattern[str]:
        """Every cell of a record with the right number, quotes included."""
        d, q = re.escape(self.delimiter), re.escape(self.quote)
        cell = f"({q}[^{q}]*+(?:{q}{q}[^{q}]*+)*+{q}|[^{q}{d}]*+)"
        return re.compile(d.join([cell] * len(self.names)))

    def rows(self, block: Plain | Sequence[Record]) -> Rows:
        """The cells of a block. As long as nothing in it is odd, one split finds all of them."""
        if not isinstance(block, Plain):
            return self._one_by_one(block)
        text, width = self.delimiter.join(block.lines), len(self.names)
        if "\0" in text or self._is_odd(block.lines):
            return self._one_by_one(block.records())
        flat = text.split(self.delimiter)
        lines = range(block.first, block.first + len(block.lines))
        return Rows(lines, block.lines, [flat[i::width] for i in range(width)])

    def _is_odd(self, lines: list[str]) -> bool:
        separators = [line.count(self.delimiter) for line in lines]
        if separators.count(len(self.names) - 1) != len(lines):
            return True
        return 4 * max(map(len, lines)) > self.cap

    def _one_by_one(self, records: Sequence[Record]) -> Rows:
        rows = Rows()
        lines: list[int] = []
        table: list[Sequence[str]] = []
        for record in records:
            if not record.text and len(self.names) > 1:
                continue
            cells = self._cells(record)
            if isinstance(cells, Reject):
                rows.rejects.append(cells)
                continue
            lines.append(record.line)
            rows.texts.append(record.text)
            table.append(cells)
        rows.lines = lines
        rows.cells = list(zip(*table, strict=True)) or [()] * len(self.names)
        return rows

    def _cells(self, record: Record) -> Sequence[str] | Reject:
        text, width = record.text, len(self.names)
        if record.size > len(text):
            detail = f"the record has {record.size} characters; its first {len(text)} are kept"
            return self.reject(record.line, "too_large", detail, text)
        if "\0" in text:
            return self.reject(record.line, "nul_byte", "the record has a NUL byte", text)
        cells = record.cells or self._written(text)
        if cells is None:
            detail = "text follows a closing quote"
            return self.reject(record.line, "bad_quoting", detail, text)
        if len(cells) != width:
            reason = "too_many_fields" if len(cells) > width else "too_few_fields"
            detail = f"{len(cells)} fields, and the header has {width}"
            return self.reject(record.line, reason, detail, text)
        return self._capped(record, cells) if 4 * len(text) > self.cap else cells

    def _written(self, text: str) -> Sequence[str] | None:
        match = self.whole.fullmatch(text)
        return match.groups() if match else cells_of(text, self.delimiter, self.quote)

    def _capped(self, record: Record, cells: Sequence[str]) -> Sequence[str] | Reject:
        for name, cell in zip(self.names, cells, strict=True):
            size = len(bare(cell, self.quote).encode())
            if size > self.cap:
                detail = f"{name} has {size} bytes, and {self.cap} is the most"
                return self.reject(record.line, "too_large", detail, record.text)
        return cells

    def reject(self, line: int, reason: str, detail: str, text: str) -> Reject:
        """A record set aside, in the bytes it came in."""
        raw = text.encode(self.encoding)
        # Encodings with a byte order mark write it before each text; the file has it once.
        mark = "".encode(self.encoding)
        return Reject(line, reason, detail, raw.removeprefix(mark))


def cells_of(text: str, delimiter: str, quote: str) -> Sequence[str] | None:
    """The cells of one record as written, or none if text follows a closing quote."""
    q = re.escape(quote)
    closing = re.compile(f"[^{q}]*+(?:{q}{q}[^{q}]*+)*+{q}")
    cells, at = [], 0
    while True:
        if text.startswith(quote, at):
            match = closing.match(text, at + 1)
            end = match.end() if match else len(text)
            if text[end : end + 1] not in ("", delimiter):
                return None
        else:
            end = text.find(delimiter, at)
            end = len(text) if end < 0 else end
        cells.append(text[at:end])
        if end >= len(text):
            return cells
        at = end + 1


def bare(cell: str, quote: str) -> str:
    """A cell without the quotes around it and the doubling within."""
    if cell[:1] != quote:
        return cell
    cell = cell[1:-1]
    return cell.replace(quote * 2, quote) if quote in cell else cell
