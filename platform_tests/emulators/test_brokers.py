"""What brokers keep when a client, or they themselves, are killed."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Queue

import pytest
from confluent_kafka import Consumer, Producer
from google.api_core.exceptions import NotFound
from google.cloud import pubsub_v1
from paho.mqtt.client import CallbackAPIVersion, Client, MQTTv5
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.publish import multiple
from platform_tests.emulators import parts
from platform_tests.emulators.brokers import Broker

WAIT = 30.0
NUMBERS = range(20)
TOPIC = "mine/shaft"


@contextmanager
def subscribed(port: int, *, manual_ack: bool = False) -> Iterator["Queue[int]"]:
    """What comes to the session that the broker keeps for ``lake``."""
    come: Queue[int] = Queue()
    ready: Queue[bool] = Queue()
    client = Client(CallbackAPIVersion.VERSION2, "lake", protocol=MQTTv5, manual_ack=manual_ack)
    client.on_connect = lambda *_: client.subscribe(TOPIC, qos=1)
    client.on_subscribe = lambda *_: ready.put(True)
    client.on_message = lambda _client, _data, message: come.put(int(message.payload))
    kept = Properties(PacketTypes.CONNECT)
    kept.SessionExpiryInterval = 3600
    client.connect("127.0.0.1", port, clean_start=False, properties=kept)
    client.loop_start()
    try:
        ready.get(timeout=WAIT)
        yield come
    finally:
        client.disconnect()
        client.loop_stop()


def publish(port: int, *numbers: int) -> None:
    """Each is acknowledged before the next is sent."""
    for number in numbers:
        multiple([(TOPIC, str(number), 1, False)], "127.0.0.1", port, protocol=MQTTv5)


def taken(come: "Queue[int]", count: int) -> list[int]:
    return [come.get(timeout=WAIT) for _ in range(count)]


TAKES_AND_ACKNOWLEDGES_NOTHING = """
import sys, time
from platform_tests.emulators import test_brokers as here
with here.subscribed(int(sys.argv[1]), manual_ack=True) as come:
    here.taken(come, 5)
    print("taken", flush=True)
    time.sleep(60)
"""


def test_a_session_outlives_the_kill_of_its_client(tmp_path: Path) -> None:
    with parts.mosquitto(tmp_path) as broker:
        with subscribed(broker.port):
            pass
        publish(broker.port, *NUMBERS)
        program = [sys.executable, "-c", TAKES_AND_ACKNOWLEDGES_NOTHING, str(broker.port)]
        with subprocess.Popen(program, stdout=subprocess.PIPE, cwd=Path.cwd()) as client:
            assert client.stdout is not None
            assert client.stdout.readline() == b"taken\n"
            client.kill()
        with subscribed(broker.port) as come:
            assert taken(come, len(NUMBERS)) == list(NUMBERS)


def test_mosquitto_answers_before_it_writes(tmp_path: Path) -> None:
    with parts.mosquitto(tmp_path, autosave_interval=0) as broker:
        with subscribed(broker.port):
            pass
        broker.stop()
        broker.start()
        publish(broker.port, *NUMBERS)
        broker.kill()
        broker.start()
        with subscribed(broker.port) as come:
            publish(broker.port, 100)
            assert taken(come, 1) == [100]


def test_mosquitto_that_writes_at_each_change_forgets_one_message_at_most(tmp_path: Path) -> None:
    with parts.mosquitto(tmp_path, autosave_on_changes="true") as broker:
        with subscribed(broker.port):
            pass
        publish(broker.port, *NUMBERS)
        broker.kill()
        broker.start()
        with subscribed(broker.port) as come:
            assert taken(come, len(NUMBERS) - 1) == list(NUMBERS[:-1])


def test_mosquitto_that_is_ended_in_order_forgets_nothing(tmp_path: Path) -> None:
    with parts.mosquitto(tmp_path) as broker:
        with subscribed(broker.port):
            pass
        publish(broker.port, *NUMBERS)
        broker.stop()
    with parts.mosquitto(tmp_path) as broker, subscribed(broker.port) as come:
        assert taken(come, len(NUMBERS)) == list(NUMBERS)


def produce(broker: Broker, *numbers: int) -> None:
    producer = Producer({"bootstrap.servers": broker.url})
    for number in numbers:
        producer.produce(TOPIC.replace("/", "."), str(number))
    assert producer.flush(WAIT) == 0


def consume(broker: Broker, count: int) -> list[int]:
    """The next that come to the group ``lake``, and its offset after them."""
    group = {"group.id": "lake", "auto.offset.reset": "earliest", "enable.auto.commit": False}
    consumer = Consumer({"bootstrap.servers": broker.url, **group})
    consumer.subscribe([TOPIC.replace("/", ".")])
    come = [int(message.value() or b"") for message in consumer.consume(count, WAIT)]
    consumer.commit(asynchronous=False)
    consumer.close()
    return come


def test_kafka_keeps_messages_and_offsets_over_its_kill(tmp_path: Path) -> None:
    with parts.kafka(tmp_path) as broker:
        produce(broker, *NUMBERS)
        assert consume(broker, 5) == list(NUMBERS[:5])
        broker.kill()
        broker.start()
        assert consume(broker, len(NUMBERS) - 5) == list(NUMBERS[5:])


@pytest.fixture
def pubsub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Broker]:
    with parts.pubsub(tmp_path) as broker:
        monkeypatch.setenv("PUBSUB_EMULATOR_HOST", broker.url)
        yield broker


SUBSCRIPTION = "projects/acme/subscriptions/lake"


def pulled(subscriber: pubsub_v1.SubscriberClient) -> tuple[list[bytes], list[str]]:
    """What comes, and by which names it is acknowledged."""
    answer = subscriber.pull(subscription=SUBSCRIPTION, max_messages=100, timeout=WAIT)
    come = answer.received_messages
    return sorted(one.message.data for one in come), [one.ack_id for one in come]


def test_pubsub_brings_again_what_was_given_back_and_keeps_nothing_over_its_kill(
    pubsub: Broker,
) -> None:
    topic = "projects/acme/topics/shaft"
    with pubsub_v1.PublisherClient() as publisher, pubsub_v1.SubscriberClient() as subscriber:
        publisher.create_topic(name=topic, timeout=WAIT)
        subscriber.create_subscription(name=SUBSCRIPTION, topic=topic, timeout=WAIT)
        for data in (b"a", b"b"):
            publisher.publish(topic, data).result(WAIT)
        come, names = pulled(subscriber)
        subscriber.modify_ack_deadline(
            subscription=SUBSCRIPTION, ack_ids=names, ack_deadline_seconds=0
        )
        assert come == [b"a", b"b"]
        come, names = pulled(subscriber)
        assert come == [b"a", b"b"]
        subscriber.acknowledge(subscription=SUBSCRIPTION, ack_ids=names)
        assert pulled(subscriber) == ([], [])
        pubsub.kill()
        pubsub.start()
        with pytest.raises(NotFound):
            pulled(subscriber)
