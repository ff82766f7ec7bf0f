"""One suite over the ledger's databases: SQLite and Postgres."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from malacate.errors import Fenced
from malacate.ledger.ledger import Ledger, Outcome
from malacate.ledger.tables import BATCH
from malacate.ledger.work import Found

LOADED = Outcome("loaded", 10, 9, 1, "raw_lab/rock")


@dataclass
class Clock:
    now: float = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/ledger.sqlite"
    plain: str = request.getfixturevalue("postgres_url")
    return plain.replace("postgresql://", "postgresql+psycopg://", 1)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ledger(url: str, clock: Clock) -> Ledger:
    return Ledger(url, lease_seconds=60, clock=clock)


def drop(name: str = "a.csv", version: int = 1, kind: Any = "object") -> Found:
    return Found("lab", "rock", kind, name, str(version), version, 100)


def row(ledger: Ledger, found: Found) -> dict[str, Any]:
    (only,) = ledger.batches(BATCH.c.batch_id == found.batch_id)
    return only


def crash(ledger: Ledger, clock: Clock, found: Found, times: int = 1) -> None:
    """A worker that is never heard of again."""
    for _ in range(times):
        assert [claim.found for claim in ledger.claim("lab", "rock", 1)] == [found]
        clock.now += 61


WORKER = """
import sys
from malacate.ledger.ledger import Ledger
ledger = Ledger(sys.argv[1])
while claims := ledger.claim("lab", "rock", int(sys.argv[2])):
    print(*(claim.batch_id for claim in claims), sep="\\n", flush=True)
    if sys.argv[3] == "hold":
        sys.stdin.readline()
        break
"""


@contextmanager
def worker(url: str, limit: int, what: str) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-c", WORKER, url, str(limit), what]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        yield process
        process.communicate("\n")
        assert process.returncode == 0


def test_what_is_noted_twice_is_one_row_that_counts(ledger: Ledger) -> None:
    assert ledger.note([drop()]) == 1
    assert ledger.note([drop(), drop("b.csv")]) == 1
    assert ledger.note([]) == 0
    assert row(ledger, drop())["deliveries"] == 2
    assert row(ledger, drop("b.csv"))["deliveries"] == 1


def test_ten_thousand_notes_of_one_object_are_one_row(ledger: Ledger) -> None:
    for _ in range(100):
        ledger.note([drop()] * 100)
    assert len(ledger.batches()) == 1
    assert row(ledger, drop())["deliveries"] >= 100


def test_notes_of_many_threads_are_counted(url: str) -> None:
    def note(_: int) -> int:
        return Ledger(url).note([drop(f"{i}") for i in range(20)])

    Ledger(url)
    with ThreadPoolExecutor(4) as threads:
        assert sum(threads.map(note, range(4))) >= 20
    assert len(Ledger(url).batches()) == 20


def test_thousands_are_noted_at_once(ledger: Ledger) -> None:
    many = [drop(f"{i}.csv") for i in range(1500)]
    assert ledger.note(many) == 1500
    assert ledger.note(many[:700]) == 0


@pytest.mark.parametrize("name", ["a\nb", "🪨", "e\u0301", "\u00e9", "'; drop table batch; --"])
def test_odd_names_are_kept_as_they_are(ledger: Ledger, name: str) -> None:
    ledger.note([drop(name)])
    assert [f.object for f in ledger.waiting()] == [name]


def test_what_was_found_comes_back_whole(ledger: Ledger) -> None:
    window = Found("lab", "rock", "window", "window", "1..2@3", 3, None, "1", "2")
    ledger.note([window])
    assert ledger.waiting() == [window]
    assert ledger.claim("lab", "rock")[0].found == window


def test_a_claim_is_of_one_table_alone(ledger: Ledger) -> None:
    others = [
        Found("lab", "core", "object", "a", "1", 1),
        Found("fleet", "rock", "object", "a", "1", 1),
    ]
    ledger.note([*others, drop()])
    assert [claim.found for claim in ledger.claim("lab", "rock", 10)] == [drop()]


def test_claims_come_oldest_first_and_up_to_the_limit(ledger: Ledger) -> None:
    ledger.note([drop("a", 3), drop("b", 1), drop("c", 2)])
    assert [claim.found.object for claim in ledger.claim("lab", "rock", 2)] == ["b", "c"]
    assert [claim.found.object for claim in ledger.claim("lab", "rock", 2)] == ["a"]
    assert ledger.claim("lab", "rock", 2) == []


def test_what_was_tried_is_left_out(ledger: Ledger) -> None:
    ledger.note([drop("a"), drop("b")])
    assert [c.found.object for c in ledger.claim("lab", "rock", 9, {drop("a").batch_id})] == ["b"]


def test_four_threads_never_hold_the_same_claim(url: str) -> None:
    Ledger(url).note([drop(f"{i}") for i in range(60)])

    def take(_: int) -> list[str]:
        mine, ledger = [], Ledger(url)
        while claims := ledger.claim("lab", "rock", 3):
            mine += [claim.batch_id for claim in claims]
        return mine

    with ThreadPoolExecutor(4) as threads:
        taken = [batch for batches in threads.map(take, range(4)) for batch in batches]
    # Under a lock that another thread holds, Postgres skips: what was skipped is left, not lost.
    taken += take(5)
    assert len(taken) == len(set(taken)) == 60


def test_two_processes_never_hold_the_same_claim(url: str) -> None:
    ledger = Ledger(url)
    ledger.note([drop(f"{i}") for i in range(40)])
    command = [sys.executable, "-c", WORKER.replace('sys.argv[3] == "hold"', "False"), url, "1"]
    both = [subprocess.Popen([*command, "x"], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [process.communicate()[0].split() for process in both]
    assert [process.returncode for process in both] == [0, 0]
    # One may take over what the other held once that one has ended, never before.
    for batch_id in {batch for output in outputs for batch in output}:
        first, *later = ledger.attempts(batch_id)
        assert all(attempt["owner"] != first["owner"] for attempt in later)
        assert len(later) <= 1


def test_a_claim_lapses_with_its_lease(ledger: Ledger, clock: Clock) -> None:
    ledger.note([drop()])
    (first,) = ledger.claim("lab", "rock")
    clock.now += 59
    assert ledger.claim("lab", "rock") == []
    clock.now += 2
    (second,) = ledger.claim("lab", "rock")
    assert (second.epoch, second.attempts, second.crashes) == (first.epoch + 1, 2, 1)


def test_a_renewed_claim_holds_longer(ledger: Ledger, clock: Clock) -> None:
    ledger.note([drop()])
    (claim,) = ledger.claim("lab", "rock")
    clock.now += 50
    ledger.renew(claim)
    clock.now += 50
    assert ledger.claim("lab", "rock") == []


def test_the_claim_of_a_dead_process_is_free_at_once(url: str) -> None:
    ledger = Ledger(url, lease_seconds=3600)
    ledger.note([drop()])
    with worker(url, 1, "hold") as process:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == drop().batch_id
        assert ledger.claim("lab", "rock") == [], "a live worker was robbed"
        assert (ledger.due(), ledger.busy()) == ([], 1)
        process.kill()
        process.wait()
        assert ([found for found, _ in ledger.due()], ledger.busy()) == ([drop()], 0)
        (claim,) = ledger.claim("lab", "rock")
        process.returncode = 0
    assert (claim.epoch, claim.crashes) == (2, 1)


def test_a_stopped_process_keeps_its_claim_until_the_lease_lapses(url: str) -> None:
    ledger = Ledger(url, lease_seconds=3600)
    ledger.note([drop()])
    with worker(url, 1, "hold") as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(19)
        time.sleep(0.05)
        assert ledger.claim("lab", "rock") == []
        process.send_signal(18)


ANSWERS: dict[str, Callable[[Ledger, Any], None]] = {
    "finish": lambda ledger, claim: ledger.finish(claim, LOADED),
    "fail": lambda ledger, claim: ledger.fail(claim, "late", "late"),
    "renew": lambda ledger, claim: ledger.renew(claim),
}


@pytest.mark.parametrize("answer", ANSWERS)
def test_a_worker_that_was_overtaken_is_fenced(ledger: Ledger, clock: Clock, answer: str) -> None:
    ledger.note([drop()])
    (zombie,) = ledger.claim("lab", "rock")
    clock.now += 61
    (heir,) = ledger.claim("lab", "rock")
    before = ledger.batches()
    with pytest.raises(Fenced) as caught:
        ANSWERS[answer](ledger, zombie)
    assert caught.value.object == "a.csv"
    assert ledger.batches() == before
    ledger.finish(heir, LOADED)
    assert row(ledger, drop())["rows_loaded"] == 9


@pytest.mark.parametrize("answer", ANSWERS)
def test_an_answer_is_given_once(ledger: Ledger, answer: str) -> None:
    ledger.note([drop()])
    (claim,) = ledger.claim("lab", "rock")
    ledger.finish(claim, LOADED)
    with pytest.raises(Fenced):
        ANSWERS[answer](ledger, claim)


def test_what_ended_is_not_claimed_again_however_often_it_is_noted(ledger: Ledger) -> None:
    for state in ("loaded", "quarantined", "superseded", "vanished"):
        found = drop(state)
        ledger.note([found])
        (claim,) = ledger.claim("lab", "rock")
        ledger.finish(claim, Outcome(state))
        ledger.note([found])
    assert ledger.claim("lab", "rock", 10) == []


def test_after_three_crashes_an_object_is_poison(ledger: Ledger, clock: Clock) -> None:
    ledger.note([drop()])
    crash(ledger, clock, drop(), 3)
    assert ledger.claim("lab", "rock") == []
    poison = row(ledger, drop())
    assert (poison["state"], poison["reason"]) == ("quarantined", "poison_crash")
    assert "release" in poison["error"]
    assert [a["outcome"] for a in ledger.attempts(drop().batch_id)] == [None] * 3


@pytest.mark.parametrize("kind", ["window", "snapshot"])
def test_a_window_is_never_poison(ledger: Ledger, clock: Clock, kind: str) -> None:
    ledger.note([drop(kind=kind)])
    crash(ledger, clock, drop(kind=kind), 5)
    assert len(ledger.claim("lab", "rock")) == 1


def test_a_failure_between_crashes_is_no_crash(ledger: Ledger, clock: Clock) -> None:
    ledger.note([drop()])
    for _ in range(5):
        (claim,) = ledger.claim("lab", "rock")
        ledger.fail(claim, "the network", "unreachable")
        clock.now += 4000
    assert row(ledger, drop())["crashes"] == 0
    assert len(ledger.claim("lab", "rock")) == 1


def test_what_a_worker_died_on_comes_last_and_alone(ledger: Ledger, clock: Clock) -> None:
    ledger.note([drop("a", 1), drop("b", 2)])
    ledger.claim("lab", "rock", 2)
    clock.now += 61
    ledger.note([drop("c", 3), drop("d", 4)])
    groups = []
    while claims := ledger.claim("lab", "rock", 10):
        groups.append([claim.found.object for claim in claims])
    assert groups == [["c", "d"], ["a"], ["b"]]


def test_a_failure_waits_twice_as_long_each_time(ledger: Ledger, clock: Clock) -> None:
    ledger.note([drop()])
    waits = []
    for _ in range(12):
        (claim,) = ledger.claim("lab", "rock")
        ledger.fail(claim, "the network", "unreachable")
        waits.append(row(ledger, drop())["next_try"] - clock.now)
        assert ledger.due() == []
        clock.now += waits[-1]
        assert [found for found, _ in ledger.due()] == [drop()]
    assert waits[:4] == [5, 10, 20, 40]
    assert max(waits) == 3600


def test_a_newer_version_supersedes_what_waits(ledger: Ledger) -> None:
    ledger.note([drop(version=1), drop(version=2), drop("b", 1)])
    assert ledger.note([drop(version=3)], supersede=True) == 1
    assert [row(ledger, drop(version=v))["state"] for v in (1, 2, 3)] == [
        "superseded",
        "superseded",
        "seen",
    ]
    assert row(ledger, drop("b", 1))["state"] == "seen"


def test_an_older_version_that_comes_late_supersedes_nothing(ledger: Ledger) -> None:
    ledger.note([drop(version=3)], supersede=True)
    ledger.note([drop(version=1)], supersede=True)
    assert row(ledger, drop(version=3))["state"] == "seen"


def test_without_supersede_every_version_waits(ledger: Ledger) -> None:
    ledger.note([drop(version=1)])
    ledger.note([drop(version=2)])
    assert len(ledger.claim("lab", "rock", 9)) == 2


def test_what_somebody_began_is_not_superseded_for_it_may_be_published(
    ledger: Ledger, clock: Clock
) -> None:
    ledger.note([drop(version=1)])
    (claim,) = ledger.claim("lab", "rock")
    ledger.note([drop(version=2)], supersede=True)
    assert row(ledger, drop(version=1))["state"] == "processing"
    clock.now += 61
    ledger.note([drop(version=3)], supersede=True)
    assert row(ledger, drop(version=1))["state"] == "processing"
    ledger.give_back(claim, "interrupted")
    ledger.note([drop(version=4)], supersede=True)
    states = [row(ledger, drop(version=version))["state"] for version in (1, 2, 3, 4)]
    assert states == ["seen", "superseded", "superseded", "seen"]


def test_what_is_given_up_fences_its_worker(ledger: Ledger) -> None:
    ledger.note([drop()])
    (claim,) = ledger.claim("lab", "rock")
    ledger.give_up([claim.batch_id], "the position moved")
    assert row(ledger, drop())["state"] == "superseded"
    with pytest.raises(Fenced):
        ledger.renew(claim)


def test_a_claim_given_back_is_free_at_once_and_no_crash(ledger: Ledger) -> None:
    ledger.note([drop()])
    (claim,) = ledger.claim("lab", "rock")
    ledger.give_back(claim, "KeyboardInterrupt")
    (again,) = ledger.claim("lab", "rock")
    assert (again.epoch, again.crashes) == (2, 0)
    ledger.finish(again, LOADED)
    ledger.give_back(claim, "late")
    ledger.give_back(again, "late")
    assert row(ledger, drop())["state"] == "loaded"


def test_markers_mend_what_the_ledger_missed(ledger: Ledger) -> None:
    ledger.note([drop("a"), drop("b")])
    (claim,) = ledger.claim("lab", "rock", 1)
    both = [(drop(n).batch_id, LOADED) for n in "ab"]
    assert ledger.mend(both) == 2
    assert ledger.mend(both) == 0
    assert ledger.mend([("0" * 64, LOADED)]) == 0
    with pytest.raises(Fenced):
        ledger.finish(claim, Outcome("quarantined"))
    assert [r["rows_loaded"] for r in ledger.batches()] == [9, 9]


def test_what_is_forgotten_waits_and_is_told_again(ledger: Ledger) -> None:
    ledger.note([drop()])
    ledger.finish(ledger.claim("lab", "rock")[0], LOADED)
    ledger.mark_reported([drop().batch_id])
    ledger.forget([drop().batch_id])
    assert row(ledger, drop())["is_reported"] is False
    assert len(ledger.claim("lab", "rock")) == 1


@pytest.mark.parametrize("state", ["quarantined", "vanished"])
def test_what_is_released_is_claimed_and_told_again(ledger: Ledger, state: str) -> None:
    ledger.note([drop()])
    ledger.finish(ledger.claim("lab", "rock")[0], Outcome(state, reason="bad"))
    ledger.mark_reported([drop().batch_id])
    assert ledger.release([drop().batch_id]) == 1
    waiting = row(ledger, drop())
    assert (waiting["state"], waiting["ended"], waiting["is_reported"]) == ("seen", None, False)
    (claim,) = ledger.claim("lab", "rock")
    assert claim.attempts == 1


def test_poison_that_is_released_has_its_tries_again(ledger: Ledger, clock: Clock) -> None:
    ledger.note([drop()])
    crash(ledger, clock, drop(), 3)
    ledger.claim("lab", "rock")
    ledger.release([drop().batch_id])
    crash(ledger, clock, drop(), 3)
    assert ledger.claim("lab", "rock") == []


@pytest.mark.parametrize("state", ["loaded", "superseded"])
def test_what_is_loaded_is_not_released(ledger: Ledger, state: str) -> None:
    ledger.note([drop()])
    ledger.finish(ledger.claim("lab", "rock")[0], Outcome(state))
    assert ledger.release([drop().batch_id]) == 0


def test_a_batch_is_told_until_it_is_marked_reported(ledger: Ledger) -> None:
    ledger.note([drop("a"), drop("b")])
    ledger.mark_reported([drop("a").batch_id])
    untold = ledger.batches(BATCH.c.is_reported.is_(False))
    assert [r["object"] for r in untold] == ["b"]


def test_attempts_are_kept_with_their_outcome(ledger: Ledger, clock: Clock) -> None:
    ledger.note([drop()])
    ledger.fail(ledger.claim("lab", "rock")[0], "the network", "unreachable")
    crash(ledger, clock, drop())
    ledger.finish(ledger.claim("lab", "rock")[0], LOADED)
    told = [(a["epoch"], a["outcome"]) for a in ledger.attempts(drop().batch_id)]
    assert told == [(1, "failed"), (2, None), (3, "loaded")]


def test_the_status_adds_up(ledger: Ledger) -> None:
    ledger.note([drop("a"), drop("b"), drop("c")])
    for claim in ledger.claim("lab", "rock", 2):
        ledger.finish(claim, LOADED)
    told = {s["state"]: (s["batches"], s["rows_loaded"]) for s in ledger.status()}
    assert told == {"loaded": (2, 18), "seen": (1, 0)}


def test_two_ledgers_can_be_created_at_once(url: str) -> None:
    with ThreadPoolExecutor(4) as threads:
        for ledger in threads.map(lambda _: Ledger(url), range(4)):
            assert ledger.batches() == []
