"""What every place of drops offers: versions of objects listed, read exactly, removed exactly.

Names are data here: they are listed, hashed and asked for, and never become a path that is
written to. A name's odd bytes are percent-encoded, one to one (``readable``).
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import BinaryIO, Protocol


@dataclass(frozen=True)
class Entry:
    """A version of an object: ``version`` changes whenever the object is written again.

    ``ordinal`` orders the versions of one object: a generation where the store has one, else the
    time of the last write in nanoseconds. ``size`` is in bytes.
    """

    name: str
    size: int
    version: str
    ordinal: int
    modified_ns: int


class Opened(Protocol):
    """The bytes of one version."""

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes; none at the end."""

    def verify(self) -> None:
        """Raise unless all bytes that were read are those of the version.

        Raises ``Superseded`` when it was written again meanwhile, ``UnreadableFile`` when not all
        bytes that the store told of were read, or their checksum is another.
        """


class Store(Protocol):
    """A folder, or a bucket below a prefix. Every failure to reach it is ``SourceUnreachable``."""

    @property
    def uri(self) -> str:
        """Where it is, without secrets."""

    def list(self, prefix: str = "", after: str = "") -> Iterator[Entry]:
        """Objects whose name begins with ``prefix`` and sorts after ``after``, in that order.

        Order and prefix are those of the names' bytes (Azure orders by UTF-16). An object may end
        in ``/``: a marker. A place that cannot be listed is an error, never an empty listing.
        """

    def head(self, name: str) -> Entry:
        """The version that stands now; raises ``FileNotFoundError``."""

    def open(self, name: str, version: str) -> AbstractContextManager[Opened]:
        """Read exactly ``version``; raises ``Superseded``, ``FileNotFoundError`` if it is gone."""

    def create(self, name: str, data: BinaryIO) -> Entry:
        """Write a new object from the start of ``data``, which has to be a seekable one.

        Raises ``FileExistsError`` where one stands.

        After an unknown outcome it looks at what stands instead of writing again.
        """

    def replace(self, name: str, data: BinaryIO) -> None:
        """Make all of ``data`` stand as ``name``, whatever stood there; it is seekable.

        Who looks meanwhile sees the one or the other, whole. Killed, or without an answer, one of
        them stands.
        """

    def remove(self, name: str, version: str) -> bool:
        """Remove exactly ``version``; ``False`` if it is gone or written again already."""

    def others(self) -> Iterator[str]:
        """Names of what stands there and can be no object, as links in a folder."""
