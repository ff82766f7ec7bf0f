"""The one path: every source to its raw table, each row once, whatever is killed or repeated.

claim -> read -> mask -> split -> land -> publish -> mark. Killed anywhere, the next run ends in
the same place. This module moves rows; it does not know kinds of sources, engines or Dagster.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass

import pyarrow as pa

from malacate import crash
from malacate.aside import Aside
from malacate.batch import Claim, Reading, Reject
from malacate.contracts.chunk import Chunk
from malacate.contracts.rules import split
from malacate.contracts.table import Table
from malacate.errors import MalacateError, SchemaDrift, Superseded, UnreadableFile, refused
from malacate.lake.background import Background
from malacate.lake.lake import Lake, folder
from malacate.lake.landing import Landing
from malacate.lake.parts import PartWriter
from malacate.ledger.ledger import Holder, Ledger, Outcome
from malacate.ledger.tables import BATCH
from malacate.masking import Mask, unmasked
from malacate.policies import Policies
from malacate.recover import Recovery
from malacate.route import Report, Route, loaded, note, paced
from malacate.sources.completeness import Promise
from malacate.sources.protocol import Known
from malacate.warehouse.protocol import Marker, Published, Warehouse, follows

__all__ = ["GROUP", "QUARANTINE", "Ingest", "Report", "Route"]

GROUP = 64
"""Batches that are published by one transaction, at most."""

QUARANTINE = pa.schema(
    [
        ("position", pa.int64()),
        ("reason", pa.string()),
        ("detail", pa.string()),
        ("raw", pa.binary()),
    ]
)
"""A rejected row as it is kept: place, reason code, what was wrong, and its bytes."""


@dataclass
class Ingest:
    """The path between a ledger, a lake and a warehouse."""

    ledger: Ledger
    lake: Lake
    warehouse: Warehouse
    mask: Mask = unmasked
    progress: Callable[[str, int], None] = lambda batch, rows: None
    renew_seconds: float = 60.0

    def run(self, route: Route) -> Report:
        """Take in all that is new for ``route``; raise the first failure once the rest is in.

        Returns what every batch came to that was not reported yet; ``Ledger.mark_reported`` says
        that it was.
        """
        try:
            return self._run(route)
        except OSError as error:
            raise refused(error) from error

    def _run(self, route: Route) -> Report:
        report = Report()
        self.heal(route)
        self.warehouse.ensure(route.tables)
        for _ in range(2):
            known = self._known(route)
            while not note(route, self.ledger, known).is_complete:
                pass
            self._drain(route, report)
            if not known.waiting:
                break
        self._policies.remove_drops(route, report)
        rows = self.ledger.batches(*route.batches, BATCH.c.is_reported.is_(False))
        report.batches = [row for row in rows if row["ended"] is not None]
        report.elsewhere = sum(row["state"] == "processing" for row in rows)
        if report.failures:
            raise report.failures[0]
        return report

    def _known(self, route: Route) -> Known:
        """A waiting window that would leave a gap will never be published."""
        position = self.warehouse.position(route.table.name)
        unfinished = BATCH.c.state.in_(("seen", "processing"))
        waiting = self.ledger.waiting(*route.batches, unfinished)
        stale = [w for w in waiting if w.kind == "window" and not follows(w.lo, position)]
        self.ledger.give_up([w.batch_id for w in stale], f"the position is {position} by now")
        return Known(position, [w for w in waiting if w not in stale])

    def heal(self, route: Route) -> int:
        """Bring ledger, lake and warehouse together; see ``Recovery.heal``."""
        recovery = Recovery(self.ledger, self.lake, self.warehouse)
        recovery.keep_poison(route)
        healed = recovery.heal(route)
        self._policies.free_skipped(route)
        return healed

    def rebuild(self, route: Route) -> int:
        """Publish every landing that has no marker; see ``Recovery.rebuild``."""
        return Recovery(self.ledger, self.lake, self.warehouse).rebuild(route)

    @property
    def _policies(self) -> Policies:
        return Policies(self.ledger, self.warehouse)

    def _drain(self, route: Route, report: Report) -> None:
        """Until nothing is left that this run can do; what waited for others comes again."""
        while self._pass(route, report) or self._policies.free_skipped(route):
            report.deferred.clear()

    def _pass(self, route: Route, report: Report) -> bool:
        """Take in what is free; whether something that others wait for came to an end."""
        name, has_moved = route.table.name, False
        while claims := self.ledger.claim(
            route.table.source, name.table, GROUP, report.failed | report.deferred | report.paced
        ):
            try:
                self._take_in(route, claims, report)
            except BaseException as error:
                self._give_back(claims, error)
                raise
            waits = report.deferred | report.paced
            has_moved |= any(claim.batch_id not in waits for claim in claims)
        return has_moved and bool(report.deferred)

    def _take_in(self, route: Route, claims: Sequence[Claim], report: Report) -> None:
        name = route.table.name
        markers = self.warehouse.markers(name, [claim.batch_id for claim in claims])
        landed: list[tuple[Claim, Landing]] = []
        for claim in claims:
            if claim.batch_id in markers:
                standing = self.lake.landed(name.schema, name.table, claim.batch_id)
                claim.did("marked", "found: an earlier attempt had published it")
                outcome = loaded(markers[claim.batch_id], standing)
                self.ledger.finish(claim, outcome)
                self._clean(claim, outcome)
            elif (landing := self._land(route, claim, report)) is not None:
                landed.append((claim, landing))
        if landed and (seconds := self.warehouse.pause(name)):
            self._wait(route, [claim for claim, _ in landed], seconds, report)
        elif landed:
            self._publish(route, landed)

    def _wait(self, route: Route, claims: Sequence[Claim], seconds: float, report: Report) -> None:
        """Leave what has landed to a later run, which publishes it with what came meanwhile."""
        why = f"its table was published to often enough for now; due in {seconds:.0f} s"
        with self.ledger.together():
            for claim in claims:
                self.ledger.fail(claim, why, "paced", seconds)
        if not report.paced:
            report.warnings.append(paced(route, seconds))
        report.paced.update(claim.batch_id for claim in claims)

    def _give_back(self, claims: Sequence[Claim], error: BaseException) -> None:
        for claim in claims:
            self.ledger.give_back(claim, f"{type(error).__name__}: {error}")

    def _land(self, route: Route, claim: Claim, report: Report) -> Landing | None:
        found = claim.found
        try:
            return self._landing(route, claim, report)
        except FileNotFoundError as error:
            self.ledger.finish(claim, Outcome("vanished", reason="vanished", error=str(error)))
        except Superseded as error:
            self.ledger.finish(claim, Outcome("superseded", reason=error.reason, error=str(error)))
        except (UnreadableFile, SchemaDrift) as error:
            error.source = error.source or f"{found.source}/{found.table}"
            error.object = found.object
            if found.kind == "object":
                Aside(self.ledger, self.lake).quarantine(claim, error)
            else:
                self._fail(claim, error, report)
        except MalacateError as error:
            self._fail(claim, error, report)
        return None

    def _landing(self, route: Route, claim: Claim, report: Report) -> Landing | None:
        """Its rows in the lake, unless a policy keeps it from being loaded."""
        name, reading, sha256 = route.table.name, None, ""
        standing = self.lake.landed(name.schema, name.table, claim.batch_id)
        aside = Aside(self.ledger, self.lake)
        if (first := self._policies.overwritten(route, claim)) is None:
            reading = None if standing else self._open(route, claim)
            sha256 = standing.sha256 if standing else reading.sha256 if reading else ""
            twin = self._policies.repeated(route, claim, sha256)
            if twin is None:
                return standing or self._read(route, claim, reading)
            if twin.stands:
                aside.skip(claim, twin.holder, sha256, standing)
            else:
                self._defer(claim, twin.holder, report)
        elif first.stands:
            with suppress(UnreadableFile, SchemaDrift):
                self._open(route, claim)
            aside.reject(claim, first.holder, standing)
        else:
            self._defer(claim, first.holder, report)
        return None

    def _defer(self, claim: Claim, holder: Holder, report: Report) -> None:
        why = f"it waits for what becomes of {holder.object} (version {holder.version})"
        self.ledger.fail(claim, why, "waits_for_another")
        report.deferred.add(claim.batch_id)

    def _open(self, route: Route, claim: Claim) -> Reading:
        self.lake.recall(claim.batch_id, claim.found.size)
        reading = route.source.read(claim.found, self.lake)
        crash.point("staged")
        if reading.sha256:
            claim.did("staged", f"{claim.found.size} bytes, sha256 {reading.sha256}")
        return reading

    def _fail(self, claim: Claim, error: MalacateError, report: Report) -> None:
        self.ledger.fail(claim, str(error), error.reason)
        report.failures.append(error)
        report.failed.add(claim.batch_id)

    def _read(self, route: Route, claim: Claim, reading: Reading | None = None) -> Landing:
        table, found = route.table, claim.found
        reading = reading or self._open(route, claim)
        where = folder(table.name.schema, table.name.table, claim.batch_id)
        aside = where.replace("final/", "quarantine/", 1)
        with ExitStack() as open_parts:
            enter = open_parts.enter_context
            rows = enter(self.lake.writing(where, "rows", table.schema))
            rejects = enter(self.lake.writing(aside, "rejects", QUARANTINE))
            with Background(rows) as good:
                rows_read = self._split(claim, table, reading, good, rejects)
            if found.promise:
                Promise.from_json(found.promise).hold(rows=rows_read)
            crash.point("parsed")
            claim.did("read", f"{rows_read} rows, {rejects.rows} rejected")
            keys = self._write_keys(where, table, reading)
            if not rejects.rows:
                rejects.abandon()
        landing = Landing(
            **{**asdict(found), "table": table.name.table},
            batch_id=claim.batch_id,
            schema=table.name.schema,
            mode=route.mode.value,
            rows_read=rows_read,
            rows=rows.rows,
            rows_quarantined=rejects.rows,
            parts=(rows.part,),
            quarantine=rejects.part if rejects.rows else None,
            keys=keys.part if keys else None,
            source_rows=reading.source_rows,
            sha256=reading.sha256,
            evolutions=tuple(asdict(evolution) for evolution in reading.evolutions),
            contract_version=table.version,
        )
        landed = self.lake.commit(landing)
        claim.did("landed", where)
        return landed

    def _split(
        self, claim: Claim, table: Table, reading: Reading, good: Background, aside: PartWriter
    ) -> int:
        rows_read = 0
        for chunk in self._renewing(claim, reading.chunks):
            parted = split(table, self.mask(table, chunk), rows_read)
            rows_read += chunk.rows_read
            good.write(pa.RecordBatch.from_arrays(parted.rows.columns, schema=table.schema))
            if parted.rejects:
                aside.write(_quarantined(parted.rejects))
            self.progress(claim.found.object, rows_read)
        return rows_read

    def _renewing(self, claim: Claim, chunks: Iterator[Chunk]) -> Iterator[Chunk]:
        due = time.monotonic() + self.renew_seconds
        for chunk in chunks:
            yield chunk
            if time.monotonic() > due:
                self.ledger.renew(claim)
                due = time.monotonic() + self.renew_seconds

    def _write_keys(self, where: str, table: Table, reading: Reading) -> PartWriter | None:
        if reading.keys is None:
            return None
        schema = pa.schema([table.schema.field(name) for name in table.key])
        with self.lake.writing(where, "keys", schema) as keys:
            for rows in reading.keys:
                keys.write(pa.RecordBatch.from_arrays(rows.columns, schema=schema))
        return keys

    def _publish(self, route: Route, landed: Sequence[tuple[Claim, Landing]]) -> None:
        with self.ledger.together():
            for claim, _ in landed:
                self.ledger.renew(claim)
        done = self.warehouse.publish(
            [route.publication(landing, claim.epoch) for claim, landing in landed]
        )
        markers = self.warehouse.markers(route.table.name, [c.batch_id for c, _ in landed])
        outcomes = [
            _outcome(claim, landing, published, markers)
            for (claim, landing), published in zip(landed, done, strict=True)
        ]
        with self.ledger.together():
            for (claim, _), outcome in zip(landed, outcomes, strict=True):
                self.ledger.finish(claim, outcome)
        for (claim, _), outcome in zip(landed, outcomes, strict=True):
            crash.point("loaded")
            self._clean(claim, outcome)
            crash.point("cleaned")
        self.ledger.tell(claim for claim, _ in landed)

    def _clean(self, claim: Claim, outcome: Outcome) -> None:
        """The copy of a drop goes with its marker read back; with rejected rows it is kept."""
        if claim.found.kind != "object":
            return
        if outcome.rows_quarantined and not claim.found.turn:
            claim.did("kept", self.lake.quarantine_file(claim.batch_id))
        else:
            self.lake.discard_input(claim.batch_id)
            claim.did("input_removed")


def _outcome(
    claim: Claim, landing: Landing, published: Published, markers: dict[str, Marker]
) -> Outcome:
    if published.outcome == "superseded":
        claim.did("published", "no: something newer is", ok=False)
        return Outcome("superseded", landing.rows_read, reason="superseded")
    claim.did("published", published.outcome)
    claim.did("marked", f"{markers[landing.batch_id].rows} rows")
    return loaded(markers[landing.batch_id], landing)


def _quarantined(rejects: Sequence[Reject]) -> pa.RecordBatch:
    columns = zip(*((r.position, r.reason, r.detail, r.raw) for r in rejects), strict=True)
    arrays = [pa.array(list(c), f.type) for c, f in zip(columns, QUARANTINE, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=QUARANTINE)
