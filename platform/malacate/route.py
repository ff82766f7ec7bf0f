"""From one source to one raw table: what is declared of it, and what a run of it came to."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from sqlalchemy import ColumnElement

from malacate.batch import WriteMode
from malacate.contracts.table import Table
from malacate.errors import MalacateError, WarehouseBusy
from malacate.lake.landing import Landing
from malacate.ledger.ledger import Ledger
from malacate.ledger.tables import BATCH
from malacate.ledger.work import Outcome
from malacate.sources.protocol import Known, Looks, Source
from malacate.warehouse.protocol import Derivation, Marker, Publication

Overwrite = Literal["replace", "append", "reject"]
"""A newer version of a loaded object takes its rows' place, joins them, or is put aside."""

Duplicates = Literal["warn", "skip"]
"""Bytes that were loaded under another name are loaded and told, or left out and told."""

AfterLoad = Literal["keep", "remove"]
"""What becomes of a drop at its store once its marker was read back."""


@dataclass(frozen=True)
class Route:
    """From one source to one raw table. The policies are about objects, not about windows."""

    table: Table
    source: Source
    mode: WriteMode
    overwrite: Overwrite = "replace"
    derives: Derivation | None = None
    duplicates: Duplicates = "warn"
    after_load: AfterLoad = "keep"

    @property
    def replaces_older(self) -> bool:
        """Whether a newer version of an object takes the place of an older one."""
        return self.overwrite == "replace"

    @property
    def tables(self) -> list[Table]:
        """The raw table, and the one derived from it."""
        return [self.table] if self.derives is None else [self.table, self.derives.target]

    @property
    def batches(self) -> tuple[ColumnElement[bool], ...]:
        """Which batches of the ledger are of this route."""
        name = self.table.name.table
        return (BATCH.c.source == self.table.source, BATCH.c.table_name == name)

    def publication(self, landing: Landing, epoch: int) -> Publication:
        """A landing on its way; what is sent through again replaces what it repeats."""
        return Publication(
            table=self.table,
            landing=landing,
            mode=self.mode,
            epoch=epoch,
            replaces_older=self.replaces_older or landing.found.turn > 0,
            derives=self.derives,
        )


@dataclass(frozen=True)
class Noted:
    """What one look at a source came to; ``told`` is what somebody should hear of."""

    new: int
    is_complete: bool
    told: Sequence[str] = ()


def note(route: Route, ledger: Ledger, known: Known | None = None) -> Noted:
    """Look once at the route's source, and keep what was seen with where the look goes on."""
    source, name = route.source, route.table.name.table
    supersedes = source.supersedes and route.replaces_older
    if not isinstance(source, Looks):
        return Noted(ledger.note(source.discover(known or Known()), supersedes), True)
    look = source.look(ledger.cursor(route.table.source, name), time.time())
    with ledger.together():
        new = ledger.note(look.found, supersedes)
        ledger.look_on_from(route.table.source, name, look.cursor)
    return Noted(new, look.complete, look.warnings)


@dataclass
class Report:
    """What a run did, and what earlier runs did without being able to tell.

    ``warnings`` are what could not be done beside the loading: drops that could not be removed.
    ``deferred`` are batches that wait for one that another worker has, ``paced`` those that have
    landed and wait for a later run, for their table was published to as often as it may.
    """

    batches: list[dict[str, object]] = field(default_factory=list)
    elsewhere: int = 0
    failures: list[MalacateError] = field(default_factory=list)
    failed: set[str] = field(default_factory=set)
    deferred: set[str] = field(default_factory=set)
    paced: set[str] = field(default_factory=set)
    warnings: list[MalacateError] = field(default_factory=list)

    def total(self, count: str) -> int:
        """Sum of ``rows_read``, ``rows_loaded`` or ``rows_quarantined``."""
        return sum(int(str(b[count] or 0)) for b in self.batches)

    def of(self, state: str) -> list[dict[str, object]]:
        """The batches that ended in ``state``."""
        return [b for b in self.batches if b["state"] == state]

    @property
    def repeated(self) -> list[dict[str, object]]:
        """The batches whose bytes another object had brought before, loaded or skipped."""
        return [b for b in self.batches if b["dup_of"]]


def loaded(marker: Marker, landing: Landing | None = None) -> Outcome:
    """How a batch ended that has its marker; its manifest, if it stands, tells its checksum."""
    read = marker.rows + marker.rows_quarantined
    sha256 = landing.sha256 or None if landing else None
    return Outcome(
        "loaded", read, marker.rows, marker.rows_quarantined, marker.landing, sha256=sha256
    )


def paced(route: Route, seconds: float) -> WarehouseBusy:
    """What somebody should hear of batches that have landed and are not published yet."""
    return WarehouseBusy(
        "batches have landed and wait, for their table was published to as often as it may",
        "Nothing to do: a later run publishes them together. Fewer, larger drops wait less.",
        source=str(route.table.name),
        actual=f"the next may come in {seconds:.0f} s",
        reason="paced",
    )
