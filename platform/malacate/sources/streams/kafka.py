"""Kafka: a consumer group whose offsets are committed once the messages before them are safe."""

import logging
import socket
from collections import deque
from collections.abc import Mapping, Sequence
from importlib import import_module
from itertools import count as counting
from itertools import islice
from typing import Any

from malacate.errors import Fenced, MalacateError
from malacate.sources.streams.message import Message, Pairs, text
from malacate.sources.streams.transport import ANSWER_SECONDS, Address, Bounds, away, missing

_SECURITY = {
    (False, False): "PLAINTEXT",
    (False, True): "SSL",
    (True, False): "SASL_PLAINTEXT",
    (True, True): "SASL_SSL",
}
_TAKEN_BACK = {
    "ILLEGAL_GENERATION",
    "UNKNOWN_MEMBER_ID",
    "REBALANCE_IN_PROGRESS",
    "_ASSIGNMENT_LOST",
}
_FENCED = {"FENCED_INSTANCE_ID", "_FATAL"}
"""A consumer has no other fatal error."""


class KafkaTransport:
    """See ``Transport``; ``name`` is the group's. Collectors on several machines share the topic.

    A collector that starts again on its machine goes on at once, as the member that it was.
    """

    def __init__(self, at: Address, name: str, bounds: Bounds) -> None:
        self._kafka = _library()
        self._at = at
        self._trouble: Any = None
        self._held: deque[tuple[int, int, int]] = deque()
        self._assigned: dict[int, int] = {}
        self._turns = counting(1)
        self._consumer = self._kafka.Consumer(self._settings(name, bounds))
        self._consumer.subscribe(
            [at.path], on_assign=self._on_assign, on_revoke=self._forget, on_lost=self._forget
        )

    def _settings(self, name: str, bounds: Bounds) -> dict[str, Any]:
        return {
            **_reaching(self._at, name),
            "group.instance.id": f"{name}-{socket.gethostname()}",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "queued.max.messages.kbytes": max(bounds.bytes >> 10, 1),
            "error_cb": self._on_error,
        }

    def receive(self, most: int, seconds: float) -> list[Message]:
        """See ``Transport``; an error behind messages waits for the next call."""
        found: list[Message] = []
        while len(found) < most:
            one = self._polled(0.0 if found else seconds)
            if one is None:
                break
            if error := one.error():
                self._on_error(error)
                break
            partition, offset = one.partition(), one.offset()
            self._held.append((partition, offset, self._assigned.get(partition, 0)))
            found.append(_message(one, self._kafka.TIMESTAMP_NOT_AVAILABLE))
        if self._trouble is not None and not found:
            trouble, self._trouble = self._trouble, None
            raise self._told(trouble)
        return found

    def _polled(self, seconds: float) -> Any:
        try:
            return self._consumer.poll(seconds)
        except self._kafka.KafkaException as error:
            self._on_error(error.args[0])
            return None

    def acknowledge(self, count: int) -> None:
        """See ``Transport``; an offset stands for all before it in its partition."""
        due = {
            partition: offset + 1
            for partition, offset, turn in islice(self._held, count)
            if self._assigned.get(partition) == turn
        }
        if due:
            self._commit(due)
        for _ in range(count):
            self._held.popleft()

    def _commit(self, due: Mapping[int, int]) -> None:
        offsets = [self._kafka.TopicPartition(self._at.path, *pair) for pair in due.items()]
        try:
            done = self._consumer.commit(offsets=offsets, asynchronous=False)
            errors = [one.error for one in done if one.error]
        except self._kafka.KafkaException as error:
            errors = [error.args[0]]
        for refused in errors:
            if refused.name() not in _TAKEN_BACK:
                raise self._told(refused)

    def close(self) -> None:
        """See ``Transport``; as a member that comes back, it does not leave its group."""
        self._consumer.close()

    def _on_assign(self, _: Any, partitions: Sequence[Any]) -> None:
        self._assigned.update({one.partition: next(self._turns) for one in partitions})

    def _forget(self, _: Any, partitions: Sequence[Any]) -> None:
        for one in partitions:
            self._assigned.pop(one.partition, None)

    def _on_error(self, error: Any) -> None:
        self._trouble = error

    def _told(self, error: Any) -> MalacateError:
        if error.name() not in _FENCED:
            return away(self._at, error.str())
        return Fenced(
            "another collector of this machine receives under the same name",
            "Nothing to do if it was started to replace this one; else stop one of the two.",
            object=str(self._at),
            reason="taken_over",
        )


def _message(one: Any, without: int) -> Message:
    kind, at = one.timestamp()
    key: Pairs = () if one.key() is None else (("kafka.key", text(one.key())),)
    headers = tuple((name, text(value or b"")) for name, value in one.headers() or ())
    number = f"{one.partition()}-{one.offset()}"
    instant = None if kind == without else at * 1000
    return Message(one.value() or b"", one.topic(), number, instant, (*key, *headers))


def probe(at: Address, name: str) -> str:
    """What the group ``name`` has of the topic; asked without joining the group."""
    kafka = _library()
    consumer = kafka.Consumer(_reaching(at, name))
    try:
        topic = consumer.list_topics(timeout=ANSWER_SECONDS).topics.get(at.path)
        if topic is None:
            raise away(at, "it has no such topic")
        partitions = [kafka.TopicPartition(at.path, number) for number in topic.partitions]
        committed = consumer.committed(partitions, timeout=ANSWER_SECONDS)
    except kafka.KafkaException as error:
        raise away(at, error.args[0].str()) from error
    finally:
        consumer.close()
    begun = sum(one.offset >= 0 for one in committed)
    return f"{len(partitions)} partitions, {begun} of them collected before"


def _library() -> Any:
    try:
        return import_module("confluent_kafka")
    except ImportError as error:
        raise missing("confluent-kafka") from error


def _reaching(at: Address, name: str) -> dict[str, Any]:
    """Settings of every consumer of the group."""
    login = {"sasl.mechanism": "PLAIN", "sasl.username": at.user, "sasl.password": at.password}
    return {
        "bootstrap.servers": at.server,
        "group.id": name,
        "security.protocol": _SECURITY[bool(at.user), at.is_encrypted],
        "logger": logging.getLogger(__name__),
        **(login if at.user else {}),
    }
