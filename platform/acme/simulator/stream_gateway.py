"""The gateway of the geophones: messages at QoS 1 to a broker that may die.

A broker acknowledges a message before it saves it (mosquitto saves all ``autosave_interval``
seconds), so one that is killed forgets what it acknowledged last. A gateway that is to lose nothing
keeps that much, and sends it again to each broker that it meets anew: a message may come twice.
"""

import time
from collections import deque
from dataclasses import dataclass, replace
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from malacate.sources.streams.transport import Address

_MOST_ON_THE_WAY = 1000
_NOBODY_SUBSCRIBED = 16
_REST_SECONDS = 0.05


@dataclass(frozen=True)
class _Sent:
    topic: str
    message: bytes
    number: int = 0
    at: float = 0.0


class Gateway:
    """Publishes below the path of ``url``; a broker that answers saves within ``saved_seconds``.

    One that hangs saves nothing. So what it acknowledged is saved once it acknowledges another
    message, sent so much later; until then it is sent again over each new connection. What nobody
    was subscribed to is sent until somebody is: subscriptions may be forgotten, too.
    """

    def __init__(self, url: str, saved_seconds: float) -> None:
        self._at, self._saved_seconds = Address.of(url), saved_seconds
        self._waiting: deque[_Sent] = deque()
        self._on_the_way: deque[_Sent] = deque()
        self._acknowledged: deque[tuple[float, _Sent]] = deque()
        self._answers: dict[int, int] = {}
        self._proven = 0.0
        self._connections = self._connection = self._known = 0
        self._client = self._made()

    def __enter__(self) -> "Gateway":
        self._client.connect_async(*self._at.place(1883))
        self._client.loop_start()
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def send(self, topic: str, message: bytes) -> None:
        """Publish; waits while too much is on its way."""
        self._waiting.append(_Sent(f"{self._at.path}/{topic}", message))
        while self._work():
            time.sleep(0.002)

    def wait_until(self, instant: float) -> None:
        """Let time pass until ``time.monotonic()`` says so."""
        self._work()
        while (left := instant - time.monotonic()) > 0:
            time.sleep(min(left, _REST_SECONDS))
            self._work()

    def flush(self) -> None:
        """Return once the broker has saved all; to know, the last message is sent again."""
        self._rest()
        is_saved = not self._acknowledged
        while not is_saved:
            at, last = self._acknowledged[-1]
            self.wait_until(at + self._saved_seconds)
            self._waiting.append(last)
            self._rest()
            is_saved = len(self._acknowledged) == 1

    def _rest(self) -> None:
        """Wait until all is acknowledged."""
        while self._work() or self._on_the_way:
            time.sleep(_REST_SECONDS)

    def _made(self) -> mqtt.Client:
        client = mqtt.Client(CallbackAPIVersion.VERSION2, "gateway", protocol=mqtt.MQTTv5)
        client.max_queued_messages_set(0)
        client.max_inflight_messages_set(0)
        client.reconnect_delay_set(1, 2)
        client.on_connect, client.on_disconnect = self._on_connect, self._on_disconnect
        client.on_publish = self._on_publish
        if self._at.user:
            client.username_pw_set(self._at.user, self._at.password or None)
        return client

    def _work(self) -> bool:
        """Take in answers, forget what must be saved, send what waits; whether more waits."""
        now, connection = time.monotonic(), self._connection
        self._take_in()
        if connection and connection != self._known:
            self._known = connection
            self._waiting.extendleft(one for _, one in reversed(self._acknowledged))
            self._acknowledged.clear()
        elif connection:
            saved = self._proven - self._saved_seconds
            while self._acknowledged and self._acknowledged[0][0] < saved:
                self._acknowledged.popleft()
        while self._waiting and len(self._on_the_way) < _MOST_ON_THE_WAY:
            one = self._waiting.popleft()
            told = self._client.publish(one.topic, one.message, qos=1)
            self._on_the_way.append(replace(one, number=told.mid, at=now))
        return bool(self._waiting)

    def _take_in(self) -> None:
        unheard = []
        while self._on_the_way and self._on_the_way[0].number in self._answers:
            one = self._on_the_way.popleft()
            self._proven = one.at
            if self._answers.pop(one.number) == _NOBODY_SUBSCRIBED:
                unheard.append(one)
            else:
                self._acknowledged.append((time.monotonic(), one))
        if unheard:
            self._waiting.extendleft(reversed(unheard))
            time.sleep(_REST_SECONDS)

    # The client's own thread calls what follows.

    def _on_connect(self, _: Any, __: Any, ___: Any, reason: Any, ____: Any) -> None:
        if not reason.is_failure:
            self._connections += 1
            self._connection = self._connections

    def _on_disconnect(self, _: Any, __: Any, ___: Any, ____: Any, _____: Any) -> None:
        self._connection = 0

    def _on_publish(self, _: Any, __: Any, mid: int, reason: Any, ___: Any) -> None:
        self._answers[mid] = reason.value
