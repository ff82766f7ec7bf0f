"""Rows of SQL Server, changed or whole, as rows of the log: the envelope put on, types kept to.

A type that has no counterpart of its own is left to its values: each fits the contract exactly,
or its row is rejected.
"""

import json
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count, islice
from typing import Any, NamedTuple

import pyarrow as pa

from malacate.contracts.changes import ROW_HASH
from malacate.contracts.chunk import Chunk, Reject
from malacate.contracts.table import Column, Table
from malacate.errors import SourceUnreachable
from malacate.sources.cdc.row_hash import row_hash
from malacate.sources.cdc.sqlserver_client import ROWS, Row
from malacate.sources.cdc.sqlserver_sql import BLOCK, number

_DELETE, _INSERT, _BEFORE, _AFTER = 1, 2, 3, 4
_TRUNCATED, _SNAPSHOT = -2, -1
"""Places of what a snapshot tells before all changes of its position."""

_NO_KEY = "the change does not say whose it is"

_TEXT = ("char", "varchar", "text", "nchar", "nvarchar", "ntext", "xml", "uniqueidentifier")
_BYTES = ("binary", "varbinary", "image", "timestamp", "rowversion")
_TYPES: Mapping[str, pa.DataType] = {
    "bit": pa.bool_(),
    "tinyint": pa.uint8(),
    "smallint": pa.int16(),
    "int": pa.int32(),
    "bigint": pa.int64(),
    "real": pa.float32(),
    "float": pa.float64(),
    "date": pa.date32(),
    "time": pa.time64("us"),
    "datetime": pa.timestamp("us"),
    "datetime2": pa.timestamp("us"),
    "smalldatetime": pa.timestamp("us"),
    "datetimeoffset": pa.timestamp("us", "UTC"),
    **dict.fromkeys(_TEXT, pa.string()),
    **dict.fromkeys(_BYTES, pa.binary()),
}


def arrow_type(name: str) -> pa.DataType | None:
    """The type of a captured column, if its name alone tells it; decimals' does not."""
    return _TYPES.get(name.lower())


class _Event(NamedTuple):
    values: Sequence[Any] | None
    op: str
    place: int
    seq: int
    at: datetime
    identity: str
    moved: bool = False


@dataclass
class Envelope:
    """Puts rows of one reading into the log of ``table``, a keyed one.

    ``sources`` says which delivered column each of its columns is, in the order of the answers;
    those that none delivers are missing. Times of commits are ``offset`` ahead of UTC.
    """

    table: Table
    log: Table
    sources: Mapping[str, str | None]
    origin: str
    read_at: datetime
    offset: timedelta
    places: Iterator[int] = field(default_factory=count)

    @property
    def delivered(self) -> list[str]:
        """The delivered columns, as they are asked for."""
        return [source for source in self.sources.values() if source is not None]

    def changes(self, answers: Iterable[Sequence[Row]]) -> Iterator[Chunk]:
        """Changes in the order of the log, as the change functions return them."""
        yield from self._chunks(self._changed(row for some in answers for row in some), False)

    def snapshot(
        self, answers: Iterable[Sequence[Row]], place: int, replaces: bool
    ) -> Iterator[Chunk]:
        """The whole table as of ``place``; if it ``replaces`` a state, that is truncated before."""
        yield from self._chunks(self._whole(answers, place, replaces), True)

    def _changed(self, rows: Iterable[Row]) -> Iterator[_Event]:
        before: Sequence[Any] | None = None
        commit, ordinal = b"", 0
        for start, seqval, operation, ended, *values in rows:
            if (before is not None) is not (operation == _AFTER):
                raise self._unpaired(start)
            commit, ordinal = (commit, ordinal) if start == commit else (start, 0)
            if operation == _BEFORE:
                before = values
                continue
            at = (ended - self.offset).replace(tzinfo=UTC) if ended else self.read_at
            place, name = number(start), f"{bytes(start).hex()}:{bytes(seqval).hex()}:{ordinal}"
            seq, ordinal = 2 * ordinal, ordinal + 1
            if before is not None and self._key(before) != self._key(values):
                yield _Event(before, "D", place, seq, at, f"{name}:D", True)
                yield _Event(values, "I", place, seq + 1, at, f"{name}:I", True)
            else:
                op = {_DELETE: "D", _INSERT: "I"}.get(operation, "U")
                yield _Event(values, op, place, seq, at, name)
            before = None
        if before is not None:
            raise self._unpaired(commit)

    def _whole(
        self, answers: Iterable[Sequence[Row]], place: int, replaces: bool
    ) -> Iterator[_Event]:
        if replaces:
            yield _Event(None, "T", place, _TRUNCATED, self.read_at, f"snapshot:{place}:T")
        for ordinal, values in enumerate(row for some in answers for row in some):
            name = f"snapshot:{place}:{ordinal}"
            yield _Event(values, "R", place, _SNAPSHOT, self.read_at, name)

    def _chunks(self, events: Iterator[_Event], is_snapshot: bool) -> Iterator[Chunk]:
        while some := list(islice(events, ROWS)):
            yield self._chunk(some, is_snapshot)

    def _chunk(self, events: list[_Event], is_snapshot: bool) -> Chunk:
        places = list(islice(self.places, len(events)))
        misfits: dict[int, str] = {}
        lacking = [name for name, source in self.sources.items() if source is None]
        told: dict[str, list[Any]] = {
            "_op": [e.op for e in events],
            "_is_key_change": [e.moved for e in events],
            "_position_hi": [e.place >> 16 for e in events],
            "_position_lo": [e.place & BLOCK for e in events],
            "_seq": [e.seq for e in events],
            "_is_snapshot": [is_snapshot] * len(events),
            "_source_at": [e.at for e in events],
            "_read_at": [self.read_at] * len(events),
            "_event_id": [e.identity for e in events],
            "_file": [self.origin] * len(events),
            "_file_row": places,
            "_missing": [None if e.values is None else ",".join(lacking) or None for e in events],
        }
        named = {**self._columns(events, misfits), **told}
        arrays = [_fitting(c, named[c.name], misfits) for c in self.log.columns]
        for index, event in enumerate(events):
            if event.op != "T" and any(named[name][index] is None for name in self.table.key):
                misfits.setdefault(index, _NO_KEY)
        rows = pa.RecordBatch.from_arrays(arrays, names=self.log.schema.names)
        return self._without(rows, misfits, events, places)

    def _columns(self, events: list[_Event], misfits: dict[int, str]) -> dict[str, list[Any]]:
        names = self.delivered
        nulls: list[Any] = [None] * len(names)
        values = [nulls if event.values is None else event.values for event in events]
        by_source = dict(zip(names, zip(*values, strict=True), strict=True))
        found: dict[str, list[Any]] = {
            target: [None] * len(events) if source is None else list(by_source[source])
            for target, source in self.sources.items()
        }
        if ROW_HASH.name in self.table.key:
            columns = [c for c in self.table.columns if c.name in self.sources]
            typed = [_fitting(c, found[c.name], misfits) for c in columns]
            hashes = row_hash(pa.RecordBatch.from_arrays(typed, names=[c.name for c in columns]))
            sent = (e.values is not None for e in events)
            found[ROW_HASH.name] = [
                text if is_sent else None
                for text, is_sent in zip(hashes.to_pylist(), sent, strict=True)
            ]
        return found

    def _key(self, values: Sequence[Any]) -> Sequence[Any]:
        if ROW_HASH.name in self.table.key:
            return values
        where = self.delivered
        sources = (self.sources[name] for name in self.table.key)
        return [values[where.index(source)] for source in sources if source is not None]

    def _without(
        self, rows: pa.RecordBatch, misfits: dict[int, str], events: list[_Event], places: list[int]
    ) -> Chunk:
        if not misfits:
            return Chunk(rows)
        rejects = []
        for index, detail in sorted(misfits.items()):
            reason = "no_key" if detail == _NO_KEY else "does_not_fit"
            values = dict(zip(self.delivered, events[index].values or (), strict=False))
            raw = _text({"op": events[index].op, "id": events[index].identity, "row": values})
            rejects.append(Reject(places[index], reason, detail, raw))
        good = [index for index in range(len(events)) if index not in misfits]
        kept = rows.take(pa.array(good, pa.int64()))
        return Chunk(kept, rejects, [places[index] for index in good])

    def _unpaired(self, start: bytes) -> SourceUnreachable:
        return SourceUnreachable(
            "an update came without its other half",
            "Run again; if it stays, tell it with the rows of the change table at that LSN.",
            source=str(self.table.name),
            object=self.origin,
            position=bytes(start).hex(),
            reason="unpaired_update",
        )


def _fitting(column: Column, values: list[Any], misfits: dict[int, str]) -> pa.Array:
    """``values`` in the column's type; nulls, and a note, for those that do not fit."""
    try:
        return _array(values, column.type)
    except (pa.ArrowException, ValueError, TypeError, OverflowError):
        pass
    fitting: list[Any] = []
    for index, value in enumerate(values):
        try:
            fitting.append(_array([value], column.type)[0].as_py())
        except (pa.ArrowException, ValueError, TypeError, OverflowError) as error:
            misfits.setdefault(index, f"{column.name}: {error}")
            fitting.append(None)
    return _array(fitting, column.type)


def _array(values: list[Any], kind: pa.DataType) -> pa.Array:
    if pa.types.is_string(kind):
        values = [str(v) if isinstance(v, uuid.UUID) else v for v in values]
    return pa.array(values, kind)


def _text(what: Any) -> bytes:
    return json.dumps(what, default=_exact, ensure_ascii=False).encode("utf-8", "surrogateescape")


def _exact(value: Any) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)
