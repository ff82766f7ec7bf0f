"""The pass over what was loaded: for tables that no collector watches, and behind one that does."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pyarrow as pa

from malacate.alarms.rules import latest
from malacate.alarms.trend import COMPLETENESS, HOUR, Trend
from malacate.alarms.watch import Watch
from malacate.lake.lake import Lake
from malacate.ledger import alarms
from malacate.ledger.ledger import Ledger
from malacate.warehouse.hour_states import last_hours
from malacate.warehouse.protocol import Partition, Warehouse

_AT_ONCE, _MARKED_AT_ONCE = 100, 10_000
_EPOCH, _END = datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)


@dataclass
class Passed:
    """How many batches a pass judged, and incidents it opened."""

    batches: int = 0
    opened: int = 0


def judge_loaded(watch: Watch, ledger: Ledger, lake: Lake) -> Passed:
    """Judge every loaded batch of the watch's table that it has not seen, from its landing.

    Only then is it known how late it is, and which of its alarms are old: until then all are held.
    """
    passed, name = Passed(), watch.table.name
    while batch_ids := waiting(watch, ledger, _AT_ONCE):
        landings = (lake.landed(name.schema, name.table, batch_id) for batch_id in batch_ids)
        judged = watch.judge(
            rows for landing in landings if landing for rows in lake.read(landing).to_batches()
        )
        passed.opened += watch.note(ledger, judged, batch_ids, more_waits=True)
        passed.batches += len(batch_ids)
    watch.settle(ledger)
    return passed


def judge_hours(watch: Watch, trend: Trend, ledger: Ledger, warehouse: Warehouse) -> Passed:
    """Judge the hours that may be told; those that were told before open nothing again."""
    passed = Passed()
    while batch_ids := waiting(watch, ledger, _MARKED_AT_ONCE):
        _require_table(watch, warehouse)
        since_us = _since(watch, ledger, warehouse)
        judged = watch.judge(_hours(watch, trend, warehouse, since_us))
        judged.found = [one for one in judged.found if one.first_us >= since_us]
        passed.opened += watch.note(ledger, judged, batch_ids)
        passed.batches += len(batch_ids)
    return passed


def _since(watch: Watch, ledger: Ledger, warehouse: Warehouse) -> int:
    """From when on hours may be told, by most sensors' clocks: what they said when last judged."""
    last = [last_us for last_us, _ in alarms.last_heard(ledger, watch.name).values()]
    if not last:
        found = last_hours(warehouse, watch.table.name, watch.columns.sensor)
        last = [(hour.replace(tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1) for hour in found]
    return (latest(last, watch.witnesses) or 0) - round(watch.tell_within_hours * HOUR)


def _hours(
    watch: Watch, trend: Trend, warehouse: Warehouse, since_us: int
) -> Iterator[pa.RecordBatch]:
    """As one batch those hours, and as many before them as are looked at to judge one."""
    columns, since = watch.columns, timedelta(microseconds=since_us - trend.span * HOUR)
    taken = [columns.sensor, columns.instant, COMPLETENESS, trend.column]
    taken += [columns.site] if columns.site else []
    later = Partition(columns.instant, _EPOCH + since, _END)
    yield from warehouse.read(watch.table.name, taken, later).combine_chunks().to_batches()


def _require_table(watch: Watch, warehouse: Warehouse) -> None:
    """Hours may be declared of readings that were loaded before: then there are none yet."""
    table = watch.table
    held = warehouse.columns(table.name) if warehouse.exists(table.name) else {}
    if not {column.name for column in table.columns} <= held.keys():
        warehouse.ensure([table])


def waiting(watch: Watch, ledger: Ledger, limit: int) -> list[str]:
    """Loaded batches that a watch has not judged, oldest first."""
    name = watch.fed_by or watch.table.name.table
    return alarms.unjudged(ledger, watch.name, watch.table.source, name, limit, time.time())
