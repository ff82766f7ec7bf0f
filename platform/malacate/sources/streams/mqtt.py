"""MQTT 5 at QoS 1: a session that the broker keeps, each message acknowledged once it is safe.

The broker is told how many messages may be unacknowledged; mosquitto sends more once some are, so
what waits here is bounded by its bytes, too. A message at QoS 0 cannot be acknowledged: it is lost
with whoever has it at the moment.
"""

import importlib
import logging
from collections import deque
from collections.abc import Sequence
from queue import Empty, Queue
from threading import Condition, Lock
from typing import Any

from malacate.errors import Fenced
from malacate.sources.streams.message import Message, Pairs, text
from malacate.sources.streams.transport import ANSWER_SECONDS, Address, Bounds, away, missing

KEPT_SECONDS = 7 * 86_400
"""How long the broker keeps messages for a collector that is away."""

_ALIVE_SECONDS = 60
_MOST_IN_FLIGHT = 65_535
_OVERHEAD = 1024
"""Bytes that a message takes here beside its own, about."""

_TAKEN_OVER = 142
_PORTS = {"mqtt": 1883, "mqtts": 8883}

_log = logging.getLogger(__name__)


class MqttTransport:
    """See ``Transport``; ``name`` is the client's id, of which a broker has one at a time.

    A broker that does not say who took over (mosquitto 2.0) has two collectors take turns: nothing
    is lost then, and much comes twice.
    """

    def __init__(self, at: Address, name: str, bounds: Bounds) -> None:
        self._at, self._trouble, self._is_fenced = at, "", False
        self._connection, self._lock = 0, Lock()
        self._arrived = _Arrived(bounds.bytes)
        self._held: deque[tuple[int, int, int]] = deque()
        self._mqtt = _library()
        self._client = self._opened(name, min(2 * bounds.messages, _MOST_IN_FLIGHT))

    def _opened(self, name: str, in_flight: int) -> Any:
        mqtt, at = self._mqtt, self._at
        client = _client(mqtt, at, name)
        client.on_connect, client.on_disconnect = self._on_connect, self._on_disconnect
        client.on_connect_fail, client.on_subscribe = self._on_connect_fail, self._on_subscribe
        client.on_message = self._on_message
        client.reconnect_delay_set(1, 30)
        properties = mqtt.Properties(mqtt.PacketTypes.CONNECT)
        properties.SessionExpiryInterval = KEPT_SECONDS
        properties.ReceiveMaximum = in_flight
        client.connect_async(
            *at.place(_PORTS[at.scheme]), _ALIVE_SECONDS, clean_start=False, properties=properties
        )
        client.loop_start()
        return client

    def receive(self, most: int, seconds: float) -> list[Message]:
        """See ``Transport``."""
        found = self._arrived.take(most, seconds)
        if self._is_fenced:
            raise Fenced(
                "another collector receives under the same name",
                "Nothing to do if it was started to replace this one; else stop one of the two.",
                object=str(self._at),
                reason="taken_over",
            )
        if not found and self._trouble:
            raise away(self._at, self._trouble)
        self._held.extend((connection, one.mid, one.qos) for connection, one in found)
        return [_message(one) for _, one in found]

    def acknowledge(self, count: int) -> None:
        """See ``Transport``; a number of an earlier connection may be another message's by now."""
        for _ in range(count):
            connection, mid, qos = self._held.popleft()
            with self._lock:
                if connection == self._connection:
                    self._client.ack(mid, qos)

    def close(self) -> None:
        """See ``Transport``; the session stays."""
        self._arrived.end()
        self._client.disconnect()
        self._client.loop_stop()

    # The client's own thread calls what follows.

    def _on_connect(self, client: Any, _: Any, flags: Any, reason: Any, __: Any) -> None:
        self._next_connection("" if not reason.is_failure else str(reason))
        if not reason.is_failure:
            if not flags.session_present:
                _log.warning("%s: it has no session of ours: what it was sent before now does not "
                             "come", self._at)  # fmt: skip
            options = self._mqtt.SubscribeOptions(
                1, retainHandling=self._mqtt.SubscribeOptions.RETAIN_SEND_IF_NEW_SUB
            )
            client.subscribe(self._at.path, options=options)

    def _on_subscribe(self, _: Any, __: Any, ___: int, reasons: Sequence[Any], ____: Any) -> None:
        self._trouble = _refused(reasons)

    def _on_connect_fail(self, _: Any, __: Any) -> None:
        self._trouble = "no connection"

    def _on_disconnect(self, client: Any, _: Any, flags: Any, reason: Any, __: Any) -> None:
        self._next_connection(f"disconnected: {reason}")
        if flags.is_disconnect_packet_from_server and reason.value == _TAKEN_OVER:
            self._is_fenced = True
            client.disconnect()  # or it would take the session back, and the other again

    def _on_message(self, _: Any, __: Any, message: Any) -> None:
        self._arrived.put((self._connection, message), len(message.payload) + _OVERHEAD)

    def _next_connection(self, trouble: str) -> None:
        with self._lock:
            self._connection += 1
            self._trouble = trouble


class _Arrived:
    """What came and was not taken yet; whoever brings more than ``most_bytes`` has to wait.

    That is the thread which reads the socket, so the broker has to wait, too.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most, self._bytes, self._is_open = most_bytes, 0, True
        self._items: deque[tuple[tuple[int, Any], int]] = deque()
        self._changed = Condition()

    def put(self, item: tuple[int, Any], size: int) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._bytes < self._most or not self._is_open)
            self._items.append((item, size))
            self._bytes += size
            self._changed.notify_all()

    def take(self, most: int, seconds: float) -> list[tuple[int, Any]]:
        found: list[tuple[int, Any]] = []
        with self._changed:
            self._changed.wait_for(lambda: self._items, seconds)
            while self._items and len(found) < most:
                item, size = self._items.popleft()
                found.append(item)
                self._bytes -= size
            self._changed.notify_all()
        return found

    def end(self) -> None:
        with self._changed:
            self._is_open = False
            self._changed.notify_all()


def _message(one: Any) -> Message:
    """The packet's number is kept: alone it tells a message from an equal one before it."""
    user: Pairs = tuple(getattr(one.properties, "UserProperty", ()))
    number: Pairs = (("mqtt.packet", str(one.mid)),) if one.qos else ()
    return Message(bytes(one.payload), text(one._topic), attributes=(*number, *user))


def probe(at: Address, name: str) -> str:
    """Subscribe for a moment, under another name than the collector's; what came of it.

    Whether the collector's session stands nobody is told: whoever asks for it takes it over.
    """
    mqtt, answers = _library(), Queue[str]()
    client = _client(mqtt, at, f"{name}-probe")

    def subscribe(_: Any, __: Any, ___: Any, reason: Any, ____: Any) -> None:
        if reason.is_failure:
            answers.put(str(reason))
        else:
            client.subscribe(at.path, 1)

    client.on_connect = subscribe
    client.on_subscribe = lambda _, __, ___, reasons, ____: answers.put(_refused(reasons))
    try:
        client.connect(*at.place(_PORTS[at.scheme]), clean_start=True)
        client.loop_start()
        refused = answers.get(timeout=ANSWER_SECONDS)
    except (OSError, Empty) as error:
        raise away(at, str(error) or "no answer") from error
    finally:
        client.disconnect()
        client.loop_stop()
    if refused:
        raise away(at, refused)
    return f"it answers, and lets us subscribe to {at.path}"


def _library() -> Any:
    try:
        return importlib.import_module("paho.mqtt.client")
    except ImportError as error:
        raise missing("paho-mqtt") from error


def _client(mqtt: Any, at: Address, name: str) -> Any:
    version = mqtt.CallbackAPIVersion.VERSION2
    client = mqtt.Client(version, name, protocol=mqtt.MQTTv5, manual_ack=True)
    if at.user:
        client.username_pw_set(at.user, at.password or None)
    if at.is_encrypted:
        client.tls_set()
    return client


def _refused(reasons: Sequence[Any]) -> str:
    refused = ", ".join(str(reason) for reason in reasons if reason.is_failure)
    return f"subscribing: {refused}" if refused else ""
