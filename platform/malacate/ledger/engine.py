"""Opening the ledger's database: what SQLite and Postgres do differently stands here."""

import re
import sqlite3
from pathlib import Path
from typing import Any

import sqlalchemy as sa
import tenacity
from sqlalchemy.dialects import postgresql, sqlite

from malacate.errors import refused
from malacate.ledger.tables import METADATA

_CREATING = 7_230_116
"""Any number, as long as every version of this library locks the same one."""


def insert(connection: sa.Connection) -> Any:
    """The dialect's INSERT that knows ON CONFLICT."""
    return postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert


def open_engine(url: str) -> sa.Engine:
    """An engine whose transactions exclude each other where the database locks as a whole."""
    engine = sa.create_engine(url, pool_pre_ping=True)
    if engine.dialect.name == "sqlite":
        _prepare_sqlite(engine, url)
    return engine


def create_tables(engine: sa.Engine) -> None:
    """Create what is missing, columns too; of many workers that start at once, one does it."""
    with engine.begin() as connection:
        take_turns(connection, _CREATING)
        METADATA.create_all(connection)
        for table in METADATA.sorted_tables:
            _follow(connection, table)


def take_turns(connection: sa.Connection, number: int) -> None:
    """Wait for other transactions that took ``number``; SQLite's exclude each other anyway."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(number)))


def _follow(connection: sa.Connection, table: sa.Table) -> None:
    """Add what a ledger of an earlier version lacks."""
    inspector = sa.inspect(connection)
    standing = {column["name"] for column in inspector.get_columns(table.name)}
    for column in table.columns:
        if column.name not in standing:
            kind = column.type.compile(connection.dialect)
            change = f"alter table {table.name} add column {column.name} {kind}"
            connection.exec_driver_sql(change)
    indexed = {index["name"] for index in inspector.get_indexes(table.name)}
    for index in table.indexes:
        if index.name not in indexed:
            index.create(connection)


def _prepare_sqlite(engine: sa.Engine, url: str) -> None:
    """WAL once, at creation: every opener that asks for it would lock the others out."""

    @sa.event.listens_for(engine, "connect")
    def _each(connection: Any, _: Any) -> None:
        connection.isolation_level = None
        connection.execute("pragma busy_timeout = 60000")
        connection.execute("pragma synchronous = full")

    @sa.event.listens_for(engine, "handle_error")
    def _told(context: sa.engine.ExceptionContext) -> None:
        error = context.original_exception
        if isinstance(error, sqlite3.OperationalError) and _REFUSED.search(str(error)):
            raise refused(error, url) from error

    @sa.event.listens_for(engine, "begin")
    def _immediate(connection: sa.Connection) -> None:
        connection.exec_driver_sql("begin immediate")

    file = Path(sa.make_url(url).database or "")
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        with engine.connect() as connection:
            connection.rollback()
            raw: Any = connection.connection.driver_connection
            _patiently(raw.execute, "pragma journal_mode = wal")


_REFUSED = re.compile("is full|readonly|unable to open|disk I/O|locked")
"""What SQLite says where the machine, or another process, is in its way."""

_patiently = tenacity.Retrying(
    retry=tenacity.retry_if_exception_type(sqlite3.OperationalError),
    wait=tenacity.wait_random(0.01, 0.1),
    stop=tenacity.stop_after_delay(60),
    reraise=True,
)
"""Two workers that create a ledger at once: this statement does not heed ``busy_timeout``."""
