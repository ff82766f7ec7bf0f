"""What reconciling asks of sources whose changes are captured. It only ever reads.

``rows`` are of one moment at the source; ``pending`` are at least the changes between a published
position and that moment. A row that differs and is not among them is wrong.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa

from malacate.contracts.chunk import Chunk
from malacate.lake.lake import Lake
from malacate.reconcile_ranges import Range


@dataclass(frozen=True)
class Pending:
    """Keys that have changed, a batch at a time, or that nobody can tell which: ``every``."""

    keys: Sequence[pa.RecordBatch] = ()
    every: bool = False


class Captured(Protocol):
    """One table at its source, and the changes of it that are not published yet."""

    @property
    def has_ranges(self) -> bool:
        """Whether it can be asked for ranges of the key; otherwise it is asked for all rows."""

    def follows(self, position: str | None) -> bool:
        """Whether what is published up to ``position`` is of the table as it is captured now.

        Raises ``SourceGap`` where changes were lost.
        """

    def rows(self, some: Sequence[Range]) -> Iterator[Chunk]:
        """Those rows of the table, in its contract's types, keyed; all of one moment."""

    def pending(self, position: str, lake: Lake) -> Pending:
        """What changed after ``position``, to the moment of ``rows`` or later."""

    def after(self, position: str) -> tuple[int, int]:
        """The place in the log, in two halves, behind which the changes after ``position`` are."""

    def shown(self, position: str) -> str:
        """The position as people know it there."""
