"""A table of a SQL Server and its change tables, as reconciling asks them: by reading alone."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

from malacate.contracts.changes import keyed
from malacate.contracts.chunk import Chunk
from malacate.contracts.drift import align
from malacate.lake.lake import Lake
from malacate.ledger.work import Found
from malacate.names import quote
from malacate.reconcile_ranges import Range, within
from malacate.reconcile_sources import Pending
from malacate.sources.cdc import sqlserver_sql as tsql
from malacate.sources.cdc.sqlserver import ChangeTable
from malacate.sources.cdc.sqlserver_rows import Envelope

CAPTURE_SECONDS = 330.0
"""How long the capture job is waited for: while nothing happens, it writes every five minutes."""


@dataclass
class ChangeTableRows:
    """A table of a SQL Server.

    What it has captured may explain all that differs. Where it does not, its capture job is waited
    for, ``patience_seconds`` at most.
    """

    source: ChangeTable
    patience_seconds: float = field(default_factory=lambda: CAPTURE_SECONDS)
    moment: datetime = field(default=datetime.min.replace(tzinfo=UTC))
    was_asked: bool = False

    @property
    def has_ranges(self) -> bool:
        """See ``Captured``: the order of text is the database's own."""
        table = self.source.table
        key = [table.by_name[name].type for name in table.key]
        return bool(key) and not any(map(pa.types.is_string, key))

    def follows(self, position: str | None) -> bool:
        """See ``Captured``."""
        return position is not None

    def rows(self, some: Sequence[Range]) -> Iterator[Chunk]:
        """See ``Captured``."""
        source = self.source
        with source.catalog() as catalog:
            instances = catalog.instances(source.instance)
            if not instances:
                what = "no changes of the table are captured"
                raise catalog.problem(what, "Enable its capture again.", "not_captured")
            kinds, now = catalog.columns(instances[-1]), catalog.clock()
            sources = align(source.table, kinds, instances[-1].name).sources
            offset, table = now.utcoffset() or timedelta(), keyed(source.table)
            envelope = Envelope(table, source.log, sources, instances[-1].name, now, offset)
            condition, values = self._condition(some, sources)
            asked = tsql.rows(source.relation, envelope.delivered) + condition
            answers = catalog.session.rows(asked, *values)
            yield from envelope.snapshot(answers, 0, False)
            self.moment = catalog.clock()

    def _condition(
        self, some: Sequence[Range], sources: Mapping[str, str | None]
    ) -> tuple[str, list[Any]]:
        values = list[Any]()
        if Range() in some:
            return "", values

        def bound(value: Any) -> str:
            values.append(value)
            return "?"

        names = [quote(sources[name] or name, "tsql") for name in self.source.table.key]
        return f" WHERE {within(names, some, bound)}", values

    def pending(self, position: str, lake: Lake) -> Pending:
        """See ``Captured``; what was not captured in time may be anything."""
        told = self.source.captured()
        deadline = time.monotonic() + self.patience_seconds
        while self.was_asked and (told.at is None or told.at < self.moment):
            if time.monotonic() > deadline:
                return Pending(every=True)
            time.sleep(min(1.0, self.patience_seconds / 10))
            told = self.source.captured()
        self.was_asked = True
        lo, hi = int(position), told.newest + 1
        if hi <= lo:
            return Pending()
        window = Found(
            self.source.table.source, self.source.log.name.table, "window", f"from {lo}",
            f"{lo}..{hi}", (hi - 1) >> 16, lo=str(lo), hi=str(hi),
        )  # fmt: skip
        names = list(keyed(self.source.table).key)
        reading = self.source.read(window, lake)
        return Pending([chunk.rows.select(names) for chunk in reading.chunks])

    def after(self, position: str) -> tuple[int, int]:
        """See ``Captured``: a position is where the next window begins."""
        last = int(position) - 1
        return last >> 16, last & tsql.BLOCK

    def shown(self, position: str) -> str:
        """See ``Captured``."""
        return f"0x{tsql.lsn(int(position) - 1).hex()}"
