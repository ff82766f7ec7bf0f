"""What every kind of source offers to ``ingest``."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from malacate.batch import Found, Reading
from malacate.lake.lake import Lake


@dataclass(frozen=True)
class Known:
    """Where reading stands: the published position, and what waits to be read."""

    position: str | None = None
    waiting: Sequence[Found] = field(default=())


class Source(Protocol):
    """One table of a source system, or one kind of drop."""

    @property
    def supersedes(self) -> bool:
        """Whether a newer version of an object makes waiting older ones worthless."""

    def discover(self, known: Known) -> list[Found]:
        """What is there to read. Lists, never reads rows.

        Raises ``SourceUnreachable``: a failed listing is never "nothing new".
        """

    def read(self, found: Found, lake: Lake) -> Reading:
        """Open a read; the same work gives the same batch.

        Raises ``UnreadableFile``, ``SchemaDrift``, ``Superseded``, ``FileNotFoundError``.
        """
