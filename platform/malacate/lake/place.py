"""What a lake needs of the place it is in: a folder of this machine, or a bucket.

Paths are made of legal names and ids, with ``/`` between. What stands at a path is never written
again: it may only go, or be replaced as a whole.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class Stored:
    """Something that stands in a lake: its path there, its bytes, when it came."""

    path: str
    size: int
    modified_ns: int


class Bytes(Protocol):
    """What is read piece by piece."""

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes; none at the end."""


class Place(Protocol):
    """A folder, or a bucket below a prefix. Every failure to reach it is ``LakeError``."""

    @property
    def tmp(self) -> Path:
        """A folder of this machine for what is being written or read; losing it loses nothing."""

    def uri(self, path: str = "") -> str:
        """Where an engine reads ``path`` from."""

    def draft(self, path: str) -> Path:
        """The file of this machine to write what will be ``put`` at ``path``, a path of its own."""

    def put(self, draft: Path, path: str) -> Path:
        """Make the bytes of ``draft`` stand at ``path``, whole and durable; it may move them.

        Returns the file of this machine where they can be read, until ``forget``. Raises nothing
        where they stand already.
        """

    def create(self, path: str, data: bytes) -> None:
        """Make ``data`` stand at ``path``, durable; raises ``FileExistsError`` if something does.

        Of many that try at once, one succeeds. After an unknown outcome it looks at what stands.
        """

    def replace(self, path: str, data: bytes) -> None:
        """Make ``data`` stand at ``path``, durable, in place of what stands there.

        Who looks meanwhile, or after a kill, sees the one or the other, whole.
        """

    def content(self, path: str) -> bytes:
        """All bytes at ``path``, verified, also while they are replaced.

        Raises ``FileNotFoundError``.
        """

    def open(self, path: str) -> AbstractContextManager[Bytes]:
        """All bytes at ``path``; to be believed once the block was left, which verifies them.

        Raises ``FileNotFoundError``.
        """

    def local(self, path: str) -> Path:
        """A file of this machine with the verified bytes at ``path``, until ``forget``.

        Raises ``FileNotFoundError``.
        """

    def forget(self, path: str) -> None:
        """Nobody reads the copy of ``path`` on this machine any more."""

    def head(self, path: str) -> Stored | None:
        """What stands at ``path``."""

    def move(self, path: str, to: str) -> None:
        """Make the bytes at ``path`` stand at ``to`` alone; nothing if there are none.

        They replace what stood at ``to``. Killed anywhere, they stand at one or both.
        """

    def remove(self, path: str) -> None:
        """Remove what stands at ``path``, if anything does."""

    def list(self, folder: str) -> Iterator[Stored]:
        """All that stands below ``folder``."""
