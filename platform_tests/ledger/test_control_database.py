"""What the control database answers: every step, who holds what, and what is stuck; migrations."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa

from malacate.errors import Fenced
from malacate.ledger import control
from malacate.ledger.ledger import Ledger, Outcome
from malacate.ledger.tables import BATCH, METADATA
from malacate.ledger.work import Found, Step

LOADED = Outcome("loaded", 10, 9, 1, "raw_lab/rock", sha256="f" * 64)
NEW = ("modified_ns", "waiting_since", "sha256", "dup_of", "drop_removed")


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/ledger.sqlite"
    plain: str = request.getfixturevalue("postgres_url")
    return plain.replace("postgresql://", "postgresql+psycopg://", 1)


def drop(name: str = "a.csv", version: int = 1) -> Found:
    return Found("lab", "rock", "object", name, str(version), version, 100)


def earlier(url: str) -> sa.Engine:
    """A ledger as the version before this one made it."""
    old = sa.MetaData()
    for name in ("batch", "attempt"):
        kept = [c._copy() for c in METADATA.tables[name].columns if c.name not in NEW]
        sa.Table(name, old, *kept)
    engine = sa.create_engine(url)
    old.create_all(engine)
    return engine


def test_a_ledger_of_the_previous_version_opens_and_keeps_what_it_knew(url: str) -> None:
    engine = earlier(url)
    row = {"batch_id": drop().batch_id, "source": "lab", "table_name": "rock", "kind": "object",
           "object": "a.csv", "version": "1", "ordinal": 1, "size": 100, "state": "seen",
           "first_seen": 5.0, "deliveries": 1, "epoch": 0, "attempts": 0, "crashes": 0,
           "next_try": 0.0, "is_reported": False}  # fmt: skip
    with engine.begin() as connection:
        names = ", ".join(row)
        values = ", ".join(f":{name}" for name in row)
        connection.execute(sa.text(f"insert into batch ({names}) values ({values})"), row)
    for _ in range(2):
        ledger = Ledger(url)
    assert ledger.waiting() == [drop()]
    (claim,) = ledger.claim("lab", "rock")
    ledger.finish(claim, LOADED)
    assert ledger.batches()[0]["sha256"] == "f" * 64
    indexes = {i["name"] for i in sa.inspect(engine).get_indexes("batch")}
    assert {"batch_queue", "batch_state", "batch_bytes", "batch_repeated"} <= indexes


def test_workers_that_open_an_earlier_ledger_at_once_do_not_disturb_each_other(url: str) -> None:
    earlier(url)
    with ThreadPoolExecutor(4) as threads:
        assert [x.batches() for x in threads.map(lambda _: Ledger(url), range(4))] == [[]] * 4


def test_steps_are_told_from_first_sight_to_the_end(url: str) -> None:
    ledger = Ledger(url)
    ledger.note([drop()])
    (claim,) = ledger.claim("lab", "rock")
    claim.did("staged", "100 bytes")
    ledger.fail(claim, "the network", "unreachable")
    (claim,) = ledger.claim("lab", "rock")
    claim.did("staged", "100 bytes")
    claim.did("landed")
    ledger.finish(claim, LOADED)
    claim.did("input_removed")
    ledger.tell([claim])
    told = [(s["epoch"], s["step"], s["ok"]) for s in ledger.steps(drop().batch_id)]
    assert told[0] == (0, "seen", True)
    assert [t[1:] for t in told if t[0] == 1] == [
        ("claimed", True), ("staged", True), ("failed", False),
    ]  # fmt: skip
    assert [t[1] for t in told if t[0] == 2] == [
        "claimed", "staged", "landed", "loaded", "input_removed",
    ]  # fmt: skip
    assert ledger.steps("0" * 64) == []


def test_a_claim_without_an_end_shows_a_worker_that_died(url: str) -> None:
    now = [1000.0]
    ledger = Ledger(url, lease_seconds=60, max_crashes=1, clock=lambda: now[0])
    ledger.note([drop()])
    ledger.claim("lab", "rock")
    now[0] += 100
    ledger.claim("lab", "rock")
    told = [(s["step"], s["ok"]) for s in ledger.steps(drop().batch_id)]
    assert told == [("seen", True), ("claimed", True), ("quarantined", False)]


def test_what_is_released_and_removed_is_told(url: str) -> None:
    ledger = Ledger(url)
    ledger.note([drop()])
    ledger.finish(ledger.claim("lab", "rock")[0], Outcome("quarantined", reason="torn"))
    ledger.release([drop().batch_id])
    ledger.finish(ledger.claim("lab", "rock")[0], LOADED)
    ledger.mark_removed(drop().batch_id, Step("drop_removed", time.time()))
    told = [s["step"] for s in ledger.steps(drop().batch_id)]
    assert told == [
        "seen", "claimed", "quarantined", "released", "claimed", "loaded", "drop_removed",
    ]  # fmt: skip


def test_calls_made_together_hold_together_or_not_at_all(url: str) -> None:
    ledger = Ledger(url)
    ledger.note([drop("a"), drop("b")])
    one, two = ledger.claim("lab", "rock", 2)
    ledger.give_up([two.batch_id], "the position moved")

    def finish_both() -> None:
        with ledger.together():
            ledger.finish(one, LOADED)
            ledger.finish(two, LOADED)

    with pytest.raises(Fenced):
        finish_both()
    assert sorted(row["state"] for row in ledger.batches()) == ["processing", "superseded"]
    ledger.finish(one, LOADED)


def test_a_released_batch_that_somebody_began_is_not_superseded(url: str) -> None:
    ledger = Ledger(url)
    ledger.note([drop()])
    ledger.give_back(ledger.claim("lab", "rock")[0], "interrupted after the commit")
    ledger.release([drop().batch_id])
    ledger.note([drop(version=2)], supersede=True)
    states = {row["version"]: row["state"] for row in ledger.batches()}
    assert states == {"1": "seen", "2": "seen"}


def test_of_many_that_ask_at_once_one_holds_the_bytes(url: str) -> None:
    ledger, names = Ledger(url), "abcdefgh"
    ledger.note([drop(name) for name in names])
    claims = ledger.claim("lab", "rock", 8)
    ready = threading.Barrier(8)

    def ask(number: int) -> str | None:
        mine = Ledger(url)
        ready.wait()
        holder = mine.hold(claims[number], "f" * 64)
        return None if holder is None else holder.batch_id

    with ThreadPoolExecutor(8) as threads:
        told = list(threads.map(ask, range(8)))
    assert told.count(None) == 1
    assert set(told) == {None, claims[told.index(None)].batch_id}


def test_a_holder_makes_way_only_for_the_one_that_names_it(url: str) -> None:
    ledger = Ledger(url)
    ledger.note([drop("a"), drop("b"), drop("c")])
    a, b, c = ledger.claim("lab", "rock", 3)
    assert ledger.hold(a, "f" * 64) is None
    assert ledger.hold(b, "f" * 64, instead_of=c.batch_id) is not None
    assert ledger.hold(b, "f" * 64, instead_of=a.batch_id) is None
    holder = ledger.hold(c, "f" * 64, instead_of=a.batch_id)
    assert holder is not None
    assert holder.batch_id == b.batch_id


def test_of_equal_files_that_end_at_once_the_later_one_names_the_other(url: str) -> None:
    ledger, names = Ledger(url), "abcd"
    ledger.note([drop(name) for name in names])
    claims = ledger.claim("lab", "rock", 4)
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda claim: Ledger(url).finish(claim, LOADED), claims))
    assert sum(row["dup_of"] is None for row in ledger.batches()) == 1
    number, shown = control.repeated(ledger)
    assert (number, len(shown)) == (3, 3)


def test_what_waits_too_long_is_stuck_until_it_is_released(url: str) -> None:
    then = [time.time() - 7200]
    ledger = Ledger(url, clock=lambda: then[0])
    ledger.note([drop("old"), drop("held")])
    ledger.claim("lab", "rock", 1)
    then[0] = time.time()
    ledger.note([drop("new")])
    number, shown = control.stuck(ledger, 3600)
    assert (number, {row["object"] for row in shown}) == (2, {"old", "held"})
    waiting = next(row for row in ledger.batches() if row["state"] == "seen")
    ledger.release([waiting["batch_id"]])
    assert control.stuck(ledger, 3600)[0] == 1


def test_a_bad_end_is_told_until_a_newer_version_is_loaded(url: str) -> None:
    ledger = Ledger(url)
    ledger.note([drop()])
    ledger.finish(ledger.claim("lab", "rock")[0], Outcome("quarantined", reason="torn"))
    assert control.ended_badly(ledger)[0] == 1
    ledger.note([drop(version=2)])
    ledger.finish(ledger.claim("lab", "rock")[0], LOADED)
    assert control.ended_badly(ledger) == (0, [])


def test_questions_are_answered_from_indexes(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/ledger.sqlite"
    ledger, asked = Ledger(url), []

    def remember(conn: object, cursor: object, statement: str, values: object, *_: object) -> None:
        asked.append((statement, values))

    sa.event.listen(ledger._engine, "before_cursor_execute", remember)
    control.stuck(ledger, 1)
    control.ended_badly(ledger)
    control.repeated(ledger)
    questions = [one for one in asked if one[0].lstrip().lower().startswith("select")]
    with ledger._engine.connect() as connection:
        for statement, values in questions:
            rows = connection.exec_driver_sql(f"explain query plan {statement}", values).all()
            plan = [row[-1] for row in rows]
            assert not [line for line in plan if line.startswith("SCAN batch") and
                        "USING" not in line], (statement, plan)  # fmt: skip
    assert len(questions) == 6


def test_a_hundred_thousand_files_are_counted_in_a_moment(tmp_path: Path) -> None:
    ledger = Ledger(f"sqlite:///{tmp_path}/ledger.sqlite")
    ledger.note([drop(f"{number}.csv") for number in range(100_000)])
    with ledger.together() as connection:
        connection.execute(sa.update(BATCH).values(state="loaded"))
    begun = time.monotonic()
    control.stuck(ledger, 1)
    control.ended_badly(ledger)
    control.repeated(ledger)
    ledger.status()
    assert time.monotonic() - begun < 3
