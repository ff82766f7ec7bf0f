"""JSON lines: an object a line, by name and by contract; a line that is no row is set aside.

A key that a row lacks is null there. Keys are known row by row, so drift may show only on the way.
"""

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from malacate.batch import Chunk, Reading, Reject
from malacate.contracts.drift import Evolution, align
from malacate.contracts.table import Column, Table
from malacate.formats.caps import too_deep
from malacate.formats.csv_cells import Bad
from malacate.formats.draft import drafted
from malacate.formats.jsonl_columns import Columns
from malacate.formats.jsonl_fast import Plain, plain
from malacate.formats.jsonl_lines import BLOCK, Lines, lines
from malacate.formats.jsonl_values import Refused, deeper, parsed
from malacate.formats.unpack import blocks

if TYPE_CHECKING:
    from malacate.formats import FileFormat

ROWS = 1 << 16
_LOOKED_AT = 1000
_MOST_TOLD = 100

Row = tuple[int, bytes, dict[str, Any]]


def read(path: Path, table: Table, form: "FileFormat") -> Reading:
    """Open a JSON lines file as rows of ``table``; its first block is read at once."""
    found, rows = _lines(path, form), Rows(table, form, path.name)
    first = next(found)
    return Reading(_chunks(rows, chain([first], found)), rows.evolutions)


def observed(path: Path, form: "FileFormat") -> dict[str, pa.DataType | None]:
    """Keys of the first rows, with types that hold what they have there: a draft."""
    return keys_of(_lines(path, form), form, path.name)


def keys_of(
    blocks: Iterator[Lines], form: "FileFormat", name: str
) -> dict[str, pa.DataType | None]:
    """See ``observed``; of lines of the file ``name``."""
    found: dict[str, list[Any]] = {}
    left = _LOOKED_AT
    for block in blocks:
        for number, offset, line in block.split():
            if deeper(line, form.caps.depth):
                raise too_deep(number, form.caps.depth, name)
            try:
                row = parsed(line, offset)
            except Refused:
                continue
            for key, value in row.items():
                found.setdefault(key, []).append(value)
            left -= 1
            if not left:
                return drafted(found)
    return drafted(found)


def _lines(path: Path, form: "FileFormat") -> Iterator[Lines]:
    return lines(blocks(path, form.caps, BLOCK), form.max_field_bytes, path)


def _chunks(rows: "Rows", blocks: Iterator[Lines]) -> Iterator[Chunk]:
    for block in blocks:
        yield from rows.of(block)
    rows.end()


class Rows:
    """Lines as rows of ``table``, and what is learnt on the way: ``evolutions``."""

    def __init__(self, table: Table, form: "FileFormat", name: str) -> None:
        self.table, self.form, self.name = table, form, name
        self.evolutions: list[Evolution] = []
        for column in table.columns:
            Columns().values(column, [])  # raises ConfigError for what JSON cannot carry
        self.names = [_names(column) for column in table.columns]
        self.known = {name for names in self.names for name in names}
        self.told: dict[str, None] = {}
        self.unseen = {column.name: column for column in table.columns}
        self.read = 0

    def of(self, block: Lines) -> Iterator[Chunk]:
        """The rows of some lines; differences that the contract allows go to ``evolutions``."""
        if block.size:
            detail = f"the line has {block.size} bytes; its first {len(block.data)} are kept"
            rejects = [Reject(block.first, "too_large", detail, block.data)]
            return self._seen(iter([self._chunk([], rejects)]))
        found = self.plain(block)
        return self.exact(block) if found is None else found

    def plain(self, block: Lines) -> Iterator[Chunk] | None:
        """The rows of some lines, the fast way; ``None`` where the exact way has to decide."""
        if len(block.data) > self.form.max_field_bytes:
            return None
        found = plain(block.data, self.table.columns, self.known)
        return None if found is None else self._seen(self._sliced(block.first, found))

    def exact(self, block: Lines) -> Iterator[Chunk]:
        """The rows of some lines, and those lines that are none."""
        return self._seen(self._one_by_one(block))

    def end(self) -> None:
        """There are no more lines: columns without any value are told."""
        for name, column in self.unseen.items() if self.read else ():
            detail = f"added in {column.since}; null here" if column.since else "null in every row"
            self.evolutions.append(Evolution("absent", name, detail))

    def _seen(self, chunks: Iterator[Chunk]) -> Iterator[Chunk]:
        for chunk in chunks:
            self.read += chunk.rows_read
            for name in list(self.unseen):
                if chunk.rows.column(name).null_count < chunk.rows.num_rows:
                    del self.unseen[name]
            yield chunk

    def _sliced(self, first: int, found: Plain) -> Iterator[Chunk]:
        self._tell(found.unknown, [])
        batch = pa.RecordBatch.from_arrays(list(found.columns), schema=self.table.schema)
        for start in range(0, batch.num_rows, ROWS):
            part = batch.slice(start, ROWS)
            yield Chunk(part, [], range(first + start, first + start + part.num_rows))

    def _one_by_one(self, block: Lines) -> Iterator[Chunk]:
        rows: list[Row] = []
        rejects: list[Reject] = []
        for number, offset, line in block.split():
            try:
                rows.append((number, line, self._row(number, offset, line)))
            except Refused as error:
                rejects.append(Reject(number, error.reason, str(error), line))
            if len(rows) + len(rejects) == ROWS:
                yield self._chunk(rows, rejects)
                rows, rejects = [], []
        if rows or rejects:
            yield self._chunk(rows, rejects)

    def _row(self, number: int, offset: int, line: bytes) -> dict[str, Any]:
        if len(line) > self.form.max_field_bytes:
            raise Refused("too_large", f"the line has {len(line)} bytes")
        if deeper(line, self.form.caps.depth):
            raise too_deep(number, self.form.caps.depth, self.name)
        row = parsed(line, offset)
        for names in self.names:
            if len(names) > 1 and len(came := [name for name in names if name in row]) > 1:
                raise Refused("duplicate_key", f"{' and '.join(came)} are one column")
        return row

    def _chunk(self, rows: Sequence[Row], rejects: Sequence[Reject]) -> Chunk:
        keys = dict.fromkeys(key for _, _, row in rows for key in row)
        arrays: list[pa.Array] = []
        broken: Bad = {}
        columns = Columns()
        for column, names in zip(self.table.columns, self.names, strict=True):
            came = [name for name in names if name in keys]
            values = [next((row[n] for n in came if n in row), None) for _, _, row in rows]
            found, bad = columns.values(column, values)
            arrays.append(found)
            broken = {**bad, **broken}
            self._rename(column, came)
        self._tell(
            [key for key in keys if key not in self.known], list(keys), list(columns.unknown)
        )
        batch = pa.RecordBatch.from_arrays(arrays, schema=self.table.schema)
        late = [Reject(rows[i][0], *why, rows[i][1]) for i, why in broken.items()]
        good = [i not in broken for i in range(len(rows))]
        places = [row[0] for row, keep in zip(rows, good, strict=True) if keep]
        aside = sorted([*rejects, *late], key=lambda reject: reject.position)
        return Chunk(batch.filter(pa.array(good, pa.bool_())), aside, places)

    def _rename(self, column: Column, came: Sequence[str]) -> None:
        for name in came:
            if name not in (column.delivered_as, column.name) and name not in self.told:
                self.told[name] = None
                self.evolutions.append(Evolution("renamed", column.name, f"came as {name!r}"))

    def _tell(
        self, unknown: Sequence[str], keys: Sequence[str], nested: Sequence[str] = ()
    ) -> None:
        """Note keys that no column knows, once each; raise ``SchemaDrift`` if none may come."""
        fresh = [key for key in (*unknown, *nested) if key not in self.told]
        if not fresh:
            return
        if self.table.extra_columns != "ignore":
            align(self.table, dict.fromkeys([*keys, *fresh]), self.name)
        for name in fresh:
            if len(self.told) < _MOST_TOLD:
                self.evolutions.append(Evolution("ignored", name, "not in the contract"))
            elif len(self.told) == _MOST_TOLD:
                self.evolutions.append(Evolution("ignored", "", "more keys, not in the contract"))
            self.told[name] = None


def _names(column: Column) -> tuple[str, ...]:
    return tuple(dict.fromkeys((column.delivered_as, column.name, *column.aliases)))
