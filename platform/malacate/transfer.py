"""Objects of one place copied to another, each version once, with a manifest as proof.

A copy is proven by reading it back from the target: no waiting, no listing, no hope. Nothing is
decoded here; what a transferred file means is the business of whoever reads the target.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

from sqlalchemy import ColumnElement

from malacate import crash
from malacate.batch import Claim
from malacate.errors import MalacateError, Superseded, UnreadableFile
from malacate.lake.lake import Lake, Staged
from malacate.ledger.ledger import Ledger, Outcome
from malacate.ledger.tables import BATCH
from malacate.sources.discovery import Discovery
from malacate.sources.files import stage
from malacate.stores.protocol import Entry, Store

SOURCE = "transfer"
"""Under which the ledger keeps transfers; the table is the transfer's name."""

MANIFESTS = "_manifests/"
"""Where manifests stand at the target."""

_PIECE = 8 << 20


class Occupied(MalacateError):
    """At the target stands something that this transfer did not put there."""


@dataclass
class Sent:
    """What a run transferred, and what earlier runs did without being able to tell."""

    batches: list[dict[str, Any]] = field(default_factory=list)
    manifest: str = ""
    failures: list[MalacateError] = field(default_factory=list)

    @property
    def bytes(self) -> int:
        """Bytes of all objects."""
        return sum(int(batch["size"]) for batch in self.batches)


@dataclass(frozen=True)
class Transfer:
    """Drops of ``discovery`` to ``target``, under the names they have."""

    discovery: Discovery
    target: Store

    @property
    def batches(self) -> tuple[ColumnElement[bool], ...]:
        """Which batches of the ledger are of this transfer."""
        return (BATCH.c.source == SOURCE, BATCH.c.table_name == self.discovery.table)

    def look(self, ledger: Ledger, now: float) -> bool:
        """Note what stands at the source; whether all of it was looked at."""
        name = self.discovery.table
        tick = self.discovery.tick(ledger.cursor(SOURCE, name), now)
        with ledger.together():
            ledger.note(tick.found, supersede=True)
            ledger.look_on_from(SOURCE, name, tick.cursor)
        return tick.complete

    def run(
        self, ledger: Ledger, lake: Lake, progress: Callable[[str, int], None] | None = None
    ) -> Sent:
        """Copy all that is due; raise the first failure once the rest is there.

        Returns what was not reported yet; ``Ledger.mark_reported`` says that it was.
        """
        sent, tried = Sent(), set[str]()
        while claims := ledger.claim(SOURCE, self.discovery.table, 1, tried):
            for claim in claims:
                tried.add(claim.batch_id)
                self._take(ledger, lake, claim, sent)
                if progress:
                    progress(claim.found.object, claim.found.size or 0)
        told = ledger.batches(*self.batches, BATCH.c.is_reported.is_(False))
        sent.batches = [row for row in told if row["state"] == "loaded"]
        for row in sent.batches:
            lake.discard_input(row["batch_id"])
        sent.manifest = self._prove(sent.batches)
        if sent.failures:
            raise sent.failures[0]
        return sent

    def _take(self, ledger: Ledger, lake: Lake, claim: Claim, sent: Sent) -> None:
        try:
            ledger.finish(claim, self._copy(ledger, lake, claim))
            crash.point("transferred")
            lake.discard_input(claim.batch_id)
        except Superseded as error:
            ledger.finish(claim, Outcome("superseded", reason=error.reason, error=str(error)))
            lake.discard_input(claim.batch_id)
        except MalacateError as error:
            ledger.fail(claim, str(error), error.reason)
            sent.failures.append(error)
        except BaseException as error:
            ledger.give_back(claim, f"{type(error).__name__}: {error}")
            raise

    def _copy(self, ledger: Ledger, lake: Lake, claim: Claim) -> Outcome:
        found = claim.found
        try:
            staged = stage(self.discovery.selection.store, found, lake)
        except FileNotFoundError as error:
            return Outcome("vanished", reason="vanished", error=str(error))
        crash.point("transfer_staged")
        ours = ledger.batches(*self.batches, BATCH.c.object == found.object, _LOADED)
        if any(row["ordinal"] > found.ordinal for row in ours):
            raise _overtaken(found.object)
        ledger.renew(claim)
        entry = self._put(found.object, staged, [str(row["landing"]) for row in ours])
        crash.point("transfer_put")
        arrived = _sha256(self.target, entry)
        if arrived != staged.sha256:
            self.target.remove(found.object, entry.version)
            raise UnreadableFile(
                "a copy is not what was sent",
                "Look at the target's storage; the next run sends the object again.",
                object=f"{self.target.uri}/{found.object}",
                expected=staged.sha256, actual=arrived, reason="wrong_copy",
            )  # fmt: skip
        return Outcome("loaded", landing=entry.version, sha256=staged.sha256)

    def _put(self, name: str, staged: Staged, ours: Sequence[str]) -> Entry:
        """The object at the target; what stands there gives way if it is an older copy of ours."""
        with staged.path.open("rb") as data:
            try:
                return self.target.create(name, data)
            except FileExistsError:
                standing = self.target.head(name)
                if _sha256(self.target, standing) == staged.sha256:
                    return standing
                if standing.version not in ours:
                    raise self._occupied(name, standing) from None
                self.target.remove(name, standing.version)
                return self.target.create(name, data)

    def _occupied(self, name: str, standing: Entry) -> Occupied:
        return Occupied(
            "another object stands where a copy should go",
            "Move it away, or give this transfer a place of its own.",
            object=f"{self.target.uri}/{name}",
            actual=f"version {standing.version}, {standing.size} bytes",
            reason="occupied",
        )

    def _prove(self, batches: Sequence[dict[str, Any]]) -> str:
        """Write what arrived as a manifest at the target; its name comes from what it says."""
        if not batches:
            return ""
        files = [
            {"name": b["object"], "size": b["size"], "sha256": b["sha256"],
             "source_version": b["version"], "target_version": b["landing"]}
            for b in sorted(batches, key=lambda b: str(b["batch_id"]))
        ]  # fmt: skip
        text = json.dumps({"from": self.discovery.selection.store.uri, "files": files}, indent=1)
        name = f"{MANIFESTS}{hashlib.sha256(text.encode()).hexdigest()[:32]}.json"
        with suppress(FileExistsError):
            self.target.create(name, BytesIO(text.encode()))
        return f"{self.target.uri}/{name}"


def _overtaken(name: str) -> Superseded:
    """It waited, after a failure, while a newer version was sent: that one stays."""
    return Superseded(
        "a newer version of the object was sent already",
        "Nothing to do: the newer one stands at the target.",
        object=name,
        reason="superseded",
    )


_LOADED = BATCH.c.state == "loaded"


def _sha256(store: Store, entry: Entry) -> str:
    digest = hashlib.sha256()
    with store.open(entry.name, entry.version) as opened:
        while piece := opened.read(_PIECE):
            digest.update(piece)
        opened.verify()
    return digest.hexdigest()
