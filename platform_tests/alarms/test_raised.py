"""Issues of the mine's machines: each severe one is told once, whatever its phone does."""

import json
import random
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from platform_tests.alarms.test_incidents import new_ledger, until_done
from platform_tests.alarms.test_incidents import url as url
from platform_tests.alarms.test_storms import sent, troubled, try_to_send

from acme.definitions import DEFS
from acme.simulator import phones
from acme.simulator.phones import Event, Told
from acme.simulator.world import DAY, World, instant
from malacate.alarms.collected import Pass
from malacate.alarms.message import Message
from malacate.alarms.watch import Watch
from malacate.components.alarm_rules import RaisedOf, watches
from malacate.errors import ConfigError
from malacate.formats import FileFormat
from malacate.ledger import alarms, outbox
from malacate.ledger.ledger import Ledger
from malacate.sources.streams.message import Message as Received
from malacate.sources.streams.message import as_file

WORLD = World(7, 1.0)
TOLD = phones.received(WORLD, -phones.HISTORY_HOURS, 0)
SEVERE = {
    one.event["issue_id"] for one in TOLD if one.event["severity"] in ("critical", "high")
}  # fmt: skip
NOW = WORLD.end_s * 1_000_000
ISSUE = "0" * 8 + "-0000-0000-0000-" + "0" * 11


@pytest.fixture(scope="module")
def watch(tmp_path_factory: pytest.TempPathFactory) -> Watch:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ACME_DROPS", str(tmp_path_factory.mktemp("drops")))
        return next(one for one in watches(DEFS) if one.name == "mobile/issue_event")


def told(number: int = 1, came_us: int = NOW, device_us: int | None = None, **more: Any) -> Told:
    event = {
        **TOLD[0].event, "issue_id": f"{ISSUE}{number}", "severity": "critical", "status": "open",
        "equipment_id": "CAEX-07", "category": "brakes",
    }  # fmt: skip
    at = instant((came_us if device_us is None else device_us) / 1e6)
    event |= {"event_id": f"{number:08x}{ISSUE[8:]}0", "device_at": at.isoformat(), **more}
    return Told(event, came_us)


def file_of(some: Iterable[Told]) -> bytes:
    return as_file([Received(as_json(one.event), "mine", "", one.received_us) for one in some])


def as_json(event: Event) -> bytes:
    return json.dumps(event, ensure_ascii=False).encode()


def noted(url: str, watch: Watch, *some: Told) -> None:
    Pass(watch, FileFormat("messages"), lambda: Ledger(url), bool)(file_of(some))


def subjects(messages: Iterable[Message]) -> list[str]:
    return sorted(row["subject"] for one in messages for row in one.alarms)


def test_a_severe_issue_is_told_once_alone_and_in_words_without_a_person(
    url: str, watch: Watch
) -> None:
    device_us = NOW - 3 * DAY * 1_000_000
    noted(url, watch, told(1, device_us=device_us), told(1), told(2, severity="low"))
    noted(url, watch, told(1, status="closed"), told(3, severity="high"))
    first, second = sorted(sent(Ledger(url)), key=lambda one: one.text)
    assert subjects([first, second]) == [f"{ISSUE}1", f"{ISSUE}3"]
    since, came = (instant(us / 1e6).isoformat(timespec="milliseconds") for us in (device_us, NOW))
    assert first.text == (
        f"CAEX-07: machine_issue {ISSUE}1, severity critical, category brakes, status open; "
        f"since {since}, received {came}."
    )
    (incident,) = first.payload["incidents"]
    assert incident == {"key": first.key, "subject": f"{ISSUE}1", "opened_at": since}
    event = told().event
    for name in ("reporter_id", "text", "photo_uri", "lat", "lon"):
        assert not event[name] or str(event[name]) not in str(first.payload)


def test_a_phone_that_was_without_a_network_for_days_is_told_of_when_it_is_heard(
    url: str, watch: Watch
) -> None:
    short = replace(watch, tell_within_hours=1.0)
    noted(url, short, *(told(n, NOW, equipment_id=f"T{n}") for n in range(1, 5)))
    assert len(sent(Ledger(url))) == 4
    noted(url, short, told(5, NOW + 1, device_us=NOW - 9 * DAY * 1_000_000))
    assert subjects(sent(Ledger(url))) == [f"{ISSUE}5"]
    noted(url, short, told(6, NOW - 2 * 3600 * 1_000_000), told(7, NOW - 1800 * 1_000_000))
    assert subjects(sent(Ledger(url))) == [f"{ISSUE}7"]
    assert f"{ISSUE}6" in {row["subject"] for row in alarms.standing(Ledger(url), watch.name)}


def test_an_issue_becomes_news_when_it_becomes_severe(url: str, watch: Watch) -> None:
    noted(url, watch, told(1, severity="medium"))
    assert sent(Ledger(url)) == []
    noted(url, watch, told(1, severity="critical", status="in_progress"))
    (message,) = sent(Ledger(url))
    assert "status in_progress" in message.text


def test_what_somebody_wrote_breaks_no_line(url: str, watch: Watch) -> None:
    noted(url, watch, told(1, category="a\nALARM b" + "x" * 900))
    (message,) = sent(Ledger(url))
    assert "\n" not in message.text
    assert len(message.text) < 400


def test_every_severe_issue_of_the_mine_s_phones_is_told_once_in_one_go(
    url: str, watch: Watch
) -> None:
    every = replace(watch, tell_within_hours=1000.0)
    noted(url, every, *TOLD)
    assert subjects(sent(Ledger(url))) == sorted(SEVERE)
    assert len(SEVERE) > 20


@settings(max_examples=40)
@given(
    st.integers(1, 12),
    st.lists(st.sampled_from(["", "", "", "dies", "fails"]), max_size=60),
    st.randoms(use_true_random=False),
)
def test_whatever_order_copies_and_kills_each_severe_issue_is_told_under_one_key(
    watch: Watch, files: int, fate: list[str], chance: random.Random
) -> None:
    came: list[Message] = []
    every = replace(watch, tell_within_hours=1000.0)
    some = [one for one in TOLD if int(one.event["issue_id"][0], 16) < 4]
    copies = [one for one in some for _ in range(chance.choice((1, 1, 2)))]
    chance.shuffle(copies)
    with new_ledger() as ledger, troubled(fate, came) as channel:
        for number in range(files):
            part = copies[number::files]
            until_done(lambda part=part: noted(ledger, every, *part))
            try_to_send(ledger, channel)
        while outbox.due(Ledger(ledger), ["log"]):
            try_to_send(ledger, channel)
    once = {message.key: message for message in came}
    assert all(once[one.key].payload == one.payload for one in came)
    severe = {one.event["issue_id"] for one in some} & SEVERE
    assert subjects(once.values()) == sorted(severe)


GIVEN = {"rule": "issue", "where": {"severity": ["high"]}, "subject": "issue_id"}


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"tell": ["reporter_id"]}, "about a person"),
        ({"subject": "text"}, "about a person"),
        ({"where": {"message": ["x"]}}, "about a person"),
        ({"tell": ["nothing"]}, "cannot be judged by 'nothing'"),
    ],
)
def test_a_rule_that_would_tell_of_a_person_is_refused(
    watch: Watch, changed: dict[str, Any], says: str
) -> None:
    raised = RaisedOf(**{**GIVEN, **changed}).rows()
    with pytest.raises(ConfigError, match=says):
        replace(watch, raised=raised)


def test_a_rule_of_rows_has_to_know_when_they_came(watch: Watch) -> None:
    with pytest.raises(ConfigError, match="'received'"):
        replace(watch, columns=replace(watch.columns, received=""))
