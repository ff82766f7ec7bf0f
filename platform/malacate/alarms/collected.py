"""The pass over a file of messages that a collector makes between writing and acknowledging it."""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import NamedTemporaryFile

import pyarrow as pa
from sqlalchemy.exc import SQLAlchemyError

from malacate.alarms.watch import Watch
from malacate.contracts.chunk import Chunk
from malacate.contracts.rules import split
from malacate.errors import MalacateError, OutOfResources, SourceUnreachable
from malacate.formats import FileFormat, read
from malacate.ledger.ledger import Ledger

Held = Callable[[Iterator[Chunk]], Iterator[Chunk]]
"""Puts rows aside before the contract's rules are looked at."""

_log = logging.getLogger(__name__)


class Pass:
    """Called with a file's bytes: judges its readings and notes their alarms, then calls ``wake``.

    Raises ``SourceUnreachable`` while the ledger does not answer: the messages are acknowledged
    once their alarms are noted. A file that cannot be read raises nothing: loading it will tell.
    Rows that ``held`` puts aside are not judged, as they are not once loading put them aside.
    """

    def __init__(
        self, watch: Watch, form: FileFormat, open_ledger: Callable[[], Ledger],
        wake: Callable[[], None], held: Held = iter,
    ) -> None:  # fmt: skip
        self._watch, self._form, self._open, self._wake = watch, form, open_ledger, wake
        self._held = held
        self._ledger: Ledger | None = None

    def __call__(self, data: bytes) -> None:
        """See the class."""
        try:
            judged = self._watch.judge(self._readings(data))
        except MalacateError as error:
            _log.warning("%s: no alarms of a file: %s", self._watch.name, error)
            return
        try:
            self._ledger = self._ledger or self._open()
            opened = self._watch.note(self._ledger, judged)
        except (SQLAlchemyError, OutOfResources) as error:
            raise SourceUnreachable(
                "the ledger did not take the alarms of a file",
                "Look at its database; nothing is acknowledged meanwhile, and nothing is lost.",
                source=self._watch.name,
                actual=type(error).__name__,
                reason="unreachable",
            ) from error
        if opened:
            self._wake()

    def _readings(self, data: bytes) -> Iterator[pa.RecordBatch]:
        """Its good rows, as they will be loaded."""
        with NamedTemporaryFile() as file:
            file.write(data)
            file.flush()
            first = 0
            for chunk in self._held(read(Path(file.name), self._watch.table, self._form).chunks):
                yield split(self._watch.table, chunk, first).rows
                first += chunk.rows_read
