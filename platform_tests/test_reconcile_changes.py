"""States of captured tables against their sources: what is behind is not wrong, what is wrong is
found by key, and the source and its slot stay as they are.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest
from platform_tests.conftest import PlatformHome
from platform_tests.sources.logical_postgres import logical_postgres, logical_url
from platform_tests.sources.slots import DDL, TRUCK, Mine, table
from platform_tests.sources.sqlserver_standin import TRUCK as DBO_TRUCK
from platform_tests.sources.sqlserver_standin import Trucks
from platform_tests.sources.test_slot import Writers

from malacate import reconcile_sqlserver
from malacate.contracts.table import Column
from malacate.errors import SourceGap
from malacate.reconcile import Difference
from malacate.reconcile_changes import is_captured, reconcile_changes
from malacate.warehouse.duckdb import DuckDBWarehouse

__all__ = ["logical_postgres", "logical_url"]

STATE = "raw_app.truck"


@pytest.fixture
def mine(logical_url: str, platform_home: PlatformHome) -> Mine:
    made = Mine(logical_url, platform_home, f"r_{platform_home.root.parent.name[-30:]}")
    made.run(*DDL)
    return made


@pytest.fixture
def streaming(mine: Mine) -> Mine:
    """Rows of a snapshot and of changes, some deleted; all of it published."""
    mine.run("insert into app.truck select g, 'note ' || g from generate_series(1, 200) g")
    mine.drain()
    mine.run(
        "update app.truck set note = 'changed' where id % 7 = 0",
        "delete from app.truck where id % 11 = 0",
        "update app.truck set id = id + 1000 where id % 13 = 0",
    )
    mine.drain()
    return mine


def found(mine: Mine, one: Any = TRUCK, **how: Any) -> Difference:
    """What reconciling tells; the slot is as it was before."""
    before = standing(mine)
    told = reconcile_changes(mine.route(one), mine.home.ingest, **how)
    assert standing(mine) == before
    return told


def standing(mine: Mine) -> list[tuple[Any, ...]]:
    return mine.ask(
        "select slot_name, confirmed_flush_lsn::text, "
        "(select count(*) from pg_replication_slots) from pg_replication_slots "
        "where database = current_database() order by 1"
    )


def counts(told: Difference) -> tuple[int, int, int, int]:
    return told.lost, told.twice, told.wrong, told.behind


def tamper(home: PlatformHome, *statements: str) -> None:
    with home.warehouse._open() as connection:
        for statement in statements:
            connection.execute(statement)


def test_a_state_that_has_come_as_far_as_its_source_is_equal(streaming: Mine) -> None:
    told = found(streaming)
    alive = len(streaming.source(TRUCK))
    assert counts(told) == (0, 0, 0, 0)
    assert (told.table, told.source_rows, told.target_rows) == ("raw/app/truck", alive, alive)
    assert told.ranges == "all"
    assert "/" in told.position


def test_changes_that_are_not_published_are_behind_and_never_wrong(streaming: Mine) -> None:
    streaming.run(
        "insert into app.truck values (5000, 'new')",
        "update app.truck set note = 'later' where id in (1, 2)",
        "delete from app.truck where id = 3",
        "update app.truck set id = 6000 where id = 4",
    )
    told = found(streaming)
    assert counts(told) == (0, 0, 0, 6)
    assert told.is_equal
    streaming.drain()
    assert counts(found(streaming)) == (0, 0, 0, 0)


def test_a_truncate_that_is_not_published_makes_all_of_it_behind(streaming: Mine) -> None:
    streaming.run("truncate app.truck", "insert into app.truck values (1, 'first again')")
    told = found(streaming)
    assert told.is_equal
    assert told.behind == told.target_rows


def test_a_table_that_was_never_loaded_is_behind_and_no_slot_is_made(mine: Mine) -> None:
    mine.run("insert into app.truck values (1, 'a'), (2, 'b')")
    assert counts(found(mine)) == (0, 0, 0, 2)
    assert standing(mine) == []


def test_a_slot_that_is_gone_is_told_and_none_is_made(streaming: Mine) -> None:
    streaming.run(f"select pg_drop_replication_slot('{streaming.name}')")
    with pytest.raises(SourceGap, match="the slot is gone"):
        found(streaming)
    assert standing(streaming) == []


@pytest.mark.parametrize(
    ("statement", "told", "example"),
    [
        (f"delete from {STATE} where id = 5", (1, 0, 0), "lost 5"),
        (f"update {STATE} set note = 'by hand' where id = 5", (0, 0, 1), "wrong 5"),
        (f"update {STATE} set note = null where id = 5", (0, 0, 1), "wrong 5"),
        (f"update {STATE} set is_deleted = true where id = 5", (1, 0, 0), "lost 5"),
        (f"update {STATE} set is_deleted = false where id = 11", (0, 1, 0), "twice 11"),
        (f"insert into {STATE} select * from {STATE} where id = 5", (0, 1, 0), "twice 5"),
        (f"insert into {STATE} select * replace (99999 as id) from {STATE} where id = 5",
         (0, 1, 0), "twice 99999"),
        (f"delete from {STATE}", (180, 0, 0), "lost 1"),
    ],
    ids=["lost", "wrong", "nulled", "buried", "risen", "doubled", "invented", "all lost"],
)  # fmt: skip
def test_what_was_done_by_hand_to_the_state_is_found_by_its_key(
    streaming: Mine, statement: str, told: tuple[int, int, int], example: str
) -> None:
    tamper(streaming.home, statement)
    streaming.run("update app.truck set note = 'late' where id in (20, 21)")
    difference = found(streaming, is_full=True)
    assert counts(difference)[:3] == told
    assert example in difference.examples
    assert not difference.is_equal


def test_a_change_that_the_platform_lost_is_found(streaming: Mine) -> None:
    """It is in neither log nor state, as if it had never come."""
    streaming.run("update app.truck set note = 'lost' where id = 8")
    log = f"{STATE}_changes"
    streaming.drain()
    tamper(
        streaming.home,
        f"delete from {log} where note = 'lost'",
        f"update {STATE} set note = 'note 8' where id = 8",
    )
    told = found(streaming)
    assert (counts(told), list(told.examples)) == ((0, 0, 1, 0), ["wrong 8"])


def test_what_is_published_while_it_looks_is_behind(
    streaming: Mine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run publishes, and moves the slot on, between the position and the rows."""
    ingest, read = streaming.home.ingest, streaming.home.warehouse.position
    moved: list[bool] = []

    def meanwhile(name: Any) -> str | None:
        position = read(name)
        if not moved:
            moved.append(True)
            streaming.run("update app.truck set note = 'meanwhile' where id = 1")
            streaming.elsewhere().drain()
        return position

    route = streaming.route(TRUCK)
    streaming.run("update app.truck set note = 'after that' where id = 2")
    monkeypatch.setattr(ingest.warehouse, "position", meanwhile)
    told = reconcile_changes(route, ingest)
    assert told.is_equal
    tamper(streaming.home, f"update {STATE} set note = 'by hand' where id = 9")
    assert reconcile_changes(route, ingest).wrong == 1


@contextmanager
def writing(mine: Mine, seed: int) -> Iterator[Writers]:
    writers = Writers(mine.url, seed)
    threads = [threading.Thread(target=writers.body, args=(seed + n,)) for n in range(3)]
    for thread in threads:
        thread.start()
    try:
        yield writers
    finally:
        writers.stopped.set()
        for thread in threads:
            thread.join()


@contextmanager
def reading(mine: Mine, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Another run publishes again and again; in one process, connections take turns."""
    open_one, turn, stopped = DuckDBWarehouse._open, threading.RLock(), threading.Event()
    failures: list[BaseException] = []

    @contextmanager
    def in_turn(self: DuckDBWarehouse) -> Iterator[Any]:
        with turn, open_one(self) as connection:
            yield connection

    def read_on() -> None:
        reader = mine.elsewhere()
        while not stopped.is_set():
            try:
                reader.drain()
            except BaseException as error:
                failures.append(error)
                return
            stopped.wait(0.2)

    monkeypatch.setattr(DuckDBWarehouse, "_open", in_turn)
    thread = threading.Thread(target=read_on)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()
    assert failures == []


@pytest.mark.parametrize("setting", ["on", "off"])
def test_under_writers_and_a_platform_that_reads_nothing_is_ever_wrong(
    mine: Mine, monkeypatch: pytest.MonkeyPatch, setting: str
) -> None:
    ((name,),) = mine.ask("select current_database()")
    mine.run(f"alter database {name} set synchronous_commit = {setting}")
    mine.drain()
    looks: list[Difference] = []
    position = mine.position(TRUCK).lsn
    with writing(mine, 7) as writers, reading(mine, monkeypatch):
        while len(looks) < 10 or writers.commits < 20:
            one = mine.tables[len(looks) % 2]
            looks.append(reconcile_changes(mine.route(one), mine.home.ingest))
    assert [(one.table, counts(one)[:3]) for one in looks if not one.is_equal] == []
    assert mine.position(TRUCK).lsn > position
    mine.fresh().drain()
    assert [counts(found(mine, one)) for one in mine.tables] == [(0, 0, 0, 0)] * 2


def test_ranges_take_turns_and_a_round_finds_every_difference(streaming: Mine) -> None:
    tamper(
        streaming.home,
        f"update {STATE} set note = 'by hand' where id in (1, 100, 1195)",
        f"delete from {STATE} where id = 9",
    )
    streaming.run("update app.truck set note = 'late' where id = 30")
    seen: list[str] = []
    rounds = 0
    while True:
        told = found(streaming, turn=rounds, rows=20)
        some, _, every = told.ranges.partition(" of ")
        assert (int(some), told.behind) in {(1, 0), (1, 1)}
        assert told.source_rows < 150
        seen += told.examples
        rounds += 1
        if rounds == int(every):
            break
    assert rounds > 3
    assert sorted(seen) == ["lost 9", "wrong 1", "wrong 100", "wrong 1195"]


ODD = replace(
    table("odd", ("site", "at")),
    columns=(
        Column("site", pa.string(), True),
        Column("at", pa.timestamp("us", "UTC"), True),
        Column("share", pa.decimal128(12, 3)),
        Column("ratio", pa.float64()),
        Column("blob", pa.binary()),
        Column("about", pa.string()),
        Column("day", pa.date32()),
        Column("big", pa.string()),
    ),
)


def test_keys_of_several_columns_and_values_of_every_kind_are_compared_exactly(mine: Mine) -> None:
    mine.tables = (ODD,)
    mine.run(
        "create table app.odd (site text, at timestamptz, share numeric(12,3), ratio float8, "
        "blob bytea, about jsonb, day date, big text, primary key (site, at))",
        "alter publication app_changes add table app.odd",
        "insert into app.odd select chr(65 + g % 3) || case when g % 2 = 0 then 'é' else 'z' end, "
        "timestamptz '2026-01-01' + g * interval '1.000001 s', g / 7.0, sqrt(g), "
        "decode(lpad(to_hex(g), 8, '0'), 'hex'), jsonb_build_object('b', g, 'a', null), "
        "date '2026-01-01' + g, case when g % 5 > 0 then repeat(g || 'x', 3) end "
        "from generate_series(1, 300) g",
    )
    mine.fresh().drain()
    # Long enough to be kept apart by the server, and not sent when others change.
    mine.run("update app.odd set big = (select string_agg(md5(site || g), '') "
             "from generate_series(1, 200) g)")  # fmt: skip
    mine.run("update app.odd set ratio = ratio + 1 where share > 5")
    mine.drain()
    assert "big" in {row["_missing"] for row in mine.log(replace(ODD, key=("site", "at")))}
    assert counts(found(mine, ODD)) == (0, 0, 0, 0)
    tamper(mine.home, "update raw_app.odd set big = big || '.' where share = 1.000")
    wrong = [found(mine, ODD, turn=turn, rows=30).wrong for turn in range(30)]
    assert sum(wrong) >= 1
    assert found(mine, ODD, is_full=True).wrong == 1


def test_rows_without_a_key_are_compared_by_all_that_is_in_them(mine: Mine) -> None:
    bare = table("bare", ())
    mine.tables = (bare,)
    mine.run(
        "create table app.bare (id bigint, note text)",
        "alter table app.bare replica identity full",
        "alter publication app_changes add table app.bare",
        "insert into app.bare values (1, 'a'), (2, null), (null, 'c')",
    )
    mine.fresh().drain()
    mine.run("update app.bare set note = 'b' where id = 2", "insert into app.bare values (4, 'd')")
    mine.drain()
    assert counts(found(mine, bare)) == (0, 0, 0, 0)
    mine.run("insert into app.bare values (5, 'e')", "delete from app.bare where id = 1")
    assert counts(found(mine, bare)) == (0, 0, 0, 2)
    mine.drain()
    tamper(mine.home, "update raw_app.bare set note = 'by hand' where id = 4")
    assert counts(found(mine, bare)) == (0, 0, 1, 0)
    tamper(mine.home, "delete from raw_app.bare where id = 4")
    assert counts(found(mine, bare)) == (1, 0, 0, 0)


def test_equal_rows_without_a_key_stand_once_which_is_told(mine: Mine) -> None:
    bare = table("bare", ())
    mine.tables = (bare,)
    mine.run(
        "create table app.bare (id bigint, note text)",
        "alter table app.bare replica identity full",
        "alter publication app_changes add table app.bare",
        "insert into app.bare values (1, 'a'), (1, 'a')",
    )
    mine.fresh().drain()
    assert counts(found(mine, bare)) == (1, 0, 0, 0)


def test_rows_that_are_in_quarantine_are_no_difference(streaming: Mine) -> None:
    strict = replace(TRUCK, columns=(TRUCK.columns[0], replace(TRUCK.columns[1], max_length=20)))
    streaming.tables = (strict, streaming.tables[1])
    streaming.fresh()
    streaming.run(
        "insert into app.truck values (7000, repeat('long', 10))",
        "update app.truck set note = repeat('long', 10) where id = 1",
    )
    streaming.drain()
    told = found(streaming, strict)
    assert (counts(told), told.quarantined) == ((0, 0, 0, 0), 2)


def test_keys_that_are_personal_are_counted_and_not_shown(streaming: Mine) -> None:
    personal = replace(
        TRUCK, columns=(replace(TRUCK.columns[0], classification="pii.direct"), TRUCK.columns[1])
    )
    tamper(streaming.home, f"delete from {STATE} where id = 5")
    told = found(streaming, personal)
    assert (told.lost, told.examples) == (1, ())


@pytest.fixture
def trucks(postgres_url: str, platform_home: PlatformHome) -> Trucks:
    """A captured table of SQL Server's stand-in, and all of its changes in the platform."""
    made = Trucks.at(postgres_url, platform_home)
    made.server.enable(DBO_TRUCK, "dbo_truck")
    for number in range(1, 60):
        made.put(number, f"n{number}")
    made.server.capture()
    made.load()
    made.put(1, "changed")
    made.remove(2)
    made.move(3, 300)
    made.catch_up()
    return made


@contextmanager
def captured(trucks: Trucks) -> Iterator[None]:
    """The capture job is at work."""
    stopped = threading.Event()

    def work() -> None:
        while not stopped.is_set():
            trucks.server.tick()
            time.sleep(0.1)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()


def told_of(trucks: Trucks, **how: Any) -> Difference:
    assert is_captured(trucks.route)
    return reconcile_changes(trucks.route, trucks.home.ingest, **how)


def test_a_table_of_sql_server_is_compared_at_what_was_captured(trucks: Trucks) -> None:
    told = told_of(trucks)
    assert (counts(told), told.source_rows) == ((0, 0, 0, 0), 58)
    assert told.position.startswith("0x")
    with captured(trucks):
        trucks.put(1, "later")
        trucks.remove(5)
        trucks.put(400, "new")
        assert counts(told_of(trucks)) == (0, 0, 0, 3)
        tamper(trucks.home, "update raw_erp.truck set load_t = 9 where id = 7",
               "delete from raw_erp.truck where id = 8")  # fmt: skip
        told = told_of(trucks)
    assert counts(told) == (1, 0, 1, 3)
    assert list(told.examples) == ["wrong 7", "lost 8"]


def test_ranges_of_a_table_of_sql_server_take_turns(trucks: Trucks) -> None:
    tamper(trucks.home, "update raw_erp.truck set load_t = 9 where id in (7, 40, 300)")
    with captured(trucks):
        first = told_of(trucks, rows=10)
        every = int(first.ranges.partition(" of ")[2])
        looks = [first, *(told_of(trucks, turn=turn, rows=10) for turn in range(1, every))]
    assert every > 2
    assert sorted(key for one in looks for key in one.examples) == [
        "wrong 300", "wrong 40", "wrong 7",
    ]  # fmt: skip
    assert sum(one.source_rows for one in looks) == 58


def test_a_capture_job_that_stands_still_leaves_differences_behind(
    trucks: Trucks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconcile_sqlserver, "CAPTURE_SECONDS", 0.2)
    trucks.put(1, "not captured yet")
    assert counts(told_of(trucks)) == (0, 0, 0, 1)
