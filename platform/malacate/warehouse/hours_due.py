"""Which hours are due for readings that came or went, and which rows of them are another by now.

For hours that are computed elsewhere; those that the warehouse derives by itself need none of it.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from malacate.contracts.table import Table
from malacate.names import quote
from malacate.warehouse.hourly import HourlyStats
from malacate.warehouse.hourly_rules import REVISION
from malacate.warehouse.protocol import BATCH_COLUMN, Partition, Warehouse

_HOUR = timedelta(hours=1)
_ASKED = 5000
"""Batches that are asked for by one statement."""


def _q(name: str) -> str:
    return quote(name, "duckdb")


def hours_of(
    warehouse: Warehouse, stats: HourlyStats, readings: Table, batch_ids: Collection[str]
) -> set[datetime]:
    """The hours of which published batches have readings."""
    select = (
        f"select distinct date_trunc('hour', {_q(stats.instant)}) as hour_at "
        f"from {readings.name.sql('duckdb')} where {_q(stats.instant)} is not null "
        f"and list_contains($batches, {BATCH_COLUMN})"
    )
    ids, found = sorted(batch_ids), set[datetime]()
    for start in range(0, len(ids), _ASKED):
        some = warehouse.query(select, {"batches": ids[start : start + _ASKED]})
        found |= set(some["hour_at"].to_pylist())
    return found


def batches_of(
    warehouse: Warehouse, stats: HourlyStats, readings: Table, hours: Collection[datetime]
) -> list[str]:
    """The published batches that have readings of these hours."""
    at, spans = _q(stats.instant), list(_spans(hours))
    within = " or ".join(f"({at} >= $lo{i} and {at} < $hi{i})" for i in range(len(spans)))
    values = {f"lo{i}": lo for i, (lo, _) in enumerate(spans)}
    values |= {f"hi{i}": hi for i, (_, hi) in enumerate(spans)}
    select = f"select distinct {BATCH_COLUMN} as batch_id from {readings.name.sql('duckdb')}"
    found = warehouse.query(f"{select} where {within}", values)
    return sorted(found["batch_id"].to_pylist())


def _spans(hours: Collection[datetime]) -> Iterator[tuple[datetime, datetime]]:
    """Hours that follow one another, taken together."""
    lo = hi = None
    for hour in sorted(hours):
        if lo is None or hi is None or hour != hi:
            if lo is not None and hi is not None:
                yield lo, hi
            lo = hour
        hi = hour + _HOUR
    if lo is not None and hi is not None:
        yield lo, hi


@dataclass(frozen=True)
class Changed:
    """Rows of hours that are new or another, with their revision; and all keys that are left, if a
    standing row has no readings any more.
    """

    rows: pa.Table
    keys: pa.Table | None


def changed(
    warehouse: Warehouse, stats: HourlyStats, made: pa.Table, hours: Collection[datetime] | None
) -> Changed:
    """What ``made``, all rows of ``hours`` (``None``: of all hours), changes in the table."""
    name, schema = stats.table.name, stats.table.schema
    if not hours and hours is not None:
        return Changed(schema.empty_table(), None)
    span = Partition("hour_at", min(hours), max(hours) + _HOUR) if hours is not None else None
    standing = warehouse.read(name, schema.names, span)
    if hours is not None:
        wanted = pa.array(sorted(hours), schema.field("hour_at").type)
        standing = standing.filter(pc.is_in(standing["hour_at"], wanted))
    with duckdb.connect() as connection:
        connection.execute("set timezone = 'UTC'")
        connection.register("made", made)
        connection.register("standing", standing)
        rows = connection.sql(_differing(stats)).to_arrow_table().select(schema.names)
        gone = connection.sql(_without(stats, "standing", "made")).to_arrow_table()
        keys = None
        if gone.num_rows:
            connection.register("gone", gone)
            connection.register("whole", warehouse.read(name, stats.table.key))
            keys = connection.sql(_without(stats, "whole", "gone")).to_arrow_table()
    return Changed(rows.cast(schema), keys)


def _differing(stats: HourlyStats) -> str:
    """As ``HourlyStats`` has it: an hour that did not change keeps its revision."""
    names = [_q(c.name) for c in stats.table.columns if c.name != REVISION]
    differs = " or ".join(f"h.{name} is distinct from n.{name}" for name in names)
    return (
        f"select n.*, coalesce(h.{REVISION}, 0) + 1 as {REVISION} from made as n "
        f"left join standing as h on {_same(stats, 'n', 'h')} "
        f"where h.{_q(stats.sensor)} is null or {differs}"
    )


def _without(stats: HourlyStats, these: str, those: str) -> str:
    key = ", ".join(f"a.{_q(name)}" for name in stats.table.key)
    return f"select {key} from {these} as a anti join {those} as b on {_same(stats, 'a', 'b')}"


def _same(stats: HourlyStats, one: str, other: str) -> str:
    return " and ".join(f"{one}.{_q(k)} = {other}.{_q(k)}" for k in stats.table.key)
