"""Incidents: one for each episode, whatever order, copies and kills its readings come with."""

import random
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st
from platform_tests.alarms.reading import SECOND, START, Reading, rows, watch

from malacate import crash
from malacate.alarms.message import Message
from malacate.alarms.sender import send_due
from malacate.errors import SourceUnreachable
from malacate.ledger import alarms, outbox
from malacate.ledger.ledger import Ledger
from malacate.ledger.tables import ALARM

QUIET = 60
FAST, CALM = 9.0, 0.1
Told = list[dict[str, Any]]


class Killed(BaseException):
    """Stands for a kill: nothing runs after it."""


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/ledger.sqlite"
    plain: str = request.getfixturevalue("postgres_url")
    return plain.replace("postgresql://", "postgresql+psycopg://", 1)


@contextmanager
def new_ledger() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        yield f"sqlite:///{folder}/ledger.sqlite"


def fast(sensor: str, second: float) -> Reading:
    return Reading(sensor, round(second * SECOND), FAST)


def note(ledger: Ledger, *some: Reading, **changed: object) -> int:
    watched = watch(**changed)
    return watched.note(ledger, watched.judge([rows(some)]))


def told_by(ledger: Ledger) -> Told:
    told: Told = []
    send_due(ledger, "log", lambda message: told.extend(map(dict, message.alarms)))
    return sorted(told, key=lambda one: (one["opened_us"], one["subject"], one["rule"]))


def spans(ledger: Ledger) -> list[tuple[str, int, int]]:
    found = alarms.standing(ledger, "pit/vibration")
    return sorted((r["subject"], r["first_us"] // SECOND, r["last_us"] // SECOND) for r in found)


def episodes(seconds: list[int]) -> list[tuple[int, int]]:
    """By the definition: a new one where more than the quiet time is between two."""
    found: list[list[int]] = []
    for second in sorted(seconds):
        if found and second - found[-1][-1] <= QUIET:
            found[-1].append(second)
        else:
            found.append([second])
    return [(one[0], one[-1]) for one in found]


def test_an_incident_opens_with_an_exceedance_and_ends_after_the_quiet_time(url: str) -> None:
    ledger = Ledger(url)
    assert note(ledger, fast("G1", 100), Reading("G1", 110 * SECOND, CALM)) == 1
    assert note(ledger, fast("G1", 160)) == 0
    assert note(ledger, fast("G1", 221)) == 1
    assert note(ledger, fast("G2", 160)) == 1
    assert spans(ledger) == [("G1", 100, 160), ("G1", 221, 221), ("G2", 160, 160)]
    told = told_by(ledger)
    assert len({one["key"] for one in told}) == len(told) == 3
    assert told_by(ledger) == []


def test_a_late_or_repeated_message_raises_no_second_alarm(url: str) -> None:
    ledger = Ledger(url)
    note(ledger, fast("G1", 100))
    first = told_by(ledger)
    for second in (100, 50, 130, 100, -5):
        assert note(ledger, fast("G1", second)) == 0
    assert spans(ledger) == [("G1", -5, 130)]
    assert told_by(ledger) == []
    assert first[0]["opened_us"] == 100 * SECOND


def test_what_joins_two_episodes_opens_none_and_what_was_not_told_of_the_second_is_not(
    url: str,
) -> None:
    ledger = Ledger(url)
    note(ledger, fast("G1", 0))
    assert len(told_by(ledger)) == 1
    note(ledger, fast("G1", 100))
    assert note(ledger, fast("G1", 50)) == 0
    assert spans(ledger) == [("G1", 0, 100)]
    assert told_by(ledger) == []
    assert {row["state"] for row in outbox.states(ledger)} == {"sent", "joined"}


def test_a_key_is_of_the_data_alone(tmp_path: Path) -> None:
    keys = []
    for name in ("a", "b"):
        ledger = Ledger(f"sqlite:///{tmp_path}/{name}.sqlite")
        note(ledger, fast("G1", 100), fast("G1", 90))
        keys.append([one["key"] for one in told_by(ledger)])
    assert keys[0] == keys[1]


def test_a_rule_has_incidents_of_its_own(url: str) -> None:
    ledger = Ledger(url)
    low = Reading("G1", 5, FAST, battery=11.0)
    assert note(ledger, low, battery_below_v=11.5) == 2
    assert {one["rule"] for one in told_by(ledger)} == {"ppv_houses", "battery"}


def test_a_sensor_that_falls_silent_is_told_once_until_it_was_heard_again(url: str) -> None:
    ledger = Ledger(url)
    rule = {"silent_seconds": 30.0, "witnesses": 1}

    def at(second: int, *sensors: str) -> int:
        return note(ledger, *(Reading(s, START + second * SECOND) for s in sensors), **rule)

    assert at(0, "G1", "G2", "G3") == 0
    assert at(31, "G1", "G2") == 1
    assert [at(second, "G1", "G2") for second in (40, 80, 120)] == [0, 0, 0]
    assert at(20, "G3") == 0
    assert at(121, "G3") == 0
    assert [at(second, "G1", "G2", "G3") for second in (130, 160, 190)] == [0, 0, 0]
    assert at(221, "G1", "G2") == 1
    told = told_by(ledger)
    opened = [(one["subject"], (one["opened_us"] - START) // SECOND) for one in told]
    assert opened == [("G3", 0), ("G3", 190)]


def test_readings_replayed_in_pieces_while_silent_are_one_incident(url: str) -> None:
    ledger = Ledger(url)
    rule = {"silent_seconds": 30.0, "witnesses": 1}
    note(ledger, *(Reading(s, START) for s in ("G1", "G2", "G3")), **rule)
    note(ledger, *(Reading(s, START + 5000 * SECOND) for s in ("G1", "G2")), **rule)
    for second in range(100, 4900, 400):
        assert note(ledger, Reading("G3", START + second * SECOND), **rule) == 0
    assert len(told_by(ledger)) == 1


deliveries = st.lists(
    st.lists(st.tuples(st.sampled_from(["G1", "G2"]), st.integers(0, 500)), min_size=1, max_size=6),
    min_size=1,
    max_size=8,
)
fates = st.lists(st.sampled_from(["", "", "dies", "fails"]), max_size=25)


@settings(max_examples=250)
@given(deliveries, fates, st.randoms(use_true_random=False))
def test_whatever_order_copies_and_kills_an_episode_is_one_incident(
    sent: list[list[tuple[str, int]]], fate: list[str], chance: random.Random
) -> None:
    left = iter(fate)

    def point(name: str) -> None:
        if name.startswith("alarm_") and next(left, "") == "dies":
            raise Killed

    told: Told = []

    def channel(message: Message) -> None:
        if next(left, "") == "fails":
            raise SourceUnreachable("no", "Wait.", reason="unreachable")
        told.extend(map(dict, message.alarms))

    with new_ledger() as url, pytest.MonkeyPatch.context() as patch:
        patch.setattr(crash, "point", point)
        patch.setattr("malacate.alarms.sender.wait", lambda _: 0.0)
        waiting = [file for file in sent for _ in range(chance.choice((1, 1, 2)))]
        chance.shuffle(waiting)
        arrived: dict[str, list[list[int]]] = {}
        while waiting:
            file = waiting[-1]
            for sensor in {s for s, _ in file}:
                arrived.setdefault(sensor, []).append([at for s, at in file if s == sensor])
            until_done(lambda file=file: note(Ledger(url), *(fast(*one) for one in file)))
            waiting.pop()
            with suppress(Killed, SourceUnreachable):
                send_due(Ledger(url), "log", channel, lease_seconds=0.0)
        while outbox.due(Ledger(url), ["log"]):
            with suppress(Killed, SourceUnreachable):
                send_due(Ledger(url), "log", channel, lease_seconds=0.0)
        expected = {
            s: episodes([at for part in parts for at in part]) for s, parts in arrived.items()
        }
        assert spans(Ledger(url)) == sorted((s, *span) for s in expected for span in expected[s])
        assert_told(told, expected)


def assert_told(told: Told, expected: dict[str, list[tuple[int, int]]]) -> None:
    """Each episode is told of, and twice only where its parts were apart when they were known."""
    opened = {one["key"]: (one["subject"], one["opened_us"] // SECOND) for one in told}
    for sensor, found in expected.items():
        for first, last in found:
            mine = sorted(at for s, at in opened.values() if s == sensor and first <= at <= last)
            assert mine
            assert all(later - earlier > QUIET for earlier, later in pairwise(mine))
    spans_of = [(s, *span) for s in expected for span in expected[s]]
    for sensor, at in opened.values():
        assert any(s == sensor and first <= at <= last for s, first, last in spans_of)


@settings(max_examples=150)
@given(deliveries, st.randoms(use_true_random=False))
def test_in_order_each_episode_is_told_exactly_once_under_its_first_reading(
    sent: list[list[tuple[str, int]]], chance: random.Random
) -> None:
    """In order of event time, cut anywhere, any of it again later."""
    flat = sorted((one for file in sent for one in file), key=lambda one: one[1])
    with new_ledger() as url:
        ledger, done = Ledger(url), 0
        while done < len(flat):
            size = chance.randint(1, 4)
            again = chance.sample(flat[:done], min(done, chance.randint(0, 2)))
            some = [*flat[done : done + size], *again]
            chance.shuffle(some)
            note(ledger, *(fast(*one) for one in some))
            done += size
        told = sorted((one["subject"], one["opened_us"] // SECOND) for one in told_by(ledger))
        assert told == sorted(
            (sensor, first)
            for sensor in {s for s, _ in flat}
            for first, _ in episodes([at for s, at in flat if s == sensor])
        )


def until_done(step: Callable[[], object]) -> None:
    while True:
        with suppress(Killed):
            step()
            return


def test_a_kill_before_the_commit_leaves_nothing_and_one_after_it_an_alarm_that_is_due(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(alarms, "mark_judged", dies)
        with pytest.raises(Killed):
            note(Ledger(url), fast("G1", 1))
    assert spans(Ledger(url)) == []
    with monkeypatch.context() as patch:
        patch.setattr(crash, "point", dies)
        with pytest.raises(Killed):
            note(Ledger(url), fast("G1", 1))
    assert note(Ledger(url), fast("G1", 1)) == 0
    assert len(told_by(Ledger(url))) == 1


def test_two_who_note_the_same_at_once_open_one_incident(url: str) -> None:
    from concurrent.futures import ThreadPoolExecutor

    Ledger(url)
    with ThreadPoolExecutor(4) as pool:
        opened = list(pool.map(lambda _: note(Ledger(url), fast("G1", 5), fast("G2", 5)), range(8)))
    assert sum(opened) == 2


def test_every_channel_has_an_alarm_of_its_own(url: str) -> None:
    ledger = Ledger(url)
    note(ledger, fast("G1", 1), channels=("log", "${HOOK}"))
    assert len(told_by(ledger)) == 1
    (waits,) = ledger.select(sa.select(ALARM).where(ALARM.c.state == "due"))
    assert waits["channel"] == "${HOOK}"
