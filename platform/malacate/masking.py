"""What is done to sensitive values before anything durable is written.

The seam that every row and every reject passes through. A ``Mask`` gets a chunk and the table's
contract, and returns the chunk with the same rows in the same order.
"""

from collections.abc import Callable

from malacate.contracts.chunk import Chunk
from malacate.contracts.table import Table

Mask = Callable[[Table, Chunk], Chunk]


def unmasked(table: Table, chunk: Chunk) -> Chunk:
    """Every value as it came: for platforms that have no masking policy."""
    return chunk
