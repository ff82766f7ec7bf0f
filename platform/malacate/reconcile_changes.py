"""Is the state of a change-captured table what its source is, where both have come to?

The table at its source, as of one moment, is compared with the state of published changes. What
differs and changed after the published position is behind, whatever else differs is wrong. The
source is read and its log is looked at; nothing is created, moved on or written there.

The rows themselves are compared, hashed by one engine: the ways in which two engines print
numbers, instants and text differ too much for a hash of each to be trusted.
"""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from malacate.contracts.chunk import Chunk
from malacate.contracts.rules import split
from malacate.contracts.table import Table
from malacate.errors import SourceGap
from malacate.ingest import Ingest
from malacate.names import quote
from malacate.reconcile import Difference, is_personal
from malacate.reconcile_ranges import Range, ranges, whose_turn, within
from malacate.reconcile_rows import Comparison
from malacate.reconcile_slot import SlotRows
from malacate.reconcile_sources import Captured, Pending
from malacate.reconcile_sqlserver import ChangeTableRows
from malacate.route import Route
from malacate.sources.cdc.slot import SlotTable
from malacate.sources.cdc.sqlserver import ChangeTable
from malacate.sources.protocol import Source
from malacate.warehouse.fold import Fold

SHOWN = 20
"""Keys of a table that are told."""

LOOKS = 2
"""A difference has to stand at every one: a commit may be in the log before it can be seen."""

_TRIES = 5


def captured(source: Source) -> Captured | None:
    """The source, asked this way; ``None`` if none of its changes are captured by us."""
    if isinstance(source, SlotTable):
        return SlotRows(source)
    return ChangeTableRows(source) if isinstance(source, ChangeTable) else None


def is_captured(route: Route) -> bool:
    """Whether the route's source is asked this way."""
    return isinstance(route.derives, Fold) and captured(route.source) is not None


def reconcile_changes(
    route: Route, real: Ingest, turn: int = 0, is_full: bool = False, rows: int | None = None
) -> Difference:
    """Compare some ranges of the route's state, or all of it, with its source as it is now.

    Another part comes each ``turn``, all in a round; ``rows`` is how many a range has, about.
    Raises ``SourceGap`` where changes were lost, ``SourceUnreachable``.
    """
    source, derives = captured(route.source), route.derives
    if source is None or not isinstance(derives, Fold):
        raise TypeError(f"{route.table.name} has no changes")
    with _scratch(derives.table) as comparison:
        return _Reconciliation(route, real, source, comparison).run(turn, is_full, rows)


@contextmanager
def _scratch(table: Table) -> Iterator[Comparison]:
    with (
        tempfile.TemporaryDirectory(prefix="malacate-") as folder,
        duckdb.connect(str(Path(folder) / "rows.duckdb")) as connection,
    ):
        connection.execute("set timezone = 'UTC'")
        yield Comparison(connection, table)


@dataclass
class _Reconciliation:
    route: Route
    real: Ingest
    source: Captured
    comparison: Comparison
    quarantined: int = 0
    position: str | None = None

    @property
    def state(self) -> Table:
        """The state without its change columns."""
        return self.comparison.table

    def run(self, turn: int, is_full: bool, rows: int | None) -> Difference:
        some, told = self._chosen(turn, is_full, rows)
        for look in range(LOOKS):
            self._look(some)
            if look:
                self.comparison.again()
            if not self.comparison.unexplained():
                break
            self.comparison.remember()
        lost, twice, wrong, behind = self.comparison.counts()
        source_rows, target_rows = self.comparison.rows.values()
        examples = () if is_personal(self.state) else self.comparison.examples(SHOWN)
        return Difference(
            "/".join(self.state.name.key), source_rows, target_rows, self.quarantined,
            lost, twice, wrong, behind, examples, 0, told,
            self.source.shown(self.position) if self.position else "",
        )  # fmt: skip

    def _chosen(self, turn: int, is_full: bool, rows: int | None) -> tuple[list[Range], str]:
        """Ranges, and how many of how many they are."""
        is_there = self.real.warehouse.exists(self.state.name)
        if is_full or not is_there or not self.source.has_ranges:
            return [Range()], "all"
        given = {} if rows is None else {"rows": rows}
        every = ranges(self.real.warehouse, self.state, **given)
        some = whose_turn(every, turn)
        return some, "all" if len(every) == 1 else f"{len(some)} of {len(every)}"

    def _look(self, some: Sequence[Range]) -> None:
        """The position before the rows: whatever is published meanwhile is behind it."""
        self.position = self.real.warehouse.position(self.route.table.name)
        follows = self.source.follows(self.position)
        self.comparison.begin()
        self.comparison.add("target_rows", self._standing(some))
        self.quarantined = 0
        for chunk in self.source.rows(some):
            kept = self._kept(chunk)
            self.quarantined += len(kept.rejects)
            self.comparison.leave_out(kept.rejects)
            self.comparison.add("source_rows", kept.rows)
        if self.comparison.differ():
            self._explain(self.position if follows else None)

    def _kept(self, chunk: Chunk) -> Chunk:
        """What of the source's rows is in quarantine is no difference."""
        rows = chunk.rows.select([column.name for column in self.state.columns])
        masked = self.real.mask(self.state, Chunk(rows, chunk.rejects, chunk.positions))
        return split(self.state, masked, 0)

    def _standing(self, some: Sequence[Range]) -> pa.Table:
        """Rows that are alive; a column that is new is empty."""
        schema, warehouse = self.state.schema, self.real.warehouse
        if not warehouse.exists(self.state.name):
            return schema.empty_table()
        there = warehouse.columns(self.state.name)
        names = [name for name in schema.names if name in there]
        query = (
            f"select {', '.join(quote(name, 'duckdb') for name in names)} "  # noqa: S608
            f"from {self.state.name.sql('duckdb')} where not is_deleted"
        )
        values: dict[str, object] = {}

        def bound(value: object) -> str:
            name = f"k{len(values)}"
            values[name] = value
            return f"${name}"

        if Range() not in some:
            key = [quote(name, "duckdb") for name in self.state.key]
            query += f" and ({within(key, some, bound)})"
        rows = warehouse.query(query, values)
        for field in schema:
            if field.name not in names:
                rows = rows.append_column(field, pa.nulls(rows.num_rows, field.type))
        return rows

    def _explain(self, position: str | None) -> None:
        """Mark what changed after ``position``: published meanwhile, or waiting at the source."""
        if position is None:
            self.comparison.all_behind()
            return
        pending, now = self._pending()
        told = [pending] if now == position else [pending, self._published(position)]
        if any(one.every for one in told):
            self.comparison.all_behind()
        for one in told:
            for keys in one.keys:
                self.comparison.mark("behind", keys.filter(_is_whole(keys)))

    def _pending(self) -> tuple[Pending, str]:
        """What waits, and behind which position; a run that publishes meanwhile moves that on."""
        name, tries = self.route.table.name, 0
        while True:
            now = self.real.warehouse.position(name) or ""
            try:
                return self.source.pending(now, self.real.lake), now
            except SourceGap:
                tries += 1
                if tries == _TRIES or self.real.warehouse.position(name) == now:
                    raise

    def _published(self, position: str) -> Pending:
        """Keys of the log behind ``position``."""
        key = ", ".join(quote(name, "duckdb") for name in self.state.key)
        high, low = self.source.after(position)
        values: Mapping[str, int] = {"high": high, "low": low}
        found = self.real.warehouse.query(
            f"select distinct _op = 'T' as _is_all, {key} "  # noqa: S608
            f"from {self.route.table.name.sql('duckdb')} where _position_hi > $high "
            "or (_position_hi = $high and _position_lo > $low)",
            values,
        )
        every = True in found.column("_is_all").to_pylist()
        return Pending(found.drop_columns(["_is_all"]).to_batches(), every)


def _is_whole(keys: pa.RecordBatch) -> pa.Array:
    """Which of the keys have all of their columns: a truncate has none."""
    whole = pa.array([True] * keys.num_rows)
    for column in keys.columns:
        whole = pc.and_(whole, column.is_valid())
    return whole
