"""A slot of our own: the source's rows and every change of them, once, and none is lost."""

import contextlib
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
from platform_tests.conftest import PlatformHome
from platform_tests.sources.logical_postgres import logical_postgres, logical_url
from platform_tests.sources.slot_kills import killed_at
from platform_tests.sources.slots import DDL, SHIFT, TRUCK, Mine, table

from malacate.contracts.changes import changes_of
from malacate.errors import MalacateError
from malacate.sources.cdc import slot as slot_module
from malacate.sources.cdc.slot_position import Position

__all__ = ["logical_postgres", "logical_url"]


@pytest.fixture
def mine(logical_url: str, platform_home: PlatformHome) -> Mine:
    made = Mine(logical_url, platform_home, f"s_{platform_home.root.parent.name[-30:]}")
    made.run(*DDL)
    return made


@pytest.fixture
def streaming(mine: Mine) -> Mine:
    """After the first snapshot."""
    mine.run("insert into app.truck values (1, 'a'), (2, 'b')")
    mine.load()
    return mine


class Writers:
    """Sessions that change both tables at random, in transactions of any length."""

    def __init__(self, url: str, seed: int) -> None:
        self.url, self.seed, self.stopped = url, seed, threading.Event()
        self.commits = 0

    def body(self, seed: int) -> None:
        """Not faster than a busy machine reads."""
        choice = random.Random(seed)
        with psycopg.connect(self.url, autocommit=True) as connection:
            while not self.stopped.is_set():
                with connection.transaction(force_rollback=choice.random() < 0.1):
                    for _ in range(choice.randrange(1, 12)):
                        connection.execute(self.statement(choice).encode())
                self.commits += 1
                self.stopped.wait(choice.random() * 0.3)

    def statement(self, choice: random.Random) -> str:
        name = choice.choice(("truck", "shift"))
        key, note = choice.randrange(40), choice.randrange(10**6)
        put = f"insert into app.{name} values ({key}, '{note}') on conflict (id) do update "
        return choice.choice(
            (
                put + "set note = excluded.note",
                f"update app.{name} set note = '{note}' where id = {key}",
                f"delete from app.{name} where id = {key}",
                f"update app.{name} set id = {key + 40 * choice.randrange(1, 4)} where id = {key} "
                f"and not exists (select 1 from app.{name} where id >= 40 and id % 40 = {key})",
                f"insert into app.other values ({choice.randrange(10**12)}, 'x') "
                "on conflict do nothing",
            )
        )


@contextmanager
def writing(url: str, seed: int, sessions: int = 2) -> Iterator[Writers]:
    writers = Writers(url, seed)
    threads = [
        threading.Thread(target=_until_stopped, args=(writers, seed * 10 + number))
        for number in range(sessions)
    ]
    for thread in threads:
        thread.start()
    try:
        yield writers
    finally:
        writers.stopped.set()
        for thread in threads:
            thread.join()


def _until_stopped(writers: Writers, seed: int) -> int:
    while not writers.stopped.is_set():
        try:
            writers.body(seed)
        except (psycopg.errors.DeadlockDetected, psycopg.errors.UniqueViolation):
            seed += 1000
    return 0


def test_the_first_run_takes_a_snapshot_and_the_next_what_changed(mine: Mine) -> None:
    mine.run("insert into app.truck values (1, 'a'), (2, 'b')")
    assert mine.load() == 2
    assert mine.ops(TRUCK) == [("R", 1), ("R", 2)]
    mine.run(
        "insert into app.truck values (3, 'c')",
        "update app.truck set note = 'B' where id = 2",
        "delete from app.truck where id = 1",
        "insert into app.shift values (7, 'night')",
    )
    assert mine.load() == 4
    assert mine.ops(TRUCK)[2:] == [("I", 3), ("U", 2), ("D", 1)]
    mine.must_be_equal()
    assert mine.load() == 0
    assert mine.fresh().load() == 0
    mine.must_be_equal()


def test_the_snapshot_of_the_slots_first_moment_joins_the_stream_without_overlap(
    mine: Mine,
) -> None:
    mine.run("insert into app.truck values (1, 'a')")
    mine.home.ingest.run(mine.route(TRUCK))
    mine.run("insert into app.shift values (1, 'after the slot began')")
    mine.home.ingest.run(mine.route(SHIFT))
    assert mine.ops(SHIFT) == [], "the snapshot is of the moment at which the slot began"
    assert mine.slot.exported is not None
    mine.load()
    assert mine.slot.exported is None
    assert mine.ops(SHIFT) == [("I", 1)]
    mine.must_be_equal()


def test_rows_of_the_snapshot_stand_where_the_stream_begins(streaming: Mine) -> None:
    (first, second) = streaming.log(TRUCK)
    at = streaming.position(TRUCK)
    for row in (first, second):
        assert (row["_position_hi"], row["_position_lo"], row["_seq"]) == (at.high, at.low, -1)
        assert row["_is_snapshot"]
    streaming.run("insert into app.truck values (3, 'c')")
    streaming.load()
    last = streaming.log(TRUCK)[-1]
    assert not last["_is_snapshot"]
    assert (last["_position_hi"], last["_position_lo"]) > (at.high, at.low)


def test_under_writers_the_state_is_the_source_and_no_change_comes_twice(mine: Mine) -> None:
    mine.limit = 300
    mine.fresh()
    with writing(mine.url, 3) as writers:
        for number in range(5):
            mine.load()
            if number % 3 == 2:
                mine.fresh()
    assert writers.commits > 10
    mine.drain()
    mine.must_be_equal()
    assert {"R", "I", "U", "D"} <= {row["_op"] for row in mine.log(TRUCK)}


POINTS = (
    "slot_created:1", "claimed:1", "parsed:1", "landed:1", "staged:2", "peeked:1", "seen:1",
    "landing_before_manifest:1", "landed:2", "tx_rows/publish:1", "committed/publish:1",
    "closed:1", "loaded:1", "slot_before_advance:1", "slot_advanced:1",
)  # fmt: skip


def test_killed_at_every_step_under_writers_nothing_is_lost_or_twice(mine: Mine) -> None:
    mine.run("insert into app.truck select i, 'first' from generate_series(1, 30) i")
    with writing(mine.url, 5):
        died = killed_at(mine, POINTS)
    mine.elsewhere().drain()
    mine.must_be_equal()
    assert {point.partition(":")[0] for point in POINTS} == {one.partition(":")[0] for one in died}


def test_nothing_is_advanced_before_every_table_has_published(streaming: Mine) -> None:
    at = streaming.standing.confirmed
    streaming.run("insert into app.truck values (3, 'c')", "insert into app.shift values (1, 'x')")
    streaming.load(TRUCK)
    assert streaming.standing.confirmed == at
    streaming.load(SHIFT)
    assert streaming.standing.confirmed == streaming.position(TRUCK).lsn > at
    streaming.must_be_equal()


def test_a_quiet_table_follows_once_much_was_written_elsewhere(
    streaming: Mine, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = streaming.standing.confirmed
    streaming.run("insert into app.other select i, 'x' from generate_series(1, 2000) i")
    assert streaming.load() == 0
    assert streaming.standing.confirmed == at, "not for a little"
    monkeypatch.setattr(slot_module, "QUIET_BYTES", 1000)
    assert streaming.load() == 0
    assert streaming.standing.confirmed > at
    assert streaming.fresh().load() == 0
    streaming.run("insert into app.truck values (3, 'c')")
    assert streaming.load() == 1
    streaming.must_be_equal()


def test_a_busy_table_does_not_make_a_quiet_one_a_gap(
    streaming: Mine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slot_module, "QUIET_BYTES", 5000)
    for number in range(10, 16):
        streaming.run(
            f"insert into app.truck select {number} * 100 + i, 'x' from generate_series(1, 50) i"
        )
        assert streaming.load() == 50
    streaming.run("insert into app.shift values (9, 'late')")
    assert streaming.load() == 1
    streaming.must_be_equal()


def test_a_look_is_bounded_and_a_transaction_comes_whole(streaming: Mine) -> None:
    streaming.limit = 20
    streaming.fresh()
    for number in range(5):
        streaming.run(
            f"insert into app.truck select {number}10 + i, 'x' from generate_series(1, 30) i"
        )
    assert streaming.load() == 30
    streaming.drain()
    streaming.must_be_equal()
    assert len(streaming.ops(TRUCK)) == 2 + 150


def test_a_table_that_was_copied_later_misses_nothing(streaming: Mine) -> None:
    """Its rows are of a moment of their own, later than the stream's position."""
    streaming.run("insert into app.other select i, 'x' from generate_series(1, 50) i")
    streaming.run("alter publication app_changes add table app.other")
    other = table("other")
    streaming.tables = (TRUCK, SHIFT, other)
    streaming.run(
        "update app.other set note = 'y' where id < 10", "delete from app.other where id = 20"
    )
    streaming.fresh()
    (found,) = streaming.route(other).source.discover(slot_module.Known(None))
    assert Position.parse(found.hi or "0").lsn > streaming.position(TRUCK).lsn
    streaming.run("update app.other set note = 'z' where id = 30")
    streaming.load()
    assert streaming.ops(other).count(("R", 30)) == 1
    assert len(streaming.ops(other)) == 49
    streaming.run("insert into app.other values (77, 'z')")
    streaming.drain()
    streaming.must_be_equal()
    assert [op for op, key in streaming.ops(other) if key == 30] == ["R", "U"]


def test_a_key_that_moved_before_a_late_copy_keeps_its_large_value(mine: Mine) -> None:
    """Its change leaves the value out, and the row of the old key is copied no more."""
    mine.run(
        "alter table app.truck alter column note set storage external",
        "insert into app.truck select i, repeat(md5(i::text), 80) from generate_series(1, 3) i",
    )
    assert killed_at(mine, ["slot_created:1"]) == ["slot_created:1"]
    mine.run("update app.truck set id = 10 where id = 1", "insert into app.truck values (1, 'new')")
    mine.elsewhere().drain()
    mine.must_be_equal()


def test_a_slot_that_is_being_created_is_waited_for(
    mine: Mine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is listed before it has a position, and creating it waits for open transactions."""
    from malacate.sources.cdc import slot_server

    monkeypatch.setattr(slot_server, "PATIENCE_SECONDS", 0.3)
    with psycopg.connect(mine.url) as busy:
        busy.execute("insert into app.other values (1, 'not committed')")
        creator = threading.Thread(target=lambda: mine.server.create(0).close())
        creator.start()
        while not mine.server.generations():
            time.sleep(0.01)
        with pytest.raises(MalacateError, match="being created"):
            mine.load()
        busy.rollback()
    creator.join()
    mine.drain()
    mine.must_be_equal()


def test_the_same_window_read_again_brings_the_same_rows(streaming: Mine) -> None:
    streaming.run("insert into app.truck values (3, 'c')", "update app.truck set note = 'd'")
    route = streaming.route(TRUCK)
    (found,) = route.source.discover(_known(streaming))
    streaming.run("insert into app.truck values (4, 'later')")
    reads = [
        [
            c.rows.drop_columns(["_read_at"])
            for c in route.source.read(found, streaming.home.lake).chunks
        ]
        for _ in range(3)
    ]
    assert reads[0] == reads[1] == reads[2]
    assert sum(rows.num_rows for rows in reads[0]) == 4


def _known(mine: Mine) -> "slot_module.Known":
    return slot_module.Known(str(mine.position(TRUCK)))


def test_two_looks_at_the_same_time_make_one_window(streaming: Mine) -> None:
    """Whoever notes it first says where it ends."""
    streaming.run("insert into app.truck values (3, 'c')")
    first = streaming.route(TRUCK).source.discover(_known(streaming))
    streaming.fresh().run("insert into app.truck values (4, 'd')")
    second = streaming.route(TRUCK).source.discover(_known(streaming))
    assert first[0].batch_id == second[0].batch_id
    assert first[0].hi != second[0].hi
    streaming.home.ledger.note([*first, *second])
    streaming.fresh().drain()
    streaming.drain()
    streaming.must_be_equal()


def test_a_truncate_empties_the_state(streaming: Mine) -> None:
    streaming.run("truncate app.truck", "insert into app.truck values (9, 'new')")
    streaming.load()
    assert [op for op, _ in streaming.ops(TRUCK)][2:] == ["T", "I"]
    streaming.must_be_equal()


def test_a_table_without_a_key_is_told_apart_by_its_rows(mine: Mine) -> None:
    bare = table("note", key=())
    mine.run(
        "create table app.note (id bigint, note text)",
        "alter table app.note replica identity full",
        "alter publication app_changes add table app.note",
        "insert into app.note values (1, 'a'), (2, null)",
    )
    mine.tables = (bare,)
    mine.fresh().load()
    mine.run("update app.note set note = 'b' where id = 1", "delete from app.note where id = 2")
    mine.load()
    assert mine.state(bare) == mine.source(bare) == [(1, "b")]


def test_a_database_that_was_never_written_to_again_is_no_gap(streaming: Mine) -> None:
    for _ in range(3):
        assert streaming.fresh().load() == 0
    assert streaming.position(TRUCK).lsn >= streaming.standing.confirmed


def test_a_reader_that_holds_the_slot_is_named(
    streaming: Mine, monkeypatch: pytest.MonkeyPatch
) -> None:
    from malacate.sources.cdc import slot_server

    monkeypatch.setattr(slot_server, "PATIENCE_SECONDS", 0.3)
    streaming.run("insert into app.truck values (3, 'c')")
    other = psycopg.connect(streaming.url, replication="database", autocommit=True)
    with contextlib.closing(other):
        other.pgconn.send_query(
            f"START_REPLICATION SLOT {streaming.name} LOGICAL 0/0 (proto_version '1', "
            "publication_names 'app_changes')".encode()
        )
        while not streaming.standing.active:
            time.sleep(0.01)
        with pytest.raises(MalacateError, match="slot has another reader") as told:
            streaming.load()
        assert told.value.reason == "slot_in_use"
    streaming.drain()
    streaming.must_be_equal()


def test_the_log_never_has_a_change_of_a_table_that_is_not_declared(streaming: Mine) -> None:
    streaming.run("alter publication app_changes add table app.other")
    streaming.run("insert into app.other values (1, 'x')", "insert into app.truck values (3, 'c')")
    assert streaming.load() == 1
    names = streaming.home.warehouse.query("select distinct table_name as n from malacate.loads")
    assert set(names.column("n").to_pylist()) == {"truck_changes", "shift_changes"}
    assert changes_of(TRUCK).name.table == "truck_changes"
