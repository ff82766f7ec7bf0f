"""The pass over what was loaded: for tables that no collector watches, and behind one that does."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

import pyarrow as pa

from malacate.alarms.rules import latest
from malacate.alarms.trend import COMPLETENESS, Trend
from malacate.alarms.watch import Watch
from malacate.lake.lake import Lake
from malacate.ledger import alarms
from malacate.ledger.ledger import Ledger
from malacate.warehouse.hour_states import last_hours
from malacate.warehouse.protocol import Partition, Warehouse

_AT_ONCE, _MARKED_AT_ONCE = 100, 10_000


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
    """Judge the hours that may be told, once for all batches that the watch has not seen."""
    passed = Passed()
    while batch_ids := waiting(watch, ledger, _MARKED_AT_ONCE):
        judged = watch.judge(_hours(watch, trend, warehouse))
        passed.opened += watch.note(ledger, judged, batch_ids)
        passed.batches += len(batch_ids)
    return passed


def _hours(watch: Watch, trend: Trend, warehouse: Warehouse) -> Iterator[pa.RecordBatch]:
    """The hours up to now, as late as it is by most sensors, as one batch."""
    name, columns = watch.table.name, watch.columns
    now = latest(last_hours(warehouse, name, columns.sensor), watch.witnesses)
    if now is not None:
        since = now - timedelta(hours=watch.tell_within_hours + trend.span)
        taken = [columns.sensor, columns.instant, COMPLETENESS, trend.column]
        taken += [columns.site] if columns.site else []
        until = Partition(columns.instant, since, now + timedelta(hours=1))
        yield from warehouse.read(name, taken, until).combine_chunks().to_batches()


def waiting(watch: Watch, ledger: Ledger, limit: int) -> list[str]:
    """Loaded batches that a watch has not judged, oldest first."""
    name = watch.fed_by or watch.table.name.table
    return alarms.unjudged(ledger, watch.name, watch.table.source, name, limit)
