"""Encoding Parquet beside the reading: one thread per part, with a bounded queue."""

from queue import Queue
from threading import Thread
from types import TracebackType

import pyarrow as pa

from malacate.lake.parts import PartWriter

QUEUED_BATCHES = 3
"""Bounds memory: what waits to be encoded while the next batch is read."""


class Background:
    """Feeds ``writer`` from a thread; an error there is raised by the next call here."""

    def __init__(self, writer: PartWriter) -> None:
        self._writer = writer
        self._queue: Queue[pa.RecordBatch | None] = Queue(QUEUED_BATCHES)
        self._error: BaseException | None = None
        self._thread = Thread(target=self._encode, daemon=True)

    def __enter__(self) -> "Background":
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._queue.put(None)
        self._thread.join()
        if error is None and self._error is not None:
            raise self._error

    def write(self, rows: pa.RecordBatch) -> None:
        """Queue rows; waits while the queue is full."""
        if self._error is not None:
            raise self._error
        self._queue.put(rows)

    def _encode(self) -> None:
        while (rows := self._queue.get()) is not None:
            if self._error is None:
                try:
                    self._writer.write(rows)
                except BaseException as error:
                    self._error = error
