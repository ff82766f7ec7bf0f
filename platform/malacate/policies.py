"""What is declared of drops beyond their rows: overwritten, repeated, removed once loaded.

A batch that has to give way is decided before its rows are read, by the ledger's holds and the
holder's marker read back from the warehouse: marked, it stands; not ended yet, it is waited for;
ended without a marker, it makes way. So exactly one of two equal files is loaded, whichever
worker has them and whoever is killed. What was skipped and is listed no more is known to the
ledger alone: with it lost, only its bytes stand, in quarantine.
"""

import time
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from malacate.batch import Claim, Found
from malacate.errors import MalacateError
from malacate.ledger.ledger import ENDED, Holder, Ledger
from malacate.ledger.tables import BATCH
from malacate.ledger.work import Step
from malacate.route import Report, Route
from malacate.warehouse.protocol import Warehouse


@runtime_checkable
class Releases(Protocol):
    """A source whose drops can be removed."""

    def release(self, found: Found) -> bool:
        """Remove exactly this version of a drop; ``False`` if it is gone or written again."""


@dataclass(frozen=True)
class Precedent:
    """The batch that comes before another one: it ``stands``, or has to be waited for."""

    holder: Holder
    stands: bool


@dataclass(frozen=True)
class Policies:
    """The policies of routes, on a ledger and a warehouse."""

    ledger: Ledger
    warehouse: Warehouse

    def overwritten(self, route: Route, claim: Claim) -> Precedent | None:
        """The version of the same object that came first, where no other may follow it."""
        found = claim.found
        if route.overwrite != "reject" or found.kind != "object" or found.turn:
            return None
        return self._precedent(route, claim, None)

    def repeated(self, route: Route, claim: Claim, sha256: str) -> Precedent | None:
        """The batch that brought the same bytes under another name, where they are skipped.

        Overwriting goes first: a version whose object has rows is loaded, or those would stay.
        """
        if route.duplicates != "skip" or claim.found.kind != "object" or not sha256:
            return None
        if route.replaces_older and self._has_rows(route, claim.found):
            return None
        return self._precedent(route, claim, sha256)

    def _has_rows(self, route: Route, found: Found) -> bool:
        """Whether another version of the object is loaded, or on its way."""
        other = (BATCH.c.object == found.object, BATCH.c.batch_id != found.batch_id)
        live = BATCH.c.state.in_(("seen", "processing", "loaded"))
        return bool(self.ledger.batches(*route.batches, *other, live))

    def _precedent(self, route: Route, claim: Claim, sha256: str | None) -> Precedent | None:
        holder = self.ledger.hold(claim, sha256)
        while holder is not None:
            marker = self.warehouse.markers(route.table.name, [holder.batch_id])
            stands = holder.batch_id in marker
            if stands and (sha256 is None or marker[holder.batch_id].is_current):
                return Precedent(holder, True)
            if not stands and (holder.state not in ENDED or holder.state == "loaded"):
                return Precedent(holder, False)
            holder = self.ledger.hold(claim, sha256, instead_of=holder.batch_id)
        return None

    def free_skipped(self, route: Route) -> int:
        """Let skipped batches wait again whose twin's rows stand no more; return how many."""
        if route.duplicates != "skip":
            return 0
        skipped = self.ledger.batches(*route.batches, BATCH.c.state == "skipped")
        if not skipped:
            return 0
        twins = self.warehouse.markers(route.table.name, [row["dup_of"] for row in skipped])
        current = {batch_id for batch_id, marker in twins.items() if marker.is_current}
        return self.ledger.release([r["batch_id"] for r in skipped if r["dup_of"] not in current])

    def remove_drops(self, route: Route, report: Report) -> None:
        """Remove at their store the drops whose marker is read back; what fails is a warning."""
        source = route.source
        if route.after_load != "remove" or not isinstance(source, Releases):
            return
        here = (BATCH.c.kind == "object", BATCH.c.state == "loaded")
        due = self.ledger.waiting(*route.batches, *here, BATCH.c.drop_removed.is_(None))
        markers = self.warehouse.markers(route.table.name, [f.batch_id for f in due])
        removed: list[tuple[str, str]] = []
        for found in (f for f in due if f.batch_id in markers):
            try:
                went = not found.turn and source.release(found)
            except MalacateError as error:
                report.warnings.append(error)
                break
            removed.append((found.batch_id, "" if went else "gone, or written again"))
        with self.ledger.together():
            for batch_id, detail in removed:
                step = Step("drop_removed", time.time(), True, detail)
                self.ledger.mark_removed(batch_id, step)
