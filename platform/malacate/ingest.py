"""The one path: every source to its raw table, each row once, whatever is killed or repeated.

claim -> read -> mask -> split -> land -> publish -> mark. Killed anywhere, the next run ends in
the same place. This module moves rows; it does not know kinds of sources, engines or Dagster.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field

import pyarrow as pa
from sqlalchemy import ColumnElement

from malacate import crash
from malacate.batch import Claim, Reading, Reject, WriteMode
from malacate.contracts.chunk import Chunk
from malacate.contracts.rules import split
from malacate.contracts.table import Table
from malacate.errors import MalacateError, SchemaDrift, SourceGap, Superseded, UnreadableFile
from malacate.lake.background import Background
from malacate.lake.lake import Lake, PartWriter, folder
from malacate.lake.landing import Landing
from malacate.ledger.ledger import ENDED, Ledger, Outcome
from malacate.ledger.tables import BATCH
from malacate.masking import Mask, unmasked
from malacate.sources.protocol import Known, Source
from malacate.warehouse.protocol import (
    Derivation,
    Marker,
    Publication,
    Published,
    Warehouse,
    follows,
)

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


@dataclass(frozen=True)
class Route:
    """From one source to one raw table."""

    table: Table
    source: Source
    mode: WriteMode
    replaces_older: bool = True
    derives: Derivation | None = None


@dataclass
class Report:
    """What a run did, and what earlier runs did without being able to tell."""

    batches: list[dict[str, object]] = field(default_factory=list)
    elsewhere: int = 0
    failures: list[MalacateError] = field(default_factory=list)
    failed: set[str] = field(default_factory=set)

    def total(self, count: str) -> int:
        """Sum of ``rows_read``, ``rows_loaded`` or ``rows_quarantined``."""
        return sum(int(str(b[count] or 0)) for b in self.batches)

    def of(self, state: str) -> list[dict[str, object]]:
        """The batches that ended in ``state``."""
        return [b for b in self.batches if b["state"] == state]


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
        report = Report()
        self.heal(route)
        self.warehouse.ensure(_tables(route))
        for _ in range(2):
            known = self._known(route)
            found = route.source.discover(known)
            self.ledger.note(found, route.source.supersedes and route.replaces_older)
            self._drain(route, report)
            if not known.waiting:
                break
        rows = self.ledger.batches(*_of(route), BATCH.c.is_reported.is_(False))
        report.batches = [row for row in rows if row["ended"] is not None]
        report.elsewhere = sum(row["state"] == "processing" for row in rows)
        if report.failures:
            raise report.failures[0]
        return report

    def _known(self, route: Route) -> Known:
        """A waiting window that would leave a gap will never be published."""
        position = self.warehouse.position(route.table.name)
        unfinished = BATCH.c.state.in_(("seen", "processing"))
        waiting = self.ledger.waiting(*_of(route), unfinished)
        stale = [w for w in waiting if w.kind == "window" and not follows(w.lo, position)]
        self.ledger.give_up([w.batch_id for w in stale], f"the position is {position} by now")
        return Known(position, [w for w in waiting if w not in stale])

    def heal(self, route: Route) -> int:
        """Bring a ledger and a warehouse together that do not know the same batches.

        What has a marker is loaded. What the ledger calls loaded and has no marker, after a
        warehouse was lost, is published again from its landing, or read again without one.
        """
        markers = self.warehouse.markers(route.table.name)
        rows = self.ledger.batches(*_of(route), BATCH.c.state.in_(ENDED))
        told = {row["batch_id"] for row in rows if row["state"] != "loaded"}
        self.ledger.mend((x, _loaded(markers[x])) for x in told & markers.keys())
        lost = [r for r in rows if r["state"] == "loaded" and r["batch_id"] not in markers]
        name = route.table.name
        landings = [self.lake.landed(name.schema, name.table, row["batch_id"]) for row in lost]
        standing = sorted((x for x in landings if x is not None), key=lambda x: x.ordinal)
        kept = {x.batch_id for x in standing if self._publish_again(route, x)}
        self.ledger.forget([r["batch_id"] for r in lost if r["batch_id"] not in kept])
        return len(lost)

    def _publish_again(self, route: Route, landing: Landing) -> bool:
        """A window whose predecessors are unknown would leave a gap: it has to be read again."""
        try:
            self.warehouse.publish([_publication(route, landing, 0)])
        except SourceGap:
            return False
        return True

    def rebuild(self, route: Route) -> int:
        """Publish every landing that has no marker, oldest first; the ledger learns of all.

        Returns how many there are.
        """
        name = route.table.name
        self.warehouse.ensure(_tables(route))
        order = sorted(self.lake.landings(name.schema, name.table), key=lambda x: x.ordinal)
        self.ledger.note([landing.found for landing in order])
        done = [self.warehouse.publish([_publication(route, x, 0)])[0] for x in order]
        markers = self.warehouse.markers(name)
        ended = (_outcome(x, did, markers) for x, did in zip(order, done, strict=True))
        self.ledger.mend((x.batch_id, outcome) for x, outcome in zip(order, ended, strict=True))
        return len(order)

    def _drain(self, route: Route, report: Report) -> None:
        name = route.table.name
        while claims := self.ledger.claim(route.table.source, name.table, GROUP, report.failed):
            try:
                self._take_in(route, claims, report)
            except BaseException as error:
                self._give_back(claims, error)
                raise

    def _take_in(self, route: Route, claims: Sequence[Claim], report: Report) -> None:
        name = route.table.name
        markers = self.warehouse.markers(name, [claim.batch_id for claim in claims])
        landed: list[tuple[Claim, Landing]] = []
        for claim in claims:
            if claim.batch_id in markers:
                self.ledger.finish(claim, _loaded(markers[claim.batch_id]))
                self.lake.discard_input(claim.batch_id)
            elif (landing := self._land(route, claim, report)) is not None:
                landed.append((claim, landing))
        if landed:
            self._publish(route, landed)

    def _give_back(self, claims: Sequence[Claim], error: BaseException) -> None:
        for claim in claims:
            self.ledger.give_back(claim, f"{type(error).__name__}: {error}")

    def _land(self, route: Route, claim: Claim, report: Report) -> Landing | None:
        found = claim.found
        try:
            standing = self.lake.landed(route.table.name.schema, found.table, claim.batch_id)
            return standing or self._read(route, claim)
        except FileNotFoundError as error:
            self.ledger.finish(claim, Outcome("vanished", reason="vanished", error=str(error)))
        except Superseded as error:
            self.ledger.finish(claim, Outcome("superseded", reason=error.reason, error=str(error)))
        except (UnreadableFile, SchemaDrift) as error:
            error.source = error.source or f"{found.source}/{found.table}"
            error.object = error.object or found.object
            if found.kind == "object":
                self._quarantine_file(claim, error)
            else:
                self._fail(claim, error, report)
        except MalacateError as error:
            self._fail(claim, error, report)
        return None

    def _quarantine_file(self, claim: Claim, error: MalacateError) -> None:
        kept = self.lake.quarantine_file(claim.batch_id)
        crash.point("file_quarantined")
        outcome = Outcome("quarantined", landing=kept, reason=error.reason, error=str(error))
        self.ledger.finish(claim, outcome)

    def _fail(self, claim: Claim, error: MalacateError, report: Report) -> None:
        self.ledger.fail(claim, str(error), error.reason)
        report.failures.append(error)
        report.failed.add(claim.batch_id)

    def _read(self, route: Route, claim: Claim) -> Landing:
        table, found = route.table, claim.found
        reading = route.source.read(found, self.lake)
        crash.point("staged")
        where = folder(table.name.schema, table.name.table, claim.batch_id)
        aside = where.replace("final/", "quarantine/", 1)
        with ExitStack() as open_parts:
            enter = open_parts.enter_context
            rows = enter(self.lake.writing(where, "rows", table.schema))
            rejects = enter(self.lake.writing(aside, "rejects", QUARANTINE))
            with Background(rows) as good:
                rows_read = self._split(claim, table, reading, good, rejects)
            crash.point("parsed")
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
        return self.lake.commit(landing)

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
        for claim, _ in landed:
            self.ledger.renew(claim)
        done = self.warehouse.publish(
            [_publication(route, landing, claim.epoch) for claim, landing in landed]
        )
        markers = self.warehouse.markers(route.table.name, [c.batch_id for c, _ in landed])
        for (claim, landing), published in zip(landed, done, strict=True):
            self.ledger.finish(claim, _outcome(landing, published, markers))
            crash.point("loaded")
            self.lake.discard_input(claim.batch_id)
            crash.point("cleaned")


def _tables(route: Route) -> list[Table]:
    return [route.table] if route.derives is None else [route.table, route.derives.target]


def _of(route: Route) -> tuple[ColumnElement[bool], ...]:
    table = route.table
    return (BATCH.c.source == table.source, BATCH.c.table_name == table.name.table)


def _publication(route: Route, landing: Landing, epoch: int) -> Publication:
    return Publication(
        table=route.table,
        landing=landing,
        mode=route.mode,
        epoch=epoch,
        replaces_older=route.replaces_older,
        derives=route.derives,
    )


def _loaded(marker: Marker) -> Outcome:
    read = marker.rows + marker.rows_quarantined
    return Outcome("loaded", read, marker.rows, marker.rows_quarantined, marker.landing)


def _outcome(landing: Landing, published: Published, markers: dict[str, Marker]) -> Outcome:
    if published.outcome == "superseded":
        return Outcome("superseded", landing.rows_read, reason="superseded")
    return _loaded(markers[landing.batch_id])


def _quarantined(rejects: Sequence[Reject]) -> pa.RecordBatch:
    columns = zip(*((r.position, r.reason, r.detail, r.raw) for r in rejects), strict=True)
    arrays = [pa.array(list(c), f.type) for c, f in zip(columns, QUARANTINE, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=QUARANTINE)
