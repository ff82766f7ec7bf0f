"""What a collector needs of a broker, and the broker that a URL names.

``mqtt://host:port/topic/filter``, ``pubsub://project/subscription``, ``kafka://host:port/topic``.
``mqtts`` and ``kafkas`` are the same over TLS. An IPv6 host stands in brackets. A user and a
password stand before the host, with ``/``, ``:`` and ``@`` percent-encoded.
"""

import re
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import unquote

from malacate.errors import ConfigError, SourceUnreachable
from malacate.sources.streams.message import Message


class Transport(Protocol):
    """A subscription that outlives this process: what was not acknowledged comes again."""

    def receive(self, most: int, seconds: float) -> list[Message]:
        """Up to ``most`` messages, in order, once there are some; none after ``seconds``.

        Raises ``SourceUnreachable`` while the broker is away, ``Fenced`` if another receives under
        the same name, and neither where it would lose messages: those come first.
        """

    def acknowledge(self, count: int) -> None:
        """Tell the broker that the ``count`` oldest messages that were received are safe.

        Those that the broker has taken back since, with a connection or a partition, are passed
        over: they come again. Raises ``SourceUnreachable``; then the same may be said again.
        """

    def close(self) -> None:
        """End the connection once all that was acknowledged is with the broker."""


@dataclass(frozen=True)
class Bounds:
    """When a file is written: at so many messages or bytes, or so long after its first message.

    A transport keeps about as much again ready.
    """

    messages: int = 10_000
    bytes: int = 16 << 20
    seconds: float = 60.0


@dataclass(frozen=True)
class Address:
    """A transport's URL in parts; ``path`` is what follows the server."""

    scheme: str
    server: str
    path: str
    user: str = ""
    password: str = ""

    @classmethod
    def of(cls, url: str) -> "Address":
        """The parts of ``url``; raises ``ConfigError`` for one that names nothing to receive."""
        scheme, _, rest = url.partition("://")
        before, _, path = rest.partition("/")
        credentials, _, server = before.rpartition("@")
        user, _, password = credentials.partition(":")
        kind = KINDS.get(scheme, "")
        is_filter = kind != "mqtt" or _is_filter(path)
        if not kind or not path or not is_filter or not _is_server(kind, server):
            raise ConfigError(
                "the URL of a stream cannot be understood",
                "Write mqtt://host:port/topic/filter, pubsub://project/subscription or "
                "kafka://host:port/topic, with a port from 1 to 65535, an IPv6 host in brackets, "
                "and `/`, `:` and `@` of a password percent-encoded.",
                object=_without_password(url),
                reason="unknown_stream",
            )
        return cls(scheme, server, path, unquote(user), unquote(password))

    def place(self, port: int) -> tuple[str, int]:
        """Host and port of a server that is one; ``port`` where the URL has none."""
        host, given = _placed(self.server) or (self.server, None)
        return host, given or port

    @property
    def is_encrypted(self) -> bool:
        """Whether the server is spoken to over TLS."""
        return self.scheme in ("mqtts", "kafkas")

    def __str__(self) -> str:
        return f"{self.scheme}://{self.server}/{self.path}"


ANSWER_SECONDS = 10.0
"""How long a probe waits for a broker."""

KINDS = {"mqtt": "mqtt", "mqtts": "mqtt", "pubsub": "pubsub", "kafka": "kafka", "kafkas": "kafka"}
"""Scheme of a URL to the kind of broker."""


_HOST_AND_PORT = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^][\s,:]+))(?::([0-9]{1,5}))?")


def _placed(server: str) -> tuple[str, int | None] | None:
    """Its host, and its port if it names one; nothing where it cannot be understood."""
    found = _HOST_AND_PORT.fullmatch(server)
    if found is None:
        return None
    host, port = found[1] or found[2], int(found[3]) if found[3] else None
    return (host, port) if port is None or 0 < port < 65_536 else None


def _is_server(kind: str, server: str) -> bool:
    """Whether somebody can be asked there: of Kafka any of several, of Pub/Sub a project."""
    if kind == "pubsub":
        return bool(server)
    some = server.split(",") if kind == "kafka" else [server]
    return all(_placed(one.strip()) for one in some)


def _without_password(url: str) -> str:
    """As much of a URL as may be told where nobody knows its parts."""
    scheme, told, rest = url.partition("://")
    return f"{scheme}{told}{rest.rpartition('@')[2]}" if told else url.rpartition("@")[2]


def _is_filter(path: str) -> bool:
    """Whether ``#`` is the last level alone, and both ``#`` and ``+`` are levels by themselves."""
    levels = path.split("/")
    return "#" not in levels[:-1] and not any(
        len(level) > 1 and {"#", "+"} & set(level) for level in levels
    )


def connect(url: str, name: str, bounds: Bounds) -> Transport:
    """Receive at ``url`` as ``name``, under which the broker remembers what was acknowledged."""
    at = Address.of(url)
    if KINDS[at.scheme] == "mqtt":
        from malacate.sources.streams.mqtt import MqttTransport

        return MqttTransport(at, name, bounds)
    if KINDS[at.scheme] == "kafka":
        from malacate.sources.streams.kafka import KafkaTransport

        return KafkaTransport(at, name, bounds)
    from malacate.sources.streams.pubsub import PubSubTransport

    return PubSubTransport(at)


def probe(url: str, name: str) -> str:
    """Whether ``connect`` would receive, without taking anything from a collector that runs.

    Returns what was found; raises ``SourceUnreachable``.
    """
    at = Address.of(url)
    if KINDS[at.scheme] == "mqtt":
        from malacate.sources.streams import mqtt

        return mqtt.probe(at, name)
    if KINDS[at.scheme] == "kafka":
        from malacate.sources.streams import kafka

        return kafka.probe(at, name)
    from malacate.sources.streams import pubsub

    return pubsub.probe(at)


def away(at: Address, said: object) -> SourceUnreachable:
    """The error for a broker that does not answer, or refuses."""
    return SourceUnreachable(
        "a broker does not answer, or refuses",
        "Check its address, credentials and rights; nothing is lost, what waits there comes later.",
        object=str(at),
        actual=str(said)[:500],
        reason="unreachable",
    )


def missing(package: str) -> ConfigError:
    """The error for a client that is an extra."""
    return ConfigError(
        f"the client {package} is not installed",
        "Install malacate with its extra: pip install 'malacate[streams]'.",
        reason="missing_extra",
    )
