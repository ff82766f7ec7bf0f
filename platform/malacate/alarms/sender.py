"""Sends what the outbox has: at least once, each message under its key."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import Event, Thread

from sqlalchemy.exc import SQLAlchemyError

from malacate import crash
from malacate.alarms.channels import TIMEOUT_SECONDS, Channel, channel
from malacate.alarms.message import Message
from malacate.errors import MalacateError
from malacate.ledger import outbox
from malacate.ledger.ledger import Ledger

LEASE_SECONDS = 3 * TIMEOUT_SECONDS
"""How long a message is left alone that somebody took and never answered for."""

_LOOK_SECONDS = 2.0
_LONGEST_WAIT = 300.0

_log = logging.getLogger(__name__)


def wait(attempts: int) -> float:
    """Seconds until a message is tried again that was tried so often."""
    return min(2.0 ** min(attempts - 1, 20), _LONGEST_WAIT)


def send_due(
    ledger: Ledger,
    name: str,
    send: Channel,
    is_ended: Callable[[], bool] = lambda: False,
    lease_seconds: float = LEASE_SECONDS,
) -> int:
    """Send what is due on the channel ``name``, oldest first; return how many alarms were sent.

    Raises ``SourceUnreachable`` at the first message that is not taken: it waits, longer each time.
    """
    sent = 0
    while not is_ended() and (rows := outbox.take(ledger, name, lease_seconds)):
        message = Message.of(rows)
        crash.point("alarm_taken")
        try:
            send(message)
        except MalacateError as error:
            told = f"{error.what}: {error.actual}"
            outbox.mark_failed(ledger, message.key, name, told, wait(rows[0]["attempts"]))
            raise
        crash.point("alarm_sent")
        outbox.mark_sent(ledger, message.key, name)
        sent += len(rows)
    return sent


class Sender:
    """A thread for each channel, with a ledger of its own: whoever notes alarms never waits.

    ``wake`` says that there are some; they find those of others, dead ones too, by themselves.
    Raises ``ConfigError`` for a channel that stands for nothing.
    """

    def __init__(
        self,
        open_ledger: Callable[[], Ledger],
        names: Sequence[str],
        resolve: Callable[[str], str],
        lease_seconds: float = LEASE_SECONDS,
    ) -> None:
        self._open, self._lease, self._is_ended = open_ledger, lease_seconds, False
        self._awake = {name: Event() for name in names}
        self._threads = [
            Thread(target=self._run, args=(name, channel(name, resolve)), daemon=True)
            for name in names
        ]

    @contextmanager
    def running(self) -> Iterator["Sender"]:
        """Send until the end; what one send is about then is not waited for longer than it may."""
        for thread in self._threads:
            thread.start()
        try:
            yield self
        finally:
            self._is_ended = True
            self.wake()
            for thread in self._threads:
                thread.join(TIMEOUT_SECONDS)

    def wake(self) -> None:
        """There may be alarms."""
        for awake in self._awake.values():
            awake.set()

    def _run(self, name: str, send: Channel) -> None:
        awake, ledger = self._awake[name], None
        while True:
            is_last = self._is_ended
            try:
                ledger = ledger or self._open()
                send_due(ledger, name, send, lease_seconds=self._lease)
            except (MalacateError, SQLAlchemyError) as error:
                _log.warning("alarms to %s wait: %s", name, error)
            if is_last:
                return
            awake.wait(_LOOK_SECONDS)
            awake.clear()
