"""Datastream's events in JSON, and their rows: value by value, for every line may differ."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from malacate.batch import Evolution, Reject
from malacate.contracts.drift import align
from malacate.contracts.table import Column, Table
from malacate.formats.caps import Caps
from malacate.formats.csv_cells import Bad
from malacate.formats.unpack import blocks
from malacate.sources.cdc.datastream_events import INSTANT, META, Events, instant
from malacate.sources.cdc.datastream_json import Told, told
from malacate.sources.cdc.datastream_payload import Batch, Values, bare, promised, undeclared
from malacate.sources.cdc.datastream_rows import held_up
from malacate.sources.cdc.datastream_texts import Binary, columns_of

_ROWS = 8192


@dataclass
class JsonFile:
    """Events of a JSON file."""

    path: Path
    table: Table
    evolutions: list[Evolution]
    caps: Caps
    binary: Binary | None = None
    known: dict[str, str] = field(default_factory=dict)
    told: dict[str, None] = field(default_factory=dict)
    rows: int | None = None

    def __post_init__(self) -> None:
        for column in promised(self.table):
            for name in (column.delivered_as, column.name, *column.aliases):
                self.known.setdefault(name, column.name)

    def batches(self) -> Iterator[Batch]:
        """All events, in order."""
        every = told(self.path, self.caps)
        while some := list(islice(every, _ROWS)):
            rejects = [one for one in some if isinstance(one, Reject)]
            events, payloads = [], []
            for one in some:
                if not isinstance(one, Told):
                    continue
                if is_event(one.value):
                    events.append(one)
                    payloads.append(one.value["payload"])  # type: ignore[index]
                else:
                    detail = "the object is no event of Datastream"
                    rejects.append(Reject(one.place, "not_a_change", detail, one.raw))
            yield _events(events), _Texts(self, payloads, _is_mysql(events)), rejects

    def content(self) -> Iterator[bytes]:
        """Its bytes, unpacked."""
        return blocks(self.path, self.caps, 1 << 20)

    def note(self, payloads: Sequence[Mapping[str, Any]]) -> None:
        """Hold keys that no column knows against the contract, once each."""
        fresh = {key for one in payloads for key in one} - self.known.keys() - self.told.keys()
        if not fresh:
            return
        columns = promised(self.table)
        names = [column.delivered_as for column in columns]
        aligned = align(
            bare(self.table, columns), dict.fromkeys([*names, *sorted(fresh)]), self.path.name
        )
        self.evolutions += aligned.evolutions
        self.told.update(dict.fromkeys(fresh))


def is_event(value: Any) -> bool:
    """Whether an object is an event of Datastream; its payload may be missing."""
    if not isinstance(value, dict) or not isinstance(value.get("source_metadata"), dict):
        return False
    return "payload" in value and isinstance(value["payload"], dict | None)


def _is_mysql(events: Sequence[Told]) -> list[bool]:
    return [str((one.value or {}).get("read_method")).startswith("mysql") for one in events]


def _events(events: Sequence[Told]) -> Events:
    values = [one.value or {} for one in events]
    metas = [value["source_metadata"] for value in values]
    meta = {
        name: pa.array([_scalar(one.get(name), kind) for one in metas], kind)
        for name, kind in META.items()
    }
    times = {
        name: pa.array([instant(value.get(name)) for value in values], INSTANT)
        for name in ("read_timestamp", "source_timestamp")
    }
    return Events(
        [one.place for one in events],
        pa.array([_scalar(value.get("uuid"), pa.string()) for value in values], pa.string()),
        times["read_timestamp"], times["source_timestamp"],
        pa.array([_scalar(v.get("read_method"), pa.string()) for v in values], pa.string()),
        meta, lambda index: events[index].raw,
    )  # fmt: skip


def _scalar(value: Any, kind: pa.DataType) -> Any:
    """A value of metadata, or nothing if it is of another type."""
    if pa.types.is_string(kind):
        return str(value) if isinstance(value, str) else None
    if pa.types.is_boolean(kind):
        return value if isinstance(value, bool) else None
    is_whole = isinstance(value, str) and value.removeprefix("-").isdecimal() and len(value) < 19
    return int(value) if is_whole else None


@dataclass(frozen=True)
class _Texts:
    file: JsonFile
    payloads: Sequence[Mapping[str, Any] | None]
    mysql: Sequence[bool]

    def values(self, indices: Sequence[int], is_gone: Sequence[bool]) -> Values:
        rows = [self.payloads[i] or {} for i in indices]
        self.file.note(rows)
        found: dict[str, pa.Array] = {}
        bad: Bad = {}
        absent: list[list[str]] = [[] for _ in rows]
        for column in promised(self.file.table):
            names = [n for n, own in self.file.known.items() if own == column.name]
            values = []
            for row, lacks in zip(rows, absent, strict=True):
                came = [name for name in names if name in row]
                values.append(row[came[0]] if came else None)
                if not came:
                    lacks.append(column.name)
            found[column.name], more = columns_of(column, values, self._binary(column, indices))
            bad = {**held_up(more, column, self.file.table, is_gone), **bad}
        missing = [",".join(lacks) or None for lacks in absent]
        found["_missing"] = pa.array(missing, pa.string())
        return found, bad

    def _binary(self, column: Column, indices: Sequence[int]) -> Binary | None:
        if not pa.types.is_binary(column.type) or self.file.binary:
            return self.file.binary
        if all(self.mysql[i] for i in indices):
            return "hex"
        raise undeclared(column, "binary: base64 or hex", self.file.path.name)
