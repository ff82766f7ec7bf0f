"""Kafka on a real broker: whoever is killed, each message stands in a file."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from platform_tests.emulators import parts
from platform_tests.emulators.brokers import Broker
from platform_tests.faults.points import OF_STREAMS
from platform_tests.streams.collecting import (
    KILLS,
    NUMBERS,
    Collecting,
    killed_while,
    payload,
    received,
    waited,
)

from malacate.errors import Fenced, SourceUnreachable
from malacate.sources.streams.kafka import KafkaTransport
from malacate.sources.streams.transport import Bounds, Transport, connect, probe

TOPIC = "vibration"
BOUNDS = {"messages": 500, "seconds": 0.3}


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with parts.kafka(tmp_path / "broker") as started:
        yield started


def publish(broker: Broker, numbers: range, pause: float = 0.0) -> None:
    producer = Producer({"bootstrap.servers": broker.url, "enable.idempotence": True})
    for number in numbers:
        producer.produce(TOPIC, payload(number), key=b"%d" % (number % 7))
        if pause and number % 100 == 0:
            producer.poll(0)
            time.sleep(pause)
    assert producer.flush(60) == 0


def collector(broker: Broker, tmp_path: Path, **bounds: float) -> Collecting:
    url = f"kafka://{broker.url}/{TOPIC}"
    return Collecting(url, "vibration", tmp_path / "files", **{**BOUNDS, **bounds})


def test_kills_of_the_collector_lose_no_message(broker: Broker, tmp_path: Path) -> None:
    collecting, numbers = collector(broker, tmp_path), NUMBERS
    killed_while(lambda: publish(broker, numbers, 0.05), collecting, kills=KILLS, seed=2)
    assert collecting.holds(numbers)
    assert collecting.end() == 0
    assert set(collecting.counted()) == set(numbers)


@pytest.mark.parametrize("point", sorted(OF_STREAMS))
def test_a_kill_at_a_point_costs_a_second_copy_at_most(
    broker: Broker, tmp_path: Path, point: str
) -> None:
    collecting, numbers = collector(broker, tmp_path, messages=100), range(1000)
    publish(broker, numbers)
    dying = collecting.start(MALACATE_CRASH=f"{point}:3")
    assert dying.wait(60) == -signal.SIGKILL
    with collecting.running():
        assert collecting.holds(numbers)
        assert collecting.end() == 0
    found = collecting.counted()
    assert set(found) == set(numbers)
    twice = sum(found[number] > 1 for number in numbers)
    assert twice <= (100 if point == "collected_file" else 0)


def test_an_orderly_end_leaves_each_message_once(broker: Broker, tmp_path: Path) -> None:
    collecting, numbers = collector(broker, tmp_path, messages=4000, seconds=60.0), range(10_000)
    publish(broker, numbers)
    while len(collecting.counted()) < len(numbers):
        collecting.start()
        assert waited(collecting.has_started)
        time.sleep(3)
        assert collecting.end() == 0
    assert set(collecting.counted().values()) == {1}
    assert committed(broker, "vibration") == len(numbers)


def committed(broker: Broker, group: str) -> int:
    consumer = Consumer({"bootstrap.servers": broker.url, "group.id": group})
    (one,) = consumer.committed([TopicPartition(TOPIC, 0)], 30)
    consumer.close()
    return int(one.offset)


def test_kills_of_the_broker_lose_nothing(broker: Broker, tmp_path: Path) -> None:
    collecting, numbers = collector(broker, tmp_path), range(6000)
    publisher = Thread(target=publish, args=(broker, numbers, 0.2))
    with collecting.running() as process:
        publisher.start()
        for _ in range(2):
            time.sleep(2)
            broker.kill()
            broker.start()
        publisher.join()
        assert collecting.holds(numbers)
        assert process.poll() is None
        assert collecting.end() == 0
    assert set(collecting.counted()) == set(numbers)


@contextmanager
def received_by(broker: Broker, name: str = "group") -> Iterator[Transport]:
    transport = connect(f"kafka://{broker.url}/{TOPIC}", name, Bounds())
    try:
        yield transport
    finally:
        transport.close()


def test_a_message_comes_with_all_that_is_around_it(broker: Broker) -> None:
    producer, headers = Producer({"bootstrap.servers": broker.url}), [("h", b"1"), ("h", b"\xff")]
    producer.produce(TOPIC, b"{}", key=b"k", headers=headers, timestamp=1_700_000_000_123)
    producer.produce(TOPIC, None)
    assert producer.flush(60) == 0
    with received_by(broker) as transport:
        one, tombstone = received(transport, 2)
    assert (one.data, one.topic, one.message_id) == (b"{}", TOPIC, "0-0")
    assert one.published_at == 1_700_000_000_123_000
    assert one.attributes == (("kafka.key", "k"), ("h", "1"), ("h", "\\xff"))
    assert (tombstone.data, tombstone.message_id) == (b"", "0-1")


def test_what_is_not_acknowledged_comes_again_and_what_is_does_not(broker: Broker) -> None:
    publish(broker, range(10))
    with received_by(broker) as transport:
        assert len(received(transport, 10)) == 10
        transport.acknowledge(3)
        transport.acknowledge(1)
    with received_by(broker) as transport:
        assert [one.data for one in received(transport, 6)] == [payload(n) for n in range(4, 10)]
        assert transport.receive(1, 1.0) == []


def test_what_a_rebalance_has_taken_is_passed_over(broker: Broker) -> None:
    publish(broker, range(10))
    with received_by(broker) as transport:
        assert isinstance(transport, KafkaTransport)
        received(transport, 10)
        taken = TopicPartition(TOPIC, 0)
        transport._forget(None, [taken])
        transport._on_assign(None, [taken])
        transport.acknowledge(10)
    assert committed(broker, "group") < 0


def test_who_starts_again_on_the_same_machine_takes_over(broker: Broker) -> None:
    publish(broker, range(10))
    with received_by(broker) as first:
        received(first, 5)
        with received_by(broker) as second:
            received(second, 10)
            with pytest.raises(Fenced):
                listening(first)
            second.acknowledge(10)


def listening(transport: Transport) -> None:
    """Until it ends by itself."""
    while True:
        transport.receive(10, 0.2)


def test_a_broker_that_is_away_is_told(tmp_path: Path) -> None:
    with parts.kafka(tmp_path / "broker") as broker:
        publish(broker, range(1))
        with received_by(broker) as transport:
            received(transport, 1)
            broker.kill()
            with pytest.raises(SourceUnreachable, match="kafka://127"):
                listening(transport)
            broker.start()
            publish(broker, range(1, 2))
            assert received(transport, 1)[0].data == payload(1)


def test_a_probe_tells_of_the_topic_without_joining_the_group(
    broker: Broker, tmp_path: Path
) -> None:
    url = f"kafka://{broker.url}/{TOPIC}"
    with pytest.raises(SourceUnreachable, match="no such topic"):
        probe(url, "vibration")
    publish(broker, range(10))
    assert probe(url, "vibration") == "1 partitions, 0 of them collected before"
    collecting = collector(broker, tmp_path)
    with collecting.running():
        assert collecting.holds(range(10))
        assert waited(lambda: "1 of them" in probe(url, "vibration"))
        assert collecting.end() == 0
    broker.kill()
    with pytest.raises(SourceUnreachable):
        probe(url, "vibration")
