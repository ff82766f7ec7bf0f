"""A Postgres database that never rests: its tables, its writers, and a witness of its changes."""

import random
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
from platform_tests.faults.processes import Process
from platform_tests.sources.logical_postgres import logical_server
from psycopg import errors

from malacate.contracts.table import Column, Table
from malacate.names import TableName

_ID = Column("id", pa.int64(), True)
_NOTE = Column("note", pa.string())
HAUL = Table(
    TableName("raw_app", "haul"),
    (
        _ID,
        Column("tonnes", pa.decimal128(8, 2)),
        Column("document", pa.string()),
        Column("grade", pa.int32(), since="2"),
    ),
    ("id",),
    version="2",
    physical_name="app.haul",
)
CREW = Table(
    TableName("raw_app", "crew"),
    (Column("site", pa.string(), True), Column("nr", pa.int64(), True), _NOTE,
     Column("document", pa.string())),
    ("site", "nr"),
    physical_name="app.crew",
)  # fmt: skip
SHIFT = Table(TableName("raw_app", "shift"), (_ID, _NOTE), ("id",), physical_name="app.shift")
TABLES = (HAUL, CREW, SHIFT)

PUBLICATION, WITNESS = "app_changes", "witness"
DDL = (
    "create schema app",
    "create table app.haul (id bigint primary key, tonnes numeric(8, 2), document text)",
    "alter table app.haul alter column document set storage external",
    "create table app.crew (site text, nr bigint, note text, document text, "
    "primary key (site, nr))",
    "alter table app.crew alter column document set storage external",
    "alter table app.crew replica identity full",
    "create table app.shift (id bigint primary key, note text)",
    f"create publication {PUBLICATION} for table app.haul, app.crew, app.shift",
)
ADD_COLUMN = "alter table app.haul add column if not exists grade int"
FIRST_ROWS = (
    "insert into app.haul select i, i, repeat(md5(i::text), 80) from generate_series(1, 20) i",
    "insert into app.crew select 'n', i, 'first', repeat(md5(i::text), 80) "
    "from generate_series(1, 10) i",
    "insert into app.shift select i, 'first' from generate_series(1, 10) i",
)

_SERVERS: list[str] = []


@contextmanager
def standing() -> Iterator[None]:
    """A server for all cases that are forked meanwhile; each has a database of its own."""
    with ExitStack() as stack:
        if not _SERVERS:
            _SERVERS.append(stack.enter_context(logical_server()))
            stack.callback(_SERVERS.clear)
        yield


def server() -> str:
    """URL of the server that stands."""
    return _SERVERS[0]


@dataclass
class Mine:
    """One database, and a slot's name that no other database of the server at ``admin`` has."""

    url: str
    name: str
    admin: str

    @classmethod
    def on(cls, url: str) -> "Mine":
        """A new database with tables, first rows and a publication."""
        name = f"m_{uuid.uuid4().hex[:20]}"
        Mine(url, name, url).run(f"create database {name}")
        made = cls(url.replace("/postgres?", f"/{name}?"), name, url)
        made.run(*DDL, *FIRST_ROWS)
        return made

    @property
    def witness(self) -> str:
        """A slot that nobody advances: what it holds is what happened."""
        return f"{WITNESS}_{self.name}"

    def run(self, *statements: str) -> None:
        """Each is a transaction."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def together(self, *statements: str) -> None:
        """All are one transaction, again and again until no writer is in its way."""
        while True:
            with suppress(errors.DeadlockDetected), psycopg.connect(self.url) as connection:
                for statement in statements:
                    connection.execute(statement.encode())
                return

    def ask(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """The rows of a query."""
        with psycopg.connect(self.url) as connection:
            return connection.execute(query.encode(), values or None).fetchall()

    def burst(self) -> None:
        """More than one look at the slot takes, in several commits."""
        for number in range(6):
            shift = (
                f"insert into app.shift select i, 'burst {number}' from generate_series(200, 280)"
            )
            self.together(
                f"{shift} i on conflict (id) do update set note = excluded.note || 'again'",
                f"update app.haul set tonnes = {number} where id % 3 = 0",
                f"update app.crew set note = 'burst {number}' where nr % 2 = 0",
            )

    def forget(self) -> None:
        """Let the server have its WAL back: the slots go, and the database."""
        held = "from pg_replication_slots where database = %s"
        with psycopg.connect(self.admin, autocommit=True) as connection:
            connection.execute(
                f"select pg_terminate_backend(active_pid) {held} and active".encode(), [self.name]
            )
            connection.execute(
                f"select pg_drop_replication_slot(slot_name) {held}".encode(), [self.name]
            )
            connection.execute(f"drop database {self.name} with (force)".encode())


WRITERS = 3
"""Sessions; the last one holds its transactions open for long."""

TURN = 10
"""Transactions that each session may run for each worker: readers must be able to keep up."""

REFUSED = (
    errors.DeadlockDetected, errors.UniqueViolation, errors.LockNotAvailable,
    errors.UndefinedTable, errors.ObjectNotInPrerequisiteState,
)  # fmt: skip
"""What sessions do to one another, or somebody does to their tables: they go on."""


class Writers:
    """Processes that change the tables, some transactions at every turn."""

    def __init__(self, mine: Mine, root: Path, seed: int) -> None:
        self.mine, self.root = mine, root
        self.turns, self.stop = root / "writers.turns", root / "writers.stop"
        self.stop.unlink(missing_ok=True)
        self.turns.write_bytes(b"-")
        self.begun = [
            Process(lambda n=number: self._body(seed * 10 + n, n == WRITERS - 1), self.log)
            for number in range(WRITERS)
        ]

    @property
    def log(self) -> Path:
        return self.root / "writers.log"

    def turn(self) -> None:
        """Let them do some more."""
        with self.turns.open("ab") as file:
            file.write(b"-")

    def end(self) -> None:
        """None of them is left; all did well."""
        self.stop.touch()
        codes = [one.wait(30) for one in self.begun]
        if any(codes):
            raise AssertionError(f"writers ended with {codes}: {self.log.read_text()}")

    def _body(self, seed: int, is_slow: bool) -> int:
        choice, done = random.Random(seed), 0
        with psycopg.connect(self.mine.url, autocommit=True) as connection:
            while not self.stop.exists():
                if done < TURN * self.turns.stat().st_size:
                    with suppress(*REFUSED):
                        self._transaction(connection, choice, is_slow)
                    done += 1
                self._pause(choice.random() * 0.1)
        return 0

    def _transaction(
        self, connection: psycopg.Connection, choice: random.Random, is_slow: bool
    ) -> None:
        with connection.transaction(force_rollback=choice.random() < 0.08):
            connection.execute("set local lock_timeout = '1s'")
            for _ in range(choice.randrange(1, 9)):
                connection.execute(statement(choice, is_slow).encode())
                if is_slow:
                    self._pause(choice.random() * 0.2)

    def _pause(self, seconds: float) -> None:
        if not self.stop.exists():
            time.sleep(seconds)


@contextmanager
def writing(mine: Mine, root: Path, seed: int) -> Iterator[Writers]:
    """Writers until the block ends."""
    writers = Writers(mine, root, seed)
    try:
        yield writers
    finally:
        writers.end()


def statement(choice: random.Random, is_slow: bool = False) -> str:
    """One of all kinds of change; a slow session keeps to keys that nobody waits for."""
    key = choice.randrange(60, 80) if is_slow else choice.randrange(1, 60)
    other, site, more = key + 100 * choice.randrange(1, 3), choice.choice("ns"), choice.random()
    document = f"repeat(md5('{more}'), {choice.choice((1, 80))})"
    haul = f"insert into app.haul (id, tonnes, document) values ({key}, {key}.5, {document})"
    crew = f"insert into app.crew values ('{site}', {key}, '{more}', {document})"
    shift = f"insert into app.shift values ({key}, '{more}')"
    return choice.choice(
        (
            f"{haul} on conflict (id) do update set document = excluded.document",
            f"{haul} on conflict (id) do nothing",
            f"update app.haul set tonnes = {int(more * 1000)} where id = {key}",
            f"update app.haul set id = {other}, tonnes = 1 where id = {key}",
            f"update app.haul set id = {key}, document = {document} where id = {other}",
            f"delete from app.haul where id in ({key}, {other})",
            f"{crew} on conflict (site, nr) do update set document = excluded.document",
            f"update app.crew set note = '{more}' where site = '{site}' and nr = {key}",
            f"update app.crew set nr = {other} where site = '{site}' and nr = {key}",
            f"delete from app.crew where nr = {other}",
            f"{shift} on conflict (id) do update set note = excluded.note",
            f"{shift} on conflict (id) do update set note = null",
            f"delete from app.shift where id = {key}",
            "truncate app.shift"
            if more < 0.15 and not is_slow
            else f"{shift} on conflict do nothing",
        )
    )
