"""What others lost, doubled or stopped at when they read SQL Server's changes, one test each."""

from collections.abc import Iterator
from typing import Any

import pytest
from platform_tests.conftest import PlatformHome
from platform_tests.sources.sqlserver_standin import TRUCK, Trucks, folded, move, put, remove

from acme.simulator.sqlserver import StandInSession, connect
from malacate.errors import SourceGap, SourceUnreachable
from malacate.sources.cdc import sqlserver_sql
from malacate.sources.cdc.sqlserver_client import Refused, Row
from malacate.sources.protocol import Known


@pytest.fixture
def trucks(postgres_url: str, platform_home: PlatformHome) -> Trucks:
    """A captured table with one row, in the platform as well."""
    made = Trucks.at(postgres_url, platform_home)
    made.server.enable(TRUCK, "dbo_truck")
    made.put(1, "a")
    made.server.capture()
    made.load()
    return made


def require_equal(trucks: Trucks) -> None:
    """Log, fold and source tell the same."""
    trucks.catch_up()
    assert trucks.state() == trucks.at_source() == folded(trucks.log())


class Faltering(StandInSession):
    """Loses its connection after so many rows of changes."""

    left = 0

    def rows(self, statement: str, *values: Any) -> Iterator[list[Row]]:
        for some in super().rows(statement, *values):
            for row in some:
                if "all update old" in statement:
                    if not Faltering.left:
                        raise Refused("the connection was closed")
                    Faltering.left -= 1
                yield [row]


def test_the_first_load_is_a_snapshot_and_then_every_change_comes(trucks: Trucks) -> None:
    trucks.put(2, "b")
    trucks.put(1, "c")
    trucks.remove(2)
    require_equal(trucks)
    assert trucks.operations() == ["R", "I", "U", "D"]
    (first, *_) = trucks.log()
    assert (first["_seq"], first["_is_snapshot"], first["_file"]) == (-1, True, "dbo_truck")


def test_error_313_is_told_as_a_range_and_not_as_missing_arguments(trucks: Trucks) -> None:
    asked = sqlserver_sql.changes("dbo_truck", ["id"])
    newest = trucks.server.newest()
    beyond = sqlserver_sql.lsn(sqlserver_sql.number(newest) + 1)
    with (
        pytest.raises(SourceGap, match="range") as told,
        trucks.source.catalog() as catalog,
    ):
        list(catalog.session.rows(asked, newest, beyond))
    assert told.value.reason == "out_of_range"


def test_a_gap_stops_the_table_and_never_jumps_to_what_is_left(trucks: Trucks) -> None:
    trucks.put(2, "lost")
    trucks.remove(1)
    trucks.put(3, "kept")
    trucks.server.capture()
    trucks.server.cleanup("dbo_truck")
    position, before = trucks.position, trucks.log()
    for _ in range(2):
        with pytest.raises(SourceGap, match=f"accept_gap_at: '{position}'") as told:
            trucks.load()
        assert told.value.reason == "gap"
    assert (trucks.position, trucks.log()) == (position, before)


def test_an_accepted_gap_is_closed_by_a_snapshot_that_also_deletes(trucks: Trucks) -> None:
    trucks.put(2, "b")
    trucks.catch_up()
    trucks.remove(1)
    trucks.put(3, "c")
    trucks.server.capture()
    trucks.server.cleanup("dbo_truck")
    trucks.settings["accept_gap_at"] = trucks.position
    trucks.load()
    assert trucks.operations() == ["R", "I", "T", "R", "R"]
    trucks.put(4, "d")
    require_equal(trucks)
    trucks.server.cleanup("dbo_truck")
    trucks.put(4, "e")
    require_equal(trucks)


def test_changes_that_are_cleaned_up_while_a_window_waits_are_a_gap(trucks: Trucks) -> None:
    trucks.put(2, "b")
    trucks.server.capture()
    position = trucks.position
    found = trucks.source.discover(Known(position))
    trucks.home.ledger.note(found)
    trucks.server.tick()
    trucks.server.cleanup("dbo_truck")
    with pytest.raises(SourceGap):
        trucks.load()
    trucks.settings["accept_gap_at"] = position
    trucks.load()
    require_equal(trucks)


def test_a_quiet_table_that_is_cleaned_up_has_no_gap(trucks: Trucks) -> None:
    trucks.server.tick()
    trucks.load()
    trucks.server.cleanup("dbo_truck")
    trucks.put(1, "b")
    require_equal(trucks)
    assert trucks.operations() == ["R", "U"]


def test_nothing_new_makes_no_batch(trucks: Trucks) -> None:
    trucks.catch_up()
    assert trucks.load().batches == []


def test_changes_of_one_commit_keep_their_order(trucks: Trucks) -> None:
    trucks.server.run(*(put(1, name) for name in ("b", "c", "d")), remove(1), put(1, "last"))
    require_equal(trucks)
    positions = {(row["_position_hi"], row["_position_lo"]) for row in trucks.log()[1:]}
    assert (len(positions), trucks.state()[1]["name"]) == (1, "last")


def test_one_instance_hides_no_gap_of_another(trucks: Trucks) -> None:
    trucks.server.create_table("dbo.crew", {"id": "bigint"}, ("id",))
    trucks.server.enable("dbo.crew", "dbo_crew")
    trucks.put(2, "b")
    trucks.server.capture()
    trucks.server.cleanup("dbo_truck")
    (low,) = trucks.server.ask("select min(start_lsn) from cdc.change_tables")
    assert int.from_bytes(low[0], "big") <= int(trucks.position or 0) + (1 << 32)
    with pytest.raises(SourceGap):
        trucks.load()


def test_a_newer_instance_hides_no_gap_of_the_older(trucks: Trucks) -> None:
    trucks.put(2, "b")
    trucks.server.capture()
    trucks.server.enable(TRUCK, "dbo_truck_2")
    trucks.server.tick()
    trucks.server.disable("dbo_truck")
    with pytest.raises(SourceGap, match="from LSN 0x"):
        trucks.load()


def test_an_instance_that_was_made_anew_is_a_gap(trucks: Trucks) -> None:
    trucks.server.disable("dbo_truck")
    with pytest.raises(SourceGap, match="sp_cdc_enable_table"):
        trucks.load()
    trucks.put(2, "uncaptured")
    trucks.server.enable(TRUCK, "dbo_truck")
    trucks.server.tick()
    with pytest.raises(SourceGap):
        trucks.load()
    trucks.settings["accept_gap_at"] = trucks.position
    require_equal(trucks)


@pytest.mark.parametrize("splits", [True, False])
def test_a_key_that_moves_inside_a_transaction_moves_here(
    postgres_url: str, platform_home: PlatformHome, splits: bool
) -> None:
    trucks = Trucks.at(postgres_url, platform_home, splits)
    trucks.server.enable(TRUCK, "dbo_truck")
    trucks.put(1, "a")
    trucks.catch_up()
    trucks.server.run(put(1, "b"), move(1, 2), put(2, "c"), put(1, "another"), move(2, 3))
    require_equal(trucks)
    halves = [row for row in trucks.log() if row["_is_key_change"]]
    assert [row["_op"] for row in halves] == ([] if splits else ["D", "I"] * 2)
    for old, new in zip(halves[::2], halves[1::2], strict=True):
        assert new["_seq"] == old["_seq"] + 1


def test_an_instance_that_begins_beyond_the_window_is_not_asked_yet(trucks: Trucks) -> None:
    trucks.put(2, "b")
    trucks.server.enable(TRUCK, "dbo_truck_2")
    trucks.put(3, "c")
    trucks.server.capture(transactions=1)
    trucks.load()
    assert [row["_file"] for row in trucks.log()] == ["dbo_truck"] * 2
    require_equal(trucks)
    assert [row["_file"] for row in trucks.log()] == ["dbo_truck"] * 2 + ["dbo_truck_2"]


def test_a_new_instance_of_a_table_that_was_never_read_is_no_gap(
    postgres_url: str, platform_home: PlatformHome
) -> None:
    trucks = Trucks.at(postgres_url, platform_home)
    trucks.server.tick()
    trucks.put(1, "before")
    trucks.server.enable(TRUCK, "dbo_truck")
    trucks.load()
    assert trucks.load().batches == []
    trucks.put(2, "after")
    require_equal(trucks)
    assert trucks.operations() == ["R", "I"]


def test_what_is_committed_and_not_captured_yet_is_not_missed(trucks: Trucks) -> None:
    trucks.put(2, "b")
    trucks.server.capture()
    position = trucks.position
    trucks.put(3, "not captured")
    trucks.load()
    assert set(trucks.state()) == {1, 2}
    assert position != trucks.position
    require_equal(trucks)


def test_a_snapshot_that_sees_more_than_was_captured_is_put_right_by_the_log(
    postgres_url: str, platform_home: PlatformHome
) -> None:
    trucks = Trucks.at(postgres_url, platform_home)
    trucks.server.enable(TRUCK, "dbo_truck")
    trucks.put(1, "captured")
    trucks.server.capture()
    trucks.put(2, "not captured")
    trucks.move(1, 5)
    (found,) = trucks.source.discover(Known())
    trucks.home.ledger.note([found])
    trucks.put(3, "between")
    trucks.remove(2)
    trucks.load()
    assert set(trucks.state()) == {3, 5}
    require_equal(trucks)


def test_a_restart_in_the_middle_of_a_transaction_reads_all_of_it_again(trucks: Trucks) -> None:
    trucks.server.run(*(put(number, "x") for number in range(2, 9)), move(3, 30), remove(4))
    trucks.server.capture()
    trucks.settings["client"] = Faltering
    Faltering.left = 4
    with pytest.raises(SourceUnreachable, match="connection was closed"):
        trucks.load()
    assert trucks.operations() == ["R"]
    trucks.settings["client"] = connect
    require_equal(trucks)
    assert len({row["_event_id"] for row in trucks.log()}) == len(trucks.log()) == 11


def test_bounded_windows_never_split_a_commit(trucks: Trucks) -> None:
    trucks.settings["most"] = 2
    for commit in range(5):
        trucks.server.run(*(put(10 * commit + row, "x") for row in range(3)))
    trucks.server.capture()
    loads = [trucks.load().total("rows_read") for _ in range(4)]
    assert loads == [6, 6, 3, 0]
    require_equal(trucks)


def test_commits_of_one_block_of_the_log_are_neither_split_nor_lost(trucks: Trucks) -> None:
    trucks.settings["most"] = 2
    trucks.put(2, "its own block")
    trucks.server.together(True)
    for number in range(3, 8):
        trucks.put(number, "together")
    trucks.server.together(False)
    trucks.put(8, "its own block")
    trucks.server.capture(transactions=4)
    trucks.load()
    trucks.server.capture()
    require_equal(trucks)
    ordinals = [landing.ordinal for landing in trucks.home.lake.landings()]
    assert len(set(ordinals)) == len(ordinals)


def test_two_workers_that_found_windows_from_one_place_publish_no_change_twice(
    trucks: Trucks,
) -> None:
    trucks.put(2, "b")
    trucks.server.capture()
    early = trucks.source.discover(Known(trucks.position))
    trucks.put(3, "c")
    trucks.server.capture()
    late = trucks.source.discover(Known(trucks.position))
    trucks.home.ledger.note([*early, *late])
    trucks.load()
    assert [row["id"] for row in trucks.log()] == [1, 2, 3]
    require_equal(trucks)


def test_a_lost_warehouse_comes_back_from_the_lake_with_its_position(trucks: Trucks) -> None:
    trucks.put(2, "b")
    trucks.catch_up()
    position, log = trucks.position, trucks.log()
    (trucks.home.root / "warehouse.duckdb").unlink()
    trucks.home = PlatformHome.at(trucks.home.root)
    trucks.home.ingest.rebuild(trucks.route)
    assert (trucks.position, trucks.log()) == (position, log)


def test_a_missing_right_is_named_with_its_statements(trucks: Trucks) -> None:
    trucks.server.run("update cdc.change_tables set role_name = 'cdc_reader'")
    trucks.server.deny("dbo_truck")
    with pytest.raises(SourceUnreachable) as told:
        trucks.load()
    assert told.value.reason == "denied"
    for words in (
        "GRANT SELECT ON [dbo].[truck] TO",
        "ALTER ROLE [cdc_reader] ADD MEMBER",
        "GRANT SELECT ON SCHEMA::cdc TO",
    ):
        assert words in told.value.advice


def test_what_is_not_captured_yet_is_said(postgres_url: str, platform_home: PlatformHome) -> None:
    trucks = Trucks.at(postgres_url, platform_home)
    with pytest.raises(SourceUnreachable, match="SQL Server Agent"):
        trucks.load()
    trucks.server.tick()
    with pytest.raises(SourceUnreachable, match=r"EXEC sys\.sp_cdc_enable_table"):
        trucks.load()
    trucks.server.enable(TRUCK, "dbo_truck", has_begun=False)
    with pytest.raises(SourceUnreachable, match="no changes of the table are captured"):
        trucks.load()
    trucks.relation = "dbo.lorry"
    with pytest.raises(SourceUnreachable, match="not visible"):
        trucks.load()


def test_a_server_that_knows_less_than_was_read_is_not_believed(trucks: Trucks) -> None:
    trucks.server.tick()
    trucks.load()
    trucks.server.run("delete from cdc.lsn_time_mapping where tran_id = '\\x00'")
    with pytest.raises(SourceGap, match="restored") as told:
        trucks.load()
    assert told.value.reason == "log_behind_position"


def test_how_far_the_capture_job_has_come_is_told(trucks: Trucks) -> None:
    captured = trucks.source.captured()
    assert sqlserver_sql.lsn(captured.newest) == trucks.server.newest()
    assert 0 <= captured.age_seconds < 60
    trucks.server.run("update cdc.lsn_time_mapping set tran_end_time = tran_end_time - "
                      "interval '1 hour'")  # fmt: skip
    assert trucks.source.captured().age_seconds > 3599
