"""Current state behind changes: any permutation, repetition and batching folds to the source."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from platform_tests.warehouse.batches import table
from platform_tests.warehouse.derivations import Row, after_versions, derived

from malacate.contracts.changes import changes_of, state_of
from malacate.contracts.table import Column
from malacate.warehouse.fold import Fold

pytestmark = pytest.mark.usefixtures("derivation_engine")

TRUCK = table(
    Column("site", pa.string(), True),
    Column("id", pa.int64(), True),
    Column("value", pa.int64(), True),
    Column("note", pa.string()),
    name="truck",
    key=("site", "id"),
)
STATE = state_of(TRUCK)
LOG = changes_of(TRUCK)
EPOCH = datetime(2026, 11, 3, tzinfo=UTC)
Key = tuple[str, int]
Values = tuple[int | None, str | None]
KEYS: list[Key] = [("a", 1), ("a", 2), ("b", 1)]


def change(
    op: str, key: Key | None, values: Values = (None, None), at: int = 0, seq: int = 0, **more: Any
) -> Row:
    """A logged change; positions cross the limits of 32 bits on purpose."""
    site, number = key or (None, None)
    row = {
        "site": site, "id": number, "value": values[0], "note": values[1], "_op": op,
        "_is_key_change": False, "_position_hi": 1 + at // 3, "_position_lo": at % 3 * (1 << 40),
        "_seq": seq, "_is_snapshot": False, "_source_at": EPOCH + timedelta(seconds=at),
        "_event_id": f"{at:06}-{seq}",
    }  # fmt: skip
    return row | more


def backfilled(key: Key, values: Values, at: int, **more: Any) -> Row:
    """A row of a backfill that began when the log was at ``at``; it has no position."""
    name = {"_event_id": f"s-{at:06}-{key}", "_position_hi": 0, "_position_lo": 0}
    return change("R", key, values, at, **{"_is_snapshot": True, **name, **more})


def placed(batch: Sequence[Row]) -> list[Row]:
    return [row | {"_file_row": place} for place, row in enumerate(batch)]


def state_after(batches: Sequence[Sequence[Row]]) -> dict[Key, Row]:
    """Publish change batches one by one and read the state by key."""
    rows = derived(LOG, Fold(STATE), [placed(batch) for batch in batches], "truck", together=1)
    assert len({(row["site"], row["id"]) for row in rows}) == len(rows)
    return {(row["site"], row["id"]): row for row in rows}


def shown(state: dict[Key, Row]) -> dict[Key, Values | None]:
    """Values by key; ``None`` for a tombstone."""
    return {
        key: None if row["is_deleted"] else (row["value"], row["note"])
        for key, row in state.items()
    }


@dataclass
class Source:
    """A table that logs what is done to it, as a source with large values out of line does."""

    choose: random.Random
    rows: dict[Key, Values] = field(default_factory=dict)
    seen: set[Key] = field(default_factory=set)
    log: list[Row] = field(default_factory=list)

    def live(self, steps: int) -> None:
        for at in range(1, steps + 1):
            key = self.choose.choice(KEYS)
            values = (self.choose.randrange(9), self.choose.choice(["x", "y", None]))
            self.step(key, values, at)
            if self.choose.random() < 0.12:
                self.log += [backfilled(k, v, at) for k, v in self.rows.items()]
            if self.choose.random() < 0.06:
                self.log += self.taken_again(at)
            self.seen |= self.rows.keys()

    def step(self, key: Key, values: Values, at: int) -> None:
        what = self.choose.random()
        if key not in self.rows:
            self.rows[key] = values
            self.log.append(change("I", key, values, at))
        elif what < 0.08:
            self.rows.clear()
            self.log.append(change("T", None, at=at))
        elif what < 0.3:
            del self.rows[key]
            self.log.append(change("D", key, at=at))
        elif what < 0.6 and (free := [k for k in KEYS if k not in self.rows]):
            self.log += self.move(key, self.choose.choice(free), values, at)
        else:
            self.log.append(self.update(key, values, at))

    def update(self, key: Key, values: Values, at: int) -> Row:
        sent, missing = self.sent(key, values)
        return change("U", key, sent, at, _missing=missing)

    def move(self, old: Key, new: Key, values: Values, at: int) -> list[Row]:
        sent, missing = self.sent(old, values)
        self.rows[new] = self.rows.pop(old)
        half = {"_is_key_change": True}
        return [
            change("D", old, at=at, seq=4, **half),
            change("I", new, sent, at, 5, _missing=missing, **half),
        ]

    def sent(self, key: Key, values: Values) -> tuple[Values, str | None]:
        """What the log says of an update: a note that did not change is not sent."""
        missing = self.choose.choice([None, "note", "note", "value,note"])
        value = self.rows[key][0] if missing == "value,note" else values[0]
        self.rows[key] = (value, self.rows[key][1] if missing else values[1])
        kept = None if missing == "value,note" else value, None if missing else values[1]
        return kept, missing

    def taken_again(self, at: int) -> Iterator[Row]:
        """A snapshot with a position, as after a gap: what it does not have is gone."""
        yield change("T", None, at=at, seq=8)
        for key, values in self.rows.items():
            yield change("R", key, values, at, 9, _is_snapshot=True, _event_id=f"{at}-{key}")

    def expected(self) -> dict[Key, Values | None]:
        return {key: self.rows.get(key) for key in self.seen}


@st.composite
def deliveries(draw: st.DrawFn) -> tuple[list[list[Row]], dict[Key, Values | None]]:
    """A history shuffled, repeated, and cut into batches."""
    source = Source(draw(st.randoms(use_true_random=False)))
    source.live(draw(st.integers(1, 24)))
    again = draw(st.lists(st.sampled_from(source.log), max_size=4))
    order = draw(st.permutations([*source.log, *again]))
    size = -(-len(order) // draw(st.integers(1, 6)))
    return [order[i : i + size] for i in range(0, len(order), size)], source.expected()


@settings(max_examples=5)
@given(deliveries())
def test_any_delivery_of_a_history_is_published_as_the_source_has_it(
    delivery: tuple[list[list[Row]], dict[Key, Values | None]],
) -> None:
    batches, expected = delivery
    assert shown(state_after(batches)) == expected


A = ("a", 1)
B = ("b", 1)


def test_a_deletion_stays_as_a_tombstone_that_a_late_update_cannot_lift() -> None:
    batches = [[change("D", A, at=9)], [change("U", A, (5, "x"), 4)], [change("I", A, (1, "x"), 2)]]
    row = state_after(batches)[A]
    assert (row["is_deleted"], row["_op"], row["_position_hi"]) == (True, "D", 4)


def test_a_row_that_comes_back_is_alive() -> None:
    batches = [[change("I", A, (7, "x"), 5)], [change("D", A, at=4)], [change("I", A, (1, "y"), 3)]]
    assert shown(state_after(batches)) == {A: (7, "x")}


def test_positions_order_changes_where_the_clock_of_the_source_runs_backwards() -> None:
    changes = [
        change("I", A, (at, "x"), at, _source_at=EPOCH - timedelta(seconds=at)) for at in (1, 2, 3)
    ]
    for order in (changes, changes[::-1], [changes[1], changes[2], changes[0]]):
        assert shown(state_after([[one] for one in order])) == {A: (3, "x")}


def test_a_backfill_repairs_what_a_gap_in_the_log_lost_and_never_undoes_what_came_after_it() -> (
    None
):
    old, new = change("U", A, (1, "x"), 3), change("U", A, (3, "x"), 9)
    assert shown(state_after([[old], [backfilled(A, (2, "y"), 5)]])) == {A: (2, "y")}
    assert shown(state_after([[old], [new], [backfilled(A, (2, "y"), 5)]])) == {A: (3, "x")}
    assert shown(state_after([[backfilled(A, (2, "y"), 9)], [new], [old]])) == {A: (3, "x")}


def test_what_was_not_sent_after_a_backfill_is_what_the_backfill_read() -> None:
    log = [
        change("I", A, (1, "x"), 1),
        backfilled(A, (3, "y"), 5),
        change("U", A, (9, None), 9, _missing="note"),
    ]
    for order in (log, log[::-1], [log[2], log[0], log[1]]):
        assert shown(state_after([[one] for one in order])) == {A: (9, "y")}


def test_a_moved_row_takes_along_what_was_not_sent_even_if_that_comes_last() -> None:
    half = {"_is_key_change": True}
    inserted = change("I", A, (1, "large"), 1)
    stranger = [change("I", B, (8, "strange"), 2), change("D", B, at=3)]
    moved = [
        change("D", A, at=5, seq=0, **half),
        change("I", B, (2, None), 5, 1, _missing="note", **half),
    ]
    expected = {A: None, B: (2, "large")}
    for order in (
        [moved, stranger, [inserted]],
        [[inserted], stranger, moved],
        [[*moved, inserted]],
    ):
        assert shown(state_after([list(batch) for batch in order])) == expected


def test_a_truncate_deletes_what_was_before_it_and_nothing_after_whenever_it_comes() -> None:
    before, after = change("I", A, (1, "x"), 1), change("I", B, (2, "y"), 7)
    truncate = change("T", None, at=5)
    for order in ([before, after, truncate], [truncate, before, after], [after, truncate, before]):
        assert shown(state_after([[one] for one in order])) == {A: None, B: (2, "y")}


def test_rows_that_no_batch_touches_stay_as_they_are() -> None:
    batches = [[change("I", A, (1, "x"), 1)], [change("I", B, (2, "y"), 2)], []]
    assert shown(state_after(batches)) == {A: (1, "x"), B: (2, "y")}


def test_a_key_that_a_replaced_file_no_longer_changes_is_folded_again() -> None:
    first = [change("I", A, (10, "x"), 1), change("I", B, (20, "y"), 2)]
    second = [change("I", B, (20, "y"), 2)]
    rows = after_versions(LOG, Fold(STATE), [placed(first), placed(second)])
    assert [(row["site"], row["id"], row["value"]) for row in rows] == [("b", 1, 20)]
