"""What is asked of a server about a slot, its publication and its tables, and nothing more.

No opinions here: what is wrong with the answers is said by ``slot_gaps``.
"""

import contextlib
import re
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
import pyarrow as pa
import tenacity
from adbc_driver_postgresql import dbapi
from psycopg import errors, sql
from psycopg.rows import dict_row

from malacate.errors import SourceUnreachable
from malacate.sources.cdc.pgoutput import peek, pinned
from malacate.sources.cdc.slot_position import Position, shown

PATIENCE_SECONDS = 30.0
"""How long another reader of the slot is waited for."""

_SLOTS = """
select slot_name as name, plugin, database, active, active_pid, coalesce(wal_status, '') wal_status,
       safe_wal_size, coalesce(confirmed_flush_lsn - '0/0', 0)::bigint as confirmed,
       coalesce(restart_lsn - '0/0', 0)::bigint as restart
from pg_replication_slots where starts_with(slot_name, %s)
"""

_SERVER = """
select system_identifier, substr(pg_walfile_name(pg_current_wal_flush_lsn()), 1, 8) as timeline,
       current_database() as database,
       (pg_current_wal_insert_lsn() - '0/0')::bigint as inserted,
       (pg_current_wal_flush_lsn() - '0/0')::bigint as flushed,
       (redo_lsn - '0/0')::bigint as redo
from pg_control_system(), pg_control_checkpoint()
"""

_PUBLICATION = """
select oid::bigint, pubinsert and pubupdate and pubdelete and pubtruncate as publishes_all,
       pubviaroot as via_root
from pg_publication where pubname = %s
"""

_TABLE = """
select c.oid::bigint as oid, c.relkind::text as kind, c.relreplident::text as identity,
       c.relpersistence::text as persistence,
       coalesce((select array_agg(a.attname::text order by a.attnum) from pg_index i
                 join pg_attribute a on a.attrelid = i.indrelid and a.attnum = any(i.indkey)
                 where i.indrelid = c.oid and i.indisvalid and case c.relreplident
                   when 'd' then i.indisprimary when 'i' then i.indisreplident else false end),
                '{}') as identity_columns,
       t.tablename is not null as is_published,
       coalesce(to_jsonb(t) ->> 'rowfilter', '') as row_filter,
       coalesce((select r.oid::bigint from pg_publication_rel r join pg_publication p
                 on p.oid = r.prpubid where p.pubname = %(publication)s and r.prrelid = c.oid),
                0) as entry,
       has_table_privilege(c.oid, 'select') and has_schema_privilege(n.oid, 'usage') as may_read
from pg_class c join pg_namespace n on n.oid = c.relnamespace
left join pg_publication_tables t on t.pubname = %(publication)s and t.schemaname = n.nspname
  and t.tablename = c.relname
where n.nspname = %(schema)s and c.relname = %(table)s
"""


@dataclass(frozen=True)
class SlotState:
    """A slot as the server has it; LSNs as numbers."""

    name: str
    plugin: str
    database: str
    active: bool
    active_pid: int | None
    wal_status: str
    safe_wal_size: int | None
    confirmed: int
    restart: int


@dataclass(frozen=True)
class ServerState:
    """The server itself. ``boundary`` is an LSN that is flushed and inside of no record."""

    system_identifier: int
    timeline: str
    database: str
    inserted: int
    flushed: int
    redo: int

    @property
    def boundary(self) -> int:
        """A flush may end in mid-record: to advance there would skip a commit that straddles it."""
        return self.inserted if self.inserted <= self.flushed else self.redo


@dataclass(frozen=True)
class PublicationState:
    """A publication; ``publishes_all``: inserts, updates, deletes and truncates."""

    oid: int
    publishes_all: bool
    via_root: bool


@dataclass(frozen=True)
class TableState:
    """A table and what is published of it."""

    oid: int
    kind: str
    identity: str
    persistence: str
    identity_columns: Sequence[str]
    is_published: bool
    row_filter: str
    entry: int
    may_read: bool


@dataclass(frozen=True)
class Exported:
    """A snapshot of the moment at which a slot begins; it lives as long as its connection."""

    connection: psycopg.Connection
    snapshot: str
    lsn: int

    @property
    def is_alive(self) -> bool:
        """Whether it can still be read from."""
        return not self.connection.closed

    def close(self) -> None:
        """Let the server forget it."""
        self.connection.close()


@dataclass(frozen=True)
class SlotServer:
    """The database at ``url``, asked about the slots called ``name`` and the publication."""

    url: str
    name: str
    publication: str
    resolve: Callable[[str], str] = str

    @contextlib.contextmanager
    def connect(self, **how: Any) -> Iterator[psycopg.Connection]:
        """A session in which every statement is a transaction."""
        try:
            with psycopg.connect(
                self.resolve(self.url),
                connect_timeout=10, client_encoding="utf8", autocommit=True, **how,
            ) as connection:  # fmt: skip
                yield connection
        except psycopg.Error as error:
            raise self.unreachable(error) from error

    def generations(self) -> dict[int, SlotState]:
        """The slots by generation: ``name`` is the first, ``name_g1`` was set up after a gap."""
        pattern = re.compile(re.escape(self.name) + r"(?:_g([1-9][0-9]*))?")
        with self.connect() as connection:
            found = [SlotState(**row) for row in _rows(connection, _SLOTS, [self.name])]
        matched = ((pattern.fullmatch(slot.name), slot) for slot in found)
        return {int(match[1] or 0): slot for match, slot in matched if match}

    def slot_name(self, generation: int) -> str:
        """What the slot of a generation is called."""
        return f"{self.name}_g{generation}" if generation else self.name

    def state(self) -> ServerState:
        """The server as it is now."""
        with self.connect() as connection:
            return ServerState(**_rows(connection, _SERVER)[0])

    def published(self) -> PublicationState | None:
        """The publication, if there is one."""
        with self.connect() as connection:
            rows = _rows(connection, _PUBLICATION, [self.publication])
        return PublicationState(**rows[0]) if rows else None

    def table(self, relation: str) -> TableState | None:
        """A table, if it is there."""
        schema, _, name = relation.partition(".")
        values = {"publication": self.publication, "schema": schema, "table": name}
        with self.connect() as connection:
            rows = _rows(connection, _TABLE, values)
        return TableState(**rows[0]) if rows else None

    def create(self, generation: int) -> Exported:
        """Create the slot; the snapshot shows exactly what was committed before its LSN.

        It waits for the transactions that are open. Raises ``psycopg.errors.DuplicateObject``.
        """
        return self._exported(self.slot_name(generation))

    def moment(self) -> Exported:
        """The same of a slot that ends with the connection."""
        return self._exported(f"malacate_{uuid.uuid4().hex}", "TEMPORARY ")

    def _exported(self, slot: str, kind: str = "") -> Exported:
        connection = psycopg.connect(
            self.resolve(self.url), connect_timeout=10, replication="database", autocommit=True
        )
        name = sql.Identifier(slot).as_string(connection)
        statement = f"CREATE_REPLICATION_SLOT {name} {kind}LOGICAL pgoutput EXPORT_SNAPSHOT"
        result = connection.pgconn.exec_(statement.encode())
        if result.status != psycopg.pq.ExecStatus.TUPLES_OK:
            error = errors.error_from_result(result)
            connection.close()
            raise error
        lsn, snapshot = (result.get_value(0, place) or b"" for place in (1, 2))
        high, _, low = lsn.decode().partition("/")
        return Exported(connection, snapshot.decode(), (int(high, 16) << 32) | int(low, 16))

    def messages(
        self, slot: str, upto: int = 0, limit: int | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Whole transactions of the slot as they lie there; nothing is consumed.

        It ends behind the commit that reaches ``upto``, or with which ``limit`` is reached.
        """
        try:
            with (
                contextlib.closing(dbapi.connect(pinned(self.resolve(self.url)))) as connection,
                contextlib.closing(connection.cursor()) as cursor,
            ):
                cursor.execute(peek(slot, [self.publication], limit, upto))
                with contextlib.closing(cursor.fetch_record_batch()) as reader:
                    yield from reader
        except (dbapi.Error, pa.ArrowException, OSError) as error:
            raise self.unreachable(error) from error

    def advance(self, slot: str, position: Position) -> None:
        """Let the server forget the changes up to here."""
        for attempt in waiting():
            with attempt, self.connect() as connection:
                statement = "select pg_replication_slot_advance(%s, %s)"
                connection.execute(statement, [slot, shown(position.lsn)])

    def beat(self) -> None:
        """Write a sign of life into the log, so that it moves; where that is not allowed, do
        not."""
        with contextlib.suppress(SourceUnreachable), self.connect() as connection:
            connection.execute("select pg_logical_emit_message(true, 'malacate', %s)", [self.name])

    def unreachable(self, error: Exception) -> SourceUnreachable:
        """What the server said, with advice."""
        text = str(error).strip().partition("\n")[0] or repr(error)
        busy = "is active for PID" in text
        return SourceUnreachable(
            "the slot has another reader" if busy else "the database does not answer as it should",
            "Find it in pg_replication_slots.active_pid and end it: one slot has one reader."
            if busy
            else "Run `malacate doctor`: it names the privilege, setting or object that is wrong.",
            source=self.name,
            object=self.publication,
            actual=text,
            reason="slot_in_use" if busy else "unreachable",
        )


def _rows(connection: psycopg.Connection, query: str, values: Any = None) -> list[dict[str, Any]]:
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(query, values).fetchall()


def waiting() -> tenacity.Retrying:
    """Attempts until no other reader has the slot, for ``PATIENCE_SECONDS`` at most."""

    def in_use(error: BaseException) -> bool:
        return isinstance(error, SourceUnreachable) and error.reason == "slot_in_use"

    return tenacity.Retrying(
        retry=tenacity.retry_if_exception(in_use),
        wait=tenacity.wait_random_exponential(multiplier=0.1, max=2.0),
        stop=tenacity.stop_after_delay(PATIENCE_SECONDS),
        reraise=True,
    )
