"""A storm: what many sensors open at once is one message, the same whoever is killed."""

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from platform_tests.alarms.reading import COLUMNS, SECOND, START, Reading, rows, watch
from platform_tests.alarms.test_incidents import Killed, new_ledger, until_done
from platform_tests.alarms.test_incidents import url as url

from malacate import crash
from malacate.alarms.message import Message
from malacate.alarms.sender import send_due
from malacate.errors import SourceUnreachable
from malacate.ledger import alarms, outbox
from malacate.ledger.ledger import Ledger

SITES = replace(COLUMNS, site="pit")


def fast(sensor: str, second: float, value: float = 9.0, pit: str | None = None) -> Reading:
    return Reading(sensor, round(second * SECOND), value, pit=pit)


def note(ledger: Ledger, *some: Reading, **changed: Any) -> int:
    watched = watch(**changed)
    return watched.note(ledger, watched.judge([rows(some)]))


def sent(ledger: Ledger) -> list[Message]:
    messages: list[Message] = []
    send_due(ledger, "log", messages.append)
    return messages


def subjects(message: Message) -> list[str]:
    return sorted(row["subject"] for row in message.alarms)


def test_120_sensors_that_exceed_within_a_minute_are_one_message_that_names_the_worst(
    url: str,
) -> None:
    ledger = Ledger(url)
    blast = [fast(f"G{n:03}", 0.5 * n, 6.0 + (n == 77) * 20) for n in range(120)]
    assert note(ledger, *blast) == 120
    (message,) = sent(ledger)
    assert subjects(message) == [f"G{n:03}" for n in range(120)]
    assert message.alarms[0]["subject"] == "G077"
    start = "ppv_houses: 120 sensors within 60 s from 1970-01-01T00:00:00.000+00:00; the worst is "
    assert message.text.startswith(start + "G077: peak particle velocity 26.00 mm/s")
    assert all(message.text.count(f"G{n:03}") == 1 for n in range(120))
    told = message.payload
    assert (told["subject"], told["value"], told["limit"]) == ("G077", 26.0, 5.0)
    assert {one["key"] for one in told["incidents"]} == {row["key"] for row in message.alarms}
    assert told["key"] not in {one["key"] for one in told["incidents"]}
    assert len(alarms.standing(ledger, "pit/vibration")) == 120
    assert outbox.states(ledger)[0]["alarms"] == 120


def test_what_opens_later_at_another_site_or_by_another_rule_is_told_by_itself(url: str) -> None:
    ledger = Ledger(url)
    note(
        ledger,
        fast("G1", 0, pit="north"), fast("G2", 60, pit="north"), fast("G3", 61, pit="north"),
        fast("G4", 5, pit="south"), fast("G5", 6), fast("G6", 6),
        replace(fast("G7", 5, 0.1, "north"), battery=9.0),
        columns=SITES, battery_below_v=11.0,
    )  # fmt: skip
    told = sorted(subjects(message) for message in sent(ledger))
    assert told == [["G1", "G2"], ["G3"], ["G4"], ["G5", "G6"], ["G7"]]


def test_one_alarm_is_a_message_under_the_key_of_its_incident(url: str) -> None:
    ledger = Ledger(url)
    note(ledger, fast("G1", 0))
    (message,) = sent(ledger)
    assert message.key == message.alarms[0]["key"]
    assert message.text == message.alarms[0]["told"]


def test_sensors_that_fall_silent_at_once_are_one_message(url: str) -> None:
    ledger, rule = Ledger(url), {"silent_seconds": 30.0, "witnesses": 1}
    note(ledger, *(Reading(f"G{n}", START + n * SECOND // 10) for n in range(40)), **rule)
    note(ledger, *(Reading(name, START + 500 * SECOND) for name in ("G99", "G98")), **rule)
    (message,) = sent(ledger)
    assert len(message.alarms) == 40
    assert message.alarms[0]["subject"] == "G0"


def test_what_is_tried_again_is_the_same_message_whatever_became_due_meanwhile(url: str) -> None:
    ledger, tried = Ledger(url), list[Message]()

    def refuses(message: Message) -> None:
        tried.append(message)
        raise SourceUnreachable("no", "Wait.", reason="unreachable")

    note(ledger, fast("G1", 0), fast("G2", 1))
    with pytest.raises(SourceUnreachable):
        send_due(ledger, "log", refuses)
    note(ledger, fast("G3", 2), fast("G4", 3))
    outbox.mark_failed(ledger, tried[0].key, "log", "no", 0.0)
    first, second = sent(ledger)
    assert first.payload == tried[0].payload
    assert (subjects(first), subjects(second)) == (["G1", "G2"], ["G3", "G4"])


@pytest.mark.parametrize("point", ["alarm_taken", "alarm_sent"])
def test_who_is_killed_is_followed_by_the_same_message(
    url: str, point: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(name: str) -> None:
        if name == point:
            raise Killed

    came: list[Message] = []
    note(Ledger(url), fast("G1", 0), fast("G2", 1))
    with monkeypatch.context() as patch:
        patch.setattr(crash, "point", dies)
        with pytest.raises(Killed):
            send_due(Ledger(url), "log", came.append, lease_seconds=0.0)
    note(Ledger(url), fast("G3", 2))
    send_due(Ledger(url), "log", came.append)
    assert [subjects(one) for one in came[-2:]] == [["G1", "G2"], ["G3"]]
    assert len(came) == (3 if point == "alarm_sent" else 2)
    assert len({one.key for one in came}) == 2


def test_a_storm_of_more_than_a_message_holds_is_several(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "MOST_TOGETHER", 50)
    ledger = Ledger(url)
    note(ledger, *(fast(f"G{n:03}", n / 10) for n in range(120)))
    messages = sent(ledger)
    assert [len(one.alarms) for one in messages] == [50, 50, 20]
    named = [name for one in messages for name in subjects(one)]
    assert sorted(named) == [f"G{n:03}" for n in range(120)]


def test_of_many_who_send_at_once_each_alarm_is_named_by_one(url: str) -> None:
    Ledger(url)
    came: list[Message] = []

    def works(number: int) -> None:
        ledger = Ledger(url)
        note(ledger, *(fast(f"G{number}_{n}", 10 * n) for n in range(15)))
        send_due(ledger, "log", came.append)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(works, range(8)))
    send_due(Ledger(url), "log", came.append)
    named = [name for one in came for name in subjects(one)]
    assert len(named) == len(set(named)) == 120


def test_a_ledger_of_an_earlier_version_sends_what_it_had(url: str) -> None:
    ledger = Ledger(url)
    note(ledger, fast("G1", 0), fast("G2", 1))
    gone = {
        "alarm": ["message"], "incident": ["site", "came_us", "storm_us"], "heard": ["came_us"],
    }  # fmt: skip
    with ledger.together() as connection:
        for table, columns in gone.items():
            for column in columns:
                connection.exec_driver_sql(f"alter table {table} drop column {column}")
    ledger = Ledger(url)
    note(ledger, fast("G1", 30), fast("G3", 2))
    assert sorted(map(subjects, sent(ledger))) == [["G1"], ["G2"], ["G3"]]


openings = st.lists(
    st.lists(
        st.tuples(st.sampled_from([f"G{n}" for n in range(6)]), st.integers(0, 400),
                  st.sampled_from(["north", "south"])),
        min_size=1, max_size=6,
    ), min_size=1, max_size=6,
)  # fmt: skip
fates = st.lists(st.sampled_from(["", "", "dies", "fails"]), max_size=25)


@contextmanager
def troubled(fate: list[str], came: list[Message]) -> Iterator[Any]:
    """A channel that fails, and points that die, as ``fate`` has it."""
    left = iter(fate)

    def point(name: str) -> None:
        if name.startswith("alarm_") and next(left, "") == "dies":
            raise Killed

    def channel(message: Message) -> None:
        if next(left, "") == "fails":
            raise SourceUnreachable("no", "Wait.", reason="unreachable")
        came.append(message)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(crash, "point", point)
        patch.setattr("malacate.alarms.sender.wait", lambda _: 0.0)
        yield channel


def try_to_send(url: str, channel: Any) -> None:
    """Send what is due, until a death or a refusal."""
    with suppress(Killed, SourceUnreachable):
        send_due(Ledger(url), "log", channel, lease_seconds=0.0)


@settings(max_examples=100)
@given(openings, fates, st.randoms(use_true_random=False))
def test_whatever_order_and_kills_each_alarm_is_named_in_exactly_one_message(
    files: list[list[tuple[str, int, str]]], fate: list[str], chance: random.Random
) -> None:
    came: list[Message] = []
    with new_ledger() as ledger, troubled(fate, came) as channel:
        waiting = [file for file in files for _ in range(chance.choice((1, 1, 2)))]
        chance.shuffle(waiting)
        for file in waiting:
            some = [fast(sensor, at, pit=pit) for sensor, at, pit in file]
            until_done(lambda some=some: note(Ledger(ledger), *some, columns=SITES))
            try_to_send(ledger, channel)
        while outbox.due(Ledger(ledger), ["log"]):
            try_to_send(ledger, channel)
        once = {message.key: message for message in came}
        assert all(once[one.key].payload == one.payload for one in came)
        named = [row["key"] for message in once.values() for row in message.alarms]
        assert len(named) == len(set(named))
        states = {row["state"]: row["alarms"] for row in outbox.states(Ledger(ledger))}
        assert states.keys() <= {"sent", "joined"}
        assert states["sent"] == len(named)
        for message in once.values():
            opened = [row["opened_us"] for row in message.alarms]
            assert len({row["site"] for row in message.alarms}) == 1
            assert max(opened) - min(opened) <= 120 * SECOND
