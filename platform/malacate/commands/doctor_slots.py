"""The part of ``malacate doctor`` that looks at replication slots, and sets them up."""

from collections.abc import Iterator, Mapping, Sequence

from malacate.errors import MalacateError
from malacate.ingest import Ingest
from malacate.orchestration.raw_assets import RawAsset
from malacate.sources.cdc import slot_setup
from malacate.sources.cdc.slot import ReplicationSlot, SlotTable, relation_of
from malacate.warehouse.protocol import Warehouse

Positions = Mapping[str, str | None]


def published(slot: ReplicationSlot, raw: Sequence[RawAsset], warehouse: Warehouse) -> Positions:
    """Up to where the warehouse has each table of the slot."""
    routes = [one.route for one in raw]
    return {
        relation_of(route.source.table): warehouse.position(route.table.name)
        for route in routes
        if isinstance(route.source, SlotTable) and route.source.slot is slot
    }


def looked_at(slot: ReplicationSlot, positions: Positions) -> Iterator[tuple[str, bool, str, str]]:
    """What was looked at, whether it is right, what was found, and the fix."""
    for need in slot_setup.needs(slot, positions):
        yield need.what, need.is_right, need.found, need.fix


def fixed(raw: Sequence[RawAsset], ingest: Ingest) -> Iterator[str]:
    """Set up every slot that is declared; a line for each thing that was done or refused."""
    slots: list[ReplicationSlot] = []
    for one in raw:
        source = one.route.source
        if isinstance(source, SlotTable) and source.slot not in slots:
            slots.append(source.slot)
            try:
                yield from slot_setup.fix(
                    source.slot, published(source.slot, raw, ingest.warehouse)
                )
            except MalacateError as error:
                yield f"not done: {error}"
