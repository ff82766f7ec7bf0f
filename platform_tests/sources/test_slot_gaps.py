"""Changes that are lost are told, never passed over; and a new snapshot makes up for them."""

import tempfile
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from platform_tests.conftest import PlatformHome
from platform_tests.sources.logical_postgres import logical_postgres, logical_url, restored
from platform_tests.sources.slots import DDL, TRUCK, Mine, table

from malacate.errors import SourceGap
from malacate.sources.cdc import slot_gaps
from malacate.sources.cdc.slot_position import Position, identity_of
from malacate.sources.cdc.slot_server import ServerState, SlotState
from malacate.sources.protocol import Known

__all__ = ["logical_postgres", "logical_url"]


@pytest.fixture
def mine(logical_url: str, platform_home: PlatformHome) -> Mine:
    made = Mine(logical_url, platform_home, f"g_{platform_home.root.parent.name[-30:]}")
    made.run(*DDL, "insert into app.truck values (1, 'a'), (2, 'b'), (3, 'c')")
    made.load()
    return made


def gap_of(mine: Mine) -> SourceGap:
    """What a run raises; nothing of the state has changed by then."""
    before = {one.name: mine.state(one) for one in mine.tables}
    with pytest.raises(SourceGap) as told:
        mine.fresh().load()
    assert {one.name: mine.state(one) for one in mine.tables} == before
    assert told.value.object.startswith(mine.name)
    assert told.value.advice
    return told.value


def must_heal(mine: Mine) -> None:
    """The documented way out: the slot anew, snapshots, and the rows that went are gone."""
    assert mine.fix()
    mine.drain()
    mine.must_be_equal()
    mine.run("insert into app.truck values (50, 'on it goes')")
    mine.fresh().drain()
    mine.must_be_equal()


def lose_changes(mine: Mine) -> None:
    mine.run(
        "delete from app.truck where id = 1",
        "update app.truck set note = 'B' where id = 2",
        "insert into app.truck values (4, 'd')",
    )


def drop_slot(mine: Mine) -> None:
    mine.run(f"select pg_drop_replication_slot('{mine.standing.name}')")


def test_a_slot_that_is_gone(mine: Mine) -> None:
    at = mine.position(TRUCK)
    drop_slot(mine)
    lose_changes(mine)
    told = gap_of(mine)
    assert (told.reason, told.source) == ("slot_missing", "raw_app.truck")
    assert int(told.position.partition("/")[2], 16) == at.low
    must_heal(mine)
    assert (1, "a") not in mine.state(TRUCK)
    assert mine.position(TRUCK).generation == 1
    assert [row["_op"] for row in mine.log(TRUCK)[3:5]] == ["T", "R"]


def test_a_slot_that_is_gone_while_a_table_is_new(mine: Mine) -> None:
    """The new table must not create a slot in place of the one that was lost."""
    drop_slot(mine)
    mine.run("alter publication app_changes add table app.other")
    mine.tables = (table("other"), *mine.tables)
    with pytest.raises(SourceGap, match="gone"):
        mine.fresh().slot.require(mine.positions())


def test_a_slot_that_somebody_else_read_from(mine: Mine) -> None:
    lose_changes(mine)
    mine.run(
        f"select * from pg_logical_slot_get_binary_changes('{mine.name}', null, null, "
        "'proto_version', '1', 'publication_names', 'app_changes')"
    )
    told = gap_of(mine)
    assert told.reason == "consumed"
    must_heal(mine)


def test_a_slot_that_was_created_anew_by_hand(mine: Mine) -> None:
    drop_slot(mine)
    lose_changes(mine)
    mine.run(f"select pg_create_logical_replication_slot('{mine.name}', 'pgoutput')")
    assert gap_of(mine).reason == "consumed"
    must_heal(mine)


def test_a_slot_whose_wal_the_server_removed(mine: Mine) -> None:
    lose_changes(mine)
    try:
        mine.run("alter system set max_slot_wal_keep_size = '1MB'", "select pg_reload_conf()")
        for _ in range(4):
            mine.run("create table if not exists app.noise (i int)",
                     "insert into app.noise values (1)", "select pg_switch_wal()")  # fmt: skip
        mine.run("checkpoint", "checkpoint")
        assert mine.standing.wal_status == "lost"
        told = gap_of(mine)
    finally:
        mine.run("alter system reset max_slot_wal_keep_size", "select pg_reload_conf()")
    assert told.reason == "wal_lost"
    assert "max_slot_wal_keep_size" in told.advice
    must_heal(mine)


def test_a_table_that_left_the_publication(mine: Mine) -> None:
    mine.run("alter publication app_changes drop table app.truck")
    lose_changes(mine)
    told = gap_of(mine)
    assert (told.reason, told.actual) == ("not_published", "app.truck")
    must_heal(mine)


def test_a_table_that_left_the_publication_and_came_back_unseen(mine: Mine) -> None:
    mine.run("alter publication app_changes drop table app.truck")
    lose_changes(mine)
    mine.run("alter publication app_changes add table app.truck")
    assert gap_of(mine).reason == "other_identity"
    must_heal(mine)


def test_a_table_that_was_dropped_and_made_again(mine: Mine) -> None:
    mine.run(
        "drop table app.truck",
        "create table app.truck (id bigint primary key, note text)",
        "insert into app.truck values (9, 'another life')",
        "alter publication app_changes add table app.truck",
    )
    assert gap_of(mine).reason == "other_identity"
    must_heal(mine)
    assert mine.state(TRUCK) == [(9, "another life"), (50, "on it goes")]


def test_a_publication_that_leaves_kinds_of_changes_out(mine: Mine) -> None:
    mine.run("alter publication app_changes set (publish = 'insert, update')")
    lose_changes(mine)
    assert gap_of(mine).reason == "publication_filters"


def test_a_publication_that_filters_rows(mine: Mine) -> None:
    mine.run("alter publication app_changes set table app.truck where (id < 100), app.shift")
    assert gap_of(mine).reason in ("publication_filters", "other_identity")


@pytest.mark.parametrize(
    "identity", ["alter table app.truck replica identity nothing",
                 "alter table app.truck drop constraint truck_pkey"]
)  # fmt: skip
def test_a_table_that_cannot_tell_its_rows_apart(mine: Mine, identity: str) -> None:
    mine.run(identity)
    told = gap_of(mine)
    assert told.reason == "no_replica_identity"
    assert "alter table app.truck replica identity full" in told.advice
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState):
        mine.run("update app.truck set note = 'fails' where id = 1")


def test_partitions_that_come_under_their_own_names(mine: Mine) -> None:
    mine.run(
        "create table app.haul (id bigint primary key, note text) partition by range (id)",
        "create table app.haul_1 partition of app.haul for values from (0) to (100)",
        "alter publication app_changes add table app.haul",
    )
    haul = table("haul")
    mine.tables = (haul,)
    with pytest.raises(SourceGap, match=r"lacks|partition"):
        mine.fresh().load()
    mine.run("alter publication app_changes set (publish_via_partition_root = true)")
    mine.run("insert into app.haul values (1, 'x')")
    mine.fresh().load(haul)
    mine.run("insert into app.haul values (2, 'y')")
    mine.load(haul)
    assert mine.state(haul) == [(1, "x"), (2, "y")]


def test_a_window_that_waits_is_told_when_its_slot_is_gone(mine: Mine) -> None:
    lose_changes(mine)
    found = mine.route(TRUCK).source.discover(Known(str(mine.position(TRUCK))))
    mine.home.ledger.note(found)
    drop_slot(mine)
    assert gap_of(mine).reason == "slot_missing"
    must_heal(mine)


SERVER = ServerState(7, "00000001", "app", 900, 900, 800)
SLOT = SlotState("s", "pgoutput", "app", False, None, "reserved", None, 500, 400)
NOW = identity_of(7, "00000001")


def test_a_server_whose_log_was_set_back() -> None:
    slot_gaps.require_follows(TRUCK, Position(0, NOW, 900), SLOT, SERVER, NOW)
    with pytest.raises(SourceGap, match="set back") as told:
        slot_gaps.require_follows(TRUCK, Position(0, NOW, 901), SLOT, SERVER, NOW)
    assert told.value.reason == "set_back"


def test_the_rules_about_a_slot_are_about_its_state() -> None:
    slot_gaps.require_slot(SLOT, SERVER)
    slot_gaps.require_slot(replace(SLOT, wal_status="unreserved"), SERVER)
    for foreign in (replace(SLOT, plugin="wal2json"), replace(SLOT, database="crm")):
        with pytest.raises(SourceGap, match="not one of ours"):
            slot_gaps.require_slot(foreign, SERVER)
    with pytest.raises(SourceGap, match="removed WAL"):
        slot_gaps.require_slot(replace(SLOT, wal_status="lost"), SERVER)


def test_a_server_that_was_restored_is_on_another_timeline(platform_home: PlatformHome) -> None:
    home = Path(tempfile.mkdtemp(prefix="mlc"))
    life = restored(home)
    try:
        mine = Mine(next(life), platform_home, "restored")
        mine.run(*DDL, "insert into app.truck values (1, 'a')")
        mine.load()
        mine.url = next(life)
        assert mine.server.state().timeline == "00000002"
        lose_changes(mine)
        told = gap_of(mine)
        assert told.reason == "other_identity"
        assert "timeline 2" in told.actual
        must_heal(mine)
    finally:
        life.close()
