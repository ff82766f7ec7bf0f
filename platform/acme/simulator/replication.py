"""The production app's changes as its own log tells them: a logical slot, message by message.

This is what a replication service reads of the mine. It shares no decoder with the platform.
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Literal

import psycopg
import pyarrow as pa
from psycopg import sql

from acme.simulator.journal import LATE, Row
from acme.simulator.postgres import Connection, Postgres
from acme.simulator.tables import TABLES
from malacate.sources.cdc.pgoutput import peek, pinned

STREAMED = ("haul_cycle", "status_event")
"""Tables that the replication service reads; it has a publication and a slot of its own."""

CAPTURED = ("haul_cycle", "status_event", "assay", "blast", "crusher_hour")
"""Tables that the platform may read by a slot; the publication is there, the slot is its own."""

NAME = "datastream"
_PUBLICATIONS = {NAME: STREAMED, "malacate": CAPTURED}


@dataclass(frozen=True)
class Logged:
    """A change in the log. ``row`` is the row after it, or the key alone of one that is gone.

    ``old_key`` is given where a row moved to another key; ``is_late``: it is told an hour late.
    """

    table: str
    kind: Literal["INSERT", "UPDATE", "DELETE"]
    row: Row
    lsn: int
    transaction: int
    old_key: Row | None = None
    is_late: bool = False


def publish(connection: Connection) -> None:
    """Make the publications, as the app's administrator does."""
    for name, tables in _PUBLICATIONS.items():
        listed = sql.SQL(", ").join(TABLES[table].identifier for table in tables)
        connection.execute(
            sql.SQL("CREATE PUBLICATION {} FOR TABLE {}").format(sql.Identifier(name), listed)
        )


class Log:
    """The slot of the replication service at the app's database."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    def begin(self) -> None:
        """Make the slot, unless it is there: it tells every change from now on."""
        query = (
            "SELECT pg_create_logical_replication_slot(%(name)s, 'pgoutput') WHERE NOT EXISTS "
            "(SELECT FROM pg_replication_slots WHERE slot_name = %(name)s)"
        )
        with self._postgres.connect() as connection:
            connection.execute(query, {"name": NAME})

    def waiting(self) -> tuple[list[Logged], int]:
        """Changes that were not forgotten yet, and where the last of them ends."""
        with psycopg.connect(pinned(self._postgres.url)) as connection:
            listed = connection.execute(peek(NAME, [NAME]).encode(), binary=True).fetchall()
        decoder = _Decoder()
        found = [one for lsn, data in listed for one in decoder.decode(_lsn(lsn), data)]
        return found, decoder.end

    def forget(self, end: int) -> None:
        """Let the database forget what was delivered."""
        if end:
            query = "SELECT pg_replication_slot_advance(%s, '0/0'::pg_lsn + %s::numeric)"
            with self._postgres.connect() as connection:
                connection.execute(query, [NAME, end])


def _lsn(value: Any) -> int:
    if isinstance(value, bytes):
        return int.from_bytes(value, "big")
    high, _, low = str(value).partition("/")
    return int(high, 16) << 32 | int(low, 16)


@dataclass
class _Decoder:
    """Reads pgoutput's messages; a truncated table is nothing that the service tells."""

    end: int = 0
    transaction: int = 0
    is_late: bool = False
    relations: dict[int, tuple[str, list[str]]] = field(default_factory=dict)

    def decode(self, lsn: int, data: bytes) -> Iterator[Logged]:
        kind, message = data[:1], _Message(data, 1)
        if kind == b"B":
            self.is_late, self.transaction = False, message.number(">qqI", 2)
        elif kind == b"C":
            self.end = message.number(">bqq", 2)
        elif kind == b"R":
            self._relation(message)
        elif kind == b"M":
            self._told(message)
        elif kind in (b"I", b"U", b"D"):
            yield self._change(kind, message, lsn)

    def _relation(self, message: "_Message") -> None:
        number = message.number(">I")
        message.text()
        table = message.text()
        message.skip(1)
        names = []
        for _ in range(message.number(">H")):
            message.skip(1)
            names.append(message.text())
            message.skip(8)
        self.relations[number] = (table, names)

    def _told(self, message: "_Message") -> None:
        message.skip(9)
        if message.text() == LATE:
            self.is_late = message.rest() == b"begin"

    def _change(self, kind: bytes, message: "_Message", lsn: int) -> Logged:
        table, names = self.relations[message.number(">I")]
        tuples = {}
        while part := message.part():
            tuples[part] = _typed(table, names, message.values())
        old, new = tuples.get("K") or tuples.get("O"), tuples.get("N")
        key = TABLES[table].key
        keyed = {name: old[name] for name in key} if old else None
        if kind == b"D":
            return Logged(table, "DELETE", keyed or {}, lsn, self.transaction, None, self.is_late)
        row = new or {}
        moved = keyed if keyed and keyed != {name: row[name] for name in key} else None
        told: Literal["INSERT", "UPDATE"] = "INSERT" if kind == b"I" else "UPDATE"
        return Logged(table, told, row, lsn, self.transaction, moved, self.is_late)


@dataclass
class _Message:
    data: bytes
    at: int

    def number(self, form: str, place: int = 0) -> int:
        value: int = struct.unpack_from(form, self.data, self.at)[place]
        self.at += struct.calcsize(form)
        return value

    def text(self) -> str:
        end = self.data.index(0, self.at)
        text, self.at = self.data[self.at : end].decode(), end + 1
        return text

    def skip(self, count: int) -> None:
        self.at += count

    def rest(self) -> bytes:
        return self.data[self.at + 4 :]

    def part(self) -> str:
        """``K``, ``O`` or ``N``: whose values follow; nothing at the end."""
        self.at += 1
        return self.data[self.at - 1 : self.at].decode()

    def values(self) -> list[str | None]:
        return [self._value() for _ in range(self.number(">H"))]

    def _value(self) -> str | None:
        kind = self.part()
        if kind == "n":
            return None
        if kind != "t":
            raise ValueError("the log left out a value that did not change")
        size = self.number(">I")
        self.at += size
        return self.data[self.at - size : self.at].decode()


def _typed(table: str, names: Sequence[str], values: Sequence[str | None]) -> Row:
    given = dict(zip(names, values, strict=True))
    return {f.name: _value(given[f.name], f.type) for f in TABLES[table].schema}


def _value(text: str | None, kind: pa.DataType) -> Any:
    if text is None or pa.types.is_string(kind):
        return text
    if pa.types.is_decimal(kind):
        return Decimal(text)
    if pa.types.is_timestamp(kind):
        return datetime.fromisoformat(text)
    if pa.types.is_date(kind):
        return date.fromisoformat(text)
    return text == "t" if pa.types.is_boolean(kind) else int(text)
