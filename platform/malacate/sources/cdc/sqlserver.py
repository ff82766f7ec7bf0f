"""Change data capture of SQL Server, read by query: one table's log, a window of LSNs at a time.

A position is the LSN that the next window begins with, as a number: all commits before it are
published. Windows end between commits, so that a commit is never split, and one without rows is
published as well: its marker is what proves, once the cleanup job has passed, that nothing was
lost. Everything a session is asked is of one moment, so the job cannot pass between a check and
the rows that it is about.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from malacate.batch import Found, Reading
from malacate.contracts.changes import keyed
from malacate.contracts.chunk import Chunk
from malacate.contracts.drift import align
from malacate.contracts.table import Table
from malacate.errors import SourceGap, Superseded
from malacate.lake.lake import Lake
from malacate.sources.cdc import sqlserver_sql as sql
from malacate.sources.cdc.sqlserver_catalog import Captured, Catalog, Instance, stretches
from malacate.sources.cdc.sqlserver_client import Open, Refused, connect, explained
from malacate.sources.cdc.sqlserver_rows import Envelope
from malacate.sources.protocol import Known

FIRST = "snapshot"


@dataclass(frozen=True)
class ChangeTable:
    """The changes of ``table`` in the database at ``url``, as rows of ``log``.

    At most ``most`` transactions of the database make a window. Only ``instance`` is read, if one
    is named. A gap found at the position ``accept_gap_at`` is answered by a new snapshot.
    """

    log: Table
    table: Table
    url: str
    instance: str = ""
    accept_gap_at: str = ""
    most: int = 100_000
    client: Open = connect
    resolve: Callable[[str], str] = str
    supersedes: bool = True

    @property
    def relation(self) -> str:
        """Its name at the source."""
        return self.table.physical_name or self.table.name.table

    @contextlib.contextmanager
    def catalog(self) -> Iterator[Catalog]:
        """A session of one moment; what the server refuses is told with advice."""
        name = str(self.table.name)
        try:
            with contextlib.closing(self.client(self.resolve(self.url))) as session:
                yield Catalog(session, name, self.relation)
        except Refused as error:
            raise explained(error, name, self.relation) from error

    def captured(self) -> Captured:
        """How far the capture job has come."""
        with self.catalog() as catalog:
            return catalog.captured()

    def discover(self, known: Known) -> list[Found]:
        """A snapshot first, then the window of what was captured since; raise if it has a gap."""
        if known.waiting:
            return []
        with self.catalog() as catalog:
            instances, newest = catalog.instances(self.instance), catalog.newest()
            if known.position is None:
                return [self._snapshot(catalog, instances, newest, FIRST)]
            lo = int(known.position)
            # A snapshot stands where an instance begins, which capture may not have come to.
            if lo > max([newest + 1, *(one.begins for one in instances)]):
                raise self._behind(lo, newest, instances)
            if instances and (lo > newest or stretches(instances, lo, newest + 1)):
                return self._window(lo, catalog.end(lo, newest, self.most))
            if self.accept_gap_at != known.position:
                raise self._gap(lo, instances)
            return [self._snapshot(catalog, instances, newest, f"{FIRST} after {lo}")]

    def read(self, found: Found, lake: Lake) -> Reading:
        """Rows of a window, or the whole table; both in a session of one moment."""
        reading = Reading(iter(()))
        reading.chunks = self._whole(found, reading) if found.lo is None else self._changes(
            found, reading
        )  # fmt: skip
        return reading

    def _window(self, lo: int, hi: int) -> list[Found]:
        """Nothing while the block that the last window ended in is the newest one: blocks tell
        the order of windows, so the rest of it waits for the next.
        """
        found = self._found(f"from {lo}", lo, hi)
        return [found] if found.ordinal > (lo - 1) >> 16 else []

    def _found(self, name: str, lo: int | None, hi: int) -> Found:
        """Windows from one place are versions of one object: the one that reaches further wins."""
        version, source = f"{lo}..{hi}", self.table.source
        found = Found(source, self.log.name.table, "window", name, version, (hi - 1) >> 16)
        return replace(found, lo=None if lo is None else str(lo), hi=str(hi))

    def _snapshot(
        self, catalog: Catalog, instances: Sequence[Instance], newest: int, name: str
    ) -> Found:
        """Of the table as it will be read, later than ``newest``: what came between is in the log
        as well, and wins over it. Before an instance begins there is nothing to read of it.
        """
        if instances:
            return self._found(name, None, max(newest + 1, instances[-1].begins))
        what = "no changes of the table are captured"
        raise catalog.problem(what, self._capture(), "not_captured")

    def _whole(self, found: Found, reading: Reading) -> Iterator[Chunk]:
        """The table; only captured columns of it, for others would never change again."""
        with self.catalog() as catalog:
            instances = catalog.instances(self.instance)
            if not instances:
                what = "no changes of the table are captured"
                raise catalog.problem(what, self._capture(), "not_captured")
            envelope = self._envelope(catalog, instances[-1], catalog.clock(), reading)
            answers = catalog.session.rows(sql.rows(self.relation, envelope.delivered))
            place, replaces = int(found.hi or 0) - 1, found.object != FIRST
            yield from envelope.snapshot(answers, place, replaces)

    def _changes(self, found: Found, reading: Reading) -> Iterator[Chunk]:
        lo, hi = int(found.lo or 0), int(found.hi or 0)
        with self.catalog() as catalog:
            instances, now = catalog.instances(self.instance), catalog.clock()
            parts = stretches(instances, lo, hi)
            if not parts and self.accept_gap_at == found.lo:
                raise Superseded(
                    "what is left of the window is given up", "A new snapshot takes its place.",
                    source=str(self.table.name), object=found.object, reason="gap_accepted",
                )  # fmt: skip
            if not parts:
                raise self._gap(lo, instances)
            first = self._envelope(catalog, parts[0][0], now, reading)
            for instance, start, end in parts:
                envelope = self._envelope(catalog, instance, now, reading)
                envelope.places = first.places
                asked = sql.changes(instance.name, envelope.delivered)
                answers = catalog.session.rows(asked, sql.lsn(start), sql.lsn(end - 1))
                yield from envelope.changes(answers)

    def _envelope(
        self, catalog: Catalog, instance: Instance, now: datetime, reading: Reading
    ) -> Envelope:
        """Columns that the contract dates and an instance does not capture are told as absent."""
        captured = f"capture instance {instance.name}"
        alignment = align(self.table, catalog.columns(instance), captured)
        reading.evolutions += [e for e in alignment.evolutions if e not in reading.evolutions]
        offset = now.utcoffset() or timedelta()
        return Envelope(keyed(self.table), self.log, alignment.sources, instance.name, now, offset)

    def _gap(self, lo: int, instances: Sequence[Instance]) -> SourceGap:
        begins = min((one.begins for one in instances), default=None)
        capture = "" if instances else f"{self._capture()} "
        return SourceGap(
            "changes were lost: the server cleaned them up, or stopped capturing, before they "
            "were read",
            f"{capture}To go on with a new snapshot, write `accept_gap_at: '{lo}'` at the table in "
            "defs.yaml and run again; let the retention of the cleanup job be longer than any "
            "pause of the platform.",
            source=str(self.table.name),
            object=self.relation,
            position=f"0x{sql.lsn(lo).hex()}",
            expected=f"changes from LSN 0x{sql.lsn(lo).hex()}",
            actual=f"{_named(instances)} from LSN 0x{sql.lsn(begins).hex()}"
            if begins
            else f"no instance {self.instance}".rstrip(),
            reason="gap",
        )

    def _behind(self, lo: int, newest: int, instances: Sequence[Instance]) -> SourceGap:
        return SourceGap(
            "the database has captured less than was read of it before",
            "A replica that lags: wait, and run again. A database that was restored counts anew: "
            "load it under a new source name.",
            source=str(self.table.name),
            object=self.relation,
            position=f"0x{sql.lsn(lo).hex()}",
            expected=f"LSN 0x{sql.lsn(lo - 1).hex()} at least",
            actual=f"{_named(instances)} up to LSN 0x{sql.lsn(newest).hex()}",
            reason="log_behind_position",
        )

    def _capture(self) -> str:
        schema, _, table = self.relation.rpartition(".")
        return (
            f"Run there: EXEC sys.sp_cdc_enable_table @source_schema = N'{schema or 'dbo'}', "
            f"@source_name = N'{table}', @role_name = NULL;"
        )


def _named(instances: Sequence[Instance]) -> str:
    return ", ".join(one.name for one in instances)
