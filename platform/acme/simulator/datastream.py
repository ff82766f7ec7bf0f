"""The replication stream's files: events of two tables in the shape that Google Datastream writes.

Changes, their order and their positions are those of the database's log (``replication``); only
times are the mine's. A tick that is told again has the same events, under the same names.
"""

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa

from acme.simulator.drops import avro, deliver
from acme.simulator.journal import Row
from acme.simulator.replication import STREAMED, Logged
from acme.simulator.tables import TABLES
from acme.simulator.world import World

_BACKFILL_ROWS, _EVENTS_PER_FILE, _TOLD_TWICE = 50_000, 60, 3
_STREAM = "projects/269744978479/locations/us-central1/streams/production"
_SCALARS = {pa.string(): "string", pa.int32(): "int", pa.int64(): "long", pa.bool_(): "boolean"}
_AT = {"logicalType": "timestamp-millis", "type": "long"}


def backfill(world: World, folder: Path, rows: dict[str, pa.Table]) -> list[Path]:
    """Write every row of history, as the snapshot that a stream starts with."""
    made = []
    for table in STREAMED:
        file = _File(world, folder, table, "postgresql-backfill", world.end)
        for first in range(0, rows[table].num_rows, _BACKFILL_ROWS):
            part = rows[table].slice(first, _BACKFILL_ROWS).to_pylist()
            events = [file.event(f"{i:08x}", "INSERT", row) for i, row in enumerate(part)]
            made.append(file.write(events))
            file = replace(file, number=file.number + 1)
    return made


def stream(
    world: World, folder: Path, held: Path, tick: int, logged: Sequence[Logged]
) -> list[Path]:
    """Write the changes of a tick, and those that the tick before held back.

    What is told late waits in ``held``: its file comes with the next tick, into this one's folder.
    """
    made = _release(folder, held, tick)
    for table in STREAMED:
        file = _File(world, folder, table, "postgresql-cdc", world.after(tick), tick)
        mine = [(place, one) for place, one in enumerate(logged) if one.table == table]
        now = [(place, one) for place, one in mine if not one.is_late]
        for first in range(0, len(now), _EVENTS_PER_FILE):
            events = list(_events(file, now[first : first + _EVENTS_PER_FILE]))
            made.append(file.write(events))
            file = replace(file, number=file.number + 1)
        if now and tick % 2 == 0:
            made.append(file.write(events[-_TOLD_TWICE:]))
        if late := [(place, one) for place, one in mine if one.is_late]:
            kept = replace(file, folder=held / str(tick + 1), tick=tick + 1, number=99)
            kept.write(list(_events(kept, late)))
    return made


def _release(folder: Path, held: Path, tick: int) -> list[Path]:
    made = []
    for waiting in sorted(held.glob("*")):
        if int(waiting.name) <= tick:
            for path in sorted(waiting.rglob("*.avro")):
                made.append(folder / path.relative_to(waiting))
                deliver(made[-1], path.read_bytes())
            shutil.rmtree(waiting)
    return made


def lsn_text(lsn: int) -> str:
    """A position in the log as Postgres writes it: two hexadecimal numbers, no leading zeros."""
    return f"{lsn >> 32:X}/{lsn & 0xFFFF_FFFF:X}"


def _events(file: "_File", entries: Iterable[tuple[int, Logged]]) -> Iterator[dict[str, Any]]:
    for place, one in entries:
        if one.old_key is None:
            yield file.logged(place, one.kind, one.row, one)
        else:
            # A row that moves to another key is told as two events of one log record.
            yield file.logged(place, "UPDATE-DELETE", one.old_key, one)
            yield file.logged(place, "UPDATE-INSERT", one.row, one)


@dataclass(frozen=True)
class _File:
    """One file: its place, its name, the schema of its events."""

    world: World
    folder: Path
    table: str
    method: str
    source_at: datetime
    tick: int = 0
    number: int = 0

    def logged(self, place: int, kind: str, row: Row, one: Logged) -> dict[str, Any]:
        """An event of the log, the ``place``-th of its tick; a row that is gone has its key alone.

        It is known by where it stands, so whoever tells it again says the same.
        """
        at = self.source_at + timedelta(milliseconds=2 * place)
        half = f"{2 * place + (kind == 'UPDATE-INSERT'):08x}"
        return self.event(half, kind, row, at, lsn_text(one.lsn), one.transaction)

    def event(
        self, name: str, kind: str, row: Row, at: datetime | None = None,
        lsn: str | None = None, transaction: int | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        """One event; a row of a snapshot has no position."""
        source_at = at or self.source_at
        return {
            "uuid": f"{self._uuid}{name}",
            "read_timestamp": source_at + timedelta(seconds=20),
            "source_timestamp": source_at,
            "object": f"app_{self.table}",
            "read_method": self.method,
            "stream_name": _STREAM,
            "schema_key": self._schema_key,
            "sort_keys": [int(source_at.timestamp() * 1000), lsn or ""],
            "source_metadata": {
                "schema": "app",
                "table": self.table,
                "is_deleted": kind.endswith("DELETE"),
                "change_type": kind,
                "tx_id": transaction,
                "lsn": lsn,
                "primary_keys": list(TABLES[self.table].key),
            },
            "payload": row,
        }

    def write(self, events: Sequence[dict[str, Any]]) -> Path:
        """Deliver the file under the minute of its source."""
        minute = self.source_at.strftime("%Y/%m/%d/%H/%M")
        name = f"{self._schema_key}_{self.method}_{self.tick}_{self.number}_0.avro"
        path = self.folder / f"app_{self.table}" / minute / name
        deliver(path, avro(_schema(self.table), events, "null" if self.tick else "deflate"))
        return path

    @cached_property
    def _uuid(self) -> str:
        name = f"{self.world.seed}/{self.table}/{self.method}/{self.tick}/{self.number}"
        text = _sha1(name.encode())
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:24]}"

    @cached_property
    def _schema_key(self) -> str:
        return _sha1(json.dumps(_schema(self.table)).encode())


def _sha1(content: bytes) -> str:
    return hashlib.sha1(content, usedforsecurity=False).hexdigest()


def _schema(table: str) -> dict[str, Any]:
    fields = {
        "uuid": "string", "read_timestamp": _AT, "source_timestamp": _AT, "object": "string",
        "read_method": "string", "stream_name": "string", "schema_key": "string",
        "sort_keys": {"type": "array", "items": ["string", "long"]},
        "source_metadata": _record("source_metadata", {
            "schema": "string", "table": "string", "is_deleted": ["null", "boolean"],
            "change_type": ["null", "string"], "tx_id": ["null", "long"],
            "lsn": ["null", "string"],
            "primary_keys": ["null", {"type": "array", "items": "string"}],
        }),
        "payload": _record(
            "payload", {f.name: ["null", _avro_type(f.type)] for f in TABLES[table].schema}
        ),
    }  # fmt: skip
    return _record(f"app_{table}", fields)


def _record(name: str, fields: dict[str, Any]) -> dict[str, Any]:
    listed = [{"name": field, "type": kind} for field, kind in fields.items()]
    return {"type": "record", "name": name, "fields": listed}


def _avro_type(kind: pa.DataType) -> Any:
    if pa.types.is_decimal(kind):
        size = {"precision": kind.precision, "scale": kind.scale}
        return {"logicalType": "decimal", "type": "bytes", **size}
    if pa.types.is_timestamp(kind):
        return {"logicalType": "timestamp-micros", "type": "long"}
    return _SCALARS[kind]
