"""Planted bugs of a stream's collector; the fleet of geophones finds them: see ``streams``."""

import time
from collections.abc import Callable
from typing import Any

from malacate.sources.streams import collector, mqtt

Collector: Any = collector.Collector
MqttTransport: Any = mqtt.MqttTransport


def acknowledged_before_the_file() -> None:
    """Messages are acknowledged as they are gathered, and then their file is written."""
    gathered, acknowledge = Collector._gathered, MqttTransport.acknowledge

    def eager(self: Any) -> Any:
        held = gathered(self)
        acknowledge(self._transport, len(held))
        time.sleep(0.1)
        return held

    Collector._gathered = eager
    MqttTransport.acknowledge = lambda *_: None


def acknowledged_on_receipt() -> None:
    """The client acknowledges by itself, as it does where nobody asks it not to."""
    opened = MqttTransport._opened

    def careless(self: Any, *asked: Any) -> Any:
        client = opened(self, *asked)
        client.manual_ack_set(False)
        return client

    MqttTransport._opened = careless


def session_ends_with_the_connection() -> None:
    """The broker keeps nothing for a collector that is away."""
    mqtt.KEPT_SECONDS = 0


MUTANTS: dict[str, Callable[[], None]] = {
    planted.__name__: planted
    for planted in (
        acknowledged_before_the_file, acknowledged_on_receipt, session_ends_with_the_connection,
    )
}  # fmt: skip

SEEN_BY = dict.fromkeys(MUTANTS, "stream, killed")
