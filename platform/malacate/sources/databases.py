"""Tables of a Postgres database: whole, or in windows of a cursor column, streamed as Arrow.

A read is one repeatable-read transaction: the rows, their count and the keys that are alive are
of the same moment.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import psycopg
import pyarrow as pa
from adbc_driver_postgresql import dbapi
from psycopg import sql

from malacate.batch import Found, Reading
from malacate.contracts.chunk import Chunk
from malacate.contracts.drift import align
from malacate.contracts.table import Column, Table
from malacate.errors import SourceUnreachable
from malacate.lake.lake import Lake
from malacate.sources.databases_postgres import (
    CatalogColumn,
    catalog,
    delivered,
    identifier,
    is_scaled,
    selected,
)
from malacate.sources.protocol import Known

BATCH_BYTES = 16 << 20
"""What the driver gathers before it hands over a batch; bounds memory with the writer's queue."""

_LSN = "select (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint"


@dataclass(frozen=True)
class Cursor:
    """A column that grows with every change: windows ``[lo, hi)`` of it are read.

    ``hi`` stays ``lag_seconds`` behind the server's clock; ``overlap_seconds`` before ``lo`` are
    read again for transactions that committed late. With ``sweeps_deletes`` each read also brings
    all keys that are alive, and rows without one are deleted.
    """

    column: str
    lag_seconds: float = 0.0
    overlap_seconds: float = 300.0
    sweeps_deletes: bool = True


@dataclass(frozen=True)
class DatabaseTable:
    """One table of the database at ``url``; without a cursor, all of it each time.

    ``resolve`` fills in what ``url`` only refers to, when a connection is opened. ``snapshot`` is
    one that the server exported: rows are as they were then.
    """

    table: Table
    url: str
    cursor: Cursor | None = None
    supersedes: bool = True
    resolve: Callable[[str], str] = str
    snapshot: str = ""

    @property
    def relation(self) -> str:
        """Its name at the source."""
        return self.table.physical_name or self.table.name.table

    @contextlib.contextmanager
    def connect(self) -> Iterator[psycopg.Connection]:
        """A session for small questions; raises ``SourceUnreachable`` with advice."""
        try:
            # Names in a SQL_ASCII database would come as bytes otherwise.
            url, encoding = self.resolve(self.url), "utf8"
            with psycopg.connect(url, connect_timeout=10, client_encoding=encoding) as connection:
                yield connection
        except psycopg.Error as error:
            raise self._unreachable(error) from error

    def discover(self, known: Known) -> list[Found]:
        """A snapshot at the log's position, or the next window; nothing if nothing moved."""
        if self.cursor is not None and known.waiting:
            return []
        with self.connect() as connection:
            lsn = int(_one(connection, sql.SQL(_LSN)))
            if self.cursor is None:
                return [self._found("snapshot", str(lsn), lsn)]
            lo = int(known.position) if known.position else None
            hi = self._end(connection, self.cursor, lo)
        if hi is None:
            return []
        return [self._found("window", f"{lo}..{hi}@{lsn}", lsn, lo, hi)]

    def _found(
        self, kind: Any, version: str, lsn: int, lo: int | None = None, hi: int | None = None
    ) -> Found:
        start, end = (None if edge is None else str(edge) for edge in (lo, hi))
        name = self.table.name.table
        return Found(self.table.source, name, kind, kind, version, lsn, lo=start, hi=end)

    def _end(self, connection: psycopg.Connection, cursor: Cursor, lo: int | None) -> int | None:
        """Just after the newest value that is old enough; never before ``lo``."""
        query = sql.SQL(
            "select (extract(epoch from least(max({column}) + interval '1 microsecond', "
            "clock_timestamp() - make_interval(secs => {lag}))) * 1000000)::bigint "
            "from {relation} where {column} < clock_timestamp() - make_interval(secs => {lag})"
        ).format(
            column=sql.Identifier(cursor.column),
            lag=sql.Literal(cursor.lag_seconds),
            relation=identifier(self.relation),
        )
        newest = _one(connection, query)
        if newest is None:
            return lo
        return max(int(newest), lo) if lo is not None else int(newest)

    def read(self, found: Found, lake: Lake) -> Reading:
        """Stream the rows; the count and the keys follow once the rows are through."""
        with self.connect() as connection:
            columns = catalog(connection, self.relation)
        kinds = {name: column.type for name, column in columns.items()}
        alignment = align(self.table, kinds, self.relation)
        wanted = {
            source: self.table.by_name[name]
            for name, source in alignment.sources.items()
            if source is not None
        }
        reading = Reading(iter(()), list(alignment.evolutions))
        session = _Session(self, found, {n: columns[n] for n in wanted}, wanted, reading)
        reading.chunks = session.chunks()
        if self.cursor is not None and self.cursor.sweeps_deletes:
            reading.keys = session.keys()
        return reading

    def condition(self, found: Found) -> sql.Composable:
        """The rows of a window; NULL cursors are in every one of them."""
        if self.cursor is None or found.hi is None:
            return sql.SQL("true")
        column = sql.Identifier(self.cursor.column)
        inside = sql.SQL("{} < {}").format(column, _instant(int(found.hi)))
        if found.lo is not None:
            start = int(found.lo) - int(self.cursor.overlap_seconds * 1_000_000)
            inside += sql.SQL(" and {} >= {}").format(column, _instant(start))
        promised = self.table.by_name.get(self.cursor.column)
        if promised is not None and promised.required:
            return inside
        return sql.SQL("(({}) or {} is null)").format(inside, column)

    def _unreachable(self, error: Exception) -> SourceUnreachable:
        return SourceUnreachable(
            "the database does not answer as it should",
            "Run `malacate doctor`: it names the host, the user or the privilege that is wrong.",
            source=str(self.table.name),
            object=self.relation,
            actual=str(error).strip().splitlines()[0] if str(error).strip() else repr(error),
            reason="unreachable",
        )


@dataclass
class _Session:
    """One repeatable-read transaction over the bulk reader."""

    source: DatabaseTable
    found: Found
    columns: Mapping[str, CatalogColumn]
    wanted: Mapping[str, Column]
    reading: Reading

    def chunks(self) -> Iterator[Chunk]:
        """Count, then stream; absent columns are nulls. Keys are fetched before it ends."""
        url = self.source.resolve(self.source.url)
        try:
            with (
                contextlib.closing(dbapi.connect(url)) as connection,
                contextlib.closing(connection.cursor()) as cursor,
            ):
                cursor.execute("set transaction isolation level repeatable read, read only")
                if self.source.snapshot:
                    snapshot = sql.Literal(self.source.snapshot).as_string()
                    cursor.execute(f"set transaction snapshot {snapshot}")
                fast = self._count(cursor)
                first = 0
                for rows in self._rows(cursor, fast):
                    for chunk in delivered(rows, self.columns, self.wanted):
                        yield self._complete(chunk, first)
                        first += chunk.rows_read
                if self.reading.keys is not None:
                    self._alive = self._read_keys(cursor)
        except (dbapi.Error, pa.ArrowInvalid, OSError) as error:
            raise self.source._unreachable(error) from error

    def keys(self) -> Iterator[pa.RecordBatch]:
        """Every key that was alive in the same transaction."""
        yield from self._alive

    def _count(self, cursor: Any) -> bool:
        """Note the source's own count; say whether every numeric can be scaled (none is NaN)."""
        scaled = [sql.Identifier(c.name) for c in self.columns.values() if is_scaled(c)]
        nans = sql.SQL(" or ").join(sql.SQL("{} = 'NaN'").format(name) for name in scaled)
        query = sql.SQL("select count(*), count(*) filter (where {}) from {} where {}").format(
            nans if scaled else sql.SQL("false"), self._relation, self.source.condition(self.found)
        )
        cursor.execute(query.as_string())
        self.reading.source_rows, unfit = cursor.fetchone()
        return not unfit

    def _rows(self, cursor: Any, fast: bool) -> Iterator[pa.RecordBatch]:
        chosen = sql.SQL(", ").join(selected(c, fast) for c in self.columns.values())
        query = sql.SQL("select {} from {} where {}").format(
            chosen, self._relation, self.source.condition(self.found)
        )
        hint = {"adbc.postgresql.batch_size_hint_bytes": str(BATCH_BYTES)}
        cursor.adbc_statement.set_options(**hint)
        cursor.execute(query.as_string())
        with contextlib.closing(cursor.fetch_record_batch()) as reader:
            yield from reader

    def _read_keys(self, cursor: Any) -> list[pa.RecordBatch]:
        by_target = {column.name: source for source, column in self.wanted.items()}
        names = [by_target[name] for name in self.source.table.key]
        columns = {name: self.columns[name] for name in names}
        chosen = sql.SQL(", ").join(selected(c, fast=True) for c in columns.values())
        query = sql.SQL("select {} from {}").format(chosen, self._relation)
        cursor.execute(query.as_string())
        wanted = {name: self.wanted[name] for name in names}
        with contextlib.closing(cursor.fetch_record_batch()) as reader:
            return [c.rows for rows in reader for c in delivered(rows, columns, wanted)]

    def _complete(self, chunk: Chunk, first: int) -> Chunk:
        places = None if chunk.positions is None else [first + p for p in chunk.positions]
        rejects = [type(r)(first + r.position, r.reason, r.detail, r.raw) for r in chunk.rejects]
        arrays = [
            chunk.rows.column(c.name)
            if c.name in chunk.rows.schema.names
            else pa.nulls(chunk.rows.num_rows, c.type)
            for c in self.source.table.columns
        ]
        rows = pa.RecordBatch.from_arrays(arrays, names=self.source.table.schema.names)
        return Chunk(rows, rejects, places)

    @property
    def _relation(self) -> sql.Identifier:
        return identifier(self.source.relation)


def _instant(micros: int) -> sql.Composable:
    return sql.SQL("(timestamptz 'epoch' + {} * interval '1 microsecond')").format(
        sql.Literal(micros)
    )


def _one(connection: psycopg.Connection, query: sql.SQL | sql.Composed) -> Any:
    row = connection.execute(query).fetchone()
    return row[0] if row else None
