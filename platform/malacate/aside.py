"""Batches that end without being loaded: whole files in quarantine, skipped and rejected ones.

Their bytes are kept, so that a change of mind, of contract or of policy loses nothing.
"""

from dataclasses import dataclass, replace

from malacate import crash
from malacate.batch import Claim
from malacate.errors import MalacateError
from malacate.lake.lake import Lake
from malacate.lake.landing import Landing
from malacate.ledger.ledger import Holder, Ledger, Outcome


@dataclass(frozen=True)
class Aside:
    """Puts batches aside in a lake, and tells the ledger."""

    ledger: Ledger
    lake: Lake

    def quarantine(self, claim: Claim, error: MalacateError) -> None:
        """A file that cannot be read, whole."""
        outcome = Outcome("quarantined", reason=error.reason, error=str(error))
        self._end(claim, outcome, None)

    def skip(self, claim: Claim, twin: Holder, sha256: str, standing: Landing | None) -> None:
        """Bytes that ``twin`` brought; they are loaded once its rows are replaced."""
        error = f"the same bytes were loaded as {twin.object} (version {twin.version})"
        outcome = Outcome("skipped", reason="duplicate_content", error=error, sha256=sha256)
        self._end(claim, replace(outcome, dup_of=twin.batch_id), standing)

    def reject(self, claim: Claim, first: Holder, standing: Landing | None) -> None:
        """Another version of an object that is loaded and never replaced."""
        error = f"version {first.version} is loaded, and this table takes no other"
        self._end(claim, Outcome("rejected", reason="overwritten", error=error), standing)

    def _end(self, claim: Claim, outcome: Outcome, standing: Landing | None) -> None:
        if standing is not None:
            self.lake.withdraw(standing)
        kept = self.lake.quarantine_file(claim.batch_id)
        crash.point("file_quarantined")
        claim.did("kept", kept)
        self.ledger.finish(claim, replace(outcome, landing=kept))
