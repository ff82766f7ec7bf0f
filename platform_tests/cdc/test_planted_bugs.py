"""Each property finds the bug that it is there for; each bug is a small wrong change."""

from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import strategies as st
from platform_tests.cdc import (
    folding,
    slots_in_memory,
    test_avro_damage,
    test_crashes,
    test_key_changes_at_one_place,
    test_large_values,
    test_late_files,
    test_order_of_deliveries,
    test_positions_as_numbers,
    test_retention,
    test_tables_without_a_key,
)
from platform_tests.cdc.histories import Check, Lives, briefly, lives, seeds

from malacate.sources.cdc import datastream_events, slot, sqlserver, sqlserver_rows
from malacate.sources.discovery import Discovery
from malacate.warehouse import fold

Plant = Callable[[pytest.MonkeyPatch], None]
SIDE = {"drawn": lives, "seed": seeds}
ALONE = {"seed": seeds, "length": st.integers(1, 14)}


def _rows(change: Callable[[pa.Table], pa.Table]) -> Plant:
    """What the readers tell, changed on its way to the log."""

    def plant(patch: pytest.MonkeyPatch) -> None:
        publish = folding.Folding.publish
        patch.setattr(folding.Folding, "publish", lambda self, came: publish(self, change(came)))

    return plant


def _with(came: pa.Table, name: str, values: list[Any]) -> pa.Table:
    at = came.schema.get_field_index(name)
    kind = came.schema.field(at)
    return came.set_column(at, kind, pa.array(values, kind.type))


def _as_hex(came: pa.Table) -> pa.Table:
    return _as_text(came, "X")


def _as_text(came: pa.Table, digits: str = "d") -> pa.Table:
    """Positions in the order of their unpadded digits."""
    for name in ("_position_hi", "_position_lo", "_seq"):
        texts = [f"{value:{digits}}" for value in came.column(name).to_pylist()]
        came = _with(came, name, [int.from_bytes(t.encode()[:7].ljust(7), "big") for t in texts])
    return came


def _halves_alike(came: pa.Table) -> pa.Table:
    return _with(came, "_seq", [0] * len(came))


def _nothing_missing(came: pa.Table) -> pa.Table:
    return _with(came, "_missing", [None] * len(came))


def _without_tombstones(patch: pytest.MonkeyPatch) -> None:
    publish = folding.Folding.publish

    def forgetful(self: folding.Folding, came: pa.Table) -> None:
        publish(self, came)
        for one in (self.fold.target, self.log):
            gone = "is_deleted" if one is self.fold.target else "_op = 'D'"
            self.connection.execute(f"delete from {one.name.sql('duckdb')} where {gone}")

    patch.setattr(folding.Folding, "publish", forgetful)


def _by_the_clock(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(fold, "_LAST", "_source_at desc, _event_id desc")
    patch.setattr(fold, "_is_after", lambda a, b: f"({a}._source_at > {b}._source_at)")


def _truncates_passed_over(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(fold, "_TRUNCATE", "_op = 'X'")


def _folders_not_looked_at(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(datastream_events, "_began", lambda source_at, *_: source_at)


def _nothing_is_walked(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Discovery, "_walk", lambda self, at, now, pages: at)


def _advanced_as_peeked(patch: pytest.MonkeyPatch) -> None:
    look = slot.ReplicationSlot._look

    def eager(self: slot.ReplicationSlot, state: Any, boundary: int) -> Any:
        found = look(self, state, boundary)
        self.server.confirmed = max(self.server.confirmed, found.hi)  # type: ignore[attr-defined]
        return found

    patch.setattr(slot.ReplicationSlot, "_look", eager)
    patch.setattr(slot.slot_gaps, "require_follows", lambda *_: None)


def _published_twice(patch: pytest.MonkeyPatch) -> None:
    def anyhow(self: Any, name: str, found: Any) -> None:
        self.logs[name].append(self.landed[found.batch_id])
        slots_in_memory.crash.point("between")
        self.positions[name] = found.hi

    patch.setattr(slots_in_memory.Platform, "publish", anyhow)


def _any_instance_will_do(patch: pytest.MonkeyPatch) -> None:
    """The check is of the newest beginning only where one is, as a database-wide one would be."""

    def whole(instances: Any, lo: int, hi: int) -> Any:
        return [(instances[-1], max(lo, instances[-1].begins), hi)] if hi > lo else []

    patch.setattr(sqlserver, "stretches", whole)


def _only_rows_move_the_position(patch: pytest.MonkeyPatch) -> None:
    """A window without rows is not published."""
    load = test_retention.Reader.load

    def forgetful(self: Any) -> None:
        before = (self.position, sum(rows.num_rows for rows in self.log))
        load(self)
        if before[0] is not None and sum(rows.num_rows for rows in self.log) == before[1]:
            self.position = before[0]

    patch.setattr(test_retention.Reader, "load", forgetful)
    patch.setattr(test_retention, "catch_up", lambda reader: (reader.server.tick(), reader.load()))


def _short_files_pass(patch: pytest.MonkeyPatch) -> None:
    """A refused file counts as one without rows."""
    read = test_avro_damage.read
    patch.setattr(test_avro_damage, "read", lambda data, contract: read(data, contract) or [])


def _known_by_the_first_columns(patch: pytest.MonkeyPatch) -> None:
    hashed = sqlserver_rows.row_hash
    patch.setattr(
        sqlserver_rows, "row_hash", lambda rows: hashed(rows.select(rows.schema.names[2:3]))
    )


def _numbers(of: str) -> Check:
    return lambda drawn, seed: test_positions_as_numbers.by_datastream(of, drawn, seed)


def _halves(drawn: Lives, seed: int) -> None:
    test_key_changes_at_one_place.by_datastream("mysql", drawn, seed)


def _bare(drawn: Lives, seed: int) -> None:
    test_tables_without_a_key.every_row_is_known_by_itself("sqlserver", drawn, seed)


BUGS: dict[str, tuple[Plant, Check, dict[str, Any]]] = {
    "1_no_tombstones": (
        _without_tombstones,
        test_order_of_deliveries.an_event_older_than_a_deletion_comes_last,
        SIDE,
    ),
    "1_truncates_passed_over": (
        _truncates_passed_over,
        test_order_of_deliveries.with_truncates,
        SIDE,
    ),
    "2_positions_as_text": (_rows(_as_hex), _numbers("postgres_7_to_8_digits"), SIDE),
    "2_log_files_as_text": (_rows(_as_text), _numbers("mysql_files"), SIDE),
    "2_by_the_clock": (_by_the_clock, _numbers("postgres_halves"), SIDE),
    "3_halves_alike": (_rows(_halves_alike), _halves, SIDE),
    "4_missing_ignored_of_a_slot": (_rows(_nothing_missing), test_large_values.by_a_slot, SIDE),
    "4_missing_ignored_of_debezium": (
        _rows(_nothing_missing),
        test_large_values.by_debezium,
        SIDE,
    ),
    "5_advanced_as_peeked": (_advanced_as_peeked, test_crashes.killed_anywhere, ALONE),
    "5_rows_and_position_apart": (_published_twice, test_crashes.killed_anywhere, ALONE),
    "6_gaps_passed_over": (
        _any_instance_will_do,
        test_retention.a_cleanup_of_one_instance,
        ALONE,
    ),
    "7_empty_windows_not_kept": (
        _only_rows_move_the_position,
        test_retention.a_quiet_table,
        ALONE,
    ),
    "8_folders_not_looked_at": (_folders_not_looked_at, test_late_files.any_delay, SIDE),
    "8_nothing_walked": (_nothing_is_walked, test_late_files.any_delay, SIDE),
    "9_short_files_pass": (
        _short_files_pass,
        test_avro_damage.flipped,
        {"name": test_avro_damage.NAMES, "seed": seeds},
    ),
    "10_known_by_some_columns": (_known_by_the_first_columns, _bare, SIDE),
}


@pytest.mark.parametrize("name", BUGS)
def test_the_property_finds_the_bug_it_is_there_for(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant, check, drawn = BUGS[name]
    plant(monkeypatch)
    folding.folding.cache_clear()
    try:
        with pytest.raises(AssertionError):
            briefly(check, 60, **drawn)()
    finally:
        folding.folding.cache_clear()
