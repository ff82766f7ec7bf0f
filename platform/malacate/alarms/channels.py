"""Where alarms are told: a line of the log, or a webhook.

A channel is called by what a declaration says: ``log``, or a reference ``${NAME}`` to the URL of a
webhook. The URL itself is a secret: it is neither kept nor told.
"""

import logging
from collections.abc import Callable

import httpx

from malacate.alarms.message import Message
from malacate.errors import MalacateError, SourceUnreachable

LOG = "log"
TIMEOUT_SECONDS = 10.0

Channel = Callable[[Message], None]
"""Tells a message, or raises ``SourceUnreachable``. It may be told the same again: by its key."""

_log = logging.getLogger("malacate.alarms")


def channel(name: str, resolve: Callable[[str], str]) -> Channel:
    """The channel that ``name`` names; ``resolve`` knows what references stand for.

    Raises ``ConfigError`` for one that stands for nothing.
    """
    return to_log if name == LOG else webhook(name, resolve(name))


def to_log(message: Message) -> None:
    """One line, with the beginning of the key."""
    _log.warning("ALARM %s %s", message.key[:12], message.text)


def webhook(name: str, url: str) -> Channel:
    """POST of JSON to ``url``, with the key as ``Idempotency-Key``: who has it, may pass it over.

    Anything but an answer of 2xx is a failure, a redirection too.
    """
    client = httpx.Client(timeout=TIMEOUT_SECONDS)

    def send(message: Message) -> None:
        try:
            answer = client.post(
                url, json=message.payload, headers={"Idempotency-Key": message.key}
            )
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise _untold(name, type(error).__name__) from None
        if not answer.is_success:
            raise _untold(name, f"HTTP {answer.status_code}")

    return send


def _untold(name: str, actual: str) -> MalacateError:
    return SourceUnreachable(
        "a webhook did not take an alarm",
        "Look at what receives it; it is sent again until it is taken.",
        object=name,
        actual=actual,
        reason="unreachable",
    )
