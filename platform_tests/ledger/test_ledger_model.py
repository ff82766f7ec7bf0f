"""The ledger against a dictionary: any order of calls leaves both alike."""

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from malacate.errors import Fenced
from malacate.ledger.ledger import Ledger, Outcome
from malacate.ledger.work import Claim, Found

LEASE = 60.0
COMPARED = ("state", "epoch", "attempts", "crashes", "deliveries", "is_reported")
OBJECTS = st.sampled_from("abc")
VERSIONS = st.integers(1, 3)
ENDS = st.sampled_from(["loaded", "quarantined", "superseded", "vanished"])


@dataclass
class Row:
    """What the model knows of a batch."""

    found: Found
    state: str = "seen"
    epoch: int = 0
    attempts: int = 0
    crashes: int = 0
    deliveries: int = 1
    is_reported: bool = False
    lease_until: float = 0.0

    def is_lapsed(self, now: float) -> bool:
        return self.state == "processing" and self.lease_until < now


class LedgerAndModel(RuleBasedStateMachine):
    """One live worker that may forget its claims, and operators."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.mkdtemp(prefix="mlc")
        self.now = 1_000.0
        url = f"sqlite:///{Path(self.folder)}/ledger.sqlite"
        self.ledger = Ledger(url, lease_seconds=LEASE, clock=lambda: self.now)
        self.model: dict[str, Row] = {}
        self.held: list[Claim] = []

    def teardown(self) -> None:
        shutil.rmtree(self.folder)

    @rule(name=OBJECTS, version=VERSIONS, supersede=st.booleans())
    def note(self, name: str, version: int, supersede: bool) -> None:
        found = Found("lab", "rock", "object", name, str(version), version)
        fresh = found.batch_id not in self.model
        assert self.ledger.note([found], supersede) == int(fresh)
        if not fresh:
            self.model[found.batch_id].deliveries += 1
            return
        self.model[found.batch_id] = Row(found)
        for row in self.model.values() if supersede else ():
            older = row.found.object == name and row.found.ordinal < version
            if older and row.state == "seen" and row.epoch == 0:
                row.state, row.epoch = "superseded", row.epoch + 1

    @rule(limit=st.integers(1, 4))
    def claim(self, limit: int) -> None:
        expected = self._claimed(limit)
        claims = self.ledger.claim("lab", "rock", limit)
        assert [claim.batch_id for claim in claims] == expected
        assert [claim.epoch for claim in claims] == [self.model[b].epoch for b in expected]
        self.held += claims

    def _claimed(self, limit: int) -> list[str]:
        free = [r for r in self.model.values() if r.state == "seen" or r.is_lapsed(self.now)]
        free.sort(key=lambda r: (r.crashes, r.attempts, r.found.ordinal, r.found.object))
        taken: list[str] = []
        for row in free[:limit]:
            crashed = row.crashes > 0
            if row.crashes >= 3:
                row.state = "quarantined"
            elif crashed and taken:
                break
            else:
                self._take(row)
                taken.append(row.found.batch_id)
                if crashed:
                    break
        return taken

    def _take(self, row: Row) -> None:
        row.state, row.lease_until = "processing", self.now + LEASE
        row.epoch, row.attempts, row.crashes = row.epoch + 1, row.attempts + 1, row.crashes + 1

    def _answers(self, claim: Claim, call: Any) -> Row | None:
        """Whether the ledger takes the answer exactly when the model says so."""
        row = self.model[claim.batch_id]
        holds = row.state == "processing" and row.epoch == claim.epoch
        try:
            call()
        except Fenced:
            assert not holds
            return None
        assert holds
        return row

    @precondition(lambda self: self.held)
    @rule(data=st.data(), end=ENDS)
    def finish(self, data: st.DataObject, end: str) -> None:
        claim = data.draw(st.sampled_from(self.held))
        if row := self._answers(claim, lambda: self.ledger.finish(claim, Outcome(end))):
            row.state, row.crashes = end, 0

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def fail(self, data: st.DataObject) -> None:
        claim = data.draw(st.sampled_from(self.held))
        if row := self._answers(claim, lambda: self.ledger.fail(claim, "no", "no")):
            row.state, row.crashes = "seen", claim.crashes

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def renew(self, data: st.DataObject) -> None:
        claim = data.draw(st.sampled_from(self.held))
        if row := self._answers(claim, lambda: self.ledger.renew(claim)):
            row.lease_until = self.now + LEASE

    @rule(seconds=st.sampled_from([1.0, 30.0, 61.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        row = self._any(data)
        frees = row.state in ("quarantined", "vanished", "seen")
        assert self.ledger.release([row.found.batch_id]) == int(frees)
        if frees:
            row.state, row.crashes, row.attempts, row.is_reported = "seen", 0, 0, False

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def mend(self, data: st.DataObject) -> None:
        row = self._any(data)
        stale = row.state != "loaded"
        assert self.ledger.mend([(row.found.batch_id, Outcome("loaded"))]) == int(stale)
        if stale:
            row.state, row.crashes, row.epoch = "loaded", 0, row.epoch + 1

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def mark_reported(self, data: st.DataObject) -> None:
        row = self._any(data)
        self.ledger.mark_reported([row.found.batch_id])
        row.is_reported = True

    def _any(self, data: st.DataObject) -> Row:
        return self.model[data.draw(st.sampled_from(sorted(self.model)))]

    @invariant()
    def both_are_alike(self) -> None:
        stored = {r["batch_id"]: tuple(r[c] for c in COMPARED) for r in self.ledger.batches()}
        wanted = {b: tuple(getattr(r, c) for c in COMPARED) for b, r in self.model.items()}
        assert stored == wanted


TestLedgerAndModel = LedgerAndModel.TestCase
TestLedgerAndModel.settings = settings(
    max_examples=40,
    stateful_step_count=30,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
