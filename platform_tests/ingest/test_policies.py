"""Overwritten, repeated, removed, poisonous: what is declared holds, whoever is killed."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from platform_tests.ingest.drops import Mine

from malacate.ledger.tables import BATCH

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture
def mine(tmp_path: Path) -> Mine:
    return Mine(tmp_path)


def worker(mine: Mine, *policies: str, crash: str = "") -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "platform_tests.ingest.drops", str(mine.root), *policies]
    env = {**os.environ, "MALACATE_CRASH": crash}
    return subprocess.Popen(command, cwd=PROJECT, env=env, stderr=subprocess.PIPE, text=True)


def forget_the_ledger(mine: Mine) -> None:
    for file in mine.root.glob("ledger.sqlite*"):
        file.unlink()


def test_a_newer_version_takes_the_place_of_an_older_one(mine: Mine) -> None:
    mine.drops.put("a", "1 1\n")
    mine.run()
    mine.drops.put("a", "2 2\n", 2)
    mine.run()
    assert mine.ids() == [2]


def test_under_append_every_version_joins(mine: Mine) -> None:
    mine.drops.put("a", "1 1\n")
    mine.run(overwrite="append")
    mine.drops.put("a", "2 2\n", 2)
    mine.run(overwrite="append")
    assert mine.ids() == [1, 2]


def test_under_reject_a_newer_version_of_a_loaded_object_is_put_aside(mine: Mine) -> None:
    mine.drops.put("a", "1 1\n")
    mine.run(overwrite="reject")
    mine.drops.put("a", "2 2\n", 2)
    report = mine.run(overwrite="reject")
    (rejected,) = report.of("rejected")
    assert (rejected["reason"], rejected["rows_loaded"]) == ("overwritten", 0)
    assert "version 1 is loaded" in str(rejected["error"])
    assert (mine.ids(), mine.zone("quarantine"), mine.zone("input")) == ([1], ["2 2\n"], [])
    assert mine.drops.reads == ["a", "a"]
    mine.run(overwrite="reject")
    assert mine.drops.reads == ["a", "a"], "it was read again"


def test_under_reject_a_version_after_a_bad_one_is_loaded(mine: Mine) -> None:
    mine.drops.put("a", "!")
    mine.run(overwrite="reject")
    mine.drops.put("a", "2 2\n", 2)
    mine.run(overwrite="reject")
    assert mine.ids() == [2]


def test_under_reject_a_bad_newer_version_is_rejected_with_its_bytes(mine: Mine) -> None:
    mine.drops.put("a", "1 1\n")
    mine.run(overwrite="reject")
    mine.drops.put("a", "!", 2)
    mine.run(overwrite="reject")
    assert mine.states() == {"a@1": "loaded", "a@2": "rejected"}
    assert mine.zone("quarantine") == ["!"]


@pytest.mark.parametrize("lost", ["nothing", "ledger"])
def test_under_reject_an_older_version_that_comes_late_is_rejected_too(
    mine: Mine, lost: str
) -> None:
    mine.drops.put("a", "2 2\n", 2)
    mine.run(overwrite="reject")
    mine.drops.put("a", "1 1\n", 1)
    if lost == "ledger":
        forget_the_ledger(mine)
    mine.run(overwrite="reject")
    assert (mine.ids(), mine.states()["a@1"]) == ([2], "rejected")


def test_a_rejected_version_is_loaded_once_the_policy_changed(mine: Mine) -> None:
    mine.drops.put("a", "1 1\n")
    mine.run(overwrite="reject")
    mine.drops.put("a", "2 2\n", 2)
    (rejected,) = mine.run(overwrite="reject").of("rejected")
    mine.drops.put("a", "3 3\n", 3)
    assert mine.ingest.ledger.release([str(rejected["batch_id"])]) == 1
    mine.run()
    assert mine.ids() == [3]
    assert mine.states()["a@2"] in ("loaded", "superseded")


def test_the_same_bytes_under_another_name_are_loaded_and_told(mine: Mine) -> None:
    mine.drops.put("a", "1 1\n")
    mine.drops.put("b", "1 1\n")
    report = mine.run()
    (told,) = report.repeated
    first = next(b for b in report.batches if b["object"] == "a")
    assert (told["object"], told["state"], told["dup_of"]) == ("b", "loaded", first["batch_id"])
    assert mine.ids() == [1, 1]


def test_the_same_bytes_under_the_same_name_are_no_duplicate(mine: Mine) -> None:
    mine.drops.put("a", "1 1\n")
    mine.run(duplicates="skip")
    mine.drops.put("a", "1 1\n", 2)
    assert mine.run(duplicates="skip").repeated == []
    assert (mine.ids(), mine.states()["a@2"]) == ([1], "loaded")


def test_under_skip_the_same_bytes_are_loaded_once(mine: Mine) -> None:
    for name in "abc":
        mine.drops.put(name, "1 1\n2 2\n")
    report = mine.run(duplicates="skip")
    assert mine.ids() == [1, 2]
    assert {b["object"]: b["reason"] for b in report.of("skipped")} == {
        "b": "duplicate_content",
        "c": "duplicate_content",
    }
    assert len(report.repeated) == 2
    assert report.total("rows_loaded") == 2
    assert mine.zone("input") == []


def test_a_skipped_file_is_loaded_when_its_twins_rows_are_replaced(mine: Mine) -> None:
    mine.drops.put("a", "1 1\n")
    mine.drops.put("b", "1 1\n")
    mine.run(duplicates="skip")
    (mine.root / "drops" / "b@1").unlink()
    mine.drops.put("a", "2 2\n", 2)
    mine.run(duplicates="skip")
    assert mine.ids() == [1, 2]
    assert set(mine.states().values()) == {"loaded"}


def test_bytes_that_were_replaced_long_ago_are_no_precedent(mine: Mine) -> None:
    mine.drops.put("a", "1 1\n")
    mine.run(duplicates="skip")
    mine.drops.put("a", "2 2\n", 2)
    mine.run(duplicates="skip")
    mine.drops.put("c", "1 1\n")
    mine.run(duplicates="skip")
    assert mine.ids() == [1, 2]


def test_bytes_of_a_file_that_ended_badly_are_no_precedent(mine: Mine) -> None:
    mine.drops.put("a", "!")
    mine.run(duplicates="skip")
    mine.drops.put("b", "!")
    mine.run(duplicates="skip")
    assert set(mine.states().values()) == {"quarantined"}


def test_what_was_loaded_before_the_policy_came_is_known(mine: Mine) -> None:
    mine.drops.put("a", "1 1\n")
    mine.run()
    mine.drops.put("b", "1 1\n")
    mine.run(duplicates="skip")
    assert mine.states() == {"a@1": "loaded", "b@1": "skipped"}


@pytest.mark.parametrize("lost", ["ledger", "warehouse.duckdb"])
def test_under_skip_a_lost_database_doubles_nothing(mine: Mine, lost: str) -> None:
    mine.drops.put("b", "1 1\n")
    mine.run(duplicates="skip")
    mine.drops.put("a", "1 1\n")
    mine.run(duplicates="skip")
    if lost == "ledger":
        forget_the_ledger(mine)
    else:
        (mine.root / lost).unlink()
    mine.run(duplicates="skip")
    assert mine.ids() == [1]
    assert mine.states() == {"b@1": "loaded", "a@1": "skipped"}


def test_under_skip_a_rebuild_from_the_lake_doubles_nothing(mine: Mine) -> None:
    for name in "ab":
        mine.drops.put(name, "1 1\n")
    mine.run(duplicates="skip")
    forget_the_ledger(mine)
    (mine.root / "warehouse.duckdb").unlink()
    mine.ingest.rebuild(mine.route(duplicates="skip"))
    mine.run(duplicates="skip")
    assert mine.ids() == [1]
    assert sorted(mine.states().values()) == ["loaded", "skipped"]


POINTS = ("staged:1", "staged:2", "landed:1", "committed:6", "loaded:1", "file_quarantined:1")


@pytest.mark.parametrize("crash", POINTS)
def test_under_skip_a_kill_neither_loses_nor_doubles(mine: Mine, crash: str) -> None:
    for name in "ab":
        mine.drops.put(name, "1 1\n")
    killed = worker(mine, "duplicates=skip", crash=crash)
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    for _ in range(2):
        mine.run(duplicates="skip")
    assert mine.ids() == [1]
    assert sorted(mine.states().values()) == ["loaded", "skipped"]


@pytest.mark.parametrize(
    ("policy", "ended", "ids"),
    [
        ("duplicates=skip", ["loaded", *["skipped"] * 11], [1]),
        ("overwrite=append", ["loaded"] * 12, [1] * 12),
    ],
)
def test_of_equal_files_that_many_workers_have_exactly_one_is_loaded_under_skip(
    mine: Mine, policy: str, ended: list[str], ids: list[int]
) -> None:
    for number in range(12):
        mine.drops.put(f"f{number:02}", "1 1\n")
    workers = [worker(mine, policy) for _ in range(3)]
    told = [one.communicate()[1] for one in workers]
    assert [one.returncode for one in workers] == [0, 0, 0], told
    name, _, value = policy.partition("=")
    mine.run(**{name: value})
    assert mine.ids() == ids
    assert sorted(mine.states().values()) == ended


def test_while_another_worker_has_the_twin_a_file_waits(mine: Mine) -> None:
    mine.drops.put("a", "1 1\n")
    ingest = mine.ingest
    ingest.ledger.note(mine.drops.discover.__call__(None))  # type: ignore[arg-type]
    (held,) = ingest.ledger.claim("lab", "rock")
    sha256 = ingest.lake.stage(held.batch_id, (mine.root / "drops/a@1").open("rb"), bool).sha256
    assert ingest.ledger.hold(held, sha256) is None
    mine.drops.put("b", "1 1\n")
    report = mine.run(duplicates="skip")
    assert (mine.states(), len(report.deferred)) == ({"a@1": "processing", "b@1": "seen"}, 1)
    ingest.ledger.give_back(held, "interrupted")
    mine.run(duplicates="skip")
    assert mine.ids() == [1]


EVENTS = st.lists(
    st.tuples(st.sampled_from("ab"), st.sampled_from(["1 1\n", "2 2\n", "!"]), st.booleans()),
    min_size=1,
    max_size=6,
)


@settings(max_examples=25)
@given(events=EVENTS)
def test_under_skip_no_content_is_lost_or_stale_and_only_overwriting_doubles_one(
    tmp_path_factory: pytest.TempPathFactory, events: list[tuple[str, str, bool]]
) -> None:
    mine = Mine(tmp_path_factory.mktemp("mine"))
    standing: dict[str, str] = {}
    overwritten: set[str] = set()
    for version, (name, text, amnesia) in enumerate(events, 1):
        mine.drops.put(name, text, version)
        # A bad version replaces nothing: what was loaded of the object stays.
        if text != "!":
            overwritten |= {name} & standing.keys()
            standing[name] = text
        # What was skipped and then overwritten by a bad version is known to the ledger alone.
        if amnesia and not any(p.read_text() == "!" for p in mine.drops.folder.iterdir()):
            forget_the_ledger(mine)
        mine.run(duplicates="skip")
    ids = mine.ids()
    assert set(ids) == {int(text[0]) for text in standing.values()}
    assert len(ids) <= len(set(ids)) + len(overwritten)
    assert len(ids) <= len(standing)


def test_under_skip_an_overwritten_object_never_keeps_its_old_rows(mine: Mine) -> None:
    mine.drops.put("a", "2 2\n")
    mine.drops.put("b", "1 1\n")
    mine.run(duplicates="skip")
    mine.drops.put("a", "1 1\n", 3)
    report = mine.run(duplicates="skip")
    assert mine.ids() == [1, 1]
    assert [batch["object"] for batch in report.repeated] == ["a"], "it was not told"


def test_a_drop_is_removed_once_its_marker_was_read_back(mine: Mine) -> None:
    mine.drops.put("a", "1 1\n")
    mine.drops.put("bad", "!")
    mine.run(after_load="remove")
    assert [p.name for p in (mine.root / "drops").iterdir()] == ["bad@1"]
    assert mine.ids() == [1]
    (row,) = mine.ingest.ledger.batches(BATCH.c.object == "a")
    assert row["drop_removed"] is not None
    assert "drop_removed" in [s["step"] for s in mine.ingest.ledger.steps(row["batch_id"])]


def test_by_default_a_drop_stays(mine: Mine) -> None:
    mine.drops.put("a", "1 1\n")
    mine.run()
    assert len(list((mine.root / "drops").iterdir())) == 1


@pytest.mark.parametrize("crash", ["committed:6", "loaded:1", "cleaned:1"])
def test_a_drop_whose_worker_died_before_removing_it_is_removed_by_the_next(
    mine: Mine, crash: str
) -> None:
    mine.drops.put("a", "1 1\n")
    killed = worker(mine, "after_load=remove", crash=crash)
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    assert len(list((mine.root / "drops").iterdir())) == 1
    mine.run(after_load="remove")
    assert (list((mine.root / "drops").iterdir()), mine.ids()) == ([], [1])


def test_a_drop_that_was_written_again_is_not_removed_as_the_old_one(mine: Mine) -> None:
    mine.drops.put("a", "1 1\n")
    mine.run()
    mine.drops.put("a", "!", 2)
    mine.run(after_load="remove")
    assert [p.name for p in (mine.root / "drops").iterdir()] == ["a@2"]


def test_a_drop_that_may_not_be_removed_is_a_warning_and_tried_again(mine: Mine) -> None:
    mine.drops.put("a", "1 1\n")
    mine.drops.is_closed = True
    report = mine.run(after_load="remove")
    assert ([w.reason for w in report.warnings], mine.ids()) == (["forbidden"], [1])
    mine.drops.is_closed = False
    assert mine.run(after_load="remove").warnings == []
    assert list((mine.root / "drops").iterdir()) == []


def test_poison_goes_to_quarantine_with_its_bytes(mine: Mine) -> None:
    mine.drops.put("a", "1 1\n")
    mine.drops.put("b", "2 2\n")
    ingest = mine.ingest
    ingest.ledger.note([f for f in mine.drops.discover(None) if f.object == "a"])  # type: ignore[arg-type]
    for _ in range(3):
        dying = worker(mine, crash="parsed:1")
        dying.communicate()
        (mine.root / "drops" / "b@1").unlink(missing_ok=True)
        assert dying.returncode == -signal.SIGKILL
    for _ in range(2):
        mine.run()
    (row,) = ingest.ledger.batches(BATCH.c.object == "a")
    assert (row["state"], row["reason"]) == ("quarantined", "poison_crash")
    assert row["landing"] == f"quarantine/{row['batch_id']}"
    assert "1 1\n" in mine.zone("quarantine")
    assert "1 1\n" not in mine.zone("input")


def test_a_quarantined_file_whose_drop_is_gone_is_tried_again_from_its_kept_bytes(
    mine: Mine,
) -> None:
    mine.drops.put("a", "!")
    (bad,) = mine.run().batches
    (mine.root / "drops" / "a@1").unlink()
    mine.ingest.ledger.release([str(bad["batch_id"])])
    mine.run()
    assert (mine.states(), mine.zone("quarantine")) == ({"a@1": "quarantined"}, ["!"])


def test_every_step_of_a_file_is_told_in_order(mine: Mine) -> None:
    mine.drops.put("a", "1 1\n")
    mine.run(after_load="remove")
    (row,) = mine.ingest.ledger.batches()
    steps = [s["step"] for s in mine.ingest.ledger.steps(row["batch_id"])]
    order = ["seen", "claimed", "staged", "read", "landed", "published", "marked"]
    assert steps[:7] == order
    assert set(steps[7:]) == {"loaded", "input_removed", "drop_removed"}
    assert all(s["ok"] for s in mine.ingest.ledger.steps(row["batch_id"]))


def test_a_step_that_failed_is_told_as_not_correct(mine: Mine) -> None:
    mine.drops.put("a", "!")
    (bad,) = mine.run().batches
    last = mine.ingest.ledger.steps(str(bad["batch_id"]))[-1]
    assert (last["step"], last["ok"]) == ("quarantined", False)
    assert "torn" in last["detail"]


def test_many_files_cost_few_transactions(mine: Mine) -> None:
    for number in range(60):
        mine.drops.put(f"f{number:02}", f"{number} 1\n")
    ingest, begun = mine.ingest, []
    import sqlalchemy as sa

    sa.event.listen(ingest.ledger._engine, "commit", begun.append)
    ingest.run(mine.route())
    assert len(mine.ids()) == 60
    assert len(begun) < 40
