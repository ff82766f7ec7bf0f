"""Kept bytes sent through again: rows once, a second time nothing, whatever is lost."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from platform_tests.ingest.drops import TABLE, Mine

from malacate.contracts.table import Column
from malacate.errors import MalacateError
from malacate.ledger.tables import BATCH
from malacate.replay import replay

WIDER = replace(
    TABLE,
    columns=(TABLE.columns[0], Column("rqd", pa.float64(), minimum=0, maximum=200)),
    version="1.1.0",
)


@pytest.fixture
def mine(tmp_path: Path) -> Mine:
    """A file with a good row, one above the contract's maximum, and one that is torn."""
    made = Mine(tmp_path)
    made.drops.put("a", "1 50\n2 140\nx\n")
    made.run()
    return made


def batch(mine: Mine, where: Any = BATCH.c.version == "1") -> dict[str, Any]:
    (only,) = mine.ingest.ledger.batches(where)
    return only


def send(mine: Mine, table: Any = WIDER, **policies: Any) -> str:
    ingest, route = mine.ingest, mine.route(table, **policies)
    batch_id = replay(ingest, route, batch(mine))
    ingest.run(route)
    return batch_id


def rejected(mine: Mine) -> list[tuple[int, str]]:
    sql = "select position, reason from malacate.quarantine order by all"
    rows = mine.ingest.warehouse.query(sql).to_pylist()
    return [(row["position"], row["reason"]) for row in rows]


def test_a_file_with_rejected_rows_keeps_its_bytes(mine: Mine) -> None:
    assert (mine.zone("quarantine"), mine.zone("input")) == (["1 50\n2 140\nx\n"], [])


def test_rows_that_pass_now_are_published_and_the_others_stay_aside(mine: Mine) -> None:
    assert rejected(mine) == [(1, "above_maximum"), (2, "torn")]
    assert send(mine)
    assert (mine.ids(), rejected(mine)) == ([1, 2], [(2, "torn")])
    assert mine.zone("input") == []


def test_a_second_time_changes_nothing(mine: Mine) -> None:
    send(mine)
    before = mine.ingest.ledger.batches(), mine.ids(), rejected(mine)
    assert send(mine) == ""
    assert (mine.ingest.ledger.batches(), mine.ids(), rejected(mine))[1:] == before[1:]
    assert len(mine.ingest.ledger.batches()) == 2


def test_a_contract_that_is_taken_back_is_a_reading_of_its_own(mine: Mine) -> None:
    send(mine)
    assert send(mine, TABLE)
    assert (mine.ids(), len(rejected(mine))) == ([1], 2)
    assert send(mine)
    assert (mine.ids(), rejected(mine)) == ([1, 2], [(2, "torn")])


def test_the_drop_is_not_needed(mine: Mine) -> None:
    (mine.root / "drops" / "a@1").unlink()
    send(mine)
    assert mine.ids() == [1, 2]


def test_without_kept_bytes_the_drop_itself_is_read(mine: Mine) -> None:
    for path in (mine.root / "lake/quarantine").iterdir():
        if path.is_file():
            path.unlink()
    send(mine)
    assert mine.ids() == [1, 2]


def test_bytes_that_are_nowhere_are_told_and_nothing_changes(mine: Mine) -> None:
    for path in [*(mine.root / "lake/quarantine").iterdir(), mine.root / "drops/a@1"]:
        if path.is_file():
            path.unlink()
    with pytest.raises(MalacateError, match="drop it") as caught:
        send(mine)
    assert caught.value.reason == "bytes_gone"
    assert (mine.ids(), len(mine.ingest.ledger.batches())) == ([1], 1)


@pytest.mark.parametrize("lost", ["warehouse", "ledger", "both"])
def test_what_was_sent_through_again_stands_after_a_loss(mine: Mine, lost: str) -> None:
    send(mine)
    if lost != "ledger":
        (mine.root / "warehouse.duckdb").unlink()
    if lost != "warehouse":
        for file in mine.root.glob("ledger.sqlite*"):
            file.unlink()
        mine.ingest.rebuild(mine.route(WIDER))
    mine.ingest.run(mine.route(WIDER))
    assert (mine.ids(), rejected(mine)) == ([1, 2], [(2, "torn")])


def test_a_newer_version_replaces_both_readings(mine: Mine) -> None:
    send(mine)
    mine.drops.put("a", "7 7\n", 2)
    mine.ingest.run(mine.route(WIDER))
    assert (mine.ids(), rejected(mine)) == ([7], [])


def test_a_version_that_was_replaced_meanwhile_is_not_brought_back(mine: Mine) -> None:
    ingest, route = mine.ingest, mine.route(WIDER)
    replay(ingest, route, batch(mine))
    mine.drops.put("a", "7 7\n", 2)
    ingest.run(route)
    assert mine.ids() == [7]


def test_under_reject_and_skip_a_reading_is_no_second_version(tmp_path: Path) -> None:
    mine = Mine(tmp_path)
    mine.drops.put("a", "1 50\n2 140\n")
    mine.run(overwrite="reject", duplicates="skip")
    send(mine, overwrite="reject", duplicates="skip")
    assert (mine.ids(), rejected(mine)) == ([1, 2], [])


def test_of_an_object_with_several_versions_under_append_it_is_refused(mine: Mine) -> None:
    mine.drops.put("a", "7 7\n", 2)
    mine.run(overwrite="append")
    with pytest.raises(MalacateError) as caught:
        send(mine, overwrite="append")
    assert (caught.value.reason, mine.ids()) == ("not_replayable", [1, 7])


def test_a_whole_file_is_read_as_what_it_is(tmp_path: Path) -> None:
    mine = Mine(tmp_path)
    mine.drops.put("a", "!")
    mine.run()
    one = batch(mine)
    assert replay(mine.ingest, mine.route(), one) == one["batch_id"]
    assert batch(mine)["state"] == "seen"
