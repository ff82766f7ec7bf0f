"""Planted bugs of change data capture; a bar of its own finds them: see ``cdc_kills``."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from malacate.sources.cdc import (
    pgoutput,
    pgoutput_images,
    slot,
    slot_changes,
    slot_gaps,
    slot_server,
    slot_snapshot,
    sqlserver,
)
from malacate.sources.cdc.slot_position import Position

ReplicationSlot: Any = slot.ReplicationSlot
SlotTable: Any = slot.SlotTable


def slot_advanced_once_read() -> None:
    """The slot forgets what is read before it is published, and nobody looks whether it did."""
    read = SlotTable.read

    def hasty(self: Any, found: Any, lake: Any) -> Any:
        reading = read(self, found, lake)
        reading.chunks = iter(list(reading.chunks))
        hi, slots = Position.parse(found.hi), self.slot.server.generations()
        if found.lo is not None and slots[max(slots)].confirmed < hi.lsn:
            self.slot.server.advance(slots[max(slots)].name, hi)
        return reading

    SlotTable.read = hasty
    slot_gaps.require_follows = lambda *_: None


def slot_consumed() -> None:
    """Changes are got, not peeked at."""
    peek = pgoutput.peek

    def got(*asked: Any) -> str:
        return peek(*asked).replace("slot_peek_binary", "slot_get_binary")

    slot_server.peek = got


def slot_position_by_itself() -> None:
    """The position is committed before the rows that it stands for, and believed."""
    from platform_tests.faults.mutants import position_before_the_rows

    position_before_the_rows()


def snapshot_without_truncate() -> None:
    """After a gap the rows that stand are put over the old ones; those that went stay."""
    chunks = slot_snapshot.Snapshot._chunks

    def bare(self: Any, reading: Any, rows: Any) -> Iterator[Any]:
        for chunk in chunks(self, reading, rows):
            if chunk.rows.num_rows != 1 or chunk.rows.column("_op")[0].as_py() != "T":
                yield chunk

    slot_snapshot.Snapshot._chunks = bare  # type: ignore[method-assign]


def window_ends_in_mid_transaction() -> None:
    """The last transaction of a window is cut in two, and its rest passed over."""
    within = slot.within

    def cut(changes: Any, lo: int, hi: int) -> Any:
        part = within(changes, lo, hi)
        if part is None or part.commit_lsn[-1] != hi:
            return part
        last = int(np.flatnonzero(part.commit_lsn == hi)[0])
        return slot_changes.part(part, 0, (last + len(part) + 1) // 2)

    slot.within = cut


def unchanged_as_null() -> None:
    """A value that was not sent is null."""
    filled = pgoutput_images._filled

    def blank(changes: Any, names: Any) -> Any:
        return filled(changes, names)[0], {}

    pgoutput_images._filled = blank


def changes_by_their_own_lsn() -> None:
    """A change stands where it was made, not where it was committed."""
    stamps = pgoutput._stamps

    def own(parts: Any) -> Any:
        columns = (getattr(messages.lsns, "storage", messages.lsns) for messages, _ in parts)
        places = (place for column in columns for place in column.to_pylist())
        lsn = np.array([p if isinstance(p, int) else int.from_bytes(p) for p in places])
        return stamps(parts)._replace(commit_lsn=lsn)

    pgoutput._stamps = own


def slot_advanced_for_the_fastest() -> None:
    """The slot goes where one table is, whatever the others have."""

    def settle(self: Any, positions: Any) -> bool:
        self._forget_snapshot(positions)
        slots, reached = self.server.generations(), map(Position.of, positions.values())
        furthest = max((one for one in reached if one), key=lambda one: one.lsn)
        if furthest.lsn > slots[max(slots)].confirmed:
            self.server.advance(slots[max(slots)].name, furthest)
        return self.capture is not None and self.capture.is_cut

    ReplicationSlot.settle = settle


def key_change_as_update() -> None:
    """A row whose key moved stays under its old one."""
    pgoutput_images._differs = lambda old, new: np.zeros(len(old), bool)


def truncate_passed_over() -> None:
    """A truncate is no change of a row."""
    pgoutput._truncated = lambda messages, index: []


def snapshot_of_another_moment() -> None:
    """The rows are of when they are read, the position of when the slot began."""
    read = slot_snapshot.Snapshot.read

    def late(self: Any, found: Any, lake: Any, source: Any) -> Any:
        return read(replace(self, exported=""), found, lake, source)

    def begin(self: Any, standing: Any) -> Position:
        self.exported = slot_server.Exported(_Open(), "", standing.slot.confirmed)
        return Position(standing.generation, standing.identity, standing.slot.confirmed)

    slot_snapshot.Snapshot.read = late  # type: ignore[method-assign]
    ReplicationSlot.moment = begin


class _Open:
    """A connection that nobody needs."""

    closed = False

    def close(self) -> None: ...


def jump_to_what_is_left() -> None:
    """SQL Server: what was cleaned up is passed over, from there on it is whole again."""
    stretches = sqlserver.stretches

    def jumped(instances: Any, lo: int, hi: int) -> Any:
        least = min((one.begins for one in instances), default=lo)
        return stretches(instances, max(lo, least), hi)

    sqlserver.stretches = jumped


def window_without_its_end() -> None:
    """SQL Server: the last block of a window is taken for the first of the next."""
    changes = sqlserver.ChangeTable._changes

    def short(self: Any, found: Any, reading: Any) -> Any:
        end = max(int(found.hi) - 0x10000, int(found.lo) + 1)
        return changes(self, replace(found, hi=str(end)), reading)

    sqlserver.ChangeTable._changes = short  # type: ignore[method-assign]


MUTANTS: dict[str, Callable[[], None]] = {
    planted.__name__: planted
    for planted in (
        slot_advanced_once_read, slot_consumed, slot_position_by_itself,
        snapshot_without_truncate, window_ends_in_mid_transaction, unchanged_as_null,
        changes_by_their_own_lsn, slot_advanced_for_the_fastest,
        key_change_as_update, truncate_passed_over, snapshot_of_another_moment,
        jump_to_what_is_left, window_without_its_end,
    )
}  # fmt: skip

SEEN_BY = {
    **dict.fromkeys(MUTANTS, "slot, hunted"),
    "snapshot_without_truncate": "gap, slot dropped",
    "snapshot_of_another_moment": "slot, copied late",
    "jump_to_what_is_left": "gap, SQL Server cleaned up",
    "window_without_its_end": "SQL Server, killed",
}
"""The histories that show each of them."""
