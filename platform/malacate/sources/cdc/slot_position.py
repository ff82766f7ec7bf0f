"""Where reading of a table's changes stands: an LSN, of one slot, of one server.

LSNs of two servers, or of two lives of a table, say nothing of each other. So a position also
tells how often the slot was set up anew (its generation: the higher part, later is larger) and
which server, table and publication it is of (a checksum, only ever compared for equality).
"""

import zlib
from dataclasses import dataclass

_LSN_BITS, _IDENTITY_BITS, _ORDINAL_BITS = 64, 32, 55
_HALF = (1 << 32) - 1


@dataclass(frozen=True, order=True)
class Position:
    """End LSN of the last commit whose changes are published, and what it is an LSN of."""

    generation: int
    identity: int
    lsn: int

    @classmethod
    def of(cls, text: str | None) -> "Position | None":
        """Read back from its text, if there is one."""
        return None if text is None else cls.parse(text)

    @classmethod
    def parse(cls, text: str) -> "Position":
        """Read back from its text."""
        number = int(text)
        generation = number >> (_LSN_BITS + _IDENTITY_BITS)
        identity = (number >> _LSN_BITS) & ((1 << _IDENTITY_BITS) - 1)
        return cls(generation, identity, number & ((1 << _LSN_BITS) - 1))

    def __str__(self) -> str:
        high = (self.generation << _IDENTITY_BITS) | self.identity
        return str((high << _LSN_BITS) | self.lsn)

    @property
    def ordinal(self) -> int:
        """Its place among all positions of a table, in 63 bits: enough for 32 petabytes of WAL."""
        return (self.generation << _ORDINAL_BITS) | (self.lsn & ((1 << _ORDINAL_BITS) - 1))

    @property
    def high(self) -> int:
        """``_position_hi`` of a change that stands here."""
        return (self.generation << 32) | (self.lsn >> 32)

    @property
    def low(self) -> int:
        """``_position_lo`` of a change that stands here."""
        return self.lsn & _HALF


def shown(lsn: int) -> str:
    """An LSN as Postgres prints it."""
    return f"{lsn >> 32:X}/{lsn & _HALF:X}"


def identity_of(*facts: object) -> int:
    """A number that is another one as soon as one of ``facts`` is."""
    return zlib.crc32("\0".join(map(str, facts)).encode())
