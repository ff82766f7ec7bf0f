"""A table of Postgres and the slot that its changes come from, as reconciling asks them.

The slot is peeked at, never read from, made or moved on.
"""

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
from adbc_driver_postgresql import dbapi
from psycopg import sql

from malacate.contracts.changes import ROW_HASH, keyed
from malacate.contracts.chunk import Chunk
from malacate.contracts.drift import align
from malacate.contracts.table import Table
from malacate.errors import SourceUnreachable
from malacate.lake.lake import Lake
from malacate.reconcile_ranges import Range, within
from malacate.reconcile_sources import Pending
from malacate.sources.cdc import slot_gaps
from malacate.sources.cdc.pgoutput import Decoder, pinned
from malacate.sources.cdc.pgoutput_values import rows as logged
from malacate.sources.cdc.row_hash import row_hash
from malacate.sources.cdc.slot import SlotTable, relation_of
from malacate.sources.cdc.slot_changes import within as between
from malacate.sources.cdc.slot_position import Position, shown
from malacate.sources.cdc.slot_server import ServerState, waiting
from malacate.sources.databases import BATCH_BYTES, DatabaseTable
from malacate.sources.databases_postgres import (
    CatalogColumn,
    catalog,
    delivered,
    identifier,
    selected,
)

FLUSH_SECONDS = 30.0
"""How long a server may take to flush what it shows already."""

_PAGE, _HEADER = 8192, 40
_LAST = (1 << 63) - 1


@dataclass
class SlotRows:
    """A table of Postgres whose changes come from a slot; the slot is only peeked at."""

    source: SlotTable
    moment: int = 0

    @property
    def has_ranges(self) -> bool:
        """See ``Captured``."""
        return bool(self.source.table.key)

    def follows(self, position: str | None) -> bool:
        """See ``Captured``."""
        at, slot, table = Position.of(position), self.source.slot, self.source.table
        if at is None:
            return False
        standing = slot.standing(table, at)
        if standing is None:
            raise slot_gaps.missing(slot.server.slot_name(at.generation), table, at)
        slot_gaps.require_generation(slot.server, table, at, standing.generation)
        if at.generation < standing.generation:
            return False
        identity = standing.identity
        slot_gaps.require_follows(table, at, standing.slot, standing.server, identity)
        return True

    def rows(self, some: Sequence[Range]) -> Iterator[Chunk]:
        """See ``Captured``."""
        server, table = self.source.slot.server, self.source.table
        url, relation = pinned(server.resolve(server.url)), relation_of(table)
        with DatabaseTable(table, url).connect() as connection:
            columns = catalog(connection, relation)
        sources = align(table, {n: c.type for n, c in columns.items()}, relation).sources
        wanted = {n: table.by_name[ours] for ours, n in sources.items() if n is not None}
        chosen = {name: columns[name] for name in wanted}
        query = self._query(list(chosen.values()), some)
        try:
            with (
                contextlib.closing(dbapi.connect(url)) as connection,
                contextlib.closing(connection.cursor()) as cursor,
            ):
                hint = {"adbc.postgresql.batch_size_hint_bytes": str(BATCH_BYTES)}
                cursor.execute("set transaction isolation level repeatable read, read only")
                cursor.adbc_statement.set_options(**hint)
                cursor.execute(query)
                with contextlib.closing(cursor.fetch_record_batch()) as reader:
                    for batch in reader:
                        yield from (_keyed(c, table) for c in delivered(batch, chosen, wanted))
        except (dbapi.Error, pa.ArrowInvalid, OSError) as error:
            raise server.unreachable(error) from error
        self.moment = server.state().inserted

    def _query(self, columns: Sequence[CatalogColumn], some: Sequence[Range]) -> str:
        fields = sql.SQL(", ").join(selected(column, fast=False) for column in columns)
        relation = identifier(relation_of(self.source.table))
        query = sql.SQL("select {} from {} where ").format(fields, relation)
        return query.as_string() + self._condition(some)

    def _condition(self, some: Sequence[Range]) -> str:
        """Text in the order of its bytes: the one that warehouses have."""
        table = self.source.table
        if Range() in some:
            return "true"
        names = []
        for column in (table.by_name[name] for name in table.key):
            name = sql.Identifier(column.delivered_as).as_string()
            is_text = pa.types.is_string(column.type)
            names.append(f'({name})::text collate "C"' if is_text else name)
        return within(names, some, lambda value: sql.Literal(value).as_string())

    def pending(self, position: str, lake: Lake) -> Pending:
        """See ``Captured``."""
        at, slot, table = Position.parse(position), self.source.slot, self.source.table
        self._flushed()
        self.follows(position)
        name = slot.server.slot_name(at.generation)
        for attempt in waiting():
            with attempt:
                return self._peeked(name, at.lsn, table)
        raise AssertionError("unreachable")

    def _peeked(self, slot: str, lo: int, table: Table) -> Pending:
        keys: list[pa.RecordBatch] = []
        names, server = list(keyed(table).key), self.source.slot.server
        for changes in Decoder(slot).stream(server.messages(slot, self.moment)):
            relation = f"{changes.relation.namespace}.{changes.relation.name}"
            mine = between(changes, lo, _LAST) if relation == relation_of(table) else None
            if mine is None:
                continue
            if "T" in mine.op.to_pylist():
                return Pending(every=True)
            keys += [chunk.rows.select(names) for chunk in logged(mine, table, self.source.log)]
        return Pending(keys)

    def _flushed(self) -> None:
        """Only what is flushed can be peeked at; a commit may be seen before."""
        deadline = time.monotonic() + FLUSH_SECONDS
        while not _has_flushed(self.source.slot.server.state(), self.moment):
            if time.monotonic() > deadline:
                raise SourceUnreachable(
                    "the server shows commits that it does not flush", "Run again.",
                    source=str(self.source.table.name), position=shown(self.moment),
                    reason="not_flushed",
                )  # fmt: skip
            time.sleep(0.1)

    def after(self, position: str) -> tuple[int, int]:
        """See ``Captured``."""
        at = Position.parse(position)
        return at.high, at.low

    def shown(self, position: str) -> str:
        """See ``Captured``."""
        return shown(Position.parse(position).lsn)


def _has_flushed(server: ServerState, moment: int) -> bool:
    """At the end of a page, the header of the next one counts as inserted."""
    is_header = server.flushed % _PAGE == 0 and moment - server.flushed <= _HEADER
    return moment <= server.flushed or is_header


def _keyed(chunk: Chunk, table: Table) -> Chunk:
    """With the columns that the source lacks, and the hash that is the key of a bare row."""
    rows = chunk.rows
    names, size = rows.schema.names, rows.num_rows
    arrays = [
        rows.column(c.name) if c.name in names else pa.nulls(size, c.type) for c in table.columns
    ]
    whole = pa.RecordBatch.from_arrays(arrays, names=[c.name for c in table.columns])
    if not table.key:
        whole = whole.append_column(ROW_HASH.name, row_hash(whole))
    return Chunk(whole, chunk.rejects, chunk.positions)
