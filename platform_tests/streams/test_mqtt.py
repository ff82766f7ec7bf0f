"""MQTT on mosquitto: whoever is killed, each message stands in a file."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.client import DisconnectFlags
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.reasoncodes import ReasonCode
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
from malacate.sources.streams.mqtt import MqttTransport
from malacate.sources.streams.transport import Bounds, Transport, connect, probe

TOPIC = "mine/north/vibration"
BOUNDS = {"messages": 500, "seconds": 0.3}


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with parts.mosquitto(tmp_path / "broker") as started:
        yield started


@contextmanager
def publisher(broker: Broker) -> Iterator[mqtt.Client]:
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, "phone", protocol=mqtt.MQTTv5)
    client.max_queued_messages_set(0)
    client.connect("127.0.0.1", broker.port, clean_start=False, properties=_lasting())
    client.loop_start()
    try:
        yield client
    finally:
        client.disconnect()
        client.loop_stop()


def _lasting() -> Any:
    properties = mqtt.Properties(PacketTypes.CONNECT)
    properties.SessionExpiryInterval = 3600
    return properties


def publish(broker: Broker, numbers: range, pause: float = 0.0) -> None:
    """At QoS 1, each answered by the broker when this returns."""
    with publisher(broker) as client:
        sent = []
        for number in numbers:
            sent.append(client.publish(TOPIC, payload(number), qos=1))
            if pause and number % 100 == 0:
                time.sleep(pause)
        for one in sent:
            one.wait_for_publish(60)


def subscribed(broker: Broker, collecting: Collecting) -> None:
    """Once a session stands, the broker keeps what is published for it."""
    with collecting.running(), publisher(broker) as client:

        def arrives() -> bool:
            client.publish(TOPIC, payload(-1), qos=1)
            return -1 in collecting.counted()

        assert waited(arrives)


def collector(broker: Broker, tmp_path: Path, **bounds: float) -> Collecting:
    url = f"{broker.url}/mine/+/vibration"
    return Collecting(url, "vibration", tmp_path / "files", **{**BOUNDS, **bounds})


def test_kills_of_the_collector_lose_no_message(broker: Broker, tmp_path: Path) -> None:
    collecting, numbers = collector(broker, tmp_path), NUMBERS
    subscribed(broker, collecting)
    killed_while(lambda: publish(broker, numbers, 0.05), collecting, kills=KILLS, seed=1)
    assert collecting.holds(numbers)
    assert collecting.end() == 0
    assert set(collecting.counted()) - {-1} == set(numbers)


@pytest.mark.parametrize("point", sorted(OF_STREAMS))
def test_a_kill_at_a_point_costs_second_copies_at_most(
    broker: Broker, tmp_path: Path, point: str
) -> None:
    collecting, numbers = collector(broker, tmp_path, messages=100), range(1000)
    subscribed(broker, collecting)
    publish(broker, numbers)
    dying = collecting.start(MALACATE_CRASH=f"{point}:3")
    assert dying.wait(60) == -signal.SIGKILL
    with collecting.running():
        assert collecting.holds(numbers)
        assert collecting.end() == 0
    found = collecting.counted()
    assert set(found) - {-1} == set(numbers)
    assert sum(found[number] > 1 for number in numbers) <= 300  # what was said may not be sent yet


def test_an_orderly_end_leaves_each_message_once(broker: Broker, tmp_path: Path) -> None:
    collecting, numbers = collector(broker, tmp_path, messages=4000, seconds=60.0), range(10_000)
    subscribed(broker, collector(broker, tmp_path))
    publish(broker, numbers)
    while len(collecting.counted()) <= len(numbers):
        collecting.start()
        assert waited(collecting.has_started)
        time.sleep(2)
        assert collecting.end() == 0
    assert {collecting.counted()[number] for number in numbers} == {1}


def test_kills_of_the_broker_lose_nothing_that_it_has_kept(broker: Broker, tmp_path: Path) -> None:
    collecting = collector(broker, tmp_path, messages=2000, seconds=1.0)
    subscribed(broker, collecting)
    with collecting.running() as process:
        for turn in range(3):
            publish(broker, range(1000 * turn, 1000 * turn + 1000))
            saved(broker)
            broker.kill()
            time.sleep(turn)
            broker.start()
        assert collecting.holds(range(3000))
        assert process.poll() is None
        assert collecting.end() == 0
    assert set(collecting.counted()) - {-1} == set(range(3000))


def saved(broker: Broker) -> None:
    """Mosquitto writes what it keeps at this signal, and else now and then."""
    assert broker.process is not None
    kept = broker.folder / "mosquitto.db"
    before = kept.stat().st_mtime_ns if kept.exists() else 0
    broker.process.send_signal(signal.SIGUSR1)
    assert waited(lambda: kept.exists() and kept.stat().st_mtime_ns > before)


def listening(transport: Transport) -> None:
    """Until it ends by itself."""
    while True:
        transport.receive(10, 0.2)


@contextmanager
def heard(broker: Broker, topic: str = TOPIC, bounds: Bounds = Bounds()) -> Iterator[Transport]:  # noqa: B008
    """A collector's end of a session that stands, with nothing on the way."""
    transport = connect(f"{broker.url}/{topic}", "collector", bounds)
    assert waited(lambda: is_heard(broker, transport))
    try:
        yield transport
    finally:
        transport.close()


def is_heard(broker: Broker, transport: Transport) -> bool:
    publish(broker, range(-1, 0))
    found = 0
    with suppress(SourceUnreachable):
        while some := len(transport.receive(10, 1.0)):
            transport.acknowledge(some)
            found += some
    return found > 0


def test_a_broker_that_says_so_ends_the_one_that_was_taken_over(broker: Broker) -> None:
    with heard(broker) as transport:
        assert isinstance(transport, MqttTransport)
        taken_over = ReasonCode(PacketTypes.DISCONNECT, "Session taken over")
        transport._on_disconnect(transport._client, None, DisconnectFlags(True), taken_over, None)
        with pytest.raises(Fenced):
            listening(transport)


def test_two_collectors_under_one_name_lose_nothing(broker: Broker, tmp_path: Path) -> None:
    collecting, other = collector(broker, tmp_path), collector(broker, tmp_path)
    numbers = range(999)
    subscribed(broker, collecting)
    with collecting.running(), other.running():
        publish(broker, numbers, 0.5)
        assert collecting.holds(numbers)


def test_a_message_comes_with_topic_and_properties_and_an_equal_one_is_another(
    broker: Broker,
) -> None:
    properties = mqtt.Properties(PacketTypes.PUBLISH)
    properties.UserProperty = [("firmware", "1.2"), ("firmware", "x")]
    with heard(broker, "mine/+/vibration") as transport, publisher(broker) as client:
        for _ in range(2):
            client.publish(TOPIC, b"\xff", 1, properties=properties)
        one, other = received(transport, 2)
    assert (one.data, one.topic) == (b"\xff", TOPIC)
    assert one.attributes[1:] == (("firmware", "1.2"), ("firmware", "x"))
    assert one.attributes[0] != other.attributes[0]


def test_what_is_not_acknowledged_comes_again_and_what_is_does_not(broker: Broker) -> None:
    with heard(broker) as transport:
        publish(broker, range(5))
        assert [one.data for one in received(transport, 5)] == [payload(n) for n in range(5)]
        transport.acknowledge(2)
    again = connect(f"{broker.url}/{TOPIC}", "collector", Bounds())
    assert [one.data for one in received(again, 3)] == [payload(n) for n in range(2, 5)]
    assert again.receive(1, 1.0) == []
    again.close()


def test_no_more_is_on_the_way_than_may_be(broker: Broker) -> None:
    with heard(broker, bounds=Bounds(messages=10)) as transport:
        publish(broker, range(100))
        received(transport, 20)
        assert transport.receive(50, 1.0) == []
        transport.acknowledge(20)
        received(transport, 20)


def test_no_more_waits_here_than_its_bytes_allow(broker: Broker) -> None:
    with heard(broker, bounds=Bounds(bytes=20_000)) as transport:
        assert isinstance(transport, MqttTransport)
        publish(broker, range(5000))
        time.sleep(1)
        assert len(transport._arrived._items) <= 20
        found = received(transport, 5000)
    assert [one.data for one in found] == [payload(number) for number in range(5000)]


def test_what_was_received_of_a_session_that_is_lost_is_passed_over(tmp_path: Path) -> None:
    with parts.mosquitto(tmp_path / "broker", persistence="false") as broker:
        with heard(broker) as transport:
            publish(broker, range(10))
            received(transport, 10)
            broker.kill()
            with pytest.raises(SourceUnreachable, match="mqtt://127"):
                listening(transport)
            broker.start()
            assert waited(lambda: is_there(broker, transport))
            publish(broker, range(10, 20))
            received(transport, 10)
            transport.acknowledge(10)  # those before, whose numbers are others' now
        again = connect(f"{broker.url}/{TOPIC}", "collector", Bounds())
        missing = {payload(number) for number in range(10, 20)}
        while missing:
            missing -= {one.data for one in received(again, 1)}
        again.close()


def is_there(broker: Broker, transport: Transport) -> bool:
    publish(broker, range(-1, 0))
    with suppress(SourceUnreachable):
        return bool(transport.receive(1, 1.0))
    return False


def test_a_probe_takes_nothing_from_a_collector_that_runs(broker: Broker, tmp_path: Path) -> None:
    collecting = collector(broker, tmp_path)
    subscribed(broker, collecting)
    with collecting.running():
        assert waited(collecting.has_started)
        publish(broker, range(1000))
        for _ in range(3):
            told = probe(f"{broker.url}/mine/+/vibration", "vibration")
            assert told == "it answers, and lets us subscribe to mine/+/vibration"
        publish(broker, range(1000, 2000))
        assert collecting.holds(range(2000))
        assert collecting.end() == 0
    assert "disconnected" not in collecting.log


def test_a_probe_tells_what_a_broker_refuses(tmp_path: Path) -> None:
    with (
        parts.mosquitto(tmp_path / "closed", allow_anonymous="false") as broker,
        pytest.raises(SourceUnreachable, match="Not authorized"),
    ):
        probe(f"{broker.url}/mine/+/vibration", "vibration")


def test_a_session_that_the_broker_forgot_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        parts.mosquitto(tmp_path / "broker", persistence="false") as broker,
        heard(broker) as transport,
    ):
        assert caplog.text.count("no session of ours") == 1
        broker.kill()
        broker.start()
        assert waited(lambda: is_there(broker, transport))
        assert caplog.text.count("no session of ours") == 2
    with parts.mosquitto(tmp_path / "other") as broker:
        with heard(broker):
            pass
        caplog.clear()
        with heard(broker):
            assert "no session" not in caplog.text
