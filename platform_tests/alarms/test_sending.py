"""Sending: at least once under one key, again where nobody answered, no secret kept or told."""

import logging
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from platform_tests.alarms.hook import Hook, listening
from platform_tests.alarms.reading import SECOND, Reading, rows, watch
from platform_tests.streams.collecting import waited

from malacate import crash
from malacate.alarms import sender as module
from malacate.alarms.channels import channel
from malacate.alarms.sender import Sender, send_due, wait
from malacate.errors import ConfigError, SourceUnreachable
from malacate.ledger import outbox
from malacate.ledger.ledger import Ledger
from malacate.ledger.tables import ALARM
from malacate.orchestration.environment import resolve

HOOK = "${PIT_HOOK}"


class Killed(BaseException):
    """Stands for a kill: nothing runs after it."""


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hook]:
    with listening() as made:
        monkeypatch.setenv("PIT_HOOK", made.url)
        yield made


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/ledger.sqlite"


def noted(url: str, count: int, *channels: str) -> None:
    watched = watch(channels=channels or (HOOK,))
    some = rows(Reading(f"G{n}", 100 * n * SECOND, 9.0) for n in range(count))
    assert watched.note(Ledger(url), watched.judge([some])) == count


def kept(url: str) -> list[dict[str, object]]:
    return Ledger(url).select(sa.select(ALARM).order_by(ALARM.c.key))


def test_a_webhook_gets_json_and_the_key_of_the_incident(url: str, hook: Hook) -> None:
    noted(url, 1)
    assert send_due(Ledger(url), HOOK, channel(HOOK, resolve)) == 1
    ((key, body, _),) = hook.came
    assert body.pop("text").startswith("G0: peak particle velocity 9.00 mm/s")
    opened = {
        "key": key, "subject": "G0", "opened_at": "1970-01-01T00:00:00.000+00:00",
        "value": 9.0, "limit": 5.0, "unit": "mm/s",
    }  # fmt: skip
    told = {"table": "raw/pit/vibration", "rule": "ppv_houses", "incidents": [opened]}
    assert body == {**opened, **told}
    assert kept(url)[0]["state"] == "sent"


@pytest.mark.parametrize("status", [301, 302, 307, 400, 404, 429, 500, 503])
def test_what_is_not_taken_is_sent_again_later(url: str, hook: Hook, status: int) -> None:
    noted(url, 1)
    hook.answer = lambda: status
    ledger = Ledger(url)
    with pytest.raises(SourceUnreachable, match=f"HTTP {status}"):
        send_due(ledger, HOOK, channel(HOOK, resolve))
    assert send_due(ledger, HOOK, channel(HOOK, resolve)) == 0
    (row,) = kept(url)
    assert (row["state"], row["attempts"]) == ("due", 1)
    assert 0 < row["next_try"] - time.time() <= 1  # type: ignore[operator]
    hook.answer = lambda: 200
    assert waited(lambda: bool(send_due(ledger, HOOK, channel(HOOK, resolve))))
    assert [wait(n) for n in (1, 2, 3, 9, 10, 99)] == [1, 2, 4, 256, 300, 300]


def test_a_kill_before_it_is_noted_as_sent_sends_it_again_under_the_same_key(
    url: str, hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(name: str) -> None:
        if name == "alarm_sent":
            raise Killed

    noted(url, 1)
    with monkeypatch.context() as patch:
        patch.setattr(crash, "point", dies)
        with pytest.raises(Killed):
            send_due(Ledger(url), HOOK, channel(HOOK, resolve), lease_seconds=0.3)
    assert send_due(Ledger(url), HOOK, channel(HOOK, resolve)) == 0
    time.sleep(0.4)
    assert send_due(Ledger(url), HOOK, channel(HOOK, resolve)) == 1
    assert len(hook.came) == 2
    assert len(set(hook.keys())) == 1
    assert kept(url)[0]["attempts"] == 2


def test_two_senders_send_each_alarm_once(url: str, hook: Hook) -> None:
    noted(url, 60)
    senders = [Sender(lambda: Ledger(url), [HOOK], resolve) for _ in range(3)]
    with senders[0].running(), senders[1].running(), senders[2].running():
        assert waited(lambda: {row["state"] for row in kept(url)} == {"sent"})
    assert len(hook.keys()) == len(set(hook.keys())) == 60


def test_a_dead_webhook_keeps_the_log_from_nothing_and_is_told_of_without_its_url(
    url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv("PIT_HOOK", f"http://127.0.0.1:{taken.getsockname()[1]}/?token=s3cret")
        noted(url, 5, "log", HOOK)
        with caplog.at_level(logging.DEBUG):
            sender = Sender(lambda: Ledger(url), ["log", HOOK], resolve)
            with sender.running():
                sender.wake()
                assert waited(lambda: "alarms to ${PIT_HOOK} wait" in caplog.text)
                assert waited(lambda: caplog.text.count("ALARM") == 5)
    states = {(row["channel"], row["state"]) for row in kept(url)}
    assert states == {("log", "sent"), (HOOK, "due")}
    assert "s3cret" not in caplog.text
    assert not any("s3cret" in str(row) for row in kept(url))
    assert any(row["error"] == "a webhook did not take an alarm: ConnectError" for row in kept(url))


def test_waking_it_costs_nothing_while_a_webhook_is_slow(url: str, hook: Hook) -> None:
    def slow() -> int:
        time.sleep(0.5)
        return 200

    hook.answer = slow
    sender = Sender(lambda: Ledger(url), [HOOK], resolve)
    with sender.running():
        begun = time.monotonic()
        for _ in range(100):
            sender.wake()
        noted(url, 3)
        sender.wake()
        assert time.monotonic() - begun < 5
        assert waited(lambda: len(hook.came) == 3)


def test_what_is_due_is_sent_before_the_end(
    url: str, hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LOOK_SECONDS", 99.0)
    with Sender(lambda: Ledger(url), [HOOK], resolve).running():
        time.sleep(0.5)
        noted(url, 3)
    assert len(hook.came) == 3


def test_a_reference_that_stands_for_nothing_is_told_at_once(url: str) -> None:
    os.environ.pop("PIT_HOOK", None)
    with pytest.raises(ConfigError, match="PIT_HOOK is not set"):
        Sender(lambda: Ledger(url), [HOOK], resolve)


def test_nothing_is_due_while_somebody_has_it(url: str) -> None:
    noted(url, 1)
    ledger = Ledger(url)
    assert outbox.due(ledger, [HOOK]) == 1
    assert len(outbox.take(ledger, HOOK, 30.0)) == 1
    assert outbox.take(ledger, HOOK, 30.0) == []
    assert outbox.due(ledger, [HOOK]) == 0
