"""XLSX: one sheet with a header row, its cells by contract; what breaks it is set aside."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from malacate.batch import Chunk, Reading, Reject
from malacate.contracts.drift import Evolution, align
from malacate.contracts.table import Column, Table
from malacate.errors import SchemaDrift
from malacate.formats.csv_cells import Bad, Cells
from malacate.formats.xlsx_book import Book, Cell, Row, letters, opened, refused
from malacate.formats.xlsx_cells import Unfit, number_text, text_of

if TYPE_CHECKING:
    from malacate.formats import FileFormat

ROWS = 1 << 14
_LOOKED_AT = 1000

Numbered = tuple[int, Row]


@dataclass(frozen=True)
class _Sheet:
    """A sheet of which the header is read: names by column, and the rows that follow."""

    book: Book
    header: Mapping[int, str]
    rows: Iterator[Numbered]


def read(path: Path, table: Table, form: "FileFormat") -> Reading:
    """Open a workbook's sheet as rows of ``table``; its header is checked at once."""
    with opened(path, form.caps) as book:
        header = _sheet(book, form).header
    alignment = align(table, dict.fromkeys(header.values()), path.name)
    evolutions = list(alignment.evolutions)
    at = {name: column for column, name in header.items()}
    places = [
        None if n is None else at[n] for n in (alignment.sources[c.name] for c in table.columns)
    ]
    return Reading(_chunks(path, table, form, places, evolutions), evolutions)


def observed(path: Path, form: "FileFormat") -> dict[str, pa.DataType | None]:
    """Names in the header, with types that hold the first rows: a draft."""
    with opened(path, form.caps) as book:
        sheet = _sheet(book, form)
        rows = [row for _, row in islice(sheet.rows, _LOOKED_AT)]
    return {
        name: _draft([row[column] for row in rows if column in row])
        for column, name in sheet.header.items()
    }


def _draft(cells: list[Cell]) -> pa.DataType | None:
    kinds = {cell.kind for cell in cells}
    if kinds == {"date"}:
        return pa.timestamp("us")
    if kinds == {"boolean"}:
        return pa.bool_()
    if kinds != {"number"}:
        return None
    whole = all(number_text(cell.text).lstrip("-").isdecimal() for cell in cells)
    return pa.int64() if whole else pa.float64()


def _sheet(book: Book, form: "FileFormat") -> _Sheet:
    name = form.sheet or next(iter(book.sheets), "")
    if name not in book.sheets:
        actual = ", ".join(map(repr, book.sheets)) or "no sheet"
        advice = "Correct `sheet` under format, or ask for the sheet."
        raise refused(book.path, f"there is no sheet {name!r}", "no_sheet", actual, advice)
    rows = book.rows(name)
    number, first = next((r for r in rows if r[0] >= form.header_row), (0, {}))
    if number != form.header_row:
        advice = "Correct `header_row` under format, or ask for a row of column names."
        actual = f"row {form.header_row} is empty"
        raise refused(book.path, "the sheet has no header", "bad_header", actual, advice)
    header = {column: cell.text.strip() for column, cell in first.items() if cell.text.strip()}
    twice = sorted(n for n in set(header.values()) if list(header.values()).count(n) > 1)
    if twice:
        raise SchemaDrift(
            "columns have the same name",
            "Ask the source to give each column its own.",
            object=book.path.name,
            position=f"row {number}",
            actual=", ".join(map(repr, twice)),
            reason="duplicate_header",
        )
    return _Sheet(book, header, rows)


def _chunks(
    path: Path,
    table: Table,
    form: "FileFormat",
    places: list[int | None],
    evolutions: list[Evolution],
) -> Iterator[Chunk]:
    with opened(path, form.caps) as book:
        sheet = _sheet(book, form)
        maker = _Maker(table, form, sheet.header, places, book.is_1904)
        while rows := list(islice(sheet.rows, ROWS)):
            yield maker.chunk(rows)
    if book.merged:
        detail = f"merged cells {', '.join(book.merged[:5])}: only the first of each has a value"
        evolutions.append(Evolution("ignored", "", detail))


@dataclass(frozen=True)
class _Maker:
    """Rows of cells to chunks of a table."""

    table: Table
    form: "FileFormat"
    header: Mapping[int, str]
    places: list[int | None]
    is_1904: bool

    def chunk(self, rows: list[Numbered]) -> Chunk:
        """The good rows, and the others with their row numbers and cells."""
        broken = self._nameless(rows)
        arrays: list[pa.Array] = []
        nulls = pa.array(self.form.null_text, pa.string())
        for column, place in zip(self.table.columns, self.places, strict=True):
            texts = [self._text(i, row.get(place, None), column, broken)  # type: ignore[arg-type]
                     for i, (_, row) in enumerate(rows)]  # fmt: skip
            text = pa.array(texts, pa.string())
            text = pc.if_else(pc.is_in(text, nulls), pa.scalar(None, pa.string()), text)
            found, bad = Cells(column).values(text)
            arrays.append(found)
            for i, why in bad.items():
                broken.setdefault(i, why)
        batch = pa.RecordBatch.from_arrays(arrays, schema=self.table.schema)
        rejects = [
            Reject(rows[i][0], *why, self._raw(rows[i][1])) for i, why in sorted(broken.items())
        ]
        good = [i not in broken for i in range(len(rows))]
        positions = [row[0] for row, keep in zip(rows, good, strict=True) if keep]
        return Chunk(batch.filter(pa.array(good, pa.bool_())), rejects, positions)

    def _nameless(self, rows: list[Numbered]) -> Bad:
        """Rows with a value where the header has no name."""
        found: Bad = {}
        for i, (_, row) in enumerate(rows):
            if extra := row.keys() - self.header.keys():
                detail = f"column {letters(min(extra))} has a value and no name"
                found[i] = ("too_many_fields", detail)
        return found

    def _text(self, i: int, cell: Cell | None, column: Column, broken: Bad) -> str | None:
        if cell is None:
            return None
        try:
            return text_of(cell, column, self.is_1904)
        except Unfit as error:
            broken.setdefault(i, (error.reason, str(error)))
            return None

    def _raw(self, row: Row) -> bytes:
        """A row as JSON: each cell's text as the file has it, by its column's name or letters."""
        cells = {
            self.header.get(column, letters(column)): cell.text for column, cell in row.items()
        }
        return json.dumps(cells, ensure_ascii=False).encode("utf-8", "surrogatepass")
