"""Rows on their way: Arrow record batches with the rejects that lie between them."""

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa


@dataclass(frozen=True)
class Reject:
    """A row that did not make it, kept whole: its bytes, its place, and the reason."""

    position: int
    reason: str
    detail: str
    raw: bytes


@dataclass(frozen=True)
class Chunk:
    """Some rows of a batch, in order, with the rejects met while reading them.

    ``positions`` gives each good row's place in the batch where rejects lie between them; without
    it they follow one another.
    """

    rows: pa.RecordBatch
    rejects: Sequence[Reject] = ()
    positions: Sequence[int] | None = None

    @property
    def rows_read(self) -> int:
        """Rows that the source delivered: good and rejected ones."""
        return int(self.rows.num_rows) + len(self.rejects)
