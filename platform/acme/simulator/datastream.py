"""The replication stream's files: events of two tables in the shape that Google Datastream writes.

Only shape and order are decided here; which changes happen is in ``hour``.
"""

import hashlib
import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa

from acme.simulator.drops import avro, deliver
from acme.simulator.journal import Change, Row
from acme.simulator.tables import TABLES
from acme.simulator.world import World

STREAMED = ("haul_cycle", "status_event")
_BACKFILL_ROWS, _EVENTS_PER_FILE, _TOLD_TWICE = 50_000, 60, 3
# The second tick leaves 0xF/... behind: as text 10/0 is less than F/FF800000.
_FIRST_LSN, _LSN_PER_TICK, _LATE_LSN, _LSN_PER_CHANGE = 0xF_FF00_0000, 0x80_0000, 0x70_0000, 0x198
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
            made.append(file.write([file.event(i, "INSERT", row) for i, row in enumerate(part)]))
            file = replace(file, number=file.number + 1)
    return made


def stream(world: World, folder: Path, tick: int, changes: Sequence[Change]) -> list[Path]:
    """Write the changes that a tick made to the streamed tables."""
    made = []
    logged = [_Logged(change, tick, place) for place, change in enumerate(changes)]
    for table in STREAMED:
        file = _File(world, folder, table, "postgresql-cdc", world.after(tick), tick)
        mine = [entry for entry in logged if entry.change.table == table]
        now = [entry for entry in mine if not entry.change.is_late]
        for first in range(0, len(now), _EVENTS_PER_FILE):
            events = list(_events(file, now[first : first + _EVENTS_PER_FILE]))
            made.append(file.write(events))
            file = replace(file, number=file.number + 1)
        if now and tick % 2 == 0:
            made.append(file.write(events[-_TOLD_TWICE:]))
        if late := [entry for entry in mine if entry.change.is_late]:
            old = replace(file, source_at=world.after(tick - 1), number=99)
            made.append(old.write(list(_events(old, late))))
    return made


def lsn_text(lsn: int) -> str:
    """A position in the log as Postgres writes it: two hexadecimal numbers, no leading zeros."""
    return f"{lsn >> 32:X}/{lsn & 0xFFFF_FFFF:X}"


@dataclass(frozen=True)
class _Logged:
    """A change and its place in the log of a tick."""

    change: Change
    tick: int
    place: int

    @property
    def lsn(self) -> int:
        late = _LATE_LSN - _LSN_PER_TICK if self.change.is_late else 0
        return _FIRST_LSN + self.tick * _LSN_PER_TICK + late + self.place * _LSN_PER_CHANGE

    @property
    def transaction(self) -> int:
        return self.tick * 10_000 + self.change.transaction


def _events(file: "_File", entries: Iterable[_Logged]) -> Iterator[dict[str, Any]]:
    numbers = itertools.count()
    for entry in entries:
        change = entry.change
        if change.old_key is None:
            yield file.event(next(numbers), change.kind, change.row, entry)
        else:
            # A row that moves to another key is told as two events of one log record.
            yield file.event(next(numbers), "UPDATE-DELETE", change.old_key, entry)
            yield file.event(next(numbers), "UPDATE-INSERT", change.row, entry)


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

    def event(
        self, index: int, kind: str, row: Row, entry: _Logged | None = None
    ) -> dict[str, Any]:
        """One event; a row that is gone carries its key alone, a snapshot row no position."""
        source_at = self.source_at + timedelta(milliseconds=2 * entry.place if entry else 0)
        position = lsn_text(entry.lsn) if entry else None
        return {
            "uuid": f"{self._uuid}{index:08x}",
            "read_timestamp": source_at + timedelta(seconds=20),
            "source_timestamp": source_at,
            "object": f"app_{self.table}",
            "read_method": self.method,
            "stream_name": _STREAM,
            "schema_key": self._schema_key,
            "sort_keys": [int(source_at.timestamp() * 1000), position or ""],
            "source_metadata": {
                "schema": "app",
                "table": self.table,
                "is_deleted": kind.endswith("DELETE"),
                "change_type": kind,
                "tx_id": entry.transaction if entry else None,
                "lsn": position,
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
