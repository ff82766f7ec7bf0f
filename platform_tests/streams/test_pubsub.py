"""Pub/Sub on Google's in-memory server: whoever is killed, each message stands in a file."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from google.cloud import pubsub_v1
from google.cloud.pubsub_v1.types import PublisherOptions
from platform_tests.emulators import parts
from platform_tests.emulators.brokers import Broker
from platform_tests.streams.collecting import (
    KILLS,
    NUMBERS,
    Collecting,
    killed_while,
    payload,
    received,
    waited,
)

from malacate.errors import SourceUnreachable
from malacate.sources.streams import pubsub as module
from malacate.sources.streams.transport import Bounds, Transport, connect, probe

TOPIC, SUBSCRIPTION = "projects/mine/topics/vibration", "projects/mine/subscriptions/vibration"
ORDERED = PublisherOptions(enable_message_ordering=True)
BOUNDS = {"messages": 500, "seconds": 0.3}


@pytest.fixture
def broker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Broker]:
    with parts.pubsub(tmp_path / "broker") as started:
        monkeypatch.setenv("PUBSUB_EMULATOR_HOST", started.url)
        subscribe()
        yield started


def subscribe() -> None:
    with pubsub_v1.PublisherClient() as publisher, pubsub_v1.SubscriberClient() as subscriber:
        publisher.create_topic(name=TOPIC)
        subscriber.create_subscription(name=SUBSCRIPTION, topic=TOPIC, ack_deadline_seconds=10)


def publish(numbers: range, pause: float = 0.0) -> None:
    with pubsub_v1.PublisherClient() as publisher:
        sent = []
        for number in numbers:
            sent.append(publisher.publish(TOPIC, payload(number), sensor=f"s{number % 7}"))
            if pause and number % 100 == 0:
                time.sleep(pause)
        for one in sent:
            one.result(60)


def collector(tmp_path: Path, **bounds: float) -> Collecting:
    url = "pubsub://mine/vibration"
    return Collecting(url, "vibration", tmp_path / "files", **{**BOUNDS, **bounds})


def test_kills_of_the_collector_lose_no_message(broker: Broker, tmp_path: Path) -> None:
    collecting, numbers = collector(tmp_path), NUMBERS
    killed_while(lambda: publish(numbers, 0.05), collecting, kills=KILLS, seed=3)
    assert collecting.holds(numbers)
    assert collecting.end() == 0
    assert set(collecting.counted()) == set(numbers)


def test_an_orderly_end_leaves_each_message_once(broker: Broker, tmp_path: Path) -> None:
    collecting, numbers = collector(tmp_path, messages=1500, seconds=60.0), range(5000)
    publish(numbers)
    while len(collecting.counted()) < len(numbers):
        collecting.start()
        assert waited(collecting.has_started)
        time.sleep(3)
        assert collecting.end() == 0
    assert set(collecting.counted().values()) == {1}
    with transport() as none_left:
        assert none_left.receive(1, 1.0) == []


@contextmanager
def transport() -> Iterator[Transport]:
    opened = connect("pubsub://mine/vibration", "collector", Bounds())
    try:
        yield opened
    finally:
        opened.close()


def test_a_collector_outlives_a_broker_that_forgets(broker: Broker, tmp_path: Path) -> None:
    collecting = collector(tmp_path)
    with collecting.running() as process:
        publish(range(100))
        assert collecting.holds(range(100))
        broker.kill()
        time.sleep(3)
        broker.start()
        subscribe()
        publish(range(100, 200))
        assert collecting.holds(range(200))
        assert process.poll() is None
        assert collecting.end() == 0
    assert "Again in" in collecting.log


def test_a_message_comes_with_all_that_is_around_it(broker: Broker) -> None:
    begun = time.time_ns() // 1000
    with pubsub_v1.PublisherClient(publisher_options=ORDERED) as publisher:
        publisher.publish(TOPIC, b"\xff", ordering_key="o", b="2", a="1").result(60)
    with transport() as opened:
        (one,) = received(opened, 1)
    assert (one.data, one.topic) == (b"\xff", SUBSCRIPTION)
    assert one.message_id
    assert begun - 10**6 <= (one.published_at or 0) <= time.time_ns() // 1000 + 10**6
    assert one.attributes == (("a", "1"), ("b", "2"), ("ordering_key", "o"))


def test_what_is_not_acknowledged_goes_back_at_once_and_what_is_is_done(broker: Broker) -> None:
    publish(range(10))
    with transport() as opened:
        found = received(opened, 10)
        opened.acknowledge(3)
        opened.acknowledge(1)
    with transport() as opened:
        again = received(opened, 6)
        assert opened.receive(1, 1.0) == []
    assert {one.data for one in again} == {one.data for one in found[4:]}


def test_what_is_held_is_kept_from_others_for_as_long_as_it_takes(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LEASE_SECONDS", 10)
    monkeypatch.setattr(module, "_RENEWED_SECONDS", 2.0)
    publish(range(5))
    with transport() as opened, transport() as other:
        received(opened, 5)
        deadline = time.monotonic() + 15
        while time.monotonic() < deadline:
            assert other.receive(1, 1.0) == []
        opened.acknowledge(5)


def test_a_subscription_that_is_missing_is_told(broker: Broker) -> None:
    missing = connect("pubsub://mine/nowhere", "collector", Bounds())
    with pytest.raises(SourceUnreachable, match="pubsub://mine/nowhere"):
        missing.receive(1, 1.0)
    missing.close()


def test_a_probe_tells_of_the_subscription(broker: Broker) -> None:
    assert probe("pubsub://mine/vibration", "") == f"it stands, of {TOPIC}"
    with pytest.raises(SourceUnreachable, match="other"):
        probe("pubsub://mine/other", "")
    with pubsub_v1.PublisherClient() as publisher:
        publisher.delete_topic(topic=TOPIC)
    with pytest.raises(SourceUnreachable, match="deleted"):
        probe("pubsub://mine/vibration", "")
