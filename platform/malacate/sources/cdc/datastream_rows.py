"""What every kind of change file shares: whose a change is, and rows of the log with their rejects.

A change goes to the table that it names itself, never to that of the folder it came in.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from malacate.batch import Chunk, Evolution, Reject
from malacate.contracts.changes import ROW_HASH
from malacate.contracts.table import Column, Table
from malacate.formats.csv_cells import Bad
from malacate.sources.cdc.row_hash import row_hash
from malacate.sources.selection import Selection

_REQUIRED = ("_event_id", "_source_at")


@dataclass(frozen=True)
class Named:
    """How a source names a table: some parts may be empty."""

    database: str
    schema: str
    table: str

    def __str__(self) -> str:
        return ".".join(part for part in (self.database, self.schema, self.table) if part)

    def is_called(self, name: str, is_loose: bool) -> bool:
        """Whether ``name`` means this table: with its schema, its database, both or none.

        ``is_loose`` is for a name that no source gave: its case means nothing.
        """
        owners = ("", self.database, self.schema, f"{self.database}.{self.schema}")
        names = {f"{owner}.{self.table}" if owner else self.table for owner in owners}
        return name.casefold() in {n.casefold() for n in names} if is_loose else name in names


@dataclass(frozen=True)
class Whose:
    """Whose a change is: of ``table``, or of one of ``others`` whose files these are as well."""

    table: Table
    others: Sequence[tuple[Table, Selection]] = ()

    def is_mine(self, named: Named) -> bool:
        """Whether the table's own route takes it."""
        return _is(self.table, named)

    def is_taken(self, named: Named, name: str) -> bool:
        """Whether another route takes it out of the object ``name``."""
        return any(
            _is(table, named) and files.passed_over(name) is None for table, files in self.others
        )


def _is(table: Table, named: Named) -> bool:
    name = table.physical_name or table.name.table
    return named.is_called(name, is_loose=not table.physical_name)


@dataclass
class Counts:
    """Events that are no row of this log and no reject either, by what they are."""

    found: Counter[str] = field(default_factory=Counter)

    def told(self) -> list[Evolution]:
        """What the batch notes of them."""
        return [Evolution("ignored", "", f"{n} {what}") for what, n in sorted(self.found.items())]


@dataclass
class Rows:
    """Columns of some changes on their way to the log, and why some of them do not get there.

    ``places`` and ``raw`` are of the event that a row was made of.
    """

    columns: dict[str, pa.Array]
    places: Sequence[int]
    raw: Callable[[int], bytes]
    bad: Bad = field(default_factory=dict)

    def chunk(self, log: Table, table: Table, rejects: Sequence[Reject]) -> Chunk:
        """The rows that are whole, and all rejects; ``table`` has the key."""
        if table.key == (ROW_HASH.name,):
            self.columns[ROW_HASH.name] = self._hashes(table)
        self._refuse(table)
        arrays = [self.columns[column.name] for column in log.columns]
        rows = pa.RecordBatch.from_arrays(arrays, names=[c.name for c in log.columns])
        late = [Reject(self.places[i], *why, self.raw(i)) for i, why in self.bad.items()]
        good = [index for index in range(rows.num_rows) if index not in self.bad]
        if self.bad:
            rows = rows.take(pa.array(good, pa.int64()))
        # Of an event with two halves one may be good; if both are bad, its bytes are kept once.
        once = {reject.position: reject for reject in (*rejects, *late)}
        aside = [once[place] for place in sorted(once)]
        return Chunk(rows, aside, [self.places[index] for index in good])

    def _refuse(self, table: Table) -> None:
        """No change without its key, its instant and its identity; a truncate has no key."""
        needed = [(name, "no_key", "the event is without its key") for name in table.key]
        needed += [(name, "not_a_change", f"the event has no {name[1:]}") for name in _REQUIRED]
        is_truncate = pc.equal(self.columns["_op"], "T")
        for name, reason, detail in needed:
            if not self.columns[name].null_count:
                continue
            missing = pc.is_null(self.columns[name])
            if reason == "no_key":
                missing = pc.and_(missing, pc.invert(pc.fill_null(is_truncate, False)))
            for index in pc.indices_nonzero(missing).to_pylist():
                self.bad.setdefault(index, (reason, detail))

    def _hashes(self, table: Table) -> pa.Array:
        names = [column.name for column in table.columns if column.name != ROW_HASH.name]
        rows = pa.RecordBatch.from_arrays([self.columns[name] for name in names], names=names)
        is_truncate = pc.equal(self.columns["_op"], "T")
        return pc.if_else(is_truncate, pa.scalar(None, pa.string()), row_hash(rows))


def held_up(bad: Bad, column: Column, table: Table, is_gone: Sequence[bool]) -> Bad:
    """What of ``bad`` keeps events out: a deletion needs its key alone, which may be the row."""
    if column.name in table.key or table.key == (ROW_HASH.name,):
        return bad
    return {index: why for index, why in bad.items() if not is_gone[index]}


def constants(values: Mapping[str, object], count: int, log: Table) -> dict[str, pa.Array]:
    """Columns that have one value in every row."""
    kinds = {column.name: column.type for column in log.columns}
    return {name: pa.repeat(pa.scalar(value, kinds[name]), count) for name, value in values.items()}
