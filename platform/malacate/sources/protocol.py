"""What every kind of source offers to ``ingest``."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from malacate.batch import Found, Reading
from malacate.lake.lake import Lake


@dataclass(frozen=True)
class Known:
    """Where reading stands: the published position, and what waits to be read."""

    position: str | None = None
    waiting: Sequence[Found] = field(default=())


class Look(Protocol):
    """What one bounded look at a source found."""

    @property
    def found(self) -> list[Found]:
        """What stands; the ledger knows which of it is new."""

    @property
    def cursor(self) -> str:
        """Where the next look goes on; kept in the transaction that notes ``found``."""

    @property
    def complete(self) -> bool:
        """Whether nothing is left over for the next look."""

    @property
    def warnings(self) -> Sequence[str]:
        """What somebody should hear of: files that a manifest lists and that do not stand."""


@runtime_checkable
class Looks(Protocol):
    """A source too large to be listed whole each time. A lost cursor costs time, never drops."""

    def look(self, cursor: str | None, now: float) -> Look:
        """Look at a bounded part; ``now`` is in seconds since 1970."""


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
