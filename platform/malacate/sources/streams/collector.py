"""The service that turns messages into drops: collected, written as one file, acknowledged.

A message is acknowledged once it stands in a file that is durable. So each is in a file at least
once, whenever the collector is killed, and in two if it was killed between the two steps.
"""

import hashlib
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from io import BytesIO

from malacate import crash
from malacate.errors import SourceUnreachable
from malacate.sources.streams.message import Message, as_file
from malacate.sources.streams.metrics import Metrics
from malacate.sources.streams.transport import Bounds, Transport
from malacate.stores.protocol import Store

HOURS = "%Y/%m/%d/%H/"
"""Where a file stands below its collector's prefix: by the hour of its collection, in UTC."""

_AT_ONCE = 1000
_TICK_SECONDS = 0.5
_WAITS = (0.5, 10.0)
"""Seconds until the first further try, and at most until any."""

_log = logging.getLogger(__name__)


class Collector:
    """Collects what ``transport`` receives into files of ``store`` whose names begin with
    ``prefix``.

    A file's name is of its content. ``bounds`` say when one is written; little more than one is in
    memory. ``written`` is called with the bytes of each before its messages are acknowledged, and
    again while it raises ``SourceUnreachable``.
    """

    def __init__(
        self,
        stream: str,
        transport: Transport,
        store: Store,
        bounds: Bounds,
        prefix: str = "",
        written: Callable[[bytes], None] = lambda _: None,
    ) -> None:
        self.metrics = Metrics(stream)
        self._transport, self._store, self._bounds = transport, store, bounds
        self._prefix, self._written = prefix, written
        self._is_ended, self._tries = False, 0

    def end(self) -> None:
        """Have ``run`` write what it holds, and return. Safe to call from a signal's handler."""
        self._is_ended = True

    def run(self) -> None:
        """Collect until ended. A broker or a store that is away is asked again for ever.

        Raises ``SourceUnreachable`` if one of them is away at the end: what it holds is not
        acknowledged then.
        """
        while not self._is_ended:
            self._turn()

    def _turn(self) -> None:
        held = self._gathered()
        if not held:
            return
        crash.point("collected_before_file")
        data = as_file(held)
        self._patiently(lambda: self._write(data))
        crash.point("collected_file")
        self._patiently(lambda: self._written(data))
        self._patiently(lambda: self._transport.acknowledge(len(held)))
        crash.point("collected_acknowledged")
        metrics = self.metrics
        metrics.messages += len(held)
        metrics.bytes += len(data)
        metrics.files += 1
        metrics.in_flight = 0
        metrics.last_file = time.monotonic()

    def _gathered(self) -> list[Message]:
        """Messages until a bound is met, or the end is near."""
        held: list[Message] = []
        size, due = 0, float("inf")
        while not self._is_ended:
            left = min(self._bounds.messages - len(held), _AT_ONCE)
            wait = min(due - time.monotonic(), _TICK_SECONDS)
            if left <= 0 or wait <= 0 or size >= self._bounds.bytes:
                break
            some = self._received(left, wait, due)
            if some and not held:
                due = time.monotonic() + self._bounds.seconds
            held += some
            size += sum(len(one.data) for one in some)
            self.metrics.in_flight = len(held)
        return held

    def _received(self, most: int, seconds: float, due: float) -> list[Message]:
        try:
            found = self._transport.receive(most, seconds)
        except SourceUnreachable as error:
            self._rest(error, due)
            return []
        self._answered()
        return found

    def _write(self, data: bytes) -> None:
        hour = f"{datetime.now(UTC):{HOURS}}"
        name = f"{self._prefix}{hour}{hashlib.sha256(data).hexdigest()}.parquet"
        with suppress(FileExistsError):
            self._store.create(name, BytesIO(data))

    def _patiently(self, step: Callable[[], None]) -> None:
        while True:
            try:
                step()
            except SourceUnreachable as error:
                if self._is_ended:
                    raise
                self._rest(error)
            else:
                self._answered()
                return

    def _answered(self) -> None:
        if self._tries:
            _log.warning("%s: it answers again", self.metrics.stream)
        self._tries, self.metrics.trouble = 0, ""

    def _rest(self, error: SourceUnreachable, due: float = float("inf")) -> None:
        """Wait longer each time, but neither beyond ``due`` nor the end."""
        first, longest = _WAITS
        wait = min(first * 2**self._tries, longest)
        until = min(time.monotonic() + wait, due)
        self._tries = min(self._tries + 1, 10)
        self.metrics.failures += 1
        self.metrics.trouble = str(error)
        _log.warning("%s: %s Again in %.1f s.", self.metrics.stream, error, wait)
        while not self._is_ended and (left := until - time.monotonic()) > 0:
            time.sleep(min(left, 0.2))
