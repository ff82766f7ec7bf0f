"""What there is to do, who does it, and what came of it: batches, claims, outcomes, steps."""

import hashlib
import time
from dataclasses import dataclass, field, replace
from typing import Literal

Kind = Literal["object", "window", "snapshot"]

AGAIN = "#again-"
"""Stands in the version of a batch that sends the bytes of an earlier one through once more."""


@dataclass(frozen=True)
class Found:
    """Something new at a source, not read yet: a version of an object, a window, a snapshot.

    ``object`` names what it is a version of, ``version`` tells versions apart, ``ordinal`` orders
    them: a lower one never replaces a higher one. ``lo`` and ``hi`` bound a cursor window
    ``[lo, hi)``. ``size`` is in bytes where the source says it, ``modified_ns`` when an object was
    written, in nanoseconds since 1970. ``promise`` is what a manifest says of the object.
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
    modified_ns: int | None = None
    promise: str | None = None

    @property
    def batch_id(self) -> str:
        """Identity from what it is, never from the clock or the attempt; it never expires."""
        parts = (self.source, self.table, self.object, self.version)
        return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogateescape")).hexdigest()

    def again(self, turn: int, reading: str) -> "Found":
        """The same bytes read another way; ``reading`` names the contract and parser, ``turn`` the
        order. It replaces what it repeats, and has a landing and a marker of its own.
        """
        first = self.version.partition(AGAIN)[0]
        return replace(self, version=f"{first}{AGAIN}{turn}-{reading}")

    @property
    def turn(self) -> int:
        """How often its bytes had been sent through before; 0 as it was found."""
        return int(self.version.partition(AGAIN)[2].partition("-")[0] or 0)


@dataclass(frozen=True)
class Step:
    """Something that happened to a batch: correct (``ok``) or not, when, and in a few words."""

    name: str
    at: float
    ok: bool = True
    detail: str = ""


@dataclass(frozen=True)
class Claim:
    """The right to work on one batch until ``lease_until``; a later epoch ends it.

    ``steps`` gathers what was done; they are written down with the batch's answer, by the same
    transaction. What a killed worker did is told by its attempt alone.
    """

    found: Found
    epoch: int
    attempts: int
    crashes: int = 0
    steps: list[Step] = field(default_factory=list, compare=False)

    @property
    def batch_id(self) -> str:
        """Identity of the batch that is claimed."""
        return self.found.batch_id

    def did(self, name: str, detail: str = "", ok: bool = True) -> None:
        """Remember a step."""
        self.steps.append(Step(name, time.time(), ok, detail))


@dataclass(frozen=True)
class Outcome:
    """How a batch ended: its state, its counts, and the reason if it is not loaded.

    ``sha256`` is that of its bytes; ``dup_of`` the batch that brought the same bytes first.
    """

    state: str
    rows_read: int = 0
    rows_loaded: int = 0
    rows_quarantined: int = 0
    landing: str = ""
    reason: str = ""
    error: str = ""
    sha256: str | None = None
    dup_of: str | None = None

    @property
    def known(self) -> dict[str, str | int]:
        """Its fields, without those that this worker cannot tell."""
        return {name: value for name, value in vars(self).items() if value is not None}
