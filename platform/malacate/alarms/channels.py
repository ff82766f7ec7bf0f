"""Where an alarm is told: a line of the log, or a webhook.

A channel is called by what a declaration says: ``log``, or a reference ``${NAME}`` to the URL of a
webhook. The URL itself is a secret: it is neither kept nor told.
"""

import logging
from collections.abc import Callable, Mapping
from typing import Any

import httpx

from malacate.alarms.rules import instant
from malacate.errors import MalacateError, SourceUnreachable

LOG = "log"
TIMEOUT_SECONDS = 10.0

Channel = Callable[[Mapping[str, Any]], None]
"""Tells an alarm, or raises ``SourceUnreachable``. It may be told the same again: under one key."""

_log = logging.getLogger("malacate.alarms")


def channel(name: str, resolve: Callable[[str], str]) -> Channel:
    """The channel that ``name`` names; ``resolve`` knows what references stand for.

    Raises ``ConfigError`` for one that stands for nothing.
    """
    return to_log if name == LOG else webhook(name, resolve(name))


def to_log(alarm: Mapping[str, Any]) -> None:
    """One line, with the beginning of the key."""
    _log.warning("ALARM %s %s", alarm["key"][:12], alarm["told"])


def webhook(name: str, url: str) -> Channel:
    """POST of JSON to ``url``, with the key as ``Idempotency-Key``: who has it, may pass it over.

    Anything but an answer of 2xx is a failure, a redirection too.
    """
    client = httpx.Client(timeout=TIMEOUT_SECONDS)

    def send(alarm: Mapping[str, Any]) -> None:
        try:
            answer = client.post(
                url, json=payload(alarm), headers={"Idempotency-Key": alarm["key"]}
            )
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise _untold(name, type(error).__name__) from None
        if not answer.is_success:
            raise _untold(name, f"HTTP {answer.status_code}")

    return send


def payload(alarm: Mapping[str, Any]) -> dict[str, Any]:
    """What a webhook is sent."""
    return {
        "key": alarm["key"],
        "table": f"raw/{alarm['watch']}",
        "rule": alarm["rule"],
        "sensor": alarm["subject"],
        "opened_at": instant(alarm["opened_us"]),
        "value": alarm["value"],
        "limit": alarm["bound"],
        "unit": alarm["unit"],
        "text": alarm["told"],
    }


def _untold(name: str, actual: str) -> MalacateError:
    return SourceUnreachable(
        "a webhook did not take an alarm",
        "Look at what receives it; it is sent again until it is taken.",
        object=name,
        actual=actual,
        reason="unreachable",
    )
