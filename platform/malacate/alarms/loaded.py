"""The pass over what was loaded: for tables that no collector watches, and behind one that does."""

from dataclasses import dataclass

from malacate.alarms.watch import Watch
from malacate.lake.lake import Lake
from malacate.ledger import alarms
from malacate.ledger.ledger import Ledger

_AT_ONCE = 100


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


def waiting(watch: Watch, ledger: Ledger, limit: int) -> list[str]:
    """Loaded batches that a watch has not judged, oldest first."""
    name = watch.table.name.table
    return alarms.unjudged(ledger, watch.name, watch.table.source, name, limit)
