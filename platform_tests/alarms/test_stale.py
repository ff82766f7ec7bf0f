"""What came too long ago is kept and shown, and nobody is told; all that is news is told."""

import random
from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from platform_tests.alarms.reading import COLUMNS, SECOND, START, Reading, rows, watch
from platform_tests.alarms.test_incidents import FAST, QUIET, Told, episodes, new_ledger, told_by
from platform_tests.alarms.test_incidents import url as url

from malacate.ledger import alarms, outbox
from malacate.ledger.ledger import Ledger

HOUR = 3600
WITHIN = {"tell_within_hours": 1.0, "witnesses": 1}
RECEIVED = replace(COLUMNS, received="came_at")


def fast(sensor: str, second: int) -> Reading:
    return Reading(sensor, START + second * SECOND, FAST)


def calm(sensor: str, second: int) -> Reading:
    return Reading(sensor, START + second * SECOND)


def note(ledger: Ledger, *some: Reading, more_waits: bool = False, **changed: Any) -> int:
    watched = watch(**{**WITHIN, **changed})
    return watched.note(ledger, watched.judge([rows(some)]), more_waits=more_waits)


def opened(told: Told) -> list[tuple[str, int]]:
    return [(one["subject"], (one["opened_us"] - START) // SECOND) for one in told]


def states(ledger: Ledger) -> dict[str, int]:
    return {row["state"]: row["alarms"] for row in outbox.states(ledger)}


def test_what_ended_before_the_bound_is_kept_and_not_told(url: str) -> None:
    ledger = Ledger(url)
    note(ledger, fast("G1", 0), fast("G2", 100), calm("G3", HOUR + 100))
    assert opened(told_by(ledger)) == [("G2", 100)]
    assert states(ledger) == {"sent": 1, "stale": 1}
    assert len(alarms.standing(ledger, "pit/vibration")) == 2
    assert sorted(row["states"] for row in alarms.newest(ledger, ["pit/vibration"], 9)) == [
        ["sent"],
        ["stale"],
    ]


def test_an_old_incident_that_goes_on_until_now_is_told(url: str) -> None:
    ledger = Ledger(url)
    note(ledger, fast("G1", 0), calm("G3", 2 * HOUR))
    assert states(ledger) == {"stale": 1}
    note(ledger, *(fast("G1", second) for second in range(QUIET, 2 * HOUR, QUIET)))
    assert opened(told_by(ledger)) == [("G1", 0)]
    assert told_by(ledger) == []


def test_a_history_is_told_of_by_what_was_news_at_its_end(url: str) -> None:
    ledger = Ledger(url)
    for second in range(0, 10 * HOUR, HOUR):
        note(ledger, fast("G1", second), more_waits=True)
        assert told_by(ledger) == []
    assert outbox.due(ledger, ["log"]) == 10
    watch(**WITHIN).settle(ledger)
    assert opened(told_by(ledger)) == [("G1", 8 * HOUR), ("G1", 9 * HOUR)]
    assert states(ledger) == {"sent": 2, "stale": 8}


def test_what_was_due_is_told_however_long_nobody_took_it(url: str) -> None:
    ledger = Ledger(url)
    note(ledger, fast("G1", 0))
    note(ledger, calm("G1", 99 * HOUR))
    assert opened(told_by(ledger)) == [("G1", 0)]


def test_one_clock_that_runs_fast_keeps_nothing_from_being_told(url: str) -> None:
    ledger, others = Ledger(url), {"witnesses": 2}
    five = [calm(f"G{n}", 50) for n in range(5)]
    note(ledger, calm("G9", 999 * HOUR), *five, **others)
    note(ledger, fast("G1", 60), **others)
    assert opened(told_by(ledger)) == [("G1", 60)]


def test_where_it_is_known_when_readings_came_that_counts(url: str) -> None:
    ledger, columns = Ledger(url), {"columns": RECEIVED}

    def came(one: Reading, second: int | None) -> Reading:
        return replace(one, came=None if second is None else START + second * SECOND)

    note(ledger, came(calm("G9", 80 * HOUR), 80 * HOUR), **columns)
    note(ledger, came(fast("G1", 5), 80 * HOUR), came(fast("G2", 79 * HOUR), 5), **columns)
    note(ledger, came(fast("G3", 5), None), **columns)
    assert opened(told_by(ledger)) == [("G1", 5), ("G3", 5)]


def test_the_same_history_again_after_the_ledger_was_lost_has_the_same_keys() -> None:
    history = [fast("G1", second) for second in range(0, 9 * HOUR, 30 * QUIET)]
    keys = []
    for size in (1, 4):
        with new_ledger() as url:
            ledger = Ledger(url)
            for start in range(0, len(history), size):
                note(ledger, *history[start : start + size], more_waits=True)
            watch(**WITHIN).settle(ledger)
            keys.append([one["key"] for one in told_by(ledger)])
    assert keys[0] == keys[1] != []


@settings(max_examples=100)
@given(
    st.lists(st.integers(0, 6 * HOUR), min_size=1, max_size=20),
    st.randoms(use_true_random=False),
)
def test_of_a_history_in_any_order_and_parts_what_ended_within_the_bound_is_told(
    seconds: list[int], chance: random.Random
) -> None:
    left = [second for second in seconds for _ in range(chance.choice((1, 1, 2)))]
    chance.shuffle(left)
    with new_ledger() as url:
        ledger = Ledger(url)
        while left:
            size = chance.randint(1, 5)
            note(ledger, *(fast("G1", second) for second in left[:size]), more_waits=True)
            left = left[size:]
        watch(**WITHIN).settle(ledger)
        told = [second for _, second in opened(told_by(ledger))]
        expected = [
            (first, last) for first, last in episodes(seconds) if last >= max(seconds) - HOUR
        ]
        assert len(told) == len(expected)
        for second, (first, last) in zip(sorted(told), expected, strict=True):
            assert first <= second <= last
