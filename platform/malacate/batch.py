"""What one read yields, and how it becomes visible: the words of sources, ingest and warehouse.

No reading and no writing here.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

import pyarrow as pa

from malacate.contracts.chunk import Chunk, Reject
from malacate.contracts.drift import Evolution
from malacate.ledger.work import Claim, Found

__all__ = ["Chunk", "Claim", "Evolution", "Found", "Reading", "Reject", "WriteMode"]


class WriteMode(StrEnum):
    """How a batch becomes visible."""

    APPEND = "append"
    """Its rows join the table; they replace those of an older version of the same object."""
    SNAPSHOT = "snapshot"
    """Its rows are the table."""
    UPSERT = "upsert"
    """Its rows replace those with the same key."""
    PARTITION = "partition"
    """Its rows replace one partition."""


@dataclass
class Reading:
    """An open read: the chunks to come, and what only reading them to the end can tell.

    ``source_rows`` is the source's own count, where it has one: block counts, ``count(*)``; it
    may be known only at the end. ``sha256`` is that of the bytes read, where there are bytes.
    ``keys`` yields all keys alive at the source at the moment of the read, if deletes are swept.
    """

    chunks: Iterator[Chunk]
    evolutions: list[Evolution] = field(default_factory=list)
    source_rows: int | None = None
    sha256: str = ""
    keys: Iterator[pa.RecordBatch] | None = None
