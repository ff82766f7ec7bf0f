"""Datastream's events -> the envelope of changes: operation, position, phase, identity.

A backfill is told by ``read_method``, for its change type is ``INSERT`` or none. A key change is
told as ``UPDATE-DELETE`` and ``UPDATE-INSERT`` at one position; MySQL calls every update
``UPDATE-INSERT``, so there only an ``UPDATE-DELETE`` in the same file tells the two apart.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from malacate.formats.csv_cells import Bad
from malacate.sources.cdc.datastream_position import Position, positions
from malacate.sources.cdc.datastream_rows import Named

META: Mapping[str, pa.DataType] = {
    "database": pa.string(), "schema": pa.string(), "table": pa.string(), "lsn": pa.string(),
    "scn": pa.int64(), "rs_id": pa.string(), "ssn": pa.int64(), "log_file": pa.string(),
    "log_position": pa.int64(), "change_type": pa.string(), "is_deleted": pa.bool_(),
}  # fmt: skip
"""What is read of ``source_metadata``; each database has some of it."""

INSTANT = pa.timestamp("us", "UTC")
_OPERATIONS = {
    "INSERT": "I", "UPDATE": "U", "UPDATE-INSERT": "I", "DELETE": "D", "UPDATE-DELETE": "D",
    "TRUNCATE": "T",
}  # fmt: skip
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FOLDER = re.compile(r"(?:^|/)(\d{4})/(\d\d)/(\d\d)/(\d\d)/(\d\d)/[^/]*$")


@dataclass(frozen=True)
class Events:
    """Some events, column by column; ``raw`` gives the bytes of one."""

    places: Sequence[int]
    identity: pa.Array
    read_at: pa.Array
    source_at: pa.Array
    method: pa.Array
    meta: Mapping[str, pa.Array]
    raw: Callable[[int], bytes]

    def __len__(self) -> int:
        return len(self.places)

    def take(self, indices: Sequence[int]) -> "Events":
        """Some of them."""
        at = pa.array(indices, pa.int64())
        return Events(
            [self.places[i] for i in indices], self.identity.take(at), self.read_at.take(at),
            self.source_at.take(at), self.method.take(at),
            {name: values.take(at) for name, values in self.meta.items()},
            lambda i: self.raw(indices[i]),
        )  # fmt: skip

    def named(self) -> tuple[list[Named], list[int]]:
        """The tables that there are, and which each event is of."""
        parts = [pc.fill_null(self.meta[name], "") for name in ("database", "schema", "table")]
        coded = pc.binary_join_element_wise(*parts, "\x1f").dictionary_encode()
        tables = [Named(*text.split("\x1f")) for text in coded.dictionary.to_pylist()]
        return tables, coded.indices.to_pylist()


Place = tuple[Named, Position]


@dataclass
class Moves:
    """Positions at which MySQL changed keys, learnt from all of a file before its rows are made."""

    old: dict[Place, set[str]] = field(default_factory=lambda: defaultdict(set))
    new: dict[Place, set[str]] = field(default_factory=lambda: defaultdict(set))

    def learn(self, events: Events) -> None:
        """Note the halves of updates."""
        kinds = events.meta["change_type"].to_pylist()
        tables, of = events.named()
        ids = events.identity.to_pylist()
        places = positions(events.meta, len(events))
        for kind, table, one, place in zip(kinds, of, ids, places, strict=True):
            if isinstance(place, tuple) and kind in ("UPDATE-DELETE", "UPDATE-INSERT"):
                halves = self.old if kind == "UPDATE-DELETE" else self.new
                halves[(tables[table], place)].add(str(one))

    def is_move(self, place: Place) -> bool:
        """Whether an ``UPDATE-INSERT`` there is half of a key change, as far as the file tells."""
        return len(self.old.get(place, ())) == len(self.new.get(place, ())) > 0

    @property
    def unclear(self) -> int:
        """Positions where some rows were moved and others were not: which, is not told."""
        return sum(len(ids) != len(self.new.get(place, ())) for place, ids in self.old.items())


def envelope(events: Events, name: str, moves: Moves) -> tuple[dict[str, pa.Array], Bad]:
    """The change columns of events of one table in the object ``name``, and what is wrong."""
    bad: Bad = {}
    is_snapshot = pc.match_substring_regex(pc.fill_null(events.method, ""), "backfill|dump")
    snapshots = is_snapshot.to_pylist()
    operations, moved = _operations(events, snapshots, moves, bad)
    hi, lo = _placed(events, snapshots, bad)
    return {
        "_op": pa.array(operations, pa.string()),
        "_is_key_change": pa.array(moved, pa.bool_()),
        "_position_hi": pa.array(hi, pa.int64()),
        "_position_lo": pa.array(lo, pa.int64()),
        "_seq": _order(events, operations, is_snapshot),
        "_is_snapshot": is_snapshot,
        "_source_at": _began(events.source_at, is_snapshot, name),
        "_read_at": events.read_at,
        "_event_id": events.identity,
    }, bad


def _operations(
    events: Events, snapshots: Sequence[bool], moves: Moves, bad: Bad
) -> tuple[list[str], list[bool]]:
    kinds = events.meta["change_type"].to_pylist()
    deleted = events.meta["is_deleted"].to_pylist()
    halves = _halves(events, kinds, moves)
    operations, moved = [], []
    for index, (kind, is_deleted) in enumerate(zip(kinds, deleted, strict=True)):
        unnamed = "D" if is_deleted else "U"
        operation = _OPERATIONS.get((kind or "").upper(), unnamed)
        if kind and kind.upper() not in _OPERATIONS:
            bad[index] = ("unknown_operation", f"the change type is {kind!r}")
        if kind == "UPDATE-INSERT" and not halves[index]:
            operation = "U"
        operations.append("R" if snapshots[index] else operation)
        moved.append(halves[index] and not snapshots[index])
    return operations, moved


def _halves(events: Events, kinds: Sequence[str | None], moves: Moves) -> list[bool]:
    """Which events are half of a key change; but for MySQL, their change type says it."""
    told = [kind in ("UPDATE-DELETE", "UPDATE-INSERT") for kind in kinds]
    if "UPDATE-INSERT" not in kinds:
        return told
    tables, of = events.named()
    mysql = pc.starts_with(pc.fill_null(events.method, ""), "mysql").to_pylist()
    places = positions(events.meta, len(events))
    return [
        moves.is_move((tables[of[i]], place))
        if kinds[i] == "UPDATE-INSERT" and mysql[i] and isinstance(place, tuple)
        else told[i]
        for i, place in enumerate(places)
    ]


def _placed(events: Events, snapshots: Sequence[bool], bad: Bad) -> tuple[list[int], list[int]]:
    """Positions; a backfill has none that can be relied on, a change must have one."""
    hi, lo = [0] * len(events), [0] * len(events)
    for index, place in enumerate(positions(events.meta, len(events))):
        if snapshots[index]:
            continue
        if isinstance(place, tuple):
            hi[index], lo[index] = place
        else:
            reason = "bad_position" if place else "no_position"
            bad.setdefault(index, (reason, place or "the event does not say where it stands"))
    return hi, lo


def _order(events: Events, operations: Sequence[str], is_snapshot: pa.Array) -> pa.Array:
    """In one position: Oracle's order of statements, and of those a deletion first."""
    base = pc.multiply(pc.fill_null(events.meta["ssn"], 0), 2)
    after = pa.array([0 if operation == "D" else 1 for operation in operations], pa.int64())
    return pc.if_else(is_snapshot, pa.scalar(0, pa.int64()), pc.add(base, after))


def _began(source_at: pa.Array, is_snapshot: pa.Array, name: str) -> pa.Array:
    """A backfill's instant is no later than its folder, which is named when its task began."""
    found = _FOLDER.search(name)
    if not found:
        return source_at
    try:
        minute = datetime(*map(int, found.groups()), tzinfo=UTC)  # type: ignore[misc,arg-type]
    except ValueError:
        return source_at
    folder = pa.scalar(minute, INSTANT)
    earlier = pc.if_else(pc.less(folder, source_at), folder, source_at)
    return pc.if_else(is_snapshot, earlier, source_at)


def instant(value: Any) -> datetime | None:
    """An instant as JSON has it: text, in UTC unless it says otherwise, or milliseconds."""
    try:
        if isinstance(value, str) and not value.lstrip("-").isdecimal():
            found = datetime.fromisoformat(value)
            return found if found.tzinfo else found.replace(tzinfo=UTC)
        return _EPOCH + timedelta(milliseconds=int(value))
    except (ValueError, TypeError, OverflowError):
        return None
