"""What was lost, or left half done, found again: ledger, warehouse and lake brought together.

Nothing is read from sources here.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from malacate.errors import SourceGap
from malacate.lake.lake import Lake
from malacate.lake.landing import Landing
from malacate.ledger.ledger import ENDED, Ledger, Outcome
from malacate.ledger.tables import BATCH
from malacate.names import TableName
from malacate.route import Route, loaded
from malacate.warehouse.protocol import Marker, Warehouse

_TOGETHER = 64
"""Landings that are published again in one transaction."""


@dataclass(frozen=True)
class Recovery:
    """A ledger, a lake and a warehouse that may not know the same batches."""

    ledger: Ledger
    lake: Lake
    warehouse: Warehouse

    def heal(self, route: Route) -> int:
        """Bring them together; return how many batches had lost their rows.

        What has a marker is loaded, and the ledger learns of it. What the ledger calls loaded and
        has no marker, after a warehouse was lost, is published again from its landing, or read
        again without one.
        """
        markers = self.warehouse.markers(route.table.name)
        rows = self.ledger.batches(*route.batches, BATCH.c.state.in_(ENDED))
        told = {row["batch_id"] for row in rows if row["state"] != "loaded"}
        self._mend(route, [x for x in told if x in markers], markers)
        self._learn(route, markers.keys() - {row["batch_id"] for row in rows}, markers)
        lost = [r for r in rows if r["state"] == "loaded" and r["batch_id"] not in markers]
        landings = [self._landed(route, row["batch_id"]) for row in lost]
        standing = in_order(x for x in landings if x is not None)
        kept = {x.batch_id for x in standing if self._publish_again(route, x)}
        self.ledger.forget([r["batch_id"] for r in lost if r["batch_id"] not in kept])
        return len(lost)

    def _learn(self, route: Route, batch_ids: Collection[str], markers: dict[str, Marker]) -> None:
        """Note what a lost ledger knew; without a manifest, the next listing has to find it."""
        begun = self.ledger.batches(*route.batches, BATCH.c.state.in_(("seen", "processing")))
        unknown = set(batch_ids) - {row["batch_id"] for row in begun}
        landings = [x for x in (self._landed(route, i) for i in sorted(unknown)) if x is not None]
        if landings:
            self.ledger.note([landing.found for landing in landings])
            self.ledger.mend((x.batch_id, loaded(markers[x.batch_id], x)) for x in landings)

    def _mend(self, route: Route, batch_ids: Sequence[str], markers: dict[str, Marker]) -> None:
        self.ledger.mend((x, loaded(markers[x], self._landed(route, x))) for x in batch_ids)

    def _landed(self, route: Route, batch_id: str) -> Landing | None:
        return self.lake.landed(route.table.name.schema, route.table.name.table, batch_id)

    def _publish_again(self, route: Route, landing: Landing) -> bool:
        """A window whose predecessors are unknown would leave a gap: it has to be read again."""
        try:
            self.warehouse.publish([route.publication(landing, 0)])
        except SourceGap:
            return False
        return True

    def rebuild(self, route: Route) -> int:
        """Publish every landing that has no marker, oldest first; the ledger learns of all.

        Returns how many there are.
        """
        name = route.table.name
        self.warehouse.ensure(route.tables)
        order = in_order(self.lake.landings(name.schema, name.table))
        self.ledger.note([landing.found for landing in order])
        wanted = [route.publication(landing, 0) for landing in order]
        some = (wanted[start : start + _TOGETHER] for start in range(0, len(wanted), _TOGETHER))
        done = [one for group in some for one in self.warehouse.publish(group)]
        markers = self.warehouse.markers(name)
        gone = Outcome("superseded", reason="superseded")
        self.ledger.mend(
            (x.batch_id, gone if did.outcome == "superseded" else loaded(markers[x.batch_id], x))
            for x, did in zip(order, done, strict=True)
        )
        return len(order)

    def keep_poison(self, route: Route) -> None:
        """Move the bytes that workers died on out of ``input``, where there are any."""
        poison = (BATCH.c.reason == "poison_crash", BATCH.c.landing.is_(None))
        quarantined = BATCH.c.state == "quarantined"
        for row in self.ledger.batches(*route.batches, quarantined, *poison):
            self.lake.quarantine_file(row["batch_id"])
            self.ledger.mark_kept(row["batch_id"], self.lake.place(row["batch_id"]))

    def proven(self, batch_ids: Sequence[str]) -> set[str]:
        """Those of the batches that have their marker in the warehouse, read back now."""
        tables: dict[TableName, list[str]] = defaultdict(list)
        for start in range(0, len(batch_ids), 500):
            some = BATCH.c.batch_id.in_(batch_ids[start : start + 500])
            for row in self.ledger.batches(some, BATCH.c.state == "loaded"):
                name = TableName(f"raw_{row['source']}", row["table_name"])
                tables[name].append(row["batch_id"])
        return {x for name, ids in tables.items() for x in self.warehouse.markers(name, ids)}


def in_order(landings: Iterable[Landing]) -> list[Landing]:
    """As they have to be published: older versions first, repeated readings after what they
    repeat.
    """
    return sorted(landings, key=lambda landing: (landing.ordinal, landing.found.turn))
