"""What there is to do, and who does it: found batches and claims on them."""

import hashlib
from dataclasses import dataclass
from typing import Literal

Kind = Literal["object", "window", "snapshot"]


@dataclass(frozen=True)
class Found:
    """Something new at a source, not read yet: a version of an object, a window, a snapshot.

    ``object`` names what it is a version of, ``version`` tells versions apart, ``ordinal`` orders
    them: a lower one never replaces a higher one. ``lo`` and ``hi`` bound a cursor window
    ``[lo, hi)``. ``size`` is in bytes where the source says it.
    """

    source: str
    table: str
    kind: Kind
    object: str
    version: str
    ordinal: int
    size: int | None = None
    lo: str | None = None
    hi: str | None = None

    @property
    def batch_id(self) -> str:
        """Identity from what it is, never from the clock or the attempt; it never expires."""
        parts = (self.source, self.table, self.object, self.version)
        return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogateescape")).hexdigest()


@dataclass(frozen=True)
class Claim:
    """The right to work on one batch until ``lease_until``; a later epoch ends it."""

    found: Found
    epoch: int
    attempts: int
    crashes: int = 0

    @property
    def batch_id(self) -> str:
        """Identity of the batch that is claimed."""
        return self.found.batch_id
