"""Reading one version of an object piece by piece; what a piece is, its bucket knows."""

from collections.abc import Callable

from malacate.errors import UnreadableFile
from malacate.stores.answers import Held

PIECE_BYTES = 8 << 20
"""How much of an object is asked for at a time, and held in memory."""


class Pieces:
    """See ``Opened``; ``piece`` gives the bytes from one place to another."""

    def __init__(self, piece: Callable[[int, int], bytes], name: str, held: Held) -> None:
        self._piece, self._name, self._held = piece, name, held
        self._asked, self._waiting = 0, memoryview(b"")
        self._digest = held.checksum[0]() if held.checksum else None

    def read(self, size: int = -1, /) -> bytes:
        """See ``Opened``."""
        blocks = []
        while size and (self._waiting or self._asked < self._held.size):
            block = self._next(size)
            blocks.append(block)
            size -= len(block) if size > 0 else 0
        return b"".join(blocks)

    def _next(self, size: int) -> memoryview:
        if not self._waiting:
            stop = min(self._asked + PIECE_BYTES, self._held.size)
            piece = self._piece(self._asked, stop)
            self._asked = stop
            self._waiting = memoryview(piece)
            if self._digest:
                self._digest.update(piece)
        block = self._waiting[:size] if size > 0 else self._waiting
        self._waiting = self._waiting[len(block) :]
        return block

    def verify(self) -> None:
        """See ``Opened``."""
        read = self._asked - len(self._waiting)
        if read != self._held.size:
            raise _unequal(self._name, f"{self._held.size} bytes", f"{read}", "short_read")
        if self._held.checksum and self._digest:
            due, came = self._held.checksum[1], self._digest.digest()
            if came != due:
                raise _unequal(self._name, due.hex(), came.hex(), "checksum")


def _unequal(name: str, expected: str, actual: str, reason: str) -> UnreadableFile:
    return UnreadableFile(
        "the bytes that came are not those that the store told of",
        "Release the file to read it again; if it stays so, ask for it again at its source.",
        object=name,
        expected=expected,
        actual=actual,
        reason=reason,
    )
